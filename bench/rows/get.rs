//! Downloads: small ones, conditional ones, large ones and ranges.

use std::io::Write;

use crate::http::Load;
use crate::options::Options;
use crate::peers::ejabberd::Ejabberd;
use crate::peers::nginx::Nginx;
use crate::peers::prosody::FileShare;
use crate::report::{Goal, Report};
use crate::rounds::{Measured, ROUNDS, Side, Turn, alternate, round};
use crate::site::{PUBLIC, Site, file};
use crate::support::http::{Answer, Request};
use crate::support::scratch::Scratch;
use crate::uploads::{Slots, Uploader};

/// Bytes of a small media.
const SMALL: usize = 10 * 1024;
/// Bytes of a large one.
const LARGE: usize = 100 << 20;
/// Bytes of a range of it.
const RANGE: usize = 64 * 1024;

/// Our server and nginx with the same file.
struct Pair {
    site: Site,
    nginx: Nginx,
    /// Where the file is on each.
    paths: [String; 2],
}

impl Pair {
    fn start(bytes: usize) -> Self {
        let scratch = Scratch::new();
        let file = file(&scratch, "file.jpg", bytes);
        let (site, nginx) = (Site::start(&[]), Nginx::start());
        let paths = [site.upload(PUBLIC, &file, "image/jpeg"), nginx.serve("file.jpg", &file)];
        let pair = Self { site, nginx, paths };
        let content = std::fs::read(&file).expect("the file is there");
        for number in 0..2 {
            assert!(pair.get(number).body == content, "the file came with other bytes");
        }
        pair
    }

    fn ports(&self) -> [u16; 2] {
        [self.site.server.port(), self.nginx.port()]
    }

    fn get(&self, number: usize) -> Answer {
        let url = format!("http://127.0.0.1:{}{}", self.ports()[number], self.paths[number]);
        Request::get(&url).send().expect(200)
    }

    /// Downloads from either.
    fn load(&self, number: usize, connections: usize, status: u16, length: usize, fields: Fields) -> Load {
        get(self.ports()[number], &self.paths[number], connections, status, length, fields)
    }

    /// Both with these loads; the unit is a response.
    fn sides(&self, loads: [Load; 2]) -> Vec<Side<'static>> {
        let [mut ours, mut theirs] = loads;
        vec![
            Side::new("media server", self.site.server.pid(), move |time| ours.responses(time)),
            Side::new("nginx", self.nginx.pid(), move |time| theirs.responses(time)),
        ]
    }

    /// Both with so many small downloads at a time.
    fn small(&self, connections: usize) -> Vec<Side<'static>> {
        self.sides([0, 1].map(|number| self.load(number, connections, 200, SMALL, none())))
    }
}

/// Gives the fields of the next request, each with its line's end.
type Fields = Box<dyn FnMut() -> String>;

fn none() -> Fields {
    Box::new(String::new)
}

fn get(port: u16, path: &str, connections: usize, status: u16, length: usize, mut fields: Fields) -> Load {
    let line = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n");
    Load {
        ports: vec![port],
        connections,
        status,
        length: length as u64,
        request: Box::new(move |request| {
            let _ = write!(request, "{line}{}\r\n", fields());
        }),
    }
}

/// A small public media, whose channel's rights and whose row are looked up each time.
pub fn small(options: &Options, report: &mut Report) {
    for connections in [32, 256] {
        let sides = first_turns(options, connections);
        let case = format!("GET 10 KiB, {connections}, first run after the start");
        report.p99(&case, &sides[0], &sides[1], Goal::AtMost(1.0));
    }
    let pair = Pair::start(SMALL);
    for (connections, rate, p99) in
        [(1, 1.0, Goal::None), (32, 1.0, Goal::AtMost(1.0)), (256, 0.95, Goal::AtMost(1.0))]
    {
        let sides = alternate(options.time, pair.small(connections));
        let case = format!("GET 10 KiB, {connections} at a time");
        report.rate(&case, "/s", &sides[0], &sides[1], Goal::AtLeast(rate));
        report.p99(&case, &sides[0], &sides[1], p99);
    }
    beside_xmpp_servers(options, report, &pair);
}

