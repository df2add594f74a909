//! The keys of one kind of token, which all servers with the same database share.
//!
//! A key is made for each day, and an hour before the day begins, so that every server knows it when the first one uses
//! it. Its number is the day. The keys are read now and again, so that one which was replaced counts no more.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::TokenKind;
use super::codec::{Fields, Key, Token, TokenError};
use crate::clock::{Clock, Timestamp};
use crate::error::{Error, Kind, Result};
use crate::secret::Secret;
use crate::store::{SecretTable, StoredSecret};
use crate::{hex, limits};

const MICROS_A_DAY: i64 = 24 * 3600 * 1_000_000;

/// The keys of a kind of token. Its calls may wait for the database, but for [`Keys::at_hand`].
pub struct Keys {
    kind: TokenKind,
    table: Arc<dyn SecretTable>,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// Held while the keys are read, so that a thread that needs one which is not known waits for it.
    reading: Mutex<()>,
}

#[derive(Default)]
struct State {
    known: BTreeMap<u32, Key>,
    /// When the last read began.
    read: Option<Timestamp>,
    /// Whether it failed.
    failed: bool,
}

impl State {
    /// Whether the last read began so long ago.
    fn is_due(&self, now: Timestamp, period: Duration) -> bool {
        // A clock that was set back must not stop the reads.
        self.read.is_none_or(|read| now < read || read.after(period) <= now)
    }
}

impl Keys {
    /// The keys of this kind. They are read when the first is needed.
    pub fn new(kind: TokenKind, table: Arc<dyn SecretTable>, clock: Arc<dyn Clock>) -> Self {
        Self { kind, table, clock, state: Mutex::default(), reading: Mutex::default() }
    }

    /// Signs a token, as [`super::sign`]; `None` if it would be too long.
    pub fn sign(&self, bound: &[&[u8]], fields: &[&[u8]]) -> Result<Option<String>> {
        Ok(super::sign(self.kind, &self.of_today()?, bound, fields))
    }

    /// The key that signs now, if it is known and the keys need not be read again. Never waits.
    pub fn at_hand(&self) -> Option<Key> {
        let now = self.clock.now();
        let state = self.lock();
        (!state.is_due(now, limits::SECRETS_READ)).then(|| state.known.get(&day(now)).cloned())?
    }

    /// The key that signs now.
    pub fn of_today(&self) -> Result<Key> {
        let today = day(self.clock.now());
        if let Some(key) = self.find(today)? {
            return Ok(key);
        }
        self.make(today)?;
        let missing =
            || Error::new(Kind::Failure, format!("the key {today} of kind {} is not stored", self.kind.name));
        self.known(today).ok_or_else(missing)
    }

    /// The fields of a token, if it is genuine. An error means that this can't be said now.
    pub fn verify(&self, text: &str, bound: &[&[u8]]) -> Result<std::result::Result<Fields, TokenError>> {
        let Ok(token) = Token::parse(text) else { return Ok(Err(TokenError)) };
        let key = self.find(token.key())?;
        Ok(key.ok_or(TokenError).and_then(|key| token.verify(self.kind, &key, bound)))
    }

    /// Makes the key of the next day if it is time, and deletes those that no living token was signed with. Called now and
    /// again, so that no request has to do it.
    pub fn maintain(&self) -> Result<()> {
        self.of_today()?;
        let now = self.clock.now();
        let next = day(now.after(limits::SECRETS_EARLY));
        if self.known(next).is_none() {
            self.make(next)?;
        }
        // The clock of another server may be as far behind as a key is early.
        let oldest = day(now.before(self.kind.life + limits::SECRETS_EARLY));
        if self.lock().known.keys().any(|id| *id < oldest) {
            self.table.remove_secrets(self.kind.name, oldest.into())?;
            self.lock().known.retain(|id, _| *id >= oldest);
        }
        Ok(())
    }

    /// Has the keys read again before the next one is used: another server, or a command, may have changed them.
    pub fn reread(&self) {
        self.lock().read = None;
    }

