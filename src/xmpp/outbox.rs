//! How other threads hand stanzas to the XMPP thread.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::sys::Waker;

use super::{Element, Link};

/// A sender and a receiver of stanzas. There are both before the thread starts, so that a handler can
/// hold the sender.
pub fn channel() -> (Outbox, Inbox) {
    let shared = Arc::new(Shared::default());
    (Outbox(Arc::clone(&shared)), Inbox(shared))
}

/// Sends stanzas from any thread; cheap to clone.
#[derive(Clone)]
pub struct Outbox(Arc<Shared>);

impl Outbox {
    /// Sends a stanza in namespace [`super::ns::CLIENT`]. It is dropped if the link is down. A component's
    /// stanza without `from` gets the component's address.
    pub fn send(&self, link: Link, stanza: Element) {
        if !self.0.closed.load(Ordering::Acquire) {
            self.0.queue().push_back((link, stanza));
            if let Some(waker) = self.0.waker.get() {
                waker.wake();
            }
        }
    }
}

/// The XMPP thread's end of the channel.
pub struct Inbox(Arc<Shared>);

impl Inbox {
    /// Has senders wake this waker from now on; a thread that starts looks around without being woken.
    pub(super) fn wake_by(&self, waker: Arc<Waker>) {
        // An inbox is handed to one thread, so none was set before.
        let _ = self.0.waker.set(waker);
    }

    /// The next stanza to send.
    pub(super) fn take(&self) -> Option<(Link, Element)> {
        self.0.queue().pop_front()
    }
}

/// Nothing is queued for a thread that is gone.
impl Drop for Inbox {
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::Release);
        self.0.queue().clear();
    }
}

#[derive(Default)]
struct Shared {
    queue: Mutex<VecDeque<(Link, Element)>>,
    closed: AtomicBool,
    waker: OnceLock<Arc<Waker>>,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, VecDeque<(Link, Element)>> {
        // A queue is whole after a panic, too.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stanzas_keep_their_order_and_wait_for_the_thread() {
        let (outbox, inbox) = channel();
        outbox.send(Link::Client, Element::new("iq", "a"));
        outbox.clone().send(Link::Component, Element::new("iq", "b"));
        assert_eq!(inbox.take(), Some((Link::Client, Element::new("iq", "a"))));
        assert_eq!(inbox.take(), Some((Link::Component, Element::new("iq", "b"))));
        assert_eq!(inbox.take(), None);
    }

    #[test]
    fn nothing_waits_for_a_thread_that_is_gone() {
        let (outbox, inbox) = channel();
        outbox.send(Link::Client, Element::new("iq", "a"));
        drop(inbox);
        outbox.send(Link::Client, Element::new("iq", "a"));
        assert!(outbox.0.queue().is_empty());
    }
}
