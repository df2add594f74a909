//! A request at the gate: what it asks for, and its next step. Values, without I/O.

use std::net::IpAddr;

use super::credentials::Credentials;
use super::lookup::{Lookup, LookupResult, LookupValue};
use crate::model::{AccessModel, BareJid, Channel, Method, Need, Refusal, may};

/// An HTTP request as the gate sees it.
#[derive(Clone, Debug)]
pub struct Request {
    /// The channel in the path.
    pub channel: Channel,
    /// What is to be done to the channel.
    pub need: Need,
    /// The credentials, or why there are none. The gate uses them only if a user must be asked.
    pub credentials: Result<Credentials, Refusal>,
    /// The client's network, which limits apply to. `None`: they do not apply.
    pub client: Option<IpAddr>,
    /// The method that the user is asked to confirm.
    pub method: Method,
    /// The URL that the user is asked to confirm, without its query.
    pub url: String,
}

/// Why a request is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Granted {
    /// The channel is public; nobody was asked.
    Public,
    /// This user confirmed the request and has the right.
    Owned(BareJid),
}

/// The gate's answer to a request.
pub type Decision = Result<Granted, Refusal>;

/// A request's number at the gate; numbers grow and are never used again.
pub type RequestId = u64;

/// A request that waits at the gate, with what is parked for it.
pub(super) struct ParkedRequest<P> {
    pub(super) request: Request,
    pub(super) parked: P,
    /// The lookup that it waits for. `None`: it waits for its confirmation.
    pub(super) awaited: Option<Lookup>,
    /// The user who confirmed it.
    user: Option<BareJid>,
}

/// What a request needs next.
pub(super) enum RequestStep {
    LookUp(Lookup),
    Confirm,
    Decide(Decision),
}

impl<P> ParkedRequest<P> {
    pub(super) fn new(request: Request, parked: P) -> Self {
        Self { request, parked, awaited: None, user: None }
    }

    pub(super) fn first_step(&self) -> RequestStep {
        match self.request.need {
            Need::Read => RequestStep::LookUp(Lookup::Access(self.request.channel.clone())),
            Need::Publish | Need::Modify { .. } => RequestStep::Confirm,
        }
    }

    /// The step after `user` confirmed the request. The affiliation is looked up only now: before the confirmation, the
    /// decision would tell a stranger who is a member.
    pub(super) fn confirmed(&mut self, user: BareJid) -> RequestStep {
        let owner = user == *self.request.channel.jid();
        let uploader = matches!(&self.request.need, Need::Modify { author: Some(author) } if *author == user);
        if owner || uploader {
            return RequestStep::Decide(Ok(Granted::Owned(user)));
        }
        self.user = Some(user.clone());
        RequestStep::LookUp(Lookup::Affiliation(self.request.channel.clone(), user))
    }

    /// The step after the awaited lookup has ended.
    pub(super) fn found(&self, result: LookupResult) -> RequestStep {
        match (result, &self.user) {
            (Err(refusal), _) => RequestStep::Decide(Err(refusal)),
            (Ok(LookupValue::Access(AccessModel::Open)), None) => RequestStep::Decide(Ok(Granted::Public)),
            (Ok(LookupValue::Access(AccessModel::Private)), None) => RequestStep::Confirm,
            (Ok(LookupValue::Affiliation(affiliation)), Some(user))
                if may(affiliation, &self.request.need) =>
            {
                RequestStep::Decide(Ok(Granted::Owned(user.clone())))
            }
            // The affiliation does not suffice. A request looks up nothing else at this point.
            (Ok(_), _) => RequestStep::Decide(Err(Refusal::Forbidden)),
        }
    }
}
