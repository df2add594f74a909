//! The queue of the blocks that are to be fetched. No I/O; the state of the cache holds it under its lock.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::index::{BlockId, KeyHash};
use crate::remote::{Fetched, FileBlock, OnFetched};

/// A block that a reader wants.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub id: BlockId,
    pub key: Arc<str>,
    /// The bytes of the file that it holds.
    pub range: Range<u64>,
    /// The size of the whole file.
    pub size: u64,
}

impl Wanted {
    /// The length of its bytes.
    pub fn bytes(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// The bytes of the block from its start to this position in the file, inclusive.
    pub fn up_to(&self, position: u64) -> u64 {
        position + 1 - self.range.start
    }
}

/// The blocks that are to be fetched.
#[derive(Default)]
pub(super) struct Fetches {
    /// Blocks that are queued or being fetched.
    pub pending: HashMap<BlockId, Pending>,
    /// Blocks that a reader waits for. Some may have been fetched meanwhile.
    pub wanted: VecDeque<BlockId>,
    /// Blocks that a reader will want next. Some may have been fetched meanwhile.
    pub ahead: VecDeque<BlockId>,
    /// Threads that fetch.
    pub threads: usize,
    /// Those of them that wait for a block to fetch.
    pub idle: usize,
    /// When the log last said that the store fails; `None` while it works.
    pub complained: Option<Instant>,
}

/// A reader that waits for a block.
pub(super) struct Waiter {
    /// The bytes of the block that must have come.
    pub least: u64,
    pub then: OnFetched,
}

/// A block that is queued or being fetched.
pub(super) struct Pending {
    wanted: Wanted,
    waiters: Vec<Waiter>,
    stage: Stage,
    /// What has come of it.
    begun: Option<FileBlock>,
    /// When a reader first wanted it; for a block ahead, when it was queued.
    since: Instant,
    /// Whether the file was removed meanwhile: the block is not kept.
    pub forgotten: bool,
}

impl Pending {
    /// Calls all waiters.
    pub fn tell(self, fetched: &Fetched) {
        self.waiters.into_iter().for_each(|waiter| (waiter.then)(fetched.clone()));
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It is queued behind all blocks that a reader waits for.
    Ahead,
    Queued,
    Running,
}

impl Fetches {
    /// Marks the pending blocks of this file, so that they are not kept.
    pub fn forget(&mut self, file: KeyHash) {
        for (_, pending) in self.pending.iter_mut().filter(|(id, _)| id.file == file) {
            pending.forgotten = true;
        }
    }

    /// Adds a waiter to those of a pending block; gives it back if the block is not pending.
    pub fn join(&mut self, id: BlockId, waiter: Waiter) -> Option<Waiter> {
        let Some(pending) = self.pending.get_mut(&id) else { return Some(waiter) };
        pending.waiters.push(waiter);
        if pending.stage == Stage::Ahead {
            (pending.stage, pending.since) = (Stage::Queued, Instant::now());
            self.wanted.push_back(id);
        }
        None
    }

    /// What has come of a block that is being fetched, if that is so many bytes.
    pub fn begun(&self, id: BlockId, least: u64) -> Option<FileBlock> {
        let block = self.pending.get(&id)?.begun.as_ref()?;
        let readable = block.readable();
        (readable.end - readable.start >= least).then(|| block.clone())
    }

    /// Notes what has come of a block, or that it has to come anew. Gives the waiters that need no more than that.
    pub fn note_begun(&mut self, id: BlockId, begun: Option<FileBlock>) -> Vec<Waiter> {
        let Some(pending) = self.pending.get_mut(&id) else { return Vec::new() };
        let come = begun.as_ref().map_or(0, |block| block.readable().end - block.readable().start);
        pending.begun = begun;
        pending.waiters.extract_if(.., |waiter| waiter.least <= come).collect()
    }

    /// Queues a block that is not pending: for its reader, or ahead.
    pub fn add(&mut self, wanted: Wanted, waiter: Option<Waiter>) {
        let (id, stage) = (wanted.id, if waiter.is_some() { Stage::Queued } else { Stage::Ahead });
        let queue = if waiter.is_some() { &mut self.wanted } else { &mut self.ahead };
        queue.push_back(id);
        let (waiters, since) = (waiter.into_iter().collect(), Instant::now());
        let pending = Pending { wanted, waiters, stage, begun: None, since, forgotten: false };
        self.pending.insert(id, pending);
    }

    /// Takes the blocks out of the queue that readers have waited for during this time.
    pub fn take_late(&mut self, time: Duration) -> Vec<Pending> {
        let mut late = Vec::new();
        while let Some(id) = self.wanted.front() {
            match self.pending.get(id) {
                Some(pending) if pending.stage == Stage::Queued && pending.since.elapsed() < time => break,
                Some(pending) if pending.stage == Stage::Queued => late.extend(self.pending.remove(id)),
                _ => {}
            }
            self.wanted.pop_front();
        }
        late
    }

    /// The next block to fetch.
    pub fn next(&mut self) -> Option<Wanted> {
        while let Some(id) = self.wanted.pop_front().or_else(|| self.ahead.pop_front()) {
            if let Some(pending) = self.pending.get_mut(&id).filter(|pending| pending.stage != Stage::Running)
            {
                pending.stage = Stage::Running;
                return Some(pending.wanted.clone());
            }
        }
        None
    }

    /// Whether no block is queued.
    pub fn is_empty(&self) -> bool {
        self.wanted.is_empty() && self.ahead.is_empty()
    }
}
