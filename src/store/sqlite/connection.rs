//! Connections to a SQLite file, and the statements on them.

use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use r2d2::ManageConnection;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection, ErrorCode, OpenFlags, ToSql};

use super::super::engine::Session;
use super::super::value::{Row, Value};
use super::fault::fault;
use crate::error::Result;
use crate::limits;
use crate::sys::fs::Dir;

/// Whole statements are cached; this is more than there are.
const STATEMENTS: usize = 80;
/// The pause between two attempts to switch a file to the write-ahead log.
const SWITCH_PAUSE: Duration = Duration::from_millis(5);

/// The access of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Access {
    /// Read and write; `sync`: a commit is on the disk when it returns.
    Write { sync: bool },
    /// Read what is there.
    Read,
}

/// Opens the file, which must be there. Paths that mean something else to SQLite never come here: they are absolute, or
/// begin with a folder.
pub(in crate::store) fn open(path: &Path, access: Access) -> rusqlite::Result<Connection> {
    let mode = match access {
        Access::Write { .. } => OpenFlags::SQLITE_OPEN_READ_WRITE,
        Access::Read => OpenFlags::SQLITE_OPEN_READ_ONLY,
    };
    let connection = Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(limits::DATABASE_LOCK)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.execute_batch("PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF")?;
    if let Access::Write { sync } = access {
        // FULL: in WAL mode, a commit is on the disk when it returns.
        let synchronous = if sync { "FULL" } else { "OFF" };
        connection.execute_batch(&format!("PRAGMA synchronous = {synchronous}"))?;
        use_log(&connection)?;
    }
    Ok(connection)
}

/// Switches the file to the write-ahead log, unless it has one. Of two processes that switch at the same time SQLite refuses
/// one at once and does not wait, so this waits.
fn use_log(connection: &Connection) -> rusqlite::Result<()> {
    let deadline = Instant::now() + limits::DATABASE_LOCK;
    loop {
        match connection.execute_batch("PRAGMA journal_mode = WAL") {
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && Instant::now() < deadline =>
            {
                std::thread::sleep(SWITCH_PAUSE);
            }
            switched => return switched,
        }
    }
}

/// Opens a file for reading that no process changes meanwhile. It creates neither a lock nor a file beside it.
pub(in crate::store) fn open_unchanging(path: &Path) -> rusqlite::Result<Connection> {
    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' => uri.push(char::from(*byte)),
            byte if byte.is_ascii_alphanumeric() => uri.push(char::from(*byte)),
            byte => uri.push_str(&format!("%{byte:02x}")),
        }
    }
    uri.push_str("?immutable=1");
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(uri, flags)
}

/// Makes the file if it is missing; SQLite itself would make it readable for everyone.
pub(in crate::store) fn create(path: &Path) -> std::io::Result<()> {
    let name = path.file_name().and_then(|name| name.to_str()).ok_or(ErrorKind::InvalidFilename)?;
    let dir = Dir::open(folder(path))?;
    match dir.create(name) {
        Ok(_) => dir.sync(),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// The folder of a file.
pub(in crate::store) fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."))
}

/// Opens the pool's connections.
pub(super) struct Manager {
    pub(super) path: PathBuf,
    pub(super) sync: bool,
}

impl ManageConnection for Manager {
    type Connection = Connection;
    type Error = rusqlite::Error;

    fn connect(&self) -> rusqlite::Result<Connection> {
        open(&self.path, Access::Write { sync: self.sync })
    }

    fn is_valid(&self, connection: &mut Connection) -> rusqlite::Result<()> {
        connection.query_row("SELECT 1", [], |_| Ok(()))
    }

    fn has_broken(&self, _: &mut Connection) -> bool {
        false
    }
}

impl Session for &Connection {
    fn each(
        &mut self,
        sql: &str,
        parameters: &[Value],
        visit: &mut dyn FnMut(Row) -> Result<()>,
    ) -> Result<()> {
        let mut statement = prepared(self, sql, parameters).map_err(fault)?;
        let columns = statement.column_count();
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next().map_err(fault)? {
            visit(Row::new((0..columns).map(|at| value(row.get_ref(at))).collect()))?;
        }
        Ok(())
    }

    fn execute(&mut self, sql: &str, parameters: &[Value]) -> Result<u64> {
        let changed = prepared(self, sql, parameters).and_then(|mut statement| statement.raw_execute());
        Ok(changed.map_err(fault)? as u64)
    }

    fn lock(&mut self, sql: &str, parameters: &[Value]) -> Result<Option<Row>> {
        // No other transaction writes beside this one.
        self.row(sql, parameters)
    }

    fn hold(&mut self, _: &str) -> Result<()> {
        // While a transaction writes, no other does.
        Ok(())
    }

    fn byte_order(&self) -> &'static str {
        "BINARY"
    }

    fn has_table(&mut self, name: &str) -> Result<bool> {
        Ok(self.row("SELECT 1 FROM sqlite_schema WHERE name = $1", &[name.into()])?.is_some())
    }
}

/// A statement with its parameters. To SQLite, `$2` is a name and not a number.
fn prepared<'a>(
    connection: &'a Connection,
    sql: &str,
    parameters: &[Value],
) -> rusqlite::Result<CachedStatement<'a>> {
    let mut statement = connection.prepare_cached(sql)?;
    for at in 1..=statement.parameter_count() {
        let number =
            statement.parameter_name(at).and_then(|name| name.strip_prefix('$')?.parse::<usize>().ok());
        let value = number.and_then(|number| parameters.get(number.checked_sub(1)?));
        statement.raw_bind_parameter(at, value.unwrap_or(&Value::Null))?;
    }
    Ok(statement)
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null | Self::Unreadable(_) => ValueRef::Null,
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Int(number) => ValueRef::Integer(*number),
            Self::Time(time) => ValueRef::Integer(time.as_micros()),
        }))
    }
}

fn value(column: rusqlite::Result<ValueRef<'_>>) -> Value {
    match column {
        Ok(ValueRef::Null) => Value::Null,
        Ok(ValueRef::Integer(number)) => Value::Int(number),
        Ok(ValueRef::Text(bytes)) => match std::str::from_utf8(bytes) {
            Ok(text) => Value::Text(text.to_owned()),
            Err(cause) => Value::Unreadable(cause.to_string()),
        },
        Ok(other) => Value::Unreadable(format!("a value of type {}", other.data_type())),
        Err(cause) => Value::Unreadable(cause.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;
    use crate::testing::Scratch;

    /// SQLite refuses at once where two processes switch a new file to the write-ahead log.
    #[test]
    fn a_new_file_may_be_opened_by_many_at_once() {
        let scratch = Scratch::new();
        for round in 0..100 {
            let path = scratch.join(&format!("{round}.sqlite"));
            create(&path).unwrap();
            let barrier = Barrier::new(4);
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        barrier.wait();
                        open(&path, Access::Write { sync: false }).unwrap();
                    });
                }
            });
        }
    }
}
