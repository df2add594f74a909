use super::super::request::{Decision, Granted, Request};
use super::super::testing::{
    ACCOUNT, CHANNELS, FakeService, GateTest, Identities, Manner, Paging, REPLY_TIMEOUT, ROOM, SERVICE, TTL,
    credentials, echo, element, error, info, request, result, settings,
};
use super::*;
use crate::model::Need;
use crate::xmpp::Link;

const PUBLIC: Decision = Ok(Granted::Public);
const SECOND: Duration = Duration::from_secs(1);

/// Alice's request at a stage of its own.
fn decision(need: Need, service: &FakeService) -> Decision {
    GateTest::with(settings(), service).decision_of(request(need), service)
}

fn alices() -> Decision {
    Ok(Granted::Owned("alice@example.com".parse().unwrap()))
}

/// A request to read without credentials.
fn anonymous() -> Request {
    let mut request = request(Need::Read);
    request.credentials = Err(Refusal::NoCredentials);
    request
}

#[test]
fn the_access_model_is_read_from_info_and_else_from_the_configuration() {
    for (in_info, in_configuration, public) in [
        (Some("open"), None, true),
        (Some("authorize"), Some("open"), false),
        (None, Some("open"), true),
        (None, Some("local"), false),
        (None, Some("a word to come"), false),
        (None, Some(""), false),
        (None, None, false),
        (Some("whitelist"), None, false),
        (Some("presence"), None, false),
        (Some("roster"), None, false),
        (Some("SentIq"), None, false),
    ] {
        let service = FakeService { info_access: in_info, access: in_configuration, ..FakeService::new() };
        let expected = if public { PUBLIC } else { Err(Refusal::NoCredentials) };
        let decision = GateTest::with(settings(), &service).decision_of(anonymous(), &service);
        assert_eq!(decision, expected, "{in_info:?} {in_configuration:?}");
    }
}

#[test]
fn a_node_that_the_service_does_not_tell_is_private() {
    for manner in [
        Manner::Fails("cancel", "item-not-found"),
        Manner::Fails("auth", "forbidden"),
        Manner::Fails("cancel", "service-unavailable"),
        Manner::Fails("cancel", "a-condition-to-come"),
    ] {
        let unknown = FakeService { node: manner, ..FakeService::public() };
        let refused = GateTest::with(settings(), &unknown).decision_of(anonymous(), &unknown);
        assert_eq!(refused, Err(Refusal::NoCredentials));
        assert_eq!(decision(Need::Read, &unknown), Err(Refusal::NotConfirmed));
        let secret = FakeService { info_access: None, configuration: manner, ..FakeService::new() };
        assert_eq!(decision(Need::Read, &secret), Err(Refusal::NotConfirmed));
    }
}

#[test]
fn a_service_that_asks_to_try_later_is_down() {
    let busy = Manner::Fails("wait", "resource-constraint");
    let far = Manner::Fails("cancel", "remote-server-timeout");
    for manner in [busy, far] {
        let service = FakeService { node: manner, ..FakeService::public() };
        assert_eq!(decision(Need::Read, &service), Err(Refusal::ChannelServiceDown));
        let service = FakeService { listing: manner, ..FakeService::public() };
        assert_eq!(decision(Need::Read, &service), Err(Refusal::ChannelServiceDown));
    }
}

#[test]
fn affiliations_are_read_in_all_known_forms() {
    for affiliations_in in [ns::PUBSUB, ns::PUBSUB_OWNER] {
        for node_attributes in [true, false] {
            for jid in ["alice@example.com", "Alice@EXAMPLE.com", "alice@example.com/phone"] {
                let mut service = FakeService { affiliations_in, node_attributes, ..FakeService::new() };
                service.people.push((jid.to_owned(), "publisher"));
                assert_eq!(decision(Need::Publish, &service), alices(), "{affiliations_in} {jid}");
            }
        }
    }
}

#[test]
fn only_listed_users_with_a_known_affiliation_have_rights() {
    for word in ["none", "outcast", "follower", "followerPlus", "Owner", ""] {
        let service = FakeService::where_alice_is(word);
        assert_eq!(decision(Need::Read, &service), Err(Refusal::NotConfirmed), "{word}");
    }
    for jid in ["alice@example.org", "alice", "alice@example.com.evil.tld", "", "al ice@example.com"] {
        let mut service = FakeService::new();
        service.people.push((jid.to_owned(), "owner"));
        assert_eq!(decision(Need::Read, &service), Err(Refusal::NotConfirmed), "{jid}");
    }
    let nobody = FakeService { people: Vec::new(), ..FakeService::new() };
    assert_eq!(decision(Need::Read, &nobody), Err(Refusal::NotConfirmed));
}

