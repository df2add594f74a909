//! Poolers between us and PostgreSQL that hand each transaction to any of their sessions (PgBouncer: `pool_mode=transaction`).
//! The time limits, the search path and the prepared statements of a connection belong to its session, so behind such a
//! pooler they are lost or those of others.

use postgres::Client;

use super::fault::fault;
use crate::error::{Error, Kind, Result};

/// How often two connections are compared: other clients of the pooler may take the session that one of them just had.
const ROUNDS: usize = 5;

/// Fails with [`Kind::Config`] if these two connections have no sessions of their own.
pub(in crate::store) fn refuse_shared_sessions(one: &mut Client, other: &mut Client) -> Result<()> {
    let first = session(one)?;
    for _ in 0..ROUNDS {
        if is_shared(first, one, other)? {
            let text = "the database in jdbc.db.url is behind a connection pooler in transaction mode, where no session of \
                        PostgreSQL is ours: name PostgreSQL itself in jdbc.db.url, or set pool_mode=session for this \
                        database in PgBouncer";
            return Err(Error::new(Kind::Config, text));
        }
    }
    Ok(())
}

/// Whether the connections have had the same session, or `one` another one than at `first`. While `other` has a
/// transaction, the pooler can't give its session to `one`.
fn is_shared(first: i32, one: &mut Client, other: &mut Client) -> Result<bool> {
    other.batch_execute("BEGIN").map_err(fault)?;
    let held = session(other)?;
    // If it is the pooler's only session, `one` would wait for the end of the transaction.
    let shared = held == first || session(one)? != first;
    other.batch_execute("COMMIT").map_err(fault)?;
    Ok(shared)
}

/// The process of PostgreSQL that serves this connection now. Without a prepared statement, which a pooler may lose.
fn session(client: &mut Client) -> Result<i32> {
    let wrong = || Error::new(Kind::Corrupt, "PostgreSQL does not report the process of a session");
    let messages = client.simple_query("SELECT pg_backend_pid()").map_err(fault)?;
    let pid = messages.iter().find_map(|message| match message {
        postgres::SimpleQueryMessage::Row(row) => row.get(0)?.parse().ok(),
        _ => None,
    });
    pid.ok_or_else(wrong)
}
