//! Whether the other side is still there.

use std::time::{Duration, Instant};

use super::{Element, ns};

/// What to do about a silence.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Beat {
    /// Nothing.
    Fine,
    /// Ping under this id.
    Ping(String),
    /// Give up.
    Dead,
}

/// The clock of one session's silence.
pub(super) struct Pulse {
    limit: Duration,
    heard: Instant,
    /// The ping of the present silence.
    pinged: Option<Instant>,
    /// The id of the last ping; its echo may be late.
    id: String,
}

impl Pulse {
    /// A clock that pings after `limit` and gives up after as much again.
    pub fn new(limit: Duration, now: Instant) -> Self {
        Self { limit, heard: now, pinged: None, id: String::new() }
    }

    /// Takes note of bytes from the server, whichever they are.
    pub fn heard(&mut self, now: Instant) {
        self.heard = now;
        self.pinged = None;
    }

    /// Looks at the clock.
    pub fn beat(&mut self, now: Instant) -> Beat {
        match self.pinged {
            Some(pinged) if now.saturating_duration_since(pinged) >= self.limit => Beat::Dead,
            None if now.saturating_duration_since(self.heard) >= self.limit => {
                self.pinged = Some(now);
                self.id = ping_id();
                Beat::Ping(self.id.clone())
            }
            _ => Beat::Fine,
        }
    }

    /// When the clock has to be looked at.
    pub fn next_beat(&self) -> Instant {
        self.pinged.unwrap_or(self.heard) + self.limit
    }

    /// Whether this is our own ping come back, or its answer: ids are random, so nobody else makes one.
    pub fn is_echo(&self, stanza: &Element) -> bool {
        stanza.is("iq", ns::CLIENT) && !self.id.is_empty() && stanza.attribute("id") == Some(&self.id)
    }
}

fn ping_id() -> String {
    // Where the kernel has no random bytes someone may guess it, and make us miss a stanza of his own.
    format!("ping-{:016x}", getrandom::u64().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_pinged_and_then_the_end() {
        let limit = Duration::from_secs(30);
        let start = Instant::now();
        let mut pulse = Pulse::new(limit, start);
        assert_eq!(pulse.beat(start + limit / 2), Beat::Fine);
        assert_eq!(pulse.next_beat(), start + limit);
        let Beat::Ping(id) = pulse.beat(start + limit) else { panic!("no ping") };
        assert_eq!(pulse.next_beat(), start + limit * 2);
        assert_eq!(pulse.beat(start + limit * 3 / 2), Beat::Fine);
        pulse.heard(start + limit * 3 / 2);
        assert_eq!(pulse.beat(start + limit * 2), Beat::Fine);
        let Beat::Ping(next) = pulse.beat(start + limit * 5 / 2) else { panic!("no second ping") };
        assert_ne!(id, next);
        assert_eq!(pulse.beat(start + limit * 7 / 2), Beat::Dead);
    }

    #[test]
    fn echoes_are_told_from_stanzas() {
        let mut pulse = Pulse::new(Duration::ZERO, Instant::now());
        let iq = |id: &str| Element::new("iq", ns::CLIENT).with("id", id);
        assert!(!pulse.is_echo(&iq("")));
        let Beat::Ping(id) = pulse.beat(Instant::now()) else { panic!("no ping") };
        assert!(pulse.is_echo(&iq(&id)));
        assert!(!pulse.is_echo(&iq("ping-")));
        assert!(!pulse.is_echo(&Element::new("message", ns::CLIENT).with("id", id)));
    }
}
