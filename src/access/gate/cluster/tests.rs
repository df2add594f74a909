use std::time::Duration;

use super::super::super::request::{Decision, Granted, Request};
use super::super::super::testing::{
    ALICE, COMPONENT, FakeService, GateTest, REPLY_TIMEOUT, credentials, echo, element, request, settings,
};
use super::*;
use crate::access::Settings;
use crate::limits;
use crate::model::{BareJid, Need, SharedPrompt};
use crate::xmpp::{Element, ns};

const SECOND: Duration = Duration::from_secs(1);

fn alice() -> BareJid {
    "alice@example.com".parse().unwrap()
}

fn alices() -> Decision {
    Ok(Granted::Owned(alice()))
}

/// Alice's request to her own channel, for which nobody's rights are looked up, of the client 192.0.2.`last`.
fn own(last: u8) -> Request {
    let client = Some([192, 0, 2, last].into());
    Request { channel: alice().try_into().unwrap(), client, ..request(Need::Publish) }
}

/// A gate of a cluster whose links are down.
fn node(settings: Settings) -> GateTest {
    let mut test = GateTest::dark(settings.clone());
    test.gate = Gate::new(settings, test.gate.clock.clone()).of_cluster();
    test
}

/// One that holds the stream, and whose link is up.
fn holder() -> GateTest {
    let mut test = node(settings());
    test.gate.hold(test.now);
    test.up(Link::Component);
    test.gate.take_node_events();
    test.now += REPLY_TIMEOUT;
    test
}

/// The prompt of a request that a node without the stream takes.
fn prompt_of(request: Request) -> SharedPrompt {
    let mut test = node(settings());
    test.ask(1, request);
    match test.gate.take_node_events().pop() {
        Some(NodeEvent::Ask(_, prompt)) => *prompt,
        _ => panic!("the request is handed over"),
    }
}

fn stored(number: i64, prompt: SharedPrompt) -> StoredPrompt {
    StoredPrompt { number, prompt, age: Duration::ZERO, is_sent: false, is_abandoned: false }
}

/// Gives a row to the gate; the prompts that it sends for it.
fn give(test: &mut GateTest, stored: StoredPrompt) -> Vec<Element> {
    let out = test.gate.ask_for_node(test.now, stored);
    test.take(out);
    test.sent(Link::Component)
}

fn answer(test: &mut GateTest, id: RequestId, decision: PromptDecision) {
    let out = test.gate.answered(test.now, id, decision);
    test.take(out);
}

/// The events in short.
fn told(test: &mut GateTest) -> Vec<String> {
    let short = |event| match event {
        NodeEvent::Ask(id, _) => format!("ask {id}"),
        NodeEvent::Abandon(id) => format!("abandon {id}"),
        NodeEvent::Sent(row) => format!("sent {}", row.number),
        NodeEvent::Decide(row, Ok(())) => format!("{} confirmed", row.number),
        NodeEvent::Decide(row, Err(refusal)) => format!("{} {}", row.number, refusal.row().name),
        NodeEvent::Ready => "ready".to_owned(),
    };
    test.gate.take_node_events().into_iter().map(short).collect()
}

fn says(text: &str) -> Element {
    let body = Element::new("body", ns::CLIENT).with_text(text);
    element("message", ns::CLIENT, &[("from", ALICE), ("type", "chat"), ("to", COMPONENT)], &[body])
}

#[test]
fn a_single_node_sends_nothing_to_other_nodes() {
    let mut test = GateTest::dark(settings());
    test.ask(1, own(1));
    assert_eq!(test.decided(), [(1, Err(Refusal::XmppDown))]);
    test.gate.hold(test.now);
    test.up(Link::Component);
    test.ask(2, own(1));
    let prompt = test.one(Link::Component);
    let row = stored(7, prompt_of(own(1)));
    assert!(give(&mut test, row).is_empty());
    answer(&mut test, 2, Ok(()));
    assert_eq!((test.decided(), told(&mut test)), (vec![], vec![]));
    test.stanza(Link::Component, &echo(&prompt));
    assert_eq!(test.decided(), [(2, alices())]);
}

