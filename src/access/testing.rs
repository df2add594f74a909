//! For tests of the gate: a fake channel service, and a gate that records its outputs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::confirm::TextRequest;
use super::credentials::{Credentials, from_request};
use super::gate::{Gate, GateOutput};
use super::request::{Decision, Intent, Item, Request, RequestId};
use super::settings::{ConfirmAddress, ConfirmStanza, Settings};
use crate::clock::{Clock, Timestamp};
use crate::model::{Method, Need, NodeNames, Refusal};
use crate::xmpp::{Element, Link, ns};

pub(crate) const COMPONENT: &str = "media.example.com";
pub(crate) const ACCOUNT: &str = "media@example.com/lookups";
pub(crate) const SERVICE: &str = "channels.example.com";
pub(crate) const ROOM: &str = "room@topics.example.com";
pub(crate) const ALICE: &str = "alice@example.com/phone";
pub(crate) const URL: &str = "https://media.example.com/room@topics.example.com";
pub(crate) const REPLY_TIMEOUT: Duration = Duration::from_secs(30);
pub(crate) const TTL: Duration = Duration::from_secs(20);

pub(crate) fn settings() -> Settings {
    Settings {
        domains: vec!["example.com".parse().unwrap()],
        reply_timeout: REPLY_TIMEOUT,
        cache_ttl: TTL,
        confirm_stanza: ConfirmStanza::Message,
        confirm_address: ConfirmAddress::Full,
        pending_per_user: 8,
        pending_per_address: 256,
        pending_total: 1024,
        lookups_per_address: 64,
        lookups_total: 1024,
        nodes: NodeNames::default(),
        endpoint: None,
        upload_size: None,
        service_name: "example.com".parse().unwrap(),
    }
}

pub(crate) fn credentials(jid: &str, transaction: &str) -> Result<Credentials, Refusal> {
    from_request(Some(&BASE64_STANDARD.encode(format!("{jid}:{transaction}"))), None)
}

/// Alice's request with transaction id `t`.
pub(crate) fn request(need: Need) -> Request {
    let (method, intent) = match need {
        Need::Read => (Method::Get, Intent::Read),
        Need::Publish => (Method::Post, Intent::Upload),
        Need::Modify { .. } => (Method::Delete, Intent::Delete(Item::Unknown)),
    };
    Request {
        channel: ROOM.parse().unwrap(),
        need,
        credentials: credentials(ALICE, "t"),
        known: None,
        needs_user: false,
        client: None,
        method,
        url: URL.to_owned(),
        intent,
        address: None,
        origin: None,
    }
}

/// 2014-01-23T18:00:00.123Z for ever.
pub(crate) struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(1_390_500_000_123_000)
    }
}

/// A gate, the time, and the gate's outputs that the test has not taken yet.
pub(crate) struct GateTest {
    pub(crate) gate: Gate<u32>,
    pub(crate) now: Instant,
    sent: Vec<(Link, Element)>,
    decided: Vec<(u32, Decision)>,
    /// Commands that came as texts.
    pub(crate) served: Vec<TextRequest>,
}

impl GateTest {
    /// With both links down.
    pub(crate) fn dark(settings: Settings) -> Self {
        let gate = Gate::new(settings, Arc::new(FixedClock));
        Self { gate, now: Instant::now(), sent: Vec::new(), decided: Vec::new(), served: Vec::new() }
    }

    /// With both links up, and the first IQs answered by `service`.
    pub(crate) fn with(settings: Settings, service: &FakeService) -> Self {
        let mut test = Self::dark(settings);
        test.up(Link::Component);
        test.up(Link::Client);
        test.play(service);
        test
    }

    pub(crate) fn up(&mut self, link: Link) {
        let jid = if link == Link::Component { COMPONENT } else { ACCOUNT };
        let out = self.gate.up(self.now, link, &jid.parse().unwrap());
        self.take(out);
    }

    pub(crate) fn down(&mut self, link: Link) {
        let out = self.gate.down(self.now, link);
        self.take(out);
    }

    pub(crate) fn ask(&mut self, number: u32, request: Request) -> RequestId {
        let (id, out) = self.gate.ask(self.now, request, number);
        self.take(out);
        id
    }

