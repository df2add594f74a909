//! Permits for uploads, the one thing by which a slow client holds a thread. Where they run out, an upload that is slow
//! gives way. Worker threads that have left their turns call this, since a newcomer waits.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

use super::client::network;
use crate::http::lock::lock;
use crate::limits;
use crate::model::Refusal;
use crate::sys::Waker;

/// The permits, in all and for each client network.
#[derive(Debug)]
pub struct Uploads {
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Debug)]
struct State {
    max: usize,
    /// Those that run, by the numbers of their permits.
    running: HashMap<u64, Arc<Upload>>,
    each: HashMap<IpAddr, usize>,
    next: u64,
    /// Newcomers that wait for a permit.
    waiting: usize,
}

/// An upload that has a permit.
#[derive(Debug)]
pub struct Upload {
    network: Option<IpAddr>,
    since: Instant,
    recent: Mutex<Recent>,
    gives_way: AtomicBool,
    /// There since it first waited for its client. Woken once it is to give way.
    waker: Mutex<Option<Arc<Waker>>>,
}

/// A permit; it is given back when it drops.
#[derive(Debug)]
pub struct UploadPermit {
    uploads: Arc<Uploads>,
    number: u64,
    upload: Arc<Upload>,
}

/// Bytes that came in each of the last seconds.
#[derive(Debug, Default)]
struct Recent {
    /// The second, counted from the permit, and the bytes that came in it.
    seconds: [(u64, u64); limits::SLOW_UPLOAD_TIME.as_secs() as usize],
}

impl Uploads {
    /// Permits for so many uploads at a time.
    pub fn new(max: usize) -> Arc<Self> {
        let state = State { max, running: HashMap::new(), each: HashMap::new(), next: 0, waiting: 0 };
        Arc::new(Self { state: Mutex::new(state), freed: Condvar::new() })
    }

    /// Another number from now on; permits that are held stay valid.
    pub fn resize(&self, max: usize) {
        lock(&self.state).max = max;
        self.freed.notify_all();
    }

    /// Takes a permit for a client of this address; `None` is counted in all only. Where there is none, the slowest of
    /// the slow uploads is told to give way, and the newcomer waits for up to [`limits::UPLOAD_WAIT`].
    pub fn take(self: &Arc<Self>, address: Option<IpAddr>) -> Result<UploadPermit, Refusal> {
        let network = address.map(network);
        let deadline = Instant::now() + limits::UPLOAD_WAIT;
        let mut state = lock(&self.state);
        let mut told = false;
        loop {
            if state.has_room(network) {
                return Ok(self.grant(&mut state, network));
            }
            let now = Instant::now();
            told = told || state.tell_the_slowest(network, now);
            let left = deadline.saturating_duration_since(now).min(limits::UPLOAD_WAIT / 8);
            if state.max == 0 || left.is_zero() {
                return Err(Refusal::TooManyUploads);
            }
            state.waiting += 1;
            state = self.freed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            state.waiting -= 1;
        }
    }

    fn grant(self: &Arc<Self>, state: &mut State, network: Option<IpAddr>) -> UploadPermit {
        let upload = Arc::new(Upload {
            network,
            since: Instant::now(),
            recent: Mutex::default(),
            gives_way: AtomicBool::new(false),
            waker: Mutex::default(),
        });
        let number = state.next;
        state.next += 1;
        state.running.insert(number, Arc::clone(&upload));
        if let Some(network) = network {
            *state.each.entry(network).or_default() += 1;
        }
        UploadPermit { uploads: Arc::clone(self), number, upload }
    }

    /// How many are held.
    pub fn held(&self) -> usize {
        lock(&self.state).running.len()
    }

    /// How many there are.
    pub fn max(&self) -> usize {
        lock(&self.state).max
    }
}

impl State {
    fn has_room(&self, network: Option<IpAddr>) -> bool {
        self.running.len() < self.max && !self.is_full_for(network)
    }

