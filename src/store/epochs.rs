//! The epochs of users on either database: how often the tickets of a user were revoked. Any thread may ask.

use super::engine::{Change, Engine, Session};
use super::notice::Notice;
use super::operations::Store;
use super::value::{Row, values};
use crate::error::Result;
use crate::model::BareJid;

/// The epochs of users. Every call ends within a bounded time, as those of [`Metadata`](super::Metadata).
pub trait EpochTable: Send + Sync {
    /// The epoch of this user: 0 if the user's tickets were never revoked.
    fn epoch(&self, user: &BareJid) -> Result<i64>;

    /// Revokes the tickets of this user by a higher epoch. It may be repeated: then the epoch is higher by more than one.
    fn raise_epoch(&self, user: &BareJid) -> Result<()>;
}

/// $1 user.
const EPOCH: &str = "SELECT epoch FROM epochs WHERE jid = $1";

/// $1 user.
const RAISE: &str = "INSERT INTO epochs (jid, epoch) VALUES ($1, 1) \
     ON CONFLICT (jid) DO UPDATE SET epoch = epochs.epoch + 1";

impl<E: Engine> EpochTable for Store<E> {
    fn epoch(&self, user: &BareJid) -> Result<i64> {
        let parameters = values![user.as_str()];
        self.0.read(move |session| session.row(EPOCH, &parameters)?.map_or(Ok(0), Row::single))
    }

    fn raise_epoch(&self, user: &BareJid) -> Result<()> {
        let parameters = values![user.as_str()];
        let write = move |session: &mut dyn Session| session.execute(RAISE, &parameters);
        self.0.write(move |session| write(session).map(|_| Change::Commit(())))?;
        self.0.notify(Notice::Epochs);
        Ok(())
    }
}
