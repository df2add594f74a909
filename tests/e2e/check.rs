//! `check` tells the truth: what it finds in order lets the server start, and what would stop it or mislead its users is
//! told once, and nothing on the disk changes.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::site::{Site, xmpp_of};
use crate::support::child::run;
use crate::support::free_port;
use crate::support::prosody::{ACCOUNT, CHANNELS, DOMAIN, ELSEWHERE, Prosody};
use crate::support::scratch::Scratch;
use crate::support::server::{PROGRAM, Xmpp, program, properties};

/// An XMPP server that is not there.
const NO_XMPP: Xmpp = Xmpp { client_port: 1, component_port: 1 };

/// Writes a configuration, for the user of the tests only; gives its path.
fn configure(scratch: &Scratch, port: u16, xmpp: Xmpp, settings: &[(&str, &str)]) -> PathBuf {
    let file = scratch.join("mediaserver.properties");
    let text = properties(port, xmpp, &scratch.join("media"), settings);
    fs::write(&file, text).expect("the scratch directory takes files");
    fs::set_permissions(&file, Permissions::from_mode(0o640)).expect("modes can be set");
    file
}

/// Runs `check` with these options.
fn check(file: &Path, options: &[&str]) -> (i32, String) {
    program(&[&["-c", &file.display().to_string(), "check"], options].concat())
}

/// The same of what takes no connection.
fn check_local(settings: &[(&str, &str)]) -> (i32, String) {
    let scratch = Scratch::new();
    check(&configure(&scratch, free_port(), NO_XMPP, settings), &["--local"])
}

#[test]
fn a_local_check_makes_no_connections() {
    let (status, printed) = check_local(&[]);
    assert_eq!(status, 0, "{printed}");
    for part in ["configuration", "storage", "previews", "database", "http", "https", "endpoint"] {
        assert!(printed.contains(&format!("{part}: ok: ")), "{part} is not in: {printed}");
    }
    for part in ["component", "client", "channels"] {
        assert!(!printed.contains(&format!("{part}: ")), "{printed}");
    }
}

#[test]
fn a_port_that_another_program_uses_is_told_with_its_setting() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = taken.local_addr().expect("it is bound").port();
    let scratch = Scratch::new();
    let file = configure(&scratch, port, NO_XMPP, &[("http.bind", "127.0.0.1")]);
    let own = std::env::current_exe().expect("the test has a program");
    let holder = format!("{} (process {})", own.file_name().unwrap().display(), std::process::id());
    let (status, printed) = check(&file, &["--local"]);
    assert_eq!(status, 1, "{printed}");
    for word in [&format!("127.0.0.1:{port}"), "http.port", "http.bind", &holder] {
        assert!(printed.contains(word), "{word} is not in: {printed}");
    }
    let (status, printed) = program(&["-c", &file.display().to_string(), "serve"]);
    assert_eq!(status, 1, "{printed}");
    assert!(printed.contains("change http.port or http.bind"), "{printed}");

    let admin = format!("127.0.0.1:{port}");
    let (status, printed) = check_local(&[("admin.bind", &admin)]);
    assert!(status == 1 && printed.contains("admin: FAILED: "), "{printed}");
}

#[test]
fn the_port_of_the_running_server_is_no_failure() {
    let site = Site::start(&[]);
    let (status, printed) = check(&site.server.configuration(), &[]);
    assert_eq!(status, 0, "{printed}");
    let used = format!("is used by the running server, process {}", site.server.pid());
    assert!(printed.contains(&used), "{printed}");
}

#[test]
fn the_port_of_a_server_whose_process_is_hidden_is_no_failure() {
    let mut site = Site::start(&[]);
    let (file, root) = (site.server.configuration(), site.server.storage());
    for path in [&file, &root.join(".store")] {
        fs::set_permissions(path, Permissions::from_mode(0o644)).expect("modes can be set");
    }
    let check = || as_nobody(&["-c", &file.display().to_string(), "check", "--local"], Path::new("/"));
    let Some((_, printed)) = check() else { return };
    let probably =
        format!("is in use, probably by the running server, process {} on host ", site.server.pid());
    assert!(printed.contains("http: ok: ") && printed.contains(&probably), "{printed}");
    let port = site.server.port();
    site.server.stop();
    let _taken = TcpListener::bind(("0.0.0.0", port)).expect("the port is free");
    let (_, printed) = check().expect("it worked before");
    assert!(printed.contains("http: FAILED: ") && printed.contains("http.port"), "{printed}");
}

#[test]
fn an_address_that_nothing_serves_is_a_warning() {
    let endpoint = ("http.endpoint", "https://media.example.org");
    let (status, printed) = check_local(&[endpoint]);
    assert_eq!(status, 0, "{printed}");
    assert!(printed.contains("endpoint: WARNING: https://media.example.org is announced"), "{printed}");
    let (_, printed) = check_local(&[endpoint, ("http.trusted.proxies", "127.0.0.1")]);
    assert!(printed.contains("endpoint: ok: "), "{printed}");
}

