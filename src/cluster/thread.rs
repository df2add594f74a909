//! The thread `cluster`: the queue of work, the connection, and the clock of the beats. Confirmations of several nodes are
//! its work, too.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::holding::Holding;
use super::name::{NameClaim, NameState, NodeSession};
use super::notices::HeardNotices;
use super::prompts::Prompts;
use super::status::ClusterStatus;
use super::{Changed, OnChange, Times, Work};
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::store::{DedicatedConnection, DedicatedConnections, Notice};

pub(super) struct ClusterThread {
    connections: DedicatedConnections,
    connection: Option<DedicatedConnection>,
    name: NameClaim,
    /// The error of a name that another server has.
    taken: Option<Error>,
    work: Receiver<Work>,
    heard: HeardNotices,
    holding: Holding,
    prompts: Prompts,
    times: Times,
    status: Arc<ClusterStatus>,
    on_change: OnChange,
    /// Whether the log says that the database does not answer.
    is_failing: bool,
    /// Whether the log says that the prompts of several nodes can't be stored or read.
    fails_at_prompts: bool,
    /// When the stream was last looked after, and when it is next.
    looked: Instant,
    due: Instant,
    /// Data that may have changed and was not read again yet.
    changed: BTreeSet<Changed>,
    /// When data may be read again: notices of others must not empty caches all the time.
    reread: Instant,
}

impl ClusterThread {
    pub fn new(
        session: NodeSession,
        (work, heard): (Receiver<Work>, HeardNotices),
        (holding, prompts): (Holding, Prompts),
        times: Times,
        status: Arc<ClusterStatus>,
        on_change: OnChange,
    ) -> Self {
        let now = Instant::now();
        let NodeSession { connections, connection, name } = session;
        Self {
            connections,
            connection,
            name,
            taken: None,
            work,
            heard,
            holding,
            prompts,
            times,
            status,
            on_change,
            is_failing: false,
            fails_at_prompts: false,
            looked: now,
            due: now,
            changed: BTreeSet::new(),
            reread: now,
        }
    }

    /// Works until it is stopped, or its queue is closed.
    ///
    /// # Errors
    /// [`Kind::Failure`] if another server has the name of this node.
    pub fn run(mut self) -> Result<()> {
        while let Some(batch) = self.next_batch() {
            if batch.iter().any(|work| matches!(work, Work::Notices)) {
                self.take_notices();
            }
            if Instant::now() >= self.due {
                self.looked = Instant::now();
                self.due = self.step();
                self.prompts.look_again();
            }
            if let Some(error) = self.taken.take() {
                self.holding.give_up(None);
                return Err(error);
            }
            self.prompts.follow(self.holding.stream());
            self.do_all(batch);
            self.reread_changed();
            self.work_on_prompts(self.due);
        }
        // Requests that end with this node are abandoned, and rows that name users do not stay: the second time removes those
        // whose decisions the first has taken.
        let until = Instant::now() + limits::CLUSTER_ANSWER;
        for _ in 0..2 {
            self.prompts.hear_of_decisions();
            self.work_on_prompts(until);
        }
        self.holding.give_up(self.connection.as_mut());
        Ok(())
    }

    /// Waits for work until something else is due. `None` at the end.
    fn next_batch(&mut self) -> Option<Vec<Work>> {
        let is_busy = self.prompts.is_due() && self.connection.is_some() && !self.fails_at_prompts;
        let due = if self.changed.is_empty() { self.due } else { self.due.min(self.reread) };
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

    /// Looks after the stream; gives the time of the next call. If the connection can't be made, requests that wait to be stored
    /// are refused.
    fn step(&mut self) -> Instant {
        let was_usable = self.is_usable();
        let step = self.try_step();
        let next = match &step {
            Ok(next) => {
                if std::mem::take(&mut self.is_failing) {
                    log::info!("the database answers the thread cluster again");
                }
                *next
            }
            Err(error) => {
                if !std::mem::replace(&mut self.is_failing, true) {
                    log::warn!("the database does not answer the thread cluster, which tries again: {error}");
                }
                self.drop_broken();
                Instant::now() + self.times.retry
            }
        };
        if !was_usable && !self.is_usable() {
            let no_name = || Error::new(Kind::Unavailable, "an earlier session has the name of this node");
            self.refuse(&step.err().unwrap_or_else(no_name));
        }
        next
    }

    /// Whether prompts can be stored and read.
    fn is_usable(&self) -> bool {
        self.connection.is_some() && self.name.is_held()
    }

    fn refuse(&mut self, error: &Error) {
        if !std::mem::replace(&mut self.fails_at_prompts, true) {
            log::warn!("requests can't be confirmed through other nodes: {error}; trying again");
        }
        self.prompts.refuse_unasked(error);
    }

    fn drop_broken(&mut self) {
        if self.connection.as_ref().is_none_or(DedicatedConnection::is_broken) {
            self.connection = None;
            self.name.disconnected();
            self.holding.disconnected();
        }
    }

    /// Stores and reads prompts; work that is not done by then stays due, so that no beat is late. Without a connection it waits
    /// for the next attempt to make one, which is soon.
    fn work_on_prompts(&mut self, until: Instant) {
        let Some(connection) = self.connection.as_mut().filter(|_| self.name.is_held()) else { return };
        match self.prompts.work(connection, until) {
            Ok(()) => {
                if std::mem::take(&mut self.fails_at_prompts) {
                    log::info!("requests can be confirmed through other nodes again");
                }
            }
            Err(error) => {
                self.drop_broken();
                if self.is_usable() {
                    self.refuse(&error);
                }
                self.due = self.due.min(self.looked + self.times.retry);
            }
        }
    }

    fn try_step(&mut self) -> Result<Instant> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            None => self.connection.insert(self.connections.open()?),
        };
        match self.name.hold(connection)? {
            NameState::Held => return self.holding.step(connection),
            NameState::Awaited => {}
            NameState::Taken(error) => self.taken = Some(error),
        }
        Ok(Instant::now() + self.times.retry)
    }

    fn do_all(&mut self, batch: Vec<Work>) {
        for work in batch {
            match work {
                Work::Gate(event) => self.prompts.take(event),
                Work::Listening => {
                    self.changed.extend(Changed::ALL);
                    self.prompts.look_again();
                }
                // They were taken already.
                Work::Notices | Work::Stop => {}
            }
        }
    }

    fn take_notices(&mut self) {
        for notice in self.heard.take() {
            match notice {
                Notice::Keys => drop(self.changed.insert(Changed::Keys)),
                Notice::Epochs => drop(self.changed.insert(Changed::Epochs)),
                Notice::Blocks => drop(self.changed.insert(Changed::Blocks)),
                Notice::Stream => self.due = self.due.min(self.looked + self.times.retry),
                Notice::Prompts => self.prompts.hear_of_prompts(),
                Notice::Decisions => self.prompts.hear_of_decisions(),
            }
        }
    }

    /// Has data read again that may have changed: all of it where no notices come in.
    fn reread_changed(&mut self) {
        let now = Instant::now();
        if now < self.reread {
            return;
        }
        if !self.status.is_listening() {
            self.changed.extend(Changed::ALL);
        }
        if !self.changed.is_empty() {
            self.reread = now + self.times.beat;
            std::mem::take(&mut self.changed).into_iter().for_each(&self.on_change);
        }
    }
}
