use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::super::request::{Confirmation, Request};
use super::super::super::testing::{
    ALICE, COMPONENT, REPLY_TIMEOUT, credentials, echo, element, request, settings,
};
use super::super::ConfirmationResult;
use super::*;
use crate::access::Settings;
use crate::model::{AccessModel, Need, Refusal};
use crate::testing::Random;
use crate::xmpp::{Element, ns};

const BARE: &str = "alice@example.com";
const TABLET: &str = "alice@example.com/tablet";
const SECOND: Duration = Duration::from_secs(1);
/// Long enough for a prompt not to be fresh any more.
const LATER: Duration = Duration::from_secs(6);

/// The registry, and the time.
struct Chat {
    confirmations: Confirmations,
    now: Instant,
}

/// The decisions and the replies that a text caused.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    yes: Vec<RequestId>,
    no: Vec<RequestId>,
    answers: Vec<String>,
}

fn outcome(yes: &[RequestId], no: &[RequestId], answers: &[&str]) -> Outcome {
    let answers = answers.iter().map(|text| (*text).to_owned()).collect();
    Outcome { yes: yes.to_vec(), no: no.to_vec(), answers }
}

const NOTHING: Outcome = Outcome { yes: Vec::new(), no: Vec::new(), answers: Vec::new() };

fn yes(id: RequestId) -> Outcome {
    outcome(&[id], &[], &[])
}

fn no(id: RequestId) -> Outcome {
    outcome(&[], &[id], &[])
}

fn tells(telling: Telling) -> Outcome {
    outcome(&[], &[], &[telling.words()])
}

impl Chat {
    fn new() -> Self {
        let roomy = Settings { pending_per_user: 100, pending_per_address: 1000, ..settings() };
        Self { confirmations: Confirmations::new(&roomy), now: Instant::now() }
    }

    /// With these prompts at one network, none of them fresh.
    fn with(ids: &[RequestId]) -> Self {
        let mut chat = Self::new();
        for id in ids {
            chat.ask(*id);
        }
        chat.now += LATER;
        chat
    }

    fn ask(&mut self, id: RequestId) -> Element {
        self.ask_as(id, BARE, &format!("transaction{id:02}"), 1)
    }

    /// Asks for a request with this transaction id of the client 192.0.2.`last`.
    fn ask_as(&mut self, id: RequestId, jid: &str, transaction: &str, last: u8) -> Element {
        let request = Request { client: Some([192, 0, 2, last].into()), ..request(Need::Publish) };
        let credentials = credentials(jid, transaction).unwrap();
        let how = Confirmation { shown: true, access: Some(AccessModel::Open) };
        let component = COMPONENT.parse().unwrap();
        let prompt = self.confirmations.begin(self.now, &component, id, (&request, &credentials), how, false);
        prompt.unwrap().unwrap()
    }

    fn take(&mut self, stanza: &Element) -> Outcome {
        let reaction = self.confirmations.take(self.now, &COMPONENT.parse().unwrap(), stanza);
        let with = |wanted: fn(&ConfirmationResult) -> bool| {
            let decided = reaction.decided.iter().filter(|(_, result)| wanted(result));
            decided.map(|(id, _)| *id).collect()
        };
        let body = |answer: &Element| answer.child("body", ns::CLIENT).unwrap().text().to_owned();
        Outcome {
            yes: with(|result| *result == Ok(BARE.parse().unwrap())),
            no: with(|result| *result == Err(Refusal::Denied)),
            answers: reaction.send.iter().map(body).collect(),
        }
    }

    fn say(&mut self, text: &str) -> Outcome {
        self.take(&says(text))
    }

    fn expire(&mut self) -> Vec<RequestId> {
        self.confirmations.expire(self.now)
    }
}

fn says(text: &str) -> Element {
    let body = Element::new("body", ns::CLIENT).with_text(text);
    element("message", ns::CLIENT, &[("from", ALICE), ("type", "chat"), ("to", COMPONENT)], &[body])
}

