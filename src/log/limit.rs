//! A limit of lines that repeat: clients can cause some at will, and must not fill the disk or hide other lines. Each place
//! in the code that logs has its own count. Any thread that logs runs it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use log::{Level, Record};

use crate::limits;

/// The targets, and those below them, whose lines are never left out. Each line of the daemon is about something that an
/// operator did; each of the housekeeper tells of a file that is gone, and each of the audit of what an administrator did.
/// Access lines don't come here.
const UNLIMITED: [&str; 3] =
    ["media_server::daemon", "media_server::media::housekeeping", "media_server::component::audit"];

/// The lines of the last [`limits::LOG_REPEAT_TIME`], by the places that logged them. There are as many places as the
/// program has.
#[derive(Debug, Default)]
pub(super) struct RepeatLimit(Mutex<HashMap<Place, Repeats>>);

/// A module and a line of its file.
type Place = (&'static str, u32);

#[derive(Clone, Copy, Debug)]
struct Repeats {
    since: Instant,
    written: u32,
    left_out: u64,
}

/// The fate of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// It is written.
    Write,
    /// It is written, and tells how many like it were left out since the last one.
    WriteAfter(u64),
    /// It is written, and tells that those behind it are left out for a while.
    WriteLast,
    /// It is left out.
    LeaveOut,
}

impl RepeatLimit {
    /// Decides about a line and counts it.
    pub fn admit(&self, record: &Record<'_>, now: Instant) -> Admission {
        let Some(place) = limited_place(record) else { return Admission::Write };
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = Repeats { since: now, written: 0, left_out: 0 };
        let repeats = places.entry(place).or_insert(fresh);
        let mut before = 0;
        if now.saturating_duration_since(repeats.since) >= limits::LOG_REPEAT_TIME {
            before = repeats.left_out;
            *repeats = fresh;
        }
        if repeats.written >= limits::LOG_REPEATS {
            repeats.left_out += 1;
            return Admission::LeaveOut;
        }
        repeats.written += 1;
        match before {
            0 if repeats.written == limits::LOG_REPEATS => Admission::WriteLast,
            0 => Admission::Write,
            count => Admission::WriteAfter(count),
        }
    }
}

/// The place that a line comes from, if the limit holds there. Lines of the levels `debug` and `trace` are all wanted.
fn limited_place(record: &Record<'_>) -> Option<Place> {
    let is_unlimited = |prefix: &&str| {
        let below = record.target().strip_prefix(*prefix);
        below.is_some_and(|below| below.is_empty() || below.starts_with("::"))
    };
    if record.level() > Level::Info || UNLIMITED.iter().any(is_unlimited) {
        return None;
    }
    Some((record.module_path_static()?, record.line()?))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const HERE: &str = "media_server::media::library";

    fn line(target: &'static str, level: Level, number: u32) -> Record<'static> {
        let mut record = Record::builder();
        record.target(target).level(level).module_path_static(Some(target)).line(Some(number));
        record.args(format_args!("a line")).build()
    }

    /// How many of a flood of lines of this place are written at once.
    fn written(limit: &RepeatLimit, record: &Record<'_>, now: Instant) -> u32 {
        let written = |_| u32::from(limit.admit(record, now) != Admission::LeaveOut);
        (0..1000).map(written).sum()
    }

    #[test]
    fn a_flood_of_lines_is_limited_at_each_place_apart() {
        let (limit, now) = (RepeatLimit::default(), Instant::now());
        for (target, level, number, expected) in [
            (HERE, Level::Error, 1, limits::LOG_REPEATS),
            (HERE, Level::Warn, 2, limits::LOG_REPEATS),
            (HERE, Level::Info, 3, limits::LOG_REPEATS),
            (HERE, Level::Error, 1, 0),
            (HERE, Level::Debug, 4, 1000),
            (HERE, Level::Trace, 5, 1000),
            ("media_server::model::refusal", Level::Error, 1, limits::LOG_REPEATS),
            ("media_server::daemonic", Level::Error, 1, limits::LOG_REPEATS),
            ("media_server", Level::Error, 1, limits::LOG_REPEATS),
            ("media_server::daemon", Level::Warn, 1, 1000),
            ("media_server::daemon::reload", Level::Warn, 1, 1000),
            ("media_server::media::housekeeping", Level::Info, 1, 1000),
        ] {
            assert_eq!(
                written(&limit, &line(target, level, number), now),
                expected,
                "{target} {level} {number}"
            );
        }
    }

    #[test]
    fn omitted_lines_are_reported_and_counted() {
        let (limit, start) = (RepeatLimit::default(), Instant::now());
        let record = line(HERE, Level::Error, 1);
        for _ in 1..limits::LOG_REPEATS {
            assert_eq!(limit.admit(&record, start), Admission::Write);
        }
        assert_eq!(limit.admit(&record, start), Admission::WriteLast);
        let end = start + limits::LOG_REPEAT_TIME;
        for _ in 0..7 {
            assert_eq!(limit.admit(&record, end - Duration::from_nanos(1)), Admission::LeaveOut);
        }
        assert_eq!(limit.admit(&record, end), Admission::WriteAfter(7));
        assert_eq!(limit.admit(&record, end), Admission::Write);
        assert_eq!(limit.admit(&record, end + 2 * limits::LOG_REPEAT_TIME), Admission::Write);
    }
}
