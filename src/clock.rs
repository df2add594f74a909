//! Wall-clock time as the server stores and shows it, and the clock that tells it.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

/// RFC 3339 in UTC with milliseconds: `2014-01-23T18:00:00.123Z`.
pub const RFC3339: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// A point in time, in microseconds since 1970-01-01T00:00:00Z: the resolution of a PostgreSQL `TIMESTAMP`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From microseconds since the epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// So much later; the last time there is, if that is too late.
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(micros(span)))
    }

    /// So much earlier; the first time there is, if that is too early.
    pub fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(micros(span)))
    }

    /// The time in whole seconds for HTTP dates (RFC 9110 section 5.6.7), at least 1970 and at most 9999.
    pub fn to_http_seconds(self) -> SystemTime {
        const LAST: i64 = 253_402_300_799;
        let seconds = self.0.div_euclid(1_000_000).clamp(0, LAST);
        UNIX_EPOCH + Duration::from_secs(seconds.unsigned_abs())
    }
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        Self(match time.duration_since(UNIX_EPOCH) {
            Ok(after) => micros(after),
            Err(before) => -micros(before.duration()),
        })
    }
}

impl From<Timestamp> for SystemTime {
    fn from(timestamp: Timestamp) -> Self {
        let offset = Duration::from_micros(timestamp.0.unsigned_abs());
        if timestamp.0 < 0 { UNIX_EPOCH - offset } else { UNIX_EPOCH + offset }
    }
}

/// As [`RFC3339`].
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1000)
            .ok()
            .and_then(|time| time.format(RFC3339).ok())
            // Only dates outside of the years 0 to 9999 can't be formatted; the store returns none.
            .unwrap_or_else(|| "0000-01-01T00:00:00.000Z".to_owned());
        f.write_str(&text)
    }
}

/// A source of wall-clock time: the system, or a fixed time in tests.
pub trait Clock: Send + Sync {
    /// The current time.
    fn now(&self) -> Timestamp;
}

/// The system's clock.
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        SystemTime::now().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_shown_in_rfc_3339() {
        let shown = |micros| Timestamp::from_micros(micros).to_string();
        assert_eq!(shown(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(shown(1_390_500_000_123_999), "2014-01-23T18:00:00.123Z");
        assert_eq!(shown(-1_000), "1969-12-31T23:59:59.999Z");
        assert_eq!(shown(i64::MAX), "0000-01-01T00:00:00.000Z");
    }

    #[test]
    fn conversion_to_system_time_and_back_is_exact() {
        for micros in [0, 1, -1, 1_390_500_000_123_999] {
            let timestamp = Timestamp::from_micros(micros);
            assert_eq!(Timestamp::from(SystemTime::from(timestamp)), timestamp);
        }
    }
}
