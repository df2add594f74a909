//! One upload's life: in memory, in a temporary file, sealed. One that memory holds stays there until it gets its name. The
//! thread that receives it does all of this; it may have another thread hash (see [`super::hash`]).

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use super::directory::{failure, removal};
use super::files::Published;
use super::hash::{Algorithm, Digests, Hasher, Helpers};
use super::walk;
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::model::{MediaId, Refusal};
use crate::sys::fs::{Dir, NewFile};

/// The name, in the place of a node's, by which `move-storage` has temporary files beside those of a server.
pub const MOVER: &str = "move=storage";

/// The place of uploads until they are complete. Their files are in the storage root as `.upload-*`, wherever complete
/// files are stored.
#[derive(Clone)]
pub struct Uploads {
    temporaries: Temporaries,
    /// The name of this node, if others share the root.
    node: Option<Arc<str>>,
    /// Whether files are brought to the disk before they count.
    sync: bool,
    /// The threads that hash large uploads.
    helpers: Helpers,
}

impl Uploads {
    /// Uploads with files in this root, which must be there. Without `sync`, a crash of the machine may lose what
    /// was stored. Fails if no file can be made there; the text says what to do.
    pub fn open(root: &Path, sync: bool) -> Result<Self> {
        Self::open_as(None, root, sync)
    }

    /// The same for the node of this name, if other nodes share the root.
    pub fn open_as(node: Option<&str>, root: &Path, sync: bool) -> Result<Self> {
        let prefix: Arc<str> = match node {
            Some(node) => format!("{}{node}-", walk::TEMPORARY).into(),
            None => walk::TEMPORARY.into(),
        };
        let check = || {
            let temporaries = Temporaries { root: Arc::new(Dir::open(root)?), prefix };
            // The only proof that files can be created is to create one.
            temporaries.create()?;
            Ok(temporaries)
        };
        let temporaries = check().map_err(|cause| unusable(root, cause))?;
        Ok(Self { temporaries, node: node.map(Arc::from), sync, helpers: Helpers::new() })
    }

    /// Begins an upload of at most `limit` bytes, of which the first `threshold` are held in memory. Its digest is a SHA-1, and
    /// its SHA-256 is made, too.
    pub fn begin(&self, limit: u64, threshold: usize) -> Upload {
        self.begin_with(Algorithm::Sha1AndSha256, limit, threshold)
    }

    /// The same, with a digest of this kind.
    pub fn begin_with(&self, algorithm: Algorithm, limit: u64, threshold: usize) -> Upload {
        Upload {
            temporaries: self.temporaries.clone(),
            sync: self.sync,
            limit,
            threshold,
            body: Some(Body::Memory(Vec::new())),
            size: 0,
            hasher: Hasher::new(algorithm, self.helpers.clone()),
            head: Vec::new(),
        }
    }

    /// The names of the temporary files, and when each was last written to. Only the root itself is read: a server with a
    /// million media starts at once, too.
    pub fn temporaries(&self) -> Result<Vec<(String, SystemTime)>> {
        walk::temporaries(self.temporaries.root.path())
    }

    /// Removes every temporary file but those of other nodes; says how many there were. Only while no upload is under way
    /// here.
    pub fn remove_temporaries(&self) -> Result<usize> {
        let mut removed = 0;
        for (name, _) in self.temporaries()?.iter().filter(|(name, _)| !self.is_of_other_node(name)) {
            removed += usize::from(self.remove_temporary(name)?);
        }
        Ok(removed)
    }

    /// Whether a temporary file may be that of another node, or of the command that moves files. A server that has the root
    /// for itself knows no other node.
    fn is_of_other_node(&self, name: &str) -> bool {
        let named = name.strip_prefix(walk::TEMPORARY).and_then(|rest| rest.rsplit_once('-'));
        named.is_some_and(|(node, _)| self.node.as_deref().map_or(node == MOVER, |own| node != own))
    }

    /// Removes the temporary file of this name; says whether it was there.
    pub fn remove_temporary(&self, name: &str) -> Result<bool> {
        removal(self.temporaries.root.remove(name))
    }

