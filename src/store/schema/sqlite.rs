//! The schema in SQLite. Only `serve` and `upgrade-schema` upgrade a file, and `setup-schema` makes one.

use std::fs::File;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, TransactionBehavior};

use super::super::identity::{DatabaseState, Identity, Match, StoreId};
use super::super::lock::RootLock;
use super::super::operations;
use super::super::sqlite::{Access, create, fault, folder, open, open_unchanging};
use super::{CURRENT, Upgraded, refuse_newer, too_old, verify};
use crate::error::{Error, Kind, Result};
use crate::sys::fs::Dir;

/// The first version of the embedded database.
const FIRST: i32 = 3;

const BASE: &str = include_str!("../../../sql/sqlite-3.sql");
/// Each leads to the version after the one before it; the first comes after [`FIRST`].
const UPGRADES: [&str; (CURRENT - FIRST) as usize] = [
    include_str!("../../../sql/sqlite-upgrade-4.sql"),
    include_str!("../../../sql/sqlite-upgrade-5.sql"),
    include_str!("../../../sql/sqlite-upgrade-6.sql"),
    include_str!("../../../sql/sqlite-upgrade-7.sql"),
    include_str!("../../../sql/sqlite-upgrade-8.sql"),
    include_str!("../../../sql/sqlite-upgrade-9.sql"),
    include_str!("../../../sql/sqlite-upgrade-10.sql"),
    include_str!("../../../sql/sqlite-upgrade-11.sql"),
];

/// The schema of a SQLite file.
pub struct SqliteSchema<'a> {
    path: &'a Path,
}

impl<'a> SqliteSchema<'a> {
    /// The schema of the file `path`, which may be missing.
    pub fn new(path: &'a Path) -> Self {
        Self { path }
    }

    /// The version: `None` if there is no file, or nothing in it.
    pub fn version(&self) -> Result<Option<i32>> {
        self.look(version)
    }

    /// The store identity of the file: nothing if there is no file.
    pub fn state(&self) -> Result<DatabaseState> {
        self.look(|mut connection| operations::store_state(&mut connection))
    }

    fn look<T: Default>(&self, look: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        if !self.path.try_exists().map_err(|cause| Error::io(self.doing(), cause))? {
            return Ok(T::default());
        }
        let connection = open(self.path, Access::Read).map_err(|cause| self.failed(cause))?;
        look(&connection).map_err(|cause| Error::caused(cause.kind(), self.doing(), cause))
    }

    /// The same as [`SqliteSchema::state`] without making a file beside it, as SQLite does for readers too: while no server
    /// has it open, nobody changes it.
    pub fn peek(&self) -> Result<DatabaseState> {
        let is_open = self.beside_named("-wal").exists();
        if is_open || !self.path.try_exists().map_err(|cause| Error::io(self.doing(), cause))? {
            return self.state();
        }
        let connection = open_unchanging(self.path).map_err(|cause| self.failed(cause))?;
        let state = operations::store_state(&mut &connection);
        state.map_err(|cause| Error::caused(cause.kind(), self.doing(), cause))
    }

    /// Makes the file and its tables if they are missing; says whether they were. Fails if the version is not the one that
    /// this program works with.
    pub fn set_up(&self) -> Result<bool> {
        create(self.path).map_err(|cause| Error::io(self.doing(), cause))?;
        let mut connection = self.open()?;
        let made = set_up(&mut connection).map_err(|cause| self.failed(cause))?;
        verify(version(&connection)?)?;
        Ok(made)
    }

    /// Makes the tables if they are missing, brings older ones up to date, and ties the file to its storage root where that
    /// is not done yet; see [`Identity`]. If the two don't fit, nothing changes. `held` is the root's lock, if the caller
    /// has it. [`Kind::Config`] if there is no room: the operator must make some.
    pub fn upgrade(&self, identity: &Identity, held: Option<&RootLock>) -> Result<Upgraded> {
        self.set_up_or_upgrade(identity, held).map_err(|error| match error.kind() {
            Kind::Full => self.no_room(error),
            _ => error,
        })
    }

    /// Fails if the file can't belong to this storage root. Changes nothing; says whether the two are still to be tied
    /// together.
    pub fn may_belong_to(&self, identity: &Identity) -> Result<bool> {
        match identity.compare(&self.state()?)? {
            Match::Same | Match::New(_) => Ok(false),
            Match::Untied => self.look(|mut connection| identity.adopt(&mut connection).map(|_| true)),
        }
    }

    fn set_up_or_upgrade(&self, identity: &Identity, held: Option<&RootLock>) -> Result<Upgraded> {
        let state = self.state()?;
        refuse_newer(state.version)?;
        if let Some(older) = state.version.filter(|version| *version < FIRST) {
            return Err(too_old_for_sqlite(older));
        }
        let is_untied = self.may_belong_to(identity)?;
        identity.make_root(&state)?;
        match state.version {
            None => {
                let from = if self.set_up()? { None } else { Some(CURRENT) };
                Ok(Upgraded { from, copy: None, tied: None })
            }
            Some(CURRENT) if !is_untied => Ok(Upgraded { from: state.version, copy: None, tied: None }),
            _ => match held {
                Some(lock) => self.upgrade_locked(lock, identity),
                None => self.upgrade_locked(&RootLock::take(identity.root())?, identity),
            },
        }
    }

