//! Moves files from one place to another, while servers find each in either; see [`Moving`](crate::store::Moving). A file is
//! read, compared with what its row tells, stored in the new place, and only then removed from the old one. The main
//! thread of a command waits for threads that move several files at a time.

use std::collections::HashSet;
use std::fmt;
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Instant;

use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::depot::{Depot, DepotEntry, DepotName};
use crate::error::{Error, Kind, Result};
use crate::store::{ContentTable, FileContent, Published, Sealed, StoredFile, Uploads};
use crate::{hex, limits};

/// When a file leaves the old place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// As soon as it is in the new one: a response that reads it goes on reading.
    AtOnce,
    /// When all files are in the new place. The old one is far away, and a response that reads there asks it again.
    AtTheEnd,
}

/// Files, by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MoveCounts {
    /// Files that are in the new place now.
    pub moved: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that were in both places and have left the old one.
    pub there: u64,
    /// Files that no row names. They stay in the old place.
    pub unnamed: u64,
    /// Files that are not what their rows say, can't be read, or have a name that no row can have. They stay in the old place.
    pub wrong: u64,
}

/// A report of a move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MoveNews {
    /// A file stays in the old place.
    Stays {
        /// Its name there.
        name: String,
        /// The reason.
        why: String,
    },
    /// So much is done.
    SoFar(MoveCounts),
}

/// Is told the news of a move, by any of its threads.
pub type Tell<'a> = &'a mut (dyn FnMut(MoveNews) + Send);

/// Moves files of both kinds.
pub struct Mover {
    /// Where files still are.
    pub from: Depot,
    /// Where they go.
    pub to: Depot,
    /// Where a file is on its way.
    pub incoming: Uploads,
    /// The sizes and hashes in the rows.
    pub table: Arc<dyn ContentTable>,
    /// When files leave the old place.
    pub leaving: Leaving,
}

impl Mover {
    /// Moves all files that rows name. It may end at any moment, and be begun again.
    ///
    /// # Errors
    /// When it can't go on: a place or the database does not answer, or the new place is full.
    pub fn run(&self, tell: Tell<'_>) -> Result<MoveCounts> {
        let state = State::new(tell);
        if self.leaving == Leaving::AtTheEnd {
            self.pass(&state, Step::Copy)?;
        }
        self.pass(&state, Step::Move)?;
        Ok(state.counts())
    }

    /// Counts the files that [`Mover::run`] would move, and their bytes. Changes nothing, and reads no file.
    ///
    /// # Errors
    /// When the old place or the database does not answer.
    pub fn look(&self, tell: Tell<'_>) -> Result<MoveCounts> {
        let state = State::new(tell);
        self.pass(&state, Step::Look)?;
        Ok(state.counts())
    }

