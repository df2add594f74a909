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
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::AtomicUsize;
    use std::sync::mpsc::{self, Receiver, Sender};

    use super::super::outbox::{Outbox, channel};
    use super::super::peer::{Conn, PATIENCE, Peer, long_times};
    use super::super::{Security, Times, ns};
    use super::*;

    #[derive(Debug, PartialEq)]
    enum Seen {
        Up(Link, String),
        Down(Link),
        Stanza(Link, Element),
        Tick,
    }

    /// Tells the test what it is told.
    struct Recorder(Mutex<Sender<Seen>>);

    impl Recorder {
        fn saw(&self, seen: Seen) {
            // The test may be over.
            let _ = self.0.lock().unwrap().send(seen);
        }
    }

    impl Handler for Recorder {
        fn up(&self, link: Link, jid: &Jid) {
            self.saw(Seen::Up(link, jid.to_string()));
        }

        fn down(&self, link: Link) {
            self.saw(Seen::Down(link));
        }

        fn stanza(&self, link: Link, stanza: Element) {
            assert!(stanza.attribute("id") != Some("panic"), "as the test wants");
            self.saw(Seen::Stanza(link, stanza));
        }

        fn tick(&self, now: Instant) -> Option<Instant> {
            self.saw(Seen::Tick);
            Some(now)
        }
    }

    /// A running thread between two scripted servers.
    struct Scene {
        component: Peer,
        client: Peer,
        outbox: Outbox,
        seen: Receiver<Seen>,
        thread: Thread,
    }

    impl Scene {
        fn new(times: Times) -> Self {
            let (component, client) = (Peer::listen(), Peer::listen());
            let settings = Settings {
                component: component.component(),
                client: client.client(Security::Disabled),
                times,
            };
            let (sender, seen) = mpsc::channel();
            let (outbox, inbox) = channel();
            let thread = start(settings, inbox, Arc::new(Recorder(Mutex::new(sender)))).unwrap();
            Self { component, client, outbox, seen, thread }
        }

        /// The next thing seen that is no tick.
        fn next(&self) -> Seen {
            loop {
                match self.seen.recv_timeout(PATIENCE).expect("something happens") {
                    Seen::Tick => {}
                    seen => return seen,
                }
            }
        }

        fn component_up(&self) -> Conn {
            let mut conn = self.component.accept();
            conn.log_component_in();
            assert_eq!(self.next(), Seen::Up(Link::Component, "media.example.com".to_owned()));
            conn
        }

        fn client_up(&self) -> Conn {
            let mut conn = self.client.accept();
            conn.log_client_in();
            assert_eq!(self.next(), Seen::Up(Link::Client, "media@example.com/here".to_owned()));
            conn
        }
    }

    fn message(id: &str) -> Element {
        Element::new("message", ns::CLIENT).with("id", id)
    }

    #[test]
    fn stanzas_go_both_ways_on_both_links() {
        let scene = Scene::new(long_times());
        let mut component = scene.component_up();
        let mut client = scene.client_up();
        for (link, conn) in [(Link::Component, &mut component), (Link::Client, &mut client)] {
            conn.send("<message id='é'><body>x</body></message>");
            let body = Element::new("body", ns::CLIENT).with_text("x");
            assert_eq!(scene.next(), Seen::Stanza(link, message("é").with_child(body)));
        }
        scene.outbox.send(Link::Component, message("1"));
        scene.outbox.send(Link::Component, message("2").with("from", "x@media.example.com"));
        scene.outbox.send(Link::Client, message("3"));
        let sent = component.until("2' from='x@media.example.com'/>");
        assert_eq!(
            sent,
            "<message id='1' from='media.example.com'/><message id='2' from='x@media.example.com'/>"
        );
        assert_eq!(client.until("/>"), "<message id='3'/>");
    }

    #[test]
    fn nothing_wakes_a_thread_with_nothing_to_wait_for() {
        /// Counts the ticks, and wants none.
        struct Idle(AtomicUsize, Mutex<Sender<()>>);
        impl Handler for Idle {
            fn up(&self, _: Link, _: &Jid) {}
            fn down(&self, _: Link) {}
            fn stanza(&self, _: Link, _: Element) {
                self.1.lock().unwrap().send(()).unwrap();
            }
            fn tick(&self, _: Instant) -> Option<Instant> {
                self.0.fetch_add(1, Ordering::Relaxed);
                None
            }
        }
        let (component, client) = (Peer::listen(), Peer::listen());
        let settings = Settings {
            component: component.component(),
            client: client.client(Security::Disabled),
            times: long_times(),
        };
        let (sender, came) = mpsc::channel();
        let (outbox, inbox) = channel();
        let idle = Arc::new(Idle(AtomicUsize::new(0), Mutex::new(sender)));
        let _thread = start(settings, inbox, Arc::clone(&idle) as _).unwrap();
        let mut conn = component.accept();
        conn.log_component_in();
        let begun = Instant::now();
        while begun.elapsed() < 20 * long_times().tick {
            conn.send("<message/>");
            came.recv_timeout(PATIENCE).unwrap();
        }
        assert_eq!(idle.0.load(Ordering::Relaxed), 1, "it ticks though nothing was sent");
        outbox.send(Link::Component, message("1"));
        conn.until("/>");
        while idle.0.load(Ordering::Relaxed) < 2 {
            thread::yield_now();
        }
    }

    #[test]
    fn stanzas_may_come_in_pieces() {
        let scene = Scene::new(long_times());
        let mut component = scene.component_up();
        component.drip("<message id='日本'/> <message id='half");
        assert_eq!(scene.next(), Seen::Stanza(Link::Component, message("日本")));
        component.send("'/><message id='1'/><message id='2'/>");
        for id in ["half", "1", "2"] {
            assert_eq!(scene.next(), Seen::Stanza(Link::Component, message(id)));
        }
    }

    #[test]
    fn a_link_comes_back_and_the_other_does_not_notice() {
        let scene = Scene::new(long_times());
        let component = scene.component_up();
        let mut client = scene.client_up();
        drop(component);
        assert_eq!(scene.next(), Seen::Down(Link::Component));
        let mut component = scene.component_up();
        component.send("<message id='1'/></stream:stream>");
        assert_eq!(scene.next(), Seen::Stanza(Link::Component, message("1")));
        assert_eq!(scene.next(), Seen::Down(Link::Component));
        client.send("<message id='2'/>");
        assert_eq!(scene.next(), Seen::Stanza(Link::Client, message("2")));
        drop(scene.component_up());
        assert_eq!(scene.next(), Seen::Down(Link::Component));
        drop(client);
        assert_eq!(scene.next(), Seen::Down(Link::Client));
        scene.client_up();
    }

    #[test]
    fn hostile_xml_costs_the_link_and_nothing_else() {
        let scene = Scene::new(long_times());
        let mut client = scene.client_up();
        for xml in ["<!DOCTYPE x>", "<message><!-- x --></message>", "<a>\u{1}</a>", "<a></b>"] {
            let mut component = scene.component_up();
            component.send("<message id='1'/>");
            component.send(xml);
            assert_eq!(scene.next(), Seen::Stanza(Link::Component, message("1")));
            assert_eq!(scene.next(), Seen::Down(Link::Component));
            component.rest();
        }
        client.send("<message id='2'/>");
        assert_eq!(scene.next(), Seen::Stanza(Link::Client, message("2")));
    }

    #[test]
    fn a_server_that_hangs_delays_nobody() {
        let component = Peer::listen();
        let client = Peer::listen();
        let full = component.fill_backlog();
        let settings = Settings {
            component: component.component(),
            client: client.client(Security::Disabled),
            times: long_times(),
        };
        let (sender, seen) = mpsc::channel();
        let (outbox, inbox) = channel();
        let thread = start(settings, inbox, Arc::new(Recorder(Mutex::new(sender)))).unwrap();
        let scene = Scene { component, client, outbox, seen, thread };
        let mut client = scene.client_up();
        scene.outbox.send(Link::Component, message("dropped"));
        scene.outbox.send(Link::Client, message("sent"));
        assert_eq!(client.until("/>"), "<message id='sent'/>");
        drop(full);
    }

    #[test]
    fn a_silent_server_is_left_and_tried_again() {
        let scene = Scene::new(Times { login: Duration::from_millis(50), ..long_times() });
        let mut silent = scene.component.accept();
        silent.rest();
        drop(scene.component.accept());
    }

    #[test]
    fn a_silent_link_is_pinged_and_then_left() {
        let scene = Scene::new(Times { keepalive: Duration::from_secs(1), ..long_times() });
        let mut component = scene.component.accept();
        component.log_component_in();
        let ping = component.until("</iq>");
        assert!(ping.contains("to='media.example.com'") && ping.contains("urn:xmpp:ping"), "{ping}");
        assert!(ping.contains("from='media.example.com'"), "{ping}");
        component.send(&ping);
        component.send("<message id='1'/>");
        assert_eq!(scene.next(), Seen::Up(Link::Component, "media.example.com".to_owned()));
        assert_eq!(scene.next(), Seen::Stanza(Link::Component, message("1")));
        component.until("</iq>");
        assert_eq!(scene.next(), Seen::Down(Link::Component));
        component.rest();
    }

    #[test]
    fn a_stanza_that_never_ends_is_left() {
        let scene = Scene::new(Times { keepalive: Duration::from_millis(300), ..long_times() });
        let mut component = scene.component_up();
        component.send("<message><body>");
        let begun = Instant::now();
        loop {
            match scene.seen.recv_timeout(PATIENCE).expect("something happens") {
                Seen::Tick => component.try_send("drip"),
                seen => break assert_eq!(seen, Seen::Down(Link::Component)),
            }
            assert!(begun.elapsed() < PATIENCE, "drops keep the link alive");
        }
        scene.component_up();
    }

    #[test]
    fn a_server_that_restarts_again_and_again_is_found_again() {
        let scene = Scene::new(long_times());
        let mut client = scene.client_up();
        for _ in 0..30 {
            drop(scene.component_up());
            assert_eq!(scene.next(), Seen::Down(Link::Component));
            // Within the log-in, too.
            scene.component.accept().header(ns::COMPONENT);
        }
        scene.component_up().send("<message id='1'/>");
        assert_eq!(scene.next(), Seen::Stanza(Link::Component, message("1")));
        assert_eq!(scene.next(), Seen::Down(Link::Component));
        client.send("<message id='2'/>");
        assert_eq!(scene.next(), Seen::Stanza(Link::Client, message("2")));
    }

    #[test]
    fn a_client_pings_its_server() {
        let scene = Scene::new(Times { keepalive: Duration::from_secs(1), ..long_times() });
        let mut client = scene.client.accept();
        client.log_client_in();
        let ping = client.until("</iq>");
        assert!(ping.contains("to='example.com'") && !ping.contains("from="), "{ping}");
        let id = ping.split("id='").nth(1).and_then(|rest| rest.split('\'').next()).unwrap();
        client.send(&format!("<iq type='result' id='{id}' from='example.com'/><message id='1'/>"));
        assert_eq!(scene.next(), Seen::Up(Link::Client, "media@example.com/here".to_owned()));
        assert_eq!(scene.next(), Seen::Stanza(Link::Client, message("1")));
    }

    #[test]
    fn a_panic_of_the_handler_is_survived() {
        let scene = Scene::new(long_times());
        let mut component = scene.component_up();
        component.send("<message id='panic'/><message id='1'/>");
        assert_eq!(scene.next(), Seen::Stanza(Link::Component, message("1")));
        while scene.seen.recv_timeout(PATIENCE).unwrap() != Seen::Tick {}
    }

    #[test]
    fn a_server_that_reads_nothing_is_left() {
        let scene = Scene::new(long_times());
        let component = scene.component_up();
        let large = message("1").with_text("x".repeat(1024 * 1024));
        // What the kernel's buffers hold comes on top of our own.
        for _ in 0..64 {
            scene.outbox.send(Link::Component, large.clone());
        }
        assert_eq!(scene.next(), Seen::Down(Link::Component));
        drop(component);
    }

    #[test]
    fn answers_to_strangers_are_left_out_before_the_link_breaks() {
        let scene = Scene::new(long_times());
        let mut component = scene.component_up();
        let answer =
            |kind| Element::new("iq", ns::CLIENT).with("type", kind).with_text("x".repeat(512 * 1024));
        for kind in ["result", "error"].repeat(40) {
            scene.outbox.send(Link::Component, answer(kind));
        }
        scene.outbox.send(Link::Component, message("ours"));
        component.skip_to("<message id='ours' from='media.example.com'/>");
        component.send("<message id='1'/>");
        assert_eq!(scene.next(), Seen::Stanza(Link::Component, message("1")));
    }

    #[test]
    fn stopping_ends_both_streams() {
        let scene = Scene::new(long_times());
        let mut component = scene.component_up();
        let mut client = scene.client_up();
        scene.outbox.send(Link::Component, message("last"));
        let thread = scene.thread;
        let stopping = thread::spawn(move || thread.stop());
        assert!(component.until("</stream:stream>").contains("last"));
        component.send("</stream:stream>");
        drop(component);
        client.until("</stream:stream>");
        drop(client);
        stopping.join().unwrap();
        let all: Vec<Seen> = scene.seen.iter().filter(|seen| *seen != Seen::Tick).collect();
        assert_eq!(all, [Seen::Down(Link::Component), Seen::Down(Link::Client)]);
    }
}
