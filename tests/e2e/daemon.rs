//! The program as a daemon: signals, exit statuses, crashes, configuration.

use std::fs;
use std::path::PathBuf;

use crate::site::{Site, assert_asked_once, photo, photo_bytes, xmpp_of};
use crate::support::child::run;
use crate::support::http::{Raw, Request};
use crate::support::prosody::Prosody;
use crate::support::scratch::Scratch;
use crate::support::server::{Server, Xmpp, program, properties};
use crate::support::xmpp_client::Policy;
use crate::support::{free_port, wait_for};

#[test]
fn sigterm_ends_it_with_0_after_what_runs() {
    let mut site = Site::start(&[]);
    let (user, channel) = site.public_channel();
    let id = site.upload(&user, &channel);
    user.set_policy(Policy::Ignore);
    let upload = site.upload_request(&channel).basic(user.jid()).send_apart();
    user.confirm(1).expect("the user is asked");
    let mut idle = Raw::connect(site.server.port());
    idle.send(format!("GET /{channel}/{id} HTTP/1.1\r\nHost: x\r\n\r\n"));
    assert_eq!(idle.answer().expect("an answer").status, 200);
    site.server.stop();
    assert!(idle.is_closed());
    upload.join().expect("who waits is answered").expect(503);
    let again = Request::get(&site.url(&channel)).try_send();
    assert!(again.is_err(), "it still listens: {again:?}");
}

#[test]
fn a_crash_after_201_loses_nothing() {
    let mut site = Site::start(&[]);
    let (user, channel) = site.public_channel();
    let id = site.upload(&user, &channel);
    site.server.kill();
    site.server.start_again();
    site.wait_ready(&channel);
    let answer = Request::get(&site.url(&format!("{channel}/{id}"))).send().expect(200);
    assert!(answer.body == photo_bytes(), "other bytes came down");
    assert_eq!(
        Request::get(&site.url(&format!("{channel}/{id}/metadata"))).send().expect(200).member("id"),
        id
    );
}

#[test]
fn sighup_opens_the_log_anew() {
    let scratch = Scratch::new();
    let (log, moved) = (scratch.join("server.log"), scratch.join("server.log.1"));
    let site = Site::start(&[("logging.file", &log.display().to_string())]);
    fs::rename(&log, &moved).expect("the log can be moved");
    site.server.signal("HUP");
    wait_for("a new log", || {
        let channel = site.channel("open", &[]);
        Request::get(&site.url(&channel)).send().expect(200);
        fs::metadata(&log).ok().filter(|log| log.len() > 0)
    });
}

#[test]
fn a_configuration_that_is_wrong_is_told_with_its_line() {
    let scratch = Scratch::new();
    let file = scratch.join("mediaserver.properties");
    let name = file.display().to_string();
    let xmpp = Xmpp { client_port: 1, component_port: 1 };
    let good = properties(8080, xmpp, scratch.path(), &[]);
    fs::write(&file, format!("# A comment\nmedia.sizelimit=many\n{good}")).expect("it takes files");
    for command in ["serve", "check"] {
        let (status, printed) = program(&["-c", &name, command]);
        assert_eq!(status, 78, "{printed}");
        for word in [&format!("{name}:2"), "media.sizelimit"] {
            assert!(printed.contains(word), "{word} is not in: {printed}");
        }
    }
}

#[test]
fn all_missing_settings_are_named_at_once() {
    let scratch = Scratch::new();
    let file = scratch.join("mediaserver.properties");
    fs::write(&file, "http.port=8080\n").expect("the scratch directory takes files");
    let (status, printed) = program(&["-c", &file.display().to_string()]);
    assert_eq!(status, 78, "{printed}");
    for key in
        ["xmpp.component.host", "xmpp.component.secretkey", "xmpp.connection.password", "media.storage.root"]
    {
        assert!(printed.contains(key), "{key} is not in: {printed}");
    }
    let (status, printed) = program(&["-c", &scratch.join("absent").display().to_string()]);
    assert_eq!(status, 78, "{printed}");
    assert!(printed.contains("absent"), "{printed}");
}

