//! The queue of stanzas from other threads to the XMPP thread.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::sys::Waker;

use super::{Element, Link};

/// A sender and a receiver of stanzas. They are made before the thread starts, so that its handler can hold the sender.
pub fn channel() -> (Outbox, Inbox) {
    let shared = Arc::new(StanzaQueue::default());
    (Outbox(Arc::clone(&shared)), Inbox(shared))
}

/// Sends stanzas from any thread; cheap to clone.
#[derive(Clone)]
pub struct Outbox(Arc<StanzaQueue>);

impl Outbox {
    /// Sends a stanza in namespace [`super::ns::CLIENT`]. It is dropped if the link is down. A component's
    /// stanza without `from` gets the component's address.
    pub fn send(&self, link: Link, stanza: Element) {
        if self.0.closed.load(Ordering::Acquire) {
            return;
        }
        let mut stanzas = self.0.stanzas();
        let is_first = stanzas.is_empty();
        stanzas.push_back((link, stanza));
        drop(stanzas);
        // The thread takes all stanzas once it is woken, so those that join others need not wake it.
        if is_first {
            self.0.wake();
        }
    }

    /// Has the handler's `tick` called soon: something waits there that no stanza began.
    pub fn tick_soon(&self) {
        if !self.0.ticks.swap(true, Ordering::AcqRel) {
            self.0.wake();
        }
    }
}

/// The XMPP thread's end of the channel.
pub struct Inbox(Arc<StanzaQueue>);

impl Inbox {
    /// From now on senders wake this waker. Stanzas sent before are found when the thread starts.
    pub(super) fn wake_by(&self, waker: Arc<Waker>) {
        // Each inbox belongs to one thread, so no waker was set before.
        let _ = self.0.waker.set(waker);
    }

    /// The next stanza to send.
    pub fn take(&self) -> Option<(Link, Element)> {
        self.0.stanzas().pop_front()
    }

    /// Whether `tick` was asked for since the last call.
    pub(super) fn takes_tick(&self) -> bool {
        self.0.ticks.swap(false, Ordering::AcqRel)
    }
}

/// Without the thread nothing is queued.
impl Drop for Inbox {
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::Release);
        self.0.stanzas().clear();
    }
}

#[derive(Default)]
struct StanzaQueue {
    stanzas: Mutex<VecDeque<(Link, Element)>>,
    closed: AtomicBool,
    /// Whether the handler is to be ticked soon.
    ticks: AtomicBool,
    waker: OnceLock<Arc<Waker>>,
}

impl StanzaQueue {
    fn wake(&self) {
        if let Some(waker) = self.waker.get() {
            waker.wake();
        }
    }

    fn stanzas(&self) -> MutexGuard<'_, VecDeque<(Link, Element)>> {
        // A panic can't leave the queue in a broken state.
        self.stanzas.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::time::Instant;

    use crate::sys::{Interest, wait};

    use super::*;

    #[test]
    fn the_thread_is_woken_once_for_all_that_it_has_not_taken() {
        let (outbox, inbox) = channel();
        let waker = Arc::new(Waker::new().unwrap());
        inbox.wake_by(Arc::clone(&waker));
        let takes_wake = || {
            let woken = wait(&[(waker.as_fd(), Interest::Read)], Some(Instant::now())).unwrap()[0];
            waker.clear();
            woken
        };
        let send = || outbox.send(Link::Client, Element::new("iq", "a"));
        for _ in 0..2 {
            send();
            assert!(takes_wake());
            send();
            assert!(!takes_wake(), "the one before is still there");
            while inbox.take().is_some() {}
            outbox.tick_soon();
            assert!(takes_wake());
            outbox.tick_soon();
            assert!(!takes_wake(), "a tick is due already");
            assert!(inbox.takes_tick());
        }
    }

    #[test]
    fn stanzas_keep_their_order() {
        let (outbox, inbox) = channel();
        outbox.send(Link::Client, Element::new("iq", "a"));
        outbox.clone().send(Link::Component, Element::new("iq", "b"));
        assert_eq!(inbox.take(), Some((Link::Client, Element::new("iq", "a"))));
        assert_eq!(inbox.take(), Some((Link::Component, Element::new("iq", "b"))));
        assert_eq!(inbox.take(), None);
    }

    #[test]
    fn nothing_is_queued_after_the_inbox_is_dropped() {
        let (outbox, inbox) = channel();
        outbox.send(Link::Client, Element::new("iq", "a"));
        drop(inbox);
        outbox.send(Link::Client, Element::new("iq", "a"));
        assert!(outbox.0.stanzas().is_empty());
    }
}
