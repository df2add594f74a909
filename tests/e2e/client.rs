//! `buddycloud-media`, as a user runs it, against a real Prosody and the server.

use std::fs;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::site::{Site, assert_asked_once, photo_bytes, unique};
use crate::support::child::run;
use crate::support::dns_server::{DnsServer, Record};
use crate::support::http::Request;
use crate::support::media_client::{CLIENT, MediaClient, Run};
use crate::support::prosody::{
    CHANNELS, DOMAIN, FILE_SHARE, FILE_SHARE_SECRET, PASSWORD, Prosody, make_certificates,
};
use crate::support::relay::Relay;
use crate::support::scratch::Scratch;
use crate::support::scripted_media::ScriptedMedia;
use crate::support::terminal::Terminal;
use crate::support::wait_for;
use crate::support::xmpp_client::Policy;

const SETTINGS: [(&str, &str); 2] =
    [("upload.enabled", "true"), ("http.endpoint", "http://127.0.0.1:@PORT@")];

const MIB: usize = 1024 * 1024;

/// The site that the tests of this file share unless they need one of their own.
fn site() -> &'static Site {
    static SITE: OnceLock<Site> = OnceLock::new();
    SITE.get_or_init(|| Site::start_on(Prosody::start_with_tls(), &SETTINGS))
}

/// A user with a channel of their own, and their client.
fn user(site: &Site, access_model: &str) -> (MediaClient, String) {
    let name = unique("user");
    site.prosody.add_account(DOMAIN, &name);
    let jid = format!("{name}@{DOMAIN}");
    let made = site.admin.create_channel(CHANNELS, &jid, access_model, &[(&jid, "owner")]);
    made.expect("the channel service makes channels");
    (MediaClient::new(&site.prosody, &jid), jid)
}

/// A site behind a relay.
fn relayed(settings: &[(&str, &str)]) -> (Site, Relay) {
    let relay = Relay::listen();
    let endpoint = format!("http://127.0.0.1:{}", relay.port());
    let site = Site::start_on(
        Prosody::start_with_tls(),
        &[settings, &[("upload.enabled", "true"), ("http.endpoint", &endpoint)]].concat(),
    );
    relay.relay_to(site.server.port());
    (site, relay)
}

/// Bytes that differ, in which no boundary is found.
fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|number| (number * 7 % 251) as u8).collect()
}

/// How many media a channel has.
fn count(site: &Site, channel: &str) -> usize {
    let url = format!("http://127.0.0.1:{}/{channel}", site.server.port());
    Request::get(&url).send().expect(200).json().as_array().expect("a list").len()
}

#[test]
fn a_file_goes_through_its_life_in_a_public_and_in_a_private_channel() {
    let site = site();
    for access_model in ["open", "whitelist"] {
        let (client, channel) = user(site, access_model);
        let photo = client.file("a photo.jpg", &photo_bytes());
        let url = client.does(&["put", &channel, &photo]);
        let url = url.trim_end();
        let id = url.rsplit('/').next().expect("a split gives one part");
        assert_eq!(url, site.url(&format!("{channel}/{id}")));
        let name = format!("{channel}/{id}");

        // By URL and by name, under its own name, another one, and none.
        let copies = MediaClient::new(&site.prosody, &channel);
        assert_eq!(copies.does(&["get", url]), "a photo.jpg\n");
        assert_eq!(copies.does(&["get", &name, "-o", "copy"]), "copy\n");
        for copy in ["a photo.jpg", "copy"] {
            assert!(copies.read(copy) == photo_bytes(), "{copy}");
        }
        let output = copies.command(&["get", url, "-o", "-"]).output().expect("it starts");
        assert!(output.stdout == photo_bytes());
        let taken = copies.expect(73, &["get", url]);
        assert_eq!(
            taken.stderr,
            format!("buddycloud-media: {url}: a photo.jpg exists already; -o FILE gives another name\n")
        );
        copies.expect(73, &["get", url, "-o", "copy"]);
        assert_eq!(copies.names(), ["a photo.jpg", "copy"]);

        assert_eq!(client.does(&["set", url, "--title", "A & B", "--name", "b.jpg"]), "");
        let listed = client.does(&["ls", &channel]);
        assert!(listed.starts_with(&format!("{id}  ")) && listed.ends_with("  b.jpg\n"), "{listed}");
        let json = client.does(&["--json", "ls", &channel]);
        let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!((json[0]["id"].as_str(), json[0]["url"].as_str()), (Some(id), Some(url)));
        assert_eq!((json[0]["title"].as_str(), json[0]["fileName"].as_str()), (Some("A & B"), Some("b.jpg")));

        assert_eq!(
            client.does(&["avatar", &channel, &photo]),
            format!("{}\n", site.url(&format!("{channel}/avatar")))
        );
        assert_eq!(client.does(&["rm", url]), "");
        let gone = client.expect(66, &["rm", &name]);
        assert!(gone.stderr.contains("404 Not Found"), "{gone:?}");
        client.expect(66, &["get", url]);
    }
}