/// The first small downloads from servers that are new in each round.
fn first_turns(options: &Options, connections: usize) -> Vec<Measured> {
    let mut measured = Vec::new();
    for number in 0..ROUNDS {
        let pair = Pair::start(SMALL);
        round(number, options.time, &mut pair.small(connections), &mut measured);
    }
    measured
}

/// The same from the servers that XMPP clients upload to today.
fn beside_xmpp_servers(options: &Options, report: &mut Report, pair: &Pair) {
    let (prosody, ejabberd) = (FileShare::start(), Ejabberd::start());
    let [mut from_prosody, mut from_ejabberd] = [prosody.slots, ejabberd.slots].map(stored);
    let mut ours = pair.load(0, 32, 200, SMALL, none());
    let sides = alternate(
        options.time,
        vec![
            Side::new("media server", pair.site.server.pid(), move |time| ours.responses(time)),
            Side::new("Prosody", prosody.pid(), move |time| from_prosody.responses(time)),
            Side::new("ejabberd", ejabberd.pid(), move |time| from_ejabberd.responses(time)),
        ],
    );
    for (peer, goal) in [(1, 50.0), (2, 20.0)] {
        report.rate("GET 10 KiB, 32 at a time", "/s", &sides[0], &sides[peer], Goal::AtLeast(goal));
    }
}

/// Uploads a small file to a peer and gets it again and again.
fn stored(slots: Slots) -> Load {
    let mut uploader = slots.several(1);
    uploader[0].upload(SMALL as u64);
    get(slots.port, &uploader[0].stored, 32, 200, SMALL, none())
}

/// The same, which the client has already.
pub fn conditional(options: &Options, report: &mut Report) {
    let pair = Pair::start(SMALL);
    let loads = [0, 1].map(|number| {
        let response = pair.get(number);
        let tag = response.header("etag").expect("files have an ETag").to_owned();
        pair.load(number, 32, 304, 0, Box::new(move || format!("If-None-Match: {tag}\r\n")))
    });
    let sides = alternate(options.time, pair.sides(loads));
    let case = "GET not modified (304), 32 at a time";
    report.rate(case, "/s", &sides[0], &sides[1], Goal::AtLeast(1.0));
    report.p99(case, &sides[0], &sides[1], Goal::AtMost(1.0));
}

/// A large media.
pub fn large(options: &Options, report: &mut Report) {
    let pair = Pair::start(LARGE);
    let [mut ours, mut theirs] = [0, 1].map(|number| pair.load(number, 4, 200, LARGE, none()));
    let sides = alternate(
        options.time,
        vec![
            Side::new("media server", pair.site.server.pid(), move |time| ours.gibibytes(time)),
            Side::new("nginx", pair.nginx.pid(), move |time| theirs.gibibytes(time)),
        ],
    );
    report.rate("GET 100 MiB, 4 at a time", "GiB/s", &sides[0], &sides[1], Goal::AtLeast(1.0));
    let milliseconds = |turn: &Turn| turn.cpu * 1000.0;
    report.compare("  its CPU per GiB", "ms", &sides[0], &sides[1], Goal::AtMost(1.1), milliseconds);
    let milliseconds = |turn: &Turn| (turn.cpu + turn.client_cpu) * 1000.0;
    report.compare("  with its client's", "ms", &sides[0], &sides[1], Goal::AtMost(1.1), milliseconds);
}

/// Pieces of a large media.
pub fn ranges(options: &Options, report: &mut Report) {
    let pair = Pair::start(LARGE);
    for (connections, p99) in [(1, Goal::None), (32, Goal::AtMost(1.0))] {
        let loads = [0, 1].map(|number| {
            let mut state = 88_172_645_463_325_252_u64;
            let fields = move || {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let first = state % (LARGE - RANGE) as u64;
                format!("Range: bytes={first}-{}\r\n", first + RANGE as u64 - 1)
            };
            pair.load(number, connections, 206, RANGE, Box::new(fields))
        });
        let sides = alternate(options.time, pair.sides(loads));
        let case = format!("GET random 64 KiB of 100 MiB, {connections} at a time");
        report.rate(&case, "/s", &sides[0], &sides[1], Goal::AtLeast(0.95));
        report.p99(&case, &sides[0], &sides[1], p99);
    }
}
