//! Media as plain files: `<root>/<channel>/<id>`, put there whole or not at all.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::hash::{Hasher, Helpers};
use super::walk::{self, Found};
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::model::{Channel, MediaId, Refusal};
use crate::sys::fs::{Dir, NewFile, is_exhausted};

/// The storage root. Files of uploads that are not complete lie in it as `.upload-*`.
pub struct Files {
    root: Arc<Dir>,
    /// Whether files and directories are brought to the disk before they count.
    sync: bool,
    /// Whether every channel's directory is known to be on the disk.
    settled: Mutex<bool>,
    /// The threads that hash large uploads.
    helpers: Helpers,
}

/// A stored file, open for reading.
#[derive(Debug)]
pub struct StoredFile {
    /// The file, at its start.
    pub file: File,
    /// Its size in bytes.
    pub size: u64,
}

/// What became of an attempt to publish.
#[derive(Debug)]
pub enum Published {
    /// The file has its name, and is on the disk.
    Done,
    /// The channel has another file of that name, which is untouched; try another id.
    Taken(Sealed),
}

impl Files {
    /// Opens the storage below `root`, which is made if it is missing. Without `sync`, a crash of the machine
    /// may lose what was stored. Fails if files can't be stored there; the text says what to do.
    pub fn open(root: &Path, sync: bool) -> Result<Self> {
        let check = || {
            std::fs::create_dir_all(root)?;
            let dir = Arc::new(Dir::open(root)?);
            // The only proof that files can be created is to create one.
            Temporary::new(&dir)?;
            Ok(dir)
        };
        let advise = |cause: io::Error| {
            let root = root.display();
            let advice = format!(
                "can't store media in {root}: make it a directory that the server's user may write to, or change media.storage.root"
            );
            Error::io(advice, cause)
        };
        Ok(Self { root: check().map_err(advise)?, sync, settled: Mutex::new(false), helpers: Helpers::new() })
    }

    /// Removes every temporary file; says how many there were. Only while no upload is under way.
    pub fn remove_temporaries(&self) -> Result<usize> {
        let mut removed = 0;
        for name in walk::temporaries(self.root.path())? {
            removed += usize::from(self.remove_temporary(&name)?);
        }
        Ok(removed)
    }

    /// Removes the temporary file of this name, as [`Files::walk`] finds it; says whether it was there.
    pub fn remove_temporary(&self, name: &str) -> Result<bool> {
        removal(self.root.remove(name))
    }

    /// Begins an upload of at most `limit` bytes, of which the first `threshold` are held in memory.
    pub fn begin(&self, limit: u64, threshold: usize) -> Upload {
        Upload {
            root: Arc::clone(&self.root),
            sync: self.sync,
            limit,
            threshold,
            body: Body::Memory(Vec::new()),
            size: 0,
            sha1: Hasher::new(self.helpers.clone()),
            head: Vec::new(),
        }
    }

    /// Gives an upload its name, never replacing another file. After [`Published::Done`] it outlives a crash;
    /// after an error there is no file of that name.
    pub fn publish(&self, sealed: Sealed, channel: &Channel, id: &MediaId) -> Result<Published> {
        let folder = self.make_folder(channel)?;
        if let Err(error) = sealed.temporary.rename(&folder, id.as_str()) {
            return match error.kind() {
                ErrorKind::AlreadyExists => Ok(Published::Taken(sealed)),
                _ => Err(failure(error)),
            };
        }
        sealed.temporary.moved();
        if self.sync
            && let Err(error) = folder.sync()
        {
            removal(folder.remove(id.as_str()))?;
            return Err(failure(error));
        }
        Ok(Published::Done)
    }

    /// Opens a media, or a preview by its own id; `None` if there is no such regular file.
    pub fn open_file(&self, channel: &Channel, id: &MediaId) -> Result<Option<StoredFile>> {
        let opened = self.root.open_regular_in(channel.as_str(), id.as_str()).map_err(failure)?;
        Ok(opened.map(|(file, size)| StoredFile { file, size }))
    }

    /// Removes a media, or a preview by its own id; says whether it was there.
    pub fn remove(&self, channel: &Channel, id: &MediaId) -> Result<bool> {
        match self.root.open_dir(channel.as_str()).map_err(failure)? {
            Some(folder) => removal(folder.remove(id.as_str())),
            None => Ok(false),
        }
    }

    /// Every file below the root, in no order; what is none of ours in the root itself is left out.
    pub fn walk(&self) -> Result<impl Iterator<Item = Result<Found>>> {
        walk::walk(self.root.path())
    }

