use std::time::Duration;

use super::super::request::Granted;
use super::super::testing::{
    ACCOUNT, ALICE, COMPONENT, FixedClock, Manner, REPLY_TIMEOUT, ROOM, SERVICE, Service, Stage, TTL, URL,
    ask, credentials, echo, element, error, info, result, settings,
};
use super::*;
use crate::model::{BareJid, Need};
use crate::testing::Random;

fn alice() -> BareJid {
    "alice@example.com".parse().unwrap()
}

fn alices() -> Decision {
    Ok(Granted::Owned(alice()))
}

fn modify(author: Option<BareJid>) -> Ask {
    ask(Need::Modify { author })
}

#[test]
fn channels_of_other_domains_are_not_served_and_nothing_is_sent() {
    let mut stage = Stage::with(settings(), &Service::public());
    for channel in ["room@example.org", "alice@badexample.com", "x@evil.tld"] {
        for need in [Need::Read, Need::Publish] {
            stage.ask(1, Ask { channel: channel.parse().unwrap(), ..ask(need) });
            assert_eq!(stage.decided(), [(1, Err(Refusal::NotServed))], "{channel}");
        }
    }
    assert!(stage.sent(Link::Component).is_empty() && stage.sent(Link::Client).is_empty());
    let open = Settings { domains: vec!["*".parse().unwrap()], ..settings() };
    let mut stage = Stage::with(open, &Service::public());
    let ask = Ask { channel: "room@example.org".parse().unwrap(), ..ask(Need::Read) };
    assert_eq!(stage.request(ask, &Service::public()), Ok(Granted::Public));
}

#[test]
fn a_public_channel_is_read_without_asking_anyone() {
    let service = Service::public();
    for given in [credentials(ALICE, "t"), Err(Refusal::NoCredentials), Err(Refusal::BadCredentials)] {
        let mut stage = Stage::with(settings(), &service);
        stage.ask(1, Ask { credentials: given, ..ask(Need::Read) });
        stage.play(&service);
        assert_eq!(stage.decided(), [(1, Ok(Granted::Public))]);
        assert_eq!(stage.sent(Link::Component), []);
    }
}

#[test]
fn a_private_channel_and_every_change_need_credentials() {
    let service = Service::new();
    for refusal in [Refusal::NoCredentials, Refusal::BadCredentials] {
        for need in [Need::Read, Need::Publish, Need::Modify { author: Some(alice()) }] {
            let mut stage = Stage::with(settings(), &service);
            let ask = Ask { credentials: Err(refusal), ..ask(need) };
            assert_eq!(stage.request(ask, &service), Err(refusal));
            assert_eq!(stage.sent(Link::Component), []);
        }
    }
}

#[test]
fn changes_are_confirmed_on_public_channels_too() {
    let service = Service::public();
    let mut stage = Stage::with(settings(), &service);
    assert_eq!(stage.request(ask(Need::Publish), &service), Err(Refusal::Forbidden));
    assert_eq!(stage.request(modify(None), &service), Err(Refusal::Forbidden));
}

#[test]
fn rights_are_asked_after_the_confirmation() {
    let service = Service::where_alice_is("publisher");
    let mut stage = Stage::with(settings(), &service);
    stage.ask(1, ask(Need::Publish));
    assert_eq!(stage.sent(Link::Client), [], "not before");
    stage.confirm();
    assert_eq!(stage.decided(), []);
    stage.play(&service);
    assert_eq!(stage.decided(), [(1, alices())]);
}

#[test]
fn every_affiliation_may_what_the_table_says() {
    for (word, read, publish, change) in [
        ("owner", true, true, true),
        ("moderator", true, true, true),
        ("publisher", true, true, false),
        ("member", true, false, false),
        ("none", false, false, false),
        ("outcast", false, false, false),
    ] {
        let service = Service::where_alice_is(word);
        for (ask, allowed) in [(ask(Need::Read), read), (ask(Need::Publish), publish), (modify(None), change)]
        {
            let expected = if allowed { alices() } else { Err(Refusal::Forbidden) };
            let decision = Stage::with(settings(), &service).request(ask, &service);
            assert_eq!(decision, expected, "{word}");
        }
    }
}

