//! The disk cache of a store that is far away. Files are fetched in blocks of [`limits::BLOCK_BYTES`]; the blocks that were
//! used least recently go when others need their room.
//!
//! One thread `blocks` fetches a block, even if many readers wait for it (`fetch.rs`). Those who read in order get its
//! bytes while it still comes, all but the last ones; the others get it when it is complete. Reading a block that is kept
//! opens a file, and waits for nothing: any thread may do so.

mod directory;
mod fetch;
mod file;
mod index;
mod queue;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use self::directory::CacheDirectory;
pub use self::file::{BlockFile, LocalFile};
use self::index::{BlockName, Index, KeyHash};
use self::queue::Fetches;
use super::files::BlockSource;
use crate::error::Result;
use crate::limits;
use crate::metrics::Counter;

/// The bounds of a cache.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    /// Bytes of a block.
    block: u64,
    /// Bytes of a block that is being fetched after which its readers are told what has come.
    step: u64,
    /// Bytes of all blocks, including those that are being fetched: `media.storage.s3.cache.bytes`.
    total: u64,
    /// Bytes of those that stay free for the next block, at most.
    spare: u64,
    /// Bytes of those that copies of whole files may take.
    copies: u64,
    /// Threads that fetch.
    fetchers: usize,
    /// Blocks that readers want and that wait to be fetched.
    wanted: usize,
    /// Threads that wait for a block.
    waiting: usize,
    /// How long such a thread waits.
    wait: Duration,
    /// How long a block may be queued that a reader waits for.
    queued: Duration,
}

/// The blocks of a store that is far away; cheap to clone.
#[derive(Clone)]
pub struct BlockCache(Arc<Inner>);

struct Inner {
    source: Arc<dyn BlockSource>,
    directory: CacheDirectory,
    bounds: Bounds,
    state: Mutex<State>,
    counts: CacheCounts,
    /// Notified when a block is to be fetched.
    called: Condvar,
    /// Threads that wait for a block.
    waiting: AtomicUsize,
}

#[derive(Default)]
struct CacheCounts {
    hits: Counter,
    misses: Counter,
    failed: Counter,
    fetched_bytes: Counter,
}

/// The state of a cache, for `/metrics`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheState {
    /// Blocks that were in the cache when a reader came to them.
    pub hits: u64,
    /// Blocks that readers had to wait for.
    pub misses: u64,
    /// Blocks that could not be fetched.
    pub failed: u64,
    /// Bytes that the store has sent.
    pub fetched_bytes: u64,
    /// Bytes that the cache takes, including those to come.
    pub bytes: u64,
    /// The bytes that it may take.
    pub max_bytes: u64,
}

struct State {
    index: Index,
    fetches: Fetches,
    /// Bytes of copies of whole files.
    copied: u64,
    /// The serial of the block that was fetched last.
    serial: u64,
}

impl BlockCache {
    /// Opens the cache of this source, in a directory below `root`, with room for `bytes` bytes. Only the process that holds
    /// the lock of the root may open it. The blocks of an earlier process stay.
    pub fn open(root: &Path, source: Arc<dyn BlockSource>, bytes: u64) -> Result<Self> {
        let total = bytes.max(limits::CACHE_LEAST_BYTES);
        let bounds = Bounds {
            block: limits::BLOCK_BYTES,
            step: limits::BLOCK_STEP,
            total,
            spare: limits::BLOCK_BYTES,
            // The blocks that are copied need room, too.
            copies: total / 2,
            fetchers: limits::BLOCK_FETCHERS,
            wanted: limits::BLOCKS_WANTED,
            waiting: limits::BLOCK_WAITERS,
            wait: limits::BLOCK_TIME,
            queued: limits::BLOCK_TIME,
        };
        Self::open_with(root, source, bounds)
    }

    fn open_with(root: &Path, source: Arc<dyn BlockSource>, bounds: Bounds) -> Result<Self> {
        let (directory, blocks) = CacheDirectory::open(root)?;
        let (index, fetches) = (Index::new(bounds.total), Fetches::default());
        let mut state = State { index, fetches, copied: 0, serial: 0 };
        let mut gone = Vec::new();
        for (name, bytes) in blocks {
            gone.extend(state.index.reserve(bytes));
            gone.extend(state.index.keep(name, bytes));
            state.serial = state.serial.max(name.serial);
        }
        directory.remove(&gone);
        Ok(Self(Arc::new(Inner {
            source,
            directory,
            bounds,
            state: Mutex::new(state),
            counts: CacheCounts::default(),
            called: Condvar::new(),
            waiting: AtomicUsize::new(0),
        })))
    }

    /// The file of this key, which must have this size in bytes. Does not ask the source whether there is one.
    pub fn file(&self, key: &str, size: u64) -> BlockFile {
        BlockFile::new(Arc::clone(&self.0), key, size)
    }

    /// Forgets the blocks of a file that was removed.
    pub fn forget(&self, key: &str) {
        let file = KeyHash::of(key);
        let gone = {
            let mut state = self.0.lock();
            state.fetches.forget(file);
            state.index.remove_file(file)
        };
        self.0.directory.remove(&gone);
    }

    /// Bytes of the blocks that are kept, and of those that are being fetched.
    pub fn bytes(&self) -> u64 {
        self.0.lock().index.bytes()
    }

    /// Its state.
    pub fn state(&self) -> CacheState {
        let CacheCounts { hits, misses, failed, fetched_bytes } = &self.0.counts;
        CacheState {
            hits: hits.get(),
            misses: misses.get(),
            failed: failed.get(),
            fetched_bytes: fetched_bytes.get(),
            bytes: self.bytes(),
            max_bytes: self.0.bounds.total,
        }
    }
}

impl Inner {
    /// A panic leaves no state half changed.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The name of a new block.
    fn next_serial(&self) -> u64 {
        let mut state = self.lock();
        state.serial += 1;
        state.serial
    }

    /// Reserves room for bytes to come, and removes the blocks that must go for them.
    fn reserve(&self, bytes: u64) {
        let gone = self.lock().index.reserve(bytes);
        self.directory.remove(&gone);
    }

    /// Removes the blocks that must go before another one of this size comes.
    fn make_room(&self, bytes: u64) {
        let gone = self.lock().index.make_room(bytes.min(self.bounds.spare));
        self.directory.remove(&gone);
    }

    /// Forgets a block whose file is missing or has a wrong size, since another program has changed it. The block is fetched
    /// again.
    fn lose(&self, name: BlockName) {
        let mut state = self.lock();
        if state.index.used(name.id) == Some(name) {
            state.index.remove(name.id);
            drop(state);
            self.directory.remove(&[name]);
        }
    }
}
