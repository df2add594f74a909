//! The threads `blocks`, which fetch the blocks of the queue. A thread is started when one is needed, and ends when it has been
//! idle for a while.

use std::fs::File;
use std::io::{self, Write};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use super::index::BlockName;
use super::queue::{Waiter, Wanted};
use super::{Inner, State};
use crate::error::{Error, Kind};
use crate::limits;
use crate::metrics::Counter;
use crate::remote::{Fetched, FileBlock, NotFetched};
use crate::store::files::{FetchError, Part};
use crate::sys::fs::NewFile;

impl Inner {
    /// Calls a waiter with a block, which is fetched unless it is kept.
    pub(super) fn want(self: &Arc<Self>, wanted: Wanted, waiter: Waiter) {
        let mut state = self.lock();
        if let Some(block) = state.fetches.begun(wanted.id, waiter.least) {
            drop(state);
            return (waiter.then)(Ok(block));
        }
        let Some(waiter) = state.fetches.join(wanted.id, waiter) else { return };
        if let Some(name) = state.index.used(wanted.id) {
            drop(state);
            if let Some(block) = self.open_block(name, wanted.range.clone()) {
                return (waiter.then)(Ok(block));
            }
            state = self.lock();
            if state.index.used(wanted.id).is_some() {
                drop(state);
                return (waiter.then)(Err(NotFetched::Failed));
            }
            // It was evicted a moment ago.
            let Some(waiter) = state.fetches.join(wanted.id, waiter) else { return };
            return self.enqueue(state, wanted, waiter);
        }
        self.enqueue(state, wanted, waiter);
    }

    fn enqueue(self: &Arc<Self>, mut state: MutexGuard<'_, State>, wanted: Wanted, waiter: Waiter) {
        if state.fetches.wanted.len() >= self.bounds.wanted {
            drop(state);
            return (waiter.then)(Err(NotFetched::Busy));
        }
        let id = wanted.id;
        state.fetches.add(wanted, Some(waiter));
        if !self.call(state) {
            let pending = self.lock().fetches.pending.remove(&id);
            pending.into_iter().for_each(|pending| pending.tell(&Err(NotFetched::Failed)));
        }
    }

    /// Queues a block that a reader will want next, unless it is kept or the queue is full.
    pub(super) fn want_ahead(self: &Arc<Self>, wanted: Wanted) {
        let mut state = self.lock();
        let is_known =
            state.fetches.pending.contains_key(&wanted.id) || state.index.used(wanted.id).is_some();
        if !is_known && state.fetches.ahead.len() < limits::BLOCKS_AHEAD {
            state.fetches.add(wanted, None);
            // If there is no thread, the reader learns it when it wants the block.
            self.call(state);
        }
    }

    /// Wakes or starts a thread for the queue; `false` if there is no thread.
    fn call(self: &Arc<Self>, mut state: MutexGuard<'_, State>) -> bool {
        let fetches = &mut state.fetches;
        let busy = fetches.wanted.len() + fetches.ahead.len() > fetches.idle;
        if busy && fetches.threads < self.bounds.fetchers {
            let cache = Arc::clone(self);
            let thread = thread::Builder::new().name("blocks".to_owned()).stack_size(limits::WORKER_STACK);
            match thread.spawn(move || cache.work()) {
                Ok(_) => fetches.threads += 1,
                Err(error) => log::warn!("can't start a thread that fetches blocks: {error}"),
            }
        }
        // Only tests have a cache without threads; they fetch by themselves.
        let is_heard = fetches.threads > 0 || self.bounds.fetchers == 0;
        // The thread that is woken wants this lock.
        drop(state);
        self.called.notify_one();
        is_heard
    }

    /// The life of a thread `blocks`.
    fn work(&self) {
        while let Some(wanted) = self.next() {
            self.run(&wanted);
            self.give_up_late();
        }
    }

