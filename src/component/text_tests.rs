//! Commands as texts, through a real gate.

use super::testing::{DeskTest, FakeDesk};
use super::*;
use crate::access::credentials;
use crate::access::{Intent, Request};
use crate::model::{Method, Need};
use crate::xmpp::ns;

const PHONE: &str = "alice@example.org/phone";
const LAPTOP: &str = "alice@example.org/laptop";

/// A chat message with this text.
fn message(from: &str, text: &str) -> Element {
    Element::new("message", ns::CLIENT)
        .with("type", "chat")
        .with("from", from)
        .with("to", "media.example.org")
        .with_child(Element::new("body", ns::CLIENT).with_text(text))
}

impl DeskTest {
    /// The text that answers this one.
    fn say(&self, from: &str, text: &str) -> String {
        self.send(message(from, text));
        let reply = self.sent();
        assert!(reply.is("message", ns::CLIENT));
        assert_eq!((reply.attribute("type"), reply.attribute("to")), (Some("chat"), Some(from)));
        reply.child("body", ns::CLIENT).expect("a text").text().to_owned()
    }

    /// Waits until the jobs before are done, and takes what was sent.
    fn all_sent(&self) -> Vec<Element> {
        self.send(message("marker@example.org/x", "quota"));
        let mut sent = Vec::new();
        loop {
            let stanza = self.sent();
            if stanza.attribute("to") == Some("marker@example.org/x") {
                return sent;
            }
            sent.push(stanza);
        }
    }
}

#[test]
fn files_are_listed_with_links_and_deleted_by_their_number() {
    let test = DeskTest::new(FakeDesk::with("alice@example.org", 12));
    let list = test.say(PHONE, "files");
    let lines: Vec<_> = list.lines().collect();
    assert_eq!(lines[0], "Your newest files:");
    assert_eq!(lines[1], "1. file-1, 1 KiB, 2014-01-23");
    assert_eq!(lines[2], "https://media.example.org/upload/000000000000000000000001/file-1");
    assert_eq!(lines.len(), 1 + 2 * limits::TEXT_FILES + 1);
    assert_eq!(lines.last(), Some(&"To delete a file, write delete and its number, such as: delete 2"));
    assert_eq!(test.say(PHONE, "Delete 2."), "Deleted number 2: file-2.");
    // The numbers stay as they were shown.
    assert_eq!(test.say(PHONE, "delete 3"), "Deleted number 3: file-3.");
    assert_eq!(test.say(PHONE, "delete 3"), "Number 3 no longer exists.");
    assert_eq!(test.say(PHONE, "delete 11"), "The list has no number 11.");
    assert_eq!(test.desk.left().len(), 10);
    assert!(!test.desk.left().contains(&"file-2".to_owned()));
}

#[test]
fn a_list_belongs_to_the_client_that_was_sent_it() {
    let test = DeskTest::new(FakeDesk::with("alice@example.org", 2));
    test.say(PHONE, "files");
    assert!(test.say(LAPTOP, "delete 1").starts_with("Please write files first"));
    assert!(test.say("mallory@example.org/x", "delete 1").starts_with("Please write files first"));
    assert_eq!(test.say("mallory@example.org/x", "files"), "You have no files here.");
    assert_eq!(test.desk.left().len(), 2);
}

#[test]
fn a_number_that_crosses_a_new_list_asks_to_look_again() {
    let test = DeskTest::new(FakeDesk::with("alice@example.org", 3));
    test.say(PHONE, "files");
    test.desk.files.lock().unwrap().remove(0);
    test.say(PHONE, "files");
    assert_eq!(test.say(PHONE, "delete 1"), "The list is new. Check it, then write your command again.");
    assert_eq!(test.desk.left().len(), 2);
}

/// A list may be lost with the stream that it was sent on.
#[test]
fn numbers_mean_nothing_on_another_stream() {
    for renew in [LinkEvent::Down, LinkEvent::Up("media.example.org".parse().unwrap())] {
        let test = DeskTest::new(FakeDesk::with("alice@example.org", 2));
        test.say(PHONE, "files");
        test.component.event(Link::Component, renew);
        test.component.event(Link::Component, LinkEvent::Up("media.example.org".parse().unwrap()));
        assert!(test.say(PHONE, "delete 1").starts_with("Please write files first"));
        assert_eq!(test.desk.left().len(), 2);
    }
}

#[test]
fn the_usage_is_told_in_two_sentences() {
    let test = DeskTest::new(FakeDesk::with("alice@example.org", 1));
    let expected = "Your uploads: 1 file, 1 KiB of 1 MiB. Your files in channels: 0 files, 0 bytes.";
    assert_eq!(test.say(PHONE, "quota"), expected);
}

/// All other words get the help, and delete nothing.
#[test]
fn there_is_no_text_that_deletes_all() {
    let test = DeskTest::new(FakeDesk::with("alice@example.org", 2));
    test.say(PHONE, "files");
    let texts =
        ["help", "delete", "delete all", "delete *", "delete 1 2", "delete-all", "all", "1", "no 1", "ok"];
    for (number, text) in texts.iter().enumerate() {
        test.send(message(&format!("user{number}@example.org/x"), text));
        test.send(message(PHONE, text));
    }
    for reply in test.all_sent() {
        let text = reply.child("body", ns::CLIENT).unwrap().text();
        assert!(text.contains("You can also write: files,"), "{text}");
    }
    assert_eq!(test.desk.left().len(), 2);
}

