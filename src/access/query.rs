//! Questions about channels, and what their services are asked to answer them.

use std::fmt;

use crate::model::{AccessModel, Affiliation, BareJid, Channel, Jid, Refusal};
use crate::xmpp::Element;

/// A question about a domain, a channel, or a user of one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Query {
    /// Which entity is the channel service of this domain?
    Service(String),
    /// Who may read this channel?
    Access(Channel),
    /// What is this user in this channel?
    Affiliation(Channel, BareJid),
}

/// What was found: the variant of the [`Query`]'s name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The domain's channel service, if it has one.
    Service(Option<Jid>),
    Access(AccessModel),
    Affiliation(Affiliation),
}

/// What came of a [`Query`].
pub(super) type Answer = Result<Found, Refusal>;

impl Query {
    /// What is found where there is nobody to ask: nothing is public, and nobody is anything.
    pub(super) fn nothing(&self) -> Found {
        match self {
            Self::Service(_) => Found::Service(None),
            Self::Access(_) => Found::Access(AccessModel::Private),
            Self::Affiliation(..) => Found::Affiliation(Affiliation::None),
        }
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(domain) => write!(f, "channel service of {domain}"),
            Self::Access(channel) => write!(f, "access to {channel}"),
            Self::Affiliation(channel, user) => write!(f, "affiliation of {user} with {channel}"),
        }
    }
}

/// The way from a [`Query`] to its answer: questions to entities, and what their replies mean.
pub(super) trait Inquiry: Send {
    /// The questions to begin with.
    fn start(&mut self) -> Vec<Question>;

    /// Takes the reply to the question of this number (they are counted from 0).
    fn reply(&mut self, number: usize, reply: Reply<'_>) -> Turn;
}

/// An IQ of type `get` that is to be sent.
pub(super) struct Question {
    pub(super) to: Jid,
    pub(super) payload: Element,
}

/// What an entity said to a question.
#[derive(Clone, Copy)]
pub(super) enum Reply<'a> {
    /// The IQ of type `result`.
    Result(&'a Element),
    /// It does not know, or won't tell.
    Refused,
    /// It can't be reached, or failed.
    Unreachable,
    /// Nothing in time, or that another time would be better.
    Silence,
}

/// What follows from a reply.
pub(super) enum Turn {
    Ask(Vec<Question>),
    Wait,
    Done(Finding),
}

/// The end of an [`Inquiry`].
pub(super) struct Finding {
    pub(super) answer: Answer,
    /// Whether it will hold for as long as things usually do: it is neither a failure nor a guess.
    pub(super) sure: bool,
}

impl Turn {
    /// Ends with what was said.
    pub(super) fn found(found: Found) -> Self {
        Self::Done(Finding { answer: Ok(found), sure: true })
    }

    /// Ends with what must be assumed.
    pub(super) fn assumed(found: Found) -> Self {
        Self::Done(Finding { answer: Ok(found), sure: false })
    }

    /// Ends without an answer.
    pub(super) fn failed() -> Self {
        Self::Done(Finding { answer: Err(Refusal::ChannelServiceDown), sure: false })
    }
}