#[test]
fn the_first_entry_of_a_user_counts() {
    let mut service = FakeService::where_alice_is("outcast");
    service.people.push(("alice@example.com".to_owned(), "owner"));
    assert_eq!(decision(Need::Read, &service), Err(Refusal::NotConfirmed));
}

#[test]
fn a_refused_list_is_told_and_an_unreachable_service_is_down() {
    let of = |kind, condition| {
        let affiliations = Manner::Fails(kind, condition);
        decision(Need::Read, &FakeService { affiliations, ..FakeService::where_alice_is("owner") })
    };
    for (kind, condition) in [("auth", "forbidden"), ("cancel", "not-allowed"), ("modify", "x")] {
        assert_eq!(of(kind, condition), Err(Refusal::RightsUntold), "{condition}");
    }
    assert_eq!(of("cancel", "item-not-found"), Err(Refusal::NotConfirmed), "nobody has rights in no channel");
    for (kind, condition) in [
        ("cancel", "remote-server-not-found"),
        ("cancel", "remote-server-timeout"),
        ("cancel", "service-unavailable"),
        ("cancel", "internal-server-error"),
        ("wait", "policy-violation"),
    ] {
        assert_eq!(of(kind, condition), Err(Refusal::ChannelServiceDown), "{condition}");
    }
}

/// A service with `strangers` members before Alice.
fn crowd(strangers: usize, paging: Paging) -> FakeService {
    let people = (0..strangers).map(|number| (format!("user{number}@example.com"), "member"));
    let mut service = FakeService { people: people.collect(), paging, ..FakeService::new() };
    service.people.push(("alice@example.com".to_owned(), "member"));
    service
}

/// Alice's request to read a channel that is known to be private; how many pages were asked for.
fn pages(service: &FakeService) -> (Decision, usize) {
    let mut test = GateTest::with(settings(), service);
    assert_eq!(test.decision_of(anonymous(), service), Err(Refusal::NoCredentials));
    test.ask(1, request(Need::Read));
    let pages = test.play(service);
    for prompt in test.sent(Link::Component) {
        test.stanza(Link::Component, &echo(&prompt));
    }
    test.wait(REPLY_TIMEOUT);
    (test.decided().remove(0).1, pages)
}

#[test]
fn pages_are_read_until_one_lists_the_user() {
    assert_eq!(pages(&crowd(9, Paging::Pages(3))), (alices(), 4));
    assert_eq!(pages(&crowd(2, Paging::Pages(3))), (alices(), 1));
    assert_eq!(pages(&crowd(9, Paging::Uncounted(3))), (alices(), 4));
    let mut early = crowd(9, Paging::Pages(3));
    early.people.swap(4, 9);
    assert_eq!(pages(&early), (alices(), 2), "no page is asked for after the one that tells");
}

#[test]
fn paging_ends_with_every_kind_of_broken_service() {
    let nobody = Err(Refusal::NotConfirmed);
    let without_alice = |paging| {
        let mut service = crowd(9, paging);
        service.people.pop();
        service
    };
    assert_eq!(pages(&without_alice(Paging::Pages(3))), (nobody.clone(), 3));
    assert_eq!(pages(&without_alice(Paging::Uncounted(3))), (nobody.clone(), 4));
    assert_eq!(pages(&without_alice(Paging::IgnoresAfter(3))), (nobody.clone(), 2));
    assert_eq!(pages(&without_alice(Paging::Miscounts(5))), (nobody.clone(), 2));
    assert_eq!(pages(&without_alice(Paging::Endless)), (nobody.clone(), 1));
    assert_eq!(pages(&without_alice(Paging::Crowd)), (nobody, limits::AFFILIATION_PAGES));
}