    /// Whether the room is known to be public.
    pub(crate) fn is_public(&mut self) -> bool {
        self.gate.is_public(self.now, &ROOM.parse().unwrap())
    }

    pub(crate) fn stanza(&mut self, link: Link, stanza: &Element) {
        let out = self.gate.stanza(self.now, link, stanza);
        self.take(out);
    }

    pub(crate) fn wait(&mut self, time: Duration) {
        self.now += time;
        let out = self.gate.tick(self.now);
        self.take(out);
    }

    pub(crate) fn stop(&mut self) {
        let out = self.gate.stop();
        self.take(out);
    }

    pub(crate) fn take(&mut self, outputs: Vec<GateOutput<u32>>) {
        for output in outputs {
            match output {
                GateOutput::Send(link, stanza) => self.sent.push((link, stanza)),
                GateOutput::Decide(number, decision) => self.decided.push((number, decision)),
                GateOutput::Serve(request) => self.served.push(request),
            }
        }
    }

    /// The stanzas sent over this link since the last call.
    pub(crate) fn sent(&mut self, link: Link) -> Vec<Element> {
        let (taken, left) = self.sent.drain(..).partition(|(on, _)| *on == link);
        self.sent = left;
        let taken: Vec<(Link, Element)> = taken;
        taken.into_iter().map(|(_, stanza)| stanza).collect()
    }

    /// The only stanza sent over this link since the last call.
    pub(crate) fn one(&mut self, link: Link) -> Element {
        let mut sent = self.sent(link);
        assert_eq!(sent.len(), 1, "{sent:?}");
        sent.remove(0)
    }

    /// The decisions since the last call.
    pub(crate) fn decided(&mut self) -> Vec<(u32, Decision)> {
        std::mem::take(&mut self.decided)
    }

    /// The decisions as HTTP statuses; 200 if granted.
    pub(crate) fn statuses(&mut self) -> Vec<(u32, u16)> {
        let status = |decision: Decision| decision.err().map_or(200, |refusal| refusal.row().status);
        self.decided().into_iter().map(|(number, decision)| (number, status(decision))).collect()
    }

    /// Lets the service answer until there are no more questions; returns how many there were.
    pub(crate) fn play(&mut self, service: &FakeService) -> usize {
        let mut count = 0;
        loop {
            let questions = self.sent(Link::Client);
            if questions.is_empty() {
                return count;
            }
            count += questions.len();
            for answer in questions.iter().filter_map(|question| service.answer(question)) {
                self.stanza(Link::Client, &answer);
            }
        }
    }

    /// Confirms the one prompt there is.
    pub(crate) fn confirm(&mut self) {
        let prompt = self.one(Link::Component);
        self.stanza(Link::Component, &echo(&prompt));
    }

    /// A request from beginning to end: rights looked up, confirmed if a prompt comes, else left to its deadline.
    pub(crate) fn decision_of(&mut self, request: Request, service: &FakeService) -> Decision {
        self.ask(0, request);
        self.play(service);
        for prompt in self.sent(Link::Component) {
            self.stanza(Link::Component, &echo(&prompt));
        }
        self.play(service);
        if self.decided.is_empty() {
            self.wait(REPLY_TIMEOUT);
        }
        let mut decided = self.decided();
        assert_eq!(decided.len(), 1, "{decided:?}");
        decided.remove(0).1
    }
}

/// The stanza with its addresses swapped: how most clients confirm.
pub(crate) fn echo(stanza: &Element) -> Element {
    let (from, to) = (stanza.attribute("from").unwrap(), stanza.attribute("to").unwrap());
    stanza.clone().with("from", to).with("to", from)
}

pub(crate) fn element(
    name: &str,
    namespace: &str,
    attributes: &[(&str, &str)],
    children: &[Element],
) -> Element {
    let mut element = Element::new(name, namespace);
    attributes.iter().for_each(|(name, value)| element.set(name, *value));
    children.iter().for_each(|child| element.push(child.clone()));
    element
}

/// The reply of type `result` to an IQ.
pub(crate) fn result(iq: &Element, children: &[Element]) -> Element {
    let (id, to) = (iq.attribute("id").unwrap(), iq.attribute("to").unwrap());
    element("iq", ns::CLIENT, &[("type", "result"), ("id", id), ("from", to), ("to", ACCOUNT)], children)
}

