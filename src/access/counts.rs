//! What the gate tells those who watch it.

use super::query::Query;
use crate::model::Refusal;

/// What waits at the gate, and what it has done since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The component's link.
    pub component: LinkCounts,
    /// The client's link.
    pub client: LinkCounts,
    /// Requests that wait for a decision.
    pub parked: usize,
    /// Confirmations that requests wait for.
    pub pending: usize,
    /// What came of the others.
    pub confirmations: Outcomes,
    /// What was asked of channel services.
    pub lookups: Lookups,
}

/// A link to the XMPP server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounts {
    /// Whether it is logged in.
    pub up: bool,
    /// How often it has been logged in.
    pub logins: u64,
}

/// What came of confirmations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// The user said yes.
    pub confirmed: u64,
    /// The user said no, or could not be reached.
    pub denied: u64,
    /// Nothing was said in time.
    pub late: u64,
    /// Nobody was asked, for too many were pending.
    pub limited: u64,
    /// The link broke, the client left, or the server was stopped.
    pub abandoned: u64,
}

impl Outcomes {
    /// Counts an answer, or the refusal to ask.
    pub(super) fn count<T>(&mut self, verdict: &Result<T, Refusal>) {
        match verdict {
            Ok(_) => self.confirmed += 1,
            Err(Refusal::Denied) => self.denied += 1,
            Err(Refusal::TooManyPending | Refusal::TooManyForUser | Refusal::TooManyForAddress) => {
                self.limited += 1;
            }
            Err(_) => {}
        }
    }
}

/// What was asked about channels, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lookups {
    /// Which entity is a domain's channel service.
    pub service: LookupCounts,
    /// Who may read a channel.
    pub access: LookupCounts,
    /// What a user is in a channel.
    pub affiliation: LookupCounts,
}

impl Lookups {
    /// The counts of this query's kind.
    pub(super) fn of(&mut self, query: &Query) -> &mut LookupCounts {
        match query {
            Query::Service(_) => &mut self.service,
            Query::Access(_) => &mut self.access,
            Query::Affiliation(..) => &mut self.affiliation,
        }
    }
}

/// What came of one kind of questions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LookupCounts {
    /// They were known from before.
    pub cached: u64,
    /// Somebody was asked.
    pub asked: u64,
    /// Somebody was asked in vain.
    pub failed: u64,
}

#[cfg(test)]
mod tests {
    use super::super::Settings;
    use super::super::testing::{REPLY_TIMEOUT, Service, Stage, ask, echo, settings};
    use super::*;
    use crate::model::Need;
    use crate::xmpp::Link;

    #[test]
    fn each_confirmation_has_one_outcome() {
        let limited = Settings { pending_per_user: 1, ..settings() };
        let service = Service::where_alice_is("publisher");
        let mut stage = Stage::with(limited, &service);
        stage.request(ask(Need::Publish), &service).unwrap();
        stage.ask(1, ask(Need::Publish));
        stage.ask(2, ask(Need::Publish));
        assert_eq!((stage.gate.counts().pending, stage.gate.counts().parked), (1, 1));
        let prompt = stage.one(Link::Component);
        stage.stanza(Link::Component, &echo(&prompt).with("type", "error"));
        stage.ask(3, ask(Need::Publish));
        stage.wait(REPLY_TIMEOUT);
        stage.ask(4, ask(Need::Publish));
        stage.down(Link::Component);
        stage.ask(5, ask(Need::Publish));
        stage.up(Link::Component);
        stage.ask(6, ask(Need::Publish));
        stage.stop();
        let counts = stage.gate.counts();
        let expected = Outcomes { confirmed: 1, denied: 1, late: 1, limited: 1, abandoned: 2 };
        assert_eq!(counts.confirmations, expected);
        assert_eq!((counts.pending, counts.parked), (0, 0));
        assert_eq!(counts.component, LinkCounts { up: true, logins: 2 });
        assert_eq!(counts.client, LinkCounts { up: true, logins: 1 });
    }

    #[test]
    fn a_lookup_is_counted_once_and_then_as_known() {
        let service = Service::public();
        let mut stage = Stage::with(settings(), &service);
        for _ in 0..3 {
            stage.request(ask(Need::Read), &service).unwrap();
        }
        let Lookups { service: found, access, affiliation } = stage.gate.counts().lookups;
        assert_eq!(access, LookupCounts { cached: 2, asked: 1, failed: 0 });
        // That of our own domain was looked for when the link came up.
        assert_eq!(found, LookupCounts { cached: 0, asked: 2, failed: 0 });
        assert_eq!(affiliation, LookupCounts::default());
    }

    #[test]
    fn lookups_in_vain_are_counted() {
        let mut stage = Stage::with(settings(), &Service::public());
        stage.ask(1, ask(Need::Read));
        stage.wait(REPLY_TIMEOUT);
        assert_eq!(stage.gate.counts().lookups.access, LookupCounts { cached: 0, asked: 1, failed: 1 });
        stage.wait(REPLY_TIMEOUT);
        stage.ask(2, ask(Need::Read));
        stage.down(Link::Client);
        assert_eq!(stage.gate.counts().lookups.access, LookupCounts { cached: 0, asked: 2, failed: 2 });
    }
}