fn thread(prompt: &Element) -> Element {
    prompt.child("thread", ns::CLIENT).unwrap().clone()
}

/// The element by which a message replies to this one (XEP-0461).
fn reply(prompt: &Element) -> Element {
    Element::new("reply", ns::REPLY).with("id", prompt.attribute("id").unwrap()).with("to", COMPONENT)
}

/// Whether the outcome is a list and nothing else, with these numbers for these prompts.
fn is_list(outcome: &Outcome, entries: &[(u32, RequestId)]) -> bool {
    let [answer] = outcome.answers.as_slice() else { return false };
    outcome.yes.is_empty()
        && outcome.no.is_empty()
        && listed(answer) == Some(entries.iter().copied().collect())
}

/// The prompts by their numbers, as a person reads a list.
fn listed(answer: &str) -> Option<BTreeMap<u32, RequestId>> {
    let entry = |line: &str| {
        let (number, summary) = line.split_once(". ")?;
        let (_, id) = summary.rsplit_once("transaction")?;
        Some((number.parse().ok()?, id.parse().ok()?))
    };
    let entries: BTreeMap<_, _> = answer.lines().filter_map(entry).collect();
    (!entries.is_empty()).then_some(entries)
}

#[test]
fn a_text_decides_the_only_prompt() {
    for (text, expected) in [
        ("OK", yes(1)),
        (" sí! ", yes(1)),
        ("transaction01", yes(1)),
        ("No", no(1)),
        ("nein, das war ich nicht", no(1)),
        ("no all", no(1)),
        ("no 1", no(1)),
        ("Transaction01", tells(Telling::Help)),
        ("hello", tells(Telling::Help)),
        ("\u{202e}ko", tells(Telling::Help)),
        (&"ok ".repeat(22_000), tells(Telling::Help)),
        (&"\u{5d0}".repeat(32_000), tells(Telling::Help)),
        (&format!("no{}", "!".repeat(64_000)), no(1)),
    ] {
        let mut chat = Chat::with(&[1]);
        assert_eq!(chat.say(text), expected, "{text:.40}");
    }
    for text in ["1", "all"] {
        let mut chat = Chat::with(&[1]);
        assert!(is_list(&chat.say(text), &[(1, 1)]), "{text}: no list was shown");
        assert_eq!(chat.say(text), yes(1), "{text}");
    }
}

#[test]
fn a_text_counts_only_from_the_jid_that_was_asked() {
    for (asked, sender, counts) in [
        (ALICE, ALICE, true),
        (ALICE, TABLET, false),
        (ALICE, BARE, false),
        (BARE, ALICE, true),
        (BARE, TABLET, true),
        (BARE, BARE, true),
        (BARE, "alice@example.com.evil.tld/phone", false),
        (BARE, "mallory@example.com/phone", false),
        (BARE, "example.com/alice", false),
        (BARE, COMPONENT, false),
        (BARE, "", false),
    ] {
        for text in ["ok", "no", "transaction01", "1", "all", "no all"] {
            let mut chat = Chat::new();
            let prompt = chat.ask_as(1, asked, "transaction01", 1);
            chat.now += LATER;
            for extra in [None, None, Some(thread(&prompt)), Some(reply(&prompt))] {
                let mut message = says(text).with("from", sender);
                extra.into_iter().for_each(|extra| message.push(extra));
                let outcome = chat.take(&message);
                if !counts {
                    assert_eq!((outcome.yes, outcome.no), (vec![], vec![]), "{asked} {sender} {text}");
                }
            }
            assert_eq!(chat.confirmations.len() == 0, counts, "{asked} {sender} {text}");
        }
    }
}

