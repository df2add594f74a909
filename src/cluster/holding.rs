//! The holder of the component's stream: this node takes the stream, beats, and gives it up. Runs on thread `cluster`.
//!
//! The session of the thread's connection has the advisory lock while this node is the holder. The lease of the stream ends
//! [`Times::lease`](super::Times) after the last confirmed beat was sent; another node waits for [`Times::stale`](super::Times),
//! which is longer, so there is no moment with two holders.
//!
//! A node is ready for the stream while its own XMPP session is up, and says so to the others. A holder whose component can't
//! log in gives the stream up to a node that is ready.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Settings;
use super::status::ClusterStatus;
use crate::access::{NodeDoor, NodeLinks};
use crate::error::Result;
use crate::limits;
use crate::store::{self, Change, DedicatedConnection, Notice, StreamHolder};
use crate::xmpp::Lease;

pub(super) struct Holding {
    settings: Settings,
    lease: Lease,
    door: Arc<dyn NodeDoor>,
    status: Arc<ClusterStatus>,
    /// Whether the session of the present connection says that this node is ready.
    is_ready: bool,
    /// Since when this node is the holder and not logged in, while another node reaches the XMPP server.
    outdone: Option<Instant>,
    /// When this node gave the stream up because it did not reach the XMPP server.
    yielded: Option<Instant>,
    /// The epoch, while the session of the present connection has the lock.
    held: Option<i64>,
    /// The epoch that this process had last. While its lease lasts no other node can have had the stream since.
    last: Option<i64>,
    /// The session that keeps the lock while the holder does not beat, and since when.
    suspect: Option<(i64, Instant)>,
}

impl Holding {
    pub fn new(
        settings: Settings,
        lease: Lease,
        door: Arc<dyn NodeDoor>,
        status: Arc<ClusterStatus>,
    ) -> Self {
        Self {
            settings,
            lease,
            door,
            status,
            is_ready: false,
            outdone: None,
            yielded: None,
            held: None,
            last: None,
            suspect: None,
        }
    }

    /// Beats, or takes the stream where that is possible; gives the time of the next call. An error means that nothing is
    /// known; then a lease goes on to its end.
    pub fn step(&mut self, connection: &mut DedicatedConnection) -> Result<Instant> {
        let links = self.door.links();
        self.say_whether_ready(connection, &links)?;
        let Some(epoch) = self.held else {
            self.outdone = None;
            return self.look(connection);
        };
        if self.is_outdone_for_long(connection, &links)? {
            return Ok(self.yield_stream(connection));
        }
        self.beat(connection, epoch)
    }

    fn say_whether_ready(&mut self, connection: &mut DedicatedConnection, links: &NodeLinks) -> Result<()> {
        let leaves_it = self.yielded.is_some_and(|at| at.elapsed() < self.settings.times.back_off);
        let is_ready = links.is_client_up && !leaves_it;
        if is_ready != self.is_ready {
            let component = self.settings.component.clone();
            connection.run(move |session| store::say_ready(session, &component, is_ready))?;
            self.is_ready = is_ready;
        }
        Ok(())
    }

    /// After an outage of the XMPP server the holder has this time to log in again, too.
    fn is_outdone_for_long(
        &mut self,
        connection: &mut DedicatedConnection,
        links: &NodeLinks,
    ) -> Result<bool> {
        if !links.is_cut_off || !self.is_other_ready(connection)? {
            self.outdone = None;
            return Ok(false);
        }
        let since = *self.outdone.get_or_insert_with(Instant::now);
        Ok(since.elapsed() >= self.settings.times.patience)
    }

    fn is_other_ready(&self, connection: &mut DedicatedConnection) -> Result<bool> {
        let (component, stale) = (self.settings.component.clone(), self.settings.times.stale);
        connection.run(move |session| store::is_other_ready(session, &component, stale))
    }

    /// Gives the stream up to a node that reaches the XMPP server.
    fn yield_stream(&mut self, connection: &mut DedicatedConnection) -> Instant {
        let time = self.settings.times.patience;
        log::warn!(
            "the component has not been logged in for {time:?}, and another node reaches the XMPP server"
        );
        self.yielded = Some(Instant::now());
        self.give_up(Some(connection));
        Instant::now() + self.settings.times.retry
    }

    /// The epoch with which this node may hold the stream now. It outlasts a connection that is lost for a moment.
    pub fn stream(&self) -> Option<i64> {
        self.last.filter(|_| self.lease.is_granted(Instant::now()))
    }

    /// The connection is gone, and the lock with it.
    pub fn disconnected(&mut self) {
        self.held = None;
        self.is_ready = false;
        self.status.lost();
    }

    /// Ends the stream, and gives it up so that another node can take it at once. A connection that fails ends the lock,
    /// too, and then another node waits for an old beat.
    pub fn give_up(&mut self, connection: Option<&mut DedicatedConnection>) {
        self.lease.revoke();
        let has_ended = self.lease.wait_until_left(limits::CLUSTER_END);
        let (Some(epoch), Some(connection)) = (self.held.take(), connection) else { return };
        self.status.lost();
        if !has_ended {
            log::warn!("the XMPP stream did not end in time, so another node waits for it");
            return;
        }
        match self.release(connection, epoch) {
            Ok(()) => log::info!("node {} gives the XMPP stream up", self.settings.node),
            Err(error) => {
                log::warn!("the XMPP stream can't be given up, so another node waits for it: {error}");
            }
        }
    }

