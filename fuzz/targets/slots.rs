//! Requests for upload slots, commands (XEP-0050), and everything else that a stranger may send to the component. Each stanza
//! is for the gate, or is a request that gets one reply. No command deletes a file of somebody else.

#![no_main]

use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use media_server::access::{Door, TextRequest};
use media_server::clock::{Clock, Timestamp};
use media_server::component::{Component, DeletedAll, Desk, Services, Settings, Total, Usage};
use media_server::error::Result as DeskResult;
use media_server::http::{self, Exchange, Listen, ResumeQueue, Server, Service};
use media_server::model::{BareJid, FileKey};
use media_server::store::{Block, FilePlace, FileRow, FileSum};
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
        let mut replies: Vec<_> = std::iter::from_fn(|| inbox.take()).collect();
        if replies.is_empty() && gate.count() == passed {
            replies.extend(later(&inbox));
        }
        match &replies[..] {
            [] => assert_eq!(gate.count(), passed + 1, "neither a reply nor for the gate: {stanza:?}"),
            [(Link::Component, reply)] => check_reply(&stanza, reply),
            _ => panic!("replies: {replies:?}"),
        }
    }
});

/// The reply from a worker thread.
fn later(inbox: &Inbox) -> Option<(Link, Element)> {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(30) {
        if let Some(reply) = inbox.take() {
            return Some(reply);
        }
        std::thread::yield_now();
    }
    None
}

/// A component that refuses each slot, so that each request for one has its reply at once. Commands run on worker threads.
fn component() -> (Component, Arc<CountingGate>, Inbox) {
    static WORKERS: LazyLock<(ResumeQueue, Server)> = LazyLock::new(|| {
        let workers = ResumeQueue::new().expect("a queue");
        let listen = Listen { address: ([127, 0, 0, 1], 0).into(), tls: false, optional: false, keys: "" };
        let settings = http::Settings { listen: vec![listen], threads: 8, ..http::Settings::default() };
        let server = Server::start(settings, workers.clone(), Arc::new(NoService)).expect("a server");
        (workers, server)
    });
    let (gate, (outbox, inbox)) = (Arc::new(CountingGate::default()), channel());
    let services = Services { slots: Arc::new(Refusing), desk: Arc::new(OneFile), clock: Arc::new(Frozen) };
    let settings = Settings { admins: vec!["admin@example.org".parse().expect("a JID")], endpoint: None };
    let component = Component::new(Arc::clone(&gate) as _, services, settings, outbox, WORKERS.0.clone(), 8);
    (component, gate, inbox)
}

/// Never asked over HTTP.
struct NoService;

impl Service for NoService {
    fn serve(self: Arc<Self>, _: Exchange) {}
}

/// Alice has a file that nobody may delete unless it is Alice or an administrator who names her.
struct OneFile;

impl Desk for OneFile {
    fn files(&self, owner: &BareJid, after: Option<&FilePlace>, max: usize) -> DeskResult<Vec<FileRow>> {
        let row = FileRow {
            kind: media_server::model::FileKind::Upload,
            id: "a".repeat(24),
            channel: None,
            owner: Some("alice@example.org".to_owned()),
            file_name: Some("\u{202e}a\n".to_owned()),
            mime_type: "image/png".to_owned(),
            size: 1,
            created: Frozen.now(),
            purpose: None,
            path: None,
            expires: None,
        };
        let is_there = after.is_none() && max > 0 && owner.as_str() == "alice@example.org";
        Ok(if is_there { vec![row] } else { Vec::new() })
    }

    fn find(&self, owner: &BareJid, key: &FileKey) -> DeskResult<Option<FileRow>> {
        Ok(self.files(owner, None, 1)?.into_iter().find(|row| row.key().as_ref() == Some(key)))
    }

    fn delete(&self, owner: &BareJid, key: &FileKey) -> DeskResult<bool> {
        Ok(self.find(owner, key)?.is_some())
    }

    fn delete_all(&self, _: &BareJid, _: Timestamp) -> DeskResult<DeletedAll> {
        Ok(DeletedAll::default())
    }

    fn usage(&self, _: &BareJid) -> DeskResult<Usage> {
        Ok(Usage { uploads: FileSum { files: 1, bytes: 1 }, ..Usage::default() })
    }

    fn total(&self) -> DeskResult<Total> {
        Ok(Total::default())
    }

    fn block(&self, _: &BareJid, by: &BareJid) -> DeskResult<bool> {
        assert_eq!(by.as_str(), "admin@example.org");
        Ok(true)
    }

    fn unblock(&self, _: &BareJid) -> DeskResult<bool> {
        Ok(true)
    }

    fn blocked(&self) -> DeskResult<Vec<Block>> {
        Ok(Vec::new())
    }
}

/// A reply goes back to the sender, and is XML that can be read again.
fn check_reply(request: &Element, reply: &Element) {
    assert!(matches!(request.attribute("type"), Some("get" | "set")) && request.is("iq", ns::CLIENT));
    let pairs = [("id", "id"), ("from", "to"), ("to", "from")];
    assert!(pairs.iter().all(|(ours, theirs)| reply.attribute(ours) == request.attribute(theirs)));
    match reply.child("error", ns::CLIENT) {
        Some(error) => assert!(error.child("text", ns::STANZAS).is_some_and(|text| !text.text().is_empty())),
        None => assert!(request.child("request", ns::UPLOAD).is_none(), "no slot is granted"),
    }
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

impl Door for CountingGate {
    fn take(&self, _: Link, _: LinkEvent) -> Vec<TextRequest> {
        *self.0.lock().expect("nobody panics with it") += 1;
        Vec::new()
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

    fn decide_from_memory(&self, request: &SlotRequest) -> Result<Option<Slot>, SlotRefusal> {
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
