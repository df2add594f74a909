//! A request at the gate: what it wants, and what comes next for it.

use std::net::IpAddr;

use super::credentials::Credentials;
use super::query::{Answer, Found, Query};
use crate::model::{AccessModel, BareJid, Channel, Method, Need, Refusal, may};

/// What a request asks of the gate.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The channel in the path.
    pub channel: Channel,
    /// What is to be done to it.
    pub need: Need,
    /// The request's credentials, or why it has none. Looked at only where someone must be asked.
    pub credentials: Result<Credentials, Refusal>,
    /// The client's network; `None`: not limited.
    pub client: Option<IpAddr>,
    /// The request's method, as the user is to read it.
    pub method: Method,
    /// The request's URL, as the user is to read it: without its query.
    pub url: String,
}

/// On whose word a request is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Granted {
    /// The channel is public; nobody was asked.
    Public,
    /// This user confirmed the request and has the right.
    Owned(BareJid),
}

/// What the gate says of a request.
pub type Decision = Result<Granted, Refusal>;

/// A request's number at the gate; later ones are higher.
pub type Ticket = u64;

/// A request that waits at the gate, with what is parked for it.
pub(super) struct Request<P> {
    pub(super) ask: Ask,
    pub(super) parked: P,
    /// The lookup that it waits for; while there is none, it waits for its confirmation.
    pub(super) awaited: Option<Query>,
    /// Who confirmed it.
    user: Option<BareJid>,
}

/// What a request needs next.
pub(super) enum Step {
    Find(Query),
    Confirm,
    Decide(Decision),
}

impl<P> Request<P> {
    pub(super) fn new(ask: Ask, parked: P) -> Self {
        Self { ask, parked, awaited: None, user: None }
    }

    pub(super) fn first_step(&self) -> Step {
        match self.ask.need {
            Need::Read => Step::Find(Query::Access(self.ask.channel.clone())),
            Need::Publish | Need::Modify { .. } => Step::Confirm,
        }
    }

    /// What comes after `user` confirmed the request. Rights are asked only now: before, the answer would
    /// tell a stranger who is a member.
    pub(super) fn confirmed(&mut self, user: BareJid) -> Step {
        let owner = user == *self.ask.channel.jid();
        let uploader = matches!(&self.ask.need, Need::Modify { author: Some(author) } if *author == user);
        if owner || uploader {
            return Step::Decide(Ok(Granted::Owned(user)));
        }
        self.user = Some(user.clone());
        Step::Find(Query::Affiliation(self.ask.channel.clone(), user))
    }

    /// What comes after a question about the channel was answered.
    pub(super) fn found(&self, answer: Answer) -> Step {
        match (answer, &self.user) {
            (Err(refusal), _) => Step::Decide(Err(refusal)),
            (Ok(Found::Access(AccessModel::Open)), None) => Step::Decide(Ok(Granted::Public)),
            (Ok(Found::Access(AccessModel::Private)), None) => Step::Confirm,
            (Ok(Found::Affiliation(affiliation)), Some(user)) if may(affiliation, &self.ask.need) => {
                Step::Decide(Ok(Granted::Owned(user.clone())))
            }
            // Too low an affiliation; nothing else is found for a request at this point.
            (Ok(_), _) => Step::Decide(Err(Refusal::Forbidden)),
        }
    }
}