#[test]
fn a_configuration_that_everybody_may_read_is_a_warning() {
    let scratch = Scratch::new();
    let file = configure(&scratch, free_port(), NO_XMPP, &[]);
    fs::set_permissions(&file, Permissions::from_mode(0o644)).expect("modes can be set");
    let (status, printed) = check(&file, &["--local"]);
    assert_eq!(status, 0, "{printed}");
    let warning = "configuration: WARNING: every user of this machine may read ";
    assert!(
        printed.contains(warning) && printed.contains(&format!("chmod 640 {}", file.display())),
        "{printed}"
    );
}

#[test]
fn a_failure_is_told_once() {
    let scratch = Scratch::new();
    let file = configure(&scratch, free_port(), NO_XMPP, &[]);
    let output = Command::new(PROGRAM).arg("-c").arg(&file).arg("check").output().expect("it starts");
    let [told, complained] =
        [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    for part in ["component", "connection"] {
        let place =
            format!("xmpp.{part}.host, xmpp.{part}.port: can't connect to the XMPP server at 127.0.0.1:1:");
        assert_eq!(told.matches(&place).count(), 1, "{told}");
    }
    assert_eq!(complained, "buddycloud-media-server: failed: component, client\n");
}

#[test]
fn a_failed_handshake_is_told_in_a_sentence() {
    let (prosody, other) = (Prosody::start_with_tls(), Prosody::start_with_tls());
    let authority = other.authority().expect("it offers TLS").display().to_string();
    let scratch = Scratch::new();
    let tls = [("xmpp.connection.securitymode", "required"), ("xmpp.connection.tls.ca", authority.as_str())];
    let (status, printed) = check(&configure(&scratch, free_port(), xmpp_of(&prosody), &tls), &[]);
    assert_eq!(status, 1, "{printed}");
    assert!(
        printed.contains("must name example.org") && printed.contains(": certificate verify failed"),
        "{printed}"
    );
    assert!(
        !printed.contains("routines") && !printed.contains(".c:"),
        "lines of OpenSSL's source: {printed}"
    );
}

#[test]
fn a_domain_without_a_channel_service_is_a_failure() {
    let prosody = Prosody::start();
    prosody.add_account(ELSEWHERE, ACCOUNT);
    let scratch = Scratch::new();
    let settings = [("xmpp.connection.servicename", ELSEWHERE), ("media.domains", ELSEWHERE)];
    let (status, printed) = check(&configure(&scratch, free_port(), xmpp_of(&prosody), &settings), &[]);
    assert_eq!(status, 1, "{printed}");
    assert!(
        printed.contains("channels: FAILED: the channel service of elsewhere.test was not found"),
        "{printed}"
    );
}

#[test]
fn an_account_that_may_not_read_affiliations_is_told_with_the_cure() {
    let site = Site::start(&[]);
    let channel = site.channel("open", &[]);
    site.prosody.add_account(DOMAIN, "stranger");
    let scratch = Scratch::new();
    let settings = [("xmpp.connection.username", "stranger")];
    let file = configure(&scratch, free_port(), xmpp_of(&site.prosody), &settings);
    let (status, printed) = check(&file, &["--channel", &channel, "--user", "alice@example.org"]);
    assert_eq!(status, 1, "{printed}");
    let refused =
        format!("{CHANNELS} does not give stranger@{DOMAIN} the affiliations of {channel} (forbidden)");
    assert!(
        printed.contains(&format!("right: FAILED: {refused}: make stranger@{DOMAIN} an owner")),
        "{printed}"
    );
}

#[test]
fn a_right_is_explained() {
    let site = Site::start(&[]);
    let (room, bob) = (site.channel("whitelist", &[("bob@example.org", "publisher")]), "bob@example.org");
    let right = |channel: &str, user: &str| {
        let (status, printed) = check(&site.server.configuration(), &["--channel", channel, "--user", user]);
        let line = printed.lines().find(|line| line.starts_with("right: ")).unwrap_or_default().to_owned();
        (status, line)
    };
    let expected = format!(
        "right: ok: {room} at {CHANNELS} is private; {bob} is publisher: may read private media, may upload, may not \
         change or delete what others uploaded"
    );
    assert_eq!(right(&room, bob), (0, expected));
    let (status, line) = right(&room, "eve@elsewhere.test");
    assert!(status == 0 && line.contains("eve@elsewhere.test is none: may not read"), "{line}");
    let (status, line) = right("absent@example.org", bob);
    assert!(status == 1 && line.contains("channels.example.org has no channel absent@example.org"), "{line}");
    let (status, line) = right("room@example.net", bob);
    assert!(status == 78 && line.contains("add it to media.domains"), "{line}");
}

/// Everything below a directory, with its size and the time of its last change.
fn below(directory: &Path) -> Vec<(PathBuf, u64, i64, i64)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let metadata = entry.metadata().expect("it is there");
        found.push((entry.path(), metadata.len(), metadata.mtime(), metadata.mtime_nsec()));
        found.extend(below(&entry.path()));
    }
    let metadata = fs::metadata(directory).expect("it is there");
    found.push((directory.to_owned(), 0, metadata.mtime(), metadata.mtime_nsec()));
    found.sort();
    found
}