#[test]
fn paging_ends_in_time_even_if_each_page_is_late() {
    let service = FakeService { paging: Paging::Crowd, ..FakeService::new() };
    let mut test = GateTest::with(settings(), &service);
    assert_eq!(test.decision_of(anonymous(), &service), Err(Refusal::NoCredentials));
    test.ask(1, request(Need::Read));
    for _ in 0..2 {
        let question = test.one(Link::Client);
        test.wait(REPLY_TIMEOUT - SECOND);
        test.stanza(Link::Client, &service.answer(&question).unwrap());
        assert_eq!(test.decided(), []);
    }
    test.wait(2 * SECOND);
    assert_eq!(test.decided(), [(1, Err(Refusal::ChannelServiceDown))]);
}

const SERVICE_ONLY: Identities = &[("pubsub", "service")];
const OTHER: Identities = &[("conference", "text")];

#[test]
fn discovery_finds_the_channel_service_at_any_place_of_the_list() {
    let refused = Manner::Fails("cancel", "service-unavailable");
    let service = FakeService {
        items: vec![
            ("broken.example.com", refused, &[]),
            ("far.example.com", Manner::Fails("wait", "remote-server-timeout"), &[]),
            ("silent.example.com", Manner::Silent, &[]),
            ("empty.example.com", Manner::Answers, &[]),
            ("pubsub.example.com", Manner::Answers, SERVICE_ONLY),
            ("chat.example.com", Manner::Answers, OTHER),
            (SERVICE, Manner::Answers, CHANNELS),
        ],
        ..FakeService::public()
    };
    // Nobody has to be waited for.
    assert_eq!(decision(Need::Read, &service), PUBLIC);
}

#[test]
fn discovery_asks_each_item_once_and_some_at_a_time() {
    let mut test = GateTest::dark(settings());
    test.up(Link::Client);
    let items = test.one(Link::Client);
    assert_eq!(items.attribute("to"), Some("example.com"));
    assert_eq!(items.attribute("from"), None);
    let item = |jid: &str, node: &str| element("item", ns::DISCO_ITEMS, &[("jid", jid), ("node", node)], &[]);
    let mut listed: Vec<_> =
        (0..3000).map(|number| item(SERVICE, &format!("/user/{number}@x/posts"))).collect();
    listed.extend([item("a b", ""), item("", ""), item("Example.com", ""), item("Channels.Example.COM", "")]);
    listed.extend((0..100).map(|number| item(&format!("item{number}.elsewhere.test"), "")));
    listed.extend((0..100).map(|number| item(&format!("item{number}.example.com"), "")));
    let query = element("query", ns::DISCO_ITEMS, &[], &listed);
    test.stanza(Link::Client, &result(&items, &[query]));
    let mut waiting = test.sent(Link::Client);
    assert_eq!(waiting.len(), limits::DISCOVERY_WINDOW);
    let mut asked = Vec::new();
    while !waiting.is_empty() {
        let iq = waiting.remove(0);
        asked.push(iq.attribute("to").unwrap().to_owned());
        test.stanza(Link::Client, &error(&iq, "cancel", "service-unavailable"));
        waiting.extend(test.sent(Link::Client));
        assert!(waiting.len() <= limits::DISCOVERY_WINDOW);
    }
    let foreign = (0..limits::DISCOVERY_FOREIGN_ITEMS).map(|number| format!("item{number}.elsewhere.test"));
    let own = (0..100).map(|number| format!("item{number}.example.com"));
    let expected: Vec<_> = [SERVICE.to_owned()]
        .into_iter()
        .chain(foreign)
        .chain(own)
        .chain(["example.com".to_owned()])
        .collect();
    assert_eq!(asked, expected, "the domain is asked last, and once");
}

#[test]
fn the_channel_service_may_be_the_last_of_many_items() {
    let mut service = FakeService::public();
    let names: &'static [String] = Vec::leak(
        (0..limits::DISCOVERY_ITEMS - 1).map(|number| format!("i{number}.topics.example.com")).collect(),
    );
    service.items = names.iter().map(|name| (name.as_str(), Manner::Answers, OTHER)).collect();
    service.items.push((SERVICE, Manner::Answers, CHANNELS));
    assert_eq!(decision(Need::Read, &service), PUBLIC);
}