    /// Whether one network has as many as one may have: slow uploads of one must leave some to others.
    fn is_full_for(&self, network: Option<IpAddr>) -> bool {
        let each = network.and_then(|network| self.each.get(&network)).copied().unwrap_or_default();
        each >= (self.max / 4).max(limits::UPLOADS_EACH)
    }

    /// Tells the slowest of the slow uploads to give way; whether there is one. It is of the network with most permits, or
    /// of the newcomer's, if that has as many as it may have.
    fn tell_the_slowest(&self, newcomer: Option<IpAddr>, now: Instant) -> bool {
        let full = self.is_full_for(newcomer);
        let slow = self.running.values().filter(|upload| upload.is_slow(now));
        let candidates = slow.filter(|upload| !full || upload.network == newcomer);
        let held = |upload: &Upload| {
            upload.network.and_then(|network| self.each.get(&network)).copied().unwrap_or_default()
        };
        let slowest = candidates.max_by_key(|upload| (held(upload), std::cmp::Reverse(upload.recent(now))));
        if let Some(upload) = slowest {
            upload.give_way();
        }
        slowest.is_some()
    }
}

impl Upload {
    /// Takes note of bytes that came.
    pub fn note(&self, bytes: u64, now: Instant) {
        lock(&self.recent).add(self.second(now), bytes);
    }

    /// Whether it must end, so that another one can begin.
    pub fn gives_way(&self) -> bool {
        self.gives_way.load(Ordering::Acquire)
    }

    /// Readable once it is to give way. For an upload that has to wait: most come as a whole.
    pub fn waker(&self) -> io::Result<Arc<Waker>> {
        let mut waker = lock(&self.waker);
        if let Some(waker) = &*waker {
            return Ok(Arc::clone(waker));
        }
        let new = Arc::new(Waker::new()?);
        if self.gives_way() {
            new.wake();
        }
        *waker = Some(Arc::clone(&new));
        Ok(new)
    }

    fn give_way(&self) {
        self.gives_way.store(true, Ordering::Release);
        if let Some(waker) = &*lock(&self.waker) {
            waker.wake();
        }
    }

    fn is_slow(&self, now: Instant) -> bool {
        let old = now.duration_since(self.since) > limits::SLOW_UPLOAD_TIME;
        let due = limits::SLOW_UPLOAD_RATE * limits::SLOW_UPLOAD_TIME.as_secs();
        old && !self.gives_way() && self.recent(now) < due
    }

    /// Bytes that came lately.
    fn recent(&self, now: Instant) -> u64 {
        lock(&self.recent).sum(self.second(now))
    }

    fn second(&self, now: Instant) -> u64 {
        now.duration_since(self.since).as_secs()
    }
}

impl Recent {
    fn add(&mut self, second: u64, bytes: u64) {
        let length = self.seconds.len() as u64;
        let place = &mut self.seconds[(second % length) as usize];
        *place = if place.0 == second { (second, place.1 + bytes) } else { (second, bytes) };
    }

    fn sum(&self, second: u64) -> u64 {
        let length = self.seconds.len() as u64;
        self.seconds.iter().filter(|place| place.0 + length > second).map(|place| place.1).sum()
    }
}

impl UploadPermit {
    /// The upload that has it.
    pub fn upload(&self) -> &Upload {
        &self.upload
    }
}

