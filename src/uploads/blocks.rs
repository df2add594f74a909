//! Users whom an administrator has blocked: they may not send files in any way. Rows are read by threads that may
//! wait; the XMPP thread reads memory only.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::service::UploadService;
use crate::cache::Cache;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::limits;
use crate::model::{BareJid, Refusal};
use crate::store::{Block, BlockTable};

/// The blocked users. What was read counts for [`limits::BLOCK_TTL`]: so late a block by another process takes effect.
pub struct Blocks {
    table: Arc<dyn BlockTable>,
    known: Mutex<KnownBlocks>,
}

/// Whether users who sent something a moment ago are blocked.
struct KnownBlocks {
    users: Cache<BareJid, bool>,
    /// How often they were forgotten. A state that was read before is not kept after that.
    forgotten: u64,
}

impl Blocks {
    pub(super) fn new(table: Arc<dyn BlockTable>) -> Self {
        let known = KnownBlocks { users: Cache::new(limits::BLOCKS_KNOWN), forgotten: 0 };
        Self { table, known: Mutex::new(known) }
    }

    /// Whether this user is blocked, if memory knows it. Never waits.
    pub(super) fn known(&self, user: &BareJid) -> Option<bool> {
        self.state().users.get(Instant::now(), user).copied()
    }

    /// Whether this user is blocked. May wait for the database.
    fn is_blocked(&self, user: &BareJid) -> Result<bool> {
        let forgotten = {
            let known = self.state();
            if let Some(blocked) = known.users.get(Instant::now(), user) {
                return Ok(*blocked);
            }
            known.forgotten
        };
        let blocked = self.table.find_block(user)?.is_some();
        if self.state().forgotten == forgotten {
            self.keep(user, blocked);
        }
        Ok(blocked)
    }

    /// Forgets which users are blocked.
    fn forget(&self) {
        let mut known = self.state();
        known.users = Cache::new(limits::BLOCKS_KNOWN);
        known.forgotten += 1;
    }

    fn keep(&self, user: &BareJid, blocked: bool) {
        self.state().users.insert(Instant::now(), user.clone(), blocked, limits::BLOCK_TTL);
    }

    fn state(&self) -> MutexGuard<'_, KnownBlocks> {
        // The map is whole between any two statements.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UploadService {
    /// Refuses a user who is blocked, as [`Refusal::SenderRefused`]. May wait for the database.
    pub fn check_blocked(&self, user: &BareJid) -> std::result::Result<(), Refusal> {
        self.check_open()?;
        if self.blocks.is_blocked(user)? { Err(Refusal::SenderRefused) } else { Ok(()) }
    }

    /// Blocks a user from now on; `false` if the user was blocked before. `by` is the administrator.
    pub fn block(&self, user: &BareJid, by: &BareJid, now: Timestamp) -> Result<bool> {
        self.check_open()?;
        let block = Block { jid: user.clone(), since: now, by: by.clone() };
        let is_new = self.blocks.table.block(&block)?;
        self.blocks.keep(user, true);
        Ok(is_new)
    }

    /// Ends the block of a user; `false` if there was none.
    pub fn unblock(&self, user: &BareJid) -> Result<bool> {
        self.check_open()?;
        let was_blocked = self.blocks.table.unblock(user)?;
        self.blocks.keep(user, false);
        Ok(was_blocked)
    }

    /// Has the blocks read again: another server may have changed them.
    pub fn reread_blocks(&self) {
        self.blocks.forget();
    }

    /// Has the keys of slots read again, likewise.
    pub fn reread_keys(&self) {
        self.keys.reread();
    }

    /// The first `max` blocked users, in the order of their JIDs.
    pub fn blocked(&self, max: usize) -> Result<Vec<Block>> {
        self.check_open()?;
        self.blocks.table.blocks(None, max)
    }
}
