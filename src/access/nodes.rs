//! The gate's part in a cluster, where one node holds the component's stream and asks the users for all. A node without the
//! stream hands its prompts over as rows of a table; the holder has those of all nodes in its registry. A part of the
//! gate's state machine, without I/O: a write to the table comes out as a [`NodeEvent`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Instant;

use super::request::RequestId;
use super::settings::Settings;
use crate::limits;
use crate::model::{PromptDecision, PromptId, Refusal, SharedPrompt};

/// An event of the gate for the other nodes.
#[derive(Debug)]
pub enum NodeEvent {
    /// Let the holder of the stream ask for this request.
    Ask(RequestId, Box<SharedPrompt>),
    /// This request, which was asked for, waits no more: its client has hung up, or its time is over.
    Abandon(RequestId),
    /// The prompt of this row was sent.
    Sent(PromptId),
    /// This row is decided.
    Decide(PromptId, PromptDecision),
    /// The component's link is up: prompts that wait can be sent.
    Ready,
}

/// The state of the requests that cross between nodes.
#[derive(Default)]
pub(super) struct Nodes {
    /// Since when this node holds the component's stream without its link being up; `None`: it does not, or the link is.
    cut_off_since: Option<Instant>,
    holds: bool,
    /// Our requests about which the holder asks.
    asked: BTreeMap<RequestId, Asked>,
    /// The rows whose prompts are in our registry, both ways.
    rows: BTreeMap<RequestId, PromptId>,
    ids: BTreeMap<PromptId, RequestId>,
    /// Rows that are decided, though the table may not say so yet.
    decided: BTreeSet<PromptId>,
    events: Vec<NodeEvent>,
}

/// The rows that the holder need not read again.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct KnownRows {
    /// Rows whose prompts are pending here, or decided but not yet in the table.
    pub all: Vec<PromptId>,
    /// The rows among them whose clients wait.
    pub waiting: Vec<PromptId>,
}

/// The links of a node to the XMPP server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeLinks {
    /// Whether this node holds the component's stream, but is not logged in.
    pub is_cut_off: bool,
    /// Whether the account's session is up.
    pub is_client_up: bool,
}

/// A request about which another node asks.
struct Asked {
    client: Option<IpAddr>,
    /// From then on no decision is expected.
    deadline: Instant,
}

impl Nodes {
    /// Whether this node holds the component's stream.
    pub fn holds(&self) -> bool {
        self.holds
    }

    /// This node holds the stream from now on.
    pub fn hold(&mut self, now: Instant, link_is_up: bool) {
        self.holds = true;
        self.cut_off_since = (!link_is_up).then_some(now);
    }

    /// Another node may hold the stream from now on, and decides about its prompts itself.
    pub fn release(&mut self) {
        self.holds = false;
        self.cut_off_since = None;
        self.decided.clear();
        self.forget_rows();
    }

    /// The component's link is up.
    pub fn link_up(&mut self) {
        self.cut_off_since = None;
        self.events.push(NodeEvent::Ready);
    }

    /// The component's link is down. The rows wait for the next stream, which may be another node's.
    pub fn link_down(&mut self, now: Instant) {
        if self.holds && self.cut_off_since.is_none() {
            self.cut_off_since = Some(now);
        }
        self.forget_rows();
    }

    fn forget_rows(&mut self) {
        self.rows.clear();
        self.ids.clear();
    }

    /// Whether this node holds the stream, but the XMPP server has been away for so long that nobody should wait for it.
    pub fn is_cut_off(&self, now: Instant) -> bool {
        let is_long = |since| now.saturating_duration_since(since) >= limits::STREAM_PATIENCE;
        self.cut_off_since.is_some_and(is_long)
    }

    /// Whether this node holds the stream without its link being up.
    pub fn lacks_link(&self) -> bool {
        self.cut_off_since.is_some()
    }

