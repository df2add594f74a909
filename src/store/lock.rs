//! The file `.store` in a storage root. Its first line is the store's id (see [`super::identity`]), and the second names the
//! process that has the lock on it: one process at a time serves or upgrades a store. The lock ends with its process,
//! however that ends. The main thread takes it; any thread may mark the root.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::identity::StoreId;
use super::upload::unusable;
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::sys::fs::Dir;

/// The file is never removed: another process may be about to lock it.
pub(super) const STORE: &str = ".store";

/// The lock of a storage root. Dropped, it is released.
#[derive(Debug)]
pub struct RootLock {
    root: PathBuf,
    file: File,
    /// Whether the process that had the lock before did not sign off.
    after_crash: bool,
}

impl RootLock {
    /// Takes the lock of this root, which must be there. Fails at once if another process has it, and names that.
    pub fn take(root: &Path) -> Result<Self> {
        let opened = Dir::open(root).and_then(|dir| dir.open_or_create(STORE));
        let file = opened.map_err(|cause| unusable(root, cause))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                let after_crash = content(&file).is_ok_and(|text| signed(&text).is_some());
                let lock = Self { root: root.to_owned(), file, after_crash };
                lock.sign(&format!("{}\n", signature()));
                Ok(lock)
            }
            Err(Errno::WOULDBLOCK) => Err(in_use(root, &file)),
            Err(cause) => {
                let doing = format!("can't lock {}", root.join(STORE).display());
                Err(Error::io(doing, cause.into()))
            }
        }
    }

    /// The process that has the lock of this root, in words; `None` if none has it, or if its file can't be read. Changes
    /// nothing, but a server that starts in this moment may be refused.
    pub fn holder(root: &Path) -> Option<String> {
        let file = File::open(root.join(STORE)).ok()?;
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Err(Errno::WOULDBLOCK) => content(&file).ok()?.lines().nth(1).map(str::to_owned),
            // Closed with the file.
            _ => None,
        }
    }

    /// Marks the root with this id, and brings the mark to the disk.
    pub fn mark(&self, id: &StoreId) -> Result<()> {
        let mark = || {
            self.write(&format!("{id}\n{}\n", signature()))?;
            self.file.sync_all()?;
            Dir::open(&self.root)?.sync()
        };
        mark().map_err(|cause| Error::io(format!("can't write {}", self.root.join(STORE).display()), cause))
    }

    /// Whether the process that had the lock before did not [sign off](Self::sign_off): it crashed, or was no server.
    pub fn after_crash(&self) -> bool {
        self.after_crash
    }

    /// Notes that this process ends as it should. Where that fails, the next one looks for what a crash may have left.
    pub fn sign_off(&self) {
        self.sign("");
    }

    /// Writes this line, which names the holder, behind an id that is there. Where that fails, for want of room, another
    /// process is refused all the same. What is there and is no id, or can't be read, stays: an operator may mend it.
    fn sign(&self, line: &str) {
        let Ok(text) = content(&self.file) else { return };
        let id = text.lines().next().unwrap_or_default();
        if id.is_empty() || id.parse::<StoreId>().is_ok() {
            let _ = self.write(&format!("{id}\n{line}"));
        }
    }

    /// Writes the same bytes over an id that is there, so a crash can't harm it.
    fn write(&self, text: &str) -> io::Result<()> {
        self.file.write_all_at(text.as_bytes(), 0)?;
        self.file.set_len(text.len() as u64)
    }
}

