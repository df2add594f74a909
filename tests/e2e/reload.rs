//! SIGHUP: settings that change while the server runs, settings that wait for a restart, and bad configurations.

use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};

use crate::site::Site;
use crate::support::child::{Guarded, run};
use crate::support::http::{Answer, Request};
use crate::support::scratch::Scratch;
use crate::support::server::{PROGRAM, Xmpp, properties};
use crate::support::{PATIENCE, wait_for};

const RELOADED: &str = "configuration reloaded";

/// Appends these lines to the configuration, of which later ones outrank earlier ones, and has it read.
fn reload(site: &Site, lines: &str) {
    let file = site.server.configuration();
    let text = fs::read_to_string(&file).expect("the configuration is there");
    let told = site.server.log().matches(RELOADED).count();
    fs::write(&file, format!("{text}{lines}\n")).expect("the scratch directory takes files");
    site.server.signal("HUP");
    wait_for("the reload", || (site.server.log().matches(RELOADED).count() > told).then_some(()));
}

fn get(site: &Site, path: &str) -> Answer {
    Request::get(&site.url(path)).header("Origin", "https://page.test").send()
}

#[test]
fn limits_times_cors_and_domains_change_while_it_runs() {
    let site = Site::start(&[]);
    let (user, channel) = site.public_channel();
    let media = format!("{channel}/{}", site.upload(&user, &channel));
    let before = get(&site, &media).expect(200);
    assert_eq!(before.header("cache-control"), Some("public, max-age=86400"));
    assert_eq!(before.header("access-control-allow-origin"), Some("https://page.test"));

    reload(&site, "cache.max.age=7\nhttp.cors.origins=\nmedia.sizelimit=10\nhttp.endpoint=http://media.test");
    let after = get(&site, &media).expect(200);
    assert_eq!(after.header("cache-control"), Some("public, max-age=7"));
    assert_eq!(after.header("access-control-allow-origin"), None);
    site.upload_request(&channel).basic(user.jid()).send().expect(413);

    reload(&site, "media.sizelimit=1000000\nxmpp.pending.per.user.max=1\nhttp.uploads.max=1");
    let created = site.upload_request(&channel).basic(user.jid()).send().expect(201);
    assert!(created.header("location").is_some_and(|url| url.starts_with("http://media.test/")));

    let preview = format!("{media}?maxheight=20");
    get(&site, &preview).expect(200);
    reload(&site, "preview.max.pixels=65535");
    get(&site, &format!("{media}?maxheight=21")).expect(412);
    get(&site, &preview).expect(200);

    reload(&site, "media.domains=elsewhere.test");
    get(&site, &media).expect(404);
    reload(&site, "media.domains=\nhttp.connections.per.address.max=1");
    get(&site, &media).expect(200);
}

#[test]
fn many_reloads_leave_no_file_open() {
    let site = Site::start(&[]);
    let open = || fs::read_dir(format!("/proc/{}/fd", site.server.pid())).expect("the server runs").count();
    reload(&site, "cache.max.age=7");
    let before = open();
    for _ in 0..300 {
        site.server.signal("HUP");
    }
    reload(&site, "cache.max.age=8");
    // The database may have one connection more or less at the moment.
    wait_for("the files to be closed", || (open() <= before + 2).then_some(()));
}

#[test]
fn settings_that_need_a_restart_are_named() {
    let site = Site::start(&[]);
    reload(&site, "http.port=1\nxmpp.connection.password=another");
    let log = site.server.log();
    for key in ["http.port", "xmpp.connection.password"] {
        assert!(
            log.contains(&format!("{key} has changed: that takes effect when the server is restarted")),
            "{log}"
        );
    }
    assert!(!log.contains("cache.max.age has changed") && !log.contains("another"), "{log}");
}

