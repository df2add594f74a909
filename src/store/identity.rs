//! Files and metadata belong together: the file `.store` in the storage root begins with a random id, and the table `store`
//! of the database holds the same one. A command that would serve, compare or delete one half by the other compares the ids
//! first. The main thread does so at the start; the thread `schema` where the database is reached later.

use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::engine::Session;
use super::lock::{self, RootLock};
use super::metadata::Metadata;
use super::upload::unusable;
use super::{operations, statements};
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::model::MediaId;
use crate::store::value::{Row, values};
use crate::sys::fs::Dir;

/// The id of a store: letters and digits, as many as of a new media's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreId(String);

impl StoreId {
    /// A new one.
    pub(super) fn random() -> Self {
        Self(MediaId::random().as_str().to_owned())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for StoreId {
    type Err = ();

    fn from_str(text: &str) -> std::result::Result<Self, ()> {
        let valid =
            text.len() == limits::MEDIA_ID_NEW && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if valid { Ok(Self(text.to_owned())) } else { Err(()) }
    }
}

/// The store identity of a database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DatabaseState {
    /// The version of its schema; see [`Metadata::store_state`].
    pub version: Option<i32>,
    /// The store's id, once it has one.
    pub id: Option<StoreId>,
    /// Whether it has rows of media.
    pub has_media: bool,
}

/// The store identity of a storage root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct RootState {
    /// Whether the directory is there.
    is_there: bool,
    /// The id that it is marked with.
    id: Option<StoreId>,
    /// A folder of a channel that holds something, if there is one.
    channel: Option<String>,
}

impl RootState {
    /// Looks at a root, and changes nothing. Empty folders of channels don't count: the last media may be deleted.
    fn look(root: &Path) -> Result<Self> {
        let entries = match fs::read_dir(root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(unusable(root, error)),
        };
        let channel = used_channel(entries).map_err(|cause| unusable(root, cause))?;
        Ok(Self { is_there: true, id: lock::mark(root)?, channel })
    }
}

fn used_channel(entries: fs::ReadDir) -> io::Result<Option<String>> {
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // Every channel's name, and no other, holds this; files of ours begin with a dot.
        if !name.starts_with('.') && name.contains('@') && is_used(&entry.path())? {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// Whether this is a directory that holds something.
fn is_used(folder: &Path) -> io::Result<bool> {
    match fs::read_dir(folder) {
        Ok(mut entries) => entries.next().transpose().map(|entry| entry.is_some()),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(false),
        Err(error) => Err(error),
    }
}

/// How a storage root and a database fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// Both have the same id.
    Same,
    /// Neither holds media, and at least one has no id: both get this one.
    New(StoreId),
    /// Both hold media, and at least one has no id: only a comparison of their contents tells whether they fit.
    Untied,
}

/// Why a storage root and a database can't belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Mismatch {
    Ids(StoreId, StoreId),
    RootMissing,
    RootEmpty,
    /// The database has no media, but the root holds files of this channel.
    DatabaseEmpty(String),
}

fn compare(root: &RootState, database: &DatabaseState) -> std::result::Result<Match, Mismatch> {
    match (&root.id, &database.id) {
        (Some(root), Some(database)) if root == database => return Ok(Match::Same),
        (Some(root), Some(database)) => return Err(Mismatch::Ids(root.clone(), database.clone())),
        _ => {}
    }
    match (&root.channel, database.has_media) {
        (None, false) => {
            let known = root.id.clone().or_else(|| database.id.clone());
            Ok(Match::New(known.unwrap_or_else(StoreId::random)))
        }
        (Some(_), true) => Ok(Match::Untied),
        (Some(channel), false) => Err(Mismatch::DatabaseEmpty(channel.clone())),
        (None, true) if root.is_there => Err(Mismatch::RootEmpty),
        (None, true) => Err(Mismatch::RootMissing),
    }
}

/// A storage root and a database that have to belong together.
#[derive(Clone, Debug)]
pub struct Identity {
    root: PathBuf,
    /// Where files are on their way from, if they move to the root.
    old: Option<PathBuf>,
    /// How messages name the database.
    database: String,
}