/// The reply of type `error` to an IQ.
pub(crate) fn error(iq: &Element, kind: &str, condition: &str) -> Element {
    let condition = Element::new(condition, ns::STANZAS);
    let error = element("error", ns::CLIENT, &[("type", kind)], &[condition]);
    result(iq, &[error]).with("type", "error")
}

fn form(kind: &str, fields: &[(&str, &str)]) -> Element {
    let field = |(name, value): &(&str, &str)| {
        let value = Element::new("value", ns::DATA_FORMS).with_text(*value);
        element("field", ns::DATA_FORMS, &[("var", name)], &[value])
    };
    let fields: Vec<_> = fields.iter().map(field).collect();
    element("x", ns::DATA_FORMS, &[("type", kind)], &fields)
}

/// How the double handles a query.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    Answers,
    Silent,
    /// Error of this type and condition.
    Fails(&'static str, &'static str),
}

/// How the double pages affiliations (XEP-0059).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paging {
    None,
    /// Pages of this many people.
    Pages(usize),
    /// The first page for ever.
    IgnoresAfter(usize),
    /// Everyone at once, and a count that is this much too high.
    Miscounts(usize),
    /// Pages of this many people, never a count.
    Uncounted(usize),
    /// Always another page, without entries.
    Endless,
    /// Always another page, with a stranger on it.
    Crowd,
}

/// Categories and types.
pub(crate) type Identities = &'static [(&'static str, &'static str)];

