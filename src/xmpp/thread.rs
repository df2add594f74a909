//! The one thread that owns both sockets and calls the handler.

use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::model::Jid;
use crate::sys::{Interest, Waker, wait};

use super::connection::{Connection, Happening};
use super::outbox::Inbox;
use super::session::Plan;
use super::settings::{LinkSettings, Settings};
use super::{Element, Link};

/// Who is told of what happens on the links. Called on the XMPP thread alone, so it should be quick; a
/// panic in it is logged and survived.
pub trait Handler: Send + Sync + 'static {
    /// The link is logged in, under this address.
    fn up(&self, link: Link, jid: &Jid);
    /// The link that was up is gone; it comes back by itself.
    fn down(&self, link: Link);
    /// A stanza came, in namespace [`super::ns::CLIENT`] on both links.
    fn stanza(&self, link: Link, stanza: Element);
    /// Looks at the clock, and says when it has to do so again, unless more is sent or comes before. Called at most
    /// once each `Times::tick`.
    fn tick(&self, now: Instant) -> Option<Instant>;
}

/// Starts the thread. Fails if the authorities of `ClientSettings::ca` can't be read or the system has no
/// thread for us. What the servers make of us comes to light later; the links try for ever.
pub fn start(settings: Settings, inbox: Inbox, handler: Arc<dyn Handler>) -> Result<Thread> {
    let waker = Arc::new(Waker::new().map_err(|error| Error::io("can't make a waker", error))?);
    let stop = Arc::new(AtomicBool::new(false));
    inbox.wake_by(Arc::clone(&waker));
    let Settings { component, client, times } = settings;
    let now = Instant::now();
    let connection = |link, settings| -> Result<Connection> {
        Ok(Connection::new(link, Plan::new(settings, times)?, Arc::clone(&waker), now))
    };
    let body = Loop {
        component: connection(Link::Component, LinkSettings::Component(component))?,
        client: connection(Link::Client, LinkSettings::Client(client))?,
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
    /// Ends both streams and the thread. Takes as long as a handler's call that is under way, and for each
    /// link up to `Times::close`.
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
    component: Connection,
    client: Connection,
    inbox: Inbox,
    handler: Arc<dyn Handler>,
    waker: Arc<Waker>,
    stop: Arc<AtomicBool>,
    tick: Duration,
    /// Nothing while there is nothing to wait for.
    next_tick: Option<Instant>,
}

impl Loop {
    fn run(mut self) {
        while !self.stop.load(Ordering::Acquire) {
            let now = Instant::now();
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
        self.client.close(&mut report(&*self.handler, Link::Client));
    }

    fn send(&mut self, now: Instant) {
        while let Some((link, stanza)) = self.inbox.take() {
            log::debug!("to the {link}: {stanza:?}");
            let (connection, handler) = self.parts(link);
            connection.send(stanza, now, &mut report(handler, link));
            // Whoever sends something may wait for an answer, which has its time.
            let soon = now + self.tick;
            self.next_tick = Some(self.next_tick.map_or(soon, |next| next.min(soon)));
        }
    }

    fn turn(&mut self, link: Link, now: Instant) -> bool {
        let (connection, handler) = self.parts(link);
        let sink = &mut report(handler, link);
        guarded("turn", || connection.turn(now, sink)).unwrap_or_else(|| {
            connection.panicked(now, sink);
            false
        })
    }

    fn parts(&mut self, link: Link) -> (&mut Connection, &dyn Handler) {
        let connection = match link {
            Link::Component => &mut self.component,
            Link::Client => &mut self.client,
        };
        (connection, &*self.handler)
    }

    /// When something is to be done though nothing comes.
    fn deadline(&self) -> Option<Instant> {
        let links = [self.component.deadline(), self.client.deadline()];
        links.into_iter().chain(self.next_tick).min()
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
            // Before the queue is looked at again, so that no stanza is left lying in it.
            self.waker.clear();
        }
    }
}

/// Hands what happens on a link to the handler.
fn report(handler: &dyn Handler, link: Link) -> impl FnMut(Happening) {
    move |happening| {
        guarded("handler", || match happening {
            Happening::Up(jid) => handler.up(link, &jid),
            Happening::Down => handler.down(link),
            Happening::Stanza(stanza) => {
                log::debug!("from the {link}: {stanza:?}");
                handler.stanza(link, stanza);
            }
        });
    }
}

/// Survives a panic; the panic's own message is printed by the panic hook.
fn guarded<T>(what: &str, call: impl FnOnce() -> T) -> Option<T> {
    let result = catch_unwind(AssertUnwindSafe(call));
    if result.is_err() {
        log::error!("a panic on the XMPP thread was survived ({what})");
    }
    result.ok()
}

#[cfg(test)]
mod tests;
