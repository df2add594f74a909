//! Files and metadata belong together: the file `.store` beside the files, in the storage root or the bucket, begins with a
//! random id, and the table `store` of the database holds the same one. A command that would serve, compare or delete one
//! half by the other compares the ids first. The main thread does so at the start; the thread `schema` where the database
//! is reached later.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use super::engine::Session;
use super::lock::RootLock;
use super::metadata::Metadata;
use super::place::{BucketPlace, DirectoryPlace, Place, PlaceState, Words};
use super::upload::unusable;
use super::value::{Row, values};
use super::{operations, statements};
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::model::MediaId;
use crate::s3;

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

fn compare(root: &PlaceState, database: &DatabaseState) -> std::result::Result<Match, Mismatch> {
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

/// Files and a database that have to belong together.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Where the files are.
    place: Arc<dyn Place>,
    root: PathBuf,
    /// Where files are on their way from, if they move.
    old: Option<Arc<dyn Place>>,
    /// How messages name the database.
    database: String,
}

impl Identity {
    /// The identity of the files in this storage root and the database of this name.
    pub fn new(root: &Path, database: String) -> Self {
        Self::of(root, database, |root| Arc::new(DirectoryPlace::new(root)))
    }

    /// The same for files in this bucket; the storage root has the lock and the temporary files.
    pub fn in_bucket(client: &s3::Client, root: &Path, database: String) -> Self {
        Self::of(root, database, |_| Arc::new(BucketPlace::new(client.clone())))
    }

    fn of(root: &Path, database: String, place: impl FnOnce(&Path) -> Arc<dyn Place>) -> Self {
        let root = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
        Self { place: place(&root), root, old: None, database }
    }

    /// The same while files move here from this directory. Then the two together belong to the database.
    #[must_use]
    pub fn moving_from(self, old: &Path) -> Self {
        Self { old: Some(Arc::new(DirectoryPlace::new(old))), ..self }
    }

    /// The same while files move here from this bucket.
    #[must_use]
    pub fn moving_from_bucket(self, client: &s3::Client) -> Self {
        Self { old: Some(Arc::new(BucketPlace::new(client.clone()))), ..self }
    }

    /// The state of the place of the files, together with the place that they move from.
    fn look(&self) -> Result<PlaceState> {
        let new = self.place.look()?;
        let Some(place) = &self.old else { return Ok(new) };
        let old = place.look()?;
        if !old.is_there {
            let text = format!(
                "{}, which media.storage.from names, does not exist: if all files are moved, remove the setting; else check \
                 {}",
                place.words().place,
                place.words().there
            );
            return Err(Error::new(Kind::Config, text));
        }
        match (&new.id, &old.id) {
            (Some(id), Some(other)) if id != other => Err(self.other_place(&**place, id, other)),
            _ => {
                Ok(PlaceState { is_there: true, id: old.id.or(new.id), channel: old.channel.or(new.channel) })
            }
        }
    }

    fn other_place(&self, old: &dyn Place, id: &StoreId, other: &StoreId) -> Error {
        let Words { place, setting, .. } = self.place.words();
        let text = format!(
            "{place} (id {id}) and {} (id {other}), which files move from, belong to different sites: check {setting} and \
             media.storage.from; nothing is changed",
            old.words().place
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
            // Files may move to a place that is new.
            (Match::Same, Some(id)) if self.old.is_some() && self.place.id()?.is_none() => {
                return self.mark(id, lock);
            }
            (Match::Same, _) => return Ok(()),
            (Match::Untied, _) => return Err(self.untied(database)),
        };
        // Another server, with a root of its own, may be as fast.
        let id = metadata.set_store_id(&id)?;
        match self.place.id()? {
            Some(root) if root != id => Err(self.refusal(&Mismatch::Ids(root, id))),
            _ => self.mark(&id, lock),
        }
    }

    /// Marks the files with this id, so that no crash takes the mark away.
    pub(super) fn mark(&self, id: &StoreId, lock: &RootLock) -> Result<()> {
        self.place.mark(id, lock)
    }

