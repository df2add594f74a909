//! Detecting a dead connection by its silence (XEP-0199). A clock without I/O.

use std::time::{Duration, Instant};

use super::{Element, ns};

/// The action that is due now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum KeepaliveStep {
    /// Nothing.
    Wait,
    /// Send a ping with this id.
    Ping(String),
    /// Close the link: the ping was not answered.
    GiveUp,
}

/// How long one session has been silent.
pub(super) struct Keepalive {
    limit: Duration,
    heard: Instant,
    /// When the ping of the present silence was sent.
    pinged: Option<Instant>,
    /// The id of the last ping; its reply may be late.
    id: String,
}

impl Keepalive {
    /// Pings after `limit` and gives up after as much again.
    pub fn new(limit: Duration, now: Instant) -> Self {
        Self { limit, heard: now, pinged: None, id: String::new() }
    }

    /// The server sent something.
    pub fn heard(&mut self, now: Instant) {
        self.heard = now;
        self.pinged = None;
    }

    /// Whether something is due.
    pub fn check(&mut self, now: Instant) -> KeepaliveStep {
        match self.pinged {
            Some(pinged) if now.saturating_duration_since(pinged) >= self.limit => KeepaliveStep::GiveUp,
            None if now.saturating_duration_since(self.heard) >= self.limit => {
                self.pinged = Some(now);
                self.id = ping_id();
                KeepaliveStep::Ping(self.id.clone())
            }
            _ => KeepaliveStep::Wait,
        }
    }

    /// When something is due.
    pub fn deadline(&self) -> Instant {
        self.pinged.unwrap_or(self.heard) + self.limit
    }

    /// Whether this is our own ping, which a component gets back, or its reply. Ids are random, so no other stanza has it.
    pub fn is_ours(&self, stanza: &Element) -> bool {
        stanza.is("iq", ns::CLIENT) && !self.id.is_empty() && stanza.attribute("id") == Some(&self.id)
    }
}

fn ping_id() -> String {
    // Without random bytes a stranger could guess the id; then a stanza of theirs would be ignored.
    format!("ping-{:016x}", getrandom::u64().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_pinged_and_then_ends_the_link() {
        let limit = Duration::from_secs(30);
        let start = Instant::now();
        let mut keepalive = Keepalive::new(limit, start);
        assert_eq!(keepalive.check(start + limit / 2), KeepaliveStep::Wait);
        assert_eq!(keepalive.deadline(), start + limit);
        let KeepaliveStep::Ping(id) = keepalive.check(start + limit) else { panic!("no ping") };
        assert_eq!(keepalive.deadline(), start + limit * 2);
        assert_eq!(keepalive.check(start + limit * 3 / 2), KeepaliveStep::Wait);
        keepalive.heard(start + limit * 3 / 2);
        assert_eq!(keepalive.check(start + limit * 2), KeepaliveStep::Wait);
        let KeepaliveStep::Ping(next) = keepalive.check(start + limit * 5 / 2) else {
            panic!("no second ping")
        };
        assert_ne!(id, next);
        assert_eq!(keepalive.check(start + limit * 7 / 2), KeepaliveStep::GiveUp);
    }

    #[test]
    fn own_pings_are_recognised_by_their_id() {
        let mut keepalive = Keepalive::new(Duration::ZERO, Instant::now());
        let iq = |id: &str| Element::new("iq", ns::CLIENT).with("id", id);
        assert!(!keepalive.is_ours(&iq("")));
        let KeepaliveStep::Ping(id) = keepalive.check(Instant::now()) else { panic!("no ping") };
        assert!(keepalive.is_ours(&iq(&id)));
        assert!(!keepalive.is_ours(&iq("ping-")));
        assert!(!keepalive.is_ours(&Element::new("message", ns::CLIENT).with("id", id)));
    }
}
