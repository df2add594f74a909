//! A file of the store, as its readers see it: block by block, or whole.

use std::fmt;
use std::fs::File;
use std::ops::{Deref, Range};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::sync_channel;
use std::time::Instant;

use super::Inner;
use super::index::{BlockId, BlockName, KeyHash};
use super::queue::{Waiter, Wanted};
use crate::limits;
use crate::remote::{Fetched, FileBlock, NotFetched, OnFetched, RemoteFile};

/// A file of a store that is far away, open for reading.
#[derive(Clone)]
pub struct BlockFile {
    cache: Arc<Inner>,
    key: Arc<str>,
    hash: KeyHash,
    size: u64,
}

impl fmt::Debug for BlockFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} bytes)", self.key, self.size)
    }
}

impl RemoteFile for BlockFile {
    fn size(&self) -> u64 {
        self.size
    }

    fn local(&self, position: u64) -> Option<FileBlock> {
        self.kept(position).or_else(|| self.begun(position))
    }

    fn fetch(&self, bytes: Range<u64>, then: OnFetched) {
        let Some(wanted) = self.block_at(bytes.start) else { return then(Err(NotFetched::Missing)) };
        let (next, least) = (wanted.range.end, wanted.up_to(bytes.start));
        self.cache.want(wanted, Waiter { least, then });
        if next < bytes.end {
            self.fetch_ahead(next);
        }
    }

    fn note_read(&self, was_local: bool) {
        let counts = &self.cache.counts;
        if was_local { &counts.hits } else { &counts.misses }.increment();
    }

    fn fetch_ahead(&self, position: u64) {
        if let Some(wanted) = self.block_at(position) {
            self.cache.want_ahead(wanted);
        }
    }
}

impl BlockFile {
    pub(super) fn new(cache: Arc<Inner>, key: &str, size: u64) -> Self {
        Self { cache, key: key.into(), hash: KeyHash::of(key), size }
    }

    /// The complete block that holds the byte at `position`, if it is kept.
    pub fn kept(&self, position: u64) -> Option<FileBlock> {
        let wanted = self.block_at(position)?;
        let name = self.cache.lock().index.used(wanted.id)?;
        self.cache.open_block(name, wanted.range)
    }

    /// What has come of the block that holds the byte at `position`, if it is being fetched and that byte has come.
    fn begun(&self, position: u64) -> Option<FileBlock> {
        let wanted = self.block_at(position)?;
        self.cache.lock().fetches.begun(wanted.id, wanted.up_to(position))
    }

    /// The first block as a local file. Waits for the store.
    ///
    /// # Errors
    /// Besides those of fetching, [`NotFetched::Busy`] if too many threads wait, and [`NotFetched::Failed`] at the deadline.
    pub fn beginning(&self, deadline: Option<Instant>) -> Result<LocalFile<'static>, NotFetched> {
        if self.size == 0 {
            return empty();
        }
        reopen(&self.wait(0, deadline)?)
    }

    /// Whether [`BlockFile::whole`] makes a copy: the file has several blocks.
    pub fn is_copied(&self) -> bool {
        self.size > self.cache.bounds.block
    }

    /// The whole file as a local one. Waits for the store. A file of several blocks is copied to a file without a name.
    /// While that is open, it counts as blocks do, and all copies have their bound, too.
    ///
    /// # Errors
    /// Besides those of [`BlockFile::beginning`], [`NotFetched::TooLarge`], and [`NotFetched::Busy`] if other copies take the
    /// room.
    pub fn whole(&self, deadline: Option<Instant>) -> Result<LocalFile<'static>, NotFetched> {
        if !self.is_copied() {
            return self.beginning(deadline);
        }
        if self.size > self.cache.bounds.copies {
            log::warn!(
                "{} has {} bytes, more than half of media.storage.s3.cache.bytes",
                self.key,
                self.size
            );
            return Err(NotFetched::TooLarge);
        }
        let space = Space::take(&self.cache, self.size).ok_or(NotFetched::Busy)?;
        Ok(LocalFile::Owned(self.copy(deadline)?, Some(space)))
    }

    /// A file without a name that holds all blocks.
    fn copy(&self, deadline: Option<Instant>) -> Result<File, NotFetched> {
        let serial = self.cache.next_serial();
        let (mut copy, opened) = self.cache.directory.create(serial)?;
        self.cache.directory.discard(serial);
        let mut step = vec![0; limits::BLOCK_COPY_STEP];
        let mut position = 0;
        while position < self.size {
            let block = self.wait(position, deadline)?;
            let bytes = block.bytes();
            if bytes.end < self.size {
                self.fetch_ahead(bytes.end);
            }
            while position < bytes.end {
                let count = (bytes.end - position).min(limits::BLOCK_COPY_STEP as u64) as usize;
                let step = &mut step[..count];
                block.file().read_exact_at(step, position - bytes.start)?;
                copy.write_all(step)?;
                position += count as u64;
            }
        }
        Ok(opened)
    }

    /// The complete block that holds this byte. Waits for the store, if the block is not kept, until the deadline at most.
    ///
    /// # Errors
    /// As of [`BlockFile::beginning`].
    pub fn wait(&self, position: u64, deadline: Option<Instant>) -> Fetched {
        if let Some(block) = self.kept(position) {
            self.note_read(true);
            return Ok(block);
        }
        self.note_read(false);
        let wanted = self.block_at(position).ok_or(NotFetched::Missing)?;
        let _permit = WaitPermit::begin(&self.cache)?;
        let (sender, receiver) = sync_channel(1);
        let then = move |fetched| {
            // There is room for one. The receiver may have given up.
            let _ = sender.send(fetched);
        };
        let waiter = Waiter { least: wanted.bytes(), then: Box::new(then) };
        self.cache.want(wanted, waiter);
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let time = left.map_or(self.cache.bounds.wait, |left| left.min(self.cache.bounds.wait));
        receiver.recv_timeout(time).unwrap_or(Err(NotFetched::Failed))
    }

    /// The block that holds this byte; `None` behind the end.
    fn block_at(&self, position: u64) -> Option<Wanted> {
        if position >= self.size {
            return None;
        }
        let number = position / self.cache.bounds.block;
        let start = number * self.cache.bounds.block;
        let range = start..self.size.min(start + self.cache.bounds.block);
        let id = BlockId { file: self.hash, number };
        Some(Wanted { id, key: Arc::clone(&self.key), range, size: self.size })
    }
}

