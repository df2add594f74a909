//! This node's view of the holder of the stream. The thread `cluster` writes it; `/healthz` and `/metrics` read it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::metrics::Counter;
use crate::store::StreamHolder;

/// The state of the nodes as this one sees it.
pub struct ClusterStatus {
    node: String,
    seen: Mutex<SeenHolder>,
    takeovers: Counter,
    is_listening: AtomicBool,
}

struct SeenHolder {
    /// The holder's name; `None` if it has given the stream up, or is not known.
    node: Option<String>,
    /// When it last beat.
    beat: Option<Instant>,
    /// When a node last held the stream. At the start, one is assumed to hold it.
    held: Instant,
    /// The epoch, if this node is the holder.
    epoch: Option<i64>,
}

/// The state at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterState {
    /// This node's name.
    pub node: String,
    /// The name of the node that holds the stream.
    pub holder: Option<String>,
    /// Whether this node is the holder.
    pub is_holder: bool,
    /// How old the holder's last beat is.
    pub beat_age: Option<Duration>,
    /// For how long no node has held the stream, as far as this node knows.
    pub unheld: Duration,
    /// How often this node took the stream.
    pub takeovers: u64,
    /// Whether this node receives the notices of other nodes.
    pub is_listening: bool,
}

impl ClusterStatus {
    pub(super) fn new(node: &str) -> Self {
        let seen = SeenHolder { node: None, beat: None, held: Instant::now(), epoch: None };
        Self {
            node: node.to_owned(),
            seen: Mutex::new(seen),
            takeovers: Counter::default(),
            is_listening: AtomicBool::new(false),
        }
    }

    /// The state now. Any thread may ask.
    pub fn state(&self) -> ClusterState {
        let seen = self.lock();
        ClusterState {
            node: self.node.clone(),
            holder: seen.node.clone(),
            is_holder: seen.epoch.is_some(),
            beat_age: seen.beat.map(|beat| beat.elapsed()),
            unheld: seen.held.elapsed(),
            takeovers: self.takeovers.get(),
            is_listening: self.is_listening(),
        }
    }

    /// The epoch of the stream, if this node holds it.
    #[cfg(test)]
    pub(super) fn epoch(&self) -> Option<i64> {
        self.lock().epoch
    }

    pub(super) fn is_listening(&self) -> bool {
        self.is_listening.load(Ordering::Relaxed)
    }

    pub(super) fn set_listening(&self, is_listening: bool) {
        self.is_listening.store(is_listening, Ordering::Relaxed);
    }

    /// This node has taken the stream.
    pub(super) fn took(&self) {
        self.takeovers.increment();
    }

    /// This node holds the stream with this epoch: its beat was confirmed.
    pub(super) fn beats(&self, epoch: i64, beat: Instant) {
        let node = Some(self.node.clone());
        *self.lock() = SeenHolder { node, beat: Some(beat), held: beat, epoch: Some(epoch) };
    }

    /// This node does not hold the stream any more.
    pub(super) fn lost(&self) {
        self.lock().epoch = None;
    }

    /// This node is not the holder, and has read the row of the holder. A holder whose beat is too old does not count.
    pub(super) fn saw(&self, found: Option<&StreamHolder>, stale: Duration) {
        let now = Instant::now();
        let holder = found.filter(|holder| holder.node.is_some() && holder.age < stale);
        let mut seen = self.lock();
        seen.epoch = None;
        seen.node = holder.and_then(|holder| holder.node.clone());
        seen.beat = found.and_then(|holder| now.checked_sub(holder.age));
        if holder.is_some() {
            seen.held = now;
        }
    }

    /// A panic leaves no state half changed.
    fn lock(&self) -> MutexGuard<'_, SeenHolder> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
