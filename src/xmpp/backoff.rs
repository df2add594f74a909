//! Pauses before a reconnect.

use std::time::Duration;

/// Pauses that double from `min` to `max`. Each is shortened at random by up to a half, so that the clients of a
/// restarted server do not all connect at the same time.
pub(super) struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    /// The first pause is `min`.
    pub fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, next: min }
    }

    /// The pause after a link that was up for this long. Only a link that was up for `max` resets the pauses: a server
    /// that closes each link after the log-in must not be dialled without pause.
    pub fn pause(&mut self, up: Duration) -> Duration {
        if up >= self.max {
            self.next = self.min;
        }
        let pause = self.next;
        self.next = pause.saturating_mul(2).min(self.max);
        pause - jitter(pause / 2)
    }
}

/// A random duration of up to `max`; zero if the kernel gives no random bytes.
fn jitter(max: Duration) -> Duration {
    let fraction = f64::from(getrandom::u32().unwrap_or(0)) / f64::from(u32::MAX);
    max.mul_f64(fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn pauses_double_up_to_the_maximum() {
        let mut backoff = Backoff::new(SECOND, SECOND * 5);
        for expected in [1, 2, 4, 5, 5] {
            let pause = backoff.pause(Duration::ZERO);
            assert!(pause <= SECOND * expected && pause >= SECOND * expected / 2, "{pause:?} for {expected}");
        }
        assert!(backoff.pause(SECOND * 4) > SECOND * 2, "a short life does not count");
        assert!(backoff.pause(SECOND * 5) <= SECOND);
    }

    #[test]
    fn pauses_differ() {
        let pause = || Backoff::new(SECOND, SECOND).pause(Duration::ZERO);
        assert!((0..10).any(|_| pause() != pause()));
    }
}
