//! The file `.store` in a storage root. Its first line is the store's id (see [`super::identity`]), and the second names the
//! process that has the root for itself. Nodes that share a root hold the lock of `.store` together, and each has a file
//! of its own, `.nodes/NAME`, that names its process. Locks end with their processes, even after a crash. The main
//! thread takes them; any thread may mark the root.

use std::fs::{self, File};
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
/// The directory of the nodes' files. These are not removed either.
const NODES: &str = ".nodes";

/// The lock of a storage root. Dropped, it is released.
#[derive(Debug)]
pub struct RootLock {
    root: PathBuf,
    file: File,
    /// The file of this node, if others may share the root. Its lock is this node's.
    node: Option<File>,
    /// Whether the process that had the lock before did not sign off.
    after_crash: bool,
}

impl RootLock {
    /// Takes the lock of this root, which must be there, for this process alone. Fails at once if another process has it,
    /// and names that.
    pub fn take(root: &Path) -> Result<Self> {
        let file = open(root)?;
        match try_lock(&file, FlockOperation::NonBlockingLockExclusive, root)? {
            Locked::Yes => {
                let after_crash = content(&file).is_ok_and(|text| signed(&text).is_some());
                let lock = Self { root: root.to_owned(), file, node: None, after_crash };
                lock.sign(&format!("{}\n", signature()));
                Ok(lock)
            }
            Locked::ByOther => Err(in_use(root, &file)),
        }
    }

    /// Takes the lock of this root, which must be there, together with other nodes. `node` is the name of this one: a file's
    /// name that no other node has. Fails at once if a process has the root for itself, or if a node of this name runs.
    pub fn share(root: &Path, node: &str) -> Result<Self> {
        let file = open(root)?;
        match try_lock(&file, FlockOperation::NonBlockingLockShared, root)? {
            Locked::Yes => {}
            Locked::ByOther => return Err(in_use_alone(root, &file)),
        }
        let own = open_node(root, node)?;
        match try_lock(&own, FlockOperation::NonBlockingLockExclusive, root)? {
            Locked::Yes => {}
            Locked::ByOther => return Err(name_taken(root, node, &own)),
        }
        let crashed = |file| content(file).is_ok_and(|text| !text.is_empty());
        let after_crash = crashed(&own) || content(&file).is_ok_and(|text| signed(&text).is_some());
        let lock = Self { root: root.to_owned(), file, node: Some(own), after_crash };
        lock.forget_single();
        lock.sign(&format!("{}\n", signature()));
        Ok(lock)
    }

    /// The processes that have the lock of this root, in words; `None` if none has it, or if its files can't be read. Changes
    /// nothing, but a server that starts in this moment may be refused.
    pub fn holder(root: &Path) -> Option<String> {
        let file = File::open(root.join(STORE)).ok()?;
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Err(Errno::WOULDBLOCK) => content(&file).ok()?.lines().nth(1).map(str::to_owned),
            // Closed with the file.
            _ => Some(serving(root).join(", ")).filter(|nodes| !nodes.is_empty()),
        }
    }

    /// Marks the root with this id, and brings the mark to the disk. Nodes that share the root mark it with one id.
    pub fn mark(&self, id: &StoreId) -> Result<()> {
        let mark = || {
            let line = if self.node.is_none() { format!("{}\n", signature()) } else { String::new() };
            write(&self.file, &format!("{id}\n{line}"))?;
            self.file.sync_all()?;
            Dir::open(&self.root)?.sync()
        };
        mark().map_err(|cause| Error::io(format!("can't write {}", self.root.join(STORE).display()), cause))
    }

    /// Whether the process that had the lock before did not [sign off](Self::sign_off): it crashed, or was no server. Of
    /// nodes, it is the one of this name.
    pub fn after_crash(&self) -> bool {
        self.after_crash
    }

    /// Notes that this process ends as it should. Where that fails, the next one looks for what a crash may have left.
    pub fn sign_off(&self) {
        self.sign("");
    }

    /// Writes this line, which names the holder, behind an id that is there. Where that fails, for want of room, another
    /// process is refused all the same. A first line that is not an id, or can't be read, stays: an operator may repair it.
    fn sign(&self, line: &str) {
        if let Some(own) = &self.node {
            let _ = write(own, line);
            return;
        }
        let Ok(text) = content(&self.file) else { return };
        let id = text.lines().next().unwrap_or_default();
        if id.is_empty() || id.parse::<StoreId>().is_ok() {
            let _ = write(&self.file, &format!("{id}\n{line}"));
        }
    }

    /// Forgets the process that had the root for itself, and crashed. Another node may mark the root at the same time, so
    /// nothing is written: the file is only cut behind its id.
    fn forget_single(&self) {
        let Ok(text) = content(&self.file) else { return };
        let id = text.lines().next().unwrap_or_default();
        if signed(&text).is_some() && id.parse::<StoreId>().is_ok() {
            let _ = self.file.set_len(id.len() as u64 + 1);
        }
    }
}

fn open(root: &Path) -> Result<File> {
    let opened = Dir::open(root).and_then(|dir| dir.open_or_create(STORE));
    opened.map_err(|cause| unusable(root, cause))
}

/// The file of a node, which is made if it is missing.
fn open_node(root: &Path, node: &str) -> Result<File> {
    let open = || {
        let dir = Dir::open(root)?;
        match dir.make_dir(NODES) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        Dir::open(&root.join(NODES))?.open_or_create(node)
    };
    open().map_err(|cause| unusable(root, cause))
}

pub(super) enum Locked {
    Yes,
    /// Another process has a lock that forbids it.
    ByOther,
}