#[test]
fn a_public_file_needs_no_account() {
    let site = site();
    let (client, channel) = user(site, "open");
    let url = client.does(&["put", &channel, &client.file("a.txt", b"text")]);
    let stranger = MediaClient::bare();
    assert_eq!(stranger.does(&["get", url.trim_end()]), "a.txt\n");
    assert_eq!(stranger.read("a.txt"), b"text");
    let (member, private) = user(site, "whitelist");
    let url = member.does(&["put", &private, &member.file("a.txt", b"text")]);
    let refused = stranger.expect(78, &["get", url.trim_end()]);
    assert!(refused.stderr.contains("no account: write \"jid = you@example.com\" to "), "{refused:?}");
    // A user without rights is refused, and told why by the server.
    let refused = client.expect(77, &["get", url.trim_end()]);
    assert!(refused.stderr.contains("(403 Forbidden)"), "{refused:?}");
}

/// A name that a server tells is hostile: `safe_name` has the table; here, the file it is about.
#[test]
fn a_download_stays_in_its_folder() {
    let site = site();
    let (client, channel) = user(site, "open");
    let url = client.does(&["put", &channel, &client.file("a.txt", b"text")]);
    let url = url.trim_end();
    let id = url.rsplit('/').next().expect("a split gives one part");
    site.metadata(&format!("UPDATE medias SET fileName = '../../.bashrc' WHERE id = '{id}'"));
    let reader = MediaClient::bare();
    let name = reader.does(&["get", url]);
    assert!(!name.contains('/') && !name.starts_with('.'), "{name}");
    assert_eq!(reader.names(), [name.trim_end()]);
}

#[test]
fn only_own_requests_are_confirmed() {
    let (site, relay) = relayed(&[("xmpp.reply.timeout", "2000")]);
    let (client, channel) = user(&site, "open");
    relay.limit(2 * MIB as u64);
    let file = client.file("big", &bytes(8 * MIB));
    let mut running =
        client.command(&["put", &channel, &file]).stdout(Stdio::null()).spawn().expect("it starts");
    wait_for("the upload", || (relay.connections() > 0).then_some(()));
    // Somebody else asks in the name of the user, who has no other client.
    let url = format!("http://127.0.0.1:{}/{channel}", site.server.port());
    let refused = Request::new("POST", &url).basic(&channel).file(&crate::site::photo(), "image/jpeg").send();
    assert_eq!(refused.status, 403, "{}", refused.text());
    assert!(running.wait().expect("it ends").success());
    assert_eq!(count(&site, &channel), 1);
}

/// The user's other clients get the user's messages.
#[test]
fn messages_of_the_user_go_to_other_clients() {
    let (site, relay) = relayed(&[]);
    let (client, channel) = user(&site, "open");
    let local = channel.split('@').next().expect("a split gives one part").to_owned();
    let desktop = site.prosody.login(DOMAIN, &format!("{local}/desktop"), Policy::Echo);
    relay.limit(2 * MIB as u64);
    let file = client.file("big", &bytes(4 * MIB));
    let mut running =
        client.command(&["put", &channel, &file]).stdout(Stdio::null()).spawn().expect("it starts");
    wait_for("the upload", || (relay.connections() > 0).then_some(()));
    let url = format!("http://127.0.0.1:{}/{channel}", site.server.port());
    Request::new("POST", &url).basic(&channel).file(&crate::site::photo(), "image/jpeg").send().expect(201);
    // The endpoint is the relay's, whichever way the request came.
    assert_asked_once(&desktop, "POST", &format!("http://127.0.0.1:{}/{channel}", relay.port()));
    assert!(running.wait().expect("it ends").success());
}

