//! Waiting for file descriptors, with a deadline, and being woken from another thread.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;

/// The event to wait for on a file descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Something to read, or the end.
    Read,
    /// Room to write.
    Write,
    /// Either.
    Both,
    /// The other end's last byte, whatever is still to be read before it.
    HangUp,
    /// Nothing: a descriptor that is hung up both ways or broken is reported whatever is waited for.
    Break,
}

/// Waits until one of the descriptors is ready, hung up or broken, or until the deadline. Says of each
/// whether it is; none is after a time-out. Interrupted calls go on waiting.
pub fn wait(fds: &[(BorrowedFd<'_>, Interest)], deadline: Option<Instant>) -> io::Result<Vec<bool>> {
    let flags = |interest| match interest {
        Interest::Read => PollFlags::IN,
        Interest::Write => PollFlags::OUT,
        Interest::Both => PollFlags::IN | PollFlags::OUT,
        Interest::HangUp => PollFlags::RDHUP,
        Interest::Break => PollFlags::empty(),
    };
    let mut polled: Vec<_> =
        fds.iter().map(|(fd, interest)| PollFd::from_borrowed_fd(*fd, flags(*interest))).collect();
    loop {
        let timeout = deadline.map(|deadline| timespec(deadline.saturating_duration_since(Instant::now())));
        match poll(&mut polled, timeout.as_ref()) {
            Ok(_) => return Ok(polled.iter().map(|fd| !fd.revents().is_empty()).collect()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

pub(super) fn timespec(duration: Duration) -> Timespec {
    // A wait of more than a year is as good as one without end.
    let duration = duration.min(Duration::from_secs(365 * 24 * 3600));
    Timespec { tv_sec: duration.as_secs().cast_signed(), tv_nsec: duration.subsec_nanos().into() }
}

/// Wakes a thread that waits for it in [`wait`] or in an epoll.
#[derive(Debug)]
pub struct Waker(OwnedFd);

impl Waker {
    /// A waker that has not been woken.
    pub fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    /// Makes the waker readable until the next [`Waker::clear`].
    pub fn wake(&self) {
        // Fails only when the counter is full: then it is readable already.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Makes the waker unreadable.
    pub fn clear(&self) {
        // Fails only when there is nothing to clear.
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waker_wakes_until_it_is_cleared() {
        let waker = Waker::new().unwrap();
        let ready = |deadline| wait(&[(waker.as_fd(), Interest::Read)], deadline).unwrap()[0];
        assert!(!ready(Some(Instant::now())));
        waker.wake();
        waker.wake();
        assert!(ready(None));
        waker.clear();
        assert!(!ready(Some(Instant::now() + Duration::from_millis(5))));
    }
}