#[test]
fn of_several_prompts_a_list_is_shown_whose_numbers_decide() {
    let mut chat = Chat::with(&[1, 2, 3, 4]);
    let outcome = chat.say("ok");
    assert!(is_list(&outcome, &[(1, 1), (2, 2), (3, 3), (4, 4)]), "{outcome:?}");
    assert_eq!(
        outcome.answers[0].lines().take(2).collect::<Vec<_>>(),
        [
            "4 requests wait for your reply:",
            "1. upload a file to room@topics.example.com, transaction transaction01"
        ]
    );
    assert!(is_list(&chat.say("9"), &[(1, 1), (2, 2), (3, 3), (4, 4)]));
    assert_eq!(chat.say("2"), yes(2));
    // Deciding about an entry does not change what the other numbers mean.
    assert_eq!(chat.say("no 3"), no(3));
    assert!(is_list(&chat.say("3"), &[(1, 1), (4, 4)]), "it has ended");
    assert_eq!(chat.say("4!"), yes(4));
    assert_eq!(chat.say("ok"), yes(1));
    assert_eq!(chat.say("ok"), tells(Telling::Ended));
}

#[test]
fn all_decides_all_that_are_listed() {
    for (text, expected) in [
        ("all", outcome(&[1, 2, 3], &[], &[])),
        ("All.", outcome(&[1, 2, 3], &[], &[])),
        ("no all", outcome(&[], &[1, 2, 3], &[])),
    ] {
        let mut chat = Chat::with(&[1, 2, 3]);
        assert!(is_list(&chat.say(text), &[(1, 1), (2, 2), (3, 3)]), "no list was shown");
        assert_eq!(chat.say(text), expected);
    }
    let mut chat = Chat::with(&[1, 2]);
    chat.ask_as(3, BARE, "transaction03", 2);
    chat.now += LATER;
    let list = chat.say("ok");
    assert!(is_list(&list, &[(1, 1), (2, 2), (3, 3)]) && !list.answers[0].contains("\"all\""), "{list:?}");
    let list = chat.say("all");
    assert!(is_list(&list, &[(1, 1), (2, 2), (3, 3)]), "they are of two networks");
    assert!(list.answers[0].starts_with("These come from different networks"), "{list:?}");
    assert_eq!(chat.say("no all"), outcome(&[], &[1, 2, 3], &[]));
}