#[test]
fn a_bad_configuration_keeps_the_old_one() {
    let scratch = Scratch::new();
    let site = Site::start(&[]);
    let (user, channel) = site.public_channel();
    let media = format!("{channel}/{}", site.upload(&user, &channel));
    let file = site.server.configuration();
    let good = fs::read_to_string(&file).expect("the configuration is there");
    let log = scratch.join("absent/log");
    let bad = [
        "media.sizelimit=many".to_owned(),
        format!("logging.file={}", log.display()),
        "https.enabled=true".to_owned(),
    ];
    for (number, line) in (1..).zip(bad) {
        fs::write(&file, format!("{good}cache.max.age=7\n{line}\n"))
            .expect("the scratch directory takes files");
        site.server.signal("HUP");
        let refused = || site.server.log().matches("is not reloaded, the old one stays").count() == number;
        wait_for("the refusal", || refused().then_some(()));
        assert_eq!(
            get(&site, &media).expect(200).header("cache-control"),
            Some("public, max-age=86400"),
            "{line}"
        );
    }
    assert!(!site.server.log().contains(RELOADED));
}

#[test]
fn the_log_gets_another_level_and_file() {
    let scratch = Scratch::new();
    let log = scratch.join("server.log");
    let site = Site::start(&[]);
    let channel = site.channel("open", &[]);
    let file = site.server.configuration();
    let text = fs::read_to_string(&file).expect("the configuration is there");
    let line = format!("logging.file={}\n", log.display());
    fs::write(&file, format!("{text}{line}")).expect("the scratch directory takes files");
    site.server.signal("HUP");
    let logged = || fs::read_to_string(&log).unwrap_or_default();
    wait_for("the new log", || logged().contains(RELOADED).then_some(()));
    get(&site, &channel).expect(200);
    let line = format!("GET /{channel} 200");
    wait_for("the access line", || logged().contains(&line).then_some(()));
    fs::write(&file, format!("{text}logging.file={}\nlogging.level=error\n", log.display()))
        .expect("the scratch directory takes files");
    site.server.signal("HUP");
    wait_for("silence", || {
        let before = logged();
        get(&site, &channel).expect(200);
        (logged() == before).then_some(())
    });
}

/// A site that serves HTTPS with a certificate of the name `first`, the keystore, and the directory that it is in.
fn site_with_certificate() -> (Scratch, PathBuf, Site) {
    let scratch = Scratch::new();
    let store = scratch.join("keystore.p12");
    certificate(&scratch, &store, "first");
    let site = https_site(&store);
    (scratch, store, site)
}

#[test]
fn a_new_certificate_is_used_for_new_connections() {
    let (scratch, store, site) = site_with_certificate();
    let port = &https_port(&site);
    assert!(subject(port).contains("CN = first"));
    certificate(&scratch, &store, "second");
    reload(&site, "");
    assert!(subject(port).contains("CN = second"));
    fs::write(&store, "no keystore").expect("the scratch directory takes files");
    site.server.signal("HUP");
    wait_for("the refusal", || site.server.log().contains("is not reloaded").then_some(()));
    assert!(subject(port).contains("CN = second"));
}

#[test]
fn https_off_and_on_again_serves_the_renewed_certificate() {
    let (scratch, store, site) = site_with_certificate();
    let port = &https_port(&site);
    reload(&site, "https.enabled=false");
    site.server.wait_log("https.enabled has changed: that takes effect when");
    assert!(subject(port).contains("CN = first"));
    // The running HTTPS keeps its certificate, and says so, but other settings change.
    fs::write(&store, "no keystore").expect("the scratch directory takes files");
    reload(&site, "cache.max.age=7");
    site.server.wait_log("HTTPS is served with the old certificate until the restart: ");
    assert!(subject(port).contains("CN = first"));
    certificate(&scratch, &store, "second");
    reload(&site, "https.enabled=true");
    assert!(subject(port).contains("CN = second"));
}

#[test]
fn https_off_and_on_again_with_a_garbage_keystore_is_refused() {
    let (_scratch, store, site) = site_with_certificate();
    let port = &https_port(&site);
    reload(&site, "https.enabled=false");
    fs::write(&store, "no keystore").expect("the scratch directory takes files");
    let file = site.server.configuration();
    let text = fs::read_to_string(&file).expect("the configuration is there");
    fs::write(&file, format!("{text}https.enabled=true\n")).expect("the scratch directory takes files");
    site.server.signal("HUP");
    wait_for("the refusal", || {
        site.server.log().contains("is not reloaded, the old one stays: ").then_some(())
    });
    site.server.wait_log("https.keystore");
    assert!(subject(port).contains("CN = first"));
}

