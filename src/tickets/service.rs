//! Issues and verifies tickets, and revokes them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use sha2::{Digest, Sha256};

use super::ticket::{TICKETS, Ticket};
use crate::cache::Cache;
use crate::clock::{Clock, Timestamp};
use crate::error::Result;
use crate::limits;
use crate::model::BareJid;
use crate::store::{EpochTable, SecretTable};
use crate::tokens::Keys;

/// Why a ticket does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TicketFault {
    /// This server has not made it, or its key was revoked.
    Invalid,
    /// Its time is over.
    Expired,
    /// The tickets of its user were revoked since it was made.
    Revoked,
}

/// Issues and verifies tickets.
pub struct TicketService {
    keys: Keys,
    epochs: Arc<dyn EpochTable>,
    clock: Arc<dyn Clock>,
    verified: Mutex<Verified>,
}

/// Tickets that were verified a moment ago.
struct Verified {
    /// By the hashes of their texts.
    tickets: Cache<[u8; 32], Ticket>,
    /// How often they were forgotten: one that was looked at before that is not kept after it.
    forgotten: u64,
}

impl TicketService {
    /// A service with the keys and epochs of this database.
    pub fn new(secrets: Arc<dyn SecretTable>, epochs: Arc<dyn EpochTable>, clock: Arc<dyn Clock>) -> Self {
        Self {
            keys: Keys::new(TICKETS, secrets, Arc::clone(&clock)),
            epochs,
            clock,
            verified: Mutex::new(Verified { tickets: Cache::new(limits::TICKETS_VERIFIED), forgotten: 0 }),
        }
    }

    /// The time by which tickets expire.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The text of a ticket; `None` if it would be too long. May wait for the database.
    pub fn issue(&self, ticket: &Ticket) -> Result<Option<String>> {
        let epoch = self.epochs.epoch(&ticket.user)?;
        ticket.with_fields(epoch, |fields| self.keys.sign(&[], fields))
    }

    /// The ticket of this text, if it was verified a moment ago. Never waits.
    pub fn known(&self, text: &str) -> Option<Ticket> {
        let ticket = self.lock().tickets.get(Instant::now(), &hash(text)).cloned()?;
        (self.clock.now() < ticket.expires).then_some(ticket)
    }

    /// The ticket of this text, if it counts. An error means that this can't be said now. May wait for the database.
    pub fn verify(&self, text: &str) -> Result<std::result::Result<Ticket, TicketFault>> {
        if let Some(known) = self.known(text) {
            return Ok(Ok(known));
        }
        let forgotten = self.lock().forgotten;
        let found = self.keys.verify(text, &[])?.and_then(Ticket::read);
        let Ok((ticket, epoch)) = found else { return Ok(Err(TicketFault::Invalid)) };
        if ticket.expires <= self.clock.now() {
            return Ok(Err(TicketFault::Expired));
        }
        if epoch != self.epochs.epoch(&ticket.user)? {
            return Ok(Err(TicketFault::Revoked));
        }
        let mut verified = self.lock();
        if verified.forgotten == forgotten {
            verified.tickets.insert(Instant::now(), hash(text), ticket.clone(), limits::TICKET_TTL);
        }
        Ok(Ok(ticket))
    }

    /// Makes keys ahead of their time and deletes old ones; see [`Keys::maintain`].
    pub fn maintain(&self) -> Result<()> {
        self.keys.maintain()
    }

    /// Has keys and epochs read again before the next ticket counts: another server, or a command, may have revoked some.
    pub fn reread(&self) {
        self.keys.reread();
        let mut verified = self.lock();
        verified.tickets = Cache::new(limits::TICKETS_VERIFIED);
        verified.forgotten += 1;
    }

