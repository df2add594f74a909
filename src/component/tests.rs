use std::sync::mpsc::{Receiver, Sender, channel};

use super::testing::FakeDesk;
use super::*;
use crate::http::{self, Exchange, Listen, Server, Service};
use crate::uploads::SlotRequest;
use crate::xmpp::{self, Inbox, ns};

/// Longer than anything here takes; only a failure lasts as long.
const PATIENCE: Duration = Duration::from_secs(30);
const THREADS: usize = 16;

/// Records what reaches the gate.
#[derive(Default)]
struct FakeGate(Mutex<Vec<LinkEvent>>);

impl Door for FakeGate {
    fn take(&self, _: Link, event: LinkEvent) -> Vec<TextRequest> {
        self.0.lock().unwrap().push(event);
        Vec::new()
    }

    fn tick(&self, now: Instant) -> Option<Instant> {
        Some(now)
    }
}

/// Grants every slot, once the test lets it.
struct FakeSlots {
    enabled: bool,
    /// What memory decides.
    decided: Result<Option<Slot>, SlotRefusal>,
    /// Tells that a request is about to be granted.
    begun: Sender<()>,
    /// Lets one be granted.
    go: Mutex<Option<Receiver<()>>>,
}

impl Slots for FakeSlots {
    fn is_enabled(&self) -> bool {
        self.enabled
    }

    fn max_size(&self) -> u64 {
        1017
    }

    fn decide_from_memory(&self, _: &SlotRequest) -> Result<Option<Slot>, SlotRefusal> {
        self.decided.clone()
    }

    fn grant(&self, request: SlotRequest) -> Result<Slot, SlotRefusal> {
        let _ = self.begun.send(());
        if let Some(go) = &*self.go.lock().unwrap() {
            go.recv_timeout(PATIENCE).unwrap();
        }
        assert_ne!(request.name, "panic");
        let get_url = format!("https://u.example/{}/{}", request.owner, request.name);
        Ok(Slot { put_url: format!("{get_url}?slot=1"), get_url })
    }
}

/// Never asked over HTTP.
struct NoService;

impl Service for NoService {
    fn serve(self: Arc<Self>, _: Exchange) {}
}

struct Frozen;

impl Clock for Frozen {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(1_390_500_000_000_000)
    }
}

struct Test {
    component: Component,
    gate: Arc<FakeGate>,
    inbox: Inbox,
    begun: Receiver<()>,
    /// Lets the worker threads go on, one by one; dropped, all of them.
    go: Sender<()>,
    _server: Server,
}

impl Test {
    /// A component whose slots are decided by memory, or else granted at once by a worker thread.
    fn new(decided: Result<Option<Slot>, SlotRefusal>) -> Self {
        Self::with(true, decided, false)
    }

    fn with(enabled: bool, decided: Result<Option<Slot>, SlotRefusal>, waits: bool) -> Self {
        let gate = Arc::new(FakeGate::default());
        let (outbox, inbox) = xmpp::channel();
        let ((tell, begun), (go, held)) = (channel(), channel());
        let slots = FakeSlots { enabled, decided, begun: tell, go: Mutex::new(waits.then_some(held)) };
        let workers = ResumeQueue::new().unwrap();
        let listen = Listen { address: ([127, 0, 0, 1], 0).into(), tls: false, optional: false, keys: "" };
        let settings = http::Settings { listen: vec![listen], threads: THREADS, ..http::Settings::default() };
        let server = Server::start(settings, workers.clone(), Arc::new(NoService)).unwrap();
        let component = Component::new(
            Arc::clone(&gate) as _,
            Services { slots: Arc::new(slots), desk: Arc::new(FakeDesk::default()), clock: Arc::new(Frozen) },
            Settings::default(),
            outbox,
            workers,
            THREADS,
        );
        let test = Self { component, gate, inbox, begun, go, _server: server };
        test.component.event(Link::Component, LinkEvent::Up("media.example.org".parse().unwrap()));
        test
    }

    fn send(&self, stanza: Element) {
        self.component.event(Link::Component, LinkEvent::Stanza(stanza));
    }

