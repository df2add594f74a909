//! The schema in SQLite. Only `serve` and `upgrade-schema` upgrade a file, and `setup-schema` makes one.

use std::fs::File;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, TransactionBehavior};

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
const UPGRADES: [&str; (CURRENT - FIRST) as usize] = [include_str!("../../../sql/sqlite-upgrade-4.sql")];

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

    /// Makes the tables if they are missing, and brings older ones up to date.
    pub fn upgrade(&self) -> Result<Upgraded> {
        match self.version()? {
            None => Ok(if self.set_up()? { Upgraded::Made } else { Upgraded::UpToDate }),
            Some(older) if older < CURRENT => self.upgrade_locked(),
            version => verify(version).map(|()| Upgraded::UpToDate),
        }
    }

    /// Writes the copy, then makes all steps in one transaction, and lets nobody write in between. A crash or a full disk
    /// leaves the database as it was.
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
        let needed = self.check_room(&transaction)?;
        let copy = self.copy(from, needed)?;
        let steps = UPGRADES.iter().zip(FIRST + 1..).filter(|(_, to)| *to > from);
        for (sql, to) in steps {
            log::info!("upgrading the schema of {} to version {to}", self.path.display());
            transaction.execute_batch(sql).map_err(|cause| self.failed_step(cause, needed))?;
        }
        transaction.commit().map_err(|cause| self.failed_step(cause, needed))?;
        Ok(Upgraded::From(from, copy))
    }

    /// Fails unless there is room for the copy, and for as much again that the steps may write. The bytes needed.
    fn check_room(&self, connection: &Connection) -> Result<u64> {
        let pragma = |name| connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0));
        let pages = pragma("page_count").and_then(|pages| Ok(pages.saturating_mul(pragma("page_size")?)));
        let size = u64::try_from(pages.map_err(|cause| self.failed(cause))?).unwrap_or(0);
        let needed = size.saturating_mul(2);
        let free = Dir::open(folder(self.path)).and_then(|dir| dir.free_space());
        let free = free.map_err(|cause| Error::io(self.doing(), cause))?;
        if free < needed { Err(self.no_room(needed, Some(free))) } else { Ok(needed) }
    }

    /// Copies the database, as it is before the transaction that holds it, to a file for the server's user alone. Until
    /// the copy is complete and on the disk it has another name.
    fn copy(&self, from: i32, needed: u64) -> Result<PathBuf> {
        let copy = self.beside(&format!("before-{from}"));
        let part = self.beside(&format!("before-{from}.part"));
        let written = self.write_copy(&part, &copy, needed);
        if written.is_err() {
            // What is left of it is in the way of nothing but the next attempt, which removes it, too.
            let _ = std::fs::remove_file(&part);
        }
        written.map(|()| copy)
    }

    fn write_copy(&self, part: &Path, copy: &Path, needed: u64) -> Result<()> {
        let failed = |cause: std::io::Error| {
            let error = Error::io(format!("can't write the copy {}", copy.display()), cause);
            if error.kind() == Kind::Full { self.no_room(needed, None) } else { error }
        };
        match std::fs::remove_file(part) {
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => return Err(failed(cause)),
            _ => create(part).map_err(failed)?,
        }
        let reader = open(self.path, Access::Read).map_err(|cause| self.failed(cause))?;
        let target = part.to_str().ok_or_else(|| failed(std::io::ErrorKind::InvalidFilename.into()))?;
        reader.execute("VACUUM INTO ?1", [target]).map_err(|cause| self.failed_step(cause, needed))?;
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

    fn failed_step(&self, cause: rusqlite::Error, needed: u64) -> Error {
        match cause.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => self.no_room(needed, None),
            _ => self.failed(cause),
        }
    }

    /// The operator must make room: exit status 78.
    fn no_room(&self, needed: u64, free: Option<u64>) -> Error {
        let free = free.map_or(String::new(), |free| format!(", and {free} bytes are free"));
        let text = format!(
            "the upgrade of the database {} needs {needed} bytes in its directory, for a copy and for the changes{free}; \
             nothing is changed",
            self.path.display()
        );
        Error::new(Kind::Config, text)
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