#[test]
fn a_node_without_the_stream_asks_by_a_row() {
    for (decision, expected) in [
        (Ok(()), alices()),
        (Err(Refusal::Denied), Err(Refusal::Denied)),
        (Err(Refusal::NotConfirmed), Err(Refusal::NotConfirmed)),
        (Err(Refusal::TooManyForUser), Err(Refusal::TooManyForUser)),
        (Err(Refusal::XmppDown), Err(Refusal::XmppDown)),
    ] {
        let mut test = node(settings());
        let id = test.ask(1, own(1));
        assert_eq!((test.decided(), told(&mut test)), (vec![], vec![format!("ask {id}")]));
        answer(&mut test, id + 1, decision);
        assert_eq!(test.decided(), [], "of another request");
        answer(&mut test, id, decision);
        answer(&mut test, id, Ok(()));
        assert_eq!(test.decided(), [(1, expected)], "the first decision counts");
        assert_eq!(told(&mut test), [""; 0]);
    }
}

#[test]
fn rights_are_looked_up_again_after_the_decision_of_another_node() {
    let service = FakeService::where_alice_is("publisher");
    let settings = Settings { cache_ttl: Duration::ZERO, ..settings() };
    for (word, expected) in [("publisher", alices()), ("outcast", Err(Refusal::Forbidden))] {
        let mut test = node(settings.clone());
        test.up(Link::Client);
        test.play(&service);
        let id = test.ask(1, request(Need::Publish));
        test.play(&service);
        assert_eq!(told(&mut test), [format!("ask {id}")]);
        answer(&mut test, id, Ok(()));
        test.play(&FakeService::where_alice_is(word));
        assert_eq!(test.decided(), [(1, expected)]);
    }
}

#[test]
fn a_prompt_crosses_nodes_whole() {
    let request = Request { origin: Some("https://page.example".to_owned()), ..own(7) };
    let prompt = prompt_of(Request { address: Some([192, 0, 2, 7].into()), ..request });
    assert!(prompt.has_origin && prompt.shown && !prompt.by_iq && !prompt.ends_by_bounce);
    assert_eq!((prompt.client, prompt.time), (Some([192, 0, 2, 7].into()), REPLY_TIMEOUT));
    let mut test = holder();
    let asked = give(&mut test, stored(7, prompt.clone())).remove(0);
    assert_eq!(asked.attribute("id"), Some(prompt.stanza_id.as_str()));
    assert_eq!(asked.child("thread", ns::CLIENT).unwrap().text(), prompt.thread);
    let body = asked.child("body", ns::CLIENT).unwrap().text();
    let first =
        "Did you just upload a file to alice@example.com? (from 192.0.2.7, by a web page of page.example)\n";
    assert!(body.starts_with(first), "{body}");
    let confirm = asked.child("confirm", ns::HTTP_AUTH).unwrap();
    assert_eq!(confirm.attribute("id"), Some("t"));
    assert_eq!(confirm.attribute("method"), Some("POST"));
}

#[test]
fn the_holder_decides_by_the_reply_of_the_user() {
    let denial = |prompt: &Element| echo(prompt).with("type", "error");
    for (reply, decision) in
        [(echo as fn(&Element) -> Element, "7 confirmed"), (denial as fn(&Element) -> Element, "7 Denied")]
    {
        let mut test = holder();
        let row = stored(7, prompt_of(own(1)));
        let prompt = give(&mut test, row.clone()).remove(0);
        assert_eq!(told(&mut test), ["sent 7"]);
        assert!(give(&mut test, row.clone()).is_empty(), "it is known");
        test.stanza(Link::Component, &reply(&prompt));
        test.stanza(Link::Component, &echo(&prompt));
        assert_eq!(told(&mut test), [decision]);
        assert!(give(&mut test, row.clone()).is_empty(), "the table does not know it yet");
        test.gate.decisions_written(&[row.id()]);
        assert_eq!((test.gate.known_rows(), told(&mut test)), (KnownRows::default(), vec![]));
        let counts = test.gate.counts();
        assert_eq!((counts.confirmations.confirmed, counts.confirmations.denied), (0, 0), "not its own");
    }
}

