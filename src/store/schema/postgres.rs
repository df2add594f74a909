//! The schema in PostgreSQL.

use super::super::identity::Identity;
use super::super::lock::RootLock;
use super::super::operations;
use super::super::postgres::{
    Connection, PostgresSettings, encoding_advice, fault, prepare, refuse_serving_nodes,
    refuse_shared_sessions,
};
use super::super::stream_holder::{StreamHolder, find_holder};
use super::{CURRENT, Upgraded, verify};
use crate::error::{Error, Kind, Result};

const BASE: &str = include_str!("../../../sql/base.sql");
/// Each leads to the version that is its place here, counted from 1.
const UPGRADES: [&str; CURRENT as usize] = [
    include_str!("../../../sql/upgrade-1.sql"),
    include_str!("../../../sql/upgrade-2.sql"),
    include_str!("../../../sql/upgrade-3.sql"),
    include_str!("../../../sql/upgrade-4.sql"),
    include_str!("../../../sql/upgrade-5.sql"),
    include_str!("../../../sql/upgrade-6.sql"),
    include_str!("../../../sql/upgrade-7.sql"),
    include_str!("../../../sql/upgrade-8.sql"),
    include_str!("../../../sql/upgrade-9.sql"),
    include_str!("../../../sql/upgrade-10.sql"),
    include_str!("../../../sql/upgrade-11.sql"),
];
const DROP: &str = include_str!("../../../sql/drop-schema.sql");

/// A connection for looking after the schema. Nothing but the connecting has a time limit here: an index over
/// millions of rows takes as long as it takes.
pub struct Schema {
    connection: Connection,
}

impl Schema {
    /// Connects to the database. [`Kind::Unavailable`] if it can't be reached now, [`Kind::Failure`] if it
    /// refuses the log-in or does not exist, [`Kind::Config`] if a pooler keeps us from a session of our own.
    pub fn connect(settings: &PostgresSettings) -> Result<Self> {
        let connect = || settings.config().connect(settings.tls()?).map_err(|cause| settings.refused(cause));
        let mut client = connect()?;
        prepare(&mut client, settings.schema.as_deref(), "")?;
        // Where a second connection is one too many, there is no pooler.
        if let Ok(mut other) = connect() {
            refuse_shared_sessions(&mut client, &mut other)?;
        }
        Ok(Self { connection: Connection::new(client) })
    }

    /// The connection, for work that knows no time limit either.
    pub(in crate::store) fn into_connection(self) -> Connection {
        self.connection
    }

    /// A warning about the encoding of the database; `None` if it is UTF-8.
    pub fn encoding_advice(&mut self) -> Result<Option<String>> {
        encoding_advice(&mut self.connection.client)
    }

    /// The version of the schema: `None` if there is none, 0 for the original's without a table of versions.
    pub fn version(&mut self) -> Result<Option<i32>> {
        if !self.has("medias")? {
            return Ok(None);
        }
        if !self.has("schema_version")? {
            return Ok(Some(0));
        }
        let row =
            self.connection.client.query_one("SELECT COALESCE(MAX(version), 0) FROM schema_version", &[]);
        Ok(Some(row.map_err(fault)?.get(0)))
    }

    /// Sets up the schema in a database that has none of its tables; says whether it had none. After a failure in the
    /// middle, [`Schema::upgrade`] goes on.
    pub fn setup(&mut self) -> Result<bool> {
        if let Some(version) = self.version()? {
            return verify(Some(version)).map(|()| false);
        }
        for table in [
            "previews",
            "avatars",
            "schema_version",
            "usage",
            "store",
            "removals",
            "uploads",
            "secrets",
            "blocks",
            "epochs",
            "stream_holder",
            "prompts",
            "chores",
        ] {
            if self.has(table)? {
                let text = format!(
                    "the database has a table {table} that is not ours: name an empty database in jdbc.db.url, or a \
                     schema of it that has no such table (currentSchema)"
                );
                return Err(Error::new(Kind::Failure, text));
            }
        }
        self.run(BASE)?;
        self.run_upgrades(0).map(|()| true)
    }

    /// Brings an older schema up to date, one transaction for each version, and ties the database to its storage root where
    /// that is not done yet; see [`Identity`]. If the two don't fit, nothing changes.
    pub fn upgrade(&mut self, identity: &Identity) -> Result<Upgraded> {
        let version = self.version()?;
        let Some(from) = version.filter(|version| (0..=CURRENT).contains(version)) else {
            verify(version)?;
            return Ok(Upgraded { from: version, copy: None, tied: None });
        };
        let tied = identity.adopt(&mut self.connection)?;
        let take = || identity.make_local_root().and_then(|()| RootLock::take(identity.root()));
        let lock = tied.as_ref().map(|_| take()).transpose()?;
        // The files first: where the rest fails, it has the id that the database gets next time.
        if let (Some(id), Some(lock)) = (&tied, &lock) {
            identity.mark(id, lock)?;
        }
        self.run_upgrades(from)?;
        if let Some(id) = &tied {
            operations::set_store_id(&mut self.connection, id)?;
        }
        Ok(Upgraded { from: Some(from), copy: None, tied })
    }

    fn run_upgrades(&mut self, from: i32) -> Result<()> {
        for (sql, to) in UPGRADES.iter().zip(1..).filter(|(_, to)| *to > from) {
            log::info!("upgrading the schema to version {to}");
            self.run(sql)?;
        }
        Ok(())
    }

    /// Removes the schema with all metadata; the table `configuration` stays. Fails while several nodes serve.
    pub fn drop(&mut self) -> Result<()> {
        refuse_serving_nodes(&mut self.connection.client)?;
        self.run(DROP)
    }

    /// The rows of the table `configuration`: keys and values, of a repeated key the newest last.
    pub fn configuration(&mut self) -> Result<Vec<(String, String)>> {
        let sql = r#"SELECT "key", "value" FROM "configuration" ORDER BY "updated" NULLS FIRST, "key""#;
        let rows = self.connection.client.query(sql, &[]).map_err(fault)?;
        rows.iter()
            .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
            .collect::<std::result::Result<_, _>>()
            .map_err(fault)
    }

    /// The holder of this component's stream, if the schema is the one needed.
    pub fn stream_holder(&mut self, component: &str) -> Result<Option<StreamHolder>> {
        if self.version()? != Some(CURRENT) {
            return Ok(None);
        }
        find_holder(&mut self.connection, component)
    }

    /// The name of the database, as SQL has it, if every role may connect to it.
    pub fn open_to_public(&mut self) -> Result<Option<String>> {
        let sql = "SELECT quote_ident(current_database()) \
                   WHERE has_database_privilege('public', current_database(), 'CONNECT')";
        Ok(self.connection.client.query_opt(sql, &[]).map_err(fault)?.map(|row| row.get(0)))
    }

    fn has(&mut self, table: &str) -> Result<bool> {
        let row = self
            .connection
            .client
            .query_one("SELECT to_regclass($1) IS NOT NULL", &[&table])
            .map_err(fault)?;
        Ok(row.get(0))
    }

    /// Runs a file, which is one transaction.
    fn run(&mut self, sql: &str) -> Result<()> {
        self.connection.client.batch_execute(sql).map_err(|error| {
            // So that the connection can be used on; if that fails it can't, and the next call says so.
            let _ = self.connection.client.batch_execute("ROLLBACK");
            fault(error)
        })
    }
}

#[cfg(test)]
#[path = "postgres_tests.rs"]
mod tests;
