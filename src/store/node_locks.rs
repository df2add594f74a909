//! The locks of a node in the session of its thread `cluster`, in PostgreSQL: the lock of its name, which no other node may
//! have, and the lock that all nodes share which are ready for the component's stream. They end with the session.
//!
//! A server that is gone may leave its session behind, as when its machine loses power. The thread `cluster` uses its session
//! each second, so one that has been silent for long belongs to no server that runs.

use std::time::Duration;

use super::advisory::lock_rows;
use super::engine::Session;
use super::value::{Row, values};
use crate::error::Result;

/// The session that has the lock of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameOwner {
    /// Its process of PostgreSQL.
    pub pid: i64,
    /// The address that it is connected from, unless it is a local socket.
    pub address: Option<String>,
    /// How long ago it was last used. `None`: PostgreSQL does not tell.
    pub silent: Option<Duration>,
}

/// The result of an attempt to lock a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameLock {
    /// This session has the lock. Its process of PostgreSQL.
    Ours(i64),
    /// Another session has it; `None` if that one ends just now.
    Other(Option<NameOwner>),
}

/// The key of the lock of a name: among the nodes with these tables, since a database may have several. $1 node.
const NAME: &str = "hashtextextended('node ' || CAST(CAST(CAST('store' AS regclass) AS oid) AS TEXT) || ' ' \
     || CAST($1 AS TEXT), 0)";

/// The key of the lock of the nodes that are ready. $1 component.
const READY: &str = "hashtextextended('ready ' || CAST($1 AS TEXT), 0)";

/// Milliseconds since a session was last used. `activity`: its row of `pg_stat_activity`.
const SILENT: &str = "CAST(EXTRACT(EPOCH FROM clock_timestamp() - activity.state_change) * 1000 AS BIGINT)";

/// The sessions that have the lock of this key, as `holder`, with their rows of `pg_stat_activity`.
fn holders(key: &str) -> String {
    format!(
        "(SELECT pid FROM {}) AS holder LEFT JOIN pg_stat_activity AS activity ON activity.pid = holder.pid",
        lock_rows(key)
    )
}

/// Locks the name of this node, unless another session has it locked. To be called once in a session.
pub fn lock_name(session: &mut dyn Session, node: &str) -> Result<NameLock> {
    let take = format!("SELECT CASE WHEN pg_try_advisory_lock({NAME}) THEN pg_backend_pid() END");
    let taken: Option<i64> = session.row(&take, &values![node])?.map_or(Ok(None), Row::single)?;
    if let Some(pid) = taken {
        return Ok(NameLock::Ours(pid));
    }
    let find = format!("SELECT holder.pid, host(activity.client_addr), {SILENT} FROM {}", holders(NAME));
    let read = |mut row: Row| {
        let (pid, address, silent) = (row.next()?, row.next()?, row.next::<Option<u64>>()?);
        Ok(NameOwner { pid, address, silent: silent.map(Duration::from_millis) })
    };
    session.row(&find, &values![node])?.map(read).transpose().map(NameLock::Other)
}

/// Ends the session of this process, if it still has the name locked and has been silent for this long. Says whether it was
/// told to end.
pub fn end_name_owner(session: &mut dyn Session, node: &str, pid: i64, silent: Duration) -> Result<bool> {
    let sql = format!(
        "SELECT CASE WHEN pg_terminate_backend(holder.pid) THEN 1 END FROM {} \
         WHERE CAST(holder.pid AS BIGINT) = $2 AND {SILENT} >= $3",
        holders(NAME)
    );
    let row = session.row(&sql, &values![node, pid, super::stream_holder::millis(silent)])?;
    Ok(row.map_or(Ok(None), Row::single::<Option<i64>>)?.is_some())
}

/// Says to the other nodes, in this session, that this one is ready for the component's stream, or takes that back. To be
/// called only when it changes.
pub fn say_ready(session: &mut dyn Session, component: &str, is_ready: bool) -> Result<()> {
    let call = if is_ready { "pg_try_advisory_lock_shared" } else { "pg_advisory_unlock_shared" };
    let sql = format!("SELECT 1 FROM (SELECT {call}({READY})) AS done");
    session.rows(&sql, &values![component]).map(drop)
}

/// Whether another node is ready for the component's stream, and has used its session within this time.
pub fn is_other_ready(session: &mut dyn Session, component: &str, within: Duration) -> Result<bool> {
    let sql = format!(
        "SELECT 1 FROM {} WHERE holder.pid <> pg_backend_pid() AND COALESCE({SILENT} < $2, true) LIMIT 1",
        holders(READY)
    );
    Ok(session.row(&sql, &values![component, super::stream_holder::millis(within)])?.is_some())
}

#[cfg(test)]
mod tests;