#[test]
fn each_failure_has_its_status_and_one_clear_line() {
    let site = site();
    let (client, channel) = user(site, "open");
    let file = client.file("a.txt", b"text");
    let config = client.configuration();
    let scratch = Scratch::new();
    let stranger = make_certificates(scratch.path(), DOMAIN).display().to_string();
    let ca = site.prosody.authority().expect("TLS").display().to_string();
    let port = site.prosody.client_port();
    let plain = Prosody::start();
    plain.add_account(DOMAIN, channel.split('@').next().expect("a split gives one part"));
    let replaced = |from: &str, to: &str| config.replace(from, to);
    for (text, status, line) in [
        (
            replaced("password.file = password\n", "password.command = echo wrong\n"),
            77,
            format!("{DOMAIN} refuses the password of {channel} (not-authorized)"),
        ),
        (
            replaced(&ca, &stranger),
            76,
            "the XMPP server failed; its certificate must name example.org".to_owned(),
        ),
        (replaced(&format!("tls.ca = {ca}\n"), ""), 76, "tls.ca trusts".to_owned()),
        (
            replaced(&port.to_string(), &plain.client_port().to_string()),
            76,
            "the XMPP server offers no TLS, but no password is sent without it".to_owned(),
        ),
        (replaced(&port.to_string(), "1"), 69, "can't connect to the XMPP server at 127.0.0.1:1".to_owned()),
        (replaced(&ca, "/nowhere.pem"), 78, "can't read certificates from /nowhere.pem (tls.ca)".to_owned()),
        (replaced("password.file = password\n", ""), 78, "no password: set password.command".to_owned()),
        (replaced("jid = ", "jid: "), 78, "config: line 1: not KEY = VALUE".to_owned()),
        (
            format!("{config}service = absent.example.org\n"),
            69,
            "no media server found at absent.example.org".to_owned(),
        ),
    ] {
        client.configure(&text);
        let run = client.expect(status, &["put", &channel, &file]);
        assert!(run.stderr.contains(&line), "{line}: {run:?}");
        assert_eq!((run.stdout.as_str(), run.stderr.lines().count()), ("", 1), "{run:?}");
    }
    client.configure(&config);
    for (arguments, status, line) in [
        (&["put", &channel][..], 64, "a file is missing\nTry buddycloud-media --help."),
        (&["put", &channel, "missing"], 66, "missing: No such file or directory"),
        (&["get", "http://example.org/a@b.org/c"], 64, "is not https"),
        (&["put", "room@elsewhere.test", &file], 66, "(404 Not Found)"),
        (&["-c", "nowhere", "ls", &channel], 78, "can't read nowhere: No such file"),
        (&["ls", &format!("nobody@{DOMAIN}")], 77, "(403 Forbidden)"),
    ] {
        let run = client.expect(status, arguments);
        assert!(run.stderr.contains(line), "{line}: {run:?}");
        assert_eq!(run.stdout, "");
    }
}

