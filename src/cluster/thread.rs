//! The thread `cluster`: the queue of work, the connection, and the clock of the beats.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Instant;

use super::holding::Holding;
use super::status::ClusterStatus;
use super::{Changed, OnChange, Times, Work};
use crate::error::Result;
use crate::limits;
use crate::store::{DedicatedConnection, DedicatedConnections, Notice};

pub(super) struct ClusterThread {
    connections: DedicatedConnections,
    connection: Option<DedicatedConnection>,
    work: Receiver<Work>,
    holding: Holding,
    times: Times,
    status: Arc<ClusterStatus>,
    on_change: OnChange,
    /// Whether the log says that the database does not answer.
    is_failing: bool,
    /// When the tables are read again where no notices come in.
    reread: Instant,
}

impl ClusterThread {
    pub fn new(
        connections: DedicatedConnections,
        work: Receiver<Work>,
        holding: Holding,
        times: Times,
        status: Arc<ClusterStatus>,
        on_change: OnChange,
    ) -> Self {
        let (connection, is_failing, reread) = (None, false, Instant::now());
        Self { connections, connection, work, holding, times, status, on_change, is_failing, reread }
    }

    /// Works until it is told to stop, or nobody can hand it work any more.
    pub fn run(mut self) {
        let mut due = Instant::now();
        while let Some(batch) = self.next_batch(due) {
            if batch.iter().any(|work| matches!(work, Work::Notice(Notice::Stream))) {
                due = Instant::now();
            }
            if Instant::now() >= due {
                due = self.step();
            }
            self.do_all(batch);
            self.reread_without_notices();
        }
        self.holding.give_up(self.connection.as_mut());
    }

    /// Waits for work until then. `None` at the end.
    fn next_batch(&self, due: Instant) -> Option<Vec<Work>> {
        let first = match self.work.recv_timeout(due.saturating_duration_since(Instant::now())) {
            Ok(first) => first,
            Err(RecvTimeoutError::Timeout) => return Some(Vec::new()),
            Err(RecvTimeoutError::Disconnected) => return None,
        };
        let rest = self.work.try_iter().take(limits::CLUSTER_WORK - 1);
        let batch: Vec<Work> = std::iter::once(first).chain(rest).collect();
        let is_end = batch.iter().any(|work| matches!(work, Work::Stop));
        (!is_end).then_some(batch)
    }

    /// Looks after the stream; gives the time of the next call.
    fn step(&mut self) -> Instant {
        match self.try_step() {
            Ok(next) => {
                if std::mem::take(&mut self.is_failing) {
                    log::info!("the database answers the thread cluster again");
                }
                next
            }
            Err(error) => {
                if !std::mem::replace(&mut self.is_failing, true) {
                    log::warn!("the database does not answer the thread cluster, which tries again: {error}");
                }
                if self.connection.as_ref().is_none_or(DedicatedConnection::is_broken) {
                    self.connection = None;
                    self.holding.disconnected();
                }
                Instant::now() + self.times.retry
            }
        }
    }

    fn try_step(&mut self) -> Result<Instant> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            None => self.connection.insert(self.connections.open()?),
        };
        self.holding.step(connection)
    }

    fn do_all(&mut self, batch: Vec<Work>) {
        for work in batch {
            match work {
                Work::Notice(Notice::Keys) => (self.on_change)(Changed::Keys),
                Work::Notice(Notice::Epochs) => (self.on_change)(Changed::Epochs),
                Work::Notice(Notice::Blocks) => (self.on_change)(Changed::Blocks),
                Work::Listening => self.all_changed(),
                // The first was looked after already, and of prompts this thread knows nothing yet.
                Work::Notice(Notice::Stream | Notice::Prompt(_) | Notice::Decision(_)) | Work::Stop => {}
            }
        }
    }

    /// Without notices everything may have changed.
    fn reread_without_notices(&mut self) {
        if !self.status.is_listening() && Instant::now() >= self.reread {
            self.reread = Instant::now() + self.times.beat;
            self.all_changed();
        }
    }

    fn all_changed(&self) {
        Changed::ALL.into_iter().for_each(&self.on_change);
    }
}