#[test]
fn prompts_of_all_nodes_have_one_list_and_one_deadline_each() {
    let mut test = holder();
    test.ask(1, own(1));
    test.one(Link::Component);
    let row = StoredPrompt { age: 10 * SECOND, ..stored(7, prompt_of(own(1))) };
    let row = StoredPrompt {
        prompt: SharedPrompt { time: 20 * SECOND, ..row.prompt.clone() },
        is_sent: true,
        ..row
    };
    assert!(give(&mut test, row).is_empty(), "another node has sent it");
    assert_eq!(test.gate.counts().pending, 2);
    test.stanza(Link::Component, &says("ok"));
    let list = test.one(Link::Component).child("body", ns::CLIENT).unwrap().text().to_owned();
    assert!(list.starts_with("2 requests wait for your reply:"), "{list}");
    test.stanza(Link::Component, &says("2"));
    assert_eq!((told(&mut test), test.decided()), (vec!["7 confirmed".to_owned()], vec![]));
    test.stanza(Link::Component, &says("1"));
    assert_eq!(test.decided(), [(1, alices())]);

    let mut test = holder();
    let short = SharedPrompt { time: 20 * SECOND, ..prompt_of(own(1)) };
    give(&mut test, StoredPrompt { is_sent: true, ..stored(7, short) });
    assert_eq!(test.gate.deadline(), Some(test.now + 20 * SECOND));
    test.wait(20 * SECOND);
    assert_eq!(told(&mut test), ["7 NotConfirmed"]);
}

#[test]
fn limits_count_the_prompts_of_all_nodes() {
    let limited = Settings { pending_per_user: 2, ..settings() };
    let mut test = node(limited);
    test.gate.hold(test.now);
    test.up(Link::Component);
    told(&mut test);
    test.ask(1, Request { client: None, ..own(1) });
    let nameless = || SharedPrompt { client: None, ..prompt_of(own(1)) };
    give(&mut test, stored(7, nameless()));
    give(&mut test, stored(8, nameless()));
    assert_eq!(told(&mut test), ["sent 7", "8 TooManyForUser"]);
    test.ask(2, Request { client: None, ..own(2) });
    assert_eq!(test.decided(), [(2, Err(Refusal::TooManyForUser))]);
    give(&mut test, StoredPrompt { is_sent: true, ..stored(9, nameless()) });
    assert_eq!(told(&mut test), [""; 0], "what was sent counts, whatever the limits");
    test.stanza(Link::Component, &says("no all"));
    assert_eq!(test.gate.counts().pending, 3, "no list was shown");
}

#[test]
fn a_silent_prompt_of_another_node_ends_at_its_deadline_and_at_nothing_else() {
    let mut test = holder();
    let silent = SharedPrompt { shown: false, ..prompt_of(own(1)) };
    let confirm = [("id", "t"), ("method", "POST"), ("url", silent.url.as_str())];
    let confirm = element("confirm", ns::HTTP_AUTH, &confirm, &[]);
    assert!(give(&mut test, stored(7, silent.clone())).is_empty());
    assert_eq!(told(&mut test), ["sent 7"], "so that the next holder lets it end as this one does");
    test.stanza(Link::Component, &element("message", ns::CLIENT, &[("from", ALICE)], &[confirm]));
    test.stanza(Link::Component, &says("ok"));
    test.wait(REPLY_TIMEOUT - SECOND);
    assert_eq!(told(&mut test), [""; 0]);
    test.wait(SECOND);
    assert_eq!(told(&mut test), ["7 NotConfirmed"]);
}