#[test]
fn a_refused_file_is_named_and_the_others_go_on() {
    let site =
        Site::start_on(Prosody::start_with_tls(), &[&SETTINGS[..], &[("media.sizelimit", "100k")]].concat());
    let (client, channel) = user(&site, "open");
    for (name, size) in [("folder/a", 10), ("folder/b/large", 200 * 1024), ("folder/c", 20), ("alone", 5)] {
        client.file(name, &bytes(size));
    }
    std::os::unix::fs::symlink("nowhere", client.home().join("folder/broken")).expect("the home takes links");
    let run = client.expect(77, &["put", &channel, "alone", "folder"]);
    assert_eq!(run.stdout.lines().count(), 3, "{run:?}");
    for line in ["folder/b/large: ", "413 ", "folder/broken: No such file or directory"] {
        assert!(run.stderr.contains(line), "{line}: {run:?}");
    }
    assert_eq!(count(&site, &channel), 3);
    // The URLs are in the order of the arguments.
    let json = client.run(&["--json", "put", &channel, "folder/c", "alone", "folder/a"]);
    let json: serde_json::Value = serde_json::from_str(&json.stdout).expect("JSON");
    let files: Vec<_> = json.as_array().expect("an array").iter().map(|row| row["file"].as_str()).collect();
    assert_eq!(files, [Some("folder/c"), Some("alone"), Some("folder/a")]);
}

#[test]
fn the_password_comes_from_the_environment_a_command_or_a_file() {
    let site = site();
    let (client, channel) = user(site, "open");
    client.does(&["ls", &channel]);
    // The command outranks the file, and the environment both.
    client.file(".config/buddycloud-media/password", b"wrong\n");
    client.configure_more(&format!("password.command = echo {PASSWORD}; echo more\n"));
    client.does(&["ls", &channel]);
    let with = |password: &str| {
        Run::of(client.command(&["ls", &channel]).env("BUDDYCLOUD_MEDIA_PASSWORD", password))
    };
    assert_eq!(with(PASSWORD).status, 0);
    assert_eq!(with("wrong").status, 77);
    // No password stands among the arguments of a process, or in a message.
    assert!(!with("wrong").stderr.contains("wrong"));
}

#[test]
fn srv_records_lead_to_the_server_by_direct_tls_and_by_starttls() {
    let site = site();
    let (client, channel) = user(site, "open");
    let prosody = &site.prosody;
    let [direct, plain] =
        ["_xmpps-client._tcp", "_xmpp-client._tcp"].map(|service| format!("{service}.{DOMAIN}"));
    let record = |name: &str, priority, port| -> Record {
        (name.to_owned(), priority, 0, port, "localhost".to_owned())
    };
    let server = format!("server = 127.0.0.1:{}\n", prosody.client_port());
    let config = client.configuration().replace(&server, "");
    let (tls, starttls) = (prosody.direct_port(), prosody.client_port());
    for (records, expected) in [
        // A lower priority comes first, whatever its kind; one that is down is passed over.
        (vec![record(&plain, 20, starttls), record(&direct, 10, tls)], vec![format!("{tls} (direct TLS)")]),
        (vec![record(&plain, 10, starttls), record(&direct, 20, tls)], vec![format!("{starttls}")]),
        (
            vec![record(&direct, 5, 1), record(&plain, 10, 1), record(&direct, 20, tls)],
            vec!["1 (direct TLS)".to_owned(), "1".to_owned(), format!("{tls} (direct TLS)")],
        ),
        // A server that speaks TLS later than the record says, and the one behind it.
        (
            vec![record(&direct, 5, starttls), record(&plain, 10, starttls)],
            vec![format!("{starttls} (direct TLS)"), format!("{starttls}")],
        ),
    ] {
        let dns = DnsServer::start(records);
        client.configure(&format!("{config}dns = {}\n", dns.address()));
        let run = client.expect(0, &["-v", "ls", &channel]);
        let tried = run.stderr.lines().filter_map(|line| line.split_once("connecting to localhost:"));
        let tried: Vec<_> = tried.map(|(_, place)| place.to_owned()).collect();
        assert_eq!(tried, expected, "{run:?}");
        assert_eq!(dns.asked(), [plain.clone(), direct.clone()]);
    }
    let none = DnsServer::start(vec![(plain, 0, 0, 0, String::new())]);
    client.configure(&format!("{config}dns = {}\n", none.address()));
    let run = client.expect(69, &["ls", &channel]);
    assert!(run.stderr.contains("the DNS says that example.org has no XMPP server"), "{run:?}");
    // The certificate must be for the domain, whatever host the DNS names.
    let scratch = Scratch::new();
    let other = make_certificates(scratch.path(), "localhost").display().to_string();
    let ca = prosody.authority().expect("TLS").display().to_string();
    let dns = DnsServer::start(vec![record(&direct, 0, tls)]);
    client.configure(&format!("{}dns = {}\n", config.replace(&ca, &other), dns.address()));
    client.expect(76, &["ls", &channel]);
}

