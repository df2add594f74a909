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
    /// How often they were changed or forgotten. A state that was read before is not kept after that.
    changes: u64,
}

impl Blocks {
    pub(super) fn new(table: Arc<dyn BlockTable>) -> Self {
        let known = KnownBlocks { users: Cache::new(limits::BLOCKS_KNOWN), changes: 0 };
        Self { table, known: Mutex::new(known) }
    }

    /// Whether this user is blocked, if memory knows it. Never waits.
    pub(super) fn known(&self, user: &BareJid) -> Option<bool> {
        self.state().users.get(Instant::now(), user).copied()
    }

    /// Whether this user is blocked. May wait for the database.
    fn is_blocked(&self, user: &BareJid) -> Result<bool> {
        let asked = Instant::now();
        let changes = {
            let known = self.state();
            if let Some(blocked) = known.users.get(asked, user) {
                return Ok(*blocked);
            }
            known.changes
        };
        let blocked = self.table.find_block(user)?.is_some();
        let mut known = self.state();
        if known.changes == changes {
            // As old as the question: another process may have changed it since.
            known.users.insert(asked, user.clone(), blocked, limits::BLOCK_TTL);
        }
        Ok(blocked)
    }

    /// Forgets which users are blocked.
    fn forget(&self) {
        let mut known = self.state();
        known.users = Cache::new(limits::BLOCKS_KNOWN);
        known.changes += 1;
    }

    /// Notes a change by this process.
    fn change(&self, user: &BareJid, blocked: bool) {
        let mut known = self.state();
        known.changes += 1;
        known.users.insert(Instant::now(), user.clone(), blocked, limits::BLOCK_TTL);
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
        self.blocks.change(user, true);
        Ok(is_new)
    }

    /// Ends the block of a user; `false` if there was none.
    pub fn unblock(&self, user: &BareJid) -> Result<bool> {
        self.check_open()?;
        let was_blocked = self.blocks.table.unblock(user)?;
        self.blocks.change(user, false);
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::thread;

    use super::*;

    /// A table whose answers are given by the test.
    struct Table {
        asked: Mutex<Sender<()>>,
        answers: Mutex<Receiver<Option<Block>>>,
    }

    impl BlockTable for Table {
        fn find_block(&self, _: &BareJid) -> Result<Option<Block>> {
            self.asked.lock().unwrap().send(()).unwrap();
            Ok(self.answers.lock().unwrap().recv().unwrap())
        }

        fn block(&self, _: &Block) -> Result<bool> {
            Ok(true)
        }

        fn unblock(&self, _: &BareJid) -> Result<bool> {
            Ok(true)
        }

        fn blocks(&self, _: Option<&BareJid>, _: usize) -> Result<Vec<Block>> {
            Ok(Vec::new())
        }
    }

    #[test]
    fn a_state_that_was_read_before_a_change_is_not_kept_after_it() {
        let (asks, asked) = channel();
        let (answer, answers) = channel();
        let table = Table { asked: Mutex::new(asks), answers: Mutex::new(answers) };
        let (blocks, user) = (Blocks::new(Arc::new(table)), "alice@example.org".parse().unwrap());
        let changes: [fn(&Blocks, &BareJid); 2] =
            [|blocks, user| blocks.change(user, true), |blocks, _| blocks.forget()];
        for change in changes {
            blocks.forget();
            thread::scope(|scope| {
                let reader = scope.spawn(|| blocks.is_blocked(&user).unwrap());
                asked.recv().unwrap();
                change(&blocks, &user);
                answer.send(None).unwrap();
                assert!(!reader.join().unwrap());
            });
            assert_ne!(blocks.known(&user), Some(false));
        }
    }
}
