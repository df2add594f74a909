//! Permits: the limit of open connections.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::client::network;
use crate::http::lock::lock;
use crate::model::Refusal;

/// The permits for connections, in all and for each client address.
#[derive(Debug)]
pub struct Permits {
    max: AtomicUsize,
    max_each: AtomicUsize,
    held: Mutex<Held>,
    empty: Condvar,
}

#[derive(Debug, Default)]
struct Held {
    all: usize,
    each: HashMap<IpAddr, usize>,
}

/// One that is held.
#[derive(Debug)]
pub struct Permit {
    permits: Arc<Permits>,
    address: Option<IpAddr>,
}

impl Permits {
    pub fn new(max: usize, max_each: usize) -> Arc<Self> {
        let (max, max_each) = (AtomicUsize::new(max), AtomicUsize::new(max_each));
        Arc::new(Self { max, max_each, held: Mutex::default(), empty: Condvar::new() })
    }

    /// Other numbers from now on; permits that are held stay so.
    pub fn resize(&self, max: usize, max_each: usize) {
        self.max.store(max, Ordering::Release);
        self.max_each.store(max_each, Ordering::Release);
    }

    /// Takes a permit for a client of this address; `None` is counted in all only.
    pub fn take(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Permit, Refusal> {
        let address = address.map(network);
        let mut held = lock(&self.held);
        if held.all >= self.max.load(Ordering::Acquire) {
            return Err(Refusal::Overloaded);
        }
        if let Some(address) = address {
            let each = held.each.entry(address).or_default();
            if *each >= self.max_each.load(Ordering::Acquire) {
                return Err(Refusal::TooManyConnections);
            }
            *each += 1;
        }
        held.all += 1;
        Ok(Permit { permits: Arc::clone(self), address })
    }

    /// How many are held.
    pub fn held(&self) -> usize {
        lock(&self.held).all
    }

    /// How many there are.
    pub fn max(&self) -> usize {
        self.max.load(Ordering::Acquire)
    }

    /// Waits until none is held; whether that was so in time.
    pub fn wait_empty(&self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        let mut held = lock(&self.held);
        while held.all > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            held = self.empty.wait_timeout(held, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut held = lock(&self.permits.held);
        held.all -= 1;
        if let Some(address) = self.address
            && let Some(each) = held.each.get_mut(&address)
        {
            *each -= 1;
            if *each == 0 {
                held.each.remove(&address);
            }
        }
        if held.all == 0 {
            self.permits.empty.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_are_capped_in_all_and_for_each_address() {
        let permits = Permits::new(3, 1);
        let take = |address: &str| permits.take(Some(address.parse().unwrap()));
        let first = take("192.0.2.1").unwrap();
        assert_eq!(take("192.0.2.1").unwrap_err(), Refusal::TooManyConnections);
        assert_eq!(take("::ffff:192.0.2.1").unwrap_err(), Refusal::TooManyConnections);
        let _six = take("2001:db8::1").unwrap();
        assert_eq!(take("2001:db8::2").unwrap_err(), Refusal::TooManyConnections);
        let _proxy = permits.take(None).unwrap();
        assert_eq!(permits.take(None).unwrap_err(), Refusal::Overloaded);
        drop(first);
        assert_eq!(permits.held(), 2);
        assert!(take("192.0.2.1").is_ok());
        permits.resize(3, 2);
        let _eight = take("2001:db8::2").unwrap();
        permits.resize(2, 2);
        assert_eq!(take("192.0.2.1").unwrap_err(), Refusal::Overloaded);
    }

    #[test]
    fn waiting_for_empty_ends_when_the_last_permit_is_returned() {
        let permits = Permits::new(1, 1);
        assert!(permits.wait_empty(Duration::ZERO));
        let permit = permits.take(None).unwrap();
        assert!(!permits.wait_empty(Duration::ZERO));
        std::thread::scope(|scope| {
            scope.spawn(move || drop(permit));
            assert!(permits.wait_empty(Duration::from_secs(60)));
        });
    }
}