    /// Tells the readers of blocks that were queued for too long, so that they end although the store is slow.
    fn give_up_late(&self) {
        let late = self.lock().fetches.take_late(self.bounds.queued);
        if !late.is_empty() {
            self.complain(&format!(
                "{} blocks were not fetched in time, for the store is too slow",
                late.len()
            ));
        }
        self.counts.failed.add(late.len() as u64);
        late.into_iter().for_each(|pending| pending.tell(&Err(NotFetched::Busy)));
    }

    fn next(&self) -> Option<Wanted> {
        let mut state = self.lock();
        state.fetches.idle += 1;
        let empty = |state: &mut State| state.fetches.is_empty();
        let waited = self.called.wait_timeout_while(state, limits::WORKER_IDLE, empty);
        state = waited.unwrap_or_else(PoisonError::into_inner).0;
        state.fetches.idle -= 1;
        let next = state.fetches.next();
        if next.is_none() {
            state.fetches.threads -= 1;
        }
        next
    }

    /// Fetches a block and calls its waiters. Then makes room for another one, so that its reader need not wait for that.
    pub(super) fn run(&self, wanted: &Wanted) {
        self.reserve(wanted.bytes());
        let mut running = RunningFetch { cache: self, wanted, outcome: Err(NotFetched::Failed) };
        running.outcome = self.fetched(wanted);
        drop(running);
        self.make_room(wanted.bytes());
    }

    fn fetched(&self, wanted: &Wanted) -> Result<(BlockName, FileBlock), NotFetched> {
        match self.attempt(wanted) {
            // Other programs have left less of the disk than our setting allows.
            Err(Failure::DiskFull(_)) if self.free_disk(wanted.bytes()) => self.attempt(wanted),
            result => result,
        }
        .inspect(|_| self.recovered())
        .map_err(|failure| self.told(wanted, failure))
    }

    fn attempt(&self, wanted: &Wanted) -> Result<(BlockName, FileBlock), Failure> {
        let name = BlockName { id: wanted.id, serial: self.next_serial() };
        let (file, opened) = self.directory.create(name.serial).map_err(Failure::of_disk)?;
        let opened = Arc::new(opened);
        let done = self.fill(wanted, file, &opened).and_then(|()| {
            self.directory.publish(&name).map_err(Failure::of_disk)?;
            Ok((name, FileBlock::new(opened, wanted.range.clone())))
        });
        if done.is_err() {
            self.note_begun(wanted, None);
            self.directory.discard(name.serial);
            self.directory.remove(&[name]);
        }
        done
    }

    fn fill(&self, wanted: &Wanted, file: NewFile, opened: &Arc<File>) -> Result<(), Failure> {
        let begun = |count| FileBlock::begun(Arc::clone(opened), wanted.range.clone(), count);
        let tell = &|count| self.note_begun(wanted, Some(begun(count)));
        let (total, received) = (wanted.bytes(), &self.counts.fetched_bytes);
        let mut sink =
            Sink { file, total, come: 0, told: 0, step: self.bounds.step, tell, failed: None, received };
        let part = Part { key: &wanted.key, range: wanted.range.clone(), size: wanted.size };
        let fetched = self.source.fetch(&part, &mut sink);
        if let Some(error) = sink.failed {
            return Err(Failure::of_disk(error));
        }
        fetched?;
        if sink.come < total {
            let text = format!("the store sent {} bytes too few of {}", total - sink.come, wanted.key);
            return Err(Failure::Other(Error::new(Kind::Corrupt, text)));
        }
        Ok(())
    }

    /// Notes what has come of a block, and calls those who wait for no more.
    fn note_begun(&self, wanted: &Wanted, begun: Option<FileBlock>) {
        let waiters = self.lock().fetches.note_begun(wanted.id, begun.clone());
        if let Some(block) = begun {
            waiters.into_iter().for_each(|waiter| (waiter.then)(Ok(block.clone())));
        }
    }

    /// Frees room on the disk; `false` if there was no block to remove.
    fn free_disk(&self, bytes: u64) -> bool {
        let gone = self.lock().index.evict(bytes.saturating_mul(limits::ROOM_BLOCKS));
        self.directory.remove(&gone);
        !gone.is_empty()
    }

