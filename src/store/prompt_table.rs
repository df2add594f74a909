//! Requests for a confirmation that one node hands to the node that asks the users, on PostgreSQL alone. Called by the thread
//! `cluster`, on its own connection.
//!
//! All times are those of the database's clock. Every change is told to the other nodes by a notice, in the same
//! transaction.

use crate::error::Result;
use crate::model::{PromptDecision, PromptId, SharedPrompt, StoredPrompt};

/// The rows of table `prompts`. Every call ends within [`CLUSTER_ANSWER`](crate::limits::CLUSTER_ANSWER).
pub trait PromptTable {
    /// Stores prompts of this node; gives the number of each. A repeated call stores nothing.
    fn ask(&mut self, node: &str, prompts: &[SharedPrompt]) -> Result<Vec<PromptId>>;

    /// At most `max` undecided prompts whose deadline is not over, the oldest first: those that are not among the known ones,
    /// and the abandoned ones of those that wait.
    fn undecided(
        &mut self,
        known: &[PromptId],
        waiting: &[PromptId],
        max: usize,
    ) -> Result<Vec<StoredPrompt>>;

    /// The holder of this stream has sent these prompts.
    fn sent(&mut self, stream: &StreamEpoch, prompts: &[PromptId]) -> Result<()>;

    /// The holder of this stream decides prompts. Only the first decision about a prompt counts. `false`: the node holds the
    /// stream no longer, and decides nothing.
    fn decide(&mut self, stream: &StreamEpoch, decisions: &[(PromptId, PromptDecision)]) -> Result<bool>;

    /// Which of these prompts exist, and how they are decided.
    fn decisions(&mut self, prompts: &[PromptId]) -> Result<Vec<(PromptId, Option<PromptDecision>)>>;

    /// The clients of these prompts' requests have hung up.
    fn abandon(&mut self, prompts: &[PromptId]) -> Result<()>;

    /// Nobody waits for the prompts of this node any more: it has started anew.
    fn abandon_of_node(&mut self, node: &str) -> Result<()>;

    /// Removes prompts.
    fn remove(&mut self, prompts: &[PromptId]) -> Result<()>;

    /// Removes the prompts whose deadline was over a minute ago; gives how many.
    fn sweep(&mut self) -> Result<u64>;
}

/// A component's stream as one node holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamEpoch {
    /// The component's address.
    pub component: String,
    /// Grows each time that a node takes the stream.
    pub epoch: i64,
}