    /// Fails where nothing can be stored: stores a little, and removes it.
    pub fn try_out(&self) -> Result<()> {
        let mut temporary = Temporary::new(&self.root).map_err(failure)?;
        temporary.file.write_all(b"?").map_err(failure)
    }

    /// Bytes that may still be stored.
    pub fn free_space(&self) -> Result<u64> {
        self.root.free_space().map_err(failure)
    }

    /// The storage root.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// The channel's directory. The lock is held until a new one is on the disk, so that no one else relies
    /// on it before; one that an earlier process made may not be there yet either.
    fn make_folder(&self, channel: &Channel) -> Result<Dir> {
        let mut settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        match self.root.make_dir(channel.as_str()) {
            Ok(()) => *settled = false,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failure(error)),
        }
        if self.sync && !*settled {
            self.root.sync().map_err(failure)?;
        }
        *settled = true;
        let no_folder = || {
            let path = self.root.path().join(channel.as_str());
            Error::new(Kind::Corrupt, format!("{} is no directory", path.display()))
        };
        self.root.open_dir(channel.as_str()).map_err(failure)?.ok_or_else(no_folder)
    }
}

/// An upload under way. Its errors are a [`Refusal::TooLarge`] or what the file system says. Dropped, it leaves
/// nothing.
pub struct Upload {
    root: Arc<Dir>,
    sync: bool,
    limit: u64,
    threshold: usize,
    body: Body,
    size: u64,
    sha1: Hasher,
    head: Vec<u8>,
}

/// Where the bytes of an upload are.
enum Body {
    Memory(Vec<u8>),
    File(Temporary),
    /// Some are lost; no later call may take the rest for the whole.
    Lost,
}

impl Upload {
    /// Ends the upload: everything is in its temporary file and on the disk.
    pub fn seal(mut self) -> Result<Sealed> {
        let temporary = self.take_file().map_err(failure)?;
        if self.sync {
            temporary.file.sync().map_err(failure)?;
        }
        Ok(Sealed { temporary, size: self.size, sha1: self.sha1.finish(), head: self.head })
    }

    /// Takes out the temporary file, with everything so far in it.
    fn take_file(&mut self) -> io::Result<Temporary> {
        match std::mem::replace(&mut self.body, Body::Lost) {
            Body::File(temporary) => Ok(temporary),
            Body::Memory(bytes) => {
                let mut temporary = Temporary::new(&self.root)?;
                temporary.file.write_all(&bytes)?;
                Ok(temporary)
            }
            Body::Lost => Err(io::Error::other("an earlier write of the upload failed")),
        }
    }

    fn keep(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Body::Memory(memory) = &mut self.body
            && memory.len() + bytes.len() <= self.threshold
        {
            make_room(memory, bytes.len(), self.threshold);
            memory.extend_from_slice(bytes);
            return Ok(());
        }
        let mut temporary = self.take_file()?;
        temporary.file.write_all(bytes)?;
        if self.sync {
            temporary.file.begin_sync(limits::WRITE_OUT_BYTES);
        }
        self.body = Body::File(temporary);
        Ok(())
    }
}

/// Doubles the memory where more is needed, as a vector does, but never beyond `most`.
fn make_room(memory: &mut Vec<u8>, more: usize, most: usize) {
    let needed = memory.len() + more;
    if needed > memory.capacity() {
        let target = needed.max(memory.capacity() * 2).min(most);
        memory.reserve_exact(target - memory.len());
    }
}

impl Write for Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let size = self.size.saturating_add(bytes.len() as u64);
        if size > self.limit {
            self.body = Body::Lost;
            return Err(Refusal::TooLarge.into());
        }
        self.keep(bytes)?;
        self.size = size;
        self.sha1.update(bytes);
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
    temporary: Temporary,
    size: u64,
    sha1: String,
    head: Vec<u8>,
}

impl Sealed {
    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The SHA-1 of its bytes, in lower-case hexadecimal.
    pub fn sha1(&self) -> &str {
        &self.sha1
    }

    /// Its first [`limits::SNIFF_BYTES`] bytes, or all if they are fewer.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// Opens it for reading.
    pub fn open(&self) -> Result<File> {
        let Temporary { root, name, .. } = &self.temporary;
        let lost = || Error::new(Kind::Failure, format!("the temporary file {name} is gone"));
        root.open_regular(name).map_err(failure)?.map(|(file, _)| file).ok_or_else(lost)
    }
}

/// A new file in the root that goes away again unless it is moved.
#[derive(Debug)]
struct Temporary {
    root: Arc<Dir>,
    name: String,
    file: NewFile,
    moved: bool,
}

