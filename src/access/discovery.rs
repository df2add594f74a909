//! Finding a domain's channel service: all its items, and the domain itself, are asked who they are.

use super::query::{Found, Inquiry, Question, Reply, Turn};
use super::reply;
use crate::limits;
use crate::model::Jid;
use crate::xmpp::{Element, ns};

/// The search for one domain's channel service.
pub(super) struct Discovery {
    domain: Jid,
    /// Whoever may be the service: the domain's items in order, then the domain.
    candidates: Vec<Candidate>,
    /// Whether somebody did not answer, and might be the service.
    doubt: bool,
}

struct Candidate {
    jid: Jid,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Asked,
    /// A pubsub service of the plain kind: taken where there is no channel service.
    PubSub,
    Other,
}

impl Discovery {
    pub(super) fn new(domain: Jid) -> Self {
        Self { domain, candidates: Vec::new(), doubt: false }
    }

    fn ask_candidates(&mut self, mut jids: Vec<Jid>) -> Turn {
        jids.retain(|jid| *jid != self.domain);
        jids.push(self.domain.clone());
        let question = |jid: &Jid| Question { to: jid.clone(), payload: query(ns::DISCO_INFO) };
        let questions = jids.iter().map(question).collect();
        self.candidates = jids.into_iter().map(|jid| Candidate { jid, state: State::Asked }).collect();
        Turn::Ask(questions)
    }

    fn take_identity(&mut self, candidate: usize, reply: Reply<'_>) -> Turn {
        let Some(candidate) = self.candidates.get_mut(candidate) else { return Turn::Wait };
        candidate.state = match reply {
            Reply::Result(iq) if reply::has_identity(iq, "pubsub", "channels") => {
                return Turn::found(Found::Service(Some(candidate.jid.clone())));
            }
            Reply::Result(iq) if reply::has_identity(iq, "pubsub", "service") => State::PubSub,
            _ => State::Other,
        };
        self.doubt |= matches!(reply, Reply::Silence);
        if self.candidates.iter().any(|candidate| candidate.state == State::Asked) {
            return Turn::Wait;
        }
        self.conclude()
    }

    fn conclude(&self) -> Turn {
        let plain = self.candidates.iter().find(|candidate| candidate.state == State::PubSub);
        let service = plain.map(|candidate| candidate.jid.clone());
        match (service, self.doubt) {
            (Some(jid), false) => Turn::found(Found::Service(Some(jid))),
            (Some(jid), true) => Turn::assumed(Found::Service(Some(jid))),
            (None, true) => Turn::failed(),
            (None, false) => Turn::assumed(Found::Service(None)),
        }
    }
}

impl Inquiry for Discovery {
    fn start(&mut self) -> Vec<Question> {
        vec![Question { to: self.domain.clone(), payload: query(ns::DISCO_ITEMS) }]
    }

    fn reply(&mut self, number: usize, reply: Reply<'_>) -> Turn {
        match (number.checked_sub(1), reply) {
            (None, Reply::Result(iq)) => self.ask_candidates(reply::items(iq, limits::DISCOVERY_ITEMS)),
            (None, Reply::Refused | Reply::Unreachable) => self.ask_candidates(Vec::new()),
            (None, Reply::Silence) => Turn::failed(),
            (Some(candidate), reply) => self.take_identity(candidate, reply),
        }
    }
}

fn query(namespace: &str) -> Element {
    Element::new("query", namespace)
}