    /// Fails where nothing can be stored: stores a little, and removes it.
    pub fn try_out(&self) -> Result<()> {
        self.temporaries.create_with(b"?").map(drop).map_err(failure)
    }

    /// Bytes that may still be stored.
    pub fn free_space(&self) -> Result<u64> {
        self.temporaries.root.free_space().map_err(failure)
    }
}

/// The error of a storage root that can't be used.
pub(super) fn unusable(root: &Path, cause: io::Error) -> Error {
    let root = root.display();
    let advice = format!(
        "can't store media in {root}: make it a directory that the server's user may write to, or change media.storage.root"
    );
    Error::io(advice, cause)
}

/// An upload under way. Its errors are a [`Refusal::TooLarge`] or the file system's. Dropped, it leaves nothing.
pub struct Upload {
    temporaries: Temporaries,
    sync: bool,
    limit: u64,
    threshold: usize,
    /// `None`: some bytes are lost, so no later call may take the rest for the whole.
    pub(super) body: Option<Body>,
    size: u64,
    hasher: Hasher,
    head: Vec<u8>,
}

/// Where the bytes of an upload are.
#[derive(Debug)]
pub(super) enum Body {
    Memory(Vec<u8>),
    File(Temporary),
}

impl Upload {
    /// Bytes that will come at least. An upload that memory will not hold goes to its file from its first byte on.
    pub fn expecting(mut self, bytes: u64) -> Self {
        if bytes > self.threshold as u64 {
            self.threshold = 0;
        }
        self
    }

    /// Its size in bytes, so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Ends the upload without keeping it; gives its digest in lower-case hexadecimal.
    pub fn into_digest(self) -> String {
        self.hasher.finish().first
    }

    /// Ends the upload: all its bytes have come. One in a file is brought to the disk here, while another thread may still hash
    /// it; one in memory when it gets its name.
    pub fn seal(mut self) -> Result<Sealed> {
        let body = self.take_body().map_err(failure)?;
        let is_on_disk = match &body {
            Body::File(temporary) if self.sync => temporary.file.sync().map(|()| true).map_err(failure)?,
            _ => !self.sync,
        };
        let (temporaries, size, head) = (self.temporaries, self.size, self.head);
        Ok(Sealed { temporaries, body, size, digests: self.hasher.finish(), head, is_on_disk })
    }

    fn take_body(&mut self) -> io::Result<Body> {
        self.body.take().ok_or_else(|| io::Error::other("an earlier write of the upload failed"))
    }

    fn keep(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(Body::Memory(memory)) = &mut self.body
            && memory.len() + bytes.len() <= self.threshold
        {
            make_room(memory, bytes.len(), self.threshold);
            memory.extend_from_slice(bytes);
            return Ok(());
        }
        let mut temporary = match self.take_body()? {
            Body::File(temporary) => temporary,
            Body::Memory(memory) => self.temporaries.create_with(&memory)?,
        };
        temporary.file.write_all(bytes)?;
        if self.sync {
            temporary.file.begin_sync(limits::WRITE_OUT_BYTES);
        }
        self.body = Some(Body::File(temporary));
        Ok(())
    }
}

/// Doubles the memory where more is needed, as a vector does, but never beyond `max`.
fn make_room(memory: &mut Vec<u8>, more: usize, max: usize) {
    let needed = memory.len() + more;
    if needed > memory.capacity() {
        let target = needed.max(memory.capacity() * 2).min(max);
        memory.reserve_exact(target - memory.len());
    }
}

impl Write for Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let size = self.size.saturating_add(bytes.len() as u64);
        if size > self.limit {
            self.body = None;
            return Err(Refusal::TooLarge.into());
        }
        self.keep(bytes)?;
        self.size = size;
        self.hasher.update(bytes);
        let missing = limits::SNIFF_BYTES - self.head.len();
        self.head.extend_from_slice(&bytes[..bytes.len().min(missing)]);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A complete upload that has no name yet. Dropped, it leaves nothing.
#[derive(Debug)]
pub struct Sealed {
    temporaries: Temporaries,
    pub(super) body: Body,
    size: u64,
    digests: Digests,
    head: Vec<u8>,
    /// Whether nothing is left to be brought to the disk.
    is_on_disk: bool,
}