/// A domain with a channel service, which can behave like each of the known ones.
#[derive(Clone)]
pub(crate) struct FakeService {
    /// The items of the domains, with the identities of each item.
    pub(crate) items: Vec<(&'static str, Manner, Identities)>,
    /// The identities of a domain.
    pub(crate) domain: (Manner, Identities),
    pub(crate) listing: Manner,
    pub(crate) node: Manner,
    pub(crate) configuration: Manner,
    pub(crate) affiliations: Manner,
    /// In the node's disco#info.
    pub(crate) info_access: Option<&'static str>,
    /// In the node's configuration.
    pub(crate) access: Option<&'static str>,
    pub(crate) people: Vec<(String, &'static str)>,
    pub(crate) affiliations_in: &'static str,
    pub(crate) node_attributes: bool,
    pub(crate) paging: Paging,
}

pub(crate) const CHANNELS: Identities = &[("pubsub", "channels"), ("pubsub", "inbox")];

impl FakeService {
    /// A private channel with which Alice has no affiliation.
    pub(crate) fn new() -> Self {
        Self {
            items: vec![(SERVICE, Manner::Answers, CHANNELS)],
            domain: (Manner::Answers, &[("server", "im")]),
            listing: Manner::Answers,
            node: Manner::Answers,
            configuration: Manner::Answers,
            affiliations: Manner::Answers,
            info_access: Some("authorize"),
            access: None,
            people: vec![("bob@example.com".to_owned(), "publisher")],
            affiliations_in: ns::PUBSUB,
            node_attributes: true,
            paging: Paging::None,
        }
    }

    pub(crate) fn public() -> Self {
        Self { info_access: Some("open"), ..Self::new() }
    }

    /// Alice is this in the channel.
    pub(crate) fn where_alice_is(word: &'static str) -> Self {
        let mut service = Self::new();
        service.people.push(("alice@example.com".to_owned(), word));
        service
    }

    pub(crate) fn answer(&self, iq: &Element) -> Option<Element> {
        let to = iq.attribute("to").unwrap();
        let payload = iq.children().next().unwrap();
        let item = self.items.iter().find(|(jid, ..)| *jid == to);
        let (manner, children) = match (payload.namespace(), payload.attribute("node"), item) {
            (ns::DISCO_ITEMS, ..) => (self.listing, vec![self.list()]),
            (ns::DISCO_INFO, None, Some((_, manner, identities))) => (*manner, vec![info(identities)]),
            (ns::DISCO_INFO, None, None) => (self.domain.0, vec![info(self.domain.1)]),
            (ns::DISCO_INFO, Some(node), _) => (self.node, vec![self.node_info(node)]),
            (ns::PUBSUB_OWNER, ..) if payload.child("configure", ns::PUBSUB_OWNER).is_some() => {
                (self.configuration, vec![self.configuration()])
            }
            _ => (self.affiliations, vec![self.page(payload)]),
        };
        match manner {
            Manner::Answers => Some(result(iq, &children)),
            Manner::Silent => None,
            Manner::Fails(kind, condition) => Some(error(iq, kind, condition)),
        }
    }

    fn list(&self) -> Element {
        let item = |jid: &str| element("item", ns::DISCO_ITEMS, &[("jid", jid), ("name", "x")], &[]);
        let items: Vec<_> = self.items.iter().map(|(jid, ..)| item(jid)).collect();
        element("query", ns::DISCO_ITEMS, &[], &items)
    }

    fn node_info(&self, node: &str) -> Element {
        let mut query = info(&[("pubsub", "leaf"), ("pubsub", "leaf")]).with("node", node);
        if let Some(word) = self.info_access {
            let meta_data = ("FORM_TYPE", "http://jabber.org/protocol/pubsub#meta-data");
            query.push(form(
                "result",
                &[("pubsub#title", "A room"), meta_data, ("pubsub#access_model", word)],
            ));
        }
        query
    }

    fn configuration(&self) -> Element {
        let mut fields = vec![("FORM_TYPE", "http://jabber.org/protocol/pubsub#node_config")];
        fields.extend(self.access.map(|word| ("pubsub#access_model", word)));
        let configure = element("configure", ns::PUBSUB_OWNER, &[], &[form("result", &fields)]);
        element("pubsub", ns::PUBSUB_OWNER, &[], &[configure])
    }

    fn page(&self, payload: &Element) -> Element {
        let namespace = self.affiliations_in;
        let after = payload.child("set", ns::RSM).and_then(|set| set.child("after", ns::RSM));
        let (people, set) = self.people_after(after.map(Element::text));
        let entry = |(jid, word): &(String, &str)| {
            let entry = element("affiliation", namespace, &[("jid", jid), ("affiliation", word)], &[]);
            if self.node_attributes { entry.with("node", "/user/x/posts") } else { entry }
        };
        let people: Vec<_> = people.iter().map(entry).collect();
        let list = element("affiliations", namespace, &[], &people);
        let mut pubsub = element("pubsub", namespace, &[], &[list]);
        set.into_iter().for_each(|set| pubsub.push(set));
        pubsub
    }

    /// The people of a page, and its `set`.
    fn people_after(&self, after: Option<&str>) -> (Vec<(String, &'static str)>, Option<Element>) {
        let (all, total) = (self.people.clone(), self.people.len());
        let start =
            self.people.iter().position(|(jid, _)| Some(jid.as_str()) == after).map_or(0, |at| at + 1);
        let set = |last: &str, count: Option<usize>| {
            let child = |name: &str, text: String| Element::new(name, ns::RSM).with_text(text);
            let mut set = Element::new("set", ns::RSM);
            if !last.is_empty() {
                set.push(child("last", last.to_owned()));
            }
            count.into_iter().for_each(|count| set.push(child("count", count.to_string())));
            Some(set)
        };
        let page = |start: usize, size: usize, count: Option<usize>| {
            let people: Vec<_> = all.iter().skip(start).take(size).cloned().collect();
            let last = people.last().map(|(jid, _)| jid.clone()).unwrap_or_default();
            (people, set(&last, count))
        };
        match self.paging {
            Paging::None => (all, None),
            Paging::Pages(size) => page(start, size, Some(total)),
            Paging::IgnoresAfter(size) => page(0, size, Some(total)),
            Paging::Miscounts(by) => page(start, total, Some(total + by)),
            Paging::Uncounted(size) => page(start, size, None),
            Paging::Endless => (Vec::new(), set("somebody", Some(1_000_000))),
            Paging::Crowd => {
                let stranger = format!("{}x@example.com", after.unwrap_or("x").split('@').next().unwrap());
                (vec![(stranger.clone(), "member")], set(&stranger, Some(1_000_000)))
            }
        }
    }
}

/// A disco#info result with these identities.
pub(crate) fn info(identities: &[(&str, &str)]) -> Element {
    let identity = |(category, kind): &(&str, &str)| {
        element("identity", ns::DISCO_INFO, &[("category", category), ("type", kind)], &[])
    };
    let identities: Vec<_> = identities.iter().map(identity).collect();
    element("query", ns::DISCO_INFO, &[], &identities)
}
