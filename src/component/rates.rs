//! The rate of requests of one address: a token bucket for each bare JID. No I/O; the caller gives the time.

use std::time::{Duration, Instant};

use crate::cache::Cache;
use crate::limits;
use crate::model::BareJid;

/// The buckets of all who asked in the last seconds.
pub(super) struct Rates {
    /// When the bucket of each address will be full again. An address that is not here has a full one.
    full: Cache<BareJid, Instant>,
    /// Requests at once.
    burst: u32,
    /// After that, the time from one to the next.
    token: Duration,
}

impl Rates {
    /// Buckets of `burst` tokens, of which one comes each time that `token` has passed.
    pub(super) fn new(burst: u32, token: Duration) -> Self {
        Self { full: Cache::new(limits::COMPONENT_RATES), burst, token }
    }

    /// Counts a request. The error is the time to wait before the next one.
    pub(super) fn admit(&mut self, now: Instant, jid: &BareJid) -> Result<(), Duration> {
        let full = self.full.get(now, jid).copied().unwrap_or(now).max(now) + self.token;
        let latest = now + self.token * self.burst;
        if full > latest {
            return Err(full - latest);
        }
        self.full.insert(now, jid.clone(), full, full - now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jid(text: &str) -> BareJid {
        text.parse().unwrap()
    }

    #[test]
    fn a_burst_passes_and_then_as_many_as_tokens_come() {
        let (mut rates, now) = (Rates::new(limits::COMPONENT_BURST, limits::COMPONENT_TOKEN), Instant::now());
        let (alice, bob) = (jid("alice@example.org"), jid("bob@example.org"));
        for _ in 0..limits::COMPONENT_BURST {
            assert_eq!(rates.admit(now, &alice), Ok(()));
        }
        assert_eq!(rates.admit(now, &alice), Err(limits::COMPONENT_TOKEN));
        assert_eq!(rates.admit(now, &bob), Ok(()), "each has a bucket");
        let later = now + limits::COMPONENT_TOKEN;
        assert_eq!(rates.admit(later, &alice), Ok(()));
        assert_eq!(rates.admit(later, &alice), Err(limits::COMPONENT_TOKEN));
        let full = later + limits::COMPONENT_TOKEN * limits::COMPONENT_BURST;
        for _ in 0..limits::COMPONENT_BURST {
            assert_eq!(rates.admit(full, &alice), Ok(()));
        }
        assert!(rates.admit(full, &alice).is_err());
    }
}
