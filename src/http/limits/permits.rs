//! Seats: how many connections, uploads and downloads there may be. One that is taken is free again when it drops.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::client::network;
use crate::model::Refusal;

/// Locks, whatever a thread that panicked left: what is kept in our locks is whole between any two statements.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The seats for connections, uploads or downloads, in all and for each client address.
#[derive(Debug)]
pub struct Seats {
    most: AtomicUsize,
    most_each: AtomicUsize,
    taken: Mutex<Taken>,
    empty: Condvar,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    each: HashMap<IpAddr, usize>,
}

/// One that is taken.
#[derive(Debug)]
pub struct Seat {
    seats: Arc<Seats>,
    address: Option<IpAddr>,
}

impl Seats {
    pub fn new(most: usize, most_each: usize) -> Arc<Self> {
        let (most, most_each) = (AtomicUsize::new(most), AtomicUsize::new(most_each));
        Arc::new(Self { most, most_each, taken: Mutex::default(), empty: Condvar::new() })
    }

    /// Other numbers from now on; seats that are taken stay so.
    pub fn resize(&self, most: usize, most_each: usize) {
        self.most.store(most, Ordering::Release);
        self.most_each.store(most_each, Ordering::Release);
    }

    /// Takes a seat for a client of this address; `None` is counted in all only.
    pub fn take(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Seat, Refusal> {
        let address = address.map(network);
        let mut taken = lock(&self.taken);
        if taken.all >= self.most.load(Ordering::Acquire) {
            return Err(Refusal::Overloaded);
        }
        if let Some(address) = address {
            let each = taken.each.entry(address).or_default();
            if *each >= self.most_each.load(Ordering::Acquire) {
                return Err(Refusal::TooManyConnections);
            }
            *each += 1;
        }
        taken.all += 1;
        Ok(Seat { seats: Arc::clone(self), address })
    }

    /// How many are taken.
    pub fn taken(&self) -> usize {
        lock(&self.taken).all
    }

    /// How many there are.
    pub fn most(&self) -> usize {
        self.most.load(Ordering::Acquire)
    }

    /// Waits until none is taken; whether that was so in time.
    pub fn wait_empty(&self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        let mut taken = lock(&self.taken);
        while taken.all > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            taken = self.empty.wait_timeout(taken, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = lock(&self.seats.taken);
        taken.all -= 1;
        if let Some(address) = self.address
            && let Some(each) = taken.each.get_mut(&address)
        {
            *each -= 1;
            if *each == 0 {
                taken.each.remove(&address);
            }
        }
        if taken.all == 0 {
            self.seats.empty.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_capped_in_all_and_for_each_address() {
        let seats = Seats::new(3, 1);
        let take = |address: &str| seats.take(Some(address.parse().unwrap()));
        let first = take("192.0.2.1").unwrap();
        assert_eq!(take("192.0.2.1").unwrap_err(), Refusal::TooManyConnections);
        assert_eq!(take("::ffff:192.0.2.1").unwrap_err(), Refusal::TooManyConnections);
        let _six = take("2001:db8::1").unwrap();
        assert_eq!(take("2001:db8::2").unwrap_err(), Refusal::TooManyConnections);
        let _proxy = seats.take(None).unwrap();
        assert_eq!(seats.take(None).unwrap_err(), Refusal::Overloaded);
        drop(first);
        assert_eq!(seats.taken(), 2);
        assert!(take("192.0.2.1").is_ok());
        seats.resize(3, 2);
        let _eight = take("2001:db8::2").unwrap();
        seats.resize(2, 2);
        assert_eq!(take("192.0.2.1").unwrap_err(), Refusal::Overloaded);
    }

    #[test]
    fn the_last_to_leave_is_noticed() {
        let seats = Seats::new(1, 1);
        assert!(seats.wait_empty(Duration::ZERO));
        let seat = seats.take(None).unwrap();
        assert!(!seats.wait_empty(Duration::ZERO));
        std::thread::scope(|scope| {
            scope.spawn(move || drop(seat));
            assert!(seats.wait_empty(Duration::from_secs(60)));
        });
    }
}
