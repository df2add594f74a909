//! The bytes that open slots and PUTs will take, so that the quota still holds when the files of several granted slots
//! arrive. In memory, so each server counts its own. Any thread may call; nothing waits.
//!
//! Of several nodes one grants all slots. It does not see a PUT through another node, so before it refuses a slot it looks in
//! the table for files that were stored.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::{Clock, Timestamp};
use crate::limits;
use crate::model::{BareJid, Purpose, UploadId};

/// The slots that wait for their PUT, and the PUTs that are under way.
pub(super) struct Reservations {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    slots: HashMap<UploadId, Reserved>,
    /// The slots in the order in which they end.
    ends: VecDeque<(Timestamp, UploadId)>,
    users: HashMap<BareJid, Held>,
    /// Unused slots of each domain.
    domains: HashMap<String, usize>,
    /// Bytes of PUTs that are under way.
    arriving: u64,
}

/// The reservation of a slot.
struct Reserved {
    /// The user who has it, if known.
    owner: Option<BareJid>,
    purpose: Purpose,
    size: u64,
    /// When the slot ends.
    ends: Timestamp,
    /// PUTs that are under way.
    arriving: usize,
    /// Whether it counts as an unused slot.
    counted: bool,
}

/// What is reserved for a user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    /// Slots that wait for their PUT.
    slots: usize,
    /// Bytes of all slots and PUTs.
    pub bytes: u64,
    /// Bytes by purpose, in the order of [`Purpose::ALL`].
    purposes: [u64; Purpose::ALL.len()],
}

impl Held {
    /// Bytes that are reserved for files of this purpose.
    pub(super) fn of(&self, purpose: Purpose) -> u64 {
        self.purposes[purpose as usize]
    }
}

/// A user or a domain has too many unused slots. The first of them ends at this time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooManySlots {
    pub room: Timestamp,
}