#[test]
fn https_is_checked_by_the_authorities_of_the_system_and_the_user() {
    let scratch = Scratch::new();
    let authority = make_certificates(scratch.path(), "localhost");
    let at = |name: &str| scratch.join(name).display().to_string();
    let keystore = at("keystore.p12");
    let made = run(&[
        "openssl",
        "pkcs12",
        "-export",
        "-inkey",
        &at("prosody.key"),
        "-in",
        &at("prosody.crt"),
        "-out",
        &keystore,
        "-passout",
        "pass:secret",
    ]);
    assert_eq!(made.0, 0, "{}", made.1);
    let tls_port = crate::support::free_port();
    let site = Site::start_on(
        Prosody::start_with_tls(),
        &[
            ("http.endpoint", &format!("https://localhost:{tls_port}")),
            ("http.enabled", "true"),
            ("https.enabled", "true"),
            ("https.port", &tls_port.to_string()),
            ("https.keystore.path", &keystore),
            ("https.keystore.password", "secret"),
        ],
    );
    let (client, channel) = user(&site, "open");
    let file = client.file("a.txt", &bytes(300_000));
    let refused = client.expect(76, &["put", &channel, &file]);
    assert!(
        refused.stderr.contains("TLS with localhost failed; its certificate must come from"),
        "{refused:?}"
    );
    // Two authorities in one file: of XMPP and of HTTPS.
    let both = [site.prosody.authority().expect("TLS").to_owned(), authority]
        .map(|path| fs::read(path).expect("a file"));
    client.file(".config/buddycloud-media/ca.pem", &both.concat());
    let ca = site.prosody.authority().expect("TLS").display().to_string();
    client.configure(&client.configuration().replace(&ca, "ca.pem"));
    let url = client.does(&["put", &channel, &file]);
    assert!(url.starts_with(&format!("https://localhost:{tls_port}/")), "{url}");
    client.does(&["get", url.trim_end(), "-o", "copy"]);
    assert!(client.read("copy") == bytes(300_000));
}

/// A file of 200 MiB at a known rate: what the bar says is true.
#[test]
fn a_terminal_shows_rate_and_time_left() {
    const SIZE: u64 = 200 * MIB as u64;
    const RATE: f64 = 40.0;
    let mut site = ScriptedMedia::start();
    site.limit((RATE as u64) * MIB as u64);
    let file = fs::File::create(site.client.home().join("film.mkv")).expect("the home takes files");
    file.set_len(SIZE).expect("it may have holes");
    let mut terminal = Terminal::start(&site.client, &format!("{CLIENT} put room@example.org film.mkv"));
    site.tell();
    // Before it is read, the server asks.
    let got = site.request();
    site.confirm(&got);
    got.answer(201, "{\"id\":\"abc\"}");
    assert_eq!(terminal.wait(), 0, "{:#?}", terminal.frames());
    let frames = terminal.frames();
    let url = format!("{}/room@example.org/abc", site.endpoint);
    assert_eq!(frames.iter().filter(|frame| **frame == url).count(), 1, "{frames:#?}");
    let bars: Vec<Bar> = frames.iter().filter_map(|frame| Bar::read(frame)).collect();
    assert!(bars.len() > 5, "{frames:#?}");
    assert!(bars.iter().all(|bar| bar.total == 200.0 && bar.columns <= 100), "{bars:#?}");
    assert!(bars.windows(2).all(|pair| pair[0].done <= pair[1].done), "{bars:#?}");
    // In the middle, where the estimate has settled.
    let middle: Vec<&Bar> = bars.iter().filter(|bar| (80.0..180.0).contains(&bar.done)).collect();
    assert!(!middle.is_empty(), "{bars:#?}");
    for bar in middle {
        assert!((RATE * 0.7..RATE * 1.4).contains(&bar.rate), "{bar:?}");
        let left = (bar.total - bar.done) / RATE;
        assert!((bar.seconds_left - left).abs() < 2.0, "{bar:?}: {left} s are left");
        assert!((bar.filled - bar.done / bar.total).abs() < 0.1, "{bar:?}");
    }
}

