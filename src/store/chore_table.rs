//! Chores that one of several nodes does for all. Only PostgreSQL has such nodes. The housekeeper's thread asks.

use std::time::Duration;

use super::engine::{Change, Engine, Session};
use super::operations::Store;
use super::value::values;
use crate::error::Result;

/// The node that did each chore last, and the time.
pub trait ChoreTable: Send + Sync {
    /// Whether this node is to do the chore now: no other node has begun it within this time, in seconds. Then it counts as
    /// begun.
    fn claim(&self, chore: &'static str, node: &str, within: Duration) -> Result<bool>;
}

/// $1 chore, $2 node, $3 seconds. A claim that is repeated, as its end was unknown, holds.
const CLAIM: &str = "INSERT INTO chores (name, node, begun) VALUES ($1, $2, now()) \
     ON CONFLICT (name) DO UPDATE SET node = EXCLUDED.node, begun = EXCLUDED.begun \
     WHERE chores.begun <= now() - CAST($3 AS BIGINT) * INTERVAL '1 second' \
     OR chores.node = EXCLUDED.node AND chores.begun > now() - INTERVAL '1 minute' RETURNING 1";

impl<E: Engine> ChoreTable for Store<E> {
    fn claim(&self, chore: &'static str, node: &str, within: Duration) -> Result<bool> {
        let parameters = values![chore, node, within.as_secs()];
        let write = move |session: &mut dyn Session| session.row(CLAIM, &parameters);
        Ok(self.0.write(move |session| write(session).map(|row| Change::Commit(row.is_some())))?)
    }
}