impl Sealed {
    /// Moves the file to this name in `folder`, and if `sync`, brings it, the folder and those `above` it to the disk. The file
    /// system then writes its journal once for all of them. Gives the upload back if the name is taken. After an error there
    /// is no file of this name.
    pub(super) fn publish(self, folder: &Dir, name: &str, above: &[&Dir], sync: bool) -> Result<Published> {
        let Self { temporaries, body, size, digests, head, is_on_disk } = self;
        let temporary = match body {
            Body::File(temporary) => temporary,
            Body::Memory(bytes) => temporaries.create_with(&bytes).map_err(failure)?,
        };
        if let Err(error) = temporary.rename(folder, name) {
            let body = Body::File(temporary);
            return match error.kind() {
                ErrorKind::AlreadyExists => {
                    Ok(Published::Taken(Self { temporaries, body, size, digests, head, is_on_disk }))
                }
                _ => Err(failure(error)),
            };
        }
        let file = (!is_on_disk).then_some(&temporary.file);
        let settled = if sync { settle(file, folder, above) } else { Ok(()) };
        temporary.moved();
        if let Err(error) = settled {
            removal(folder.remove(name))?;
            return Err(failure(error));
        }
        Ok(Published::Done)
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The hash of its bytes, in lower-case hexadecimal.
    pub fn digest(&self) -> &str {
        &self.digests.first
    }

    /// The SHA-256 of its bytes, in lower-case hexadecimal.
    pub fn sha256(&self) -> &str {
        &self.digests.sha256
    }

    /// Its first [`limits::SNIFF_BYTES`] bytes, or all if they are fewer.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// Its bytes, if memory holds them.
    pub fn bytes(&self) -> Option<&[u8]> {
        match &self.body {
            Body::Memory(bytes) => Some(bytes),
            Body::File(_) => None,
        }
    }

    /// Opens it for reading. What memory holds is written to a temporary file first.
    pub fn open(&mut self) -> Result<File> {
        match &self.body {
            Body::File(temporary) => temporary.open(),
            Body::Memory(bytes) => {
                let temporary = self.temporaries.create_with(bytes).map_err(failure)?;
                let file = temporary.open();
                self.body = Body::File(temporary);
                file
            }
        }
    }
}

fn settle(file: Option<&NewFile>, folder: &Dir, above: &[&Dir]) -> io::Result<()> {
    file.map_or(Ok(()), NewFile::sync)?;
    folder.sync()?;
    above.iter().try_for_each(|folder| folder.sync())
}

/// The place of temporary files.
#[derive(Clone, Debug)]
struct Temporaries {
    root: Arc<Dir>,
    /// How their names begin.
    prefix: Arc<str>,
}

impl Temporaries {
    fn create(&self) -> io::Result<Temporary> {
        let name = format!("{}{}", self.prefix, MediaId::random());
        let file = self.root.create(&name)?;
        Ok(Temporary { root: Arc::clone(&self.root), name, file, is_moved: false })
    }

    fn create_with(&self, bytes: &[u8]) -> io::Result<Temporary> {
        let mut temporary = self.create()?;
        temporary.file.write_all(bytes)?;
        Ok(temporary)
    }
}

/// A new file in the root that goes away again unless it is moved.
#[derive(Debug)]
pub(super) struct Temporary {
    root: Arc<Dir>,
    name: String,
    pub(super) file: NewFile,
    is_moved: bool,
}

impl Temporary {
    fn open(&self) -> Result<File> {
        let lost = || Error::new(Kind::Failure, format!("the temporary file {} is gone", self.name));
        self.root.open_regular(&self.name).map_err(failure)?.map(|(file, _)| file).ok_or_else(lost)
    }

    fn rename(&self, folder: &Dir, name: &str) -> io::Result<()> {
        self.root.rename_new(&self.name, folder, name)
    }

    fn moved(mut self) {
        self.is_moved = true;
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.is_moved
            && let Err(error) = self.root.remove(&self.name)
        {
            log::warn!("a temporary file is left over: {error}");
        }
    }
}
