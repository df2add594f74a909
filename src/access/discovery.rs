//! The search for a domain's channel service (XEP-0030): the domain and all its items are asked for their identities.
//! Without I/O.

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
    /// Whether a candidate did not reply; it might be the service.
    doubt: bool,
}

struct Candidate {
    jid: Jid,
    state: CandidateState,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum CandidateState {
    Asked,
    /// A plain pubsub service: taken if there is no channel service.
    PubSub,
    Other,
}

impl Discovery {
    pub(super) fn new(domain: Jid) -> Self {
        Self { domain, candidates: Vec::new(), doubt: false }
    }

    fn ask_candidates(&mut self, mut jids: Vec<Jid>) -> LookupStep {
        jids.retain(|jid| *jid != self.domain);
        jids.push(self.domain.clone());
        let request = |jid: &Jid| IqRequest { to: jid.clone(), payload: query(ns::DISCO_INFO) };
        let requests = jids.iter().map(request).collect();
        self.candidates =
            jids.into_iter().map(|jid| Candidate { jid, state: CandidateState::Asked }).collect();
        LookupStep::Send(requests)
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
        if self.candidates.iter().any(|candidate| candidate.state == CandidateState::Asked) {
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