/// A bar as a terminal shows it; sizes in MiB.
#[derive(Debug)]
struct Bar {
    columns: usize,
    filled: f64,
    done: f64,
    total: f64,
    rate: f64,
    seconds_left: f64,
}

impl Bar {
    /// `film.mkv [====>    ] 80.00 MiB/200.00 MiB 40.00 MiB/s 3s`
    fn read(frame: &str) -> Option<Self> {
        let (name, rest) = frame.split_once(" [")?;
        assert_eq!(name, "film.mkv", "{frame}");
        let (bar, numbers) = rest.split_once("] ")?;
        let (sizes, rest) = numbers.split_once(" MiB/")?;
        let (total, rest) = rest.split_once(" MiB ")?;
        let (rate, left) = rest.split_once(" MiB/s ")?;
        let filled = bar.chars().filter(|c| *c != ' ').count() as f64 / bar.chars().count() as f64;
        Some(Self {
            columns: frame.chars().count(),
            filled,
            done: sizes.parse().ok()?,
            total: total.parse().ok()?,
            rate: rate.parse().ok()?,
            seconds_left: left.strip_suffix('s')?.parse().ok()?,
        })
    }
}

#[test]
fn ctrl_c_ends_it_within_a_second_and_leaves_nothing_half_done() {
    let (site, relay) = relayed(&[("media.sizelimit", "300M")]);
    let (client, channel) = user(&site, "open");
    client.file("film.mkv", &bytes(32 * MIB));
    relay.limit(8 * MIB as u64);
    let interrupted = |line: &str| {
        let mut terminal = Terminal::start(&client, line);
        wait_for("the transfer", || {
            terminal.frames().iter().any(|frame| frame.contains(" MiB/32.00 MiB ")).then_some(())
        });
        let began = Instant::now();
        terminal.enter("\x03");
        let status = terminal.wait();
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        assert_eq!(status, 130, "{:#?}", terminal.frames());
        assert_eq!(terminal.frames().last().expect("a line"), "buddycloud-media: interrupted");
    };
    interrupted(&format!("{CLIENT} put {channel} film.mkv"));
    wait_for("the server to forget the upload", || {
        let folder = site.server.storage().join(&channel);
        let left = fs::read_dir(folder).map(Iterator::count).unwrap_or_default();
        (left == 0 && count(&site, &channel) == 0).then_some(())
    });
    relay.limit(0);
    let url = client.does(&["put", &channel, "film.mkv"]);
    // A reader that is slow: the relay limits what clients send, so the server is made to stand still.
    fs::remove_file(client.home().join("film.mkv")).expect("it is there");
    relay.hold_after(16 * MIB as u64);
    interrupted(&format!("{CLIENT} get {}", url.trim_end()));
    assert_eq!(client.names(), [] as [&str; 0]);
}

#[test]
fn a_lost_connection_is_tried_again_and_told() {
    let (site, relay) = relayed(&[]);
    let (client, channel) = user(&site, "open");
    client.file("big", &bytes(4 * MIB));
    // The first connection of an upload, of a download, and of one that is written to a pipe.
    relay.cut(1, MIB as u64);
    let run = client.expect(0, &["put", &channel, "big"]);
    assert!(
        run.stderr.contains("big: the connection was lost") && run.stderr.contains("trying again in 1 s"),
        "{run:?}"
    );
    assert_eq!(run.stderr.lines().count(), 1, "{run:?}");
    let url = run.stdout.trim_end();
    for (arguments, copy) in
        [(vec!["get", url, "-o", "copy"], Some("copy")), (vec!["get", url, "-o", "-"], None)]
    {
        relay.cut(1, MIB as u64);
        let output = client.command(&arguments).output().expect("it starts");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && told.contains("trying again in 1 s"), "{told}");
        let got = copy.map_or(output.stdout, |copy| client.read(copy));
        assert!(got == bytes(4 * MIB), "{} bytes", got.len());
    }
    assert_eq!(client.names(), ["big", "copy"]);
}