#[test]
fn a_check_changes_nothing_on_the_disk() {
    let scratch = Scratch::new();
    let file = configure(&scratch, free_port(), NO_XMPP, &[]);
    let before = below(scratch.path());
    let (status, printed) = check(&file, &["--local"]);
    assert_eq!((status, below(scratch.path())), (0, before), "of a new site: {printed}");

    let mut site = Site::start(&[]);
    let (user, channel) = site.public_channel();
    site.upload(&user, &channel);
    site.server.stop();
    let before = below(&site.server.storage());
    let (status, printed) = check(&site.server.configuration(), &[]);
    assert_eq!(
        (status, below(&site.server.storage())),
        (0, before),
        "of a server that is stopped: {printed}"
    );
}

#[test]
fn a_database_that_can_not_be_written_is_a_failure() {
    // To root, everything is writable.
    let mut site = Site::start(&[]);
    site.server.stop();
    let storage = site.server.storage();
    let file = site.server.configuration();
    let as_nobody = |options: &[&str]| {
        as_nobody(&[&["-c", &file.display().to_string(), "check"], options].concat(), Path::new("/"))
    };
    for path in [&file, &storage.join("metadata.sqlite")] {
        fs::set_permissions(path, Permissions::from_mode(0o444)).expect("modes can be set");
    }
    fs::set_permissions(&storage, Permissions::from_mode(0o777)).expect("modes can be set");
    let Some((status, printed)) = as_nobody(&["--local"]) else { return };
    assert_eq!(status, 1, "{printed}");
    assert!(printed.contains("database: FAILED: ") && printed.contains("must be able to write"), "{printed}");
    fs::set_permissions(&storage, Permissions::from_mode(0o555)).expect("modes can be set");
    let (status, printed) = as_nobody(&["--local"]).expect("it worked before");
    assert_eq!(status, 1, "{printed}");
    assert!(printed.contains("storage: FAILED: can't store media in "), "{printed}");
}

/// Runs the program in this directory as a user without any right, if the tests run as root; `None` if they do not.
fn as_nobody(arguments: &[&str], directory: &Path) -> Option<(i32, String)> {
    rustix::process::geteuid().is_root().then(|| {
        let directory =
            format!("cd '{}' && exec setpriv --reuid=65534 --clear-groups \"$@\"", directory.display());
        run(&[&["sh", "-c", &directory, "sh", PROGRAM], arguments].concat())
    })
}

#[test]
fn a_working_directory_that_can_not_be_read_is_passed_over() {
    let scratch = Scratch::new();
    let home = scratch.join("home");
    fs::create_dir(&home).expect("the scratch directory takes folders");
    fs::write(home.join("mediaserver.properties"), "not=read\n").expect("the folder takes files");
    fs::set_permissions(&home, Permissions::from_mode(0o700)).expect("modes can be set");
    let Some((status, printed)) = as_nobody(&["check"], &home) else { return };
    assert_eq!(status, 78, "{printed}");
    let tried = format!("{}/mediaserver.properties (its directory can't be read)", home.display());
    assert!(
        printed.contains("no configuration: ") && printed.contains("/etc/buddycloud-media-server/"),
        "{printed}"
    );
    assert!(printed.contains(&tried), "{printed}");

    fs::set_permissions(&home, Permissions::from_mode(0o755)).expect("modes can be set");
    fs::set_permissions(home.join("mediaserver.properties"), Permissions::from_mode(0o600)).expect("modes");
    let (status, printed) = as_nobody(&["check"], &home).expect("it worked before");
    assert_eq!(status, 78, "{printed}");
    let unreadable = format!("can't read {}/mediaserver.properties: Permission denied", home.display());
    assert!(printed.contains(&unreadable), "a file that is there is not passed over: {printed}");
}

#[test]
fn a_pem_file_as_keystore_is_told_with_the_command_that_converts_it() {
    let scratch = Scratch::new();
    let pem = scratch.join("all.pem");
    fs::write(&pem, "-----BEGIN CERTIFICATE-----\n").expect("the scratch directory takes files");
    let (status, printed) = check_local(&[
        ("https.enabled", "true"),
        ("https.port", "0"),
        ("https.keystore.path", &pem.display().to_string()),
        ("https.keystore.password", "keystore-password"),
    ]);
    assert_eq!(status, 78, "{printed}");
    assert!(printed.contains("openssl pkcs12 -export") && !printed.contains("routines"), "{printed}");
}

#[test]
fn a_postgresql_that_is_not_there_is_named() {
    let scratch = Scratch::new();
    let port = free_port();
    let url = format!("jdbc:postgresql://127.0.0.1:{port}/media?user=media&password=hunter2");
    let file = configure(&scratch, free_port(), NO_XMPP, &[("jdbc.db.url", &url)]);
    let (status, printed) = check(&file, &[]);
    assert_eq!(status, 1, "{printed}");
    let named = format!("can't connect to the database media at 127.0.0.1:{port} (jdbc.db.url)");
    assert!(printed.contains(&named) && !printed.contains("hunter2"), "{printed}");
    let (status, printed) = check(&file, &["--local"]);
    assert!(status == 0 && printed.contains("is not tried"), "{printed}");
}
