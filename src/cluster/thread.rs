//! The thread `cluster`: the queue of work, the connection, and the clock of the beats. Confirmations of several nodes are
//! its work, too.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::holding::Holding;
use super::prompts::Prompts;
use super::status::ClusterStatus;
use super::{Changed, OnChange, Times, Work};
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::store::{DedicatedConnection, DedicatedConnections, Notice};

pub(super) struct ClusterThread {
    connections: DedicatedConnections,
    connection: Option<DedicatedConnection>,
    work: Receiver<Work>,
    holding: Holding,
    prompts: Prompts,
    times: Times,
    status: Arc<ClusterStatus>,
    on_change: OnChange,
    /// Whether the log says that the database does not answer.
    is_failing: bool,
    /// Whether the log says that the prompts of several nodes can't be stored or read.
    fails_at_prompts: bool,
    /// When the tables are read again where no notices come in.
    reread: Instant,
}

impl ClusterThread {
    pub fn new(
        connections: DedicatedConnections,
        work: Receiver<Work>,
        (holding, prompts): (Holding, Prompts),
        times: Times,
        status: Arc<ClusterStatus>,
        on_change: OnChange,
    ) -> Self {
        Self {
            connections,
            connection: None,
            work,
            holding,
            prompts,
            times,
            status,
            on_change,
            is_failing: false,
            fails_at_prompts: false,
            reread: Instant::now(),
        }
    }

    /// Works until it is stopped, or its queue is closed.
    pub fn run(mut self) {
        let mut due = Instant::now();
        while let Some(batch) = self.next_batch(due) {
            if batch.iter().any(|work| matches!(work, Work::Notice(Notice::Stream))) {
                due = Instant::now();
            }
            if Instant::now() >= due {
                due = self.step();
                self.prompts.look_again();
            }
            self.prompts.follow(self.holding.stream());
            self.do_all(batch);
            self.reread_without_notices();
            self.work_on_prompts(due);
        }
        // Requests that end with this node are abandoned.
        self.work_on_prompts(Instant::now() + limits::CLUSTER_ANSWER);
        self.holding.give_up(self.connection.as_mut());
    }

    /// Waits for work until then. `None` at the end.
    fn next_batch(&mut self, due: Instant) -> Option<Vec<Work>> {
        let is_busy = self.prompts.is_due() && self.connection.is_some() && !self.fails_at_prompts;
        let wait = if is_busy { Duration::ZERO } else { due.saturating_duration_since(Instant::now()) };
        let first = match self.work.recv_timeout(wait) {
            Ok(first) => first,
            Err(RecvTimeoutError::Timeout) => return Some(Vec::new()),
            Err(RecvTimeoutError::Disconnected) => return None,
        };
        let rest = self.work.try_iter().take(limits::CLUSTER_WORK - 1);
        let batch: Vec<Work> = std::iter::once(first).chain(rest).collect();
        if batch.iter().any(|work| matches!(work, Work::Stop)) {
            self.do_all(batch);
            return None;
        }
        Some(batch)
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
                self.drop_broken();
                Instant::now() + self.times.retry
            }
        }
    }

    fn drop_broken(&mut self) {
        if self.connection.as_ref().is_none_or(DedicatedConnection::is_broken) {
            self.connection = None;
            self.holding.disconnected();
        }
    }

    /// Stores and reads prompts; work that is not done by then stays due, so that no beat is late.
    fn work_on_prompts(&mut self, until: Instant) {
        let done = match &mut self.connection {
            Some(connection) => self.prompts.work(connection, until),
            None => Err(Error::new(Kind::Unavailable, "no database connection")),
        };
        match done {
            Ok(()) => {
                if std::mem::take(&mut self.fails_at_prompts) {
                    log::info!("requests can be confirmed through other nodes again");
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut self.fails_at_prompts, true) {
                    log::warn!("requests can't be confirmed through other nodes: {error}; trying again");
                }
                self.prompts.refuse_unasked(&error);
                self.drop_broken();
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
                Work::Notice(Notice::Prompt(_)) => self.prompts.hear_of_prompts(),
                Work::Notice(Notice::Decision(row)) => self.prompts.hear_of_decision(row),
                Work::Gate(event) => self.prompts.take(event),
                Work::Listening => {
                    self.all_changed();
                    self.prompts.look_again();
                }
                // It was looked after already.
                Work::Notice(Notice::Stream) | Work::Stop => {}
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
