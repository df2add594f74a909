//! The cost of very many requests that wait for their users.

use std::fmt::Write as _;
use std::io::Write;
use std::net::TcpStream;

use crate::http::Load;
use crate::options::Options;
use crate::process::Tree;
use crate::report::{Goal, Report};
use crate::rounds::{Side, alternate};
use crate::site::{PUBLIC, Site, file, token};
use crate::support::prosody::DOMAIN;
use crate::support::scratch::Scratch;
use crate::support::xmpp_client::{Client, Policy};

/// Requests that wait.
const PARKED: usize = 10_000;
/// Requests that are sent before those are waited for: what may wait for the XMPP server is limited.
const BATCH: usize = 500;
/// Longer than the row takes, in milliseconds.
const PATIENT: &[(&str, &str)] = &[("xmpp.reply.timeout", "3600000")];
/// Bytes of a media, and how many get it at a time.
const BYTES: usize = 10 * 1024;
const READERS: usize = 8;

/// Memory of each, and what downloads beside them take.
pub fn confirmations(options: &Options, report: &mut Report) {
    let (crowded, quiet) = (Site::start(PATIENT), Site::start(PATIENT));
    let scratch = Scratch::new();
    let small = file(&scratch, "file.jpg", BYTES);
    let loads = [&crowded, &quiet].map(|site| {
        let path = site.upload(PUBLIC, &small, "image/jpeg");
        public_load(site, &path)
    });
    let silent = crowded.prosody.login(DOMAIN, "silent", Policy::Ignore);
    let server = Tree(crowded.server.pid());
    let before = server.memory();
    let waiting = park(&crowded, &silent);
    let each = (server.memory() as f64 - before as f64) / PARKED as f64;
    report.value("memory of each of 10,000 that wait", "KiB", each, None, Goal::AtMost(8.0));

    let [mut ours, mut theirs] = loads;
    let sides = alternate(
        options.time,
        vec![
            Side::new("with 10,000 waiting", crowded.server.pid(), move |time| ours.responses(time)),
            Side::new("itself without", quiet.server.pid(), move |time| theirs.responses(time)),
        ],
    );
    report.p99("downloads beside 10,000 that wait", &sides[0], &sides[1], Goal::AtMost(2.0));
    drop(waiting);
}

/// Requests to the channel of a user who says nothing.
fn park(site: &Site, silent: &Client) -> Vec<TcpStream> {
    let mut waiting = Vec::new();
    while waiting.len() < PARKED {
        waiting.extend((0..BATCH).map(|_| ask(site, silent)));
        silent.confirm(waiting.len() - 1).expect("all are asked");
    }
    waiting
}

fn ask(site: &Site, silent: &Client) -> TcpStream {
    let mut socket = TcpStream::connect(("127.0.0.1", site.server.port())).expect("the server listens");
    let (token, channel) = (token(silent.jid()), silent.bare());
    let mut head = String::new();
    let _ =
        write!(head, "GET /{channel} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {token}\r\n\r\n");
    socket.write_all(head.as_bytes()).expect("the server takes requests");
    socket
}

fn public_load(site: &Site, path: &str) -> Load {
    let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    Load {
        ports: vec![site.server.port()],
        connections: READERS,
        status: 200,
        length: BYTES as u64,
        request: Box::new(move |request| request.extend_from_slice(head.as_bytes())),
    }
}