    /// Logs why a block was not fetched.
    fn told(&self, wanted: &Wanted, failure: Failure) -> NotFetched {
        let (what, start) = (&wanted.key, wanted.range.start);
        let text = match failure {
            // The reader logs this, since it knows which media this is.
            Failure::Missing => return NotFetched::Missing,
            Failure::DiskFull(error) => {
                format!(
                    "no block can be fetched, for the disk of the cache is full even without the cache: {error}"
                )
            }
            Failure::Other(error) => format!("{what} can't be fetched from byte {start} on: {error}"),
        };
        self.complain(&text);
        NotFetched::Failed
    }

    /// Logs a failure: at once, and then once in [`limits::STORE_REMINDER`].
    fn complain(&self, text: &str) {
        let now = Instant::now();
        let mut state = self.lock();
        let last = &mut state.fetches.complained;
        if last.is_none_or(|last| now >= last + limits::STORE_REMINDER) {
            *last = Some(now);
            log::error!("{text}");
        } else {
            log::debug!("{text}");
        }
    }

    fn recovered(&self) {
        if self.lock().fetches.complained.take().is_some() {
            log::info!("blocks are fetched again");
        }
    }

    /// Fetches the next block on this thread.
    #[cfg(test)]
    pub(super) fn run_one(&self) {
        let next = self.lock().fetches.next();
        self.run(&next.expect("a block to fetch"));
    }
}

/// A block that is being fetched. Its drop calls the waiters, also after a panic.
struct RunningFetch<'a> {
    cache: &'a Inner,
    wanted: &'a Wanted,
    outcome: Result<(BlockName, FileBlock), NotFetched>,
}

impl Drop for RunningFetch<'_> {
    fn drop(&mut self) {
        let (cache, bytes) = (self.cache, self.wanted.bytes());
        let mut gone = None;
        let pending = {
            let mut state = cache.lock();
            if thread::panicking() {
                state.fetches.threads -= 1;
            }
            let pending = state.fetches.pending.remove(&self.wanted.id);
            match &self.outcome {
                Ok((name, _)) if !pending.as_ref().is_some_and(|pending| pending.forgotten) => {
                    gone = state.index.keep(*name, bytes);
                }
                Ok((name, _)) => {
                    gone = Some(*name);
                    state.index.release(bytes);
                }
                Err(_) => {
                    state.index.release(bytes);
                    cache.counts.failed.increment();
                }
            }
            pending
        };
        let fetched: Fetched = self.outcome.as_ref().map(|(_, block)| block.clone()).map_err(|error| *error);
        pending.into_iter().for_each(|pending| pending.tell(&fetched));
        cache.directory.remove(gone.as_slice());
    }
}

enum Failure {
    Missing,
    DiskFull(Error),
    Other(Error),
}

impl Failure {
    fn of_disk(cause: io::Error) -> Self {
        let error = Error::io("can't store a block", cause);
        if error.kind() == Kind::Full { Self::DiskFull(error) } else { Self::Other(error) }
    }
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Self {
        match error {
            FetchError::Missing => Self::Missing,
            FetchError::Failed(error) => Self::Other(error),
        }
    }
}

/// Writes the bytes of a block to its file, but no more than are due.
struct Sink<'a> {
    file: NewFile,
    /// Bytes of the block.
    total: u64,
    /// Those of them that have come.
    come: u64,
    /// Those of them that readers have been told of.
    told: u64,
    /// Bytes after which they are told again.
    step: u64,
    tell: &'a dyn Fn(u64),
    received: &'a Counter,
    /// The error of our own disk.
    failed: Option<io::Error>,
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.received.add(bytes.len() as u64);
        let come = self.come + bytes.len() as u64;
        if come > self.total {
            return Err(io::Error::other("the store sends more bytes than were asked for"));
        }
        if let Err(error) = self.file.write_all(bytes) {
            let kind = error.kind();
            self.failed = Some(error);
            return Err(kind.into());
        }
        self.come = come;
        // Readers get the last bytes of a block only when all of it has turned out right.
        if come < self.total && come - self.told >= self.step {
            self.told = come;
            (self.tell)(come);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