#[test]
fn a_domain_that_lists_nodes_or_nothing_is_found() {
    let mut service = FakeService::public();
    service.items = vec![(SERVICE, Manner::Answers, CHANNELS); 3];
    assert_eq!(decision(Need::Read, &service), PUBLIC);
    // It lists nothing while it has no nodes: then it is found as the domain itself.
    let service =
        FakeService { items: Vec::new(), domain: (Manner::Answers, CHANNELS), ..FakeService::public() };
    assert_eq!(decision(Need::Read, &service), PUBLIC);
    // It may not list at all.
    let listing = Manner::Fails("cancel", "feature-not-implemented");
    assert_eq!(decision(Need::Read, &FakeService { listing, ..service }), PUBLIC);
}

#[test]
fn a_plain_pubsub_service_is_taken_where_there_is_no_channel_service() {
    let items: Vec<(_, _, Identities)> = vec![
        ("chat.example.com", Manner::Answers, OTHER),
        ("pubsub.example.com", Manner::Answers, SERVICE_ONLY),
        ("second.example.com", Manner::Answers, SERVICE_ONLY),
    ];
    let service = FakeService { items, domain: (Manner::Answers, SERVICE_ONLY), ..FakeService::public() };
    let mut test = GateTest::with(settings(), &service);
    test.ask(1, anonymous());
    let sent = test.sent(Link::Client);
    test.stanza(Link::Client, &service.answer(&sent[0]).unwrap());
    // topics.example.com was looked up like example.com: items, then items and the domain.
    let candidates = test.sent(Link::Client);
    assert_eq!(candidates.len(), 4);
    // Answers in any order: items come before the domain, in their order.
    for candidate in candidates.iter().rev() {
        test.stanza(Link::Client, &service.answer(candidate).unwrap());
    }
    assert_eq!(test.one(Link::Client).attribute("to"), Some("pubsub.example.com"));
}

#[test]
fn without_a_channel_service_no_channel_is_public_and_no_affiliation_is_known() {
    let service =
        FakeService { items: vec![("chat.example.com", Manner::Answers, OTHER)], ..FakeService::public() };
    assert_eq!(decision(Need::Read, &service), Err(Refusal::RightsUntold));
    let nowhere = Manner::Fails("cancel", "remote-server-not-found");
    let service = FakeService { listing: nowhere, domain: (nowhere, &[]), ..FakeService::public() };
    assert_eq!(decision(Need::Read, &service), Err(Refusal::RightsUntold));
}

#[test]
fn without_a_service_a_request_is_refused_if_an_item_is_silent() {
    let mut service = FakeService::public();
    service.items = vec![("silent.example.com", Manner::Silent, &[])];
    let mut test = GateTest::with(settings(), &service);
    test.ask(1, request(Need::Read));
    test.play(&service);
    assert_eq!(test.decided(), []);
    test.wait(REPLY_TIMEOUT);
    assert_eq!(test.decided(), [(1, Err(Refusal::ChannelServiceDown))]);
    assert_eq!(test.sent(Link::Component), []);
}

#[test]
fn a_plain_service_beside_a_silent_item_is_cached_for_a_short_time() {
    let mut service = FakeService::public();
    service.items =
        vec![("silent.example.com", Manner::Silent, &[]), ("p.example.com", Manner::Answers, SERVICE_ONLY)];
    let mut test = GateTest::with(settings(), &service);
    test.ask(1, anonymous());
    test.play(&service);
    test.wait(REPLY_TIMEOUT);
    test.play(&service);
    assert_eq!(test.decided(), [(1, PUBLIC)]);
    test.wait(limits::FAILURE_TTL);
    let mut other = anonymous();
    other.channel = "other@topics.example.com".parse().unwrap();
    test.ask(2, other);
    let question = test.one(Link::Client);
    assert!(question.child("query", ns::DISCO_ITEMS).is_some(), "the search begins anew");
}

#[test]
fn each_silence_ends_at_the_timeout() {
    let silent = Manner::Silent;
    for service in [
        FakeService { listing: silent, ..FakeService::new() },
        FakeService { node: silent, ..FakeService::new() },
        FakeService { info_access: None, configuration: silent, ..FakeService::new() },
        FakeService { affiliations: silent, ..FakeService::new() },
    ] {
        let mut test = GateTest::with(settings(), &service);
        test.ask(1, request(Need::Read));
        test.play(&service);
        for prompt in test.sent(Link::Component) {
            test.stanza(Link::Component, &echo(&prompt));
        }
        test.play(&service);
        test.wait(REPLY_TIMEOUT - Duration::from_millis(1));
        assert_eq!(test.decided(), []);
        test.wait(Duration::from_millis(1));
        assert_eq!(test.decided(), [(1, Err(Refusal::ChannelServiceDown))]);
    }
}

