//! Moving from the original: the report of `check --from-java`, and the schema by hand.

use std::fs;
use std::path::Path;

use crate::schema::{command, succeed};
use crate::support::child::run;
use crate::support::postgres;
use crate::support::scratch::Scratch;
use crate::support::server::program;

/// A configuration as the original's example had it, with the keys that changed.
const ORIGINAL: &str = "\
http.port=8080
http.endpoint=https://api.example.com/media_proxy
https.enabled=true
https.port=8443
https.keystore=/etc/media/keystore.jks
https.keystore.type=JSK
https.keystore.password=keystore-password
https.key.password=key-password
http.tests.port=9090
xmpp.component.host=127.0.0.1
xmpp.component.port=1
xmpp.component.subdomain=media.example.org
xmpp.component.secretkey=component-secret
xmpp.connection.username=mediaserver
xmpp.connection.password=account-password
xmpp.connection.host=127.0.0.1
xmpp.connection.port=1
xmpp.connection.servicename=example.org
xmpp.connection.saslenabled=true
xmpp.connection.securitymode=enabled
xmpp.reply.timeout=30000
jdbc.driver.class=org.postgresql.Driver
media.todisk.threshold=1048576
media.sizelimit=104857600
";

fn check(lines: &str) -> (i32, String) {
    let scratch = Scratch::new();
    let file = scratch.join("mediaserver.properties");
    let text = format!("{ORIGINAL}media.storage.root={}\n{lines}", scratch.path().display());
    fs::write(&file, text).expect("the scratch directory takes files");
    program(&["-c", &file.display().to_string(), "check", "--from-java"])
}

#[test]
fn an_original_configuration_is_told_what_changes() {
    let (status, printed) = check("");
    assert_eq!(status, 78, "a Java keystore can't be used: {printed}");
    for word in [
        "https.keystore: the key is https.keystore.path now",
        "keytool -importkeystore -srckeystore /etc/media/keystore.jks",
        "https.key.password: has no effect",
        "http.tests.port: has no effect",
        "jdbc.driver.class: has no effect",
        "xmpp.connection.tls.ca",
        "media.domains",
        "logback.xml",
    ] {
        let told = printed.lines().any(|line| line.starts_with("moving: ") && line.contains(word));
        assert!(told, "{word} is not in: {printed}");
    }
    for secret in ["keystore-password", "key-password", "component-secret", "account-password"] {
        assert!(!printed.contains(secret), "{printed}");
    }
}

#[test]
fn a_database_of_the_original_is_reported_with_the_command_that_upgrades_it() {
    let server = postgres::shared();
    let database = server.new_database();
    server
        .client(&database)
        .batch_execute(include_str!("../../sql/base.sql"))
        .expect("the original's schema");
    let url = server.jdbc_url(&database);
    let (status, printed) = check(&format!("https.enabled=false\njdbc.db.url={url}\n"));
    assert_eq!(status, 1, "{printed}");
    assert!(printed.contains("storage: ok") && printed.contains("upgrade-schema"), "{printed}");
    succeed(&url, &["upgrade-schema"]);
    let (_, printed) = check(&format!("https.enabled=false\njdbc.db.url={url}\n"));
    assert!(printed.contains("database: ok"), "{printed}");
}

#[test]
fn the_schema_is_made_by_psql_as_its_readme_says() {
    let server = postgres::shared();
    let (by_hand, by_command) = (server.new_database(), server.new_database());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("sql");
    let readme = fs::read_to_string(folder.join("README")).expect("it is in the tree");
    let line = readme.lines().find(|line| line.contains("| psql ")).expect("the README has the command");
    let url = server.jdbc_url(&by_hand).trim_start_matches("jdbc:").to_owned();
    let line = format!("cd '{}' && {}", folder.display(), line.replace("DATABASE", &format!("'{url}'")));
    let (status, printed) = run(&["sh", "-c", &line]);
    assert_eq!(status, 0, "{line}: {printed}");
    let (status, printed) = command(&server.jdbc_url(&by_hand), &["upgrade-schema"]);
    assert!(status == 0 && printed.contains("already"), "{printed}");
    succeed(&server.jdbc_url(&by_command), &["setup-schema"]);
    assert_eq!(columns(server, &by_hand), columns(server, &by_command));
    let (status, printed) = run(&[
        "psql",
        "-v",
        "ON_ERROR_STOP=1",
        "-f",
        &folder.join("upgrade-4.sql").display().to_string(),
        &url,
    ]);
    assert_ne!(status, 0, "an upgrade ran twice: {printed}");
    let (status, printed) = run(&[
        "psql",
        "-v",
        "ON_ERROR_STOP=1",
        "-f",
        &folder.join("drop-schema.sql").display().to_string(),
        &url,
    ]);
    assert_eq!(status, 0, "{printed}");
    assert_eq!(
        columns(server, &by_hand).lines().filter(|line| !line.starts_with("configuration")).count(),
        0
    );
}

/// The tables with their columns.
fn columns(server: &postgres::Server, database: &str) -> String {
    let sql = "SELECT table_name || ' ' || column_name || ' ' || data_type || ' ' || is_nullable
               FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1";
    let rows = server.client(database).query(sql, &[]).expect("the catalogue is readable");
    rows.iter().map(|row| row.get::<_, String>(0) + "\n").collect()
}
