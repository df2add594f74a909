use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{self, Receiver, Sender};

use super::super::outbox::{Outbox, channel};
use super::super::peer::{Conn, PATIENCE, ScriptedServer, long_times};
use super::super::{Element, Security, Times, ns};
use super::*;

#[derive(Debug, PartialEq)]
enum Seen {
    Up(Link, String),
    Down(Link),
    Stanza(Link, Element),
    Tick,
}

/// Sends each event to the test.
struct Recorder(Mutex<Sender<Seen>>);

impl Recorder {
    fn saw(&self, seen: Seen) {
        // The test may be over.
        let _ = self.0.lock().unwrap().send(seen);
    }
}

impl Handler for Recorder {
    fn event(&self, link: Link, event: LinkEvent) {
        self.saw(match event {
            LinkEvent::Failed(_) => return,
            LinkEvent::Up(jid) => Seen::Up(link, jid.to_string()),
            LinkEvent::Down => Seen::Down(link),
            LinkEvent::Stanza(stanza) => {
                assert!(stanza.attribute("id") != Some("panic"), "as the test wants");
                Seen::Stanza(link, stanza)
            }
        });
    }

    fn tick(&self, now: Instant) -> Option<Instant> {
        self.saw(Seen::Tick);
        Some(now)
    }
}

/// A running thread between two scripted servers.
struct Scene {
    component: ScriptedServer,
    client: ScriptedServer,
    outbox: Outbox,
    seen: Receiver<Seen>,
    thread: Thread,
}

impl Scene {
    fn new(times: Times) -> Self {
        Self::with_lease(times, Lease::unlimited())
    }

    fn with_lease(times: Times, lease: Lease) -> Self {
        let (component, client) = (ScriptedServer::listen(), ScriptedServer::listen());
        let settings =
            Settings { component: component.component(), client: client.client(Security::Disabled), times };
        let (sender, seen) = mpsc::channel();
        let (outbox, inbox) = channel();
        let thread = start(settings, inbox, Arc::new(Recorder(Mutex::new(sender))), lease).unwrap();
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
fn a_handler_that_waits_for_nothing_is_not_ticked() {
    /// Counts the ticks, and wants none.
    struct Idle(AtomicUsize, Mutex<Sender<()>>);
    impl Handler for Idle {
        fn event(&self, _: Link, event: LinkEvent) {
            if matches!(event, LinkEvent::Stanza(_)) {
                self.1.lock().unwrap().send(()).unwrap();
            }
        }
        fn tick(&self, _: Instant) -> Option<Instant> {
            self.0.fetch_add(1, Ordering::Relaxed);
            None
        }
    }
    let (component, client) = (ScriptedServer::listen(), ScriptedServer::listen());
    let settings = Settings {
        component: component.component(),
        client: client.client(Security::Disabled),
        times: long_times(),
    };
    let (sender, came) = mpsc::channel();
    let (outbox, inbox) = channel();
    let idle = Arc::new(Idle(AtomicUsize::new(0), Mutex::new(sender)));
    let _thread = start(settings, inbox, Arc::clone(&idle) as _, Lease::unlimited()).unwrap();
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
    outbox.tick_soon();
    while idle.0.load(Ordering::Relaxed) < 3 {
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
fn a_link_reconnects_and_the_other_stays_up() {
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
fn hostile_xml_breaks_its_link_only() {
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
fn a_server_that_hangs_does_not_delay_the_other_link() {
    let component = ScriptedServer::listen();
    let client = ScriptedServer::listen();
    let full = component.fill_backlog();
    let settings = Settings {
        component: component.component(),
        client: client.client(Security::Disabled),
        times: long_times(),
    };
    let (sender, seen) = mpsc::channel();
    let (outbox, inbox) = channel();
    let thread = start(settings, inbox, Arc::new(Recorder(Mutex::new(sender))), Lease::unlimited()).unwrap();
    let scene = Scene { component, client, outbox, seen, thread };
    let mut client = scene.client_up();
    scene.outbox.send(Link::Component, message("dropped"));
    scene.outbox.send(Link::Client, message("sent"));
    assert_eq!(client.until("/>"), "<message id='sent'/>");
    drop(full);
}

#[test]
fn a_server_that_sends_nothing_is_dialled_again() {
    let scene = Scene::new(Times { login: Duration::from_millis(50), ..long_times() });
    let mut silent = scene.component.accept();
    silent.rest();
    drop(scene.component.accept());
}

#[test]
fn a_silent_link_is_pinged_and_then_closed() {
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
fn a_stanza_that_never_ends_closes_the_link() {
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
fn a_server_that_restarts_often_is_reconnected() {
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
fn a_panic_of_the_handler_does_not_end_the_thread() {
    let scene = Scene::new(long_times());
    let mut component = scene.component_up();
    component.send("<message id='panic'/><message id='1'/>");
    assert_eq!(scene.next(), Seen::Stanza(Link::Component, message("1")));
    while scene.seen.recv_timeout(PATIENCE).unwrap() != Seen::Tick {}
}

#[test]
fn a_server_that_reads_nothing_closes_the_link() {
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
fn replies_to_strangers_are_dropped_before_the_link_breaks() {
    let scene = Scene::new(long_times());
    let mut component = scene.component_up();
    let answer = |kind| Element::new("iq", ns::CLIENT).with("type", kind).with_text("x".repeat(512 * 1024));
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

#[test]
fn without_a_lease_the_component_is_not_dialled() {
    let lease = Lease::withheld();
    let scene = Scene::with_lease(long_times(), lease.clone());
    let mut client = scene.client_up();
    // What the thread does with the client's stanza comes after its look at the lease.
    client.send("<message id='1'/>");
    assert_eq!(scene.next(), Seen::Stanza(Link::Client, message("1")));
    assert!(!scene.component.is_dialled());
    lease.grant(Instant::now() + PATIENCE);
    let mut component = scene.component_up();
    lease.revoke();
    component.until("</stream:stream>");
    assert_eq!(scene.next(), Seen::Down(Link::Component));
    assert!(lease.wait_until_left(PATIENCE));
    client.send("<message id='2'/>");
    assert_eq!(scene.next(), Seen::Stanza(Link::Client, message("2")));
    assert!(!scene.component.is_dialled());
}

#[test]
fn the_stream_ends_with_its_lease_though_nothing_else_happens() {
    let lease = Lease::withheld();
    let scene = Scene::with_lease(long_times(), lease.clone());
    let granted = Instant::now();
    let (short, long) = (Duration::from_secs(1), Duration::from_secs(2));
    lease.grant(granted + short);
    let mut component = scene.component_up();
    lease.grant(granted + long);
    component.until("</stream:stream>");
    let ended = granted.elapsed();
    assert!(ended >= long && ended < PATIENCE / 2, "{ended:?}");
    assert_eq!(scene.next(), Seen::Down(Link::Component));
}

#[test]
fn a_component_that_another_one_replaces_comes_back_only_with_a_lease() {
    let lease = Lease::withheld();
    let scene = Scene::with_lease(long_times(), lease.clone());
    lease.grant(Instant::now() + PATIENCE);
    let mut component = scene.component_up();
    lease.revoke();
    let conflict = "<conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>";
    component.try_send(&format!("<stream:error>{conflict}</stream:error></stream:stream>"));
    assert_eq!(scene.next(), Seen::Down(Link::Component));
    let mut client = scene.client_up();
    client.send("<message id='1'/>");
    assert_eq!(scene.next(), Seen::Stanza(Link::Client, message("1")));
    assert!(!scene.component.is_dialled());
}