impl Inner {
    /// Opens a block that is kept; `None` if it is gone meanwhile.
    pub(super) fn open_block(&self, name: BlockName, bytes: Range<u64>) -> Option<FileBlock> {
        match self.directory.open_block(&name) {
            Ok(Some((file, size))) if size == bytes.end - bytes.start => Some(FileBlock::new(file, bytes)),
            Ok(_) => {
                self.lose(name);
                None
            }
            Err(error) => {
                log::warn!("can't read a block: {error}");
                None
            }
        }
    }
}

/// A stored file, or its beginning, as a local file. Dereferences to it.
#[derive(Debug)]
pub enum LocalFile<'a> {
    /// A file of a local store.
    Borrowed(&'a File),
    /// A file that was fetched.
    Owned(File, Option<Space>),
}

impl Deref for LocalFile<'_> {
    type Target = File;

    fn deref(&self) -> &File {
        match self {
            Self::Borrowed(file) => file,
            Self::Owned(file, _) => file,
        }
    }
}

/// Room of the cache that a copy takes, in bytes.
pub struct Space {
    cache: Arc<Inner>,
    bytes: u64,
}

impl fmt::Debug for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.bytes)
    }
}

impl Space {
    /// Takes room for a copy; `None` if other copies leave too little of it.
    fn take(cache: &Arc<Inner>, bytes: u64) -> Option<Self> {
        {
            let mut state = cache.lock();
            state.copied = state.copied.checked_add(bytes).filter(|copied| *copied <= cache.bounds.copies)?;
        }
        cache.reserve(bytes);
        Some(Self { cache: Arc::clone(cache), bytes })
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let mut state = self.cache.lock();
        state.copied -= self.bytes;
        state.index.release(self.bytes);
    }
}

/// The permit of a thread to wait for a block.
struct WaitPermit<'a>(&'a Inner);

impl<'a> WaitPermit<'a> {
    fn begin(cache: &'a Inner) -> Result<Self, NotFetched> {
        let max = cache.bounds.waiting;
        let more = |waiting| (waiting < max).then_some(waiting + 1);
        match cache.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) {
            Ok(_) => Ok(Self(cache)),
            Err(_) => Err(NotFetched::Busy),
        }
    }
}

impl Drop for WaitPermit<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Opens the block's file again, with its own cursor.
fn reopen(block: &FileBlock) -> Result<LocalFile<'static>, NotFetched> {
    let path = format!("/proc/self/fd/{}", block.file().as_raw_fd());
    Ok(LocalFile::Owned(File::open(path)?, None))
}

fn empty() -> Result<LocalFile<'static>, NotFetched> {
    Ok(LocalFile::Owned(File::open("/dev/null")?, None))
}