    /// Goes through the old place once. The first failure ends it.
    fn pass(&self, state: &State<'_>, step: Step) -> Result<()> {
        let (sender, names) = mpsc::sync_channel(limits::MOVE_THREADS);
        let (names, failed) = (Mutex::new(names), AtomicBool::new(false));
        thread::scope(|scope| {
            let work = || {
                let next = || names.lock().unwrap_or_else(PoisonError::into_inner).recv();
                let mut end = Ok(());
                // After a failure the rest is taken and dropped, so that no sender waits for this thread.
                while let Ok((name, size)) = next() {
                    if !failed.load(Ordering::Relaxed) {
                        end = self.one(state, step, &name, size);
                        failed.fetch_or(end.is_err(), Ordering::Relaxed);
                    }
                }
                end
            };
            let threads: Vec<_> = (0..limits::MOVE_THREADS).map(|_| scope.spawn(work)).collect();
            let listed = self.hand_out(state, step, &sender, &failed);
            drop(sender);
            let panicked = || Err(Error::new(Kind::Failure, "a thread that moves files panicked"));
            let ends = threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| panicked()));
            ends.fold(Ok(()), Result::and).and(listed)
        })
    }

    /// Hands the names in the old place to the threads, until one of these fails.
    fn hand_out(
        &self,
        state: &State<'_>,
        step: Step,
        threads: &mpsc::SyncSender<(DepotName, u64)>,
        failed: &AtomicBool,
    ) -> Result<()> {
        for entry in self.from.list()? {
            match entry? {
                DepotEntry::File(name, size) => {
                    if failed.load(Ordering::Relaxed) || threads.send((name, size)).is_err() {
                        return Ok(());
                    }
                }
                DepotEntry::Foreign(path) => state.stays(step, &path.display(), &Stay::Foreign),
            }
        }
        Ok(())
    }

    fn one(&self, state: &State<'_>, step: Step, name: &DepotName, size: u64) -> Result<()> {
        let Some(content) = name.content(&*self.table)? else {
            state.stays(step, name, &Stay::Unnamed);
            return Ok(());
        };
        let copied = if step == Step::Look { Copied::Now } else { self.copy(state, name, &content)? };
        if step == Step::Move && matches!(copied, Copied::Now | Copied::Before) {
            self.from.remove(name)?;
        }
        match copied {
            Copied::Now => state.moved(step, name, size),
            Copied::Before => state.there(step, name),
            Copied::Stays(why) => state.stays(step, name, &why),
            Copied::Gone => {}
        }
        Ok(())
    }

    /// Brings a file to the new place, unless it is there.
    fn copy(&self, state: &State<'_>, name: &DepotName, content: &FileContent) -> Result<Copied> {
        let there = self.to.size(name)?;
        if there == Some(content.size) && (state.is_copied(name) || self.is_vouched_for(name, content)?) {
            return Ok(Copied::Before);
        }
        let Some(file) = self.from.open(name)? else { return Ok(Copied::Gone) };
        let sealed = match self.read(&file) {
            Ok(sealed) => sealed,
            Err(ReadError::Source(cause)) => return Ok(Copied::Stays(Stay::Unreadable(cause.to_string()))),
            Err(ReadError::Other(error)) => return Err(error),
        };
        if !is_content(content, sealed.size(), sealed.digest(), sealed.sha256()) {
            return Ok(Copied::Stays(Stay::Different));
        }
        let read = FileContent { sha256: Some(sealed.sha256().to_owned()), ..content.clone() };
        if there.is_some() {
            if self.is_right(name, &read)? {
                return Ok(Copied::Before);
            }
            // Another program left it there. The bytes that were just read replace it.
            self.remove_wrong(name)?;
        }
        self.put(sealed, name, content, &read)
    }

    fn put(
        &self,
        sealed: Sealed,
        name: &DepotName,
        content: &FileContent,
        read: &FileContent,
    ) -> Result<Copied> {
        match self.to.put(sealed, name)? {
            // Another command moves the same file.
            Published::Taken(_) => return Ok(Copied::Gone),
            Published::Done => {}
        }
        // A server that deleted the file before this moment has not found it in the new place.
        if name.content(&*self.table)?.is_none() {
            self.to.remove(name)?;
            return Ok(Copied::Gone);
        }
        // A copy without a hash in its row is read again.
        if hash(content).is_none() && !self.is_right(name, read)? {
            self.remove_wrong(name)?;
            let text = format!("the new place returns {name} changed");
            return Err(Error::new(Kind::Corrupt, text));
        }
        Ok(Copied::Now)
    }

    /// Removes a wrong copy from the new place, unless it is the only one.
    fn remove_wrong(&self, name: &DepotName) -> Result<()> {
        if self.from.size(name)?.is_some() {
            self.to.remove(name)?;
        }
        Ok(())
    }

    /// Whether the file in the new place is the one whose hash the row has.
    fn is_vouched_for(&self, name: &DepotName, content: &FileContent) -> Result<bool> {
        Ok(hash(content).is_some() && self.is_right(name, content)?)
    }

    /// Whether the file in the new place has this content, by its bytes.
    fn is_right(&self, name: &DepotName, content: &FileContent) -> Result<bool> {
        let Some(file) = self.to.open(name)? else { return Ok(false) };
        let (mut sha1, mut sha256, mut size) = (Sha1::new(), Sha256::new(), 0);
        let read = each_part(&file, &mut |bytes| {
            sha1.update(bytes);
            sha256.update(bytes);
            size += bytes.len() as u64;
            Ok(())
        });
        match read {
            Ok(()) => Ok(is_content(
                content,
                size,
                &hex::encode(&sha1.finalize()),
                &hex::encode(&sha256.finalize()),
            )),
            Err(ReadError::Source(_)) => Ok(false),
            Err(ReadError::Other(error)) => Err(error),
        }
    }

    /// Reads a file into a temporary one, and hashes it.
    fn read(&self, file: &StoredFile) -> std::result::Result<Sealed, ReadError> {
        let mut upload = self.incoming.begin(u64::MAX, 0);
        each_part(file, &mut |bytes| upload.write_all(bytes))?;
        upload.seal().map_err(ReadError::Other)
    }
}