#[test]
fn slots_are_used_here_and_at_the_service_of_another_server() {
    let settings = [("upload.external.secret", FILE_SHARE_SECRET), ("upload.external.protocol", "jwt")];
    let mut site = Site::start_on(Prosody::start_with_tls(), &[&SETTINGS[..], &settings].concat());
    let (client, _) = user(&site, "open");
    let photo = client.file("ein Bild.jpg", &photo_bytes());
    for arguments in [vec!["slot", &photo], vec!["slot", "--purpose", "ephemeral", &photo]] {
        let url = client.does(&arguments);
        let read = Request::get(url.trim_end()).send().expect(200);
        assert!(read.body == photo_bytes());
        assert_eq!(read.header("content-type"), Some("image/jpeg"));
        assert!(url.ends_with("/ein%20Bild.jpg\n"), "{url}");
    }
    // Prosody's own service hands out slots with a header field.
    let port = site.server.port();
    site.prosody.start_again_with_file_share(&format!("http://127.0.0.1:{port}/external/"));
    client.configure_more(&format!("service = {FILE_SHARE}\n"));
    wait_for("the upload service", || {
        let run = client.run(&["slot", &photo]);
        (run.status == 0).then(|| {
            assert!(run.stdout.contains("/external/"), "{run:?}");
            assert!(Request::get(run.stdout.trim_end()).send().expect(200).body == photo_bytes());
        })
    });
    let refused = client.expect(69, &["slot", "--purpose", "profile", &photo]);
    assert!(refused.stderr.contains("does not keep files for the purpose profile"), "{refused:?}");
}

/// The displays of the section EXAMPLES, joined.
fn examples() -> String {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/man/buddycloud-media.1");
    let page = fs::read_to_string(page).expect("it is in the tree");
    let (_, rest) = page.split_once("\n.Sh EXAMPLES\n").expect("the section");
    let (section, _) = rest.split_once("\n.Sh ").expect("another one behind it");
    let displays = section.split("\n.Bd -literal -offset indent\n").skip(1);
    let text = |display: &str| display.split("\n.Ed").next().expect("one part").replace("\\e", "\\");
    displays.map(|display| text(display) + "\n").collect()
}

#[test]
fn the_examples_of_its_manual_do_what_they_say() {
    let site = site();
    let (client, channel) = user(site, "open");
    // Options in place of the DNS and the system's authorities.
    let more = client.configuration().lines().skip(2).collect::<Vec<_>>().join("\n");
    fs::remove_dir_all(client.folder()).expect("it is there");
    for (name, bytes) in [("photo.jpg", photo_bytes()), ("me.png", photo_bytes())] {
        client.file(name, &bytes);
    }
    for number in 0..21 {
        client.file(&format!("holiday/{number}.txt"), b"text");
    }
    let script = examples()
        .replace("alice@example.com", &channel)
        .replace("room@example.com", &channel)
        .replace("the password", PASSWORD)
        .replace("https://media.example.com/", &site.url(""))
        .replace("curl -H", "curl -q -fsS --noproxy '*' -H")
        .replacen("\ncd\n", &format!("\ncat >>config <<'END'\n{more}\nEND\ncd\n"), 1);
    let program = std::path::Path::new(CLIENT).parent().expect("a folder");
    let path = format!("{}:{}", program.display(), std::env::var("PATH").expect("a path"));
    let script = format!("set -o pipefail\n{script}");
    let run = Run::of(client.at_home(Command::new("bash").args(["-euxc", &script])).env("PATH", path));
    assert_eq!(run.status, 0, "{script}\n{run:#?}");
    assert!(client.read("copy.jpg") == photo_bytes());
    // The newest 20 of 22, of which the photo went; the channel's picture and curl's file came.
    assert_eq!(count(site, &channel), 21, "{run:#?}");
}