    /// Hands a prompt over, unless too many wait. The holder decides by the same limits, over all nodes; these keep the
    /// table small while no node holds the stream.
    pub fn ask(
        &mut self,
        now: Instant,
        id: RequestId,
        prompt: SharedPrompt,
        settings: &Settings,
    ) -> Result<(), Refusal> {
        let client = prompt.client;
        let of_client = || self.asked.values().filter(|asked| asked.client == client).count();
        if self.asked.len() >= settings.pending_total {
            return Err(Refusal::TooManyPending);
        }
        if client.is_some() && of_client() >= settings.pending_per_address {
            return Err(Refusal::TooManyForAddress);
        }
        let deadline = now + prompt.time + limits::DECISION_GRACE;
        self.asked.insert(id, Asked { client, deadline });
        self.events.push(NodeEvent::Ask(id, Box::new(prompt)));
        Ok(())
    }

    /// Our requests about which another node asks.
    pub fn asked(&self) -> usize {
        self.asked.len()
    }

    /// The decision about our request has come; `false` if the request does not wait for one.
    pub fn answered(&mut self, id: RequestId) -> bool {
        self.asked.remove(&id).is_some()
    }

    /// Our request waits no more.
    pub fn abandon(&mut self, id: RequestId) {
        if self.answered(id) {
            self.events.push(NodeEvent::Abandon(id));
        }
    }

    /// No request of this node waits any more.
    pub fn abandon_all(&mut self) {
        let all = std::mem::take(&mut self.asked).into_keys();
        self.events.extend(all.map(NodeEvent::Abandon));
    }

    /// Our requests whose decision is late.
    pub fn late(&self, now: Instant) -> Vec<RequestId> {
        let late = self.asked.iter().filter(|(_, asked)| asked.deadline <= now);
        late.map(|(id, _)| *id).collect()
    }

    /// When the first decision is late.
    pub fn deadline(&self) -> Option<Instant> {
        self.asked.values().map(|asked| asked.deadline).min()
    }

    /// The registry has this row's prompt under this number.
    pub fn keep(&mut self, id: RequestId, row: PromptId, is_sent: bool) {
        self.rows.insert(id, row.clone());
        self.ids.insert(row.clone(), id);
        if !is_sent {
            self.events.push(NodeEvent::Sent(row));
        }
    }

    /// The number of this row's prompt in the registry.
    pub fn number_of(&self, row: &PromptId) -> Option<RequestId> {
        self.ids.get(row).copied()
    }

    /// Whether this row's prompt is in the registry, or decided.
    pub fn knows(&self, row: &PromptId) -> bool {
        self.ids.contains_key(row) || self.decided.contains(row)
    }

    /// The rows whose prompts are in the registry, or decided. `waits` tells whether a request waits for this number's
    /// reply.
    pub fn known(&self, waits: impl Fn(RequestId) -> bool) -> KnownRows {
        let waiting = self.ids.iter().filter(|(_, id)| waits(**id));
        KnownRows {
            waiting: waiting.map(|(row, _)| row.clone()).collect(),
            all: self.ids.keys().chain(&self.decided).cloned().collect(),
        }
    }

    /// The table has the decisions about these rows.
    pub fn written(&mut self, rows: &[PromptId]) {
        for row in rows {
            self.decided.remove(row);
        }
    }

    /// A confirmation of the registry has ended; `false` if it belongs to no row.
    pub fn decide(&mut self, id: RequestId, decision: PromptDecision) -> bool {
        let Some(row) = self.rows.remove(&id) else { return false };
        self.ids.remove(&row);
        self.decide_row(row, decision);
        true
    }

    /// A row is decided that is not in the registry.
    pub fn decide_row(&mut self, row: PromptId, decision: PromptDecision) {
        self.decided.insert(row.clone());
        self.events.push(NodeEvent::Decide(row, decision));
    }

    /// The events to write since the last call.
    pub fn take_events(&mut self) -> Vec<NodeEvent> {
        std::mem::take(&mut self.events)
    }
}
