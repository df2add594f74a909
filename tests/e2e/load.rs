//! Crowds, slow clients, and clients that vanish: what they cost, and what a fast client feels meanwhile.
//!
//! `cargo test --test e2e load:: -- --nocapture` prints the figures. `make soak` runs the same at full size.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::support::http::transaction;
use crate::support::load::{Fast, Latencies, connect, connect_narrow, descriptors, exchange, is_ready};
use crate::support::load::{database_descriptors, limit_descriptors, memory, reset, size};
use crate::support::prosody::DOMAIN;
use crate::support::scripted_peer::{Peer, Side, channel_service, result};
use crate::support::server::Server;
use crate::support::stanza::{Stanza, escape};
use crate::support::{PATIENCE, soak, wait_for};

/// Bytes of the media that the fast client asks for.
const SMALL: usize = 2000;
/// Bytes of a media that no socket's buffer holds.
const LARGE: usize = 16 << 20;
/// How much slower the fast client's usual request may be beside a crowd: the machine may have two cores, and the
/// crowd's clients are on it, too.
const SLOWER: u32 = 20;
/// On top of that: what a scheduler may do to a measurement.
const SLACK: Duration = Duration::from_millis(500);
/// Requests that are measured before a crowd comes.
const ALONE: usize = 100;

/// A media server with an XMPP server that confirms everything but what users named `silent` ask.
struct Rig {
    server: Server,
    /// How often someone was asked to confirm.
    asked: Arc<AtomicUsize>,
    small: String,
    large: String,
    begin: Held,
    alone: Latencies,
    _peer: Peer,
}

/// The resources that the server holds.
#[derive(Clone, Copy)]
struct Held {
    descriptors: usize,
    /// Those of the embedded database among them.
    database: usize,
    memory: usize,
}

impl Rig {
    fn start(settings: &[(&str, &str)]) -> Self {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let peer = Peer::start(move |side, stanza| match side {
            // The server pings a peer that is silent for long.
            _ if stanza.name == "iq" && stanza.all("ping").len() == 1 => vec![result(stanza, "")],
            Side::Client => channel_service(stanza, "open", &[]),
            Side::Component => {
                count.fetch_add(1, Ordering::Relaxed);
                confirmation(stanza)
            }
        });
        // Not a line for each of them.
        let server = Server::start(peer.xmpp(), &[settings, &[("logging.level", "warn")]].concat());
        peer.wait_login(Side::Component, 1);
        peer.wait_login(Side::Client, 1);
        let port = server.port();
        let [small, large] = [SMALL, LARGE].map(|bytes| {
            wait_for("an upload to be let in", || {
                let answer = exchange(connect(0, port), &upload("fast", bytes));
                answer.starts_with(b"HTTP/1.1 201").then(|| format!("fast@{DOMAIN}/{}", id_of(&answer)))
            })
        });
        wait_for("the channel to be known as public", || {
            exchange(connect(0, port), &get(&small)).starts_with(b"HTTP/1.1 200").then_some(())
        });
        let alone = Latencies::of(ALONE, || fetch(port, &small, SMALL));
        let begin = Held::by(&server);
        Self { server, asked, small, large, begin, alone, _peer: peer }
    }

    fn port(&self) -> u16 {
        self.server.port()
    }

    /// Lets a fast client ask for the small media until it is stopped.
    fn fast(&self) -> Fast {
        let (port, path) = (self.port(), self.small.clone());
        Fast::start(move || fetch(port, &path, SMALL))
    }

    /// Waits until the server holds so many connections more than in the beginning.
    fn wait_held(&self, connections: usize) {
        let enough = self.begin.descriptors + connections;
        wait_for("the server to hold the crowd", || (descriptors(self.server.pid()) >= enough).then_some(()));
    }

    /// Waits until someone was asked to confirm for this many times.
    fn wait_asked(&self, times: usize) {
        wait_for("all to be asked", || (self.asked.load(Ordering::Relaxed) >= times).then_some(()));
    }

    /// Prints and checks what the crowd did to the fast client, and what each of it took of the server's memory.
    #[allow(clippy::print_stderr, reason = "the figures are what the test is run for")]
    fn report(&self, crowd: &str, number: usize, most_each: usize, beside: &Latencies) {
        let pid = self.server.pid();
        let (now, most) = (memory(pid, "VmRSS"), memory(pid, "VmHWM"));
        let each = (now.saturating_sub(self.begin.memory) * 1024) / number;
        let alone = &self.alone;
        eprintln!(
            "load: {number} {crowd}: {each} bytes of memory each, {now} KiB in all, {most} KiB at most\n\
             load: {number} {crowd}: fast client beside them {beside}\n\
             load: {number} {crowd}: fast client alone {alone}"
        );
        soak::worst(&format!("a fast client's request beside {crowd}"), beside.worst());
        assert!(each <= most_each, "{each} bytes for each of {number} {crowd}");
        assert!(beside.median() <= alone.median() * SLOWER + SLACK, "{crowd}: {beside}; alone {alone}");
        assert!(beside.worst() < PATIENCE / 2, "{crowd}: {beside}; alone {alone}");
    }

