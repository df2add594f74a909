//! The XMPP thread: it owns both sockets, waits for them, and calls the handler.

use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::sys::{Interest, Waker, wait};

use super::connection::PersistentLink;
use super::lease::{Lease, LeaseTerm};
use super::outbox::Inbox;
use super::session::LinkPlan;
use super::settings::{LinkSettings, Settings};
use super::{Link, LinkEvent};

/// Receives the events of both links. It is called on the XMPP thread only and must not block it. A panic in it is
/// logged, and the thread goes on.
pub trait Handler: Send + Sync + 'static {
    /// Takes an event of this link.
    fn event(&self, link: Link, event: LinkEvent);
    /// Does what is due by the clock; returns when it is to be called next. Called sooner after stanzas were sent or
    /// [`Outbox::tick_soon`](super::Outbox::tick_soon), and at most once each `Times::tick`.
    fn tick(&self, now: Instant) -> Option<Instant>;
}

/// Starts the thread. Fails if the certificates of `ClientSettings::ca` can't be read or no thread can be started. The
/// links connect later and try for ever; their failures go to the log. The component's link connects only while its
/// lease lasts.
pub fn start(settings: Settings, inbox: Inbox, handler: Arc<dyn Handler>, lease: Lease) -> Result<Thread> {
    let waker = Arc::new(Waker::new().map_err(|error| Error::io("can't make a waker", error))?);
    let stop = Arc::new(AtomicBool::new(false));
    inbox.wake_by(Arc::clone(&waker));
    lease.wake_by(Arc::clone(&waker));
    let Settings { component, client, times } = settings;
    let now = Instant::now();
    let connection = |link, settings| -> Result<PersistentLink> {
        Ok(PersistentLink::new(link, LinkPlan::new(settings, times)?, Arc::clone(&waker), now))
    };
    let body = Loop {
        component: connection(Link::Component, LinkSettings::Component(component))?,
        client: connection(Link::Client, LinkSettings::Client(client))?,
        lease,
        term: LeaseTerm::Ended,
        inbox,
        handler,
        waker: Arc::clone(&waker),
        stop: Arc::clone(&stop),
        tick: times.tick,
        next_tick: Some(now),
    };
    let thread = thread::Builder::new().name("xmpp".to_owned()).spawn(move || body.run());
    let thread = thread.map_err(|error| Error::io("can't start the XMPP thread", error))?;
    Ok(Thread { thread: Some(thread), waker, stop })
}

/// The running thread; dropping it stops it.
pub struct Thread {
    thread: Option<JoinHandle<()>>,
    waker: Arc<Waker>,
    stop: Arc<AtomicBool>,
}

impl Thread {
    /// Ends both streams and the thread. Blocks until a handler's call under way has ended, and for each link up to
    /// `Times::close`.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.waker.wake();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            log::error!("the XMPP thread had panicked");
        }
    }
}

struct Loop {
    component: PersistentLink,
    client: PersistentLink,
    lease: Lease,
    /// The permission of the lease when it was last read.
    term: LeaseTerm,
    inbox: Inbox,
    handler: Arc<dyn Handler>,
    waker: Arc<Waker>,
    stop: Arc<AtomicBool>,
    tick: Duration,
    /// `None` while the handler waits for nothing.
    next_tick: Option<Instant>,
}

impl Loop {
    fn run(mut self) {
        while !self.stop.load(Ordering::Acquire) {
            let now = Instant::now();
            // First: a process that stood still must use no stream that is another node's by now.
            self.obey_lease(now);
            self.send(now);
            let more = self.turn(Link::Component, now) | self.turn(Link::Client, now);
            if self.next_tick.is_some_and(|next| next <= now) {
                let wanted = guarded("tick", || self.handler.tick(now)).flatten();
                self.next_tick = wanted.map(|wanted| wanted.max(now + self.tick));
            }
            self.sleep(if more { Some(now) } else { self.deadline() });
        }
        self.send(Instant::now());
        self.component.close(&mut report(&*self.handler, Link::Component));
        self.lease.leave();
        self.client.close(&mut report(&*self.handler, Link::Client));
    }

    fn obey_lease(&mut self, now: Instant) {
        self.term = self.lease.claim(now);
        if self.term == LeaseTerm::Ended {
            self.component.forbid(&mut report(&*self.handler, Link::Component));
            self.lease.leave();
        } else {
            self.component.allow(now);
        }
    }

    fn send(&mut self, now: Instant) {
        while let Some((link, stanza)) = self.inbox.take() {
            log::debug!("to the {link}: {stanza:?}");
            let (connection, handler) = self.parts(link);
            connection.send(stanza, now, &mut report(handler, link));
            // The handler may wait for a reply to this stanza, for a limited time.
            self.tick_soon(now);
        }
        if self.inbox.takes_tick() {
            self.tick_soon(now);
        }
    }

    fn tick_soon(&mut self, now: Instant) {
        let soon = now + self.tick;
        self.next_tick = Some(self.next_tick.map_or(soon, |next| next.min(soon)));
    }

    fn turn(&mut self, link: Link, now: Instant) -> bool {
        let (connection, handler) = self.parts(link);
        let was_up = connection.is_up();
        let mut sink = report(handler, link);
        let more = guarded("turn", || connection.turn(now, &mut sink)).unwrap_or_else(|| {
            connection.panicked(now, &mut sink);
            false
        });
        let is_back = !was_up && connection.is_up();
        drop(sink);
        if is_back {
            // So the server is back: the other link need not wait any longer.
            self.parts(link.other()).0.hurry(now);
        }
        more
    }

    fn parts(&mut self, link: Link) -> (&mut PersistentLink, &dyn Handler) {
        let connection = match link {
            Link::Component => &mut self.component,
            Link::Client => &mut self.client,
        };
        (connection, &*self.handler)
    }

    /// When a link, the lease or the handler is due though no bytes come.
    fn deadline(&self) -> Option<Instant> {
        let lease = if let LeaseTerm::Until(end) = self.term { Some(end) } else { None };
        [self.component.deadline(), self.client.deadline(), lease, self.next_tick].into_iter().flatten().min()
    }

    fn sleep(&self, until: Option<Instant>) {
        let mut fds = vec![(self.waker.as_fd(), Interest::Read)];
        fds.extend(self.component.interest());
        fds.extend(self.client.interest());
        let woken = wait(&fds, until).map(|ready| ready[0]).unwrap_or_else(|error| {
            // The kernel is out of memory: go on by the clock alone.
            log::error!("can't wait for the XMPP sockets: {error}");
            thread::sleep(self.tick);
            true
        });
        if woken {
            // Before the queue is read again: a stanza queued from here on wakes the thread again.
            self.waker.clear();
        }
    }
}

/// Passes the events of a link to the handler.
fn report(handler: &dyn Handler, link: Link) -> impl FnMut(LinkEvent) {
    move |event| {
        if let LinkEvent::Stanza(stanza) = &event {
            log::debug!("from the {link}: {stanza:?}");
        }
        guarded("handler", || handler.event(link, event));
    }
}

/// Catches a panic; the panic hook logs its message.
fn guarded<T>(what: &str, call: impl FnOnce() -> T) -> Option<T> {
    let result = catch_unwind(AssertUnwindSafe(call));
    if result.is_err() {
        log::error!("a panic on the XMPP thread was caught ({what})");
    }
    result.ok()
}

#[cfg(test)]
mod tests;