/// The id that this root is marked with. Changes nothing.
pub(super) fn mark(root: &Path) -> Result<Option<StoreId>> {
    let path = root.join(STORE);
    let failed = |cause| Error::io(format!("can't read {}", path.display()), cause);
    let text = match File::open(&path) {
        Ok(file) => content(&file).map_err(failed)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    match text.lines().next() {
        None | Some("") => Ok(None),
        Some(id) => id.parse().map(Some).map_err(|_| {
            let text =
                format!("the first line of {} is no store's id; restore it from a backup", path.display());
            Error::new(Kind::Config, text)
        }),
    }
}

fn content(file: &File) -> io::Result<String> {
    let mut bytes = [0; limits::STORE_BYTES];
    let mut length = 0;
    while length < bytes.len() {
        match file.read_at(&mut bytes[length..], length as u64) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(String::from_utf8_lossy(&bytes[..length]).into_owned())
}

fn signature() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("process {} on host {host}", std::process::id())
}

/// The process that is named in the file as the holder of the lock.
fn signed(text: &str) -> Option<&str> {
    text.lines().nth(1).filter(|line| !line.is_empty())
}

fn in_use(root: &Path, file: &File) -> Error {
    let text = content(file).unwrap_or_default();
    let holder = signed(&text).unwrap_or("another process");
    let text = format!(
        "the storage {} is in use by {holder}: one server at a time serves it; stop that one first",
        root.display()
    );
    Error::new(Kind::Failure, text)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::testing::Scratch;

    #[test]
    fn the_holder_is_told_without_taking_the_lock() {
        let scratch = Scratch::new();
        assert_eq!(RootLock::holder(scratch.path()), None);
        let lock = RootLock::take(scratch.path()).unwrap();
        let holder = RootLock::holder(scratch.path()).unwrap();
        assert!(holder.starts_with(&format!("process {} on host ", std::process::id())), "{holder}");
        drop(lock);
        assert_eq!(RootLock::holder(scratch.path()), None);
        RootLock::take(scratch.path()).unwrap();
    }

    #[test]
    fn one_process_at_a_time_has_the_lock_and_is_named_to_others() {
        let scratch = Scratch::new();
        let lock = RootLock::take(scratch.path()).unwrap();
        let error = RootLock::take(scratch.path()).unwrap_err();
        assert_eq!(error.kind(), Kind::Failure);
        assert!(error.to_string().contains(&format!("process {} on host ", std::process::id())), "{error}");
        drop(lock);
        RootLock::take(scratch.path()).unwrap();
        let error = RootLock::take(&scratch.join("missing")).unwrap_err().to_string();
        assert!(error.contains("missing"), "{error}");
    }

    #[test]
    fn a_mark_outlives_the_lock_of_its_process() {
        let scratch = Scratch::new();
        assert_eq!(mark(scratch.path()).unwrap(), None);
        let id = StoreId::random();
        let lock = RootLock::take(scratch.path()).unwrap();
        assert_eq!(mark(scratch.path()).unwrap(), None, "a lock is no mark");
        lock.mark(&id).unwrap();
        drop(lock);
        for _ in 0..2 {
            assert_eq!(mark(scratch.path()).unwrap(), Some(id.clone()));
            RootLock::take(scratch.path()).unwrap();
        }
        let path = scratch.join(STORE);
        assert!(fs::read_to_string(&path).unwrap().starts_with(&format!("{id}\nprocess ")));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_process_that_did_not_sign_off_has_crashed() {
        let scratch = Scratch::new();
        let id = StoreId::random();
        let lock = RootLock::take(scratch.path()).unwrap();
        assert!(!lock.after_crash(), "there was none before");
        lock.mark(&id).unwrap();
        drop(lock);
        let lock = RootLock::take(scratch.path()).unwrap();
        assert!(lock.after_crash());
        lock.sign_off();
        drop(lock);
        assert_eq!(fs::read_to_string(scratch.join(STORE)).unwrap(), format!("{id}\n"));
        let lock = RootLock::take(scratch.path()).unwrap();
        assert!(!lock.after_crash());
        assert_eq!(mark(scratch.path()).unwrap(), Some(id));
    }

    #[test]
    fn a_longer_signature_of_an_earlier_process_leaves_nothing() {
        let scratch = Scratch::new();
        let id = StoreId::random();
        fs::write(scratch.join(STORE), format!("{id}\nprocess 1 on host {}\n", "x".repeat(200))).unwrap();
        let _lock = RootLock::take(scratch.path()).unwrap();
        assert_eq!(fs::read_to_string(scratch.join(STORE)).unwrap(), format!("{id}\n{}\n", signature()));
    }

    #[test]
    fn a_mark_that_is_no_id_is_refused() {
        let texts: [&[u8]; 5] =
            [b"short\n", b"not/an/id/of/a/store\nmore\n", b"\0\n", b"\xff\xfe", b"aaaaaaaaaaaaaaaaaaaaa\n"];
        for text in texts {
            let scratch = Scratch::new();
            fs::write(scratch.join(STORE), text).unwrap();
            assert_eq!(mark(scratch.path()).unwrap_err().kind(), Kind::Config, "{text:?}");
            RootLock::take(scratch.path()).unwrap().sign_off();
            assert_eq!(fs::read(scratch.join(STORE)).unwrap(), text, "it is not written over");
        }
    }
}