    /// Checks that the server is as it was before the crowd.
    fn settle(&self) {
        let pid = self.server.pid();
        wait_for("the server to let go of what the crowd held", || {
            let opened = database_descriptors(pid).saturating_sub(self.begin.database);
            (descriptors(pid) <= self.begin.descriptors + opened).then_some(())
        });
        fetch(self.port(), &self.small, SMALL);
        fetch(self.port(), &self.large, LARGE);
        let uploaded = exchange(connect(0, self.port()), &upload("fast", SMALL));
        assert!(uploaded.starts_with(b"HTTP/1.1 201"), "{}", String::from_utf8_lossy(&uploaded));
        assert_eq!(unfinished(&self.server.storage()), 0, "temporary files are left");
        assert!(!self.server.log().contains("panic"), "{}", self.server.log());
    }
}

impl Held {
    fn by(server: &Server) -> Self {
        let pid = server.pid();
        Self {
            descriptors: descriptors(pid),
            database: database_descriptors(pid),
            memory: memory(pid, "VmRSS"),
        }
    }
}

/// What the user asked says.
fn confirmation(request: &Stanza) -> Vec<String> {
    let (from, to) = (escape(request.attribute("to")), escape(request.attribute("from")));
    if request.name != "message" || from.starts_with("silent") {
        return Vec::new();
    }
    let confirm =
        request.child("confirm", "http://jabber.org/protocol/http-auth").expect("a confirm request");
    let confirm = confirm.to_xml("jabber:component:accept");
    vec![format!("<message from='{from}' to='{to}' type='normal'>{confirm}</message>")]
}

fn get(path: &str) -> Vec<u8> {
    format!("GET /{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").into_bytes()
}

/// Downloads this many bytes.
fn fetch(port: u16, path: &str, bytes: usize) {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout above 0 is valid");
    let answer = exchange(stream, &get(path));
    let head = String::from_utf8_lossy(&answer[..answer.len().min(12)]).into_owned();
    assert!(head == "HTTP/1.1 200" && answer.len() > bytes, "{head}, {} bytes", answer.len());
}

fn credentials(user: &str) -> String {
    STANDARD.encode(format!("{user}@{DOMAIN}/x:{}", transaction()))
}

/// The head of an upload of this many bytes by a user to the own channel; the form's beginning and end are included.
fn upload_head(user: &str, length: usize) -> String {
    format!(
        "POST /{user}@{DOMAIN} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Basic {}\r\n\
         Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {length}\r\n\r\n",
        credentials(user)
    )
}

fn form(bytes: usize) -> Vec<u8> {
    let begin = b"--b\r\nContent-Disposition: form-data; name=\"data\"; filename=\"a.bin\"\r\n\r\n";
    [begin, vec![0xa5; bytes].as_slice(), b"\r\n--b--\r\n"].concat()
}

fn upload(user: &str, bytes: usize) -> Vec<u8> {
    let form = form(bytes);
    [upload_head(user, form.len()).into_bytes(), form].concat()
}

fn id_of(answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(answer);
    let json = text.split("\r\n\r\n").nth(1).expect("an answer has a body");
    let json: serde_json::Value = serde_json::from_str(json).expect("the answer is JSON");
    json["id"].as_str().expect("an upload has an id").to_owned()
}

/// Whether this gets an answer, and not just the end of the connection.
fn is_answered(mut stream: &TcpStream, request: &str) -> bool {
    let mut answer = [0; 12];
    let sent = stream.write_all(request.as_bytes());
    sent.and_then(|()| stream.read_exact(&mut answer)).is_ok() && answer == *b"HTTP/1.1 200"
}

/// Files of uploads that did not end.
fn unfinished(storage: &Path) -> usize {
    let entries = std::fs::read_dir(storage).expect("the storage is there").flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(".upload-")).count()
}

fn caps(connections: usize) -> String {
    (connections + 1000).to_string()
}

#[test]
fn idle_connections_for_a_while() {
    let number = size(1000, 5000);
    let rig = Rig::start(&[("http.connections.max", &caps(number))]);
    let crowd: Vec<TcpStream> = (0..number).map(|number| connect(number, rig.port())).collect();
    rig.wait_held(number);
    let beside = Latencies::of(ALONE, || fetch(rig.port(), &rig.small, SMALL));
    rig.report("idle connections", number, 4096, &beside);
    drop(crowd);
    rig.settle();
}

