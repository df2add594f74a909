//! The duration of the long tests: a moment in `make check`, turns of about a minute in `make soak`.
//!
//! Such a test has `for_a_while` in its name, by which `scripts/soak` finds it, goes on for [`time`], and hands
//! its figures in with [`count`] and [`worst`].

use std::fs::OpenOptions;
use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds of a turn; unset in `make check`.
const TURN: &str = "SOAK_TURN";
/// The file that figures are appended to.
const FIGURES: &str = "SOAK_FIGURES";
/// A number to begin with, to repeat what failed.
const SEED: &str = "SOAK_SEED";

/// How long to go on: `usual` in `make check`, a turn in `make soak`.
pub fn time(usual: Duration) -> Duration {
    turn().unwrap_or(usual)
}

/// Whether this is `make soak`.
pub fn is_soak() -> bool {
    turn().is_some()
}

/// What random choices begin with: another one each time, unless `SOAK_SEED` says which.
#[allow(clippy::print_stderr, reason = "the test harness shows it with the failure")]
pub fn seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    let seed = number(SEED).unwrap_or(u64::from(now.subsec_nanos()) << 20 ^ now.as_secs());
    eprintln!("{SEED}={seed}");
    seed
}

/// Adds to a figure that is printed at the end of `make soak`, such as `uploads read back`.
pub fn count(figure: &str, number: u64) {
    tell("sum", figure, number);
}

/// Notes a time of which the longest is printed at the end of `make soak`, in milliseconds.
pub fn worst(figure: &str, time: Duration) {
    tell("max", &format!("{figure}, ms"), u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
}

fn turn() -> Option<Duration> {
    number(TURN).map(Duration::from_secs)
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text:?}")))
}

fn tell(kind: &str, figure: &str, number: u64) {
    let Some(path) = std::env::var_os(FIGURES) else { return };
    // In one write, since tests of several processes may append.
    let line = format!("{kind}\t{figure}\t{number}\n");
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.and_then(|mut file| file.write_all(line.as_bytes())).expect("figures can be written");
}
