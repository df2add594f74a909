//! Counters of the gate, for `/metrics` and `/healthz`.

use std::time::Instant;

use super::lookup::Lookup;
use crate::model::Refusal;

/// Counters since the start, and how much waits now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The component's link.
    pub component: LinkCounts,
    /// The client's link.
    pub client: LinkCounts,
    /// Requests that wait for a decision.
    pub parked: usize,
    /// Confirmations that requests wait for; at the node that asks the users, those of all nodes.
    pub pending: usize,
    /// Requests whose users are asked by the node that holds the stream.
    pub handed_over: usize,
    /// Confirmations that have ended, or were refused.
    pub confirmations: ConfirmationCounts,
    /// Lookups at channel services.
    pub lookups: LookupCountsByKind,
    /// Lookups that a channel service refused to our account.
    pub rights_refused: RightsRefused,
}

/// Lookups of affiliations that a channel service refused to our account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RightsRefused {
    /// How many.
    pub count: u64,
    /// When the last one was.
    pub last: Option<Instant>,
}

/// The state of a link to the XMPP server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkCounts {
    /// Whether it is logged in.
    pub up: bool,
    /// How often it has been logged in.
    pub logins: u64,
    /// Why the last attempt failed, or why the link broke; `None` since it is logged in.
    pub failure: Option<String>,
}

/// Confirmations, by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConfirmationCounts {
    /// The user confirmed.
    pub confirmed: u64,
    /// The user denied, or could not be reached.
    pub denied: u64,
    /// No reply came in time.
    pub late: u64,
    /// Too many were pending, so the user was not asked.
    pub limited: u64,
    /// The link broke, the client hung up, or the server stopped.
    pub abandoned: u64,
}

impl ConfirmationCounts {
    /// Counts a confirmation that was decided, or that was refused before anybody was asked.
    pub(super) fn count<T>(&mut self, result: &Result<T, Refusal>) {
        match result {
            Ok(_) => self.confirmed += 1,
            Err(Refusal::Denied) => self.denied += 1,
            Err(Refusal::NotConfirmed) => self.late += 1,
            Err(
                Refusal::TooManyPending
                | Refusal::TooManyForUser
                | Refusal::TooManyForAddress
                | Refusal::UserSilent,
            ) => self.limited += 1,
            Err(_) => {}
        }
    }
}

/// Lookups of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LookupCountsByKind {
    /// Of a domain's channel service.
    pub service: LookupCounts,
    /// Of a channel's access model.
    pub access: LookupCounts,
    /// Of a user's affiliation with a channel.
    pub affiliation: LookupCounts,
}

impl LookupCountsByKind {
    /// The counts of this lookup's kind.
    pub(super) fn of(&mut self, lookup: &Lookup) -> &mut LookupCounts {
        match lookup {
            Lookup::Service(_) => &mut self.service,
            Lookup::Access(_) => &mut self.access,
            Lookup::Affiliation(..) => &mut self.affiliation,
        }
    }
}

/// Lookups of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LookupCounts {
    /// The result was cached.
    pub cached: u64,
    /// A channel service was asked.
    pub asked: u64,
    /// It was asked without result.
    pub failed: u64,
}

#[cfg(test)]
mod tests {
    use super::super::Settings;
    use super::super::testing::{FakeService, GateTest, REPLY_TIMEOUT, echo, request, settings};
    use super::*;
    use crate::model::Need;
    use crate::xmpp::Link;

    #[test]
    fn each_confirmation_has_one_outcome() {
        let limited = Settings { pending_per_user: 1, ..settings() };
        let service = FakeService::where_alice_is("publisher");
        let mut test = GateTest::with(limited, &service);
        test.decision_of(request(Need::Publish), &service).unwrap();
        test.ask(1, request(Need::Publish));
        test.ask(2, request(Need::Publish));
        assert_eq!((test.gate.counts().pending, test.gate.counts().parked), (1, 1));
        let prompt = test.one(Link::Component);
        test.stanza(Link::Component, &echo(&prompt).with("type", "error"));
        test.ask(3, request(Need::Publish));
        test.wait(REPLY_TIMEOUT);
        test.ask(4, request(Need::Publish));
        test.play(&service);
        test.down(Link::Component);
        test.ask(5, request(Need::Publish));
        test.up(Link::Component);
        test.ask(6, request(Need::Publish));
        test.stop();
        let counts = test.gate.counts();
        let expected = ConfirmationCounts { confirmed: 1, denied: 1, late: 1, limited: 1, abandoned: 2 };
        assert_eq!(counts.confirmations, expected);
        assert_eq!((counts.pending, counts.parked), (0, 0));
        assert_eq!(counts.component, LinkCounts { up: true, logins: 2, failure: None });
        assert_eq!(counts.client, LinkCounts { up: true, logins: 1, failure: None });
    }

    #[test]
    fn a_repeated_lookup_is_counted_as_cached() {
        let service = FakeService::public();
        let mut test = GateTest::with(settings(), &service);
        for _ in 0..3 {
            test.decision_of(request(Need::Read), &service).unwrap();
        }
        let LookupCountsByKind { service: found, access, affiliation } = test.gate.counts().lookups;
        assert_eq!(access, LookupCounts { cached: 2, asked: 1, failed: 0 });
        // That of our own domain was looked for when the link came up.
        assert_eq!(found, LookupCounts { cached: 0, asked: 2, failed: 0 });
        assert_eq!(affiliation, LookupCounts::default());
    }

    #[test]
    fn failed_lookups_are_counted() {
        let mut test = GateTest::with(settings(), &FakeService::public());
        test.ask(1, request(Need::Read));
        test.wait(REPLY_TIMEOUT);
        assert_eq!(test.gate.counts().lookups.access, LookupCounts { cached: 0, asked: 1, failed: 1 });
        test.wait(REPLY_TIMEOUT);
        test.ask(2, request(Need::Read));
        test.down(Link::Client);
        assert_eq!(test.gate.counts().lookups.access, LookupCounts { cached: 0, asked: 2, failed: 2 });
    }
}