#[test]
fn a_changed_server_name_changes_nothing_before_the_restart() {
    let site = Site::start(&[]);
    let (user, channel) = site.public_channel();
    let media = format!("{channel}/{}", site.upload(&user, &channel));
    reload(&site, "xmpp.component.servername=elsewhere.test\ncache.max.age=7s");
    let log = site.server.log();
    assert!(log.contains("xmpp.component.servername has changed: that takes effect when"), "{log}");
    // The default of media.domains is the server name that runs.
    let answer = get(&site, &media).expect(200);
    assert_eq!(answer.header("cache-control"), Some("public, max-age=7"));
    site.upload(&user, &channel);
    get(&site, "room@elsewhere.test").expect(404);
}

/// A site with HTTP and, at a port of its own, HTTPS.
fn https_site(store: &Path) -> Site {
    Site::start(&[
        ("http.enabled", "true"),
        ("https.enabled", "true"),
        ("https.port", "0"),
        ("https.keystore.path", &store.display().to_string()),
        ("https.keystore.password", "secret"),
    ])
}

/// The port of HTTPS, which is the second that listens.
fn https_port(site: &Site) -> String {
    let log = site.server.log();
    let mut ports = log.lines().filter_map(|line| line.split("listening on 0.0.0.0:").nth(1));
    ports.nth(1).expect("two ports").to_owned()
}

/// Makes a PKCS#12 file for this name.
fn certificate(scratch: &Scratch, store: &Path, name: &str) {
    let (key, cert) =
        (scratch.join("key.pem").display().to_string(), scratch.join("cert.pem").display().to_string());
    let subject = format!("/CN={name}");
    let request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"];
    let (status, printed) =
        run(&[&request[..], &["-keyout", &key, "-out", &cert, "-subj", &subject]].concat());
    assert_eq!(status, 0, "{printed}");
    let store = store.display().to_string();
    let export = [
        "openssl",
        "pkcs12",
        "-export",
        "-inkey",
        &key,
        "-in",
        &cert,
        "-passout",
        "pass:secret",
        "-out",
        &store,
    ];
    let (status, printed) = run(&export);
    assert_eq!(status, 0, "{printed}");
}

/// The subject of the certificate that is shown on this port.
fn subject(port: &str) -> String {
    let (_, printed) = run(&["openssl", "s_client", "-connect", &format!("127.0.0.1:{port}")]);
    printed.lines().find(|line| line.starts_with("subject=")).unwrap_or_default().to_owned()
}

#[test]
fn a_service_manager_is_told_of_every_change() {
    let name = format!("media-server-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a short name");
    let manager = UnixDatagram::bind_addr(&address).expect("a name that is free");
    manager.set_read_timeout(Some(PATIENCE)).expect("a time");
    let told = || {
        let mut bytes = [0; 200];
        let length = manager.recv(&mut bytes).expect("the server tells");
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    let scratch = Scratch::new();
    let file = scratch.join("mediaserver.properties");
    let text = properties(0, Xmpp { client_port: 1, component_port: 1 }, scratch.path(), &[]);
    fs::write(&file, text).expect("the scratch directory takes files");
    let command = [PROGRAM, "-c", &file.display().to_string()];
    let mut server =
        Guarded::start(&command, &[("NOTIFY_SOCKET", &format!("@{name}"))], &scratch.join("log"));
    assert_eq!(told(), "READY=1");
    wait_for("the line of the address", || server.printed().contains("listening on").then_some(()));
    server.signal("HUP");
    assert!(told().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert_eq!(told(), "READY=1");
    server.signal("TERM");
    assert_eq!(told(), "STOPPING=1");
    assert_eq!(server.wait(), 0);
}