#[test]
fn owner_and_uploader_need_no_affiliation() {
    let silent = Service { affiliations: Manner::Silent, ..Service::new() };
    let own = |need| Ask { channel: "Alice@example.com".parse().unwrap(), ..ask(need) };
    for ask in
        [own(Need::Read), own(Need::Publish), own(Need::Modify { author: None }), modify(Some(alice()))]
    {
        let mut stage = Stage::with(settings(), &silent);
        assert_eq!(stage.request(ask, &silent), alices());
    }
    // Someone else's upload, and reading, are nobody's by having uploaded.
    let bob: BareJid = "bob@example.com".parse().unwrap();
    let service = Service::new();
    let mut stage = Stage::with(settings(), &service);
    assert_eq!(stage.request(modify(Some(bob)), &service), Err(Refusal::Forbidden));
}

#[test]
fn an_owner_who_does_not_confirm_is_nobody() {
    let mut stage = Stage::with(settings(), &Service::new());
    stage.ask(1, Ask { channel: alice().try_into().unwrap(), ..ask(Need::Publish) });
    let prompt = stage.one(Link::Component);
    let forged = echo(&prompt).with("from", "mallory@example.com/x");
    stage.stanza(Link::Component, &forged);
    stage.stanza(Link::Client, &echo(&prompt));
    stage.stanza(Link::Client, &forged);
    assert_eq!(stage.decided(), [], "wrong sender, wrong link");
    stage.wait(REPLY_TIMEOUT);
    assert_eq!(stage.decided(), [(1, Err(Refusal::NotConfirmed))]);
    stage.stanza(Link::Component, &echo(&prompt));
    assert_eq!(stage.decided(), [], "late");
}

#[test]
fn the_first_word_decides() {
    let mut stage = Stage::with(settings(), &Service::new());
    let own = || Ask { channel: alice().try_into().unwrap(), ..ask(Need::Publish) };
    for (first, second, expected) in
        [("normal", "error", alices()), ("error", "normal", Err(Refusal::Denied))]
    {
        stage.ask(1, own());
        let answer = echo(&stage.one(Link::Component));
        stage.stanza(Link::Component, &answer.clone().with("type", first));
        stage.stanza(Link::Component, &answer.with("type", second));
        assert_eq!(stage.decided(), [(1, expected)]);
    }
}

#[test]
fn answers_in_any_order_find_their_requests() {
    let mut stage = Stage::with(settings(), &Service::new());
    let own = || Ask { channel: alice().try_into().unwrap(), ..ask(Need::Publish) };
    for number in 1..=3 {
        stage.ask(number, own());
    }
    let prompts = stage.sent(Link::Component);
    for at in [2, 0, 1] {
        stage.stanza(Link::Component, &echo(&prompts[at]));
        stage.stanza(Link::Component, &echo(&prompts[at]));
    }
    assert_eq!(stage.decided(), [(3, alices()), (1, alices()), (2, alices())]);
}

#[test]
fn who_leaves_while_it_is_confirmed_makes_room_but_the_user_was_asked() {
    let limited = Settings { pending_per_user: 3, pending_per_address: 4, pending_total: 3, ..settings() };
    let mut stage = Stage::with(limited, &Service::new());
    let publish = || Ask { client: Some([192, 0, 2, 1].into()), ..ask(Need::Publish) };
    let mut prompts = Vec::new();
    for number in 1..=3 {
        let ticket = stage.ask(number, publish());
        prompts.push(stage.one(Link::Component));
        assert_eq!(stage.gate.parked(ticket), Some(&mut { number }));
        assert_eq!(stage.gate.cancel(ticket), Some(number));
        assert_eq!(stage.gate.cancel(ticket), None);
    }
    stage.ask(4, publish());
    assert_eq!(stage.decided(), [(4, Err(Refusal::TooManyForUser))]);
    for prompt in &prompts {
        stage.stanza(Link::Component, &echo(prompt));
    }
    stage.wait(REPLY_TIMEOUT);
    assert_eq!(stage.decided(), [], "nobody is there to be told");
}

#[test]
fn who_leaves_while_it_is_looked_up_takes_nothing_from_others() {
    let service = Service::where_alice_is("publisher");
    let mut stage = Stage::with(settings(), &service);
    let first = stage.ask(1, ask(Need::Read));
    stage.ask(2, ask(Need::Read));
    assert_eq!(stage.gate.cancel(first), Some(1));
    stage.play(&service);
    stage.confirm();
    let last = stage.ask(3, ask(Need::Read));
    stage.confirm();
    assert_eq!(stage.gate.cancel(last), Some(3));
    stage.play(&service);
    assert_eq!(stage.decided(), [(2, alices())]);
    assert!(stage.gate.requests.is_empty());
}