/// A prompt waits: its number and its yes mean the prompt, and a command is a command all the same.
#[test]
fn a_pending_prompt_and_commands_do_not_meddle() {
    let test = DeskTest::new(FakeDesk::with("alice@example.org", 2));
    test.say(PHONE, "files");
    let basic = "Basic YWxpY2VAZXhhbXBsZS5vcmc6YTEyMzQ1Njc=";
    let request = || Request {
        channel: "alice@example.org".parse().unwrap(),
        need: Need::Publish,
        credentials: credentials::from_request(None, Some(basic)),
        client: Some([192, 0, 2, 1].into()),
        method: Method::Post,
        intent: Intent::Upload,
        address: None,
        origin: None,
        url: "https://media.example.org/alice@example.org".to_owned(),
        known: None,
        needs_user: false,
    };
    assert!(test.gate.ask(request(), 1, |_, _| {}).is_none(), "it waits for Alice");
    let prompt = test.sent();
    assert!(prompt.child("confirm", ns::HTTP_AUTH).is_some());
    // In the thread of the prompt, too.
    let thread = prompt.child("thread", ns::CLIENT).cloned().unwrap();
    test.send(message(PHONE, "delete 2").with_child(thread));
    let reply = test.sent().child("body", ns::CLIENT).unwrap().text().to_owned();
    assert_eq!(reply, "Deleted number 2: file-2.");
    assert!(test.say(PHONE, "files").starts_with("Your files:"));
    assert_eq!(test.gate.counts().pending, 1, "no command decides a prompt");
    // A bare number means a prompt, never a file.
    test.send(message(PHONE, "1"));
    assert_eq!(test.all_sent().len(), 1, "the list of prompts");
    test.send(message(PHONE, "1"));
    assert_eq!(test.gate.counts().pending, 0);
    assert_eq!(test.desk.left(), ["file-1"]);
}

/// Bounces, other kinds of messages, other services, and what was delayed.
#[test]
fn texts_that_no_person_wrote_now_have_no_reply() {
    let test = DeskTest::new(FakeDesk::with("alice@example.org", 2));
    test.say(PHONE, "files");
    for kind in ["error", "headline", "groupchat", "result"] {
        test.send(message(PHONE, "delete 1").with("type", kind));
    }
    test.send(message("conference.example.org", "files"));
    test.send(message("@", "files"));
    let delay = Element::new("delay", ns::DELAY).with("stamp", "2014-01-23T17:00:00Z");
    test.send(message(PHONE, "delete 1").with_child(delay));
    let error = Element::new("error", ns::CLIENT).with("type", "cancel");
    test.send(message(PHONE, "delete 1").with_child(error));
    assert!(test.all_sent().is_empty());
    assert_eq!(test.desk.left().len(), 2);
}

/// 64 KiB of anything, and names that turn the text: one short reply or none.
#[test]
fn large_and_turned_texts_mean_nothing() {
    let test = DeskTest::new(FakeDesk::with("alice@example.org", 2));
    test.desk.files.lock().unwrap()[0].file_name =
        Some(format!("\u{202e}\n9. x\u{2028}{}", "\u{5d0}".repeat(120)));
    let list = test.say(PHONE, "files");
    assert_eq!(list.lines().count(), 6, "{list}");
    assert!(list.chars().count() < 1200 && !list.contains('\u{202e}'));
    let texts = [
        format!("delete {}", "1".repeat(65_536)),
        format!("delete 1{}x", " ".repeat(65_536)),
        format!("files{}", "\u{202e}".repeat(21_000)),
        "\u{202e}1 eteled".to_owned(),
        "delete \u{661}".to_owned(),
        "\u{5d0}".repeat(32_768),
    ];
    for text in &texts {
        test.send(message(PHONE, text));
    }
    let replies = test.all_sent();
    assert!(replies.len() <= 1, "what can be written is told once a minute: {}", replies.len());
    assert_eq!(test.desk.left().len(), 2);
}

#[test]
fn ten_thousand_texts_in_a_minute_have_few_replies() {
    let test = DeskTest::new(FakeDesk::with("alice@example.org", 2));
    for _ in 0..10_000 {
        test.send(message(PHONE, "files"));
    }
    let replies = test.all_sent().len();
    // Some seconds may pass meanwhile.
    assert!(replies >= 1 && replies <= limits::TEXT_BURST as usize + 10, "{replies}");
}

/// Two programs that answer each text with another one come to rest.
#[test]
fn a_service_that_echoes_our_texts_makes_no_loop() {
    let test = DeskTest::new(FakeDesk::with("alice@example.org", 2));
    test.send(message(PHONE, "files"));
    let mut count = 0;
    loop {
        let replies = test.all_sent();
        if replies.is_empty() {
            break;
        }
        for reply in replies {
            count += 1;
            let text = reply.child("body", ns::CLIENT).unwrap().text();
            test.send(message(PHONE, text));
        }
    }
    assert_eq!(count, 2, "the list, and what can be written");
}