    /// A panic leaves no entry half changed.
    fn lock(&self) -> MutexGuard<'_, Verified> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Revokes all tickets: servers make new keys where they find none. It takes effect within [`limits::TICKET_TTL`] and
/// [`limits::SECRETS_READ`] together.
pub fn revoke_all(secrets: &dyn SecretTable) -> Result<()> {
    secrets.remove_secrets(TICKETS.name, i64::MAX)
}

/// Revokes the tickets of this user. It takes effect within [`limits::TICKET_TTL`].
pub fn revoke_of(epochs: &dyn EpochTable, user: &BareJid) -> Result<()> {
    epochs.raise_epoch(user)
}

fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};
    use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
    use std::time::Duration;

    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::super::ticket::{Scope, expiry};
    use super::*;
    use crate::error::{Error, Kind};
    use crate::store::StoredSecret;
    use crate::tokens::{Key, sign};

    /// Tables in memory, and a clock that goes on by hand.
    #[derive(Default)]
    struct Bench {
        keys: Mutex<BTreeMap<i64, StoredSecret>>,
        epochs: Mutex<HashMap<String, i64>>,
        asked: AtomicUsize,
        down: AtomicBool,
        now: AtomicI64,
    }

    impl SecretTable for Bench {
        fn secrets(&self, kind: &'static str) -> Result<Vec<StoredSecret>> {
            assert_eq!(kind, "ticket");
            Ok(self.keys.lock().unwrap().values().cloned().collect())
        }

        fn add_secret(&self, _kind: &'static str, secret: &StoredSecret) -> Result<()> {
            self.keys.lock().unwrap().entry(secret.id).or_insert_with(|| secret.clone());
            Ok(())
        }

        fn remove_secrets(&self, kind: &'static str, below: i64) -> Result<()> {
            assert_eq!(kind, "ticket");
            self.keys.lock().unwrap().retain(|id, _| *id >= below);
            Ok(())
        }
    }

    impl EpochTable for Bench {
        fn epoch(&self, user: &BareJid) -> Result<i64> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            if self.down.load(Ordering::Relaxed) {
                return Err(Error::new(Kind::Unavailable, "down"));
            }
            Ok(self.epochs.lock().unwrap().get(user.as_str()).copied().unwrap_or(0))
        }

        fn raise_epoch(&self, user: &BareJid) -> Result<()> {
            *self.epochs.lock().unwrap().entry(user.to_string()).or_default() += 1;
            Ok(())
        }
    }

    impl Clock for Bench {
        fn now(&self) -> Timestamp {
            Timestamp::from_micros((1_700_000_000 + self.now.load(Ordering::Relaxed)) * 1_000_000)
        }
    }

    impl Bench {
        fn service(self: &Arc<Self>) -> TicketService {
            TicketService::new(Arc::clone(self) as _, Arc::clone(self) as _, Arc::clone(self) as _)
        }

        fn ticket(&self) -> Ticket {
            Ticket {
                expires: expiry(self.now(), Duration::from_secs(900)),
                scope: Scope::Post,
                channel: "room@example.org".parse().unwrap(),
                user: "alice@example.org".parse().unwrap(),
            }
        }
    }

    fn issued(service: &TicketService, ticket: &Ticket) -> String {
        service.issue(ticket).unwrap().unwrap()
    }

    #[test]
    fn a_ticket_comes_back_at_every_server_and_is_the_same_for_the_same_fields() {
        let bench = Arc::new(Bench::default());
        let (one, other) = (bench.service(), bench.service());
        let text = issued(&one, &bench.ticket());
        assert_eq!(one.known(&text), None);
        assert_eq!(other.verify(&text).unwrap(), Ok(bench.ticket()));
        assert_eq!(other.known(&text), Some(bench.ticket()));
        bench.now.fetch_add(1, Ordering::Relaxed);
        assert_eq!(issued(&other, &bench.ticket()), text);
        let channel = "other@example.org".parse().unwrap();
        for ticket in [
            Ticket { scope: Scope::Read, ..bench.ticket() },
            Ticket { channel, ..bench.ticket() },
            Ticket { user: "bob@example.org".parse().unwrap(), ..bench.ticket() },
            Ticket { expires: bench.ticket().expires.after(limits::TICKET_GRID), ..bench.ticket() },
        ] {
            let other_text = issued(&one, &ticket);
            assert_ne!(other_text, text);
            assert_eq!(one.verify(&other_text).unwrap(), Ok(ticket));
        }
    }

    #[test]
    fn a_changed_byte_of_any_field_is_found() {
        let bench = Arc::new(Bench::default());
        let service = bench.service();
        let bytes = URL_SAFE_NO_PAD.decode(issued(&service, &bench.ticket())).unwrap();
        for place in 0..bytes.len() {
            for change in [1, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[place] ^= change;
                let text = URL_SAFE_NO_PAD.encode(changed);
                assert_eq!(service.verify(&text).unwrap(), Err(TicketFault::Invalid), "byte {place}");
            }
        }
    }

    #[test]
    fn signed_fields_that_form_no_ticket_are_refused() {
        let bench = Arc::new(Bench::default());
        let service = bench.service();
        issued(&service, &bench.ticket());
        let stored = bench.keys.lock().unwrap().values().next().cloned().unwrap();
        let mut key = [0; 32];
        for (place, byte) in key.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&stored.secret.expose()[2 * place..2 * place + 2], 16).unwrap();
        }
        let key = Key::new(u32::try_from(stored.id).unwrap(), key);
        let (zero, late) = (0_i64.to_be_bytes(), i64::MAX.to_be_bytes());
        let good: [&[u8]; 5] = [&zero, &late, b"read", b"room@example.org", b"alice@example.org"];
        let verified = |fields: &[&[u8]]| service.verify(&sign(TICKETS, &key, &[], fields).unwrap()).unwrap();
        assert!(verified(&good).is_ok());
        let more = [&good[..], &[b""]].concat();
        for fields in [&good[..4], &good[1..], &more[..], &[]] {
            assert_eq!(verified(fields), Err(TicketFault::Invalid), "{fields:?}");
        }
        for (place, value) in [
            (0, &b""[..]),
            (1, b"\0"),
            (2, b"Read"),
            (2, b"write"),
            (3, b"example.org"),
            (3, b"room@example.org/x"),
            (4, b"\xff"),
            (4, b""),
        ] {
            let mut fields = good;
            fields[place] = value;
            assert_eq!(verified(&fields), Err(TicketFault::Invalid), "{place} {value:?}");
        }
    }

    #[test]
    fn a_ticket_expires_also_where_it_is_known() {
        let bench = Arc::new(Bench::default());
        let service = bench.service();
        let ticket = bench.ticket();
        let text = issued(&service, &ticket);
        let life = (ticket.expires.as_micros() - bench.now().as_micros()) / 1_000_000;
        bench.now.store(life - 1, Ordering::Relaxed);
        assert!(service.verify(&text).unwrap().is_ok());
        bench.now.store(life, Ordering::Relaxed);
        assert_eq!(service.known(&text), None);
        assert_eq!(service.verify(&text).unwrap(), Err(TicketFault::Expired));
    }

    #[test]
    fn a_user_or_all_can_be_revoked() {
        let bench = Arc::new(Bench::default());
        let (ticket, service) = (bench.ticket(), bench.service());
        let old = issued(&service, &ticket);
        let bob = Ticket { user: "bob@example.org".parse().unwrap(), ..ticket.clone() };
        let of_bob = issued(&service, &bob);
        revoke_of(&*bench, &ticket.user).unwrap();
        // Nothing was verified yet, so nothing is known.
        assert_eq!(service.verify(&old).unwrap(), Err(TicketFault::Revoked));
        let new = issued(&service, &ticket);
        assert_ne!(new, old);
        assert!(service.verify(&new).unwrap().is_ok() && service.verify(&of_bob).unwrap().is_ok());
        revoke_all(&*bench).unwrap();
        bench.now.fetch_add(5, Ordering::Relaxed);
        let other = bench.service();
        for text in [&new, &of_bob] {
            assert_eq!(other.verify(text).unwrap(), Err(TicketFault::Invalid));
        }
        // Then it looks for a key that it does not know.
        bench.now.fetch_add(1, Ordering::Relaxed);
        assert!(other.verify(&issued(&service, &ticket)).unwrap().is_ok());
        assert!(limits::TICKET_TTL + limits::SECRETS_READ < Duration::from_secs(10));
    }

    #[test]
    fn a_revoked_ticket_counts_no_more_once_all_is_to_be_read_again() {
        let bench = Arc::new(Bench::default());
        let (ticket, service) = (bench.ticket(), bench.service());
        let revoke = [
            |bench: &Bench, user: &BareJid| revoke_of(bench, user),
            |bench: &Bench, _: &BareJid| revoke_all(bench),
        ];
        for revoke in revoke {
            let text = issued(&service, &ticket);
            assert!(service.verify(&text).unwrap().is_ok());
            revoke(&bench, &ticket.user).unwrap();
            assert!(service.verify(&text).unwrap().is_ok(), "it is known");
            service.reread();
            assert_eq!(service.known(&text), None);
            assert!(service.verify(&text).unwrap().is_err());
        }
    }

    #[test]
    fn the_epoch_is_asked_once_in_a_while_and_without_it_nothing_is_said() {
        let bench = Arc::new(Bench::default());
        let (ticket, service) = (bench.ticket(), bench.service());
        let text = issued(&service, &ticket);
        let before = bench.asked.load(Ordering::Relaxed);
        for _ in 0..10 {
            assert!(service.verify(&text).unwrap().is_ok());
        }
        assert_eq!(bench.asked.load(Ordering::Relaxed), before + 1);
        bench.down.store(true, Ordering::Relaxed);
        assert!(service.verify(&text).unwrap().is_ok());
        assert!(bench.service().verify(&text).is_err());
    }
}