    /// The key of this number.
    fn find(&self, id: u32) -> Result<Option<Key>> {
        let now = self.clock.now();
        if let Some(key) = self.known(id) {
            // One thread reads the keys again; the others go on with those they have. If the database does not answer, the
            // known ones stay.
            if self.begin_read(now, limits::SECRETS_READ) {
                let _reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
                if let Err(error) = self.read() {
                    log::warn!("the keys of tokens can't be read again: {error}");
                    return Ok(Some(key));
                }
                return Ok(self.known(id));
            }
            return Ok(Some(key));
        }
        let _reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        if self.known(id).is_none() {
            if self.begin_read(now, limits::SECRETS_SEARCH) {
                self.read()?;
            } else if self.lock().failed {
                return Err(Error::new(
                    Kind::Unavailable,
                    "the keys of tokens could not be read a moment ago",
                ));
            }
        }
        Ok(self.known(id))
    }

    /// Makes the key of this day, unless another server was first, and reads what is stored.
    fn make(&self, id: u32) -> Result<()> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)
            .map_err(|cause| Error::caused(Kind::Failure, "the kernel gives no random numbers", cause))?;
        let secret = StoredSecret { id: id.into(), secret: to_hex(Key::new(id, bytes).expose()) };
        self.table.add_secret(self.kind.name, &secret)?;
        let _reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        self.read()
    }

    /// Reads all keys. The caller holds `reading`.
    fn read(&self) -> Result<()> {
        let read = self.table.secrets(self.kind.name);
        let mut state = self.lock();
        state.failed = read.is_err();
        state.known = read?.iter().filter_map(readable).map(|key| (key.id(), key)).collect();
        Ok(())
    }

    /// Whether the last read began so long ago; if so, another one begins.
    fn begin_read(&self, now: Timestamp, period: Duration) -> bool {
        let mut state = self.lock();
        let due = state.is_due(now, period);
        if due {
            state.read = Some(now);
        }
        due
    }

    fn known(&self, id: u32) -> Option<Key> {
        self.lock().known.get(&id).cloned()
    }

    /// A panic leaves no state half changed.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The number of the day, counted from 1970.
fn day(time: Timestamp) -> u32 {
    let days = time.as_micros().div_euclid(MICROS_A_DAY);
    u32::try_from(days).unwrap_or_default()
}

/// The key of a row, if it is one.
fn readable(row: &StoredSecret) -> Option<Key> {
    let key = u32::try_from(row.id).ok().zip(from_hex(row.secret.expose()));
    if key.is_none() {
        log::warn!("the key {} of tokens is not valid", row.id);
    }
    key.map(|(id, bytes)| Key::new(id, bytes))
}