    /// The next reply, as XML.
    fn reply(&self) -> String {
        let start = Instant::now();
        loop {
            if let Some((link, stanza)) = self.inbox.take() {
                assert_eq!(link, Link::Component);
                return stanza.to_xml(ns::CLIENT);
            }
            assert!(start.elapsed() < PATIENCE, "no reply");
            std::thread::yield_now();
        }
    }

    /// Stanzas that reached the gate.
    fn passed_on(&self) -> usize {
        let events = self.gate.0.lock().unwrap();
        events.iter().filter(|event| matches!(event, LinkEvent::Stanza(_))).count()
    }
}

/// A request for a slot for a file of this name.
fn request(id: &str, name: &str) -> Element {
    let request = Element::new("request", ns::UPLOAD).with("filename", name).with("size", "5");
    let iq = Element::new("iq", ns::CLIENT).with("type", "get").with("id", id);
    iq.with("from", "alice@example.org/phone").with("to", "media.example.org").with_child(request)
}

#[test]
fn a_slot_is_granted_on_a_worker_thread() {
    let test = Test::new(Ok(None));
    test.send(request("i1", "a.jpg"));
    assert_eq!(
        test.reply(),
        "<iq type='result' id='i1' from='media.example.org' to='alice@example.org/phone'>\
         <slot xmlns='urn:xmpp:http:upload:0'><put url='https://u.example/alice@example.org/a.jpg?slot=1'/>\
         <get url='https://u.example/alice@example.org/a.jpg'/></slot></iq>"
    );
    assert_eq!(test.passed_on(), 0);
}

#[test]
fn a_slot_that_memory_grants_uses_no_worker_thread() {
    let (put_url, get_url) = ("https://u.example/a?slot=1".to_owned(), "https://u.example/a".to_owned());
    let test = Test::new(Ok(Some(Slot { put_url, get_url })));
    test.send(request("i1", "a.jpg"));
    let (_, reply) = test.inbox.take().expect("at once");
    let reply = reply.to_xml(ns::CLIENT);
    assert!(
        reply.contains("<put url='https://u.example/a?slot=1'/><get url='https://u.example/a'/>"),
        "{reply}"
    );
    assert!(test.begun.try_recv().is_err());
}

#[test]
fn requests_refused_from_memory_use_no_worker_thread() {
    let test = Test::new(Err(SlotRefusal::Forbidden { text: "No.".to_owned() }));
    test.send(request("i1", "a.jpg"));
    let (_, reply) = test.inbox.take().expect("at once");
    assert!(reply.to_xml(ns::CLIENT).contains("<forbidden "), "{reply:?}");
    test.send(request("i2", "a").with("type", "set"));
    let (_, reply) = test.inbox.take().expect("at once");
    assert!(reply.to_xml(ns::CLIENT).contains("<bad-request "), "{reply:?}");
    assert!(test.begun.try_recv().is_err());
}

/// Other stanzas that a stranger can send: none of them gets a reply from here.
#[test]
fn everything_else_is_for_the_gate() {
    let test = Test::new(Ok(None));
    let message = |kind: &str| Element::new("message", ns::CLIENT).with("type", kind).with("id", "m");
    let body = || Element::new("body", ns::CLIENT).with_text("help");
    let slot = || request("i", "a").children().next().cloned().unwrap();
    let others = [
        request("i", "a").with("type", "result"),
        request("i", "a").with("type", "error"),
        request("i", "a").with("type", "GET"),
        Element::new("iq", ns::CLIENT).with("type", "get").with("id", "i").with_child(slot()),
        message("error").with_child(body()),
        message("headline").with_child(body()),
        message("groupchat").with_child(body()),
        message("chat"),
        message("get").with("from", "a@b").with("to", "c").with_child(slot()),
        Element::new("presence", ns::CLIENT),
    ];
    let count = others.len();
    for stanza in others {
        test.send(stanza);
    }
    assert_eq!(test.passed_on(), count);
    assert!(test.inbox.take().is_none());
    test.component.event(Link::Client, LinkEvent::Stanza(request("i", "a")));
    assert_eq!(test.passed_on(), count + 1, "slots are asked of the component");
    assert!(test.component.tick(Instant::now()).is_some(), "the clock is the gate's");
}

