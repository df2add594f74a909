//! The schema in SQLite. Only `serve` and `upgrade-schema` upgrade a file, and `setup-schema` makes one.

use std::fs::File;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, TransactionBehavior};

use super::super::lock::RootLock;
use super::super::operations;
use super::super::sqlite::{Access, create, fault, folder, open};
use super::{CURRENT, too_old, verify};
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
];

/// The schema of a SQLite file.
pub struct SqliteSchema<'a> {
    path: &'a Path,
    /// The storage root, whose lock an upgrade takes.
    root: &'a Path,
}

/// The result of [`SqliteSchema::upgrade`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upgraded {
    /// The schema is up to date already.
    UpToDate,
    /// The tables are made.
    Made,
    /// The schema had this version, and a copy of the database as it was is in this file.
    From(i32, PathBuf),
}

impl<'a> SqliteSchema<'a> {
    /// The schema of the file `path`, which may be missing. `root` is the storage root.
    pub fn new(path: &'a Path, root: &'a Path) -> Self {
        Self { path, root }
    }

    /// The version: `None` if there is no file, or nothing in it.
    pub fn version(&self) -> Result<Option<i32>> {
        if !self.path.try_exists().map_err(|cause| Error::io(self.doing(), cause))? {
            return Ok(None);
        }
        let connection = open(self.path, Access::Read).map_err(|cause| self.failed(cause))?;
        version(&connection).map_err(|cause| Error::caused(cause.kind(), self.doing(), cause))
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

    /// Makes the tables if they are missing, and brings older ones up to date. [`Kind::Config`] if there is no room for
    /// that: the operator must make some.
    pub fn upgrade(&self) -> Result<Upgraded> {
        self.set_up_or_upgrade().map_err(|error| match error.kind() {
            Kind::Full => self.no_room(error),
            _ => error,
        })
    }

    fn set_up_or_upgrade(&self) -> Result<Upgraded> {
        match self.version()? {
            None => Ok(if self.set_up()? { Upgraded::Made } else { Upgraded::UpToDate }),
            Some(older) if older < CURRENT => self.upgrade_locked(),
            version => verify(version).map(|()| Upgraded::UpToDate),
        }
    }

    /// Writes the copy, then makes all steps. One transaction spans both, so that no other process writes in between. A crash
    /// or a full disk leaves the database as it was.
    fn upgrade_locked(&self) -> Result<Upgraded> {
        let _lock = RootLock::take(self.root)?;
        let mut connection = self.open()?;
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Exclusive)
            .map_err(|cause| self.failed(cause))?;
        let from = match version(&transaction)? {
            Some(from) if (FIRST..CURRENT).contains(&from) => from,
            Some(older) if older < FIRST => return Err(too_old_for_sqlite(older)),
            version => return verify(version).map(|()| Upgraded::UpToDate),
        };
        self.check_room()?;
        let copy = self.copy(from)?;
        let steps = UPGRADES.iter().zip(FIRST + 1..).filter(|(_, to)| *to > from);
        for (sql, to) in steps {
            log::info!("upgrading the schema of {} to version {to}", self.path.display());
            transaction.execute_batch(sql).map_err(|cause| self.failed(cause))?;
        }
        transaction.commit().map_err(|cause| self.failed(cause))?;
        Ok(Upgraded::From(from, copy))
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

    /// Bytes that an upgrade needs: for the copy, and as many again for what the steps may write. The log of changes that are
    /// not in the file yet counts, too.
    fn needed(&self) -> u64 {
        let mut log = self.path.as_os_str().to_owned();
        log.push("-wal");
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        (size(self.path) + size(Path::new(&log))).saturating_mul(2)
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
        let mut name = self.path.as_os_str().to_owned();
        name.push(".");
        name.push(more);
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

/// Makes the tables if there are none; says whether there were none. Another process may do the same.
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
    let text =
        format!("no program has made version {version} of the embedded database, so it can't be upgraded");
    Error::caused(Kind::Corrupt, text, too_old(version))
}

#[cfg(test)]
#[path = "sqlite_tests.rs"]
mod tests;
