//! The lock that tells a command which must be alone whether nodes serve, wherever their storage roots are: each node holds it
//! shared, on the connection that listens.

use postgres::Client;

use super::super::advisory::lock_rows;
use super::fault::fault;
use crate::error::{Error, Kind, Result};

/// The key of the lock: of the tables of one site, since a database may have several.
const KEY: &str = "hashtextextended('serving ' || CAST(to_regclass('store') AS oid)::text, 0)";

/// Takes the lock together with other nodes, until the connection ends. A command that has it for itself is not waited for.
pub(super) fn serve(client: &mut Client) -> Result<()> {
    client.batch_execute(&format!("SELECT pg_try_advisory_lock_shared({KEY})")).map_err(fault)
}

/// Fails while nodes serve.
pub(in crate::store) fn refuse_serving_nodes(client: &mut Client) -> Result<()> {
    let taken = client.query_one(&format!("SELECT COALESCE(pg_try_advisory_lock({KEY}), true)"), &[]);
    if taken.map_err(fault)?.get(0) {
        return Ok(());
    }
    let holders = format!("SELECT count(*) FROM {}", lock_rows(KEY));
    let nodes: i64 = client.query_one(&holders, &[]).map_err(fault)?.get(0);
    let text = format!("{nodes} running servers with a node.name use the database: stop all of them first");
    Err(Error::new(Kind::Failure, text))
}
