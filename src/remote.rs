//! Files that lie in another place. Such a file comes in blocks, each of which is a local file once it is fetched. The store
//! implements the trait, and HTTP sends such files without a thread that waits for them.

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// A file in another place. Any thread may call; none of the functions waits for that place.
pub trait RemoteFile: fmt::Debug + Send + Sync {
    /// Its size in bytes.
    fn size(&self) -> u64;

    /// The block that holds the byte at `position`, if that byte is local.
    fn local(&self, position: u64) -> Option<FileBlock>;

    /// Fetches the block that holds the first of these bytes. If they go on in the next block, that is fetched ahead.
    /// `then` is called once, on any thread, in bounded time, perhaps before this returns; it must not wait. The first byte
    /// has come then; the rest of the block may still be on its way.
    fn fetch(&self, bytes: Range<u64>, then: OnFetched);

    /// Counts a block to which a reader has come: whether it was local.
    fn note_read(&self, _was_local: bool) {}

    /// Fetches the block at `position` ahead, unless too many others are queued.
    fn fetch_ahead(&self, position: u64);
}

/// The result of fetching a block.
pub type Fetched = Result<FileBlock, NotFetched>;

/// Called with a block that was fetched.
pub type OnFetched = Box<dyn FnOnce(Fetched) + Send>;

/// Why a block was not fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotFetched {
    /// There is no such file.
    Missing,
    /// The place failed, or our disk did. A later attempt may succeed.
    Failed,
    /// Too many blocks are to be fetched before it.
    Busy,
    /// The file is larger than the room for local copies.
    TooLarge,
}

/// An error of our own disk, where fetched bytes are read and copied. Its text stays in the log.
impl From<io::Error> for NotFetched {
    fn from(error: io::Error) -> Self {
        log::error!("a stored file can't be read: {error}");
        Self::Failed
    }
}

/// A block of a file, open for reading at any place. It stays readable when it is not kept any more.
#[derive(Clone, Debug)]
pub struct FileBlock {
    file: Arc<File>,
    bytes: Range<u64>,
    /// The end of those bytes that can be read.
    end: u64,
}

impl FileBlock {
    /// A complete block with these bytes of the whole file. `file` holds them and nothing else.
    pub fn new(file: impl Into<Arc<File>>, bytes: Range<u64>) -> Self {
        Self { file: file.into(), end: bytes.end, bytes }
    }

    /// A block that will have these bytes of the whole file, of which `file` holds the first `count`.
    pub fn begun(file: Arc<File>, bytes: Range<u64>, count: u64) -> Self {
        Self { file, end: bytes.end.min(bytes.start + count), bytes }
    }

    /// The local file. Others may read it, too: its cursor means nothing.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The bytes of the whole file that it has when it is complete.
    pub fn bytes(&self) -> Range<u64> {
        self.bytes.clone()
    }

    /// Those of them that have come and can be read.
    pub fn readable(&self) -> Range<u64> {
        self.bytes.start..self.end
    }
}

/// A part of a remote file that is being read from its start to its end.
#[derive(Debug)]
pub struct RemotePart {
    file: Arc<dyn RemoteFile>,
    left: Range<u64>,
    block: Option<FileBlock>,
    /// The bytes of the block to which the reader came last: it may be opened and fetched again.
    counted: Range<u64>,
}

impl RemotePart {
    /// These bytes of the file.
    pub fn new(file: Arc<dyn RemoteFile>, bytes: Range<u64>) -> Self {
        Self { file, left: bytes, block: None, counted: 0..0 }
    }

    /// Bytes that are left to be read.
    pub fn left(&self) -> u64 {
        self.left.end.saturating_sub(self.left.start)
    }

    /// The local file that holds the next bytes, and where in it they are; `None` if they must be fetched. When a block is
    /// opened, the one after it is fetched ahead.
    pub fn open(&mut self) -> Option<(&File, Range<u64>)> {
        let next = self.left.start;
        if !self.block.as_ref().is_some_and(|block| block.readable().contains(&next)) {
            self.block = None;
            let block = self.file.local(next)?;
            if !self.counted.contains(&next) {
                self.file.note_read(true);
                self.counted = block.bytes();
                if block.bytes.end < self.left.end {
                    self.file.fetch_ahead(block.bytes.end);
                }
            }
            self.block = Some(block);
        }
        let block = self.block.as_ref()?;
        let (start, end) = (block.bytes.start, block.end.min(self.left.end));
        Some((block.file(), next - start..end.checked_sub(start)?))
    }

    /// Goes past `count` bytes that were read.
    pub fn advance(&mut self, count: u64) {
        self.left.start += count;
        if self.block.as_ref().is_some_and(|block| block.end <= self.left.start) {
            self.block = None;
        }
    }

    /// A function that fetches the next bytes. Its argument is `then` of [`RemoteFile::fetch`].
    pub fn fetch(&self) -> impl FnOnce(OnFetched) + Send + use<> {
        let (file, bytes) = (Arc::clone(&self.file), self.left.clone());
        let is_counted = self.counted.contains(&bytes.start);
        move |then| {
            if !is_counted {
                file.note_read(false);
            }
            file.fetch(bytes, then);
        }
    }

    /// Continues with a block that was fetched.
    pub fn give(&mut self, block: FileBlock) {
        self.counted = block.bytes();
        self.block = Some(block);
    }

    /// Closes the block, so that its reader does not keep its bytes on the disk. It is opened again for the next bytes.
    pub fn let_go(&mut self) {
        self.block = None;
    }
}
