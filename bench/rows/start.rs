//! The cost of an idle server: the time to its first response, its memory, its size.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::options::Options;
use crate::peers::ejabberd::Ejabberd;
use crate::peers::prosody::FileShare;
use crate::process::Tree;
use crate::report::{Goal, Report};
use crate::rounds::median;
use crate::site::{PUBLIC, Site, file, new_database};
use crate::support::child::{Guarded, run};
use crate::support::postgres::Server as Postgres;
use crate::support::scratch::Scratch;
use crate::support::server::PROGRAM;
use crate::uploads::{Slots, Uploader};

/// Starts of each.
const STARTS: usize = 5;
/// Bytes of the file that is asked for.
const BYTES: u64 = 10 * 1024;
/// Pause between two tries.
const PAUSE: Duration = Duration::from_micros(500);
/// How long a server may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A stored file: the port and the path to it.
type Stored = (u16, String);

/// Time and memory until a stored file was served, and the program's size.
pub fn cold(_: &Options, report: &mut Report) {
    let scratch = Scratch::new();
    let postgres = Postgres::start();
    let url = new_database(&postgres);
    let ours = [stopped(&[], &scratch), stopped(&[("jdbc.db.url", &url)], &scratch)];
    let (mut prosody, mut ejabberd) = (FileShare::start(), Ejabberd::start());
    let theirs = [store(prosody.slots), store(ejabberd.slots)];

    let (mut times, mut memories) = (vec![Vec::new(); 4], vec![Vec::new(); 4]);
    let mut keep = |number: usize, (time, memory): (f64, f64)| {
        times[number].push(time);
        memories[number].push(memory);
    };
    for _ in 0..STARTS {
        for (number, (site, stored)) in ours.iter().enumerate() {
            let log = scratch.join("log");
            let file = site.server.configuration().display().to_string();
            keep(number, measure(stored, || Guarded::start(&[PROGRAM, "-c", &file, "serve"], &[], &log)));
        }
        prosody.stop();
        keep(2, measure(&theirs[0], || prosody.launch()));
        ejabberd.stop();
        keep(3, measure(&theirs[1], || ejabberd.launch()));
    }
    let [times, memories] = [times, memories].map(|all| all.into_iter().map(median).collect::<Vec<f64>>());
    for (number, name) in [(2, "Prosody"), (3, "ejabberd")] {
        let peer = |values: &[f64]| Some((name, values[number]));
        report.value("start to the first download", "ms", times[0], peer(&times), Goal::AtMost(50.0));
        report.value("memory after it", "MiB", memories[0], peer(&memories), Goal::AtMost(12.0));
    }
    report.value("start on PostgreSQL to the first download", "ms", times[1], None, Goal::AtMost(50.0));
    report.value("memory after it, on PostgreSQL", "MiB", memories[1], None, Goal::AtMost(12.0));
    report.value("size of the program, stripped", "MiB", size(&scratch), None, Goal::AtMost(10.0));
}

/// A media server that is stopped, with a stored file.
fn stopped(settings: &[(&str, &str)], scratch: &Scratch) -> (Site, Stored) {
    let mut site = Site::start(settings);
    let bytes = usize::try_from(BYTES).expect("small");
    let path = site.upload(PUBLIC, &file(scratch, "file.jpg", bytes), "image/jpeg");
    site.server.stop();
    let port = site.server.port();
    (site, (port, path))
}

/// Milliseconds until the file came, and MiB of memory then.
fn measure(stored: &Stored, launch: impl FnOnce() -> Guarded) -> (f64, f64) {
    let begun = Instant::now();
    let process = launch();
    while !is_served(stored) {
        assert!(begun.elapsed() < PATIENCE, "not served: {}", process.printed());
        std::thread::sleep(PAUSE);
    }
    let time = begun.elapsed().as_secs_f64() * 1000.0;
    (time, Tree(process.pid()).memory() as f64 / 1024.0)
}

fn is_served((port, path): &Stored) -> bool {
    let Ok(mut socket) = TcpStream::connect(("127.0.0.1", *port)) else { return false };
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let mut response = Vec::new();
    let asked = socket.write_all(request.as_bytes()).and_then(|()| socket.read_to_end(&mut response));
    asked.is_ok() && response.starts_with(b"HTTP/1.1 200 ") && response.len() as u64 > BYTES
}

/// Uploads a file to a peer.
fn store(slots: Slots) -> Stored {
    let mut uploader = slots.several(1);
    uploader[0].upload(BYTES);
    (slots.port, uploader[0].stored.clone())
}

/// MiB of the program without symbols.
fn size(scratch: &Scratch) -> f64 {
    let stripped = scratch.join("stripped");
    let (status, printed) = run(&["strip", "-o", &stripped.display().to_string(), PROGRAM]);
    assert_eq!(status, 0, "{printed}");
    stripped.metadata().expect("strip writes a file").len() as f64 / f64::from(1 << 20)
}