impl Identity {
    /// The identity of this storage root and the database of this name.
    pub fn new(root: &Path, database: String) -> Self {
        let root = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
        Self { root, old: None, database }
    }

    /// The same while files move to the root from this directory. Then the two together belong to the database.
    #[must_use]
    pub fn moving_from(self, old: &Path) -> Self {
        Self { old: Some(old.to_owned()), ..self }
    }

    /// The identity of the root, together with the directory that files move from.
    fn look(&self) -> Result<RootState> {
        let new = RootState::look(&self.root)?;
        let Some(path) = &self.old else { return Ok(new) };
        let old = RootState::look(path)?;
        if !old.is_there {
            let text = format!(
                "{}, which media.storage.from names, does not exist: if all files are moved, remove the setting; else check \
                 whether its file system is mounted",
                path.display()
            );
            return Err(Error::new(Kind::Config, text));
        }
        match (&new.id, &old.id) {
            (Some(id), Some(other)) if id != other => Err(self.other_place(path, id, other)),
            _ => {
                Ok(RootState { is_there: true, id: old.id.or(new.id), channel: old.channel.or(new.channel) })
            }
        }
    }

    fn other_place(&self, old: &Path, id: &StoreId, other: &StoreId) -> Error {
        let text = format!(
            "the storage {} (id {id}) and {} (id {other}), which files move from, belong to different sites: check \
             media.storage.root and media.storage.from; nothing is changed",
            self.root.display(),
            old.display()
        );
        Error::new(Kind::Config, text)
    }

    /// The storage root, as an absolute path.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// How the two fit. Changes nothing. [`Kind::Config`] if they can't belong together; the text says what to check.
    pub fn compare(&self, database: &DatabaseState) -> Result<Match> {
        let root = self.look()?;
        compare(&root, database).map_err(|mismatch| self.refusal(&mismatch))
    }

    /// Fails unless both have the same id, or belong to a site that holds nothing yet. Changes nothing.
    pub fn verify(&self, database: &DatabaseState) -> Result<()> {
        match self.compare(database)? {
            Match::Same | Match::New(_) => Ok(()),
            Match::Untied => Err(self.untied(database)),
        }
    }

    /// The same for a server that holds the root's lock: it gives both halves of a new site their id.
    pub fn establish(
        &self,
        database: &DatabaseState,
        metadata: &dyn Metadata,
        lock: &RootLock,
    ) -> Result<()> {
        let id = match (self.compare(database)?, &database.id) {
            (Match::New(id), _) => id,
            // Files may move to a root that is new.
            (Match::Same, Some(id)) if self.old.is_some() && lock::mark(&self.root)?.is_none() => {
                return lock.mark(id);
            }
            _ => return self.verify(database),
        };
        // Another server, with a root of its own, may be as fast.
        let id = metadata.set_store_id(&id)?;
        match lock::mark(&self.root)? {
            Some(root) if root != id => Err(self.refusal(&Mismatch::Ids(root, id))),
            _ => lock.mark(&id),
        }
    }

    /// Fails if the root belongs to another store than the metadata that an import brings, whose id is this. Changes nothing.
    pub fn may_import(&self, id: Option<&StoreId>) -> Result<()> {
        let root = RootState::look(&self.root)?;
        match (root.id, id) {
            (Some(root), Some(id)) if root != *id => {
                let text = format!(
                    "the storage {} (id {root}) and the export (id {id}) belong to different sites: check media.storage.root",
                    self.root.display()
                );
                Err(Error::new(Kind::Config, text))
            }
            _ => Ok(()),
        }
    }

    /// Makes a missing root for a new site. Fails as [`Identity::compare`] where the site is not new.
    pub fn make_root(&self, database: &DatabaseState) -> Result<()> {
        if RootState::look(&self.root)?.is_there {
            return Ok(());
        }
        self.compare(database)?;
        fs::create_dir_all(&self.root).map_err(|cause| unusable(&self.root, cause))
    }