#[test]
fn without_uploads_the_gate_replies_to_requests() {
    let test = Test::with(false, Ok(None), false);
    test.send(request("i", "a"));
    assert_eq!(test.passed_on(), 1);
    assert!(test.inbox.take().is_none());
}

#[test]
fn a_malformed_jid_is_refused() {
    let test = Test::new(Ok(None));
    for from in ["@", "a@b@c", "a b@c", "/x"] {
        test.send(request("i", "a").with("from", from));
        let (_, reply) = test.inbox.take().expect("at once");
        assert!(reply.to_xml(ns::CLIENT).contains("<jid-malformed "), "{from}: {reply:?}");
    }
}

#[test]
fn requests_that_come_too_fast_are_told_when_to_retry() {
    let test = Test::new(Err(SlotRefusal::Forbidden { text: "No.".to_owned() }));
    let refusals = |from: &str| {
        let replies = (0..limits::COMPONENT_BURST * 2).map(|_| {
            test.send(request("i", "a").with("from", from));
            test.inbox.take().expect("at once").1.to_xml(ns::CLIENT)
        });
        replies.filter(|reply| reply.contains("<resource-constraint ")).collect::<Vec<_>>()
    };
    let refused = refusals("alice@example.org/phone");
    // Some time may pass meanwhile, and a token with it.
    assert!(refused.len() > 10 && refused.len() <= limits::COMPONENT_BURST as usize, "{refused:?}");
    assert!(
        refused[0].contains("<retry xmlns='urn:xmpp:http:upload:0' stamp='2014-01-23T18:00:00."),
        "{refused:?}"
    );
    assert!(refusals("alice@example.org/laptop").len() > 20, "one user, whatever the resource");
    assert!(refusals("bob@example.org").len() <= limits::COMPONENT_BURST as usize);
}

#[test]
fn few_worker_threads_are_taken_and_what_waits_is_limited() {
    let test = Test::with(true, Ok(None), true);
    let most = THREADS / limits::COMPONENT_SHARE;
    let all = most + limits::COMPONENT_JOBS;
    for number in 0..=all {
        test.send(request(&format!("i{number}"), "a").with("from", format!("user{number}@example.org")));
    }
    // The last one is refused at once, for the others wait.
    let refused = test.reply();
    assert!(refused.contains(&format!("id='i{all}'")), "{refused}");
    assert!(refused.contains("<error type='wait'><resource-constraint "), "{refused}");
    (0..most).for_each(|_| test.begun.recv_timeout(PATIENCE).unwrap());
    assert!(test.begun.try_recv().is_err(), "no more than {most} at a time");
    for _ in 0..all {
        test.go.send(()).unwrap();
    }
    for _ in 0..all {
        assert!(test.reply().contains("<slot "));
    }
    assert!(test.inbox.take().is_none());
}

#[test]
fn a_panic_on_a_worker_thread_costs_its_own_reply_only() {
    let test = Test::new(Ok(None));
    for number in 0..THREADS {
        test.send(request("i", "panic").with("from", format!("user{number}@example.org")));
    }
    test.send(request("last", "a"));
    assert!(test.reply().contains("id='last'"));
}

#[test]
fn no_reply_goes_to_a_stream_that_was_renewed() {
    for renew in [LinkEvent::Down, LinkEvent::Up("media.example.org".parse().unwrap())] {
        let test = Test::with(true, Ok(None), true);
        test.send(request("old", "a"));
        test.begun.recv_timeout(PATIENCE).unwrap();
        test.component.event(Link::Component, renew);
        test.send(request("new", "a"));
        test.begun.recv_timeout(PATIENCE).unwrap();
        test.go.send(()).unwrap();
        test.go.send(()).unwrap();
        assert!(test.reply().contains("id='new'"));
        assert!(test.inbox.take().is_none());
    }
}