#[test]
fn waiters_who_leave_make_room_for_others_at_a_lookup() {
    let mut stage = Stage::with(settings(), &Service::new());
    for number in 0..2 * u32::try_from(limits::LOOKUP_WAITERS).unwrap() {
        let ticket = stage.ask(number, ask(Need::Read));
        assert_eq!(stage.gate.cancel(ticket), Some(number));
    }
    assert_eq!(stage.decided(), []);
}

#[test]
fn lookups_are_limited_for_each_address_and_in_all() {
    let limited = Settings { lookups_per_address: 2, lookups_total: 3, cache_ttl: TTL, ..settings() };
    let service = Service::public();
    let mut stage = Stage::with(limited, &service);
    let read = |room: &str, last: u8| Ask {
        channel: format!("{room}@topics.example.com").parse().unwrap(),
        client: (last > 0).then(|| [192, 0, 2, last].into()),
        ..ask(Need::Read)
    };
    // The domain's service is known from here on.
    assert_eq!(stage.request(read("known", 1), &service), Ok(Granted::Public));
    let a = stage.ask(1, read("a", 1));
    stage.ask(2, read("b", 1));
    stage.ask(3, read("a", 1));
    assert_eq!(stage.decided(), [], "who joins a lookup begins none");
    stage.ask(4, read("c", 1));
    assert_eq!(stage.decided(), [(4, Err(Refusal::TooManyLookups))]);
    stage.gate.cancel(a);
    stage.ask(5, read("c", 1));
    assert_eq!(stage.decided(), [(5, Err(Refusal::TooManyLookups))], "the question is still open");
    stage.ask(6, read("c", 2));
    stage.ask(7, read("d", 0));
    assert_eq!(stage.decided(), [(7, Err(Refusal::Overloaded))]);
    stage.play(&service);
    assert_eq!(stage.decided().len(), 3);
    for number in 8..10 {
        stage.ask(number, read(&format!("e{number}"), 1));
    }
    stage.ask(10, read("f", 0));
    assert_eq!(stage.decided(), [], "what is answered makes room");
}

#[test]
fn beyond_a_limit_no_stanza_is_sent() {
    let limited = Settings { pending_per_user: 1, ..settings() };
    let mut stage = Stage::with(limited, &Service::new());
    stage.ask(1, ask(Need::Publish));
    stage.ask(2, ask(Need::Publish));
    assert_eq!(stage.decided(), [(2, Err(Refusal::TooManyForUser))]);
    assert_eq!(stage.sent(Link::Component).len(), 1);
    stage.wait(REPLY_TIMEOUT);
    stage.ask(3, ask(Need::Publish));
    assert_eq!(stage.sent(Link::Component).len(), 1, "time makes room");
}

#[test]
fn without_the_component_nobody_is_asked() {
    let service = Service::new();
    let mut stage = Stage::with(settings(), &service);
    stage.ask(1, ask(Need::Publish));
    let prompt = stage.one(Link::Component);
    stage.down(Link::Component);
    assert_eq!(stage.decided(), [(1, Err(Refusal::XmppDown))], "pending");
    stage.ask(2, ask(Need::Publish));
    assert_eq!(stage.decided(), [(2, Err(Refusal::XmppDown))], "new");
    stage.up(Link::Component);
    stage.stanza(Link::Component, &echo(&prompt));
    assert_eq!(stage.decided(), []);
    stage.ask(3, ask(Need::Publish));
    stage.up(Link::Component);
    assert_eq!(stage.decided(), [(3, Err(Refusal::XmppDown))], "a new connection is another");
}

#[test]
fn public_reading_needs_no_component_and_the_owner_no_client() {
    let service = Service::public();
    let mut stage = Stage::dark(settings());
    stage.ask(1, ask(Need::Read));
    assert_eq!(stage.decided(), [(1, Err(Refusal::XmppDown))]);
    stage.up(Link::Client);
    assert_eq!(stage.request(ask(Need::Read), &service), Ok(Granted::Public));
    stage.down(Link::Client);
    stage.up(Link::Component);
    let own = Ask { channel: alice().try_into().unwrap(), ..ask(Need::Publish) };
    assert_eq!(stage.request(own, &service), alices());
    assert_eq!(stage.request(ask(Need::Publish), &service), Err(Refusal::XmppDown));
}