    /// Writes the copy, then makes all steps. One transaction spans both, so that no other process writes in between. A crash
    /// or a full disk leaves the database as it was.
    fn upgrade_locked(&self, lock: &RootLock, identity: &Identity) -> Result<Upgraded> {
        let mut connection = self.open()?;
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Exclusive)
            .map_err(|cause| self.failed(cause))?;
        let from = match version(&transaction)? {
            Some(from) if (FIRST..=CURRENT).contains(&from) => from,
            Some(older) if older < FIRST => return Err(too_old_for_sqlite(older)),
            version => return verify(version).map(|()| Upgraded { from: version, copy: None, tied: None }),
        };
        let tied = identity.adopt(&mut &*transaction)?;
        let copy = if from < CURRENT { Some(self.take_steps(&transaction, from)?) } else { None };
        if let Some(id) = &tied {
            tie(&transaction, id, lock)?;
        }
        transaction.commit().map_err(|cause| self.failed(cause))?;
        Ok(Upgraded { from: Some(from), copy, tied })
    }

    fn take_steps(&self, transaction: &Connection, from: i32) -> Result<PathBuf> {
        self.check_room()?;
        let copy = self.copy(from)?;
        let steps = UPGRADES.iter().zip(FIRST + 1..).filter(|(_, to)| *to > from);
        for (sql, to) in steps {
            log::info!("upgrading the schema of {} to version {to}", self.path.display());
            transaction.execute_batch(sql).map_err(|cause| self.failed(cause))?;
        }
        Ok(copy)
    }

    /// Fails unless there is room for the upgrade.
    fn check_room(&self) -> Result<()> {
        let free = Dir::open(folder(self.path)).and_then(|dir| dir.free_space());
        let free = free.map_err(|cause| Error::io(self.doing(), cause))?;
        if free < self.needed() {
            return Err(Error::new(Kind::Full, format!("{free} bytes are free")));
        }
        Ok(())
    }

    /// Bytes that an upgrade needs: for the copy, and three times as many for what the steps may write. Where one makes a large
    /// table anew, the log gets up to 1.6 times the size of the file, and then the file grows by 0.6. The log of changes that
    /// are not in the file yet counts, too.
    fn needed(&self) -> u64 {
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        (size(self.path) + size(&self.beside_named("-wal"))).saturating_mul(4)
    }

    /// Copies the database, as it is before the transaction that holds it, to a file for the server's user alone. Until
    /// the copy is complete and on the disk it has another name.
    fn copy(&self, from: i32) -> Result<PathBuf> {
        let copy = self.beside(&format!("before-{from}"));
        let part = self.beside(&format!("before-{from}.part"));
        let written = self.write_copy(&part, &copy);
        if written.is_err() {
            // Where this fails, the next attempt removes it.
            let _ = std::fs::remove_file(&part);
        }
        written.map(|()| copy)
    }

    fn write_copy(&self, part: &Path, copy: &Path) -> Result<()> {
        let failed =
            |cause: std::io::Error| Error::io(format!("can't write the copy {}", copy.display()), cause);
        match std::fs::remove_file(part) {
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => return Err(failed(cause)),
            _ => create(part).map_err(failed)?,
        }
        let reader = open(self.path, Access::Read).map_err(|cause| self.failed(cause))?;
        let target = part.to_str().ok_or_else(|| failed(std::io::ErrorKind::InvalidFilename.into()))?;
        reader.execute("VACUUM INTO ?1", [target]).map_err(|cause| self.failed(cause))?;
        File::open(part).and_then(|file| file.sync_all()).map_err(failed)?;
        std::fs::rename(part, copy).map_err(failed)?;
        Dir::open(folder(self.path)).and_then(|dir| dir.sync()).map_err(failed)
    }

    /// A file beside the database, with its name and more.
    fn beside(&self, more: &str) -> PathBuf {
        self.beside_named(&format!(".{more}"))
    }

    /// The file whose name is the database's with this at the end.
    fn beside_named(&self, end: &str) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    }

    fn open(&self) -> Result<Connection> {
        open(self.path, Access::Write { sync: true }).map_err(|cause| self.failed(cause))
    }

    fn doing(&self) -> String {
        format!("can't use the database {}", self.path.display())
    }

    fn failed(&self, cause: rusqlite::Error) -> Error {
        let error = fault(cause);
        Error::caused(error.kind(), self.doing(), error)
    }

    fn no_room(&self, cause: Error) -> Error {
        let (path, needed) = (self.path.display(), self.needed());
        let text = format!(
            "the upgrade of the database {path} needs {needed} bytes in its directory, for a copy and for the changes; \
             nothing is changed"
        );
        Error::caused(Kind::Config, text, cause)
    }
}

/// The root first: if the commit fails, it has the id that the database gets next time.
fn tie(mut connection: &Connection, id: &StoreId, lock: &RootLock) -> Result<()> {
    operations::set_store_id(&mut connection, id)?;
    lock.mark(id)
}

/// Creates the tables if there are none; returns whether it created them. Another process may do the same.
fn set_up(connection: &mut Connection) -> rusqlite::Result<bool> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let sql = "SELECT COUNT(*) FROM sqlite_schema";
    if transaction.query_row(sql, [], |row| row.get::<_, i64>(0))? > 0 {
        return Ok(false);
    }
    transaction.execute_batch(BASE)?;
    for sql in UPGRADES {
        transaction.execute_batch(sql)?;
    }
    transaction.commit()?;
    Ok(true)
}

fn version(mut connection: &Connection) -> Result<Option<i32>> {
    operations::version(&mut connection)
}

/// The embedded database begins with version 3.
fn too_old_for_sqlite(version: i32) -> Error {
    let text = format!("version {version} of the embedded database is not known, so it can't be upgraded");
    Error::caused(Kind::Corrupt, text, too_old(version))
}

#[cfg(test)]
#[path = "sqlite_tests.rs"]
mod tests;
