//! The file-system calls of the upload and delete paths, relative to open directories. One place for all of
//! them: every error names the call and the file, and a test that makes a call fail has one place to do so.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, AtFlags, Mode, OFlags, RenameFlags, ResolveFlags};
use rustix::io::Errno;

/// One kind of file-system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FsCall {
    /// Opening a directory.
    OpenDirectory,
    /// Making a directory.
    MakeDirectory,
    /// Creating a file that must be new.
    Create,
    /// Writing to a file.
    Write,
    /// Bringing a file's bytes to the disk.
    Sync,
    /// Giving a file its final name.
    Rename,
    /// Bringing a directory's names to the disk.
    SyncDirectory,
    /// Removing a name.
    Remove,
    /// Opening a file for reading.
    Open,
    /// Asking for the free space.
    FreeSpace,
}

impl FsCall {
    /// The call that failed with this error of a function below.
    pub fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref::<CallError>().map(|error| error.kind)
    }

    fn text(self) -> &'static str {
        match self {
            Self::OpenDirectory => "open the directory",
            Self::MakeDirectory => "make the directory",
            Self::Create => "create",
            Self::Write => "write to",
            Self::Sync => "bring to the disk",
            Self::Rename => "move a new file to",
            Self::SyncDirectory => "bring to the disk the directory",
            Self::Remove => "remove",
            Self::Open => "open",
            Self::FreeSpace => "find the free space of",
        }
    }
}

#[derive(Debug)]
struct CallError {
    kind: FsCall,
    path: PathBuf,
    cause: io::Error,
}

/// Whether the process, or the machine, had no descriptors or memory left for it.
pub fn is_exhausted(error: &io::Error) -> bool {
    let kind = error.get_ref().and_then(|inner| inner.downcast_ref::<CallError>());
    let errno = Errno::from_io_error(kind.map_or(error, |kind| &kind.cause));
    matches!(errno, Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS))
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "can't {} {}: {}", self.kind.text(), self.path.display(), self.cause)
    }
}

impl std::error::Error for CallError {}

/// Runs one call, again if a signal interrupted it. Errors keep their kind, by which callers tell them apart.
fn call<T>(
    kind: FsCall,
    path: impl FnOnce() -> PathBuf,
    mut run: impl FnMut() -> io::Result<T>,
) -> io::Result<T> {
    loop {
        #[cfg(test)]
        let done = super::faults::strike(kind).and_then(|()| run());
        #[cfg(not(test))]
        let done = run();
        match done {
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(io::Error::new(cause.kind(), CallError { kind, path: path(), cause })),
            Ok(value) => return Ok(value),
        }
    }
}