#[test]
fn a_reply_counts_only_from_the_asked_entity_and_with_the_sent_id() {
    let service = FakeService::public();
    let mut test = GateTest::with(settings(), &service);
    test.ask(1, anonymous());
    let items = test.one(Link::Client);
    test.stanza(Link::Client, &service.answer(&items).unwrap());
    let infos = test.sent(Link::Client);
    let question = infos.iter().find(|iq| iq.attribute("to") == Some(SERVICE)).unwrap();
    test.stanza(Link::Client, &service.answer(question).unwrap());
    let question = test.one(Link::Client);
    let good = service.answer(&question).unwrap();
    let unnamed = {
        let id = question.attribute("id").unwrap();
        let children: Vec<_> = good.children().cloned().collect();
        element("iq", ns::CLIENT, &[("type", "result"), ("id", id)], &children)
    };
    let id_of_other = items.attribute("id").unwrap();
    for forged in [
        good.clone().with("from", "mallory@example.com"),
        good.clone().with("from", "channels.example.com/x"),
        good.clone().with("from", "example.com"),
        good.clone().with("from", ""),
        good.clone().with("id", "guess"),
        good.clone().with("id", id_of_other),
        good.clone().with("type", "set"),
        good.clone().with("type", "chat"),
        unnamed,
    ] {
        test.stanza(Link::Client, &forged);
        assert_eq!(test.decided(), [], "{forged:?}");
        test.sent(Link::Client);
    }
    test.stanza(Link::Component, &good);
    assert_eq!(test.decided(), [], "on the other link");
    test.stanza(Link::Client, &good.clone().with("from", "Channels.Example.com"));
    assert_eq!(test.decided(), [(1, PUBLIC)]);
    test.stanza(Link::Client, &good);
    assert_eq!(test.decided(), [], "repeated");
}

#[test]
fn only_our_own_server_may_leave_out_from() {
    let service = FakeService::public();
    let mut test = GateTest::dark(settings());
    test.up(Link::Client);
    let items = test.one(Link::Client);
    let unnamed = |iq: &Element, answer: &Element| {
        let attributes = [("type", "result"), ("id", iq.attribute("id").unwrap()), ("to", ACCOUNT)];
        element("iq", ns::CLIENT, &attributes, &answer.children().cloned().collect::<Vec<_>>())
    };
    test.stanza(Link::Client, &unnamed(&items, &service.answer(&items).unwrap()));
    let infos = test.sent(Link::Client);
    assert_eq!(infos.len(), 2, "the server's own list counts");
    test.stanza(Link::Client, &unnamed(&infos[0], &result(&infos[0], &[info(CHANNELS)])));
    let mut room = anonymous();
    room.channel = "room@example.com".parse().unwrap();
    test.ask(1, room);
    assert_eq!(test.sent(Link::Client), [], "an item's nameless answer did not count");
}

#[test]
fn equal_lookups_are_shared() {
    let service = FakeService::public();
    let mut test = GateTest::with(settings(), &service);
    for number in 0..limits::LOOKUP_WAITERS as u32 + 1 {
        test.ask(number, anonymous());
    }
    let full = limits::LOOKUP_WAITERS as u32;
    assert_eq!(test.decided(), [(full, Err(Refusal::Overloaded))]);
    // Items, two infos, and one question about the node.
    assert_eq!(test.play(&service), 4);
    let decided = test.decided();
    assert_eq!(decided.len(), limits::LOOKUP_WAITERS);
    assert!(decided.iter().all(|(_, decision)| *decision == PUBLIC));
}

#[test]
fn lookups_are_limited() {
    let service = FakeService::public();
    let mut test = GateTest::with(settings(), &service);
    let read = |number: u32| {
        let channel = format!("room{number}@topics.example.com").parse().unwrap();
        Request { channel, ..anonymous() }
    };
    // One lookup is for the service of all of them.
    let full = settings().lookups_total as u32 - 1;
    for number in 0..=full {
        test.ask(number, read(number));
    }
    assert_eq!(test.decided(), [(full, Err(Refusal::Overloaded))]);
    test.play(&service);
    assert_eq!(test.decided().len(), full as usize);
    assert_eq!(test.decision_of(read(full), &service), PUBLIC, "an overload is not remembered");
}

