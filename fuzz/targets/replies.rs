//! Texts of a person to the gate while prompts come and end. No text confirms a prompt that the person was not shown, and
//! a text means the same with blanks around it, in capitals, and with its accents apart.
//!
//! Each line of the input is a text; a line that begins with NUL is a prompt (of the network of the next byte), and one
//! that begins with U+0001 lets as many seconds pass as its next byte says.

#![no_main]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use libfuzzer_sys::fuzz_target;
use media_server::access::text::{self, Text};
use media_server::access::{
    ConfirmAddress, ConfirmStanza, Gate, GateOutput, Intent, Request, Settings, credentials,
};
use media_server::clock::{Clock, Timestamp};
use media_server::limits;
use media_server::model::{Method, Need};
use media_server::xmpp::{Element, Link, ns};

const USER: &str = "alice@example.com";
const CLIENT: &str = "alice@example.com/phone";

fuzz_target!(|input: &str| {
    let mut run = Run::new();
    for line in input.lines().take(200) {
        match line.bytes().next() {
            Some(0) => run.ask(line.as_bytes().get(1).copied().unwrap_or(0)),
            Some(1) => run.wait(line.as_bytes().get(1).copied().unwrap_or(0)),
            _ => {
                read(line);
                run.say(line);
            }
        }
    }
});

/// The grammar by itself.
fn read(line: &str) {
    let meaning = text::read(line);
    assert_eq!(text::read(&format!(" \t{line}\n")), meaning);
    if meaning == Text::Yes {
        assert!(line.trim().chars().count() <= limits::REPLY_CHARS);
        assert_eq!(text::read(&line.to_uppercase()), Text::Yes);
        assert_eq!(text::read(&format!("no {line}")), Text::No);
    }
    assert!(!text::is_id(line, "ok") && !text::is_id(line, "1"));
}

struct Run {
    gate: Gate<u32>,
    now: Instant,
    asked: u32,
    /// The prompts by the numbers of the list that was sent last.
    list: BTreeMap<u32, u32>,
}

impl Run {
    fn new() -> Self {
        let settings = Settings {
            domains: vec!["example.com".parse().expect("a domain")],
            reply_timeout: Duration::from_secs(30),
            cache_ttl: Duration::from_secs(20),
            confirm_stanza: ConfirmStanza::Message,
            confirm_address: ConfirmAddress::Full,
            pending_per_user: 64,
            pending_per_address: 256,
            pending_total: 1024,
            lookups_per_address: 64,
            lookups_total: 1024,
            endpoint: Some("https://media.example.com".to_owned()),
            upload_size: None,
            service_name: "example.com".parse().expect("a domain"),
        };
        let mut gate = Gate::new(settings, Arc::new(Frozen));
        let now = Instant::now();
        gate.up(now, Link::Component, &"media.example.com".parse().expect("a JID"));
        Self { gate, now, asked: 0, list: BTreeMap::new() }
    }

    /// A request to the user's own channel, of which the user sees the prompt at once.
    fn ask(&mut self, network: u8) {
        let token = STANDARD.encode(format!("{USER}:transaction{:04}", self.asked));
        let request = Request {
            channel: USER.parse().expect("a channel"),
            need: Need::Publish,
            credentials: credentials::from_request(Some(&token), None),
            client: Some([192, 0, 2, network % 2].into()),
            method: Method::Post,
            url: "https://media.example.com/alice@example.com".to_owned(),
            intent: Intent::Upload,
            address: None,
            origin: None,
        };
        let (_, outputs) = self.gate.ask(self.now, request, self.asked);
        self.asked += 1;
        assert!(outputs.iter().all(|output| !matches!(output, GateOutput::Decide(_, Ok(_)))));
    }

    fn wait(&mut self, seconds: u8) {
        self.now += Duration::from_secs(u64::from(seconds));
        let outputs = self.gate.tick(self.now);
        assert!(outputs.iter().all(|output| !matches!(output, GateOutput::Decide(_, Ok(_)))));
    }

    fn say(&mut self, line: &str) {
        let body = Element::new("body", ns::CLIENT).with_text(line);
        let message = Element::new("message", ns::CLIENT).with("type", "chat").with("from", CLIENT);
        let mut confirmed = Vec::new();
        let mut shown = None;
        for output in self.gate.stanza(self.now, Link::Component, &message.with_child(body)) {
            match output {
                GateOutput::Decide(number, Ok(_)) => confirmed.push(number),
                GateOutput::Decide(_, Err(_)) => {}
                GateOutput::Serve(request) => assert_eq!(request.from.to_string(), CLIENT),
                GateOutput::Send(_, answer) => {
                    assert_eq!((answer.name(), answer.attribute("to")), ("message", Some(CLIENT)));
                    shown = answer.child("body", ns::CLIENT).map(|body| body.text().to_owned());
                }
            }
        }
        let mut meant: Vec<u32> = match text::read(line) {
            Text::Yes => (0..self.asked).collect(),
            Text::Number(number) => self.list.get(&number).copied().into_iter().collect(),
            Text::All => self.list.values().copied().collect(),
            Text::No | Text::NoNumber(_) | Text::NoAll | Text::Command(_) | Text::Other => Vec::new(),
        };
        meant.extend((0..self.asked).filter(|number| text::is_id(line, &format!("transaction{number:04}"))));
        assert!(confirmed.iter().all(|number| meant.contains(number)), "{line:?} confirmed {confirmed:?}");
        assert!(confirmed.len() <= 1 || text::read(line) == Text::All, "{line:?} confirmed {confirmed:?}");
        if let Some(list) = shown.as_deref().and_then(listed) {
            self.list = list;
        }
    }
}

/// The prompts by their numbers, as a person reads a list.
fn listed(answer: &str) -> Option<BTreeMap<u32, u32>> {
    let entry = |line: &str| {
        let (number, summary) = line.split_once(". ")?;
        let (_, id) = summary.rsplit_once("transaction")?;
        Some((number.parse().ok()?, id.parse().ok()?))
    };
    let entries: BTreeMap<_, _> = answer.lines().filter_map(entry).collect();
    (!entries.is_empty()).then_some(entries)
}

struct Frozen;

impl Clock for Frozen {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(1_390_500_000_123_000)
    }
}