fn to_hex(bytes: &[u8; 32]) -> Secret {
    Secret::new(hex::encode(bytes))
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    hex::decode(text)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};

    use super::*;

    const KIND: TokenKind = TokenKind { name: "slot", life: Duration::from_secs(300) };

    /// A table in memory, and a clock that goes on by hand.
    #[derive(Default)]
    struct Bench {
        rows: Mutex<BTreeMap<i64, StoredSecret>>,
        reads: AtomicUsize,
        down: AtomicBool,
        now: AtomicI64,
    }

    impl SecretTable for Bench {
        fn secrets(&self, _kind: &'static str) -> Result<Vec<StoredSecret>> {
            self.reads.fetch_add(1, Ordering::Relaxed);
            if self.down.load(Ordering::Relaxed) {
                return Err(Error::new(Kind::Unavailable, "down"));
            }
            Ok(self.rows.lock().unwrap().values().cloned().collect())
        }

        fn add_secret(&self, _kind: &'static str, secret: &StoredSecret) -> Result<()> {
            self.rows.lock().unwrap().entry(secret.id).or_insert_with(|| secret.clone());
            Ok(())
        }

        fn remove_secrets(&self, _kind: &'static str, below: i64) -> Result<()> {
            self.rows.lock().unwrap().retain(|id, _| *id >= below);
            Ok(())
        }
    }

    impl Clock for Bench {
        fn now(&self) -> Timestamp {
            Timestamp::from_micros(self.now.load(Ordering::Relaxed) * 1_000_000)
        }
    }

    impl Bench {
        fn keys(self: &Arc<Self>) -> Keys {
            Keys::new(KIND, Arc::clone(self) as _, Arc::clone(self) as _)
        }

        fn set(&self, seconds: i64) {
            self.now.store(seconds, Ordering::Relaxed);
        }

        fn ids(&self) -> Vec<i64> {
            self.rows.lock().unwrap().keys().copied().collect()
        }
    }

    fn token(keys: &Keys) -> String {
        keys.sign(&[], &[b"x"]).unwrap().unwrap()
    }

    fn holds(keys: &Keys, token: &str) -> bool {
        keys.verify(token, &[]).unwrap().is_ok()
    }

    const NOON: i64 = 20_000 * 86_400 + 43_200;
    const MIDNIGHT: i64 = 20_001 * 86_400;

    #[test]
    fn servers_with_one_database_share_their_keys() {
        let bench = Arc::new(Bench::default());
        bench.set(NOON);
        let (one, other) = (bench.keys(), bench.keys());
        let first = token(&one);
        assert!(holds(&other, &first) && holds(&one, &token(&other)));
        assert_eq!(bench.ids(), [20_000]);
    }

    #[test]
    fn the_key_of_a_day_is_made_an_hour_before_and_kept_while_its_tokens_live() {
        let bench = Arc::new(Bench::default());
        let keys = bench.keys();
        bench.set(MIDNIGHT - 3601);
        keys.maintain().unwrap();
        assert_eq!(bench.ids(), [20_000]);
        bench.set(MIDNIGHT - 3600);
        keys.maintain().unwrap();
        assert_eq!(bench.ids(), [20_000, 20_001]);
        bench.set(MIDNIGHT - 1);
        let last = token(&keys);
        bench.set(MIDNIGHT + 3600 + 299);
        keys.maintain().unwrap();
        assert!(holds(&keys, &last));
        bench.set(MIDNIGHT + 3600 + 300);
        keys.maintain().unwrap();
        assert_eq!(bench.ids(), [20_001]);
        assert!(!holds(&keys, &last));
    }

    #[test]
    fn an_unknown_key_is_looked_for_at_once_but_once_a_second() {
        let bench = Arc::new(Bench::default());
        bench.set(NOON);
        let (keys, other) = (bench.keys(), bench.keys());
        assert!(holds(&keys, &token(&keys)));
        bench.set(NOON + 1);
        let reads = || bench.reads.load(Ordering::Relaxed);
        let before = reads();
        let made_up = super::super::sign(KIND, &Key::new(1, [0; 32]), &[], &[]).unwrap();
        for _ in 0..100 {
            assert!(!holds(&keys, &made_up));
        }
        assert_eq!(reads(), before + 1);
        // A key of tomorrow, by a server whose clock is ahead.
        bench.set(MIDNIGHT);
        let ahead = token(&other);
        bench.set(NOON + 2);
        assert!(holds(&keys, &ahead));
    }

    #[test]
    fn a_replaced_key_counts_no_more_after_five_seconds() {
        let bench = Arc::new(Bench::default());
        bench.set(NOON);
        let keys = bench.keys();
        let old = token(&keys);
        bench.rows.lock().unwrap().clear();
        bench.set(NOON + 4);
        assert!(holds(&keys, &old));
        bench.set(NOON + 5);
        assert!(!holds(&keys, &old));
        assert!(holds(&keys, &token(&keys)));
    }

    #[test]
    fn a_replaced_key_counts_no_more_once_the_keys_are_to_be_read_again() {
        let bench = Arc::new(Bench::default());
        bench.set(NOON);
        let keys = bench.keys();
        let old = token(&keys);
        bench.rows.lock().unwrap().clear();
        assert!(holds(&keys, &old));
        keys.reread();
        assert!(!holds(&keys, &old));
    }

    #[test]
    fn without_a_database_known_keys_count_and_unknown_ones_are_an_error() {
        let bench = Arc::new(Bench::default());
        bench.set(NOON);
        let keys = bench.keys();
        let token = token(&keys);
        bench.down.store(true, Ordering::Relaxed);
        bench.set(NOON + 60);
        assert!(holds(&keys, &token));
        assert!(bench.keys().verify(&token, &[]).is_err());
        let made_up = super::super::sign(KIND, &Key::new(1, [0; 32]), &[], &[]).unwrap();
        for _ in 0..2 {
            assert!(keys.verify(&made_up, &[]).is_err());
        }
    }

    #[test]
    fn a_row_that_is_no_key_is_left_out() {
        let bench = Arc::new(Bench::default());
        bench.set(NOON);
        for (id, text) in [(-1, "a".repeat(64)), (19_999, "a".repeat(63)), (19_998, "é".repeat(32))] {
            bench.rows.lock().unwrap().insert(id, StoredSecret { id, secret: Secret::new(text) });
        }
        let keys = bench.keys();
        assert!(holds(&keys, &token(&keys)));
        assert_eq!(keys.lock().known.len(), 1);
    }
}