    /// Fails if the root belongs to another store than the metadata that an import brings, whose id is this. Changes nothing.
    pub fn may_import(&self, id: Option<&StoreId>) -> Result<()> {
        let root = self.place.look()?;
        match (root.id, id) {
            (Some(root), Some(id)) if root != *id => {
                let Words { place, setting, .. } = self.place.words();
                let text = format!(
                    "{place} (id {root}) and the export (id {id}) belong to different sites: check {setting}"
                );
                Err(Error::new(Kind::Config, text))
            }
            _ => Ok(()),
        }
    }

    /// Makes a missing root for a new site. Fails as [`Identity::compare`] where the site is not new.
    pub fn make_root(&self, database: &DatabaseState) -> Result<()> {
        if self.root.is_dir() {
            return Ok(());
        }
        self.compare(database)?;
        self.make_directory()
    }

    /// Makes the directory of a missing root. Only where that has no files that a missing file system could hide.
    pub fn make_local_root(&self) -> Result<()> {
        if self.place.is_root() || self.root.is_dir() { Ok(()) } else { self.make_directory() }
    }

    fn make_directory(&self) -> Result<()> {
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
                let known = self.place.id()?.or(database.id);
                Ok(Some(known.unwrap_or_else(StoreId::random)))
            }
        }
    }

    /// Fails unless at least 9 of 10 media of a random sample have a file of the right size here.
    fn compare_files(&self, session: &mut dyn Session) -> Result<()> {
        let rows = session.rows(statements::SAMPLE, &values![limits::IDENTITY_SAMPLE])?;
        let (all, mut missing) = (rows.len(), Vec::new());
        for row in rows {
            missing.extend(missing_file(&*self.place, row)?);
        }
        let Some(example) = missing.first().filter(|_| missing.len() * 10 > all) else { return Ok(()) };
        let (database, fit) = (&self.database, all - missing.len());
        let Words { place, setting, there, .. } = self.place.words();
        let text = format!(
            "{place} and {database} don't fit: of {all} media of the database that were looked at, {fit} have \
             their file there ({example} has none of the right size); check {setting} and jdbc.db.url, and \
             {there}; nothing is changed"
        );
        Err(Error::new(Kind::Config, text))
    }

    fn untied(&self, database: &DatabaseState) -> Error {
        let (Words { place, setting, right, .. }, name) = (self.place.words(), &self.database);
        let without = if database.id.is_some() {
            format!("{place} has no file .store with the id of {name}")
        } else {
            format!("{name} has no id that ties it to {place}")
        };
        let text = format!(
            "{without}: check {setting} and jdbc.db.url, and {right}; if \
             they are right, `buddycloud-media-server upgrade-schema` compares files and metadata and gives both the same id"
        );
        Error::new(Kind::Config, text)
    }

    fn refusal(&self, mismatch: &Mismatch) -> Error {
        let (Words { place, setting, right, there }, database) = (self.place.words(), &self.database);
        let found = match mismatch {
            Mismatch::Ids(of_root, of_database) => format!(
                "{place} (id {of_root}) and {database} (id {of_database}) belong to different sites: check \
                 {setting} and jdbc.db.url, and {right}"
            ),
            Mismatch::RootMissing => {
                format!("{database} holds media, but {place} does not exist: check {setting}, and {there}")
            }
            Mismatch::RootEmpty => {
                format!("{database} holds media, but {place} holds none: check {setting}, and {there}")
            }
            Mismatch::DatabaseEmpty(channel) => format!(
                "{place} holds files (of {channel}), but {database} holds no media: check jdbc.db.url and \
                 {setting}; if the database was lost, restore it from a backup"
            ),
        };
        Error::new(Kind::Config, format!("{found}; nothing is changed"))
    }
}

/// The name of the media of this row, unless its file is there and as long as the row says. Names are compared as they are
/// stored.
fn missing_file(place: &dyn Place, mut row: Row) -> Result<Option<String>> {
    let (id, channel, size): (String, String, u64) = (row.next()?, row.next()?, row.next()?);
    let is_name = |name: &str| !name.contains(['/', '\0']) && !matches!(name, "" | "." | "..");
    let found = if is_name(&id) && is_name(&channel) { place.size(&channel, &id)? } else { None };
    Ok(if found == Some(size) { None } else { Some(format!("{channel}/{id}")) })
}

#[cfg(test)]
mod tests;