/// A change of what is pending, and the list that is shown after it.
type ListChange = (fn(&mut Chat), &'static [(u32, RequestId)]);

#[test]
fn a_list_that_has_changed_is_shown_again_and_decides_nothing() {
    for text in ["1", "2", "no 2", "all", "no all"] {
        let changes: [ListChange; 3] = [
            (|chat| drop(chat.ask(3)), &[(1, 1), (2, 2), (3, 3)]),
            (
                |chat| {
                    chat.now += REPLY_TIMEOUT - LATER;
                    assert_eq!(chat.expire(), [1]);
                },
                &[(2, 2)],
            ),
            (|chat| drop(chat.confirmations.decide(chat.now, 1, true)), &[(2, 2)]),
        ];
        for (number, (change, entries)) in changes.into_iter().enumerate() {
            let mut chat = Chat::new();
            chat.ask(1);
            chat.now += SECOND;
            chat.ask(2);
            chat.now += LATER - SECOND;
            assert!(is_list(&chat.say("ok"), &[(1, 1), (2, 2)]));
            change(&mut chat);
            let outcome = chat.say(text);
            assert!(is_list(&outcome, entries), "{text} after change {number}: {outcome:?}");
            assert!(outcome.answers[0].starts_with("The list has changed. "));
        }
    }
}

#[test]
fn an_all_that_was_on_its_way_while_the_list_changed_decides_nothing() {
    let mut chat = Chat::with(&[1, 2]);
    chat.say("ok");
    chat.ask(3);
    for _ in 0..3 {
        let outcome = chat.say("all");
        assert!(is_list(&outcome, &[(1, 1), (2, 2), (3, 3)]), "{outcome:?}");
    }
    chat.now += limits::PROMPT_FRESH;
    assert_eq!(chat.say("all"), outcome(&[1, 2, 3], &[], &[]));
}

#[test]
fn after_a_bare_no_a_number_denies() {
    for text in ["2", "no 2"] {
        let mut chat = Chat::with(&[1, 2, 3]);
        let list = chat.say("no");
        assert!(is_list(&list, &[(1, 1), (2, 2), (3, 3)]));
        assert!(
            list.answers[0].ends_with("Reply with a number to refuse that one, or \"no all\" to refuse all.")
        );
        assert_eq!(chat.say(text), no(2));
        assert_eq!(chat.say("all"), outcome(&[], &[1, 3], &[]));
    }
    let mut chat = Chat::with(&[1, 2]);
    chat.say("no");
    assert!(is_list(&chat.say("ok"), &[(1, 1), (2, 2)]), "a yes begins anew");
    assert_eq!(chat.say("2"), yes(2));
}

#[test]
fn each_client_has_a_list_of_its_own() {
    let mut chat = Chat::with(&[1, 2]);
    chat.ask_as(3, ALICE, "transaction03", 1);
    chat.now += LATER;
    assert!(is_list(&chat.say("ok"), &[(1, 1), (2, 2), (3, 3)]));
    let on_tablet = |text: &str| says(text).with("from", TABLET);
    let outcome = chat.take(&on_tablet("2"));
    assert!(is_list(&outcome, &[(1, 1), (2, 2)]), "it was shown none yet: {outcome:?}");
    assert_eq!(chat.take(&on_tablet("2")), yes(2));
    assert!(is_list(&chat.say("3"), &[(1, 1), (3, 3)]), "the other list has changed");
}

#[test]
fn a_yes_that_may_have_been_meant_for_another_prompt_decides_nothing() {
    let mut chat = Chat::with(&[1]);
    assert_eq!(chat.say("ok"), yes(1));
    chat.ask(2);
    assert!(is_list(&chat.say("ok"), &[(1, 2)]), "the other one was decided a moment ago");
    chat.now += limits::PROMPT_FRESH;
    assert_eq!(chat.say("ok"), yes(2));
    // One that expired counts as much, an old one does not, and a no harms nobody.
    chat.ask(3);
    chat.now += REPLY_TIMEOUT;
    assert_eq!(chat.expire(), [3]);
    chat.ask(4);
    assert!(is_list(&chat.say("ok"), &[(2, 4)]));
    assert_eq!(chat.say("2"), yes(4), "what a list shows is meant");
    chat.now += limits::PROMPT_RECENT;
    chat.ask(5);
    assert_eq!(chat.say("ok"), yes(5));
    chat.ask(6);
    assert_eq!(chat.say("no"), no(6));
}

#[test]
fn an_id_names_one_prompt_unless_two_have_it() {
    let mut chat = Chat::with(&[1, 2]);
    assert_eq!(chat.say("transaction02"), yes(2));
    assert_eq!(chat.say("transaction01"), yes(1));
    let mut chat = Chat::with(&[1]);
    chat.ask_as(2, BARE, "transaction01", 9);
    chat.now += LATER;
    let outcome = chat.say("transaction01");
    assert_eq!((outcome.yes, outcome.answers.len()), (vec![], 1));
    // A stranger who repeats an id is not confirmed by a reply that is on its way.
    let mut chat = Chat::with(&[1]);
    assert_eq!(chat.say("transaction01"), yes(1));
    chat.ask_as(2, BARE, "transaction01", 9);
    assert!(chat.say("transaction01").yes.is_empty());
    for id in ["ok", "yes12", "transaction", "two words 12", "12\u{202e}345678"] {
        let mut chat = Chat::with(&[1]);
        chat.ask_as(2, BARE, id, 1);
        chat.now += LATER;
        assert!(chat.say(id).yes.is_empty(), "{id}");
    }
}

#[test]
fn a_thread_or_a_reply_means_one_prompt_and_no_other() {
    for name in [thread, reply] {
        let mut chat = Chat::new();
        let prompts: Vec<_> = (1..=4).map(|id| chat.ask(id)).collect();
        let about = |text: &str, number: usize| says(text).with_child(name(&prompts[number - 1]));
        // Fresh or not, this is the prompt that was read.
        assert_eq!(chat.take(&about("ok", 2)), yes(2));
        assert_eq!(chat.take(&about("no", 3)), no(3));
        assert_eq!(chat.take(&about("ok", 2)), tells(Telling::Ended));
        assert_eq!(chat.take(&about("no", 3)), NOTHING, "told already");
        assert!(is_list(&chat.take(&about("4", 1)), &[(1, 1), (2, 4)]), "a number of another prompt");
        assert!(is_list(&chat.take(&about("2", 1)), &[(1, 1), (2, 4)]));
        assert!(is_list(&chat.take(&about("all", 1)), &[(1, 1), (2, 4)]));
        assert_eq!(chat.take(&about("2", 4)), yes(4));
        assert_eq!(chat.take(&about("transaction01", 1)), yes(1));
        chat.now += limits::PROMPT_NAMED;
        assert_eq!(chat.take(&about("ok", 1)), tells(Telling::Purpose), "too long ago");
    }
}

#[test]
fn an_unknown_thread_counts_for_nothing() {
    let mut chat = Chat::with(&[1]);
    let bobs = chat.ask_as(2, "bob@example.com", "transaction02", 1);
    chat.now += LATER;
    let foreign = Element::new("thread", ns::CLIENT).with_text("my own");
    let mut copy = Chat::with(&[1]);
    assert_eq!(copy.take(&says("ok").with_child(foreign)), yes(1));
    assert_eq!(chat.take(&says("ok").with_child(thread(&bobs)).with_child(reply(&bobs))), yes(1));
    assert_eq!(chat.confirmations.len(), 1, "the other user's waits");
}

#[test]
fn a_thread_and_a_reply_that_disagree_decide_nothing() {
    let mut chat = Chat::new();
    let (one, two) = (chat.ask(1), chat.ask(2));
    let outcome = chat.take(&says("ok").with_child(thread(&one)).with_child(reply(&two)));
    assert!(is_list(&outcome, &[(1, 1), (2, 2)]));
    assert_eq!(chat.take(&says("ok").with_child(thread(&one)).with_child(reply(&one))), yes(1));
}

#[test]
fn late_and_delayed_texts_decide_nothing() {
    let mut chat = Chat::with(&[1]);
    let delayed =
        says("ok").with_child(Element::new("delay", ns::DELAY).with("stamp", "2014-01-23T18:00:00Z"));
    assert_eq!(chat.take(&delayed), NOTHING);
    chat.now += REPLY_TIMEOUT - LATER;
    assert_eq!(
        chat.say("ok"),
        tells(Telling::Purpose),
        "at the deadline, before anybody looked at the clock"
    );
    assert_eq!(chat.expire(), [1]);
    assert_eq!(chat.say("ok"), tells(Telling::Ended));
}

#[test]
fn a_text_about_a_request_whose_client_hung_up_decides_no_other() {
    let mut chat = Chat::with(&[1, 2]);
    chat.confirmations.cancel(1);
    let outcome = chat.say("ok");
    assert!(is_list(&outcome, &[(1, 1), (2, 2)]), "{outcome:?}");
    assert_eq!(chat.say("1"), NOTHING, "nobody waits for it");
    assert_eq!(chat.say("2"), yes(2));
}

#[test]
fn texts_and_other_replies_race() {
    let mut chat = Chat::new();
    let prompt = chat.ask(1);
    chat.now += LATER;
    assert_eq!(chat.say("ok"), yes(1));
    assert_eq!(chat.take(&echo(&prompt)), NOTHING);
    let prompt = chat.ask(2);
    assert_eq!(chat.take(&echo(&prompt)), yes(2));
    assert_eq!(chat.say("ok"), tells(Telling::Ended));
    assert_eq!(chat.confirmations.clear(chat.now), Vec::<RequestId>::new());
    chat.ask(3);
    assert_eq!(chat.confirmations.clear(chat.now), [3]);
    chat.now += LATER;
    assert_eq!(chat.say("ok"), NOTHING, "the link was down, and that was told a moment ago");
}

#[test]
fn each_text_is_told_once_a_minute() {
    let omemo = says("").with_child(Element::new("encrypted", "eu.siacs.conversations.axolotl"));
    let mut chat = Chat::with(&[1]);
    let minutes = 3;
    let mut answers: Vec<String> = Vec::new();
    for _ in 0..10 * minutes {
        for stanza in [says("what?"), says("hello"), omemo.clone()] {
            answers.extend(chat.take(&stanza).answers);
        }
        chat.now += limits::TEXT_PAUSE / 10;
        chat.expire();
    }
    let count = |telling: Telling| answers.iter().filter(|answer| *answer == telling.words()).count();
    assert_eq!(count(Telling::Encrypted), minutes);
    assert_eq!((count(Telling::Help), count(Telling::Purpose)), (1, minutes));
    assert_eq!(answers.len(), 2 * minutes + 1);
}

#[test]
fn ten_thousand_texts_a_minute_get_few_answers_and_decide_what_they_say() {
    let mut chat = Chat::with(&[1, 2, 3]);
    let mut answers = 0;
    for number in 0..10_000 {
        let text = ["ok", "what?", "yes", "hello", "4", "no all of them"][number % 6];
        let outcome = chat.say(text);
        assert!(outcome.yes.is_empty() && outcome.no.is_empty(), "{text}");
        answers += outcome.answers.len();
        chat.now += limits::TEXT_PAUSE / 100_000;
    }
    assert!(answers <= limits::LISTS as usize + 3, "{answers}");
    // The list that was shown last still counts.
    assert_eq!(chat.say("2"), no(2));
}

#[test]
fn all_users_together_are_told_a_bounded_number_of_texts() {
    let mut chat = Chat::new();
    let mut tell = |from: usize, to: usize| -> usize {
        let texts = (from..to).map(|number| says("hello").with("from", format!("u{number}@example.com/x")));
        texts.map(|text| chat.take(&text).answers.len()).sum()
    };
    assert_eq!(tell(0, 5000), limits::TEXTS as usize);
    assert_eq!(tell(5000, 6000), 0);
    chat.now += limits::TEXT_PAUSE;
    assert_eq!(chat.say("hello"), tells(Telling::Purpose));
    assert!(
        chat.confirmations.people.get(&"u1@example.com".parse().unwrap()).is_none(),
        "strangers take no room"
    );
}

#[test]
fn two_services_that_reply_to_each_other_come_to_rest() {
    let mut chat = Chat::with(&[1, 2]);
    let mut texts = vec!["ok".to_owned(), "hello".to_owned(), "no".to_owned()];
    let mut count = 0;
    while let Some(text) = texts.pop() {
        let outcome = chat.say(&text);
        assert!(outcome.yes.is_empty() && outcome.no.is_empty(), "{text}");
        texts.extend(outcome.answers);
        count += 1;
        assert!(count < 100, "it goes on and on");
    }
}

#[test]
fn nothing_that_we_write_is_a_yes_or_a_no() {
    for telling in [Telling::Help, Telling::Purpose, Telling::Ended, Telling::Encrypted] {
        assert_eq!(text::read(telling.words()), Text::Other, "{telling:?}");
    }
    for reason in [ListReason::Unclear, ListReason::Denying, ListReason::Changed, ListReason::Apart] {
        for count in 1..3 {
            assert_eq!(text::read(&list_head(count, reason)), Text::Other);
        }
    }
    let mut chat = Chat::new();
    let prompt = chat.ask(1);
    assert_eq!(text::read(prompt.child("body", ns::CLIENT).unwrap().text()), Text::Other);
}

#[test]
fn answers_are_of_the_kind_of_the_text_and_not_to_be_kept() {
    for kind in ["chat", "normal"] {
        let mut chat = Chat::with(&[1, 2]);
        let reaction =
            chat.confirmations.take(chat.now, &COMPONENT.parse().unwrap(), &says("ok").with("type", kind));
        let answer = &reaction.send[0];
        assert_eq!(answer.attribute("type"), Some(kind));
        assert_eq!((answer.attribute("from"), answer.attribute("to")), (Some(COMPONENT), Some(ALICE)));
        assert!(answer.child("no-store", ns::HINTS).is_some(), "{answer:?}");
    }
}

/// The prompts and lists that a person at one client has seen when a text is written.
#[derive(Clone, Default)]
struct View {
    prompts: BTreeSet<RequestId>,
    list: BTreeMap<u32, RequestId>,
}

/// A person writes texts, by what was on the screen up to 4 seconds ago, while prompts come, expire and are decided
/// elsewhere: whatever a text confirms, the person meant it.
#[test]
fn no_text_confirms_more_than_what_the_person_was_shown() {
    let mut dice = Random::new(0x70_70_70);
    for round in 0..400 {
        let mut chat = Chat::new();
        let mut view = View::default();
        let mut in_flight: Vec<(Instant, View, String)> = Vec::new();
        let mut next = 1;
        for _ in 0..300 {
            match dice.below(20) {
                0 | 1 if chat.confirmations.len() < 6 => {
                    let last = 1 + dice.below(2) as u8;
                    chat.ask_as(next, BARE, &format!("transaction{next:02}"), last);
                    view.prompts.insert(next);
                    next += 1;
                }
                2 => {
                    let any = chat.confirmations.pending.keys().next().copied();
                    let _elsewhere = any.and_then(|id| chat.confirmations.decide(chat.now, id, false));
                }
                3 => {
                    let _elsewhere = chat.take(&says(["ok", "2", "all"][dice.below(3)]).with("from", TABLET));
                }
                4..=9 => {
                    // Numbers that they see, too.
                    let numbers: Vec<u32> = view.list.keys().copied().collect();
                    let number = if numbers.is_empty() { 0 } else { dice.pick(&numbers) };
                    let id = dice.below(next as usize + 1);
                    let text = match dice.below(10) {
                        0 | 1 => "ok".to_owned(),
                        2 => "no".to_owned(),
                        3 | 4 => number.to_string(),
                        5 => format!("no {number}"),
                        6 => "all".to_owned(),
                        7 => format!("transaction{id:02}"),
                        8 => format!("delete {number}"),
                        _ => "hello".to_owned(),
                    };
                    // People say yes to something that they see, and "all" to a list.
                    let sees = match text.as_str() {
                        "ok" => chat.confirmations.len() > 0,
                        "all" => !view.list.is_empty(),
                        _ => true,
                    };
                    if sees {
                        let delay = Duration::from_millis(dice.below(4000) as u64);
                        in_flight.push((chat.now + delay, view.clone(), text));
                    }
                }
                _ => {}
            }
            chat.now += Duration::from_millis(dice.below(500) as u64);
            let _expired = chat.expire();
            in_flight.sort_by_key(|(at, ..)| *at);
            while in_flight.first().is_some_and(|(at, ..)| *at <= chat.now) {
                let (_, seen, text) = in_flight.remove(0);
                let outcome = chat.say(&text);
                let meant: Vec<RequestId> = match text::read(&text) {
                    Text::Yes => seen.prompts.iter().copied().collect(),
                    Text::Number(number) => seen.list.get(&number).copied().into_iter().collect(),
                    Text::All => seen.list.values().copied().collect(),
                    Text::Other => {
                        text.strip_prefix("transaction").and_then(|id| id.parse().ok()).into_iter().collect()
                    }
                    Text::No | Text::NoNumber(_) | Text::NoAll | Text::Command(_) => Vec::new(),
                };
                let max = if text == "all" { usize::MAX } else { 1 };
                let all_meant = outcome.yes.iter().all(|id| meant.contains(id));
                assert!(
                    all_meant && outcome.yes.len() <= max,
                    "round {round}: {text} of {:?} {:?} confirmed {:?}",
                    seen.prompts,
                    seen.list,
                    outcome.yes
                );
                if let Some(list) = outcome.answers.first().and_then(|answer| listed(answer)) {
                    view.list = list;
                }
            }
        }
    }
}
