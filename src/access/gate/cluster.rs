//! The gate as one of several nodes: the calls of the thread `cluster`. See [`Nodes`].

use std::time::Instant;

use super::super::nodes::{KnownRows, NodeEvent, NodeLinks, Nodes};
use super::super::request::RequestId;
use super::{Gate, GateOutput};
use crate::model::{PromptDecision, PromptId, Refusal, StoredPrompt};
use crate::xmpp::Link;

impl<P> Gate<P> {
    /// The same gate as one of several nodes. It does not hold the component's stream yet.
    pub fn of_cluster(self) -> Self {
        Self { nodes: Some(Nodes::default()), ..self }
    }

    /// This node holds the component's stream from now on; its link comes up later.
    pub fn hold(&mut self, now: Instant) {
        if let Some(nodes) = &mut self.nodes {
            nodes.hold(now, self.component.is_some());
            self.confirmations.follow_another_node(now);
        }
    }

    /// This node holds the component's stream no longer: refuses the requests that wait for a reply from it. Requests
    /// of other nodes wait for the next holder.
    pub fn release(&mut self, now: Instant) -> Vec<GateOutput<P>> {
        let mut out = Vec::new();
        if let Some(nodes) = &mut self.nodes {
            nodes.release();
            self.refuse_pending(now, &mut out);
            self.settle(now, &mut out);
        }
        out
    }

    /// The events for the other nodes since the last call.
    pub fn take_node_events(&mut self) -> Vec<NodeEvent> {
        self.nodes.as_mut().map(Nodes::take_events).unwrap_or_default()
    }

    /// The state of this node's links to the XMPP server.
    pub fn links(&self) -> NodeLinks {
        let is_cut_off = self.nodes.as_ref().is_some_and(Nodes::lacks_link);
        NodeLinks { is_cut_off, is_client_up: self.client.is_some() }
    }

    /// The rows that need not be read again.
    pub fn known_rows(&self) -> KnownRows {
        let waits = |id| self.confirmations.waits(id);
        self.nodes.as_ref().map(|nodes| nodes.known(waits)).unwrap_or_default()
    }

    /// The table has the decisions about these rows.
    pub fn decisions_written(&mut self, rows: &[PromptId]) {
        if let Some(nodes) = &mut self.nodes {
            nodes.written(rows);
        }
    }

    /// Asks a user for another node, if this one holds the component's stream. The decision comes out as a [`NodeEvent`].
    pub fn ask_for_node(&mut self, now: Instant, stored: StoredPrompt) -> Vec<GateOutput<P>> {
        let mut out = Vec::new();
        let Some(nodes) = self.nodes.as_mut().filter(|nodes| nodes.holds()) else { return out };
        let (row, is_sent) = (stored.id(), stored.is_sent);
        if nodes.knows(&row) {
            return out;
        }
        match &self.component {
            _ if stored.is_abandoned && !is_sent => nodes.decide_row(row, Err(Refusal::NotConfirmed)),
            None if nodes.is_cut_off(now) => nodes.decide_row(row, Err(Refusal::XmppDown)),
            None => {}
            Some(component) => {
                self.last_id += 1;
                let id = self.last_id;
                match self.confirmations.begin_for_node(now, &component.jid, id, stored) {
                    Ok(prompt) => {
                        nodes.keep(id, row, is_sent);
                        out.extend(prompt.map(|prompt| GateOutput::Send(Link::Component, prompt)));
                    }
                    Err(refusal) => nodes.decide_row(row, Err(refusal)),
                }
            }
        }
        self.settle(now, &mut out);
        out
    }

    /// The client of a request of another node has hung up.
    pub fn node_hung_up(&mut self, row: &PromptId) {
        let id = self.nodes.as_ref().and_then(|nodes| nodes.number_of(row));
        if let Some(id) = id {
            self.confirmations.cancel(id);
            self.end_abandoned();
        }
    }

    /// Takes the decision of the node that asked about this request. A late or repeated decision has no effect.
    pub fn answered(&mut self, now: Instant, id: RequestId, decision: PromptDecision) -> Vec<GateOutput<P>> {
        let mut out = Vec::new();
        if !self.nodes.as_mut().is_some_and(|nodes| nodes.answered(id)) {
            return out;
        }
        let asked = self.requests.get(&id).and_then(|request| request.request.credentials.as_ref().ok());
        let user = asked.map(|credentials| credentials.jid().bare().clone());
        let result = decision.and_then(|()| user.ok_or(Refusal::Internal));
        self.counts.confirmations.abandoned += u64::from(result == Err(Refusal::XmppDown));
        self.confirmed(now, id, result, &mut out);
        self.settle(now, &mut out);
        out
    }

    /// Our requests about which no decision of another node has come in time.
    pub(super) fn take_unanswered(&mut self, now: Instant) -> Vec<RequestId> {
        let Some(nodes) = &mut self.nodes else { return Vec::new() };
        let late = nodes.late(now);
        late.iter().for_each(|id| nodes.abandon(*id));
        late
    }

    /// A confirmation has ended; `false` if it is for a request of our own.
    pub(super) fn decide_for_node(&mut self, id: RequestId, decision: PromptDecision) -> bool {
        self.nodes.as_mut().is_some_and(|nodes| nodes.decide(id, decision))
    }

    /// Rows whose clients had hung up are decided like all others, so that no holder asks about them again.
    pub(super) fn end_abandoned(&mut self) {
        for id in self.confirmations.take_ended() {
            self.decide_for_node(id, Err(Refusal::NotConfirmed));
        }
    }
}

#[cfg(test)]
mod tests;