#[test]
fn a_hang_up_reaches_the_holder_and_the_prompt_counts_until_its_end() {
    let mut asker = node(settings());
    let id = asker.ask(1, own(1));
    assert_eq!(asker.gate.cancel(id), Some(1));
    answer(&mut asker, id, Ok(()));
    assert_eq!((asker.decided(), told(&mut asker).pop()), (vec![], Some(format!("abandon {id}"))));

    let mut test = holder();
    let row = stored(7, prompt_of(own(1)));
    let prompt = give(&mut test, row.clone()).remove(0);
    test.gate.node_hung_up(&PromptId { stanza_id: "another".to_owned(), ..row.id() });
    assert_eq!(test.gate.counts().pending, 1, "the number alone names no row");
    test.gate.node_hung_up(&row.id());
    test.gate.node_hung_up(&row.id());
    test.gate.node_hung_up(&stored(8, prompt_of(own(1))).id());
    let known = KnownRows { all: vec![row.id()], waiting: Vec::new() };
    assert_eq!((test.gate.counts().pending, test.gate.known_rows()), (0, known));
    told(&mut test);
    test.stanza(Link::Component, &echo(&prompt));
    assert_eq!(told(&mut test), ["7 NotConfirmed"], "nobody asks about it again");
    // One that was abandoned before it was sent is not sent.
    give(&mut test, StoredPrompt { is_abandoned: true, ..stored(8, prompt_of(own(1))) });
    assert_eq!((told(&mut test), test.sent(Link::Component)), (vec!["8 NotConfirmed".to_owned()], vec![]));
    // A new holder knows those that were sent: a user may reply to them.
    give(&mut test, StoredPrompt { is_abandoned: true, is_sent: true, ..stored(9, prompt_of(own(1))) });
    give(&mut test, stored(10, prompt_of(own(1))));
    test.stanza(Link::Component, &says("ok"));
    assert_eq!(told(&mut test), ["sent 10"], "the yes may be meant for either");
}

#[test]
fn the_next_holder_goes_on_with_the_prompts_of_others() {
    let mut test = holder();
    test.ask(1, own(1));
    let row = stored(7, prompt_of(own(1)));
    give(&mut test, row.clone());
    told(&mut test);
    let out = test.gate.release(test.now);
    test.take(out);
    assert_eq!((test.decided(), told(&mut test)), (vec![(1, Err(Refusal::XmppDown))], vec![]));
    assert_eq!(test.gate.known_rows(), KnownRows::default());
    give(&mut test, row.clone());
    test.wait(REPLY_TIMEOUT);
    assert_eq!(told(&mut test), [""; 0], "it is not this one's to decide");
    let id = test.ask(2, own(1));
    assert_eq!(told(&mut test), [format!("ask {id}")]);

    let mut next = holder();
    assert!(give(&mut next, StoredPrompt { is_sent: true, ..row.clone() }).is_empty());
    let thread = Element::new("thread", ns::CLIENT).with_text(&row.prompt.thread);
    next.stanza(Link::Component, &says("ok").with_child(thread));
    assert_eq!(told(&mut next), ["7 confirmed"]);
}

#[test]
fn a_new_holder_takes_no_bare_yes_while_prompts_may_be_unknown_to_it() {
    let mut test = holder();
    test.gate.hold(test.now);
    give(&mut test, StoredPrompt { age: 20 * SECOND, is_sent: true, ..stored(7, prompt_of(own(1))) });
    test.stanza(Link::Component, &says("ok"));
    assert_eq!(told(&mut test), [""; 0], "it may be meant for a prompt of the holder before");
    assert!(test.one(Link::Component).child("body", ns::CLIENT).unwrap().text().starts_with("This request"));
    test.stanza(Link::Component, &says("1"));
    assert_eq!(told(&mut test), ["7 confirmed"]);
    test.now += REPLY_TIMEOUT;
    give(&mut test, StoredPrompt { age: 20 * SECOND, ..stored(8, prompt_of(own(1))) });
    told(&mut test);
    test.stanza(Link::Component, &says("ok"));
    assert_eq!(told(&mut test), ["8 confirmed"]);
}