#[test]
fn the_help_and_the_version_are_printed() {
    let (status, printed) = program(&["--no-such-option"]);
    assert_eq!(status, 2, "{printed}");
    let (status, printed) = program(&["-h"]);
    assert_eq!(status, 0, "{printed}");
    for word in ["serve", "check", "setup-schema", "upgrade-schema", "drop-schema", "fsck", "-c"] {
        assert!(printed.contains(word), "{word} is not in: {printed}");
    }
    let (status, printed) = program(&["-V"]);
    assert_eq!(status, 0, "{printed}");
    assert!(printed.contains(env!("CARGO_PKG_VERSION")), "{printed}");
}

#[test]
fn starttls_is_used_and_the_certificate_checked() {
    let prosody = Prosody::start_with_tls();
    let authority = prosody.authority().expect("it offers TLS").display().to_string();
    let settings =
        [("xmpp.connection.securitymode", "required"), ("xmpp.connection.tls.ca", authority.as_str())];
    let site = Site::start_on(prosody, &settings);
    let log = site.prosody.log();
    assert!(log.contains("Stream encrypted"), "{log}");
    let (user, channel) = site.public_channel();
    site.upload(&user, &channel);
}

#[test]
fn a_certificate_of_someone_else_is_refused() {
    let (prosody, other) = (Prosody::start_with_tls(), Prosody::start_with_tls());
    let wrong = other.authority().expect("it offers TLS").display().to_string();
    let settings = [("xmpp.connection.securitymode", "required"), ("xmpp.connection.tls.ca", wrong.as_str())];
    refused(&prosody, &settings);
}

#[test]
fn required_tls_is_not_done_without() {
    refused(&Prosody::start(), &[("xmpp.connection.securitymode", "required")]);
}

#[test]
fn https_is_served_from_a_keystore() {
    let scratch = Scratch::new();
    let keystore = keystore(&scratch).display().to_string();
    let port = free_port().to_string();
    let site = Site::start(&[
        ("http.enabled", "true"),
        ("https.enabled", "true"),
        ("https.port", &port),
        ("https.keystore.path", &keystore),
        ("https.keystore.password", "keystore-password"),
    ]);
    let (user, channel) = site.public_channel();
    let certificate = scratch.join("certificate.pem").display().to_string();
    let url = format!("https://localhost:{port}/{channel}");
    let upload = Request::new("POST", &url).with(&["--cacert", &certificate]).basic(user.jid());
    let id = upload.file(&photo(), "image/jpeg").send().expect(201).member("id");
    assert_asked_once(&user, "POST", &url);
    let get = || Request::get(&format!("{url}/{id}"));
    assert!(get().with(&["--cacert", &certificate]).send().expect(200).body == photo_bytes());
    assert!(get().try_send().is_err(), "a certificate that nobody vouches for is taken");
    Request::get(&site.url(&format!("{channel}/{id}"))).send().expect(200);
}

/// A PKCS#12 file with a certificate for `localhost`, which is beside it.
pub fn keystore(scratch: &Scratch) -> PathBuf {
    let openssl = |arguments: &str| {
        let words: Vec<&str> = ["openssl"].into_iter().chain(arguments.split(' ')).collect();
        let (status, printed) = run(&words);
        assert_eq!(status, 0, "{words:?}: {printed}");
    };
    let folder = scratch.path().display();
    let (key, certificate) = (format!("{folder}/key.pem"), format!("{folder}/certificate.pem"));
    openssl(&format!(
        "req -x509 -newkey rsa:2048 -nodes -keyout {key} -out {certificate} -days 2 -subj /CN=localhost \
         -addext subjectAltName=DNS:localhost"
    ));
    openssl(&format!(
        "pkcs12 -export -inkey {key} -in {certificate} -out {folder}/keystore.p12 -passout pass:keystore-password"
    ));
    scratch.join("keystore.p12")
}

/// The server must log why it does not log in, and serve nothing that needs it.
fn refused(prosody: &Prosody, settings: &[(&str, &str)]) {
    let server = Server::start(xmpp_of(prosody), settings);
    wait_for("the log to tell of TLS", || {
        let log = server.log().to_ascii_lowercase();
        (log.contains("tls") || log.contains("certificate")).then_some(())
    });
    Request::get(&format!("http://127.0.0.1:{}/a@example.org", server.port())).send().expect(503);
    assert!(!prosody.log().contains("Authenticated as mediaserver@"), "it logged in:\n{}", prosody.log());
}