    /// The id that both get which hold media and are not tied together yet, if the files are those of the database; `None`
    /// where nothing is to be done. Changes nothing. Else [`Kind::Config`].
    pub(super) fn adopt(&self, session: &mut dyn Session) -> Result<Option<StoreId>> {
        let database = operations::store_state(session)?;
        match self.compare(&database)? {
            Match::Same | Match::New(_) => Ok(None),
            Match::Untied => {
                self.compare_files(session)?;
                let known = lock::mark(&self.root)?.or(database.id);
                Ok(Some(known.unwrap_or_else(StoreId::random)))
            }
        }
    }

    /// Fails unless at least 9 of 10 media of a random sample have a file of the right size here.
    fn compare_files(&self, session: &mut dyn Session) -> Result<()> {
        let rows = session.rows(statements::SAMPLE, &values![limits::IDENTITY_SAMPLE])?;
        let root = Dir::open(&self.root).map_err(|cause| unusable(&self.root, cause))?;
        let (all, mut missing) = (rows.len(), Vec::new());
        for row in rows {
            missing.extend(missing_file(&root, row)?);
        }
        let Some(example) = missing.first().filter(|_| missing.len() * 10 > all) else { return Ok(()) };
        let (root, database, fit) = (self.root.display(), &self.database, all - missing.len());
        let text = format!(
            "the storage {root} and {database} don't fit: of {all} media of the database that were looked at, {fit} have \
             their file there ({example} has none of the right size); check media.storage.root and jdbc.db.url, and \
             whether the file system of the storage is mounted; nothing is changed"
        );
        Err(Error::new(Kind::Config, text))
    }

    fn untied(&self, database: &DatabaseState) -> Error {
        let (root, name) = (self.root.display(), &self.database);
        let without = if database.id.is_some() {
            format!("the storage {root} has no file .store with the id of {name}")
        } else {
            format!("{name} has no id that ties it to the storage {root}")
        };
        let text = format!(
            "{without}: check media.storage.root and jdbc.db.url, and whether the right file system is mounted there; if \
             they are right, `buddycloud-media-server upgrade-schema` compares files and metadata and gives both the same id"
        );
        Error::new(Kind::Config, text)
    }

    fn refusal(&self, mismatch: &Mismatch) -> Error {
        let (root, database) = (self.root.display(), &self.database);
        let found = match mismatch {
            Mismatch::Ids(of_root, of_database) => format!(
                "the storage {root} (id {of_root}) and {database} (id {of_database}) belong to different sites: check \
                 media.storage.root and jdbc.db.url, and whether the right file system is mounted there"
            ),
            Mismatch::RootMissing => format!(
                "{database} holds media, but the storage {root} does not exist: check media.storage.root, and whether \
                 its file system is mounted"
            ),
            Mismatch::RootEmpty => format!(
                "{database} holds media, but the storage {root} holds none: check media.storage.root, and whether its \
                 file system is mounted"
            ),
            Mismatch::DatabaseEmpty(channel) => format!(
                "the storage {root} holds files (of {channel}), but {database} holds no media: check jdbc.db.url and \
                 media.storage.root; if the database was lost, restore it from a backup"
            ),
        };
        Error::new(Kind::Config, format!("{found}; nothing is changed"))
    }
}

/// The name of the media of this row, unless its file is there and as long as the row says. Names are compared as they are
/// stored.
fn missing_file(root: &Dir, mut row: Row) -> Result<Option<String>> {
    let (id, channel, size): (String, String, u64) = (row.next()?, row.next()?, row.next()?);
    let is_name = |name: &str| !name.contains(['/', '\0']) && !matches!(name, "" | "." | "..");
    let found = if is_name(&id) && is_name(&channel) {
        root.open_regular_in(&channel, &id).map_err(|cause| unusable(root.path(), cause))?
    } else {
        None
    };
    Ok(if found.is_some_and(|(_, found)| found == size) { None } else { Some(format!("{channel}/{id}")) })
}

#[cfg(test)]
mod tests;
