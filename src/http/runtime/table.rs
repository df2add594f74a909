//! The connections that rest, each in a slot of its own. A slot's lock is held while its connection is armed and put in
//! place, so the thread that is told of it never comes too early. Any thread may use it.

use std::io;
use std::sync::{Arc, Mutex, OnceLock};

use crate::http::connection::Connection;
use crate::http::lock::lock;

/// Called once, on a thread that holds a turn, without any lock held: it must not wait.
pub type HungUp = Box<dyn FnOnce() + Send>;

/// Slots that are made at a time.
const SEGMENT: usize = 1024;
/// Segments there may be.
const SEGMENTS: usize = 1024;
/// Tokens from here on are not those of slots.
pub const OTHER_TOKENS: u64 = 1 << 63;

/// The slots.
pub struct Table {
    segments: Box<[OnceLock<Box<[Slot]>>]>,
    free: Mutex<Free>,
}

/// The slots that are free.
#[derive(Default)]
struct Free {
    /// Slots that were used before.
    returned: Vec<u32>,
    /// Slots that have ever been used; those from here on are free.
    used: u32,
}

#[derive(Default)]
struct Slot(Mutex<Content>);

#[derive(Default)]
struct Content {
    /// How often the slot has been given back: an old event does not find a new connection. It has 31 bits, so that its
    /// tokens stay below [`OTHER_TOKENS`].
    generation: u32,
    occupant: Occupant,
}

#[derive(Default)]
enum Occupant {
    /// A thread or a parked exchange has the connection, or there is none.
    #[default]
    Nobody,
    Resting(Box<Connection>),
    /// The connection is a parked exchange's, and this is called when its client hangs up.
    Watched(HungUp),
}

/// The occupant of the slot that an event is about.
pub enum Found {
    /// Nothing any more.
    Nobody,
    /// A connection that rested.
    Connection(Box<Connection>),
    /// A parked exchange whose client has hung up.
    HungUp(HungUp),
}

/// A slot that a connection has for its life.
pub struct Place {
    table: Arc<Table>,
    token: u64,
}

impl Table {
    /// A table without connections.
    pub fn new() -> Arc<Self> {
        let segments = (0..SEGMENTS).map(|_| OnceLock::new()).collect();
        Arc::new(Self { segments, free: Mutex::default() })
    }

    /// A slot for a new connection; `None` if there are too many.
    pub fn place(self: &Arc<Self>) -> Option<Place> {
        let index = {
            let mut free = lock(&self.free);
            match free.returned.pop() {
                Some(index) => index,
                None if (free.used as usize) < SEGMENT * SEGMENTS => {
                    free.used += 1;
                    free.used - 1
                }
                None => return None,
            }
        };
        let (segment, offset) = split(index);
        let slots = self.segments[segment].get_or_init(|| (0..SEGMENT).map(|_| Slot::default()).collect());
        let token = u64::from(lock(&slots[offset].0).generation) << 32 | u64::from(index);
        Some(Place { table: Arc::clone(self), token })
    }

    /// Arms a connection with `arm` and lets it rest, both under the slot's lock; gives it back if `may_rest` says no, or
    /// if it can't be armed.
    pub fn rest(
        &self,
        mut connection: Box<Connection>,
        may_rest: impl FnOnce(&Connection) -> bool,
        arm: impl FnOnce(&mut Connection) -> io::Result<()>,
    ) -> Option<Box<Connection>> {
        let token = connection.token();
        self.with(token, |content| {
            if !may_rest(&connection) || arm(&mut connection).is_err() {
                return Some(connection);
            }
            content.occupant = Occupant::Resting(connection);
            None
        })?
    }

    /// Takes out the occupant of the slot that an event is about; `ended` says that the client has hung up.
    pub fn take(&self, token: u64, ended: bool) -> Found {
        let taken = self.with(token, |content| match &content.occupant {
            // Without an end, it is an old event of a connection that another thread has taken since.
            Occupant::Watched(_) if !ended => Occupant::Nobody,
            _ => std::mem::take(&mut content.occupant),
        });
        match taken {
            Some(Occupant::Resting(connection)) => Found::Connection(connection),
            Some(Occupant::Watched(hung_up)) => Found::HungUp(hung_up),
            Some(Occupant::Nobody) | None => Found::Nobody,
        }
    }

    /// Calls `hung_up` if the client of this parked exchange hangs up; `arm` asks to be told of that.
    pub fn watch(&self, token: u64, hung_up: HungUp, arm: impl FnOnce() -> io::Result<()>) {
        let before = self.with(token, |content| {
            // Without being armed, a client that hangs up is found out by the response.
            let _ = arm();
            std::mem::replace(&mut content.occupant, Occupant::Watched(hung_up))
        });
        drop(before);
    }

    /// Ends the watch, if there is one.
    pub fn unwatch(&self, token: u64) {
        let watch = self.with(token, |content| match content.occupant {
            Occupant::Watched(_) => std::mem::take(&mut content.occupant),
            _ => Occupant::Nobody,
        });
        // It is dropped outside the lock.
        drop(watch);
    }

    /// Takes out the resting connections of which `leaves` holds.
    #[expect(clippy::vec_box, reason = "they stay in the boxes they rest in")]
    pub fn extract(&self, leaves: impl Fn(&Connection) -> bool) -> Vec<Box<Connection>> {
        let mut left = Vec::new();
        self.each(|content| {
            if matches!(&content.occupant, Occupant::Resting(connection) if leaves(connection))
                && let Occupant::Resting(connection) = std::mem::take(&mut content.occupant)
            {
                left.push(connection);
            }
        });
        left
    }

    /// How many connections rest of which this holds.
    pub fn count(&self, holds: impl Fn(&Connection) -> bool) -> usize {
        let mut number = 0;
        self.each(|content| {
            let counts = matches!(&content.occupant, Occupant::Resting(connection) if holds(connection));
            number += usize::from(counts);
        });
        number
    }

    fn each(&self, mut work: impl FnMut(&mut Content)) {
        let used = lock(&self.free).used as usize;
        let slots = self.segments.iter().map_while(OnceLock::get).flatten();
        slots.take(used).for_each(|slot| work(&mut lock(&slot.0)));
    }

    /// Works on the slot of this token, if its connection still has it.
    fn with<T>(&self, token: u64, work: impl FnOnce(&mut Content) -> T) -> Option<T> {
        let (segment, offset) = split(token as u32);
        let slot = self.segments.get(segment)?.get()?.get(offset)?;
        let mut content = lock(&slot.0);
        (u64::from(content.generation) == token >> 32).then(|| work(&mut content))
    }
}

impl Place {
    /// The token of the connection's events.
    pub fn token(&self) -> u64 {
        self.token
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.table.unwatch(self.token);
        self.table.with(self.token, |content| {
            content.generation = content.generation.wrapping_add(1) & 0x7fff_ffff;
        });
        lock(&self.table.free).returned.push(self.token as u32);
    }
}

fn split(index: u32) -> (usize, usize) {
    (index as usize / SEGMENT, index as usize % SEGMENT)
}
