//! A few clients must not starve others: slow transfers from few addresses, a log that nobody reads, a locked table.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::crash::on_postgresql;
use crate::site::Site;
use crate::support::http::{Raw, Request};
use crate::support::load::{connect, connect_narrow};
use crate::support::{postgres, wait_for};

/// Bytes of a media that no socket's buffer holds.
const LARGE: usize = 16 << 20;
/// Longer than any request here takes unless it is starved.
const PROMPT: Duration = Duration::from_secs(2);

/// A public channel with a large media: its path.
fn large_media(site: &Site) -> String {
    let (user, channel) = site.public_channel();
    let file = site.server.directory().join("large.bin");
    std::fs::write(&file, vec![0x5a; LARGE]).expect("the scratch directory takes files");
    let request = Request::new("POST", &site.url(&channel)).file(&file, "application/octet-stream");
    let id = request.basic(user.jid()).send().expect(201).member("id");
    format!("{channel}/{id}")
}

#[test]
fn slow_downloads_from_two_addresses_refuse_nobody() {
    let site = Site::start(&[]);
    let path = large_media(&site);
    let port = site.server.port();
    let slow: Vec<TcpStream> = (20..60).map(|number| connect_narrow(number, port)).collect();
    for mut stream in &slow {
        write!(stream, "GET /{path} HTTP/1.1\r\nHost: h\r\n\r\n").expect("the server takes heads");
        stream.read_exact(&mut [0; 100]).expect("the response begins");
    }
    for _ in 0..5 {
        let begun = Instant::now();
        let answer = Request::get(&site.url(&path)).send().expect(200);
        assert!(answer.body.len() == LARGE && begun.elapsed() < PROMPT * 5);
    }
    let threads = std::fs::read_dir(format!("/proc/{}/task", site.server.pid())).expect("it runs").count();
    assert!(threads < 30, "{threads} threads for {} slow readers", slow.len());
}

#[test]
fn slow_uploads_from_two_addresses_refuse_nobody() {
    let site = Site::start(&[("http.uploads.max", "48"), ("xmpp.pending.per.user.max", "100")]);
    let (user, channel) = site.public_channel();
    let port = site.server.port();
    let slow: Vec<TcpStream> = (20..60).map(|number| connect(number, port)).collect();
    for mut stream in &slow {
        let token = base64(&format!("{}:{}", user.jid(), crate::support::http::transaction()));
        let head = format!("POST /{channel} HTTP/1.1\r\nHost: h\r\nAuthorization: Basic {token}\r\n");
        let form = "Content-Type: multipart/form-data; boundary=B\r\nContent-Length: 100000\r\n\r\n--B\r\n";
        write!(stream, "{head}{form}").expect("the server takes heads");
    }
    for _ in 0..5 {
        let begun = Instant::now();
        site.upload(&user, &channel);
        assert!(begun.elapsed() < PROMPT * 5);
    }
    drop(slow);
}

fn base64(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}

#[test]
fn a_log_that_is_not_read_delays_no_request() {
    let scratch = crate::support::scratch::Scratch::new();
    let fifo = scratch.join("log");
    assert!(Command::new("mkfifo").arg(&fifo).status().expect("mkfifo").success());
    // Open for both, so that neither side waits for the other; it is never read.
    let _held = File::options().read(true).write(true).open(&fifo).expect("a fifo opens");
    let mut site = Site::start(&[("logging.file", fifo.to_str().expect("UTF-8"))]);
    let (user, channel) = site.public_channel();
    let path = format!("/{channel}/{}", site.upload(&user, &channel));
    let mut client = Raw::connect(site.server.port());
    for number in 0..5000 {
        let answer = client.send(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n")).answer();
        assert_eq!(answer.expect("an answer").status, 200, "request {number}");
    }
    let begun = Instant::now();
    drop(client);
    site.server.signal("TERM");
    site.server.wait();
    assert!(begun.elapsed() < Duration::from_secs(10), "the end waits for the log");
}

/// How long the table is locked: longer than a statement waits for a lock.
const LOCKED: Duration = Duration::from_secs(6);

/// Reads a media, asks whether it has changed, and asks for the methods, until then; the time of the slowest request.
fn slowest_until(end: Instant, port: u16, path: &str, etag: &str) -> Duration {
    let mut client = Raw::connect(port);
    let mut slowest = Duration::ZERO;
    while Instant::now() < end {
        for (request, status) in [
            (format!("GET /{path} HTTP/1.1\r\nHost: h\r\n\r\n"), 200),
            (format!("GET /{path} HTTP/1.1\r\nHost: h\r\nIf-None-Match: {etag}\r\n\r\n"), 304),
            (format!("OPTIONS /{path} HTTP/1.1\r\nHost: h\r\n\r\n"), 200),
        ] {
            let begun = Instant::now();
            assert_eq!(client.send(request).answer().expect("an answer").status, status);
            slowest = slowest.max(begun.elapsed());
        }
    }
    slowest
}

#[test]
fn a_locked_table_delays_no_cached_read() {
    on_postgresql(|settings| {
        let site = Site::start(settings);
        let (user, channel) = site.public_channel();
        let path = format!("{channel}/{}", site.upload(&user, &channel));
        let url = site.url(&path);
        let etag = Request::get(&url).send().expect(200).header("etag").expect("an ETag").to_owned();
        let database = settings.iter().find(|(key, _)| *key == "jdbc.db.url").expect("PostgreSQL").1;
        let name = database.rsplit('/').next().expect("a name").split('?').next().expect("a name");
        let mut other = postgres::shared().client(name);
        let mut lock = other.transaction().expect("the database works");
        lock.batch_execute("LOCK TABLE medias IN ACCESS EXCLUSIVE MODE").expect("nobody else locks it");
        let end = Instant::now() + LOCKED;
        let slowest = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..150)
                .map(|_| scope.spawn(|| slowest_until(end, site.server.port(), &path, &etag)))
                .collect();
            clients.into_iter().map(|client| client.join().expect("every request is answered")).max()
        });
        drop(lock);
        // A request that waits for the table would wait for most of that time, or be refused.
        assert!(slowest < Some(LOCKED * 2 / 3), "{slowest:?}");
        wait_for("the row to be read again", || (Request::get(&url).send().status == 200).then_some(()));
    });
}