/// How files are opened for reading. Without NONBLOCK a named pipe would be waited for.
const READ: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// A file that was opened for reading, if it is a regular one, and its size.
fn regular(opened: rustix::io::Result<OwnedFd>) -> io::Result<Option<(File, u64)>> {
    let file = match opened {
        Ok(fd) => File::from(fd),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let metadata = file.metadata()?;
    Ok(metadata.is_file().then_some((file, metadata.len())))
}

/// An open directory. Names in it are single components; none of the calls follows a symbolic link there.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

impl Dir {
    /// Opens a directory; `path` itself may lead through symbolic links.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = || Ok(rustix::fs::open(path, flags, Mode::empty())?);
        let fd = call(FsCall::OpenDirectory, || path.to_owned(), open)?;
        Ok(Self { fd, path: path.to_owned() })
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a directory in this one; `None` if there is nothing of that name or it is no directory.
    pub fn open_dir(&self, name: &str) -> io::Result<Option<Self>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = || match rustix::fs::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(error) => Err(error.into()),
        };
        let fd = self.call(FsCall::OpenDirectory, name, open)?;
        Ok(fd.map(|fd| Self { fd, path: self.path.join(name) }))
    }

    /// Makes a directory of mode 0700. Fails with `AlreadyExists` if the name is taken.
    pub fn make_dir(&self, name: &str) -> io::Result<()> {
        self.call(FsCall::MakeDirectory, name, || Ok(rustix::fs::mkdirat(&self.fd, name, Mode::RWXU)?))
    }

    /// Creates a file of mode 0600 for writing. Fails with `AlreadyExists` if the name is taken.
    pub fn create(&self, name: &str) -> io::Result<NewFile> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let open = || Ok(rustix::fs::openat(&self.fd, name, flags, mode)?);
        let fd = self.call(FsCall::Create, name, open)?;
        Ok(NewFile { file: fd.into(), path: self.path.join(name), written: 0, on_its_way: 0 })
    }

    /// Opens a file of mode 0600 for reading and writing; makes it if it is missing.
    pub fn open_or_create(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let fd = self.call(FsCall::Create, name, || Ok(rustix::fs::openat(&self.fd, name, flags, mode)?))?;
        Ok(fd.into())
    }

    /// Opens a regular file for reading and tells its size; `None` if there is nothing of that name, or
    /// something else.
    pub fn open_regular(&self, name: &str) -> io::Result<Option<(File, u64)>> {
        self.call(FsCall::Open, name, || regular(rustix::fs::openat(&self.fd, name, READ, Mode::empty())))
    }

    /// The same for a file of a directory in this one, in one call where the kernel has it.
    pub fn open_regular_in(&self, directory: &str, name: &str) -> io::Result<Option<(File, u64)>> {
        let path = format!("{directory}/{name}");
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let open = || match rustix::fs::openat2(&self.fd, &path, READ, Mode::empty(), resolve) {
            // Linux before 5.6, or a sandbox that is older than the call.
            Err(Errno::NOSYS | Errno::PERM) => Ok(None),
            opened => regular(opened).map(Some),
        };
        if let Some(opened) = self.call(FsCall::Open, &path, open)? {
            return Ok(opened);
        }
        match self.open_dir(directory)? {
            Some(directory) => directory.open_regular(name),
            None => Ok(None),
        }
    }

    /// Moves a file of this directory to `to`, on the same file system, under a name that must be new: fails
    /// with `AlreadyExists` if it is taken. Atomic where the file system knows renameat2; elsewhere, as on NFS, a crash
    /// may leave both names.
    pub fn rename_new(&self, name: &str, to: &Self, to_name: &str) -> io::Result<()> {
        to.call(FsCall::Rename, to_name, || {
            match rustix::fs::renameat_with(&self.fd, name, &to.fd, to_name, RenameFlags::NOREPLACE) {
                Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => self.link_new(name, to, to_name),
                result => Ok(result?),
            }
        })
    }

    /// An NFS client that gets no reply sends its request again. The second one may find what the first has done.
    fn link_new(&self, name: &str, to: &Self, to_name: &str) -> io::Result<()> {
        match rustix::fs::linkat(&self.fd, name, &to.fd, to_name, AtFlags::empty()) {
            Err(Errno::EXIST) if self.is_same(name, to, to_name) => {}
            result => result?,
        }
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Err(Errno::NOENT) => Ok(()),
            result => Ok(result?),
        }
    }

    /// Whether two names are those of one file.
    fn is_same(&self, name: &str, other: &Self, other_name: &str) -> bool {
        let file = |dir: &OwnedFd, name| rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW);
        match (file(&self.fd, name), file(&other.fd, other_name)) {
            (Ok(one), Ok(other)) => (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino),
            _ => false,
        }
    }

    /// Removes a file; fails with `NotFound` if there is none.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        self.call(FsCall::Remove, name, || Ok(rustix::fs::unlinkat(&self.fd, name, AtFlags::empty())?))
    }

    /// Brings the names in this directory to the disk.
    pub fn sync(&self) -> io::Result<()> {
        call(FsCall::SyncDirectory, || self.path.clone(), || Ok(rustix::fs::fsync(&self.fd)?))
    }

    /// Bytes that this process may still store on the directory's file system.
    pub fn free_space(&self) -> io::Result<u64> {
        call(
            FsCall::FreeSpace,
            || self.path.clone(),
            || {
                let status = rustix::fs::fstatvfs(&self.fd)?;
                Ok(status.f_bavail.saturating_mul(status.f_frsize))
            },
        )
    }

    fn call<T>(&self, kind: FsCall, name: &str, run: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        call(kind, || self.path.join(name), run)
    }
}

/// A file that was just created.
#[derive(Debug)]
pub struct NewFile {
    file: File,
    path: PathBuf,
    /// Bytes that were written.
    written: u64,
    /// The number of these bytes that the kernel was told to write to the disk.
    on_its_way: u64,
}