impl Drop for UploadPermit {
    fn drop(&mut self) {
        let mut state = lock(&self.uploads.state);
        state.running.remove(&self.number);
        if let Some(network) = self.upload.network
            && let Some(each) = state.each.get_mut(&network)
        {
            *each -= 1;
            if *each == 0 {
                state.each.remove(&network);
            }
        }
        // This costs a system call, even if no thread waits.
        if state.waiting > 0 {
            drop(state);
            self.uploads.freed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::time::Duration;

    use super::*;
    use crate::sys::Interest;

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    /// Moves the beginning of every upload into the past.
    fn age(uploads: &Uploads, time: Duration) {
        let mut state = lock(&uploads.state);
        for upload in state.running.values_mut() {
            let since = upload.since - time;
            *upload = Arc::new(Upload {
                network: upload.network,
                since,
                recent: Mutex::default(),
                gives_way: AtomicBool::new(false),
                waker: Mutex::default(),
            });
        }
    }

    #[test]
    fn one_network_has_a_quarter_but_never_fewer_than_eight() {
        for (max, each) in [(16, 8), (32, 8), (48, 12), (400, 100)] {
            let uploads = Uploads::new(max);
            let _held: Vec<_> = (0..each).map(|_| uploads.take(address("192.0.2.1")).unwrap()).collect();
            assert!(lock(&uploads.state).is_full_for(address("192.0.2.1")), "{max}");
            assert!(!lock(&uploads.state).is_full_for(address("192.0.2.2")), "{max}");
            assert!(uploads.take(address("192.0.2.2")).is_ok() && uploads.take(None).is_ok());
        }
    }

    #[test]
    fn a_permit_that_is_given_back_goes_to_the_one_that_waits() {
        let uploads = Uploads::new(1);
        let permit = uploads.take(None).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| uploads.take(address("192.0.2.1")).is_ok());
            drop(permit);
            assert!(waiting.join().unwrap());
        });
        assert_eq!((uploads.held(), uploads.max()), (0, 1));
    }

    #[test]
    fn without_any_permits_an_upload_is_refused_at_once() {
        let begun = Instant::now();
        assert_eq!(Uploads::new(0).take(None).unwrap_err(), Refusal::TooManyUploads);
        assert!(begun.elapsed() < limits::UPLOAD_WAIT);
    }

    #[test]
    fn the_slowest_upload_of_the_network_with_most_permits_gives_way() {
        let uploads = Uploads::new(4);
        let [one, two, three] = ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(address);
        let held: Vec<_> = [one, two, two, three].map(|from| uploads.take(from).unwrap()).into();
        let now = Instant::now();
        assert!(!lock(&uploads.state).tell_the_slowest(address("192.0.2.4"), now), "all are young");
        age(&uploads, limits::SLOW_UPLOAD_TIME * 2);
        let upload = |number| Arc::clone(&lock(&uploads.state).running[&number]);
        upload(1).note(10, now);
        upload(2).note(9, now);
        assert!(lock(&uploads.state).tell_the_slowest(address("192.0.2.4"), now));
        assert_eq!([0, 1, 2, 3].map(|number| upload(number).gives_way()), [false, false, true, false]);
        upload(1).note(limits::SLOW_UPLOAD_RATE * 60, now);
        assert!(lock(&uploads.state).tell_the_slowest(address("192.0.2.4"), now));
        assert_eq!(
            [0, 1, 3].map(|number| upload(number).gives_way()).iter().filter(|told| **told).count(),
            1
        );
        assert!(!upload(1).gives_way(), "it is fast");
        drop(held);
    }

    #[test]
    fn bytes_count_for_five_seconds() {
        let mut recent = Recent::default();
        recent.add(0, 1);
        recent.add(0, 2);
        recent.add(4, 4);
        assert_eq!([4, 5, 8, 9].map(|second| recent.sum(second)), [7, 4, 4, 0]);
        recent.add(5, 8);
        assert_eq!(recent.sum(5), 12);
    }

    #[test]
    fn an_upload_that_gives_way_is_woken_whether_it_waits_before_or_after() {
        let uploads = Uploads::new(2);
        let [early, late] = [uploads.take(None).unwrap(), uploads.take(None).unwrap()];
        let is_woken = |upload: &Upload| {
            let waker = upload.waker().unwrap();
            crate::sys::wait(&[(waker.as_fd(), Interest::Read)], Some(Instant::now())).unwrap()[0]
        };
        assert!(!is_woken(early.upload()));
        for permit in [&early, &late] {
            permit.upload().give_way();
            assert!(is_woken(permit.upload()));
        }
    }
}