/// Hands over the bytes of a file, a buffer at a time.
fn each_part(
    file: &StoredFile,
    take: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> std::result::Result<(), ReadError> {
    let whole = file.whole().map_err(|_| {
        ReadError::Other(Error::new(Kind::Unavailable, "a file can't be fetched from the store now"))
    })?;
    let mut buffer = vec![0; limits::MOVE_BUFFER];
    loop {
        match (&*whole).read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => take(&buffer[..read]).map_err(|cause| {
                ReadError::Other(Error::io("can't store a file on its way to the new place", cause))
            })?,
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(ReadError::Source(cause)),
        }
    }
}

/// The strongest hash that the row of a file has, with the number of its letters. Rows of the original server may have
/// something else in the place of a hash.
fn hash(content: &FileContent) -> Option<&str> {
    let is_hash =
        |text: &&str, length| text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let sha256 = content.sha256.as_deref().filter(|text| is_hash(text, SHA256));
    sha256.or(content.sha1.as_deref().filter(|text| is_hash(text, SHA1)))
}

/// Letters of a SHA-256 in hexadecimal.
const SHA256: usize = 64;
/// Letters of a SHA-1 in hexadecimal.
const SHA1: usize = 40;

/// Whether bytes with this size and these hashes are what the row says.
fn is_content(content: &FileContent, size: u64, sha1: &str, sha256: &str) -> bool {
    let found = |hash: &str| if hash.len() == SHA256 { sha256.to_owned() } else { sha1.to_owned() };
    size == content.size && hash(content).is_none_or(|hash| hash.eq_ignore_ascii_case(&found(hash)))
}

/// The action of a pass on each file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// It counts the file.
    Look,
    /// It brings the file to the new place.
    Copy,
    /// It also removes the file from the old one.
    Move,
}

/// The result for a file of the attempt to copy it.
enum Copied {
    /// It is in the new place now.
    Now,
    /// It was there before.
    Before,
    /// It was deleted meanwhile, or someone else moves it.
    Gone,
    Stays(Stay),
}

enum ReadError {
    /// The file can't be read.
    Source(io::Error),
    Other(Error),
}

/// Why a file stays in the old place.
enum Stay {
    Unnamed,
    Foreign,
    Different,
    Unreadable(String),
}

impl fmt::Display for Stay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unnamed => f.write_str("no row names it"),
            Self::Foreign => f.write_str("no row can name it"),
            Self::Different => {
                f.write_str("it is not what its row says, by its size or hash; restore it from a backup")
            }
            Self::Unreadable(cause) => write!(f, "it can't be read: {cause}"),
        }
    }
}

/// The state that the threads of a move share.
struct State<'a>(Mutex<Shared<'a>>);

struct Shared<'a> {
    counts: MoveCounts,
    /// Files that the first of two passes has found or stored in the new place.
    copied: HashSet<DepotName>,
    told: Instant,
    tell: Tell<'a>,
}

impl<'a> State<'a> {
    fn new(tell: Tell<'a>) -> Self {
        let (counts, copied) = (MoveCounts::default(), HashSet::new());
        Self(Mutex::new(Shared { counts, copied, told: Instant::now(), tell }))
    }

    /// A panic can't leave it inconsistent, so a poisoned lock is used.
    fn lock(&self) -> MutexGuard<'_, Shared<'a>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counts(&self) -> MoveCounts {
        self.lock().counts
    }

    fn is_copied(&self, name: &DepotName) -> bool {
        self.lock().copied.contains(name)
    }

    fn moved(&self, step: Step, name: &DepotName, size: u64) {
        let mut shared = self.lock();
        shared.counts.moved += 1;
        shared.counts.bytes += size;
        shared.note(step, name);
    }

    fn there(&self, step: Step, name: &DepotName) {
        let mut shared = self.lock();
        if !shared.copied.contains(name) {
            shared.counts.there += 1;
        }
        shared.note(step, name);
    }

    /// The first of two passes leaves it to the second to tell what stays.
    fn stays(&self, step: Step, name: &dyn fmt::Display, why: &Stay) {
        if step == Step::Copy {
            return;
        }
        let mut shared = self.lock();
        match why {
            Stay::Unnamed => shared.counts.unnamed += 1,
            Stay::Foreign | Stay::Different | Stay::Unreadable(_) => shared.counts.wrong += 1,
        }
        (shared.tell)(MoveNews::Stays { name: name.to_string(), why: why.to_string() });
    }
}

impl Shared<'_> {
    fn note(&mut self, step: Step, name: &DepotName) {
        if step == Step::Copy {
            self.copied.insert(name.clone());
        }
        if self.told.elapsed() >= limits::MOVE_NEWS {
            self.told = Instant::now();
            (self.tell)(MoveNews::SoFar(self.counts));
        }
    }
}

#[cfg(test)]
#[path = "mover_tests.rs"]
mod tests;