#[test]
fn results_are_cached_for_their_ttl() {
    let service = FakeService::where_alice_is("member");
    let mut test = GateTest::with(settings(), &service);
    assert_eq!(test.decision_of(request(Need::Read), &service), alices());
    test.wait(TTL - SECOND);
    test.ask(1, request(Need::Read));
    test.confirm();
    assert_eq!(test.sent(Link::Client), []);
    assert_eq!(test.decided(), [(1, alices())]);
    test.wait(SECOND);
    test.ask(2, request(Need::Read));
    assert_eq!(test.sent(Link::Component), []);
    // All was learned at the same moment; so all is asked again: items, two infos, node, affiliations.
    assert_eq!(test.play(&service), 5);
    test.confirm();
    assert_eq!(test.decided(), [(2, alices())]);
}

#[test]
fn a_cached_public_channel_is_decided_at_once() {
    let service = FakeService::public();
    let mut test = GateTest::with(settings(), &service);
    assert!(!test.is_public());
    assert_eq!(test.decision_of(request(Need::Read), &service), PUBLIC);
    assert!(test.is_public());
    test.ask(1, request(Need::Read));
    assert_eq!(test.decided(), [(1, PUBLIC)]);
    assert!(test.sent(Link::Client).is_empty() && test.sent(Link::Component).is_empty());
}

#[test]
fn a_channel_is_not_public_after_its_ttl() {
    let service = FakeService::public();
    let mut test = GateTest::with(settings(), &service);
    assert_eq!(test.decision_of(request(Need::Read), &service), PUBLIC);
    test.wait(TTL);
    assert!(!test.is_public(), "it may have been turned private");
    assert_eq!(test.decision_of(anonymous(), &FakeService::new()), Err(Refusal::NoCredentials));
    assert!(!test.is_public());
}

#[test]
fn failures_and_assumptions_are_cached_for_a_short_time() {
    let lost = FakeService { node: Manner::Fails("cancel", "item-not-found"), ..FakeService::new() };
    let busy = FakeService { node: Manner::Fails("wait", "x"), ..FakeService::new() };
    for (service, status) in [(lost, 401), (busy, 503)] {
        let mut test = GateTest::with(settings(), &service);
        test.ask(1, anonymous());
        test.play(&service);
        test.wait(limits::FAILURE_TTL - SECOND);
        test.ask(2, anonymous());
        assert_eq!(test.statuses(), [(1, status), (2, status)]);
        assert_eq!(test.sent(Link::Client), []);
        test.wait(SECOND);
        assert_eq!(test.decision_of(anonymous(), &FakeService::public()), PUBLIC);
    }
}

#[test]
fn a_ttl_of_zero_caches_nothing() {
    let none = Settings { cache_ttl: Duration::ZERO, ..settings() };
    for service in
        [FakeService::public(), FakeService { node: Manner::Fails("wait", "x"), ..FakeService::new() }]
    {
        let mut test = GateTest::with(none.clone(), &service);
        for number in 1..3 {
            test.ask(number, anonymous());
            assert_eq!(test.play(&service), 4);
            assert_eq!(test.decided().len(), 1);
        }
    }
    // A short one holds for failures, too.
    let short = Settings { cache_ttl: SECOND, ..settings() };
    let service = FakeService { node: Manner::Fails("wait", "x"), ..FakeService::new() };
    let mut test = GateTest::with(short, &service);
    test.ask(1, anonymous());
    test.play(&service);
    test.wait(SECOND);
    test.ask(2, anonymous());
    assert_eq!(test.play(&service), 4);
}

#[test]
fn each_user_has_an_affiliation_of_their_own() {
    let service = FakeService::where_alice_is("owner");
    let mut test = GateTest::with(settings(), &service);
    assert_eq!(test.decision_of(request(Need::Publish), &service), alices());
    let mut mallory = request(Need::Publish);
    mallory.credentials = credentials("mallory@example.com/x", "t");
    assert_eq!(test.decision_of(mallory, &service), Err(Refusal::NotConfirmed));
    let mut elsewhere = request(Need::Publish);
    elsewhere.channel = "other@topics.example.com".parse().unwrap();
    assert_eq!(test.decision_of(elsewhere, &FakeService::new()), Err(Refusal::NotConfirmed));
}