#[test]
fn stopping_refuses_everyone() {
    let mut stage = Stage::with(settings(), &Service::new());
    stage.ask(1, ask(Need::Publish));
    stage.ask(2, ask(Need::Read));
    let prompt = stage.one(Link::Component);
    stage.stop();
    stage.ask(3, ask(Need::Read));
    let refused = |number| (number, Err(Refusal::Stopping));
    assert_eq!(stage.decided(), [refused(1), refused(2), refused(3)]);
    stage.stanza(Link::Component, &echo(&prompt));
    stage.play(&Service::new());
    stage.down(Link::Client);
    stage.down(Link::Component);
    assert_eq!(stage.decided(), []);
}

#[test]
fn questions_to_us_are_answered_on_the_link_they_came_on() {
    let mut stage = Stage::with(settings(), &Service::new());
    stage.wait(Duration::from_secs(5));
    for link in [Link::Component, Link::Client] {
        let last = Element::new("query", ns::LAST);
        let iq = element("iq", ns::CLIENT, &[("type", "get"), ("id", "i"), ("from", ALICE)], &[last]);
        stage.stanza(link, &iq);
        let answer = stage.one(link);
        assert_eq!(answer.child("query", ns::LAST).unwrap().attribute("seconds"), Some("5"));
    }
    let presence = element("presence", ns::CLIENT, &[("type", "subscribe"), ("from", ALICE)], &[]);
    let message = element("message", ns::CLIENT, &[("type", "get"), ("from", ALICE)], &[]);
    for link in [Link::Component, Link::Client] {
        stage.stanza(link, &presence);
        stage.stanza(link, &message);
        assert_eq!(stage.sent(link), []);
    }
}

const NAMES: &[&str] = &[
    "iq",
    "message",
    "presence",
    "query",
    "pubsub",
    "confirm",
    "error",
    "thread",
    "x",
    "field",
    "value",
    "affiliations",
    "affiliation",
    "configure",
    "identity",
    "item",
    "set",
    "last",
    "count",
    "ping",
    "item-not-found",
];
const NAMESPACES: &[&str] = &[
    ns::CLIENT,
    ns::CLIENT,
    ns::HTTP_AUTH,
    ns::DISCO_INFO,
    ns::DISCO_ITEMS,
    ns::PUBSUB,
    ns::PUBSUB_OWNER,
    ns::RSM,
    ns::DATA_FORMS,
    ns::STANZAS,
    "",
];
const ATTRIBUTES: &[(&str, &[&str])] = &[
    ("type", &["result", "error", "get", "set", "normal", "wait", "channels", ""]),
    ("from", &["mallory@example.com/x", SERVICE, "example.com", "a b@c", ""]),
    ("to", &[COMPONENT, ACCOUNT, "?"]),
    ("id", &["t", "x", ""]),
    ("method", &["GET", "POST"]),
    ("url", &[URL, ""]),
    ("jid", &["alice@example.com", "mallory@example.com", SERVICE, "@"]),
    ("affiliation", &["owner", "outcast", "?"]),
    ("var", &["FORM_TYPE", "pubsub#access_model"]),
    ("category", &["pubsub"]),
    ("node", &["/user/room@topics.example.com/posts"]),
];
const TEXTS: &[&str] = &["", "open", "authorize", "1", "-1", "alice@example.com"];

fn any_element(dice: &mut Random, depth: usize) -> Element {
    let mut element = Element::new(dice.pick(NAMES), dice.pick(NAMESPACES)).with_text(dice.pick(TEXTS));
    for _ in 0..dice.below(5) {
        let (name, values) = dice.pick(ATTRIBUTES);
        element.set(name, dice.pick(values));
    }
    for _ in 0..if depth == 0 { 0 } else { dice.below(4) } {
        element.push(any_element(dice, depth - 1));
    }
    element
}

/// A stanza made at random, or one of the gate's own sent back with something changed; never a valid
/// confirmation: it comes from someone who was not asked.
fn hostile(dice: &mut Random, seen: &[Element]) -> Element {
    let mut stanza = any_element(dice, 3);
    if !seen.is_empty() && dice.below(2) == 0 {
        stanza = seen[dice.below(seen.len())].clone();
        for (name, values) in ATTRIBUTES.iter().take(1 + dice.below(4)) {
            stanza.set(name, dice.pick(values));
        }
    }
    if dice.below(2) == 0 {
        stanza = Element::new(dice.pick(&["iq", "message"]), ns::CLIENT).with_child(stanza);
        stanza.set("type", dice.pick(ATTRIBUTES[0].1));
    }
    stanza.set(
        "from",
        dice.pick(&["mallory@example.com/x", "alice@example.com", "example.com", "", COMPONENT]),
    );
    stanza
}

