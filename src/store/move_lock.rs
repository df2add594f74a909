//! The lock of the command `move-storage`: two at a time would take each other's copies of a file for their own. The main
//! thread takes it. It ends with its process, even after a crash.

use std::fs::File;
use std::path::Path;

use rustix::fs::FlockOperation;

use super::lock::{Locked, try_lock};
use super::postgres::{self, Connection, PostgresSettings};
use super::schema::Schema;
use super::upload::unusable;
use crate::error::{Error, Kind, Result};
use crate::sys::fs::Dir;

/// The file whose lock it is where the database can't have one. It is never removed: another process may be about to lock it.
const MOVE: &str = ".move";
/// The key of the lock in PostgreSQL: of the tables of one site, since a database may have several.
const KEY: &str = "hashtextextended('moving ' || CAST(to_regclass('store') AS oid)::text, 0)";

/// The lock. Dropped, it is released.
pub struct MoveLock(#[expect(dead_code, reason = "it is only held")] Held);

/// The owner of the lock.
enum Held {
    Session { _session: Box<Connection> },
    Root { _file: File },
}

impl MoveLock {
    /// Takes the lock of the site with these tables, on a connection of its own, against commands on all machines.
    ///
    /// # Errors
    /// [`Kind::Failure`] if another command has it.
    pub fn in_database(settings: &PostgresSettings) -> Result<Self> {
        let mut session = Schema::connect(settings)?.into_connection();
        let sql = format!("SELECT COALESCE(pg_try_advisory_lock({KEY}), false)");
        let taken = session.client.query_one(&sql, &[]).map_err(postgres::fault)?.get(0);
        if taken { Ok(Self(Held::Session { _session: Box::new(session) })) } else { Err(taken_by_other()) }
    }

    /// Takes the lock of the site with this storage root, which must be there.
    ///
    /// # Errors
    /// [`Kind::Failure`] if another command has it.
    pub fn in_root(root: &Path) -> Result<Self> {
        let opened = Dir::open(root).and_then(|dir| dir.open_or_create(MOVE));
        let file = opened.map_err(|cause| unusable(root, cause))?;
        match try_lock(&file, FlockOperation::NonBlockingLockExclusive, root)? {
            Locked::Yes => Ok(Self(Held::Root { _file: file })),
            Locked::ByOther => Err(taken_by_other()),
        }
    }
}

fn taken_by_other() -> Error {
    let text = "another move-storage runs for this site: wait until it has ended; then run the command again if files stay";
    Error::new(Kind::Failure, text)
}

#[cfg(test)]
mod tests {
    use super::super::postgres_server;
    use super::*;
    use crate::testing::Scratch;

    /// One holder at a time, of the lock that `take` takes.
    fn holds_one(take: impl Fn() -> Result<MoveLock>) {
        let first = take().unwrap();
        let error = take().err().unwrap();
        assert_eq!(error.kind(), Kind::Failure);
        assert!(error.to_string().contains("another move-storage runs"), "{error}");
        drop(first);
        // PostgreSQL releases the lock when it sees the end of the session.
        while take().is_err() {}
    }

    #[test]
    fn one_command_at_a_time_has_the_lock_in_the_root() {
        let scratch = Scratch::new();
        holds_one(|| MoveLock::in_root(scratch.path()));
        assert!(MoveLock::in_root(&scratch.join("missing")).is_err());
    }

    #[test]
    fn one_command_at_a_time_has_the_lock_in_the_database() {
        let server = postgres_server::shared();
        let settings = PostgresSettings::for_test(server.port(), &server.new_database());
        assert!(MoveLock::in_database(&settings).is_err(), "there are no tables");
        Schema::connect(&settings).unwrap().setup().unwrap();
        holds_one(|| MoveLock::in_database(&settings));
    }
}
