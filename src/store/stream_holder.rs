//! The table `stream_holder` and the lock beside it, in PostgreSQL: which of several nodes holds the stream of a component.
//! The lock is an advisory lock of the holder's session; the row tells whose session that is, and when it last beat. Called
//! by the thread `cluster`.

use std::time::Duration;

use super::advisory::lock_rows;
use super::engine::Session;
use super::value::{Row, values};
use crate::error::Result;
use crate::limits;

/// The row of a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamHolder {
    /// The node; `None` if it has given the stream up.
    pub node: Option<String>,
    /// Grows by one each time that a node takes the stream.
    pub epoch: i64,
    /// How long ago the holder beat, by the database's clock; nothing for a beat in the future.
    pub age: Duration,
}

/// The key of the lock. $1 component.
const KEY: &str = "hashtextextended('stream ' || $1, 0)";

/// $1 component.
const FIND: &str = "SELECT node, epoch, CAST(EXTRACT(EPOCH FROM clock_timestamp() - beat) * 1000 AS BIGINT) \
     FROM stream_holder WHERE jid = $1";

/// $1 component, $2 milliseconds.
const BEAT_NOW: &str = "UPDATE stream_holder SET beat = clock_timestamp() \
     WHERE jid = $1 AND beat > clock_timestamp() + CAST($2 AS BIGINT) * INTERVAL '1 millisecond'";

/// $1 component, $2 node, $3 the epoch that this process had, $4 milliseconds. The CASE keeps PostgreSQL from taking the lock
/// before it has looked at the row; the condition at the end is for a holder that came between the two.
fn take_statement() -> String {
    const MAY_TAKE: &str = "held.node IS NULL OR held.epoch = $3 \
         OR held.beat < clock_timestamp() - CAST($4 AS BIGINT) * INTERVAL '1 millisecond'";
    format!(
        "INSERT INTO stream_holder AS held (jid, node, pid, epoch, beat) \
         SELECT $1, $2, pg_backend_pid(), 1, clock_timestamp() \
         WHERE CASE WHEN EXISTS (SELECT 1 FROM stream_holder AS held WHERE jid = $1 AND NOT ({MAY_TAKE})) THEN false \
               ELSE pg_try_advisory_lock({KEY}) END \
         ON CONFLICT (jid) DO UPDATE SET node = excluded.node, pid = excluded.pid, beat = excluded.beat, \
             epoch = CASE WHEN held.epoch = $3 THEN held.epoch ELSE held.epoch + 1 END WHERE {MAY_TAKE} \
         RETURNING epoch"
    )
}

/// $1 component, $2 epoch.
const BEAT: &str = "UPDATE stream_holder SET beat = clock_timestamp() \
     WHERE jid = $1 AND epoch = $2 AND pid = pg_backend_pid()";

/// $1 component, $2 epoch.
const GIVE_UP: &str =
    "UPDATE stream_holder SET node = NULL WHERE jid = $1 AND epoch = $2 AND pid = pg_backend_pid()";

/// The row of this component; `None` if no node ever held its stream.
pub fn find_holder(session: &mut dyn Session, component: &str) -> Result<Option<StreamHolder>> {
    let read = |mut row: Row| {
        let (node, epoch, age) = (row.next()?, row.next()?, row.next::<u64>()?);
        Ok(StreamHolder { node, epoch, age: Duration::from_millis(age) })
    };
    session.row(FIND, &values![component])?.map(read).transpose()
}

/// The same for a node that waits for the stream. If the database's clock has gone back, as after a failover, a beat may be in
/// the future and never get old; then its age counts from now. The stream is not free at once: the lease of a holder
/// that has lost the database may last.
pub fn watch_holder(session: &mut dyn Session, component: &str) -> Result<Option<StreamHolder>> {
    let found = find_holder(session, component)?;
    if found.as_ref().is_some_and(|holder| holder.age.is_zero()) {
        session.execute(BEAT_NOW, &values![component, millis(limits::CLUSTER_AHEAD)])?;
    }
    Ok(found)
}

/// Takes the stream, if its holder has given it up, is this process (`own` is the epoch that it had), or has not beaten for
/// this long. Gives the epoch; `None` if another session has the lock.
pub fn take_stream(
    session: &mut dyn Session,
    component: &str,
    node: &str,
    own: Option<i64>,
    stale: Duration,
) -> Result<Option<i64>> {
    let parameters = values![component, node, own.unwrap_or(-1), millis(stale)];
    session.row(&take_statement(), &parameters)?.map(Row::single).transpose()
}

/// Says that the holder is alive; `false` if this session is not the holder with this epoch.
pub fn beat(session: &mut dyn Session, component: &str, epoch: i64) -> Result<bool> {
    Ok(session.execute(BEAT, &values![component, epoch])? > 0)
}

/// Notes that the holder has given the stream up.
pub fn give_up_stream(session: &mut dyn Session, component: &str, epoch: i64) -> Result<()> {
    session.execute(GIVE_UP, &values![component, epoch]).map(drop)
}

/// Releases the lock, however often this session has taken it.
pub fn unlock_stream(session: &mut dyn Session, component: &str) -> Result<()> {
    let sql = format!(
        "SELECT CASE WHEN pg_advisory_unlock({KEY}) THEN 1 END FROM {} AND locks.pid = pg_backend_pid()",
        lock_rows(KEY)
    );
    // A lock has one row, however often the session has it.
    while session.row(&sql, &values![component])?.is_some() {}
    Ok(())
}

/// The process of the session that has the lock.
pub fn lock_owner(session: &mut dyn Session, component: &str) -> Result<Option<i64>> {
    session
        .row(&format!("SELECT pid FROM {}", lock_rows(KEY)), &values![component])?
        .map(Row::single)
        .transpose()
}

/// Ends the session of this process, if it still has the lock and the holder has not beaten for this long; one that is
/// new only if it is the session of the row. Says whether it was told to end.
pub fn end_holder(
    session: &mut dyn Session,
    component: &str,
    pid: i64,
    stale: Duration,
    is_new: bool,
) -> Result<bool> {
    let sql = format!(
        "SELECT CASE WHEN pg_terminate_backend(locks.pid) THEN 1 END FROM {} AND CAST(locks.pid AS BIGINT) = $2 \
         AND locks.pid <> pg_backend_pid() AND NOT EXISTS (SELECT 1 FROM stream_holder WHERE jid = $1 \
             AND (beat >= clock_timestamp() - CAST($3 AS BIGINT) * INTERVAL '1 millisecond' \
                  OR CAST($4 AS BIGINT) = 1 AND stream_holder.pid <> locks.pid))",
        lock_rows(KEY)
    );
    let row = session.row(&sql, &values![component, pid, millis(stale), i64::from(is_new)])?;
    Ok(row.map_or(Ok(None), Row::single::<Option<i64>>)?.is_some())
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "stream_holder_tests.rs"]
mod tests;