#[test]
fn no_stanza_panics_and_none_from_others_grants_anything() {
    let mut dice = Random::new(0x5eed_0fa1);
    for round in 0..300 {
        let mut stage = Stage::with(settings(), &Service::where_alice_is("owner"));
        let mut seen = Vec::new();
        for number in 0..60 {
            match dice.below(12) {
                0 => drop(stage.ask(number, ask([Need::Read, Need::Publish][dice.below(2)].clone()))),
                1 => {
                    stage.ask(number, Ask { channel: alice().try_into().unwrap(), ..ask(Need::Publish) });
                }
                2 => stage.wait(Duration::from_secs(dice.below(20) as u64)),
                3 => {
                    let link = dice.pick(&[Link::Component, Link::Client]);
                    if dice.below(2) == 0 { stage.down(link) } else { stage.up(link) }
                }
                _ => {
                    let stanza = hostile(&mut dice, &seen);
                    stage.stanza(dice.pick(&[Link::Component, Link::Client]), &stanza);
                }
            }
            seen.extend(stage.sent(Link::Component));
            seen.extend(stage.sent(Link::Client));
            for (_, decision) in stage.decided() {
                assert!(decision.is_err(), "round {round}: {decision:?}");
            }
        }
    }
}

#[test]
fn every_request_is_decided_exactly_once() {
    let mut dice = Random::new(0xdec1de);
    for round in 0..300 {
        let service = Service::where_alice_is(dice.pick(&["owner", "none"]));
        let mut stage = Stage::with(settings(), &service);
        let (mut asked, mut decided, mut questions) = (0, Vec::new(), Vec::new());
        for _ in 0..80 {
            match dice.below(10) {
                0..=3 => {
                    asked += 1;
                    let mut ask = ask([Need::Read, Need::Publish][dice.below(2)].clone());
                    ask.channel = dice.pick(&[ROOM, "x@example.com", "alice@example.com"]).parse().unwrap();
                    let ticket = stage.ask(asked, ask);
                    if dice.below(8) == 0 {
                        decided.extend(stage.gate.cancel(ticket));
                    }
                }
                4 => stage.wait(Duration::from_secs(dice.below(20) as u64)),
                5 if dice.below(3) == 0 => stage.down(dice.pick(&[Link::Component, Link::Client])),
                5 => stage.up(dice.pick(&[Link::Component, Link::Client])),
                6 => stage.sent(Link::Component).iter().for_each(|prompt| {
                    let answer = echo(prompt);
                    stage.stanza(Link::Component, &answer);
                }),
                _ if questions.is_empty() => {}
                _ => {
                    let question: Element = questions.swap_remove(dice.below(questions.len()));
                    let answer = match dice.below(4) {
                        0 => error(&question, dice.pick(&["cancel", "wait"]), "item-not-found"),
                        1 => result(&question, &[info(&[])]),
                        _ => service.answer(&question).unwrap(),
                    };
                    stage.stanza(Link::Client, &answer);
                }
            }
            questions.extend(stage.sent(Link::Client));
            decided.extend(stage.decided().into_iter().map(|(number, _)| number));
        }
        (0..8).for_each(|_| stage.wait(REPLY_TIMEOUT));
        decided.extend(stage.decided().into_iter().map(|(number, _)| number));
        decided.sort_unstable();
        assert_eq!(decided, (1..=asked).collect::<Vec<_>>(), "round {round}");
        assert!(stage.gate.requests.is_empty());
    }
}

#[test]
fn an_endless_reply_timeout_has_an_end() {
    let endless = Settings { reply_timeout: Duration::MAX, ..settings() };
    let mut gate = Gate::new(endless, Arc::new(FixedClock));
    let now = Instant::now();
    gate.up(now, Link::Component, &COMPONENT.parse().unwrap());
    assert_eq!(gate.ask(now, ask(Need::Publish), ()).1.len(), 1);
    assert_eq!(gate.tick(now + limits::REPLY_TIME).len(), 1);
}