impl Temporary {
    fn new(root: &Arc<Dir>) -> io::Result<Self> {
        let name = format!("{}{}", walk::TEMPORARY, MediaId::random());
        let file = root.create(&name)?;
        Ok(Self { root: Arc::clone(root), name, file, moved: false })
    }

    fn rename(&self, folder: &Dir, name: &str) -> io::Result<()> {
        self.root.rename_new(&self.name, folder, name)
    }

    fn moved(mut self) {
        self.moved = true;
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.moved
            && let Err(error) = self.root.remove(&self.name)
        {
            log::warn!("a temporary file is left over: {error}");
        }
    }
}

/// An error of the storage at the step `doing`; what the process has run out of is told from other failures.
pub fn storage_error(doing: &'static str, cause: io::Error) -> Error {
    if is_exhausted(&cause) { Error::caused(Kind::Exhausted, doing, cause) } else { Error::io(doing, cause) }
}

fn failure(error: io::Error) -> Error {
    storage_error("storage failed", error)
}

fn removal(result: io::Result<()>) -> Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failure(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::PermissionsExt;

    use sha1::{Digest, Sha1};

    use super::*;
    use crate::testing::Scratch;

    struct Bench {
        files: Files,
        root: Scratch,
    }

    impl Bench {
        fn new() -> Self {
            let root = Scratch::new();
            Self { files: Files::open(root.path(), true).unwrap(), root }
        }

        fn names(&self) -> Vec<String> {
            let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
            fs::read_dir(self.root.path()).unwrap().map(name).collect()
        }

        fn sealed(&self, bytes: &[u8]) -> Sealed {
            let mut upload = self.files.begin(1 << 20, 16);
            upload.write_all(bytes).unwrap();
            upload.seal().unwrap()
        }
    }

    fn channel() -> Channel {
        "room@example.org".parse().unwrap()
    }

    fn id(text: &str) -> MediaId {
        text.parse().unwrap()
    }

    fn read(stored: Option<StoredFile>) -> Vec<u8> {
        let mut bytes = Vec::new();
        stored.unwrap().file.read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn what_has_run_out_is_told_from_other_failures() {
        let kind = |errno: rustix::io::Errno| storage_error("storage failed", errno.into()).kind();
        assert_eq!(kind(rustix::io::Errno::MFILE), Kind::Exhausted);
        assert_eq!(kind(rustix::io::Errno::NOSPC), Kind::Full);
        assert_eq!(kind(rustix::io::Errno::IO), Kind::Failure);
    }

    #[test]
    fn an_upload_is_counted_hashed_and_published_whatever_its_threshold() {
        let bench = Bench::new();
        let body: Vec<u8> = (0..10_000_u32).map(|at| at.to_le_bytes()[0]).collect();
        let expected: String = Sha1::digest(&body).iter().map(|byte| format!("{byte:02x}")).collect();
        for (threshold, step) in [(0, 7), (1, 1000), (9_999, 10_000), (10_000, 3), (1 << 20, 4096)] {
            let mut upload = bench.files.begin(10_000, threshold);
            for part in body.chunks(step) {
                upload.write_all(part).unwrap();
                if let Body::Memory(memory) = &upload.body {
                    assert!(memory.capacity() <= threshold);
                }
            }
            let sealed = upload.seal().unwrap();
            assert_eq!((sealed.size(), sealed.sha1()), (10_000, expected.as_str()));
            assert_eq!(sealed.head(), &body[..limits::SNIFF_BYTES]);
            let id = MediaId::random();
            assert!(matches!(bench.files.publish(sealed, &channel(), &id), Ok(Published::Done)));
            let stored = bench.files.open_file(&channel(), &id).unwrap().unwrap();
            assert_eq!(stored.size, 10_000);
            assert_eq!(read(Some(stored)), body);
        }
        assert_eq!(bench.names(), ["room@example.org"]);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&bench.root.join("room@example.org")), 0o700);
    }

    #[test]
    fn an_upload_that_is_dropped_leaves_nothing() {
        let bench = Bench::new();
        let mut upload = bench.files.begin(100, 2);
        upload.write_all(b"ab").unwrap();
        assert!(bench.names().is_empty());
        upload.write_all(b"c").unwrap();
        assert_eq!(bench.names().len(), 1);
        drop(upload);
        assert!(bench.names().is_empty());
        let sealed = bench.sealed(b"bytes");
        assert_eq!(bench.names().len(), 1);
        let mut again = String::new();
        sealed.open().unwrap().read_to_string(&mut again).unwrap();
        assert_eq!(again, "bytes");
        drop(sealed);
        assert!(bench.names().is_empty());
    }

    #[test]
    fn an_upload_is_refused_at_its_limit() {
        let bench = Bench::new();
        for threshold in [0, 100] {
            let mut upload = bench.files.begin(5, threshold);
            upload.write_all(b"12345").unwrap();
            let error = upload.write_all(b"6").unwrap_err();
            assert_eq!(Refusal::in_io(&error), Some(Refusal::TooLarge));
            assert!(bench.names().is_empty());
            assert!(upload.seal().is_err());
        }
    }

    #[test]
    fn a_full_disk_ends_the_upload_and_leaves_nothing() {
        let bench = Bench::new();
        let mut upload = bench.files.begin(100, 0);
        upload.write_all(b"good").unwrap();
        let Body::File(temporary) = &mut upload.body else { panic!("no file") };
        temporary.file.fill_up();
        assert_eq!(upload.write_all(b"lost").unwrap_err().kind(), ErrorKind::StorageFull);
        assert!(bench.names().is_empty());
        assert!(upload.write_all(b"more").is_err());
        assert!(upload.seal().is_err());
    }

    #[test]
    fn a_taken_id_is_told_and_nothing_replaced() {
        let bench = Bench::new();
        let publish = |sealed, name| bench.files.publish(sealed, &channel(), &id(name)).unwrap();
        assert!(matches!(publish(bench.sealed(b"first"), "a"), Published::Done));
        let Published::Taken(second) = publish(bench.sealed(b"second"), "a") else { panic!("replaced") };
        assert!(matches!(publish(second, "b"), Published::Done));
        assert_eq!(read(bench.files.open_file(&channel(), &id("a")).unwrap()), b"first");
        assert_eq!(read(bench.files.open_file(&channel(), &id("b")).unwrap()), b"second");
        assert_eq!(bench.names().len(), 1);
    }

    #[test]
    fn what_is_no_directory_is_no_channel() {
        let bench = Bench::new();
        fs::write(bench.root.join(channel().as_str()), "a file").unwrap();
        assert!(bench.files.publish(bench.sealed(b"bytes"), &channel(), &id("a")).is_err());
        assert_eq!(bench.names(), ["room@example.org"]);
        assert!(bench.files.open_file(&channel(), &id("a")).unwrap().is_none());
        assert!(!bench.files.remove(&channel(), &id("a")).unwrap());
    }

    #[test]
    fn files_are_removed_once() {
        let bench = Bench::new();
        assert!(!bench.files.remove(&channel(), &id("a")).unwrap());
        bench.files.publish(bench.sealed(b"bytes"), &channel(), &id("a")).unwrap();
        assert!(bench.files.remove(&channel(), &id("a")).unwrap());
        assert!(!bench.files.remove(&channel(), &id("a")).unwrap());
        assert!(bench.files.open_file(&channel(), &id("a")).unwrap().is_none());
    }

    #[test]
    fn a_root_that_takes_no_files_is_refused_with_advice() {
        let bench = Bench::new();
        let file = bench.root.join("file");
        fs::write(&file, "").unwrap();
        for root in [file, "/proc/media".into()] {
            let error = Files::open(&root, true).err().unwrap().to_string();
            assert!(error.contains("media.storage.root") && error.contains("can't"), "{error}");
        }
    }

    #[test]
    fn leftovers_go_and_a_channel_that_is_named_like_one_stays() {
        let bench = Bench::new();
        for name in [".upload-1", ".upload-2", ".upload-3"] {
            fs::write(bench.root.join(name), "").unwrap();
        }
        fs::create_dir(bench.root.join(".upload-x@example.org")).unwrap();
        assert!(bench.files.remove_temporary(".upload-1").unwrap());
        assert!(!bench.files.remove_temporary(".upload-1").unwrap());
        assert_eq!(bench.files.remove_temporaries().unwrap(), 2);
        assert_eq!(bench.names(), [".upload-x@example.org"]);
    }

    #[test]
    fn first_uploads_to_a_channel_may_race() {
        let bench = Bench::new();
        std::thread::scope(|scope| {
            for at in 0..8 {
                let bench = &bench;
                scope.spawn(move || {
                    for round in 0..4 {
                        let channel = format!("room{round}@example.org").parse().unwrap();
                        let name = id(&format!("m{at}"));
                        let published = bench.files.publish(bench.sealed(b"bytes"), &channel, &name);
                        assert!(matches!(published, Ok(Published::Done)));
                    }
                });
            }
        });
        assert_eq!(bench.files.walk().unwrap().count(), 32);
    }
}
