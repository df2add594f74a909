//! The search for a domain's channel service (XEP-0030): the domain and its items are asked for their identities, some at a
//! time. Without I/O.

use super::iq::{self, IqReply, IqRequest};
use super::lookup::{LookupProtocol, LookupStep, LookupValue};
use crate::limits;
use crate::model::Jid;
use crate::xmpp::{Element, ns};

/// The search in one domain.
pub(super) struct Discovery {
    domain: Jid,
    /// The entities that may be the service: the domain's items in order, then the domain.
    candidates: Vec<Candidate>,
    /// How many of them, from the first, have been asked.
    asked: usize,
    /// Whether a candidate did not reply; it might be the service.
    doubt: bool,
}

struct Candidate {
    jid: Jid,
    state: CandidateState,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum CandidateState {
    /// Not asked yet, or without a reply.
    Unknown,
    /// A plain pubsub service: used if there is no channel service.
    PubSub,
    Other,
}

impl Discovery {
    pub(super) fn new(domain: Jid) -> Self {
        Self { domain, candidates: Vec::new(), asked: 0, doubt: false }
    }

    fn ask_candidates(&mut self, mut jids: Vec<Jid>) -> LookupStep {
        let mut foreign = 0..limits::DISCOVERY_FOREIGN_ITEMS;
        jids.retain(|jid| *jid != self.domain && (self.is_below(jid) || foreign.next().is_some()));
        jids.push(self.domain.clone());
        self.candidates =
            jids.into_iter().map(|jid| Candidate { jid, state: CandidateState::Unknown }).collect();
        LookupStep::Send(self.ask_next(limits::DISCOVERY_WINDOW))
    }

    /// Whether it is an address of the domain or of a domain below it.
    fn is_below(&self, jid: &Jid) -> bool {
        let above = jid.bare().domain().strip_suffix(self.domain.bare().domain());
        above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
    }

    /// The questions to the next `count` candidates.
    fn ask_next(&mut self, count: usize) -> Vec<IqRequest> {
        let next = self.candidates.iter().skip(self.asked).take(count);
        let requests: Vec<_> =
            next.map(|next| IqRequest { to: next.jid.clone(), payload: query(ns::DISCO_INFO) }).collect();
        self.asked += requests.len();
        requests
    }

    fn take_identity(&mut self, candidate: usize, reply: IqReply<'_>) -> LookupStep {
        let Some(candidate) = self.candidates.get_mut(candidate) else { return LookupStep::Wait };
        candidate.state = match reply {
            IqReply::Result(iq) if iq::has_identity(iq, "pubsub", "channels") => {
                return LookupStep::found(LookupValue::Service(Some(candidate.jid.clone())));
            }
            IqReply::Result(iq) if iq::has_identity(iq, "pubsub", "service") => CandidateState::PubSub,
            _ => CandidateState::Other,
        };
        self.doubt |= matches!(reply, IqReply::Silence);
        let next = self.ask_next(1);
        if !next.is_empty() {
            return LookupStep::Send(next);
        }
        if self.candidates.iter().any(|candidate| candidate.state == CandidateState::Unknown) {
            return LookupStep::Wait;
        }
        self.conclude()
    }

    fn conclude(&self) -> LookupStep {
        let plain = self.candidates.iter().find(|candidate| candidate.state == CandidateState::PubSub);
        let service = plain.map(|candidate| candidate.jid.clone());
        match (service, self.doubt) {
            (Some(jid), false) => LookupStep::found(LookupValue::Service(Some(jid))),
            (Some(jid), true) => LookupStep::assumed(LookupValue::Service(Some(jid))),
            (None, true) => LookupStep::failed(),
            (None, false) => LookupStep::assumed(LookupValue::Service(None)),
        }
    }
}

impl LookupProtocol for Discovery {
    fn start(&mut self) -> Vec<IqRequest> {
        vec![IqRequest { to: self.domain.clone(), payload: query(ns::DISCO_ITEMS) }]
    }

    fn reply(&mut self, number: usize, reply: IqReply<'_>) -> LookupStep {
        match (number.checked_sub(1), reply) {
            (None, IqReply::Result(iq)) => self.ask_candidates(iq::items(iq, limits::DISCOVERY_ITEMS)),
            (None, IqReply::NotFound | IqReply::Refused | IqReply::Unreachable) => {
                self.ask_candidates(Vec::new())
            }
            (None, IqReply::Silence) => LookupStep::failed(),
            (Some(candidate), reply) => self.take_identity(candidate, reply),
        }
    }
}

fn query(namespace: &str) -> Element {
    Element::new("query", namespace)
}