#[test]
fn dripped_heads_bodies_and_reads_for_a_while() {
    let each = size(40, 400);
    let (threads, transfers) = ((2 * each + 30).to_string(), (each + 10).to_string());
    let rig = Rig::start(&[
        ("http.threads", &threads),
        ("http.uploads.max", &transfers),
        ("http.connections.max", &caps(3 * each)),
    ]);
    let (port, form) = (rig.port(), form(LARGE));
    let heads: Vec<TcpStream> = (0..each).map(|number| connect(number, port)).collect();
    let bodies: Vec<TcpStream> = (0..each).map(|number| connect(number, port)).collect();
    for (number, mut body) in bodies.iter().enumerate() {
        let head = upload_head(&format!("drip{number}"), form.len());
        body.write_all(head.as_bytes()).expect("the server takes heads");
    }
    let reads: Vec<TcpStream> = (0..each).map(|number| connect_narrow(number, port)).collect();
    for mut read in &reads {
        read.write_all(&get(&rig.large)).expect("the server takes heads");
    }
    rig.wait_held(3 * each);
    let fast = rig.fast();
    let end = Instant::now() + soak::time(Duration::from_secs(2));
    let head = get(&rig.small);
    for at in 0.. {
        // Whom the server has cut off meanwhile can't go on.
        for mut drip in &heads {
            let _ = drip.write_all(&head[at % head.len()..=at % head.len()]);
        }
        for mut drip in &bodies {
            let _ = drip.write_all(&form[at..=at]);
        }
        for mut drip in &reads {
            let _ = drip.read(&mut [0]);
        }
        if Instant::now() >= end {
            break;
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    rig.report("dripping clients", 3 * each, 256 * 1024, &fast.stop());
    if soak::time(Duration::ZERO) >= Duration::from_secs(50) {
        // They are still there, but the server has had enough of them.
        rig.settle();
    }
    drop((heads, bodies, reads));
    rig.settle();
}

#[test]
fn slow_transfers_beside_fast_ones_for_a_while() {
    let each = size(60, 500);
    let (threads, transfers) = ((2 * each + 24).to_string(), (each + 40).to_string());
    let rig = Rig::start(&[
        ("http.threads", &threads),
        ("http.uploads.max", &transfers),
        ("http.connections.max", &caps(2 * each)),
    ]);
    let port = rig.port();
    let steps = usize::try_from(soak::time(Duration::from_secs(2)).as_millis() / 500).expect("few steps");
    let form = form(steps * 4096);
    let uploads: Vec<TcpStream> = (0..each).map(|number| connect(number, port)).collect();
    for (number, mut upload) in uploads.iter().enumerate() {
        let head = upload_head(&format!("slow{number}"), form.len());
        upload.write_all(head.as_bytes()).expect("the server takes heads");
    }
    let downloads: Vec<TcpStream> = (0..each).map(|number| connect_narrow(number, port)).collect();
    for mut download in &downloads {
        download.write_all(&get(&rig.large)).expect("the server takes heads");
    }
    rig.wait_held(2 * each);
    let fast = rig.fast();
    let mut buffer = [0; 4096];
    for piece in form.chunks(form.len().div_ceil(steps)) {
        let begun = Instant::now();
        for mut upload in &uploads {
            upload.write_all(piece).expect("the server reads slow uploads");
        }
        for mut download in &downloads {
            assert!(download.read(&mut buffer).expect("the server sends slow downloads") > 0);
        }
        fetch(port, &rig.large, LARGE);
        // An address of its own: the slow uploads may have all that one address may have.
        let uploaded = exchange(connect(each, port), &upload("fast", SMALL));
        assert!(uploaded.starts_with(b"HTTP/1.1 201"), "{}", String::from_utf8_lossy(&uploaded));
        std::thread::sleep(Duration::from_millis(500).saturating_sub(begun.elapsed()));
    }
    rig.report("slow transfers", 2 * each, 256 * 1024, &fast.stop());
    for mut upload in uploads {
        let mut answer = String::new();
        upload.read_to_string(&mut answer).expect("slow uploads are answered");
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    }
    drop(downloads);
    rig.settle();
}

#[test]
fn clients_that_vanish_for_a_while() {
    let rig = Rig::start(&[("media.todisk.threshold", "1000")]);
    let (port, fast) = (rig.port(), rig.fast());
    let end = Instant::now() + soak::time(Duration::from_secs(2));
    let request = upload("vanishing", 100_000);
    let mut number = 0;
    while Instant::now() < end || number < 40 {
        let mut uploading = connect(number, port);
        // Mid-head, mid-form, and all but the last byte.
        let part = [20, 600, 50_000, request.len() - 1][number % 4];
        uploading.write_all(&request[..part]).expect("the server takes a part");
        let mut downloading = connect_narrow(number, port);
        downloading.write_all(&get(&rig.large)).expect("the server takes heads");
        downloading.read_exact(&mut [0; 1000]).expect("the answer begins");
        if number / 4 % 2 == 0 {
            reset(&uploading);
            reset(&downloading);
        }
        number += 1;
    }
    soak::count("clients that vanished", 2 * number as u64);
    rig.report("vanished clients", 2 * number, LARGE, &fast.stop());
    rig.settle();
    let listed = exchange(connect(0, port), &get(&format!("vanishing@{DOMAIN}")));
    assert!(listed.ends_with(b"\r\n\r\n[]"), "{}", String::from_utf8_lossy(&listed));
}

#[test]
fn descriptors_run_out_for_a_while() {
    // Not more than the kernel holds for the server.
    let number = size(300, 900);
    let rig = Rig::start(&[("http.connections.max", &caps(number))]);
    let (port, pid) = (rig.port(), rig.server.pid());
    let room = 50;
    let end = Instant::now() + soak::time(Duration::ZERO);
    let mut rounds = 0;
    while rounds < 3 || Instant::now() < end {
        limit_descriptors(pid, (rig.begin.descriptors + room) as u64);
        let crowd: Vec<TcpStream> = (0..number).map(|number| connect(number, port)).collect();
        wait_for("the server to take what it can", || {
            (descriptors(pid) >= rig.begin.descriptors + room - 1).then_some(())
        });
        wait_for("one to be closed for want of a descriptor", || crowd.iter().any(is_ready).then_some(()));
        // Some go: others come in, and are answered, though the limit is as low as before.
        let mut crowd = crowd;
        let staying = crowd.split_off(number / 2);
        drop(crowd);
        let request = format!("OPTIONS /{} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", rig.small);
        let answered = staying.into_iter().filter(|stream| is_answered(stream, &request)).count();
        assert!(answered > number / 4, "{answered} of {}", number / 2);
        wait_for("the crowd to be gone", || (descriptors(pid) <= rig.begin.descriptors).then_some(()));
        fetch(port, &rig.small, SMALL);
        rounds += 1;
    }
    limit_descriptors(pid, 10_000);
    let complaints = rig.server.log().matches("can't accept connections").count();
    assert!((1..=1 + rounds / 10).contains(&complaints), "{complaints} lines:\n{}", rig.server.log());
    rig.settle();
}

#[test]
fn parked_requests_for_a_while() {
    let number = size(1500, 10_000);
    let (connections, pending) = (caps(number), number.to_string());
    let rig = Rig::start(&[
        ("http.connections.max", &connections),
        ("xmpp.pending.max", &pending),
        ("xmpp.pending.per.address.max", &pending),
        ("xmpp.pending.per.user.max", "64"),
        ("xmpp.reply.timeout", "3600000"),
    ]);
    let (port, before) = (rig.port(), rig.asked.load(Ordering::Relaxed));
    let fast = rig.fast();
    let asking = |number: usize| {
        let mut stream = connect(number, port);
        // Each user's own channel: nobody is asked who may not do it.
        let user = format!("silent{}", number / 8);
        let token = credentials(&user);
        let mut request = format!("DELETE /{user}@{DOMAIN}/{number} HTTP/1.1\r\nHost: media.example.org\r\n");
        for field in ["User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0)", "Accept: */*", "DNT: 1"] {
            let _ = write!(request, "{field}\r\n");
        }
        let _ = write!(request, "Authorization: Basic {token}\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("the server takes heads");
        stream
    };
    let mut crowd = Vec::new();
    while crowd.len() < number {
        // Not more at once than may wait for a worker.
        let next = number.min(crowd.len() + 1000);
        crowd.extend((crowd.len()..next).map(asking));
        rig.wait_asked(before + next);
    }
    rig.report("requests that are being parked", number, 16 * 1024, &fast.stop());
    let beside = Latencies::of(ALONE, || fetch(port, &rig.small, SMALL));
    rig.report("parked requests", number, 16 * 1024, &beside);
    let mut refused = String::new();
    asking(number).take(12).read_to_string(&mut refused).expect("who comes too late is answered");
    assert_eq!(refused, "HTTP/1.1 503");
    // All hang up: all places are free again, for as many others.
    drop(crowd);
    rig.settle();
    let again: Vec<TcpStream> = (number..number + number / 10).map(asking).collect();
    rig.wait_asked(before + number + number / 10);
    assert!(!again.iter().any(is_ready), "nobody is refused");
}
