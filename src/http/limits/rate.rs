//! The rate of requests: a bucket of tokens for each client address, filled as time goes on.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::client::network;
use crate::http::lock::lock;
use crate::limits;

/// How many requests each address may make.
#[derive(Debug)]
pub struct Rates(Mutex<Buckets>);

#[derive(Debug)]
struct Buckets {
    /// Requests a second; 0: any number.
    rate: u32,
    most: usize,
    /// When the bucket of each address will be full again; one that is not here is full.
    each: HashMap<IpAddr, Instant>,
    /// The one bucket of all addresses that have no room in `each`.
    others: Option<Instant>,
    /// When full buckets were dropped last.
    swept: Option<Instant>,
}

impl Rates {
    /// Lets each address make so many requests a second, or any number if that is 0.
    pub fn new(rate: u32) -> Self {
        Self::with_places(rate, limits::RATE_ADDRESSES)
    }

    fn with_places(rate: u32, most: usize) -> Self {
        Self(Mutex::new(Buckets { rate, most, each: HashMap::new(), others: None, swept: None }))
    }

    /// Another rate from now on, and full buckets for everyone.
    pub fn set(&self, rate: u32) {
        let mut buckets = lock(&self.0);
        if buckets.rate != rate {
            *buckets = Buckets { rate, most: buckets.most, each: HashMap::new(), others: None, swept: None };
        }
    }

    /// Whether a request from this address may pass now; it then counts.
    pub fn admit(&self, address: IpAddr, now: Instant) -> bool {
        let mut buckets = lock(&self.0);
        let Some(token) = Duration::from_secs(1).checked_div(buckets.rate) else { return true };
        let network = network(address);
        let full = buckets.full_at(network, now).max(now) + token;
        let admitted = full <= now + limits::RATE_BURST;
        if admitted {
            buckets.fill_until(network, full);
        }
        admitted
    }
}

impl Buckets {
    /// When this client's bucket will be full, or was.
    fn full_at(&mut self, network: IpAddr, now: Instant) -> Instant {
        if let Some(full) = self.each.get(&network) {
            return *full;
        }
        if self.each.len() >= self.most {
            self.sweep(now);
        }
        if self.each.len() < self.most { now } else { self.others.unwrap_or(now) }
    }

    fn fill_until(&mut self, network: IpAddr, full: Instant) {
        if self.each.len() < self.most || self.each.contains_key(&network) {
            self.each.insert(network, full);
        } else {
            self.others = Some(full);
        }
    }

    /// Drops the buckets that are full, so seldom that it costs nothing.
    fn sweep(&mut self, now: Instant) {
        if self.swept.is_none_or(|swept| now >= swept + limits::RATE_SWEEP) {
            self.each.retain(|_, full| *full > now);
            self.swept = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    const BURST: u32 = limits::RATE_BURST.as_secs() as u32;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// How many of so many requests at one moment may pass.
    fn admitted(rates: &Rates, from: &str, requests: u32, now: Instant) -> u32 {
        (0..requests).map(|_| u32::from(rates.admit(address(from), now))).sum()
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let (rates, start) = (Rates::new(5), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!(admitted(&rates, "192.0.2.1", 1000, start), 5 * BURST);
        assert_eq!(admitted(&rates, "192.0.2.1", 9, at(199)), 0);
        assert_eq!(admitted(&rates, "192.0.2.1", 9, at(200)), 1);
        assert_eq!(admitted(&rates, "192.0.2.1", 9, at(1000)), 4);
        assert_eq!(admitted(&rates, "192.0.2.2", 1000, at(1000)), 5 * BURST, "another address");
        assert_eq!(
            admitted(&rates, "192.0.2.1", 1000, at(1_000_000)),
            5 * BURST,
            "full again, and no fuller"
        );
        assert_eq!(admitted(&rates, "192.0.2.1", 1000, at(0)), 0, "a clock read a little earlier");
    }

    #[test]
    fn an_address_is_an_ipv4_address_or_a_64() {
        let (rates, now) = (Rates::new(1), Instant::now());
        assert_eq!(admitted(&rates, "192.0.2.1", 1000, now), BURST);
        assert_eq!(admitted(&rates, "::ffff:192.0.2.1", 1, now), 0);
        assert_eq!(admitted(&rates, "2001:db8::1", 1000, now), BURST);
        assert_eq!(admitted(&rates, "2001:db8::2", 1, now), 0);
        assert_eq!(admitted(&rates, "2001:db8:0:1::1", 1, now), 1);
    }

    #[test]
    fn a_rate_of_0_is_unlimited_and_a_new_rate_starts_full() {
        let (rates, now) = (Rates::new(0), Instant::now());
        assert_eq!(admitted(&rates, "192.0.2.1", 1000, now), 1000);
        rates.set(2);
        assert_eq!(admitted(&rates, "192.0.2.1", 1000, now), 2 * BURST);
        rates.set(2);
        assert_eq!(admitted(&rates, "192.0.2.1", 1, now), 0);
        rates.set(1);
        assert_eq!(admitted(&rates, "192.0.2.1", 1000, now), BURST);
    }

    #[test]
    fn addresses_beyond_the_table_share_one_bucket() {
        let (rates, start) = (Rates::with_places(1, 2), Instant::now());
        for place in ["192.0.2.1", "192.0.2.2"] {
            assert_eq!(admitted(&rates, place, 1000, start), BURST);
        }
        assert_eq!(admitted(&rates, "192.0.2.3", 4, start), 4);
        assert_eq!(admitted(&rates, "192.0.2.4", 1000, start), BURST - 4);
        assert_eq!(admitted(&rates, "192.0.2.5", 1, start), 0);
        assert_eq!(lock(&rates.0).each.len(), 2);
        let later = start + limits::RATE_BURST;
        assert_eq!(admitted(&rates, "192.0.2.5", 1000, later), BURST);
        assert_eq!(lock(&rates.0).each.len(), 1, "full buckets are forgotten");
    }

    /// The promise: in no window of time pass more than a burst and what the rate gives for its length.
    #[test]
    fn no_window_lets_more_through_than_its_burst_and_rate() {
        let mut random = Random::new(1);
        let mut draw = |below: u64| random.below(usize::try_from(below).unwrap()) as u64;
        for rate in [1, 3, 7, 50] {
            let (rates, start) = (Rates::new(rate), Instant::now());
            let (mut now, mut passed) = (0_u64, Vec::new());
            for _ in 0..3000 {
                now += if draw(100) == 0 { draw(5000) } else { draw(2000 / u64::from(rate)) };
                if rates.admit(address("192.0.2.1"), start + Duration::from_millis(now)) {
                    passed.push(now);
                }
            }
            let most = |millis: u64| u64::from(rate * BURST) + millis * u64::from(rate) / 1000;
            for (first, begin) in passed.iter().enumerate() {
                for (last, end) in passed.iter().enumerate().skip(first) {
                    assert!((last - first + 1) as u64 <= most(end - begin), "{rate}: {begin} to {end}");
                }
            }
            assert!(passed.len() as u64 + 1 >= most(0).min(3000), "{rate}: {} passed", passed.len());
        }
    }
}