/// Takes this lock of a file in the root, if no other process has one that forbids it.
pub(super) fn try_lock(file: &File, operation: FlockOperation, root: &Path) -> Result<Locked> {
    match flock(file, operation) {
        Ok(()) => Ok(Locked::Yes),
        Err(Errno::WOULDBLOCK) => Ok(Locked::ByOther),
        Err(cause) => {
            let doing = format!(
                "can't lock a file in {}: its file system must support flock(2), such as NFS version 4, or version 3 with \
                 lockd",
                root.display()
            );
            Err(Error::io(doing, cause.into()))
        }
    }
}

/// Writes the same bytes over an id that is there, so a crash can't harm it.
fn write(file: &File, text: &str) -> io::Result<()> {
    file.write_all_at(text.as_bytes(), 0)?;
    file.set_len(text.len() as u64)
}

/// The nodes that share this root now, each with its process.
fn serving(root: &Path) -> Vec<String> {
    let mut nodes: Vec<String> = fs::read_dir(root.join(NODES))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| alive(&entry))
        .collect();
    nodes.sort();
    nodes
}

/// A node, if it runs.
fn alive(entry: &fs::DirEntry) -> Option<String> {
    let file = File::open(entry.path()).ok()?;
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Err(Errno::WOULDBLOCK) => {
            let process = content(&file).unwrap_or_default();
            Some(format!("node {} ({})", entry.file_name().to_string_lossy(), process.trim_end()))
        }
        _ => None,
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
            let text = format!(
                "the first line of {} is not the id of a store; restore it from a backup",
                path.display()
            );
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

/// The error of a process that wants the root for itself.
fn in_use(root: &Path, file: &File) -> Error {
    let nodes = serving(root);
    let text = content(file).unwrap_or_default();
    let root = root.display();
    let text = if nodes.is_empty() {
        let holder = signed(&text).unwrap_or("another process");
        format!(
            "the storage {root} is in use by {holder}: one server at a time serves it; stop that one first"
        )
    } else {
        format!(
            "the storage {root} is in use by {}: this command or server needs the storage for itself, so stop all nodes first; \
             a server that shares it with them has media.storage.shared=true",
            nodes.join(", ")
        )
    };
    Error::new(Kind::Failure, text)
}

/// The error of a node where another process has the root for itself.
fn in_use_alone(root: &Path, file: &File) -> Error {
    let text = content(file).unwrap_or_default();
    let holder = signed(&text).unwrap_or("another process");
    let text = format!(
        "the storage {} is in use by {holder}, which has it for itself: it is a server without media.storage.shared=true, or a \
         command such as import; stop it first",
        root.display()
    );
    Error::new(Kind::Failure, text)
}

/// The error of a node whose name another one has.
fn name_taken(root: &Path, node: &str, own: &File) -> Error {
    let process = content(own).unwrap_or_default();
    let text = format!(
        "a node named {node} serves the storage {} already ({}): give each node a node.name of its own",
        root.display(),
        process.trim_end()
    );
    Error::new(Kind::Failure, text)
}

#[cfg(test)]
mod tests {
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

    /// The text of a refusal.
    fn refused(lock: Result<RootLock>) -> String {
        let error = lock.unwrap_err();
        assert_eq!(error.kind(), Kind::Failure);
        error.to_string()
    }

    #[test]
    fn nodes_share_a_root_and_a_single_server_is_refused() {
        let scratch = Scratch::new();
        let single = RootLock::take(scratch.path()).unwrap();
        let text = refused(RootLock::share(scratch.path(), "a"));
        assert!(text.contains(&signature()) && text.contains("media.storage.shared"), "{text}");
        single.sign_off();
        drop(single);
        let (one, other) =
            (RootLock::share(scratch.path(), "a").unwrap(), RootLock::share(scratch.path(), "b").unwrap());
        let text = refused(RootLock::take(scratch.path()));
        let holders = format!("node a ({0}), node b ({0})", signature());
        assert!(text.contains(&holders) && text.contains("stop all nodes"), "{text}");
        assert_eq!(RootLock::holder(scratch.path()), Some(holders));
        let text = refused(RootLock::share(scratch.path(), "a"));
        assert!(text.contains("named a") && text.contains(&signature()), "{text}");
        drop(one);
        let text = refused(RootLock::take(scratch.path()));
        assert!(!text.contains("node a") && text.contains("node b"), "{text}");
        drop(other);
        assert_eq!(RootLock::holder(scratch.path()), None);
        RootLock::take(scratch.path()).unwrap();
    }

    #[test]
    fn each_node_learns_of_its_own_crash() {
        let scratch = Scratch::new();
        let share = |node| RootLock::share(scratch.path(), node).unwrap();
        let (one, other) = (share("a"), share("b"));
        assert!(!one.after_crash() && !other.after_crash());
        drop(one);
        other.sign_off();
        drop(other);
        assert!(!share("b").after_crash());
        let again = share("a");
        assert!(again.after_crash());
        again.sign_off();
        drop(again);
        assert!(!share("a").after_crash());
    }

    #[test]
    fn a_crash_before_the_root_was_shared_is_told_once_and_its_id_stays() {
        let scratch = Scratch::new();
        let id = StoreId::random();
        RootLock::take(scratch.path()).unwrap().mark(&id).unwrap();
        let node = RootLock::share(scratch.path(), "a").unwrap();
        assert!(node.after_crash());
        assert_eq!(fs::read_to_string(scratch.join(STORE)).unwrap(), format!("{id}\n"));
        assert!(!RootLock::share(scratch.path(), "b").unwrap().after_crash());
        node.mark(&id).unwrap();
        assert_eq!(fs::read_to_string(scratch.join(STORE)).unwrap(), format!("{id}\n"));
        assert_eq!(mark(scratch.path()).unwrap(), Some(id));
    }
}
