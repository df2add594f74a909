//! Users who may send no files, on either database. Any thread may ask.

use super::engine::{Change, Engine, Session};
use super::notice::Notice;
use super::operations::Store;
use super::value::{Row, values};
use crate::clock::Timestamp;
use crate::error::{Error, Kind, Result};
use crate::model::BareJid;

/// The rows of table `blocks`.
///
/// Every call ends within a bounded time, as those of [`Metadata`](super::Metadata).
pub trait BlockTable: Send + Sync {
    /// Stores the block of a user. `false` if the user is blocked already; then the earlier row stays.
    fn block(&self, block: &Block) -> Result<bool>;

    /// Ends the block of a user; `false` if there was none.
    fn unblock(&self, jid: &BareJid) -> Result<bool>;

    /// The block of this user.
    fn find_block(&self, jid: &BareJid) -> Result<Option<Block>>;

    /// At most `max` blocks of users after this one, in the order of the bytes of their JIDs.
    fn blocks(&self, after: Option<&BareJid>, max: usize) -> Result<Vec<Block>>;
}

/// A user who may send no files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The user.
    pub jid: BareJid,
    /// When the user was blocked.
    pub since: Timestamp,
    /// The administrator who did it.
    pub by: BareJid,
}

/// $1 user, $2 date, $3 administrator.
const BLOCK: &str =
    "INSERT INTO blocks (jid, since, \"by\") VALUES ($1, $2, $3) ON CONFLICT (jid) DO NOTHING";

/// $1 user.
const UNBLOCK: &str = "DELETE FROM blocks WHERE jid = $1";

/// $1 user.
const FIND: &str = "SELECT jid, since, \"by\" FROM blocks WHERE jid = $1";

/// $1 last user, $2 number.
fn listed(byte_order: &str) -> String {
    let jid = format!("jid COLLATE {byte_order}");
    format!("SELECT jid, since, \"by\" FROM blocks WHERE {jid} > $1 ORDER BY {jid} LIMIT $2")
}

impl<E: Engine> BlockTable for Store<E> {
    fn block(&self, block: &Block) -> Result<bool> {
        let parameters = values![block.jid.as_str(), block.since, block.by.as_str()];
        let write = move |session: &mut dyn Session| session.execute(BLOCK, &parameters);
        let is_new = self.0.write(move |session| write(session).map(|rows| Change::Commit(rows > 0)))?;
        self.0.notify(Notice::Blocks);
        Ok(is_new)
    }

    fn unblock(&self, jid: &BareJid) -> Result<bool> {
        let parameters = values![jid.as_str()];
        let write = move |session: &mut dyn Session| session.execute(UNBLOCK, &parameters);
        let was_blocked = self.0.write(move |session| write(session).map(|rows| Change::Commit(rows > 0)))?;
        self.0.notify(Notice::Blocks);
        Ok(was_blocked)
    }

    fn find_block(&self, jid: &BareJid) -> Result<Option<Block>> {
        let parameters = values![jid.as_str()];
        self.0.read(move |session| session.row(FIND, &parameters)?.map(block).transpose())
    }

    fn blocks(&self, after: Option<&BareJid>, max: usize) -> Result<Vec<Block>> {
        let parameters = values![after.map(BareJid::as_str).unwrap_or_default(), max];
        self.0.read(move |session| {
            let sql = listed(session.byte_order());
            session.rows(&sql, &parameters)?.into_iter().map(block).collect()
        })
    }
}

pub(super) fn block(mut row: Row) -> Result<Block> {
    let (jid, since, by): (String, _, String) = (row.next()?, row.next()?, row.next()?);
    let parsed = |text: &str| {
        let corrupt =
            |_| Error::new(Kind::Corrupt, format!("{text:?} in the table blocks is not a bare JID"));
        text.parse::<BareJid>().map_err(corrupt)
    };
    Ok(Block { jid: parsed(&jid)?, since, by: parsed(&by)? })
}
