//! Requests for upload slots, and everything else that a stranger may send to the component. Each stanza is for the gate, or
//! is a request that gets one reply.

#![no_main]

use std::sync::{Arc, LazyLock, Mutex};
use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use media_server::clock::{Clock, Timestamp};
use media_server::component::Component;
use media_server::http::ResumeQueue;
use media_server::uploads::{Purpose, Slot, SlotRefusal, SlotRequest, Slots};
use media_server::xmpp::stream::{StreamEvent, StreamParser};
use media_server::xmpp::{Element, Handler, Inbox, Link, LinkEvent, channel, ns};

const HEADER: &[u8] =
    b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";

fuzz_target!(|input: &[u8]| {
    let (component, gate, inbox) = component();
    let mut stream = StreamParser::new(ns::CLIENT);
    stream.feed(HEADER);
    let _ = stream.next_event();
    stream.feed(input);
    while let Ok(Some(event)) = stream.next_event() {
        let StreamEvent::Stanza(stanza) = event else { continue };
        let passed = gate.count();
        component.event(Link::Component, LinkEvent::Stanza(stanza.clone()));
        let replies: Vec<_> = std::iter::from_fn(|| inbox.take()).collect();
        match &replies[..] {
            [] => assert_eq!(gate.count(), passed + 1, "neither a reply nor for the gate: {stanza:?}"),
            [(Link::Component, reply)] => check_reply(&stanza, reply),
            _ => panic!("replies: {replies:?}"),
        }
    }
});

/// A component that refuses each slot, so that each request has its reply at once.
fn component() -> (Component, Arc<CountingGate>, Inbox) {
    static WORKERS: LazyLock<ResumeQueue> = LazyLock::new(|| ResumeQueue::new().expect("a queue"));
    let (gate, (outbox, inbox)) = (Arc::new(CountingGate::default()), channel());
    let (slots, clock) = (Arc::new(Refusing), Arc::new(Frozen));
    let component = Component::new(Arc::clone(&gate) as _, slots, clock, outbox, WORKERS.clone(), 8);
    (component, gate, inbox)
}

/// A reply goes back to the sender, and is XML that can be read again.
fn check_reply(request: &Element, reply: &Element) {
    assert!(matches!(request.attribute("type"), Some("get" | "set")) && request.is("iq", ns::CLIENT));
    assert_eq!(reply.attribute("type"), Some("error"));
    let pairs = [("id", "id"), ("from", "to"), ("to", "from")];
    assert!(pairs.iter().all(|(ours, theirs)| reply.attribute(ours) == request.attribute(theirs)));
    let error = reply.child("error", ns::CLIENT).expect("an error");
    assert!(error.child("text", ns::STANZAS).is_some_and(|text| !text.text().is_empty()));
    let mut stream = StreamParser::new(ns::CLIENT);
    stream.feed(HEADER);
    let _ = stream.next_event();
    stream.feed(reply.to_xml(ns::CLIENT).as_bytes());
    assert!(matches!(stream.next_event(), Ok(Some(StreamEvent::Stanza(read))) if read.is("iq", ns::CLIENT)));
}

#[derive(Default)]
struct CountingGate(Mutex<usize>);

impl CountingGate {
    fn count(&self) -> usize {
        *self.0.lock().expect("nobody panics with it")
    }
}

impl Handler for CountingGate {
    fn event(&self, _: Link, _: LinkEvent) {
        *self.0.lock().expect("nobody panics with it") += 1;
    }

    fn tick(&self, _: Instant) -> Option<Instant> {
        None
    }
}

/// Looks at requests as memory sees them.
struct Refusing;

impl Slots for Refusing {
    fn is_enabled(&self) -> bool {
        true
    }

    fn max_size(&self) -> u64 {
        1
    }

    fn decide_from_memory(&self, request: &SlotRequest) -> Result<(), SlotRefusal> {
        let SlotRequest { purpose, expire_before, .. } = request;
        assert!(expire_before.is_none() || *purpose == Some(Purpose::Ephemeral));
        Err(SlotRefusal::TooLarge { max: 1, text: "No.".to_owned() })
    }

    fn grant(&self, _: SlotRequest) -> Result<Slot, SlotRefusal> {
        unreachable!("memory refuses everything")
    }
}

struct Frozen;

impl Clock for Frozen {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(1_390_500_000_000_000)
    }
}
