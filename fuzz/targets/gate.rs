//! The gate with two hostile XMPP servers, which send real stanzas with valid addresses and ids. No user is let in without
//! a confirmation and an entry in a list, and a channel is public only if its service says `open`.
//!
//! In the input the id `@1` stands for the id of the first IQ that the gate sent, and so on; such a reply comes from the
//! entity that was asked. A NUL lets time pass.

#![no_main]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use libfuzzer_sys::fuzz_target;
use media_server::access::{
    ConfirmAddress, ConfirmStanza, Gate, GateOutput, Granted, Intent, Request, RequestId, Settings,
    credentials,
};
use media_server::clock::{Clock, Timestamp};
use media_server::model::{BareJid, Method, Need};
use media_server::xmpp::stream::{StreamEvent, StreamParser};
use media_server::xmpp::{Element, Link, ns};

const HEADER: &[u8] =
    b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";
const URL: &str = "https://media.example.com/room@example.com";

fuzz_target!(|input: &[u8]| {
    let mut run = Run::new();
    run.ask_all();
    let mut links = [Link::Client, Link::Component].into_iter().cycle();
    for part in input.split(|byte| *byte == 0) {
        let link = links.next().expect("endless");
        if let Some(number) = part.first() {
            run.hang_up(u32::from(*number));
        }
        let mut stream = StreamParser::new(ns::CLIENT);
        stream.feed(HEADER);
        let _ = stream.next_event();
        stream.feed(part);
        while let Ok(Some(event)) = stream.next_event() {
            if let StreamEvent::Stanza(stanza) = event {
                run.stanza(link, stanza);
            }
        }
        run.wait();
    }
    run.end();
});

struct Run {
    gate: Gate<u32>,
    now: Instant,
    /// Whose name no input can know.
    user: String,
    /// What the client asked: stanza id and address.
    questions: Vec<(String, String)>,
    /// The prompt that the user confirms.
    prompts: Vec<Element>,
    said_open: bool,
    decided: Vec<u32>,
    ids: Vec<RequestId>,
}

const REQUESTS: u32 = 4;

impl Run {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let settings = Settings {
            domains: vec!["example.com".parse().expect("a domain")],
            reply_timeout: Duration::from_secs(30),
            cache_ttl: Duration::from_secs(20),
            confirm_stanza: ConfirmStanza::Message,
            confirm_address: ConfirmAddress::Full,
            pending_per_user: 8,
            pending_per_address: 256,
            pending_total: 1024,
            lookups_per_address: 64,
            lookups_total: 1024,
            endpoint: Some("https://media.example.com".to_owned()),
            upload_size: None,
            service_name: "example.com".parse().expect("a domain"),
        };
        let mut run = Self {
            gate: Gate::new(settings, Arc::new(Frozen)),
            now: Instant::now(),
            user: format!("u{number:016x}@example.com"),
            questions: Vec::new(),
            prompts: Vec::new(),
            said_open: false,
            decided: Vec::new(),
            ids: Vec::new(),
        };
        for (link, jid) in [(Link::Component, "media.example.com"), (Link::Client, "media@example.com/r")] {
            let out = run.gate.up(run.now, link, &jid.parse().expect("a JID"));
            run.take(out);
        }
        run
    }

    /// Four requests; for all but the second, affiliations are asked for before anybody is.
    fn ask_all(&mut self) {
        let author = Some("somebody@example.com".parse().expect("a JID"));
        let needs = [Need::Publish, Need::Read, Need::Publish, Need::Modify { author }];
        for (number, need) in (0..REQUESTS).zip(needs) {
            let token = STANDARD.encode(format!("{}/phone:{number}t{}", self.user, &self.user[..17]));
            let request = Request {
                channel: "room@example.com".parse().expect("a channel"),
                need,
                credentials: credentials::from_request(Some(&token), None),
                client: None,
                method: Method::Post,
                url: URL.to_owned(),
                intent: Intent::Upload,
                address: None,
                origin: None,
            };
            let (id, out) = self.gate.ask(self.now, request, number);
            self.ids.push(id);
            self.take(out);
            if number == 0 && !self.prompts.is_empty() {
                let prompt = self.prompts.remove(0);
                let address = |name| prompt.attribute(name).expect("both addresses").to_owned();
                let echo = prompt.clone().with("from", address("to")).with("to", address("from"));
                let out = self.gate.stanza(self.now, Link::Component, &echo);
                self.take(out);
            }
        }
        assert!(self.decided.is_empty());
    }

    fn stanza(&mut self, link: Link, mut stanza: Element) {
        let number = stanza.attribute("id").and_then(|id| id.strip_prefix('@')?.parse::<usize>().ok());
        if let Some((id, asked)) = number.and_then(|number| self.questions.get(number)) {
            stanza.set("id", id);
            stanza.set("from", asked);
        }
        self.said_open |= says_open(&stanza);
        let out = self.gate.stanza(self.now, link, &stanza);
        self.take(out);
    }

    /// The client of this request leaves, if there is one: it is given back once, and never decided.
    fn hang_up(&mut self, number: u32) {
        let id = usize::try_from(number).ok().and_then(|number| self.ids.get(number));
        self.decided.extend(id.and_then(|id| self.gate.cancel(*id)));
    }

    fn wait(&mut self) {
        self.now += Duration::from_secs(3);
        let out = self.gate.tick(self.now);
        self.take(out);
    }

    /// In the end everybody has one answer.
    fn end(&mut self) {
        for _ in 0..4 {
            self.now += Duration::from_secs(30);
            let out = self.gate.tick(self.now);
            self.take(out);
        }
        self.decided.sort_unstable();
        assert!(self.decided.iter().copied().eq(0..REQUESTS), "{:?}", self.decided);
    }

    fn take(&mut self, outputs: Vec<GateOutput<u32>>) {
        for output in outputs {
            match output {
                GateOutput::Send(Link::Client, iq) if iq.attribute("type") == Some("get") => {
                    let text = |name| iq.attribute(name).expect("a question has it").to_owned();
                    self.questions.push((text("id"), text("to")));
                }
                GateOutput::Send(Link::Component, message) if message.is("message", ns::CLIENT) => {
                    assert!(message.attribute("to").and_then(|to| to.parse::<BareJid>().ok()).is_none());
                    self.prompts.push(message);
                }
                GateOutput::Send(_, answer) => assert_eq!(answer.name(), "iq"),
                GateOutput::Serve(_) => {}
                GateOutput::Decide(number, decision) => {
                    self.decided.push(number);
                    match decision {
                        Ok(Granted::Owned(user)) => panic!("{user} was let in"),
                        Ok(Granted::Public) => assert!(number == 1 && self.said_open),
                        Err(_) => {}
                    }
                }
            }
        }
    }
}

fn says_open(element: &Element) -> bool {
    element.text().trim() == "open" || element.children().any(says_open)
}

struct Frozen;

impl Clock for Frozen {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(1_390_500_000_123_000)
    }
}