impl Reservations {
    /// None so far.
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, state: Mutex::default() }
    }

    /// Whether a user may have one more slot.
    pub(super) fn check(&self, owner: &BareJid) -> Result<(), TooManySlots> {
        let now = self.clock.now();
        let mut state = self.lock();
        state.expire(now);
        state.check(owner, now)
    }

    /// Reserves room for the file of a slot until the slot ends, or its PUT.
    pub(super) fn reserve(
        &self,
        id: &UploadId,
        owner: &BareJid,
        (purpose, size): (Purpose, u64),
        ends: Timestamp,
    ) -> Result<(), TooManySlots> {
        let now = self.clock.now();
        let mut state = self.lock();
        state.expire(now);
        state.check(owner, now)?;
        let reserved =
            Reserved { owner: Some(owner.clone()), purpose, size, ends, arriving: 0, counted: true };
        state.ends.push_back((ends, id.clone()));
        state.add(id.clone(), reserved);
        Ok(())
    }

    /// Gives up a slot that was not granted, or whose file is counted by the database already.
    pub(super) fn release(&self, id: &UploadId) {
        self.lock().remove(id);
    }

    /// Reserves room for a PUT that begins, besides what its slot has reserved already.
    pub(super) fn arrive(
        self: &Arc<Self>,
        id: &UploadId,
        owner: Option<&BareJid>,
        (purpose, size): (Purpose, u64),
    ) -> Arriving {
        let now = self.clock.now();
        let mut state = self.lock();
        if !state.slots.contains_key(id) {
            // Its slot was granted by another server, or before this one was started.
            let owner = owner.cloned();
            let reserved = Reserved { owner, purpose, size, ends: now, arriving: 0, counted: false };
            state.add(id.clone(), reserved);
        }
        state.arrive(id);
        drop(state);
        Arriving { reservations: Arc::clone(self), id: id.clone() }
    }

    /// Whether this slot was granted here, and no PUT of it has begun.
    pub(super) fn is_unused(&self, id: &UploadId) -> bool {
        self.lock().slots.get(id).is_some_and(|slot| slot.counted)
    }

    /// What is reserved for a user.
    pub(super) fn held(&self, owner: &BareJid) -> Held {
        self.lock().users.get(owner).cloned().unwrap_or_default()
    }

    /// Bytes of PUTs that are under way.
    pub(super) fn arriving(&self) -> u64 {
        self.lock().arriving
    }

    /// The slots that count against a user: the user's own, and those of all users of the domain, if it has no room for more.
    pub(super) fn counting(&self, owner: &BareJid) -> Vec<UploadId> {
        let state = self.lock();
        let is_full =
            state.domains.get(owner.domain()).is_some_and(|count| *count >= limits::SLOTS_PER_DOMAIN);
        let counts = |of: &BareJid| of == owner || is_full && of.domain() == owner.domain();
        let slots = state.slots.iter().filter(|(_, slot)| slot.owner.as_ref().is_some_and(counts));
        slots.map(|(id, _)| id.clone()).collect()
    }

    /// When slots of a user end, and the bytes that they have reserved: those of a purpose, where it is given.
    pub(super) fn ending(&self, owner: &BareJid, purpose: Option<Purpose>) -> Vec<(Timestamp, u64)> {
        let state = self.lock();
        let counts = |slot: &&Reserved| {
            slot.owner.as_ref() == Some(owner) && purpose.is_none_or(|purpose| slot.purpose == purpose)
        };
        state.slots.values().filter(counts).map(|slot| (slot.ends, slot.size)).collect()
    }

    /// A panic leaves no state half changed that would matter for long: slots end.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn check(&self, owner: &BareJid, now: Timestamp) -> Result<(), TooManySlots> {
        let of_user = self.users.get(owner).map_or(0, |held| held.slots);
        let of_domain = self.domains.get(owner.domain()).copied().unwrap_or_default();
        if of_user < limits::SLOTS_PER_USER && of_domain < limits::SLOTS_PER_DOMAIN {
            return Ok(());
        }
        let counts = |slot: &Reserved| {
            let owner_of = slot.owner.as_ref();
            let same = if of_user < limits::SLOTS_PER_USER {
                owner_of.is_some_and(|of| of.domain() == owner.domain())
            } else {
                owner_of == Some(owner)
            };
            slot.counted && same
        };
        let first = self.slots.values().filter(|slot| counts(slot)).map(|slot| slot.ends).min();
        Err(TooManySlots { room: first.unwrap_or(now) })
    }

    /// Forgets the slots that have ended without a PUT under way.
    fn expire(&mut self, now: Timestamp) {
        while self.ends.front().is_some_and(|(ends, _)| *ends <= now) {
            let Some((_, id)) = self.ends.pop_front() else { return };
            if self.slots.get(&id).is_some_and(|slot| slot.arriving == 0) {
                self.remove(&id);
            }
        }
    }

    fn add(&mut self, id: UploadId, reserved: Reserved) {
        if let Some(owner) = &reserved.owner {
            let held = self.users.entry(owner.clone()).or_default();
            held.bytes = held.bytes.saturating_add(reserved.size);
            let of_purpose = &mut held.purposes[reserved.purpose as usize];
            *of_purpose = of_purpose.saturating_add(reserved.size);
            if reserved.counted {
                held.slots += 1;
                *self.domains.entry(owner.domain().to_owned()).or_default() += 1;
            }
        }
        self.slots.insert(id, reserved);
    }

    /// A slot whose PUT has begun counts as used.
    fn arrive(&mut self, id: &UploadId) {
        let Some(slot) = self.slots.get_mut(id) else { return };
        slot.arriving += 1;
        if slot.arriving == 1 {
            self.arriving = self.arriving.saturating_add(slot.size);
        }
        let counted = std::mem::replace(&mut slot.counted, false);
        if let Some(owner) = slot.owner.clone().filter(|_| counted) {
            self.uncount(&owner);
        }
    }

    /// A PUT has ended; `stored` if its file is counted by the database from now on.
    fn depart(&mut self, id: &UploadId, stored: bool, now: Timestamp) {
        let Some(slot) = self.slots.get_mut(id) else { return };
        slot.arriving = slot.arriving.saturating_sub(1);
        if slot.arriving == 0 {
            self.arriving = self.arriving.saturating_sub(slot.size);
        }
        if stored || (slot.arriving == 0 && slot.ends <= now) {
            self.remove(id);
        }
    }

    fn remove(&mut self, id: &UploadId) {
        let Some(slot) = self.slots.remove(id) else { return };
        if slot.arriving > 0 {
            self.arriving = self.arriving.saturating_sub(slot.size);
        }
        let Some(owner) = slot.owner else { return };
        if slot.counted {
            self.uncount(&owner);
        }
        if let Some(held) = self.users.get_mut(&owner) {
            held.bytes = held.bytes.saturating_sub(slot.size);
            let of_purpose = &mut held.purposes[slot.purpose as usize];
            *of_purpose = of_purpose.saturating_sub(slot.size);
            if *held == Held::default() {
                self.users.remove(&owner);
            }
        }
    }

    fn uncount(&mut self, owner: &BareJid) {
        if let Some(held) = self.users.get_mut(owner) {
            held.slots = held.slots.saturating_sub(1);
        }
        if let Some(count) = self.domains.get_mut(owner.domain()) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.domains.remove(owner.domain());
            }
        }
    }
}

/// The reservation of a PUT that is under way. Dropped, its slot has the reservation back until it ends.
pub(super) struct Arriving {
    reservations: Arc<Reservations>,
    id: UploadId,
}

impl Arriving {
    /// Ends it: the file is stored, and the database counts it.
    pub(super) fn stored(self) {
        self.end(true);
    }

