//! Requests for a confirmation (XEP-0070) that one node hands to the node that holds the component's stream. Values.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use super::jid::Jid;
use super::method::Method;
use super::refusal::Refusal;

/// A row of the table `prompts`. After a crash PostgreSQL empties the table and begins its numbers anew. The same number
/// then means another prompt, maybe of another user: only the stanza's random id identifies a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PromptId {
    /// The number of the row.
    pub number: i64,
    /// The id of the stanza that asks.
    pub stanza_id: String,
}

/// The decision about a prompt: the asked user confirmed, or the reason why not.
pub type PromptDecision = Result<(), Refusal>;

/// A prompt that another node is to send.
#[derive(Clone, PartialEq, Eq)]
pub struct SharedPrompt {
    /// The user who is asked, full or bare.
    pub asked: Jid,
    /// The id of the stanza that asks.
    pub stanza_id: String,
    /// The thread of the message that asks.
    pub thread: String,
    /// Whether an IQ asks, not a message.
    pub by_iq: bool,
    /// The transaction id, which the requester chose.
    pub transaction: String,
    /// The method of the request.
    pub method: Method,
    /// The URL of the request, without its query.
    pub url: String,
    /// The action of the request, in words for people.
    pub deed: String,
    /// Where the request comes from, for people.
    pub source: Option<String>,
    /// The client's network, which limits apply to. `None`: they do not apply.
    pub client: Option<IpAddr>,
    /// Whether a web page of another origin sent the request.
    pub has_origin: bool,
    /// Whether the user is asked. Otherwise the request ends at the deadline, and nobody can confirm it.
    pub shown: bool,
    /// Whether a bounce refuses the request.
    pub ends_by_bounce: bool,
    /// How long the user has, from now on.
    pub time: Duration,
}

/// Without the transaction id.
impl fmt::Debug for SharedPrompt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedPrompt(to {}, the rest hidden)", self.asked)
    }
}

/// A prompt as its row tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredPrompt {
    /// The number of the row.
    pub number: i64,
    /// The prompt, with the time that is left.
    pub prompt: SharedPrompt,
    /// How long ago it was stored.
    pub age: Duration,
    /// Whether a node has sent it.
    pub is_sent: bool,
    /// Whether the client of the request has hung up.
    pub is_abandoned: bool,
}

impl StoredPrompt {
    /// The row.
    pub fn id(&self) -> PromptId {
        PromptId { number: self.number, stanza_id: self.prompt.stanza_id.clone() }
    }
}
