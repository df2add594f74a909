//! The client for the command line: how soon it begins, and how fast it sends, beside curl with a ready ticket.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::options::Options;
use crate::report::{Goal, Report};
use crate::rounds::{Done, Side, alternate, median};
use crate::site::{PUBLIC, Site, file};
use crate::support::media_client::MediaClient;
use crate::support::scratch::Scratch;

/// Runs with a small file.
const RUNS: usize = 5;
/// MiB of the file whose sending is measured.
const LARGE: usize = 512;

/// A small upload from the start of the process to its end, and the throughput of a large one.
pub fn uploads(_: &Options, report: &mut Report) {
    let site = Site::start_with_tls(&[("http.endpoint", "http://127.0.0.1:@PORT@")]);
    let client = MediaClient::new(&site.prosody, site.user.bare());
    let scratch = Scratch::new();
    let small = file(&scratch, "small", 1).display().to_string();
    let large = file(&scratch, "large", LARGE << 20).display().to_string();
    let stored = site.server.storage().join(PUBLIC);

    let begin = median_of(|| client.command(&["put", PUBLIC, &small]));
    // The first byte is sent within it, so this is an upper bound of the time to that.
    let case = "start of the client to the end of a small upload";
    report.value(case, "ms", begin.as_secs_f64() * 1000.0, None, Goal::AtMost(150.0));

    let ticket = client.does(&["ticket", PUBLIC, "--post"]);
    let (bearer, url) = (format!("Authorization: Bearer {}", ticket.trim_end()), site.url(PUBLIC));
    let curl = |file: &str| {
        let mut command = Command::new("curl");
        let form = format!("data=@{file}");
        command.args(["-q", "-fsS", "--noproxy", "*", "-o", "/dev/null", "-H", &bearer, "-F", &form, &url]);
        command
    };
    let begin_curl = median_of(|| curl(&small));
    let sides = vec![
        side("client", &stored, begin, || client.command(&["put", PUBLIC, &large])),
        side("curl with a ticket", &stored, begin_curl, || curl(&large)),
    ];
    let sides = alternate(Duration::ZERO, sides);
    report.rate("upload 512 MiB by the client", "MiB/s", &sides[0], &sides[1], Goal::AtLeast(0.9));
}

/// One upload in each turn. What a small one takes, `begin`, is taken off: the start, the log-in and the confirmation.
fn side<'a>(
    name: &'static str,
    stored: &'a Path,
    begin: Duration,
    command: impl Fn() -> Command + 'a,
) -> Side<'a> {
    let run = move |_: Duration| {
        let time = time(&mut command()).saturating_sub(begin);
        clear(stored);
        Done { units: LARGE as f64, time, p99: time }
    };
    Side { name, servers: Vec::new(), run: Box::new(run) }
}

/// The median of some runs.
fn median_of(command: impl Fn() -> Command) -> Duration {
    let seconds: Vec<f64> = (0..RUNS).map(|_| time(&mut command()).as_secs_f64()).collect();
    Duration::from_secs_f64(median(seconds))
}

fn time(command: &mut Command) -> Duration {
    let begun = Instant::now();
    let output = command.output().expect("it starts");
    let took = begun.elapsed();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    took
}

/// Makes room: what was stored is not read again.
fn clear(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        fs::remove_file(entry.path()).expect("the folder is ours");
    }
}
