use super::super::request::{Decision, Granted};
use super::super::testing::{
    ACCOUNT, CHANNELS, Identities, Manner, Paging, REPLY_TIMEOUT, ROOM, SERVICE, Service, Stage, TTL, ask,
    echo, element, error, info, result, settings,
};
use super::*;
use crate::model::Need;
use crate::xmpp::Link;

const PUBLIC: Decision = Ok(Granted::Public);
const SECOND: Duration = Duration::from_secs(1);

/// Alice's request at a stage of its own.
fn request(need: Need, service: &Service) -> Decision {
    Stage::with(settings(), service).request(ask(need), service)
}

fn alices() -> Decision {
    Ok(Granted::Owned("alice@example.com".parse().unwrap()))
}

/// A request to read without credentials.
fn anonymous() -> super::super::request::Ask {
    let mut ask = ask(Need::Read);
    ask.credentials = Err(Refusal::NoCredentials);
    ask
}

#[test]
fn a_channel_is_public_by_its_info_or_by_its_configuration() {
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
        (Some("Open"), None, false),
    ] {
        let service = Service { info_access: in_info, access: in_configuration, ..Service::new() };
        let expected = if public { PUBLIC } else { Err(Refusal::NoCredentials) };
        let decision = Stage::with(settings(), &service).request(anonymous(), &service);
        assert_eq!(decision, expected, "{in_info:?} {in_configuration:?}");
    }
}

#[test]
fn a_node_that_is_unknown_or_secret_is_private() {
    for manner in [
        Manner::Fails("cancel", "item-not-found"),
        Manner::Fails("auth", "forbidden"),
        Manner::Fails("cancel", "service-unavailable"),
        Manner::Fails("cancel", "a-condition-to-come"),
    ] {
        let unknown = Service { node: manner, ..Service::public() };
        let decision = Stage::with(settings(), &unknown).request(anonymous(), &unknown);
        assert_eq!(decision, Err(Refusal::NoCredentials));
        assert_eq!(request(Need::Read, &unknown), Err(Refusal::Forbidden));
        let secret = Service { info_access: None, configuration: manner, ..Service::new() };
        assert_eq!(request(Need::Read, &secret), Err(Refusal::Forbidden));
    }
}

#[test]
fn a_service_that_wants_another_time_is_down() {
    let busy = Manner::Fails("wait", "resource-constraint");
    let far = Manner::Fails("cancel", "remote-server-timeout");
    for manner in [busy, far] {
        let service = Service { node: manner, ..Service::public() };
        assert_eq!(request(Need::Read, &service), Err(Refusal::ChannelServiceDown));
        let service = Service { listing: manner, ..Service::public() };
        assert_eq!(request(Need::Read, &service), Err(Refusal::ChannelServiceDown));
    }
}

#[test]
fn affiliations_are_read_in_every_shape() {
    for affiliations_in in [ns::PUBSUB, ns::PUBSUB_OWNER] {
        for node_attributes in [true, false] {
            for jid in ["alice@example.com", "Alice@EXAMPLE.com", "alice@example.com/phone"] {
                let mut service = Service { affiliations_in, node_attributes, ..Service::new() };
                service.people.push((jid.to_owned(), "publisher"));
                assert_eq!(request(Need::Publish, &service), alices(), "{affiliations_in} {jid}");
            }
        }
    }
}

#[test]
fn only_whom_the_list_names_with_a_known_word_has_rights() {
    for word in ["none", "outcast", "follower", "followerPlus", "Owner", ""] {
        let service = Service::where_alice_is(word);
        assert_eq!(request(Need::Read, &service), Err(Refusal::Forbidden), "{word}");
    }
    for jid in ["alice@example.org", "alice", "alice@example.com.evil.tld", "", "al ice@example.com"] {
        let mut service = Service::new();
        service.people.push((jid.to_owned(), "owner"));
        assert_eq!(request(Need::Read, &service), Err(Refusal::Forbidden), "{jid}");
    }
    let nobody = Service { people: Vec::new(), ..Service::new() };
    assert_eq!(request(Need::Read, &nobody), Err(Refusal::Forbidden));
}