impl NewFile {
    /// Appends all of these bytes.
    pub fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Self { file, path, written, .. } = self;
        #[cfg(test)]
        let mut file = super::faults::Faulty(file);
        call(FsCall::Write, || path.clone(), || file.write_all(bytes))?;
        *written += bytes.len() as u64;
        Ok(())
    }

    /// Has the kernel begin to write new bytes to the disk, if there are `least` or more: then [`NewFile::sync`] finds
    /// most of them written. Linux begins at once when it is advised that the bytes won't be needed soon. It may then also
    /// drop them from memory earlier; the next reader reads only few of them again.
    pub fn begin_sync(&mut self, least: NonZeroU64) {
        let new = NonZeroU64::new(self.written - self.on_its_way);
        if let Some(length) = new.filter(|new| *new >= least) {
            // If it is not taken, nothing is lost but time; errors of the disk are sync's to tell.
            let _ = rustix::fs::fadvise(&self.file, self.on_its_way, Some(length), Advice::DontNeed);
            self.on_its_way = self.written;
        }
    }

    /// Brings what was written to the disk.
    pub fn sync(&self) -> io::Result<()> {
        call(FsCall::Sync, || self.path.clone(), || self.file.sync_all())
    }

    /// A device that is always full, in the place of this file.
    #[cfg(test)]
    pub fn fill_up(&mut self) {
        self.file = File::options().write(true).open("/dev/full").unwrap();
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::testing::Scratch;

    /// A directory, opened.
    fn opened() -> (Scratch, Dir) {
        let scratch = Scratch::new();
        let dir = Dir::open(scratch.path()).unwrap();
        (scratch, dir)
    }

    #[test]
    fn files_are_created_once_and_for_us_alone() {
        let (scratch, dir) = opened();
        let mut file = dir.create("a").unwrap();
        file.write_all(b"bytes").unwrap();
        file.sync().unwrap();
        let metadata = std::fs::metadata(scratch.join("a")).unwrap();
        assert_eq!((metadata.len(), metadata.permissions().mode() & 0o777), (5, 0o600));
        let error = dir.create("a").unwrap_err();
        assert_eq!((error.kind(), FsCall::of(&error)), (ErrorKind::AlreadyExists, Some(FsCall::Create)));
        symlink(scratch.join("b"), scratch.join("link")).unwrap();
        assert_eq!(dir.create("link").unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert!(!scratch.join("b").exists());
    }

    #[test]
    fn a_rename_never_replaces() {
        let (scratch, dir) = opened();
        dir.make_dir("sub").unwrap();
        let sub = dir.open_dir("sub").unwrap().unwrap();
        for (at, rename) in [Dir::rename_new, Dir::link_new].into_iter().enumerate() {
            let (old, new) = (format!("old{at}"), format!("new{at}"));
            std::fs::write(scratch.join(&old), "first").unwrap();
            rename(&dir, &old, &sub, &new).unwrap();
            assert!(!scratch.join(&old).exists());
            std::fs::write(scratch.join(&old), "second").unwrap();
            let error = rename(&dir, &old, &sub, &new).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::AlreadyExists);
            assert_eq!(std::fs::read(sub.path().join(&new)).unwrap(), b"first");
            assert_eq!(std::fs::read(scratch.join(&old)).unwrap(), b"second");
        }
    }

    #[test]
    fn a_link_that_was_made_before_is_the_end_of_its_rename() {
        let (scratch, dir) = opened();
        for linked in ["first", "second"] {
            std::fs::write(scratch.join("old"), linked).unwrap();
            std::fs::hard_link(scratch.join("old"), scratch.join(linked)).unwrap();
            dir.link_new("old", &dir, linked).unwrap();
            assert!(!scratch.join("old").exists());
            assert_eq!(std::fs::read_to_string(scratch.join(linked)).unwrap(), linked);
        }
    }

    #[test]
    fn only_regular_files_are_opened() {
        let (scratch, dir) = opened();
        std::fs::write(scratch.join("file"), "four").unwrap();
        symlink(scratch.join("file"), scratch.join("link")).unwrap();
        symlink(scratch.path(), scratch.join("linked-directory")).unwrap();
        dir.make_dir("directory").unwrap();
        let made = std::process::Command::new("mkfifo").arg(scratch.join("pipe")).status().unwrap();
        assert!(made.success());
        assert_eq!(dir.open_regular("file").unwrap().map(|(_, size)| size), Some(4));
        for name in ["missing", "link", "directory", "pipe"] {
            assert!(dir.open_regular(name).unwrap().is_none(), "{name}");
        }
        for name in ["missing", "linked-directory", "file"] {
            assert!(dir.open_dir(name).unwrap().is_none(), "{name}");
        }
    }

    #[test]
    fn errors_name_the_step_the_file_and_the_cause() {
        let (_scratch, dir) = opened();
        let error = dir.remove("nothing").unwrap_err();
        assert_eq!((error.kind(), FsCall::of(&error)), (ErrorKind::NotFound, Some(FsCall::Remove)));
        let text = error.to_string();
        assert!(text.starts_with("can't remove /") && text.contains("/nothing: No such file"), "{text}");
        let mut file = dir.create("full").unwrap();
        file.fill_up();
        let error = file.write_all(b"byte").unwrap_err();
        assert_eq!((error.kind(), FsCall::of(&error)), (ErrorKind::StorageFull, Some(FsCall::Write)));
        assert_eq!(FsCall::of(&io::Error::other("else")), None);
        assert!(dir.free_space().unwrap() > 0);
    }
}