#[test]
fn quota_tells_the_files_of_the_channel_and_the_uploads_of_the_user() {
    let site = site();
    let (client, channel) = user(site, "open");
    assert!(client.does(&["quota"]).starts_with("Total: 0 files"), "nothing was sent yet");
    let (small, large) = (client.file("small", &bytes(1000)), client.file("large", &bytes(3 * 1024)));
    client.does(&["put", &channel, &small]);
    client.does(&["slot", &large]);
    // The name of the file in the channel counts, too.
    let told = "Total: 2 files, 4 KiB.\nUploads: 1 file, 3 KiB\nIn channels: 1 file, 1005 bytes\n";
    assert_eq!(client.does(&["quota"]), told);
}

/// The server's side is that of its command "How much I use".
#[test]
fn quota_tells_what_the_command_of_the_server_tells() {
    let mut site = ScriptedMedia::start();
    let commands = "http://jabber.org/protocol/commands";
    let field = |name: &str, label: &str, value: &str| {
        format!("<field var='{name}' label='{label}' type='text-single'><value>{value}</value></field>")
    };
    let form = format!(
        "<x xmlns='jabber:x:data' type='result'><title>How much I use</title>{}{}</x>",
        field("uploads", "Uploads", "3 files, 3 KiB of 1 MiB"),
        field("channels", "In channels", "1 file, 4 bytes"),
    );
    for (arguments, expected) in [
        (&["quota"][..], "Total: 4 files.\nUploads: 3 files, 3 KiB of 1 MiB\nIn channels: 1 file, 4 bytes\n"),
        (
            &["--json", "quota"],
            "[{\"channels\":\"1 file, 4 bytes\",\"note\":\"Total: 4 files.\",\"uploads\":\"3 files, 3 KiB of 1 MiB\"}]\n",
        ),
    ] {
        let running = site.run(arguments);
        let asked = site.stanza();
        let command = asked.child("command", commands).unwrap_or_else(|| panic!("{asked:?}"));
        assert_eq!((asked.attribute("type"), command.attribute("node")), ("set", "quota"));
        let note = "<note type='info'>Total: 4 files.</note>";
        let command =
            format!("<command xmlns='{commands}' node='quota' status='completed'>{form}{note}</command>");
        site.reply(&asked, &command);
        let run = running.join().expect("no panic");
        assert_eq!((run.status, run.stdout.as_str(), run.stderr.as_str()), (0, expected, ""), "{run:?}");
    }
    let running = site.run(&["quota"]);
    let asked = site.stanza();
    let condition = "<item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>";
    site.refuse(&asked, &format!("<error type='cancel'>{condition}</error>"));
    let run = running.join().expect("no panic");
    assert!(run.status == 69 && run.stderr.contains("does not report the usage"), "{run:?}");
}

#[test]
fn help_version_and_completion_know_every_command() {
    let client = MediaClient::bare();
    assert_eq!(client.does(&["--version"]), concat!("buddycloud-media ", env!("CARGO_PKG_VERSION"), "\n"));
    let help = client.does(&["--help"]);
    let completion = concat!(env!("CARGO_MANIFEST_DIR"), "/etc/bash-completion/buddycloud-media");
    let complete = |words: &str| {
        let script = format!(
            ". '{completion}'; compopt() {{ :; }}; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _buddycloud_media; echo \"${{COMPREPLY[@]}}\""
        );
        let (status, printed) = run(&["bash", "-c", &script]);
        assert_eq!(status, 0, "{printed}");
        printed.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let offered = complete("buddycloud-media ''");
    for command in ["put", "get", "ls", "rm", "set", "avatar", "ticket", "slot", "quota"] {
        assert!(
            help.contains(&format!("\n  {command} ")) || help.contains(&format!("\n  {command}\n")),
            "{command}"
        );
        assert!(offered.iter().any(|word| word == command), "{command}: {offered:?}");
    }
    assert_eq!(complete("buddycloud-media --json se"), ["set"]);
    assert_eq!(complete("buddycloud-media set --t"), ["--title"]);
    assert_eq!(complete("buddycloud-media slot --purpose e"), ["ephemeral"]);
    assert_eq!(complete("buddycloud-media -c file ls ''"), [] as [&str; 0]);
}