#[test]
fn the_clients_link_going_down_ends_every_lookup() {
    for questions in 0..4 {
        let service = FakeService { info_access: None, access: Some("open"), ..FakeService::new() };
        let mut test = GateTest::with(settings(), &service);
        test.ask(1, anonymous());
        test.ask(2, anonymous());
        for _ in 0..questions {
            for question in test.sent(Link::Client) {
                test.stanza(Link::Client, &service.answer(&question).unwrap());
            }
        }
        let late = test.sent(Link::Client);
        test.down(Link::Client);
        assert_eq!(test.statuses(), [(1, 503), (2, 503)], "after {questions} answers");
        test.up(Link::Client);
        for question in late {
            test.stanza(Link::Client, &service.answer(&question).unwrap());
        }
        assert_eq!(test.decided(), []);
        test.play(&service);
        assert_eq!(test.decision_of(anonymous(), &service), PUBLIC, "a broken link is not remembered");
    }
}

#[test]
fn without_the_clients_link_only_cached_results_are_used() {
    let service = FakeService::public();
    let mut test = GateTest::with(settings(), &service);
    assert_eq!(test.decision_of(anonymous(), &service), PUBLIC);
    test.down(Link::Client);
    test.ask(1, anonymous());
    assert_eq!(test.decided(), [(1, PUBLIC)]);
    test.wait(TTL);
    test.ask(2, anonymous());
    assert_eq!(test.decided(), [(2, Err(Refusal::XmppDown))]);
}

#[test]
fn the_own_domain_is_looked_up_at_the_start_if_it_is_served() {
    let mut test = GateTest::dark(settings());
    test.up(Link::Component);
    assert_eq!(test.sent(Link::Client), []);
    test.up(Link::Client);
    assert_eq!(test.play(&FakeService::public()), 3);
    let mut room = anonymous();
    room.channel = "room@example.com".parse().unwrap();
    test.ask(1, room);
    assert_eq!(test.play(&FakeService::public()), 1);
    assert_eq!(test.decided(), [(1, PUBLIC)]);
    let elsewhere = Settings { domains: vec!["example.org".parse().unwrap()], ..settings() };
    let mut test = GateTest::dark(elsewhere);
    test.up(Link::Client);
    assert_eq!(test.sent(Link::Client), []);
}

#[test]
fn ended_lookups_leave_nothing_behind() {
    let service = FakeService::public();
    let mut channels = Channels::new(&settings());
    let now = Instant::now();
    channels.up(ACCOUNT.parse().unwrap());
    let query = Lookup::Access(ROOM.parse().unwrap());
    assert!(channels.find(now, &query, 1, None).is_none());
    let mut found = 0;
    while let Some(event) = channels.next_event() {
        match event {
            LookupEvent::Send(question) => {
                let answer = service.answer(&question).unwrap();
                // The domain has not said what it is when the search is over.
                if answer.child("query", ns::DISCO_INFO) != Some(&info(service.domain.1)) {
                    channels.reply(now, &answer);
                }
            }
            LookupEvent::Found(..) => found += 1,
        }
    }
    assert_eq!(found, 1);
    assert!(channels.unanswered.is_empty() && channels.running.is_empty());
    assert!(channels.find(now, &query, 2, None).is_some());
    // A late error to a question that nobody asked any more changes nothing.
    let stale = element("iq", ns::CLIENT, &[("id", "x"), ("to", SERVICE)], &[]);
    channels.reply(now, &error(&stale, "cancel", "item-not-found"));
    assert!(channels.find(now, &query, 3, None).is_some());
}

#[test]
fn a_refused_list_is_counted() {
    let affiliations = Manner::Fails("auth", "forbidden");
    let service = FakeService { affiliations, ..FakeService::where_alice_is("owner") };
    let mut test = GateTest::with(settings(), &service);
    assert_eq!(test.gate.counts().rights_refused.last, None);
    for number in 1..3 {
        assert_eq!(test.decision_of(request(Need::Publish), &service), Err(Refusal::RightsUntold));
        assert_eq!(test.sent(Link::Component), [], "nobody is asked");
        let refused = test.gate.counts().rights_refused;
        assert_eq!((refused.count, refused.last), (number, Some(test.now)));
        test.wait(limits::FAILURE_TTL);
    }
    let mended = FakeService::where_alice_is("owner");
    assert_eq!(test.decision_of(request(Need::Publish), &mended), alices());
}
