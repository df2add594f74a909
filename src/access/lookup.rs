//! Lookups: what the gate can ask about a domain, a channel or a user, and the steps that lead to the result. Values,
//! without I/O.

use std::fmt;

use super::iq::{IqReply, IqRequest};
use crate::model::{AccessModel, Affiliation, BareJid, Channel, Jid, Refusal};

/// A question about a domain, a channel, or a user of one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Lookup {
    /// Which entity is the channel service of this domain?
    Service(String),
    /// The access model of this channel.
    Access(Channel),
    /// The affiliation of this user with this channel.
    Affiliation(Channel, BareJid),
}

/// The result of a [`Lookup`]: the variant of the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LookupValue {
    /// The domain's channel service, if it has one.
    Service(Option<Jid>),
    Access(AccessModel),
    Affiliation(Affiliation),
}

/// The result of a [`Lookup`], or the reason why there is none.
pub(super) type LookupResult = Result<LookupValue, Refusal>;

impl Lookup {
    /// The result if the domain has no channel service: no channel is public, and no affiliation is known.
    pub(super) fn without_service(&self) -> LookupResult {
        match self {
            Self::Service(_) => Ok(LookupValue::Service(None)),
            Self::Access(_) => Ok(LookupValue::Access(AccessModel::Private)),
            Self::Affiliation(..) => Err(Refusal::RightsUntold),
        }
    }
}

impl fmt::Display for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(domain) => write!(f, "channel service of {domain}"),
            Self::Access(channel) => write!(f, "access to {channel}"),
            Self::Affiliation(channel, user) => write!(f, "affiliation of {user} with {channel}"),
        }
    }
}

/// The IQs that lead from a [`Lookup`] to its result.
pub(super) trait LookupProtocol: Send {
    /// The first IQs.
    fn start(&mut self) -> Vec<IqRequest>;

    /// Takes the reply to the IQ of this number, counted from 0 in the order of sending.
    fn reply(&mut self, number: usize, reply: IqReply<'_>) -> LookupStep;
}

/// The next step after a reply.
pub(super) enum LookupStep {
    Send(Vec<IqRequest>),
    /// Other replies are still to come.
    Wait,
    Done(Conclusion),
}

/// The end of a lookup.
pub(super) struct Conclusion {
    pub(super) result: LookupResult,
    /// Whether a service said so. A failure or an assumption is cached for a shorter time.
    pub(super) certain: bool,
}

impl LookupStep {
    /// A service said so.
    pub(super) fn found(value: LookupValue) -> Self {
        Self::Done(Conclusion { result: Ok(value), certain: true })
    }

    /// No service said so; this is the safe assumption.
    pub(super) fn assumed(value: LookupValue) -> Self {
        Self::Done(Conclusion { result: Ok(value), certain: false })
    }

    /// The channel service did not reply.
    pub(super) fn failed() -> Self {
        Self::Done(Conclusion::refused(Refusal::ChannelServiceDown))
    }
}

impl Conclusion {
    /// No value, for this reason.
    pub(super) fn refused(refusal: Refusal) -> Self {
        Self { result: Err(refusal), certain: false }
    }
}