#[test]
fn the_first_word_of_a_user_counts() {
    let mut service = Service::where_alice_is("outcast");
    service.people.push(("alice@example.com".to_owned(), "owner"));
    assert_eq!(request(Need::Read, &service), Err(Refusal::Forbidden));
}

#[test]
fn a_refused_list_is_empty_and_an_unreachable_one_is_missing() {
    let of = |kind, condition| {
        let affiliations = Manner::Fails(kind, condition);
        request(Need::Read, &Service { affiliations, ..Service::where_alice_is("owner") })
    };
    for (kind, condition) in
        [("auth", "forbidden"), ("cancel", "item-not-found"), ("cancel", "not-allowed"), ("modify", "x")]
    {
        assert_eq!(of(kind, condition), Err(Refusal::Forbidden), "{condition}");
    }
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
fn crowd(strangers: usize, paging: Paging) -> Service {
    let people = (0..strangers).map(|number| (format!("user{number}@example.com"), "member"));
    let mut service = Service { people: people.collect(), paging, ..Service::new() };
    service.people.push(("alice@example.com".to_owned(), "member"));
    service
}

/// Alice's request to read a channel that is known to be private; how many pages were asked for.
fn pages(service: &Service) -> (Decision, usize) {
    let mut stage = Stage::with(settings(), service);
    stage.ask(1, ask(Need::Read));
    stage.play(service);
    stage.confirm();
    let pages = stage.play(service);
    (stage.decided().remove(0).1, pages)
}

#[test]
fn pages_are_turned_until_the_user_is_found() {
    assert_eq!(pages(&crowd(9, Paging::Pages(3))), (alices(), 4));
    assert_eq!(pages(&crowd(2, Paging::Pages(3))), (alices(), 1));
    assert_eq!(pages(&crowd(9, Paging::Uncounted(3))), (alices(), 4));
    let mut early = crowd(9, Paging::Pages(3));
    early.people.swap(4, 9);
    assert_eq!(pages(&early), (alices(), 2), "no page is asked for after the one that tells");
}

#[test]
fn paging_ends_whatever_the_service_says() {
    let nobody = Err(Refusal::Forbidden);
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
fn paging_ends_in_time_even_if_each_page_is_just_in_time() {
    let service = Service { paging: Paging::Crowd, ..Service::new() };
    let mut stage = Stage::with(settings(), &service);
    stage.ask(1, ask(Need::Read));
    stage.play(&service);
    stage.confirm();
    for _ in 0..2 {
        let question = stage.one(Link::Client);
        stage.wait(REPLY_TIMEOUT - SECOND);
        stage.stanza(Link::Client, &service.answer(&question).unwrap());
        assert_eq!(stage.decided(), []);
    }
    stage.wait(2 * SECOND);
    assert_eq!(stage.decided(), [(1, Err(Refusal::ChannelServiceDown))]);
}

const SERVICE_ONLY: Identities = &[("pubsub", "service")];
const OTHER: Identities = &[("conference", "text")];

#[test]
fn discovery_takes_the_channel_service_wherever_it_is_listed() {
    let refused = Manner::Fails("cancel", "service-unavailable");
    let service = Service {
        items: vec![
            ("broken.example.com", refused, &[]),
            ("far.example.com", Manner::Fails("wait", "remote-server-timeout"), &[]),
            ("silent.example.com", Manner::Silent, &[]),
            ("empty.example.com", Manner::Answers, &[]),
            ("pubsub.example.com", Manner::Answers, SERVICE_ONLY),
            ("chat.example.com", Manner::Answers, OTHER),
            (SERVICE, Manner::Answers, CHANNELS),
        ],
        ..Service::public()
    };
    // Nobody has to be waited for.
    assert_eq!(request(Need::Read, &service), PUBLIC);
}

#[test]
fn discovery_asks_everyone_at_once_and_nobody_twice() {
    let mut stage = Stage::dark(settings());
    stage.up(Link::Client);
    let items = stage.one(Link::Client);
    assert_eq!(items.attribute("to"), Some("example.com"));
    assert_eq!(items.attribute("from"), None);
    let item = |jid: &str, node: &str| element("item", ns::DISCO_ITEMS, &[("jid", jid), ("node", node)], &[]);
    let mut listed: Vec<_> =
        (0..3000).map(|number| item(SERVICE, &format!("/user/{number}@x/posts"))).collect();
    listed.extend([item("a b", ""), item("", ""), item("Example.com", ""), item("Channels.Example.COM", "")]);
    listed.extend((0..100).map(|number| item(&format!("item{number}.example.com"), "")));
    let query = element("query", ns::DISCO_ITEMS, &[], &listed);
    stage.stanza(Link::Client, &result(&items, &[query]));
    let asked = stage.sent(Link::Client);
    let asked: Vec<_> = asked.iter().map(|iq| iq.attribute("to").unwrap()).collect();
    assert_eq!(asked.len(), limits::DISCOVERY_ITEMS);
    assert_eq!((asked[0], asked[1]), (SERVICE, "item0.example.com"));
    assert_eq!(asked[asked.len() - 1], "example.com", "the domain is asked last, and once");
}

#[test]
fn a_topics_domain_that_lists_nodes_is_found() {
    let mut service = Service::public();
    service.items = vec![(SERVICE, Manner::Answers, CHANNELS); 3];
    assert_eq!(request(Need::Read, &service), PUBLIC);
    // It lists nothing while it has no nodes: then it is found as the domain itself.
    let service = Service { items: Vec::new(), domain: (Manner::Answers, CHANNELS), ..Service::public() };
    assert_eq!(request(Need::Read, &service), PUBLIC);
    // It may not list at all.
    let listing = Manner::Fails("cancel", "feature-not-implemented");
    assert_eq!(request(Need::Read, &Service { listing, ..service }), PUBLIC);
}

#[test]
fn a_plain_pubsub_service_is_taken_where_there_is_no_channel_service() {
    let items: Vec<(_, _, Identities)> = vec![
        ("chat.example.com", Manner::Answers, OTHER),
        ("pubsub.example.com", Manner::Answers, SERVICE_ONLY),
        ("second.example.com", Manner::Answers, SERVICE_ONLY),
    ];
    let service = Service { items, domain: (Manner::Answers, SERVICE_ONLY), ..Service::public() };
    let mut stage = Stage::with(settings(), &service);
    stage.ask(1, anonymous());
    let sent = stage.sent(Link::Client);
    stage.stanza(Link::Client, &service.answer(&sent[0]).unwrap());
    // topics.example.com was looked up like example.com: items, then items and the domain.
    let candidates = stage.sent(Link::Client);
    assert_eq!(candidates.len(), 4);
    // Answers in any order: items come before the domain, in their order.
    for candidate in candidates.iter().rev() {
        stage.stanza(Link::Client, &service.answer(candidate).unwrap());
    }
    assert_eq!(stage.one(Link::Client).attribute("to"), Some("pubsub.example.com"));
}

#[test]
fn without_a_service_a_channel_is_private_if_all_have_answered() {
    let service = Service { items: vec![("chat.example.com", Manner::Answers, OTHER)], ..Service::public() };
    assert_eq!(request(Need::Read, &service), Err(Refusal::Forbidden));
    let nowhere = Manner::Fails("cancel", "remote-server-not-found");
    let service = Service { listing: nowhere, domain: (nowhere, &[]), ..Service::public() };
    assert_eq!(request(Need::Read, &service), Err(Refusal::Forbidden));
}

#[test]
fn without_a_service_a_channel_is_unknown_if_someone_is_silent() {
    let mut service = Service::public();
    service.items = vec![("silent.example.com", Manner::Silent, &[])];
    let mut stage = Stage::with(settings(), &service);
    stage.ask(1, ask(Need::Read));
    stage.play(&service);
    assert_eq!(stage.decided(), []);
    stage.wait(REPLY_TIMEOUT);
    assert_eq!(stage.decided(), [(1, Err(Refusal::ChannelServiceDown))]);
    assert_eq!(stage.sent(Link::Component), []);
}

#[test]
fn a_plain_service_beside_a_silent_item_is_believed_for_a_moment_only() {
    let mut service = Service::public();
    service.items =
        vec![("silent.example.com", Manner::Silent, &[]), ("p.example.com", Manner::Answers, SERVICE_ONLY)];
    let mut stage = Stage::with(settings(), &service);
    stage.ask(1, anonymous());
    stage.play(&service);
    stage.wait(REPLY_TIMEOUT);
    stage.play(&service);
    assert_eq!(stage.decided(), [(1, PUBLIC)]);
    stage.wait(limits::FAILURE_TTL);
    let mut other = anonymous();
    other.channel = "other@topics.example.com".parse().unwrap();
    stage.ask(2, other);
    let question = stage.one(Link::Client);
    assert!(question.child("query", ns::DISCO_ITEMS).is_some(), "the search begins anew");
}

#[test]
fn each_silence_ends() {
    let silent = Manner::Silent;
    for service in [
        Service { listing: silent, ..Service::new() },
        Service { node: silent, ..Service::new() },
        Service { info_access: None, configuration: silent, ..Service::new() },
        Service { affiliations: silent, ..Service::new() },
    ] {
        let mut stage = Stage::with(settings(), &service);
        stage.ask(1, ask(Need::Read));
        stage.play(&service);
        for prompt in stage.sent(Link::Component) {
            stage.stanza(Link::Component, &echo(&prompt));
        }
        stage.play(&service);
        stage.wait(REPLY_TIMEOUT - Duration::from_millis(1));
        assert_eq!(stage.decided(), []);
        stage.wait(Duration::from_millis(1));
        assert_eq!(stage.decided(), [(1, Err(Refusal::ChannelServiceDown))]);
    }
}

#[test]
fn a_reply_counts_only_from_whom_was_asked_with_the_id_that_was_sent() {
    let service = Service::public();
    let mut stage = Stage::with(settings(), &service);
    stage.ask(1, anonymous());
    let items = stage.one(Link::Client);
    stage.stanza(Link::Client, &service.answer(&items).unwrap());
    let infos = stage.sent(Link::Client);
    let question = infos.iter().find(|iq| iq.attribute("to") == Some(SERVICE)).unwrap();
    stage.stanza(Link::Client, &service.answer(question).unwrap());
    let question = stage.one(Link::Client);
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
        stage.stanza(Link::Client, &forged);
        assert_eq!(stage.decided(), [], "{forged:?}");
        stage.sent(Link::Client);
    }
    stage.stanza(Link::Component, &good);
    assert_eq!(stage.decided(), [], "on the other link");
    stage.stanza(Link::Client, &good.clone().with("from", "Channels.Example.com"));
    assert_eq!(stage.decided(), [(1, PUBLIC)]);
    stage.stanza(Link::Client, &good);
    assert_eq!(stage.decided(), [], "repeated");
}

#[test]
fn only_our_own_server_may_leave_out_its_name() {
    let service = Service::public();
    let mut stage = Stage::dark(settings());
    stage.up(Link::Client);
    let items = stage.one(Link::Client);
    let unnamed = |iq: &Element, answer: &Element| {
        let attributes = [("type", "result"), ("id", iq.attribute("id").unwrap()), ("to", ACCOUNT)];
        element("iq", ns::CLIENT, &attributes, &answer.children().cloned().collect::<Vec<_>>())
    };
    stage.stanza(Link::Client, &unnamed(&items, &service.answer(&items).unwrap()));
    let infos = stage.sent(Link::Client);
    assert_eq!(infos.len(), 2, "the server's own list counts");
    stage.stanza(Link::Client, &unnamed(&infos[0], &result(&infos[0], &[info(CHANNELS)])));
    let mut room = anonymous();
    room.channel = "room@example.com".parse().unwrap();
    stage.ask(1, room);
    assert_eq!(stage.sent(Link::Client), [], "an item's nameless answer did not count");
}

#[test]
fn equal_questions_are_asked_once() {
    let service = Service::public();
    let mut stage = Stage::with(settings(), &service);
    for number in 0..limits::LOOKUP_WAITERS as u32 + 1 {
        stage.ask(number, anonymous());
    }
    let full = limits::LOOKUP_WAITERS as u32;
    assert_eq!(stage.decided(), [(full, Err(Refusal::Overloaded))]);
    // Items, two infos, and one question about the node.
    assert_eq!(stage.play(&service), 4);
    let decided = stage.decided();
    assert_eq!(decided.len(), limits::LOOKUP_WAITERS);
    assert!(decided.iter().all(|(_, decision)| *decision == PUBLIC));
}

#[test]
fn lookups_are_limited() {
    let service = Service::public();
    let mut stage = Stage::with(settings(), &service);
    let read = |number: u32| {
        let channel = format!("room{number}@topics.example.com").parse().unwrap();
        super::super::request::Ask { channel, ..anonymous() }
    };
    // One lookup is for the service of all of them.
    let full = settings().lookups_total as u32 - 1;
    for number in 0..=full {
        stage.ask(number, read(number));
    }
    assert_eq!(stage.decided(), [(full, Err(Refusal::Overloaded))]);
    stage.play(&service);
    assert_eq!(stage.decided().len(), full as usize);
    assert_eq!(stage.request(read(full), &service), PUBLIC, "an overload is not remembered");
}

#[test]
fn answers_are_remembered_for_their_time() {
    let service = Service::where_alice_is("member");
    let mut stage = Stage::with(settings(), &service);
    assert_eq!(stage.request(ask(Need::Read), &service), alices());
    stage.wait(TTL - SECOND);
    stage.ask(1, ask(Need::Read));
    stage.confirm();
    assert_eq!(stage.sent(Link::Client), []);
    assert_eq!(stage.decided(), [(1, alices())]);
    stage.wait(SECOND);
    stage.ask(2, ask(Need::Read));
    assert_eq!(stage.sent(Link::Component), []);
    // All was learned at the same moment; so all is asked again: items, two infos, node, affiliations.
    assert_eq!(stage.play(&service), 4);
    stage.confirm();
    assert_eq!(stage.play(&service), 1);
    assert_eq!(stage.decided(), [(2, alices())]);
}

#[test]
fn a_public_channel_in_the_cache_is_decided_on_the_spot() {
    let service = Service::public();
    let mut stage = Stage::with(settings(), &service);
    assert!(!stage.is_public());
    assert_eq!(stage.request(ask(Need::Read), &service), PUBLIC);
    assert!(stage.is_public());
    stage.ask(1, ask(Need::Read));
    assert_eq!(stage.decided(), [(1, PUBLIC)]);
    assert!(stage.sent(Link::Client).is_empty() && stage.sent(Link::Component).is_empty());
}

#[test]
fn what_is_not_public_now_is_not_taken_for_it() {
    let service = Service::public();
    let mut stage = Stage::with(settings(), &service);
    assert_eq!(stage.request(ask(Need::Read), &service), PUBLIC);
    stage.wait(TTL);
    assert!(!stage.is_public(), "it may have been turned private");
    assert_eq!(stage.request(anonymous(), &Service::new()), Err(Refusal::NoCredentials));
    assert!(!stage.is_public());
}

#[test]
fn what_is_not_sure_is_remembered_for_a_moment() {
    let lost = Service { node: Manner::Fails("cancel", "item-not-found"), ..Service::new() };
    let busy = Service { node: Manner::Fails("wait", "x"), ..Service::new() };
    for (service, status) in [(lost, 401), (busy, 503)] {
        let mut stage = Stage::with(settings(), &service);
        stage.ask(1, anonymous());
        stage.play(&service);
        stage.wait(limits::FAILURE_TTL - SECOND);
        stage.ask(2, anonymous());
        assert_eq!(stage.statuses(), [(1, status), (2, status)]);
        assert_eq!(stage.sent(Link::Client), []);
        stage.wait(SECOND);
        assert_eq!(stage.request(anonymous(), &Service::public()), PUBLIC);
    }
}

#[test]
fn a_ttl_of_zero_remembers_nothing() {
    let none = Settings { cache_ttl: Duration::ZERO, ..settings() };
    for service in [Service::public(), Service { node: Manner::Fails("wait", "x"), ..Service::new() }] {
        let mut stage = Stage::with(none.clone(), &service);
        for number in 1..3 {
            stage.ask(number, anonymous());
            assert_eq!(stage.play(&service), 4);
            assert_eq!(stage.decided().len(), 1);
        }
    }
    // A short one holds for failures, too.
    let short = Settings { cache_ttl: SECOND, ..settings() };
    let service = Service { node: Manner::Fails("wait", "x"), ..Service::new() };
    let mut stage = Stage::with(short, &service);
    stage.ask(1, anonymous());
    stage.play(&service);
    stage.wait(SECOND);
    stage.ask(2, anonymous());
    assert_eq!(stage.play(&service), 4);
}

#[test]
fn each_user_has_an_affiliation_of_their_own() {
    let service = Service::where_alice_is("owner");
    let mut stage = Stage::with(settings(), &service);
    assert_eq!(stage.request(ask(Need::Publish), &service), alices());
    let mut mallory = ask(Need::Publish);
    mallory.credentials = super::super::testing::credentials("mallory@example.com/x", "t");
    assert_eq!(stage.request(mallory, &service), Err(Refusal::Forbidden));
    let mut elsewhere = ask(Need::Publish);
    elsewhere.channel = "other@topics.example.com".parse().unwrap();
    assert_eq!(stage.request(elsewhere, &Service::new()), Err(Refusal::Forbidden));
}

#[test]
fn the_client_link_going_down_ends_every_lookup() {
    for questions in 0..4 {
        let service = Service { info_access: None, access: Some("open"), ..Service::new() };
        let mut stage = Stage::with(settings(), &service);
        stage.ask(1, anonymous());
        stage.ask(2, anonymous());
        for _ in 0..questions {
            for question in stage.sent(Link::Client) {
                stage.stanza(Link::Client, &service.answer(&question).unwrap());
            }
        }
        let late = stage.sent(Link::Client);
        stage.down(Link::Client);
        assert_eq!(stage.statuses(), [(1, 503), (2, 503)], "after {questions} answers");
        stage.up(Link::Client);
        for question in late {
            stage.stanza(Link::Client, &service.answer(&question).unwrap());
        }
        assert_eq!(stage.decided(), []);
        stage.play(&service);
        assert_eq!(stage.request(anonymous(), &service), PUBLIC, "a broken link is not remembered");
    }
}

#[test]
fn without_the_client_link_only_the_cache_answers() {
    let service = Service::public();
    let mut stage = Stage::with(settings(), &service);
    assert_eq!(stage.request(anonymous(), &service), PUBLIC);
    stage.down(Link::Client);
    stage.ask(1, anonymous());
    assert_eq!(stage.decided(), [(1, PUBLIC)]);
    stage.wait(TTL);
    stage.ask(2, anonymous());
    assert_eq!(stage.decided(), [(2, Err(Refusal::XmppDown))]);
}

#[test]
fn the_own_domain_is_looked_up_at_the_start_if_it_is_served() {
    let mut stage = Stage::dark(settings());
    stage.up(Link::Component);
    assert_eq!(stage.sent(Link::Client), []);
    stage.up(Link::Client);
    assert_eq!(stage.play(&Service::public()), 3);
    let mut room = anonymous();
    room.channel = "room@example.com".parse().unwrap();
    stage.ask(1, room);
    assert_eq!(stage.play(&Service::public()), 1);
    assert_eq!(stage.decided(), [(1, PUBLIC)]);
    let elsewhere = Settings { domains: vec!["example.org".parse().unwrap()], ..settings() };
    let mut stage = Stage::dark(elsewhere);
    stage.up(Link::Client);
    assert_eq!(stage.sent(Link::Client), []);
}

#[test]
fn nothing_is_left_behind() {
    let service = Service::public();
    let mut channels = Channels::new(&settings());
    let now = Instant::now();
    channels.up(ACCOUNT.parse().unwrap());
    let query = Query::Access(ROOM.parse().unwrap());
    assert!(channels.find(now, &query, 1, None).is_none());
    let mut found = 0;
    while let Some(event) = channels.next_event() {
        match event {
            Event::Send(question) => {
                let answer = service.answer(&question).unwrap();
                // The domain has not said what it is when the search is over.
                if answer.child("query", ns::DISCO_INFO) != Some(&info(service.domain.1)) {
                    channels.reply(now, &answer);
                }
            }
            Event::Found(..) => found += 1,
        }
    }
    assert_eq!(found, 1);
    assert!(channels.open.is_empty() && channels.lookups.is_empty());
    assert!(channels.find(now, &query, 2, None).is_some());
    // A late error to a question that nobody asked any more changes nothing.
    let stale = element("iq", ns::CLIENT, &[("id", "x"), ("to", SERVICE)], &[]);
    channels.reply(now, &error(&stale, "cancel", "item-not-found"));
    assert!(channels.find(now, &query, 3, None).is_some());
}