    fn end(&self, stored: bool) {
        let now = self.reservations.clock.now();
        self.reservations.lock().depart(&self.id, stored, now);
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        self.end(false);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::testing::HandClock;
    use super::*;

    const MESSAGE: Purpose = Purpose::Message;

    fn bench() -> (Arc<HandClock>, Arc<Reservations>) {
        let clock = Arc::new(HandClock::default());
        (Arc::clone(&clock), Arc::new(Reservations::new(clock)))
    }

    fn jid(text: &str) -> BareJid {
        text.parse().unwrap()
    }

    impl HandClock {
        fn in_seconds(&self, seconds: u64) -> Timestamp {
            self.now().after(Duration::from_secs(seconds))
        }
    }

    #[test]
    fn a_slot_holds_its_size_until_it_ends() {
        let (clock, reservations) = bench();
        let (alice, id) = (jid("alice@a"), UploadId::random());
        reservations.reserve(&id, &alice, (MESSAGE, 10), clock.in_seconds(300)).unwrap();
        let profile = UploadId::random();
        reservations.reserve(&profile, &alice, (Purpose::Profile, 5), clock.in_seconds(300)).unwrap();
        let held = reservations.held(&alice);
        assert_eq!((held.bytes, held.of(MESSAGE), held.of(Purpose::Profile)), (15, 10, 5));
        assert_eq!(reservations.held(&jid("bob@a")), Held::default());
        reservations.release(&profile);
        assert_eq!(reservations.held(&alice).bytes, 10);
        clock.pass(Duration::from_secs(300));
        reservations.check(&alice).unwrap();
        assert_eq!(reservations.held(&alice), Held::default());
    }

    #[test]
    fn a_put_holds_it_as_long_as_it_takes() {
        let (clock, reservations) = bench();
        let (alice, id) = (jid("alice@a"), UploadId::random());
        reservations.reserve(&id, &alice, (MESSAGE, 10), clock.in_seconds(300)).unwrap();
        let first = reservations.arrive(&id, Some(&alice), (MESSAGE, 10));
        let second = reservations.arrive(&id, Some(&alice), (MESSAGE, 10));
        assert_eq!((reservations.arriving(), reservations.held(&alice).bytes), (10, 10));
        clock.pass(Duration::from_secs(400));
        reservations.check(&alice).unwrap();
        drop(first);
        assert_eq!((reservations.arriving(), reservations.held(&alice).bytes), (10, 10));
        drop(second);
        assert_eq!((reservations.arriving(), reservations.held(&alice).bytes), (0, 0));
    }

    #[test]
    fn a_put_that_failed_leaves_the_slot_and_one_that_is_stored_ends_it() {
        let (clock, reservations) = bench();
        let (alice, id) = (jid("alice@a"), UploadId::random());
        reservations.reserve(&id, &alice, (MESSAGE, 10), clock.in_seconds(300)).unwrap();
        drop(reservations.arrive(&id, Some(&alice), (MESSAGE, 10)));
        assert_eq!((reservations.arriving(), reservations.held(&alice).bytes), (0, 10));
        let (one, other) = (
            reservations.arrive(&id, Some(&alice), (MESSAGE, 10)),
            reservations.arrive(&id, None, (MESSAGE, 10)),
        );
        one.stored();
        assert_eq!((reservations.arriving(), reservations.held(&alice)), (0, Held::default()));
        drop(other);
        assert_eq!(reservations.arriving(), 0);
    }

    #[test]
    fn a_put_without_a_slot_of_ours_counts_while_it_comes() {
        let (_, reservations) = bench();
        let (alice, id) = (jid("alice@a"), UploadId::random());
        let put = reservations.arrive(&id, Some(&alice), (MESSAGE, 10));
        let unknown = reservations.arrive(&UploadId::random(), None, (MESSAGE, 7));
        assert_eq!((reservations.arriving(), reservations.held(&alice).bytes), (17, 10));
        drop((put, unknown));
        assert_eq!((reservations.arriving(), reservations.held(&alice)), (0, Held::default()));
    }

    #[test]
    fn users_and_domains_have_so_many_unused_slots() {
        let (clock, reservations) = bench();
        let grant = |owner: &str| {
            let id = UploadId::random();
            let granted = reservations.reserve(&id, &jid(owner), (MESSAGE, 1), clock.in_seconds(300));
            granted.map(|()| id)
        };
        let first = grant("alice@a").unwrap();
        clock.pass(Duration::from_secs(10));
        (1..limits::SLOTS_PER_USER).for_each(|_| drop(grant("alice@a").unwrap()));
        let room = clock.in_seconds(290);
        assert_eq!(grant("alice@a"), Err(TooManySlots { room }));
        assert_eq!(reservations.check(&jid("alice@a")), Err(TooManySlots { room }));
        // One whose PUT has begun is used.
        let put = reservations.arrive(&first, Some(&jid("alice@a")), (MESSAGE, 1));
        grant("alice@a").unwrap();
        drop(put);
        for user in 1..limits::SLOTS_PER_DOMAIN / limits::SLOTS_PER_USER {
            (0..limits::SLOTS_PER_USER).for_each(|_| drop(grant(&format!("user{user}@a")).unwrap()));
        }
        assert!(grant("another@a").is_err());
        grant("another@b").unwrap();
        clock.pass(Duration::from_secs(300));
        grant("another@a").unwrap();
        assert_eq!(reservations.ending(&jid("another@a"), None).len(), 1);
        let state = reservations.lock();
        assert_eq!(
            (state.slots.len(), state.users.len(), state.domains.len(), state.ends.len()),
            (1, 1, 1, 1)
        );
    }
}
