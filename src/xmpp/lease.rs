//! Until when this process may hold the component's stream. Of several nodes only one may. The thread `cluster` grants
//! the lease and renews it; the XMPP thread obeys it, whatever the other thread waits for meanwhile.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::sys::Waker;

/// The lease of the component's stream; cheap to clone.
#[derive(Clone)]
pub struct Lease(Option<Arc<SharedLease>>);

/// The permission of the XMPP thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeaseTerm {
    /// It may hold the stream as long as it likes.
    Unlimited,
    /// It may hold the stream until then.
    Until(Instant),
    /// It may hold no stream.
    Ended,
}

#[derive(Default)]
struct SharedLease {
    state: Mutex<LeaseState>,
    left: Condvar,
    waker: OnceLock<Arc<Waker>>,
}

#[derive(Default)]
struct LeaseState {
    until: Option<Instant>,
    /// Whether there may be a stream.
    is_in_use: bool,
}

impl Lease {
    /// The lease of a process that shares its component with no other.
    pub fn unlimited() -> Self {
        Self(None)
    }

    /// A lease that is still to be granted.
    pub fn withheld() -> Self {
        Self(Some(Arc::default()))
    }

    /// The stream may be held until then. An earlier grant ends.
    pub fn grant(&self, until: Instant) {
        let Some(shared) = &self.0 else { return };
        let before = shared.lock().until.replace(until);
        // A thread that has a term looks again when that is over.
        if before.is_none_or(|before| before <= Instant::now()) {
            shared.wake();
        }
    }

    /// The stream must end now.
    pub fn revoke(&self) {
        let Some(shared) = &self.0 else { return };
        if shared.lock().until.take().is_some() {
            shared.wake();
        }
    }

    /// Whether the stream may be held now.
    pub fn is_granted(&self, now: Instant) -> bool {
        self.0.as_ref().is_none_or(|shared| shared.lock().until.is_some_and(|until| now < until))
    }

    /// Waits until the stream has ended, at most this long; says whether it has.
    pub fn wait_until_left(&self, within: Duration) -> bool {
        let Some(shared) = &self.0 else { return false };
        let state = shared.lock();
        let waited = shared.left.wait_timeout_while(state, within, |state| state.is_in_use);
        !waited.unwrap_or_else(PoisonError::into_inner).0.is_in_use
    }

    /// The permission of the XMPP thread. Where it may hold the stream, it is taken to do so until [`Lease::leave`].
    pub(super) fn claim(&self, now: Instant) -> LeaseTerm {
        let Some(shared) = &self.0 else { return LeaseTerm::Unlimited };
        let mut state = shared.lock();
        match state.until.filter(|until| now < *until) {
            Some(until) => {
                state.is_in_use = true;
                LeaseTerm::Until(until)
            }
            None => LeaseTerm::Ended,
        }
    }

    /// The XMPP thread holds no stream any more.
    pub(super) fn leave(&self) {
        let Some(shared) = &self.0 else { return };
        if std::mem::take(&mut shared.lock().is_in_use) {
            shared.left.notify_all();
        }
    }

    /// From now on a change wakes this waker.
    pub(super) fn wake_by(&self, waker: Arc<Waker>) {
        if let Some(shared) = &self.0 {
            // Each lease belongs to one thread, so no waker was set before.
            let _ = shared.waker.set(waker);
        }
    }
}

impl SharedLease {
    fn wake(&self) {
        if let Some(waker) = self.waker.get() {
            waker.wake();
        }
    }

    /// A panic leaves no state half changed.
    fn lock(&self) -> MutexGuard<'_, LeaseState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_lease_counts_from_its_grant_to_its_end() {
        let (lease, now) = (Lease::withheld(), Instant::now());
        assert_eq!((lease.claim(now), lease.is_granted(now)), (LeaseTerm::Ended, false));
        lease.grant(now + SECOND);
        assert_eq!((lease.claim(now), lease.is_granted(now)), (LeaseTerm::Until(now + SECOND), true));
        assert_eq!(lease.claim(now + SECOND), LeaseTerm::Ended);
        lease.grant(now + 2 * SECOND);
        assert_eq!(lease.claim(now + SECOND), LeaseTerm::Until(now + 2 * SECOND));
        lease.revoke();
        assert_eq!((lease.claim(now), lease.is_granted(now)), (LeaseTerm::Ended, false));
        assert_eq!(Lease::unlimited().claim(now), LeaseTerm::Unlimited);
    }

    #[test]
    fn the_end_of_the_stream_is_waited_for() {
        let (lease, now) = (Lease::withheld(), Instant::now());
        assert!(lease.wait_until_left(Duration::ZERO), "there was no stream yet");
        lease.grant(now + SECOND);
        lease.claim(now);
        lease.revoke();
        assert!(!lease.wait_until_left(Duration::ZERO));
        std::thread::scope(|scope| {
            scope.spawn(|| lease.leave());
            assert!(lease.wait_until_left(60 * SECOND));
        });
    }
}
