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

    /// The block that holds the byte at `position`, if it is local.
    fn local(&self, position: u64) -> Option<FileBlock>;

    /// Fetches the block that holds the first of these bytes. If they go on in the next block, that is fetched ahead.
    /// `then` is called once, on any thread, in bounded time, perhaps before this returns; it must not wait.
    fn fetch(&self, bytes: Range<u64>, then: OnFetched);

    /// Counts a block that was local when a reader came to it.
    fn note_hit(&self) {}

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
}

impl FileBlock {
    /// A block with these bytes of the whole file. `file` holds them and nothing else.
    pub fn new(file: File, bytes: Range<u64>) -> Self {
        Self { file: Arc::new(file), bytes }
    }

    /// The local file. Others may read it, too: its cursor means nothing.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The bytes of the whole file that it holds.
    pub fn bytes(&self) -> Range<u64> {
        self.bytes.clone()
    }
}

/// A part of a remote file that is being read from its start to its end.
#[derive(Debug)]
pub struct RemotePart {
    file: Arc<dyn RemoteFile>,
    left: Range<u64>,
    block: Option<FileBlock>,
    /// The start of the block that was opened last: it may be opened again.
    opened: Option<u64>,
}

impl RemotePart {
    /// These bytes of the file.
    pub fn new(file: Arc<dyn RemoteFile>, bytes: Range<u64>) -> Self {
        Self { file, left: bytes, block: None, opened: None }
    }

    /// Bytes that are left to be read.
    pub fn left(&self) -> u64 {
        self.left.end.saturating_sub(self.left.start)
    }

    /// The local file that holds the next bytes, and where in it they are; `None` if they must be fetched. When a block is
    /// opened, the one after it is fetched ahead.
    pub fn open(&mut self) -> Option<(&File, Range<u64>)> {
        let next = self.left.start;
        if !self.block.as_ref().is_some_and(|block| block.bytes.contains(&next)) {
            self.block = None;
            let block = self.file.local(next)?;
            if self.opened.replace(block.bytes.start) != Some(block.bytes.start) {
                self.file.note_hit();
            }
            if block.bytes.end < self.left.end {
                self.file.fetch_ahead(block.bytes.end);
            }
            self.block = Some(block);
        }
        let block = self.block.as_ref()?;
        let (start, end) = (block.bytes.start, block.bytes.end.min(self.left.end));
        Some((block.file(), next - start..end.checked_sub(start)?))
    }

    /// Goes past `count` bytes that were read.
    pub fn advance(&mut self, count: u64) {
        self.left.start += count;
        if self.block.as_ref().is_some_and(|block| block.bytes.end <= self.left.start) {
            self.block = None;
        }
    }

    /// A function that fetches the next bytes. Its argument is `then` of [`RemoteFile::fetch`].
    pub fn fetch(&self) -> impl FnOnce(OnFetched) + Send + use<> {
        let (file, bytes) = (Arc::clone(&self.file), self.left.clone());
        move |then| file.fetch(bytes, then)
    }

    /// Continues with a block that was fetched.
    pub fn give(&mut self, block: FileBlock) {
        self.opened = Some(block.bytes.start);
        self.block = Some(block);
    }

    /// Closes the block, so that its reader does not keep its bytes on the disk. It is opened again for the next bytes.
    pub fn let_go(&mut self) {
        self.block = None;
    }
}
