//! The state of a server, for its operator. Any thread may read it.

use std::sync::Arc;

use super::connection::Stage;
use super::runtime::shared::Shared;
use crate::metrics::Requests;

/// Shows the state of a [`super::Server`]. Nothing is copied until it is asked.
pub struct Monitor(pub(super) Arc<Shared>);

/// The state of a server; of a pair, the second number is the limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// Open connections.
    pub connections: (usize, usize),
    /// Those of them that wait for a request.
    pub idle: usize,
    /// Requests whose bodies are being read.
    pub uploads: (usize, usize),
    /// Responses that rest half sent.
    pub half_sent: usize,
    /// Threads that wait for events or handle them, including lent turns.
    pub turns: usize,
    /// Those of them that are lent, because others are stuck.
    pub turns_lent: usize,
    /// Requests that have left their turn for a thread of their own.
    pub left: (usize, usize),
    /// Requests that wait for such a thread.
    pub deferred: usize,
    /// Requests that the gate has decided and that wait for a thread.
    pub resumed: usize,
}

impl Monitor {
    /// The counts of responses since the start.
    pub fn requests(&self) -> &Requests {
        &self.0.requests
    }

    /// The state at the moment.
    pub fn activity(&self) -> Activity {
        let shared = &*self.0;
        let pool = shared.turns.state();
        Activity {
            connections: (shared.connections.held(), shared.connections.max()),
            idle: shared.table.count(|connection| connection.stage == Stage::Head { begun: false }),
            uploads: (shared.uploads.held(), shared.uploads.max()),
            half_sent: shared
                .table
                .count(|connection| matches!(connection.stage, Stage::Response | Stage::Fetch)),
            turns: pool.turns,
            turns_lent: pool.lent,
            left: (pool.left, shared.settings.threads),
            deferred: pool.deferred,
            resumed: shared.resumed.len(),
        }
    }
}
