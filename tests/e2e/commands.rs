//! The commands beside `serve`, on what a running server uses.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::site::{Site, photo_bytes, xmpp_of};
use crate::support::child::{Guarded, run};
use crate::support::http::Request;
use crate::support::prosody::{DOMAIN, Prosody};
use crate::support::scratch::Scratch;
use crate::support::server::{PROGRAM, program, properties};
use crate::support::xmpp_client::Policy;
use crate::support::{free_port, postgres, wait_for};

/// Runs a command with the configuration of this site's server; gives its exit status and what it printed.
fn command(site: &Site, arguments: &[&str]) -> (i32, String) {
    let file = site.server.configuration().display().to_string();
    program(&[&["-c", file.as_str()], arguments].concat())
}

#[test]
fn check_tells_of_each_part() {
    let site = Site::start(&[]);
    let (status, printed) = command(&site, &["check"]);
    assert_eq!(status, 0, "beside a running server: {printed}");
    for part in ["storage", "database", "identity", "https", "component", "client"] {
        assert!(printed.contains(&format!("{part}: ok: ")), "{part} is not in: {printed}");
    }

    let text = fs::read_to_string(site.server.configuration()).expect("the configuration is there");
    let wrong = site.server.directory().join("wrong.properties");
    let broken = text.replace("xmpp.connection.password=", "xmpp.connection.password=x");
    fs::write(&wrong, broken).expect("the scratch directory takes files");
    let (status, printed) = program(&["-c", &wrong.display().to_string(), "check"]);
    assert_ne!(status, 0, "{printed}");
    assert!(printed.contains("client: FAILED: ") && printed.contains("storage: ok: "), "{printed}");
    assert!(!printed.contains("account-password"), "a password was printed: {printed}");
}

#[test]
fn check_refuses_unknown_keys_only_when_it_is_strict() {
    let site = Site::start(&[]);
    let text = fs::read_to_string(site.server.configuration()).expect("the configuration is there");
    let file = site.server.directory().join("mistyped.properties");
    fs::write(&file, format!("{text}media.sizelimt=1\n")).expect("the scratch directory takes files");
    let check = |more: &[&str]| program(&[&["-c", &file.display().to_string(), "check"], more].concat());
    let (status, printed) = check(&[]);
    assert!(
        status == 0 && printed.contains("media.sizelimt: unknown; did you mean media.sizelimit?"),
        "{printed}"
    );
    let (status, printed) = check(&["--strict"]);
    assert_eq!(status, 78, "{printed}");
    assert!(printed.contains("media.sizelimt: unknown; did you mean media.sizelimit?"), "{printed}");
    assert!(!printed.contains("storage: "), "nothing is tried: {printed}");
    let (status, printed) = command(&site, &["check", "--strict"]);
    assert_eq!(status, 0, "{printed}");
}

#[test]
fn d28_files_without_rows_and_rows_without_files_are_repaired() {
    let site = Site::start(&[]);
    let (user, channel) = site.public_channel();
    let [good, lost] = [(); 2].map(|()| site.upload(&user, &channel));
    let [orphan, young, temporary] = [
        site.stored(&channel, "orphan"),
        site.stored(&channel, "young"),
        site.server.storage().join(".upload-x"),
    ];
    for (path, age) in [(&orphan, 7200), (&young, 60), (&temporary, 7200)] {
        write_aged(path, Duration::from_secs(age));
    }
    fs::remove_file(site.stored(&channel, &lost)).expect("the media is there");

    let (status, printed) = command(&site, &["fsck"]);
    assert_eq!(status, 1, "{printed}");
    let row = format!("{lost}: a row without a file; would delete the row");
    for word in [
        "orphan: a file without a row; would move it to .lost",
        ".upload-x: the file of an unfinished upload; would remove it",
        &row,
        "3 problems would be repaired, 0 left",
        "`fsck --repair` moves files without a row to .lost, and deletes rows without a file",
    ] {
        assert!(printed.contains(word), "{word} is not in: {printed}");
    }
    assert!(orphan.exists() && temporary.exists(), "a check has changed something");

    let (status, printed) = command(&site, &["fsck", "--repair"]);
    assert_eq!((status, printed.contains("3 problems repaired, 0 left")), (0, true), "{printed}");
    assert!(!orphan.exists() && !temporary.exists() && young.exists());
    let moved = printed.lines().find_map(|line| line.split_once("moved to ")).expect("it says where").1;
    let moved = site.server.storage().join(moved);
    assert_eq!(fs::read(moved).expect("the file is there"), b"bytes");
    let list = Request::get(&site.url(&channel)).send().expect(200).json();
    assert_eq!(list.as_array().map(Vec::len), Some(1), "{list}");
    let media = site.url(&format!("{channel}/{good}"));
    assert!(Request::get(&media).send().expect(200).body == photo_bytes(), "other bytes came down");

    let (status, printed) = command(&site, &["fsck"]);
    assert_eq!((status, printed.trim()), (0, "files and metadata agree"));
}

#[test]
fn the_configuration_may_be_in_the_database() {
    let prosody = Prosody::start();
    let scratch = Scratch::new();
    let server = postgres::shared();
    let database = server.new_database();
    let url = server.jdbc_url(&database);
    let settings = properties(free_port(), xmpp_of(&prosody), scratch.path(), &[("jdbc.db.url", &url)]);
    let file = scratch.join("mediaserver.properties");
    fs::write(&file, &settings).expect("the scratch directory takes files");
    let (status, printed) = program(&["-c", &file.display().to_string(), "setup-schema"]);
    assert_eq!(status, 0, "{printed}");
    let variable = format!("DATABASE={url}");
    let (status, printed) = run(&["env", &variable, PROGRAM, "check"]);
    assert_eq!(status, 78, "without any row: {printed}");

    let mut client = server.client(&database);
    let rows = settings.lines().filter(|line| !line.starts_with("jdbc.db.url="));
    for (key, value) in rows.filter_map(|line| line.split_once('=')) {
        let insert = r#"INSERT INTO "configuration" ("key", "value") VALUES ($1, $2)"#;
        client.execute(insert, &[&key, &value]).expect("the table takes rows");
    }
    let (status, printed) = run(&["env", &variable, PROGRAM, "check"]);
    assert_eq!(status, 0, "{printed}");

    let port = settings.lines().find_map(|line| line.strip_prefix("http.port=")).expect("it has a port");
    let _serving = Guarded::start(&[PROGRAM], &[("DATABASE", &url)], &scratch.join("stderr"));
    let user = prosody.login(DOMAIN, "someone", Policy::Echo);
    let channel = format!("http://127.0.0.1:{port}/{}", user.bare());
    let upload = || Request::new("POST", &channel).basic(user.jid()).part("data=text").try_send().ok();
    wait_for("an upload", || upload().filter(|answer| answer.status == 201));
    let count = client.query_one("SELECT count(*) FROM medias", &[]).expect("the table is there");
    assert_eq!(count.get::<_, i64>(0), 1);
}

fn write_aged(path: &Path, age: Duration) {
    fs::write(path, "bytes").expect("the storage takes files");
    let file = File::options().write(true).open(path).expect("it was just written");
    file.set_modified(SystemTime::now() - age).expect("files have dates");
}
