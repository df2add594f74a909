//! On a private channel nobody learns from a refusal who is a member: a request of a user without rights and an unanswered
//! prompt end with the same decision at the same tick, whatever happens meanwhile.

use std::time::Duration;

use super::super::testing::{
    ALICE, COMPONENT, FakeService, GateTest, REPLY_TIMEOUT, credentials, element, request, settings,
};
use super::*;
use crate::access::Settings;
use crate::model::Need;

const TICK: Duration = limits::XMPP_TICK;
const BARE: &str = "alice@example.com";

#[derive(Clone, Copy, Debug)]
enum Event {
    /// The client 192.0.2.`0` sends a request of this kind.
    Ask(u8, Kind),
    /// The client of the request of this number hangs up.
    HangUp(u32),
    Down(Link),
    Up(Link),
    Stop,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Read,
    Publish,
    Delete,
}

impl Kind {
    fn request(self, jid: &str, last: u8) -> Request {
        let need = match self {
            Self::Read => Need::Read,
            Self::Publish => Need::Publish,
            Self::Delete => Need::Modify { author: None },
        };
        let client = Some([192, 0, 2, last].into());
        Request { client, credentials: credentials(jid, "t"), ..request(need) }
    }
}

/// The fate of the prompts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mailbox {
    /// The user does not reply.
    Silent,
    /// The server sends them back at once, with an error of this type.
    Bounces(&'static str),
}

/// The decisions, each with the tick at which it has been made.
fn course(
    service: &FakeService,
    jid: &str,
    mailbox: Mailbox,
    events: &[(u64, Event)],
) -> Vec<(u32, u32, Decision)> {
    let mut test = GateTest::with(Settings { cache_ttl: REPLY_TIMEOUT, ..settings() }, service);
    let (mut course, mut number) = (Vec::new(), 0);
    let mut ids = Vec::new();
    for tick in 0..3000 {
        let due = events.iter().filter(|(seconds, _)| TICK * tick == Duration::from_secs(*seconds));
        for (_, event) in due {
            match event {
                Event::Ask(last, kind) => {
                    ids.push(test.ask(number, kind.request(jid, *last)));
                    number += 1;
                }
                Event::HangUp(number) => drop(test.gate.cancel(ids[*number as usize])),
                Event::Down(link) => test.down(*link),
                Event::Up(link) => test.up(*link),
                Event::Stop => test.stop(),
            }
            test.play(service);
        }
        test.wait(TICK);
        for prompt in test.sent(Link::Component) {
            assert!(service.people.iter().any(|(jid, _)| jid == BARE), "a stranger is asked");
            if let Mailbox::Bounces(kind) = mailbox {
                test.stanza(Link::Component, &bounce(&prompt, kind));
            }
        }
        course.extend(test.decided().into_iter().map(|(number, decision)| (tick + 1, number, decision)));
    }
    assert_eq!(test.gate.counts().parked, 0);
    course
}

fn bounce(prompt: &Element, kind: &str) -> Element {
    let error = element("error", ns::CLIENT, &[("type", kind)], &[]);
    let id = prompt.attribute("id").unwrap();
    let from = if kind == "auth" { BARE } else { "example.com" };
    element(
        "message",
        ns::CLIENT,
        &[("from", from), ("to", COMPONENT), ("type", "error"), ("id", id)],
        &[error],
    )
}

#[test]
fn a_silent_request_ends_like_an_unanswered_prompt() {
    use Event::{Ask, Down, HangUp, Stop, Up};
    use Kind::{Delete, Publish, Read};
    let many: Vec<_> = (0..40).map(|number| (number * 3, Ask(1 + (number % 5) as u8, Publish))).collect();
    let scripts: Vec<Vec<(u64, Event)>> = vec![
        vec![(0, Ask(1, Read))],
        vec![(0, Ask(1, Publish))],
        vec![(1, Ask(1, Delete))],
        vec![(0, Ask(1, Read)), (10, Down(Link::Component))],
        vec![(0, Ask(1, Publish)), (10, Down(Link::Client)), (20, Up(Link::Client))],
        vec![(0, Ask(1, Publish)), (10, Up(Link::Component)), (11, Ask(1, Publish))],
        vec![(0, Down(Link::Component)), (1, Ask(1, Read)), (2, Up(Link::Component)), (3, Ask(1, Read))],
        vec![(0, Down(Link::Client)), (1, Ask(1, Publish))],
        vec![(0, Ask(1, Publish)), (5, Stop)],
        vec![(0, Ask(1, Publish)), (1, HangUp(0)), (2, Ask(1, Read)), (3, Ask(1, Read)), (4, Ask(1, Read))],
        (0..12).map(|number| (number, Ask(1, Read))).collect(),
        (0..12).map(|number| (number, Ask(number as u8, Read))).collect(),
        many,
    ];
    let (member, stranger) = (FakeService::where_alice_is("owner"), FakeService::new());
    for script in &scripts {
        for jid in [ALICE, BARE] {
            let expected = course(&stranger, jid, Mailbox::Silent, script);
            assert!(!expected.is_empty());
            for mailbox in [Mailbox::Silent, Mailbox::Bounces("cancel"), Mailbox::Bounces("auth")] {
                assert_eq!(course(&member, jid, mailbox, script), expected, "{script:?}");
            }
        }
    }
    let alone = course(&stranger, ALICE, Mailbox::Silent, &scripts[0]);
    assert_eq!(alone, [(300, 0, Err(Refusal::NotConfirmed))]);
}

#[test]
fn an_open_channel_tells_at_once() {
    let public = |people: FakeService| FakeService { info_access: Some("open"), ..people };
    let script = [(0, Event::Ask(1, Kind::Publish))];
    let stranger = course(&public(FakeService::new()), ALICE, Mailbox::Silent, &script);
    assert_eq!(stranger, [(1, 0, Err(Refusal::Forbidden))]);
    let bounces = Mailbox::Bounces("cancel");
    let member = course(&public(FakeService::where_alice_is("owner")), ALICE, bounces, &script);
    assert_eq!(member, [(1, 0, Err(Refusal::Denied))]);
}
