use std::time::Duration;

use super::super::request::Granted;
use super::super::testing::{
    ACCOUNT, ALICE, COMPONENT, FakeService, FixedClock, GateTest, Manner, REPLY_TIMEOUT, ROOM, SERVICE, TTL,
    URL, credentials, echo, element, error, info, request, result, settings,
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

/// Alice's request to her own channel, for which nobody's rights are looked up.
fn own(need: Need) -> Request {
    Request { channel: alice().try_into().unwrap(), ..request(need) }
}

fn modify(author: Option<BareJid>) -> Request {
    request(Need::Modify { author })
}

#[test]
fn channels_of_other_domains_are_refused_and_nothing_is_sent() {
    let mut test = GateTest::with(settings(), &FakeService::public());
    for channel in ["room@example.org", "alice@badexample.com", "x@evil.tld"] {
        for need in [Need::Read, Need::Publish] {
            test.ask(1, Request { channel: channel.parse().unwrap(), ..request(need) });
            assert_eq!(test.decided(), [(1, Err(Refusal::NotServed))], "{channel}");
        }
    }
    assert!(test.sent(Link::Component).is_empty() && test.sent(Link::Client).is_empty());
    let open = Settings { domains: vec!["*".parse().unwrap()], ..settings() };
    let mut test = GateTest::with(open, &FakeService::public());
    let request = Request { channel: "room@example.org".parse().unwrap(), ..request(Need::Read) };
    assert_eq!(test.decision_of(request, &FakeService::public()), Ok(Granted::Public));
}

#[test]
fn a_public_channel_is_read_without_asking_anyone() {
    let service = FakeService::public();
    for given in [credentials(ALICE, "t"), Err(Refusal::NoCredentials), Err(Refusal::BadCredentials)] {
        let mut test = GateTest::with(settings(), &service);
        test.ask(1, Request { credentials: given, ..request(Need::Read) });
        test.play(&service);
        assert_eq!(test.decided(), [(1, Ok(Granted::Public))]);
        assert_eq!(test.sent(Link::Component), []);
    }
}

#[test]
fn a_private_channel_and_every_change_need_credentials() {
    let service = FakeService::new();
    for refusal in [Refusal::NoCredentials, Refusal::BadCredentials] {
        for need in [Need::Read, Need::Publish, Need::Modify { author: Some(alice()) }] {
            let mut test = GateTest::with(settings(), &service);
            let request = Request { credentials: Err(refusal), ..request(need) };
            assert_eq!(test.decision_of(request, &service), Err(refusal));
            assert_eq!(test.sent(Link::Component), []);
        }
    }
}

#[test]
fn changes_of_public_channels_need_a_right_and_nobody_is_asked_without_it() {
    let service = FakeService::public();
    for request in [request(Need::Publish), modify(None)] {
        let mut test = GateTest::with(settings(), &service);
        test.ask(1, request);
        test.play(&service);
        assert_eq!(test.decided(), [(1, Err(Refusal::Forbidden))], "at once");
        assert_eq!(test.sent(Link::Component), []);
    }
}

#[test]
fn rights_are_looked_up_before_the_prompt_and_again_when_it_is_confirmed() {
    let service = FakeService::where_alice_is("publisher");
    let mut test = GateTest::with(settings(), &service);
    test.ask(1, request(Need::Publish));
    assert_eq!(test.sent(Link::Component), [], "not yet");
    test.play(&service);
    test.confirm();
    assert_eq!(test.decided(), [(1, alices())]);
    assert_eq!(test.sent(Link::Client), [], "the second time in the cache");
    // A member who is thrown out meanwhile is refused.
    test.ask(2, request(Need::Publish));
    test.wait(TTL);
    test.confirm();
    test.play(&FakeService::where_alice_is("outcast"));
    assert_eq!(test.decided(), [(2, Err(Refusal::Forbidden))]);
}

#[test]
fn each_affiliation_has_the_rights_of_the_permission_table() {
    for (word, read, publish, change) in [
        ("owner", true, true, true),
        ("moderator", true, true, true),
        ("publisher", true, true, false),
        ("member", true, false, false),
        ("none", false, false, false),
        ("outcast", false, false, false),
    ] {
        let service = FakeService::where_alice_is(word);
        for (request, allowed) in
            [(request(Need::Read), read), (request(Need::Publish), publish), (modify(None), change)]
        {
            let expected = if allowed { alices() } else { Err(Refusal::NotConfirmed) };
            let decision = GateTest::with(settings(), &service).decision_of(request, &service);
            assert_eq!(decision, expected, "{word}");
        }
        let public = FakeService { info_access: Some("open"), ..service };
        for (request, allowed) in [(request(Need::Publish), publish), (modify(None), change)] {
            let expected = if allowed { alices() } else { Err(Refusal::Forbidden) };
            let decision = GateTest::with(settings(), &public).decision_of(request, &public);
            assert_eq!(decision, expected, "{word}, public");
        }
    }
}

#[test]
fn owner_and_uploader_need_no_affiliation() {
    let silent = FakeService { affiliations: Manner::Silent, ..FakeService::new() };
    for request in
        [own(Need::Read), own(Need::Publish), own(Need::Modify { author: None }), modify(Some(alice()))]
    {
        let mut test = GateTest::with(settings(), &silent);
        assert_eq!(test.decision_of(request, &silent), alices());
    }
    // Someone else's upload, and reading, are nobody's by having uploaded.
    let bob: BareJid = "bob@example.com".parse().unwrap();
    let service = FakeService::new();
    let mut test = GateTest::with(settings(), &service);
    assert_eq!(test.decision_of(modify(Some(bob)), &service), Err(Refusal::NotConfirmed));
}

#[test]
fn an_owner_who_does_not_confirm_is_refused() {
    let mut test = GateTest::with(settings(), &FakeService::new());
    test.ask(1, own(Need::Publish));
    let prompt = test.one(Link::Component);
    let forged = echo(&prompt).with("from", "mallory@example.com/x");
    test.stanza(Link::Component, &forged);
    test.stanza(Link::Client, &echo(&prompt));
    test.stanza(Link::Client, &forged);
    assert_eq!(test.decided(), [], "wrong sender, wrong link");
    test.wait(REPLY_TIMEOUT);
    assert_eq!(test.decided(), [(1, Err(Refusal::NotConfirmed))]);
    test.stanza(Link::Component, &echo(&prompt));
    assert_eq!(test.decided(), [], "late");
}

#[test]
fn the_first_reply_decides() {
    let mut test = GateTest::with(settings(), &FakeService::new());
    for (first, second, expected) in
        [("normal", "error", alices()), ("error", "normal", Err(Refusal::Denied))]
    {
        test.ask(1, own(Need::Publish));
        let answer = echo(&test.one(Link::Component));
        test.stanza(Link::Component, &answer.clone().with("type", first));
        test.stanza(Link::Component, &answer.with("type", second));
        assert_eq!(test.decided(), [(1, expected)]);
    }
}

#[test]
fn replies_in_any_order_decide_their_requests() {
    let mut test = GateTest::with(settings(), &FakeService::new());
    for number in 1..=3 {
        test.ask(number, own(Need::Publish));
    }
    let prompts = test.sent(Link::Component);
    for at in [2, 0, 1] {
        test.stanza(Link::Component, &echo(&prompts[at]));
        test.stanza(Link::Component, &echo(&prompts[at]));
    }
    assert_eq!(test.decided(), [(3, alices()), (1, alices()), (2, alices())]);
}

#[test]
fn a_request_cancelled_at_its_confirmation_counts_for_the_user_but_not_in_all() {
    let limited = Settings { pending_per_user: 3, pending_per_address: 4, pending_total: 3, ..settings() };
    let mut test = GateTest::with(limited, &FakeService::new());
    let publish = |last: u8| Request { client: Some([192, 0, 2, last].into()), ..own(Need::Publish) };
    let mut prompts = Vec::new();
    for number in 1..=3 {
        let id = test.ask(number, publish(number as u8));
        prompts.push(test.one(Link::Component));
        assert_eq!(test.gate.parked(id), Some(&mut { number }));
        assert_eq!(test.gate.cancel(id), Some(number));
        assert_eq!(test.gate.cancel(id), None);
    }
    test.ask(4, publish(4));
    assert_eq!(test.decided(), [(4, Err(Refusal::TooManyForUser))]);
    for prompt in &prompts {
        test.stanza(Link::Component, &echo(prompt));
    }
    test.wait(REPLY_TIMEOUT);
    assert_eq!(test.decided(), [], "nobody is there to be told");
}

#[test]
fn a_request_cancelled_at_its_lookup_leaves_the_lookup_to_others() {
    let service = FakeService::where_alice_is("publisher");
    let mut test = GateTest::with(Settings { cache_ttl: Duration::ZERO, ..settings() }, &service);
    let first = test.ask(1, request(Need::Read));
    test.ask(2, request(Need::Read));
    assert_eq!(test.gate.cancel(first), Some(1));
    test.play(&service);
    test.confirm();
    let last = test.ask(3, request(Need::Read));
    test.play(&service);
    test.confirm();
    assert_eq!(test.gate.cancel(last), Some(3));
    test.play(&service);
    assert_eq!(test.decided(), [(2, alices())]);
    assert!(test.gate.requests.is_empty());
}

#[test]
fn cancelled_requests_free_their_places_at_a_lookup() {
    let mut test = GateTest::with(settings(), &FakeService::new());
    for number in 0..2 * u32::try_from(limits::LOOKUP_WAITERS).unwrap() {
        let id = test.ask(number, request(Need::Read));
        assert_eq!(test.gate.cancel(id), Some(number));
    }
    assert_eq!(test.decided(), []);
}

#[test]
fn lookups_are_limited_for_each_address_and_in_all() {
    let limited = Settings { lookups_per_address: 2, lookups_total: 3, cache_ttl: TTL, ..settings() };
    let service = FakeService::public();
    let mut test = GateTest::with(limited, &service);
    let read = |room: &str, last: u8| Request {
        channel: format!("{room}@topics.example.com").parse().unwrap(),
        client: (last > 0).then(|| [192, 0, 2, last].into()),
        ..request(Need::Read)
    };
    // The domain's service is known from here on.
    assert_eq!(test.decision_of(read("known", 1), &service), Ok(Granted::Public));
    let a = test.ask(1, read("a", 1));
    test.ask(2, read("b", 1));
    test.ask(3, read("a", 1));
    assert_eq!(test.decided(), [], "who joins a lookup begins none");
    test.ask(4, read("c", 1));
    assert_eq!(test.decided(), [(4, Err(Refusal::TooManyLookups))]);
    test.gate.cancel(a);
    test.ask(5, read("c", 1));
    assert_eq!(test.decided(), [(5, Err(Refusal::TooManyLookups))], "the question is still open");
    test.ask(6, read("c", 2));
    test.ask(7, read("d", 0));
    assert_eq!(test.decided(), [(7, Err(Refusal::Overloaded))]);
    test.play(&service);
    assert_eq!(test.decided().len(), 3);
    for number in 8..10 {
        test.ask(number, read(&format!("e{number}"), 1));
    }
    test.ask(10, read("f", 0));
    assert_eq!(test.decided(), [], "what is answered makes room");
}

#[test]
fn a_request_beyond_a_limit_sends_no_stanza() {
    let limited = Settings { pending_per_user: 1, ..settings() };
    let mut test = GateTest::with(limited, &FakeService::new());
    test.ask(1, own(Need::Publish));
    test.ask(2, own(Need::Publish));
    assert_eq!(test.decided(), [(2, Err(Refusal::TooManyForUser))]);
    assert_eq!(test.sent(Link::Component).len(), 1);
    test.wait(REPLY_TIMEOUT);
    test.ask(3, own(Need::Publish));
    assert_eq!(test.sent(Link::Component).len(), 1, "time makes room");
}

#[test]
fn requests_to_confirm_are_refused_while_the_component_is_down() {
    let service = FakeService::new();
    let mut test = GateTest::with(settings(), &service);
    test.ask(1, own(Need::Publish));
    let prompt = test.one(Link::Component);
    test.down(Link::Component);
    assert_eq!(test.decided(), [(1, Err(Refusal::XmppDown))], "pending");
    test.ask(2, own(Need::Publish));
    assert_eq!(test.decided(), [(2, Err(Refusal::XmppDown))], "new");
    test.up(Link::Component);
    test.stanza(Link::Component, &echo(&prompt));
    assert_eq!(test.decided(), []);
    test.ask(3, own(Need::Publish));
    test.up(Link::Component);
    assert_eq!(test.decided(), [(3, Err(Refusal::XmppDown))], "a new connection is another");
}

#[test]
fn public_reads_need_only_the_client_and_owners_only_the_component() {
    let service = FakeService::public();
    let mut test = GateTest::dark(settings());
    test.ask(1, request(Need::Read));
    assert_eq!(test.decided(), [(1, Err(Refusal::XmppDown))]);
    test.up(Link::Client);
    assert_eq!(test.decision_of(request(Need::Read), &service), Ok(Granted::Public));
    test.down(Link::Client);
    test.up(Link::Component);
    assert_eq!(test.decision_of(own(Need::Publish), &service), alices());
    assert_eq!(test.decision_of(request(Need::Publish), &service), Err(Refusal::XmppDown));
}

#[test]
fn stopping_refuses_all_requests() {
    let mut test = GateTest::with(settings(), &FakeService::new());
    test.ask(1, own(Need::Publish));
    test.ask(2, request(Need::Read));
    let prompt = test.one(Link::Component);
    test.stop();
    test.ask(3, request(Need::Read));
    let refused = |number| (number, Err(Refusal::Stopping));
    assert_eq!(test.decided(), [refused(1), refused(2), refused(3)]);
    test.stanza(Link::Component, &echo(&prompt));
    test.play(&FakeService::new());
    test.down(Link::Client);
    test.down(Link::Component);
    assert_eq!(test.decided(), []);
}

#[test]
fn iqs_to_us_are_answered_on_their_link() {
    let mut test = GateTest::with(settings(), &FakeService::new());
    test.wait(Duration::from_secs(5));
    for link in [Link::Component, Link::Client] {
        let last = Element::new("query", ns::LAST);
        let iq = element("iq", ns::CLIENT, &[("type", "get"), ("id", "i"), ("from", ALICE)], &[last]);
        test.stanza(link, &iq);
        let answer = test.one(link);
        assert_eq!(answer.child("query", ns::LAST).unwrap().attribute("seconds"), Some("5"));
    }
    let presence = element("presence", ns::CLIENT, &[("type", "subscribe"), ("from", ALICE)], &[]);
    let message = element("message", ns::CLIENT, &[("type", "get"), ("from", ALICE)], &[]);
    for link in [Link::Component, Link::Client] {
        test.stanza(link, &presence);
        test.stanza(link, &message);
        assert_eq!(test.sent(link), []);
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
fn random_stanzas_of_others_never_panic_and_grant_nothing() {
    let mut dice = Random::new(0x5eed_0fa1);
    for round in 0..300 {
        let mut test = GateTest::with(settings(), &FakeService::where_alice_is("owner"));
        let mut seen = Vec::new();
        for number in 0..60 {
            match dice.below(12) {
                0 => drop(test.ask(number, request([Need::Read, Need::Publish][dice.below(2)].clone()))),
                1 => drop(test.ask(number, own(Need::Publish))),
                2 => test.wait(Duration::from_secs(dice.below(20) as u64)),
                3 => {
                    let link = dice.pick(&[Link::Component, Link::Client]);
                    if dice.below(2) == 0 { test.down(link) } else { test.up(link) }
                }
                _ => {
                    let stanza = hostile(&mut dice, &seen);
                    test.stanza(dice.pick(&[Link::Component, Link::Client]), &stanza);
                }
            }
            seen.extend(test.sent(Link::Component));
            seen.extend(test.sent(Link::Client));
            for (_, decision) in test.decided() {
                assert!(decision.is_err(), "round {round}: {decision:?}");
            }
        }
    }
}

#[test]
fn every_request_is_decided_exactly_once() {
    let mut dice = Random::new(0xdec1de);
    for round in 0..300 {
        let service = FakeService::where_alice_is(dice.pick(&["owner", "none"]));
        let mut test = GateTest::with(settings(), &service);
        let (mut asked, mut decided, mut questions) = (0, Vec::new(), Vec::new());
        for _ in 0..80 {
            match dice.below(10) {
                0..=3 => {
                    asked += 1;
                    let mut request = request([Need::Read, Need::Publish][dice.below(2)].clone());
                    request.channel =
                        dice.pick(&[ROOM, "x@example.com", "alice@example.com"]).parse().unwrap();
                    let id = test.ask(asked, request);
                    if dice.below(8) == 0 {
                        decided.extend(test.gate.cancel(id));
                    }
                }
                4 => test.wait(Duration::from_secs(dice.below(20) as u64)),
                5 if dice.below(3) == 0 => test.down(dice.pick(&[Link::Component, Link::Client])),
                5 => test.up(dice.pick(&[Link::Component, Link::Client])),
                6 => test.sent(Link::Component).iter().for_each(|prompt| {
                    let answer = echo(prompt);
                    test.stanza(Link::Component, &answer);
                }),
                _ if questions.is_empty() => {}
                _ => {
                    let question: Element = questions.swap_remove(dice.below(questions.len()));
                    let answer = match dice.below(4) {
                        0 => error(&question, dice.pick(&["cancel", "wait"]), "item-not-found"),
                        1 => result(&question, &[info(&[])]),
                        _ => service.answer(&question).unwrap(),
                    };
                    test.stanza(Link::Client, &answer);
                }
            }
            questions.extend(test.sent(Link::Client));
            decided.extend(test.decided().into_iter().map(|(number, _)| number));
        }
        (0..8).for_each(|_| test.wait(REPLY_TIMEOUT));
        decided.extend(test.decided().into_iter().map(|(number, _)| number));
        decided.sort_unstable();
        assert_eq!(decided, (1..=asked).collect::<Vec<_>>(), "round {round}");
        assert!(test.gate.requests.is_empty());
    }
}

#[test]
fn the_reply_timeout_is_bounded() {
    let endless = Settings { reply_timeout: Duration::MAX, ..settings() };
    let mut gate = Gate::new(endless, Arc::new(FixedClock));
    let now = Instant::now();
    gate.up(now, Link::Component, &COMPONENT.parse().unwrap());
    assert_eq!(gate.ask(now, own(Need::Publish), ()).1.len(), 1);
    assert_eq!(gate.tick(now + limits::REPLY_TIME).len(), 1);
}

/// A request with a ticket of Alice's, or after a HEAD that she confirmed.
fn known(need: Need) -> Request {
    Request { known: Some(alice()), credentials: Err(Refusal::NoCredentials), ..request(need) }
}

#[test]
fn a_known_user_is_not_asked_but_rights_are_looked_up() {
    for (word, read, publish) in [
        ("owner", true, true),
        ("publisher", true, true),
        ("member", true, false),
        ("none", false, false),
        ("outcast", false, false),
    ] {
        let service = FakeService::where_alice_is(word);
        for (request, allowed) in [(known(Need::Read), read), (known(Need::Publish), publish)] {
            let mut test = GateTest::with(settings(), &service);
            test.ask(1, request);
            test.play(&service);
            let expected = if allowed { alices() } else { Err(Refusal::Forbidden) };
            assert_eq!(test.decided(), [(1, expected)], "{word}, at once");
            assert_eq!(test.sent(Link::Component), []);
        }
    }
    let own = Request { channel: alice().try_into().unwrap(), ..known(Need::Publish) };
    assert_eq!(
        GateTest::with(settings(), &FakeService::new()).decision_of(own, &FakeService::new()),
        alices()
    );
    let mut test = GateTest::with(settings(), &FakeService::public());
    assert_eq!(test.decision_of(known(Need::Read), &FakeService::public()), Ok(Granted::Public));
}

#[test]
fn a_known_user_who_lost_the_affiliation_is_refused_when_the_cache_has_expired() {
    let member = FakeService::where_alice_is("member");
    let mut test = GateTest::with(settings(), &member);
    assert_eq!(test.decision_of(known(Need::Read), &member), alices());
    let outcast = FakeService::where_alice_is("outcast");
    test.wait(TTL - Duration::from_millis(1));
    assert_eq!(test.decision_of(known(Need::Read), &outcast), alices());
    test.wait(Duration::from_millis(1));
    assert_eq!(test.decision_of(known(Need::Read), &outcast), Err(Refusal::Forbidden));
}

#[test]
fn a_request_that_needs_a_user_is_confirmed_on_an_open_channel_too() {
    let service = FakeService::public();
    let ticket = Request { needs_user: true, ..request(Need::Read) };
    let mut test = GateTest::with(settings(), &service);
    test.ask(1, ticket.clone());
    test.play(&service);
    test.confirm();
    test.play(&service);
    assert_eq!(test.decided(), [(1, alices())]);
    let anonymous = Request { credentials: Err(Refusal::NoCredentials), ..ticket.clone() };
    assert_eq!(test.decision_of(anonymous, &service), Err(Refusal::NoCredentials));
    // On a private channel it takes the right, as ever.
    for (word, expected) in [("member", alices()), ("none", Err(Refusal::NotConfirmed))] {
        let service = FakeService::where_alice_is(word);
        assert_eq!(GateTest::with(settings(), &service).decision_of(ticket.clone(), &service), expected);
    }
}