#[test]
fn without_a_link_prompts_wait_for_a_while_and_are_then_refused() {
    let mut test = node(settings());
    test.gate.hold(test.now);
    let row = stored(7, prompt_of(own(1)));
    give(&mut test, row.clone());
    test.ask(1, own(1));
    assert_eq!(
        (told(&mut test), test.decided()),
        (vec!["ask 1".to_owned()], vec![]),
        "the log-in is under way"
    );
    test.up(Link::Component);
    assert_eq!(told(&mut test), ["ready"]);
    give(&mut test, row.clone());
    test.ask(2, own(1));
    told(&mut test);
    test.down(Link::Component);
    assert_eq!((told(&mut test), test.decided()), (vec![], vec![(2, Err(Refusal::XmppDown))]));
    test.now += limits::STREAM_PATIENCE - SECOND;
    give(&mut test, row.clone());
    assert_eq!(told(&mut test), [""; 0]);
    test.now += SECOND;
    give(&mut test, row);
    assert_eq!(told(&mut test), ["7 XmppDown"]);
}

#[test]
fn a_node_waits_for_a_decision_a_little_longer_than_the_user_has() {
    let mut test = node(settings());
    let id = test.ask(1, own(1));
    assert_eq!(test.gate.deadline(), Some(test.now + REPLY_TIMEOUT + limits::DECISION_GRACE));
    test.wait(REPLY_TIMEOUT + limits::DECISION_GRACE - SECOND);
    assert_eq!(test.decided(), []);
    test.wait(SECOND);
    answer(&mut test, id, Ok(()));
    assert_eq!(test.decided(), [(1, Err(Refusal::NotConfirmed))]);
    assert_eq!(told(&mut test), ["ask 1", "abandon 1"]);
    assert_eq!((test.gate.counts().confirmations.late, test.gate.deadline()), (1, None));
}

#[test]
fn a_node_hands_over_no_more_than_the_limits_allow() {
    let limited = Settings { pending_total: 3, pending_per_address: 2, ..settings() };
    let mut test = node(limited);
    let ids: Vec<_> = (1..=2).map(|number| test.ask(number, own(1))).collect();
    test.ask(3, own(1));
    test.ask(4, own(2));
    test.ask(5, own(3));
    let refused = [(3, Err(Refusal::TooManyForAddress)), (5, Err(Refusal::TooManyPending))];
    assert_eq!(test.decided(), refused);
    answer(&mut test, ids[0], Err(Refusal::Denied));
    test.ask(6, own(1));
    assert_eq!(test.decided(), [(1, Err(Refusal::Denied))], "a decision makes room");
}

#[test]
fn stopping_abandons_what_others_ask_about() {
    let mut test = holder();
    give(&mut test, stored(7, prompt_of(own(1))));
    test.ask(1, own(2));
    test.down(Link::Component);
    test.decided();
    let id = test.ask(2, own(2));
    told(&mut test);
    test.stop();
    assert_eq!(
        (told(&mut test), test.decided()),
        (vec![format!("abandon {id}")], vec![(2, Err(Refusal::Stopping))])
    );
    give(&mut test, stored(8, prompt_of(own(1))));
    test.wait(REPLY_TIMEOUT);
    assert_eq!(told(&mut test), [""; 0], "the next holder goes on with the rows");
}

#[test]
fn credentials_name_the_user_who_confirmed() {
    let mut test = node(settings());
    let bob = Request { credentials: credentials("bob@example.com/x", "t"), ..own(1) };
    let channel = "bob@example.com".parse::<BareJid>().unwrap().try_into().unwrap();
    let id = test.ask(1, Request { channel, ..bob });
    answer(&mut test, id, Ok(()));
    assert_eq!(test.decided(), [(1, Ok(Granted::Owned("bob@example.com".parse().unwrap())))]);
}