    fn release(&self, connection: &mut DedicatedConnection, epoch: i64) -> Result<()> {
        let component = self.settings.component.clone();
        connection.run(move |session| {
            store::give_up_stream(session, &component, epoch)?;
            store::unlock_stream(session, &component)
        })?;
        connection.notify(Notice::Stream)
    }

    fn beat(&mut self, connection: &mut DedicatedConnection, epoch: i64) -> Result<Instant> {
        let (component, sent) = (self.settings.component.clone(), Instant::now());
        if connection.run(move |session| store::beat(session, &component, epoch))? {
            self.confirmed(epoch, sent);
            return Ok(sent + self.settings.times.beat);
        }
        log::error!("another node has the XMPP stream, though this one has its lock; the stream ends");
        self.lease.revoke();
        self.held = None;
        self.status.lost();
        self.unlock(connection)?;
        Ok(sent + self.settings.times.retry)
    }

    fn unlock(&self, connection: &mut DedicatedConnection) -> Result<()> {
        let component = self.settings.component.clone();
        connection.run(move |session| store::unlock_stream(session, &component))
    }

    fn confirmed(&mut self, epoch: i64, sent: Instant) {
        self.lease.grant(sent + self.settings.times.lease);
        self.status.beats(epoch, sent);
        (self.held, self.last, self.suspect) = (Some(epoch), Some(epoch), None);
    }

    fn look(&mut self, connection: &mut DedicatedConnection) -> Result<Instant> {
        let (component, times) = (self.settings.component.clone(), self.settings.times);
        let found = connection.run(move |session| store::watch_holder(session, &component))?;
        self.status.saw(found.as_ref(), times.stale);
        let now = Instant::now();
        let own = self.last.filter(|_| self.lease.is_granted(now));
        match &found {
            Some(holder) if !is_free(holder, own, times.stale) => {
                self.suspect = None;
                let soon = times.stale.saturating_sub(holder.age) + Duration::from_millis(1);
                Ok(now + soon.min(times.beat))
            }
            // A ready node takes it at once, if it can.
            Some(holder)
                if !self.is_ready && holder.age <= times.stale && self.is_other_ready(connection)? =>
            {
                Ok(now + times.retry)
            }
            _ => self.take(connection, own, found.as_ref()),
        }
    }

    fn take(
        &mut self,
        connection: &mut DedicatedConnection,
        own: Option<i64>,
        found: Option<&StreamHolder>,
    ) -> Result<Instant> {
        let Settings { node, component, times, .. } = self.settings.clone();
        let sent = Instant::now();
        let taken = connection.transact(move |session| {
            // An epoch is never given twice, also where PostgreSQL crashes now.
            session.execute("SET LOCAL synchronous_commit = local", &[])?;
            store::take_stream(session, &component, &node, own, times.stale).map(Change::Commit)
        })?;
        match taken {
            Some(epoch) => {
                if own != Some(epoch) {
                    self.status.took();
                    log::info!("{}", told(&self.settings.node, found));
                }
                self.confirmed(epoch, sent);
                Ok(sent + times.beat)
            }
            None => {
                // It may have the lock all the same, if the row has changed meanwhile.
                self.unlock(connection)?;
                self.end_stale_holder(connection)?;
                Ok(sent + times.retry)
            }
        }
    }

    /// Ends the session that keeps the lock though its node does not beat. A node that has just taken the lock may have no
    /// row yet: its session is ended only if it still has none after a while.
    fn end_stale_holder(&mut self, connection: &mut DedicatedConnection) -> Result<()> {
        let (component, stale) = (self.settings.component.clone(), self.settings.times.stale);
        let owner = connection.run(move |session| store::lock_owner(session, &component))?;
        let Some(pid) = owner else {
            self.suspect = None;
            return Ok(());
        };
        let since =
            self.suspect.filter(|(known, _)| *known == pid).map_or_else(Instant::now, |(_, since)| since);
        self.suspect = Some((pid, since));
        let (component, is_new) = (self.settings.component.clone(), since.elapsed() < stale);
        if connection.run(move |session| store::end_holder(session, &component, pid, stale, is_new))? {
            log::warn!(
                "process {pid} of PostgreSQL is terminated: it has the lock of the XMPP stream, and its node does not beat"
            );
        }
        Ok(())
    }
}

/// Whether the stream can be taken, as far as its row tells.
fn is_free(holder: &StreamHolder, own: Option<i64>, stale: Duration) -> bool {
    holder.node.is_none() || holder.age > stale || own == Some(holder.epoch)
}

/// The line about a takeover.
fn told(node: &str, found: Option<&StreamHolder>) -> String {
    match found {
        Some(StreamHolder { node: Some(other), age, .. }) => {
            let seconds = age.as_secs_f64();
            format!(
                "node {node} takes the XMPP stream over from node {other}, whose last beat is {seconds:.1} s old"
            )
        }
        Some(StreamHolder { node: None, .. }) => {
            format!("node {node} takes the XMPP stream, which its last holder has given up")
        }
        None => format!("node {node} takes the XMPP stream, which no node has held yet"),
    }
}
