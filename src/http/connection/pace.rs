//! The two clocks of a transfer: idle, and a minimum rate. No I/O.

use std::time::Duration;

use crate::http::settings::Clocks;
use crate::model::Refusal;

/// No wait is shorter than this, whatever the clocks say.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);

/// How a transfer goes. Only the time that we waited for the client is held against it, so that a slow disk of
/// ours costs nobody the connection.
#[derive(Debug)]
pub struct Pace {
    clocks: Clocks,
    idle: Duration,
    window: Duration,
    window_bytes: u64,
}

impl Pace {
    pub fn new(clocks: Clocks) -> Self {
        Self { clocks, idle: Duration::ZERO, window: Duration::ZERO, window_bytes: 0 }
    }

    /// Takes note of bytes that went through.
    pub fn moved(&mut self, bytes: usize) {
        self.idle = Duration::ZERO;
        self.window_bytes = self.window_bytes.saturating_add(bytes as u64);
    }

    /// How long the client may be waited for before [`Pace::waited`] must be asked.
    pub fn left(&self) -> Duration {
        let idle = self.clocks.idle.saturating_sub(self.idle);
        let window = self.clocks.grace.saturating_sub(self.window);
        idle.min(window).max(SHORTEST_WAIT)
    }

    /// The same for a write. Linux reports a socket writable only when a third of its buffer is free, which may be a
    /// megabyte; a slow client frees it in pieces. So a write is tried now and then all the same.
    pub fn left_to_write(&self) -> Duration {
        self.left().min(self.clocks.idle / 8).max(SHORTEST_WAIT)
    }

    /// Takes note of time that we waited; an error once the client is too slow.
    pub fn waited(&mut self, time: Duration) -> Result<(), Refusal> {
        self.passed(time, 0)
    }

    /// Takes note of time that we waited, and of the bytes that went through at its end; an error once the client is too
    /// slow.
    pub fn passed(&mut self, time: Duration, bytes: u64) -> Result<(), Refusal> {
        self.idle = if bytes > 0 { Duration::ZERO } else { self.idle.saturating_add(time) };
        self.window = self.window.saturating_add(time);
        self.window_bytes = self.window_bytes.saturating_add(bytes);
        if self.idle >= self.clocks.idle {
            return Err(Refusal::TooSlow);
        }
        if self.window >= self.clocks.grace {
            // A window that is looked at late asks for more bytes: the rate is of the time that has passed.
            let due = self.window.as_millis().saturating_mul(self.clocks.min_rate.into()) / 1000;
            if u128::from(self.window_bytes) < due {
                return Err(Refusal::TooSlow);
            }
            (self.window, self.window_bytes) = (Duration::ZERO, 0);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pace() -> Pace {
        Pace::new(Clocks { idle: SECOND * 5, min_rate: 100, grace: SECOND * 10 })
    }

    #[test]
    fn standing_still_is_too_slow() {
        let mut pace = pace();
        assert_eq!((pace.waited(SECOND * 4), pace.left()), (Ok(()), SECOND));
        pace.moved(1);
        assert_eq!((pace.waited(SECOND * 4), pace.left()), (Ok(()), SECOND));
        assert_eq!(pace.waited(SECOND), Err(Refusal::TooSlow));
    }

    #[test]
    fn dripping_is_too_slow_after_the_grace_time() {
        let mut pace = pace();
        for second in 1..10 {
            assert_eq!(pace.waited(SECOND), Ok(()), "{second}");
            pace.moved(99);
        }
        assert_eq!(pace.left(), SECOND);
        assert_eq!(pace.waited(SECOND), Err(Refusal::TooSlow));
    }

    #[test]
    fn a_fast_start_does_not_pay_for_a_drip_later() {
        let mut pace = pace();
        pace.moved(1_000_000);
        let drip = |pace: &mut Pace| {
            pace.moved(1);
            pace.waited(SECOND)
        };
        assert!((0..10).all(|_| drip(&mut pace).is_ok()));
        assert!((0..10).any(|_| drip(&mut pace).is_err()));
    }

    #[test]
    fn clocks_of_zero_do_not_spin() {
        let pace = Pace::new(Clocks { idle: SECOND, min_rate: 1, grace: Duration::ZERO });
        assert!(pace.left() > Duration::ZERO);
    }
}
