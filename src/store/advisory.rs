//! Advisory locks of PostgreSQL, as its view `pg_locks` shows them.

/// The rows of the sessions that have the lock of this key, to follow `FROM` in a statement. More conditions may follow.
pub(super) fn lock_rows(key: &str) -> String {
    format!(
        "pg_locks AS locks WHERE locktype = 'advisory' AND granted AND objsubid = 1 \
         AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
         AND CAST(classid AS BIGINT) = ({key} >> 32) & 4294967295 AND CAST(objid AS BIGINT) = {key} & 4294967295"
    )
}
