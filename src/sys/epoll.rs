//! Readiness of many file descriptors at once (epoll).

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;

use super::Interest;
use super::wait::timespec;

/// Descriptors reported by one call; more stay ready for the next.
const BATCH: usize = 256;
/// The kernel counts milliseconds in an `int`.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

/// A set of watched descriptors, each with a token. Any thread may change it while another waits.
#[derive(Debug)]
pub struct Epoll(OwnedFd);

/// The result of one [`Epoll::wait`].
pub struct Events(Vec<epoll::Event>);

impl Events {
    /// Room for one batch.
    #[expect(clippy::new_without_default, reason = "an empty batch is no natural default")]
    pub fn new() -> Self {
        Self::with_room(BATCH)
    }

    /// Room for so many reports, at least one.
    pub fn with_room(reports: usize) -> Self {
        Self(Vec::with_capacity(reports.max(1)))
    }

    /// The tokens of the descriptors that are ready, hung up or broken.
    pub fn tokens(&self) -> impl Iterator<Item = u64> + '_ {
        self.reports().map(|(token, _)| token)
    }

    /// The same, and whether the other side has hung up, be it only its half.
    pub fn reports(&self) -> impl Iterator<Item = (u64, bool)> + '_ {
        let ended = EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR;
        self.0.iter().map(move |event| (event.data.u64(), { event.flags }.intersects(ended)))
    }
}

impl Epoll {
    /// An empty set.
    pub fn new() -> io::Result<Self> {
        Ok(Self(epoll::create(CreateFlags::CLOEXEC)?))
    }

    /// Watches `fd` for something to read, and reports it as long as there is; closing it ends that.
    pub fn watch(&self, fd: impl AsFd, token: u64) -> io::Result<()> {
        Ok(epoll::add(&self.0, fd, EventData::new_u64(token), EventFlags::IN)?)
    }

    /// Watches `fd` for something to read, and reports it once for each time that more comes; closing it ends that.
    pub fn watch_edges(&self, fd: impl AsFd, token: u64) -> io::Result<()> {
        let flags = EventFlags::IN | EventFlags::ET;
        Ok(epoll::add(&self.0, fd, EventData::new_u64(token), flags)?)
    }

    /// Watches a new `fd` until it is reported once.
    pub fn arm(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::add(&self.0, fd, EventData::new_u64(token), once(interest))?)
    }

    /// Watches an `fd` that was armed before until it is reported once more; what is ready already is reported, too.
    pub fn rearm(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::modify(&self.0, fd, EventData::new_u64(token), once(interest))?)
    }

    /// Waits until something is ready or until the deadline; an interrupted wait ends early with nothing.
    pub fn wait(&self, events: &mut Events, deadline: Option<Instant>) -> io::Result<()> {
        events.0.clear();
        let left = |deadline: Instant| deadline.saturating_duration_since(Instant::now());
        let timeout = deadline.map(|deadline| timespec(left(deadline).min(LONGEST_WAIT)));
        match epoll::wait(&self.0, spare_capacity(&mut events.0), timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn once(interest: Interest) -> EventFlags {
    let flags = match interest {
        Interest::Read => EventFlags::IN,
        Interest::Write => EventFlags::OUT,
        Interest::Both => EventFlags::IN | EventFlags::OUT,
        Interest::HangUp => EventFlags::RDHUP,
        Interest::Break => EventFlags::empty(),
    };
    flags | EventFlags::ONESHOT
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{Shutdown, TcpListener, TcpStream};

    use super::super::Waker;
    use super::*;

    fn ready(epoll: &Epoll) -> Vec<u64> {
        let mut events = Events::new();
        epoll.wait(&mut events, Some(Instant::now())).unwrap();
        events.tokens().collect()
    }

    #[test]
    fn a_watched_descriptor_is_reported_as_long_as_it_is_ready() {
        let (epoll, waker) = (Epoll::new().unwrap(), Waker::new().unwrap());
        epoll.watch(&waker, 7).unwrap();
        assert!(ready(&epoll).is_empty());
        waker.wake();
        assert_eq!(ready(&epoll), [7]);
        assert_eq!(ready(&epoll), [7]);
        waker.clear();
        assert!(ready(&epoll).is_empty());
    }

    #[test]
    fn an_armed_descriptor_is_reported_once_each_time() {
        let (epoll, waker) = (Epoll::new().unwrap(), Waker::new().unwrap());
        waker.wake();
        epoll.arm(&waker, u64::MAX, Interest::Read).unwrap();
        assert_eq!(ready(&epoll), [u64::MAX]);
        assert!(ready(&epoll).is_empty());
        epoll.rearm(&waker, 8, Interest::Both).unwrap();
        assert_eq!(ready(&epoll), [8]);
    }

    #[test]
    fn a_hang_up_is_told_from_bytes_and_a_break_from_a_hang_up() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        let epoll = Epoll::new().unwrap();
        let next = || {
            let mut events = Events::new();
            epoll.wait(&mut events, None).unwrap();
            events.reports().collect::<Vec<_>>()
        };
        epoll.arm(&server, 1, Interest::HangUp).unwrap();
        client.write_all(b"unread").unwrap();
        epoll.rearm(&server, 2, Interest::Read).unwrap();
        assert_eq!(next(), [(2, false)], "the bytes are there");
        epoll.rearm(&server, 3, Interest::HangUp).unwrap();
        assert!(ready(&epoll).is_empty());
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(next(), [(3, true)]);
        epoll.rearm(&server, 4, Interest::Break).unwrap();
        assert!(ready(&epoll).is_empty());
        drop(client);
        (&server).write_all(b"too late").unwrap();
        assert_eq!(next(), [(4, true)]);
    }

    #[test]
    fn a_wait_without_end_is_woken() {
        let (epoll, waker) = (Epoll::new().unwrap(), Waker::new().unwrap());
        epoll.watch(&waker, 1).unwrap();
        let mut events = Events::new();
        std::thread::scope(|scope| {
            scope.spawn(|| waker.wake());
            while events.tokens().next().is_none() {
                epoll.wait(&mut events, None).unwrap();
            }
        });
        assert_eq!(events.tokens().collect::<Vec<_>>(), [1]);
    }
}
