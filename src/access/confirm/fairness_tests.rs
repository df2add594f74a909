//! A client can't lock a user out, flood a user with prompts, or find out the members of a channel.

use std::time::Duration;

use super::super::settings::ConfirmStanza;
use super::super::testing::{ALICE, REPLY_TIMEOUT, URL, echo, element, request, settings};
use super::tests::{Desk, confirm, from, no, yes};
use super::*;
use crate::model::{AccessModel, Need};
use crate::xmpp::ns;

const SECOND: Duration = Duration::from_secs(1);
const PRIVATE: Confirmation = Confirmation { shown: true, access: Some(AccessModel::Private) };
const SILENT: Confirmation = Confirmation { shown: false, access: Some(AccessModel::Private) };

/// A request of the client 192.0.2.`last`.
fn of(last: u8) -> Request {
    Request { client: Some([192, 0, 2, last].into()), ..request(Need::Read) }
}

/// The same, sent by a page of a stranger in the user's browser.
fn by_page(last: u8) -> Request {
    Request { origin: Some("https://evil.example".to_owned()), ..of(last) }
}

fn says(body: &str) -> Element {
    from("message", ALICE, &[Element::new("body", ns::CLIENT).with_text(body)]).with("type", "chat")
}

impl Desk {
    /// Alice confirms a request of this client.
    fn get_to_know(&mut self, last: u8) {
        let prompt = self.try_begin(u64::from(last) + 1000, ALICE, &of(last)).unwrap();
        assert!(self.decide(&echo(&prompt)).is_some());
    }

    /// Prompts of so many clients expire, one after the other.
    fn let_expire(&mut self, how_many: u32, how: Confirmation) {
        for last in 0..how_many as u8 {
            let id = u64::from(last) + 2000;
            self.begin_as(id, ALICE, &of(100 + last), how).unwrap();
            self.confirmations.cancel(id);
            self.now += REPLY_TIMEOUT;
            assert!(self.confirmations.expire(self.now).is_empty(), "its client has hung up");
        }
    }

    /// Asks Alice for a request that is taken back at once.
    fn try_once(&mut self, request: &Request) -> Result<(), Refusal> {
        self.try_begin(3000, ALICE, request)?;
        self.confirmations.remove(3000);
        Ok(())
    }
}

#[test]
fn one_network_has_a_share_of_a_users_places_and_some_are_kept() {
    for (places, share, kept) in [(1, 1, 0), (2, 1, 0), (4, 1, 1), (8, 3, 2), (16, 6, 4), (100, 37, 25)] {
        let mut desk = Desk::new(&Settings { pending_per_user: places, ..settings() });
        desk.get_to_know(0);
        desk.now += limits::PLACES_OPEN;
        let mut ids = 0..;
        let mut fill = |desk: &mut Desk, last: u8| {
            ids.by_ref().take_while(|id| desk.try_begin(*id, ALICE, &of(last)).is_ok()).count()
        };
        assert_eq!(fill(&mut desk, 1), share.min(places - kept), "{places}");
        let strangers: usize = (2..100).map(|last| fill(&mut desk, last)).sum();
        assert_eq!(strangers + share.min(places - kept), places - kept, "{places}");
        assert_eq!(fill(&mut desk, 0), kept.min(share), "{places}: for the network that is known");
    }
}

#[test]
fn another_network_can_not_lock_a_user_out() {
    let mut desk = Desk::new(&settings());
    for id in 1..=3 {
        desk.try_begin(id, ALICE, &of(1)).unwrap();
        desk.confirmations.cancel(id);
    }
    assert_eq!(desk.try_begin(4, ALICE, &of(1)), Err(Refusal::TooManyForUser), "hanging up frees nothing");
    let prompt = desk.try_begin(4, ALICE, &of(2)).unwrap();
    assert_eq!(desk.decide(&echo(&prompt)), yes(4));
}

#[test]
fn after_five_unanswered_prompts_strangers_have_one_in_ten_minutes() {
    for how in [PRIVATE, SILENT] {
        let mut desk = Desk::new(&settings());
        desk.get_to_know(9);
        desk.let_expire(limits::UNANSWERED_PROMPTS - 1, how);
        assert_eq!((desk.try_once(&of(1)), desk.try_once(&of(2))), (Ok(()), Ok(())));
        desk.let_expire(1, how);
        assert_eq!(desk.try_once(&of(1)), Ok(()), "the first at once");
        assert_eq!(desk.try_once(&of(2)), Err(Refusal::UserSilent));
        desk.now += limits::RARE_PROMPT - SECOND;
        assert_eq!(desk.try_once(&of(3)), Err(Refusal::UserSilent));
        assert_eq!(desk.try_once(&of(9)), Ok(()), "of a network that is known");
        assert_eq!(desk.try_once(&by_page(9)), Err(Refusal::UserSilent), "a page of a stranger is not known");
        desk.now += SECOND;
        assert_eq!((desk.try_once(&of(1)), desk.try_once(&of(2))), (Ok(()), Err(Refusal::UserSilent)));
    }
}

#[test]
fn a_yes_a_no_and_any_message_of_the_user_make_room() {
    let omemo = Element::new("encrypted", "urn:xmpp:omemo:2");
    let delayed = says("ok").with_child(Element::new("delay", ns::DELAY));
    let bob = says("hello").with("from", "bob@example.com/x");
    let service = says("hello").with("from", "example.com");
    let composing = Element::new("composing", "http://jabber.org/protocol/chatstates");
    for (stanza, makes_room) in [
        (says("hello"), true),
        (says("ok"), true),
        (says("no"), true),
        (says("hello").with("from", "alice@example.com/other"), true),
        (from("message", ALICE, &[omemo]), true),
        (from("message", ALICE, &[confirm("t", "GET", URL)]), true),
        (from("message", ALICE, &[confirm("t", "GET", URL)]).with("type", "error"), true),
        (delayed, false),
        (bob, false),
        (service, false),
        (from("message", ALICE, &[composing]), false),
        (says("hello").with("type", "error"), false),
        (says("hello").with("type", "headline"), false),
        (says("hello").with("type", "groupchat"), false),
    ] {
        let mut desk = Desk::new(&settings());
        desk.let_expire(limits::UNANSWERED_PROMPTS, PRIVATE);
        desk.try_begin(1, ALICE, &of(1)).unwrap();
        assert_eq!(desk.try_once(&of(2)), Err(Refusal::UserSilent));
        desk.decide(&stanza);
        let expected = if makes_room { Ok(()) } else { Err(Refusal::UserSilent) };
        assert_eq!(desk.try_once(&of(2)), expected, "{stanza:?}");
    }
}

#[test]
fn a_message_of_the_user_opens_the_kept_places_to_networks_that_have_none() {
    let mut desk = Desk::new(&settings());
    for id in 1..=6 {
        desk.try_begin(id, ALICE, &of(1 + u8::from(id > 3))).unwrap();
    }
    assert_eq!(desk.try_once(&of(3)), Err(Refusal::TooManyForUser));
    desk.decide(&says("hello"));
    let start = desk.now;
    desk.now = start + limits::PLACES_OPEN;
    assert_eq!(desk.try_once(&of(3)), Err(Refusal::TooManyForUser));
    desk.now -= SECOND;
    assert_eq!(desk.try_once(&of(2)), Err(Refusal::TooManyForUser), "it has its share");
    desk.try_begin(7, ALICE, &of(3)).unwrap();
    assert_eq!(desk.try_once(&of(3)), Err(Refusal::TooManyForUser), "it has one now");
    desk.try_begin(8, ALICE, &by_page(4)).unwrap();
    assert_eq!(desk.try_once(&of(5)), Err(Refusal::TooManyForUser), "all are taken");
}

#[test]
fn silent_requests_count_like_prompts_and_nothing_replies_to_them() {
    let mut desk = Desk::new(&settings());
    for id in 1..=3 {
        assert_eq!(desk.begin_as(id, ALICE, &of(1), SILENT), Ok(None), "no stanza");
    }
    assert_eq!(desk.begin_as(4, ALICE, &of(1), SILENT), Err(Refusal::TooManyForUser));
    assert_eq!(desk.begin_as(4, ALICE, &of(1), PRIVATE), Err(Refusal::TooManyForUser));
    assert_eq!(desk.confirmations.len(), 3);
    let stanza_id = desk.confirmations.pending[&1].prompt.stanza_id.clone();
    let thread = desk.confirmations.pending[&1].prompt.thread.clone();
    let thread = || Element::new("thread", ns::CLIENT).with_text(&thread);
    let reply = Element::new("reply", ns::REPLY).with("id", &stanza_id);
    for stanza in [
        from("message", ALICE, &[confirm("t", "GET", URL)]),
        from("message", ALICE, &[confirm("t", "GET", URL), thread()]).with("id", &stanza_id),
        from("message", ALICE, &[confirm("t", "GET", URL)]).with("type", "error").with("id", &stanza_id),
        from("iq", ALICE, &[]).with("type", "result").with("id", &stanza_id),
        from("message", "example.com", &[]).with("type", "error").with("id", &stanza_id),
        says("ok"),
        says("no"),
        says("1"),
        says("all"),
        says("no all"),
        says("t"),
        says("ok").with_child(thread()),
        says("no").with_child(reply),
    ] {
        assert_eq!(desk.decide(&stanza), None, "{stanza:?}");
    }
    // A prompt beside them is the only one there is.
    desk.begin_as(5, ALICE, &of(2), PRIVATE).unwrap();
    assert_eq!(desk.decide(&says("ok")), yes(5));
    desk.confirmations.cancel(2);
    assert_eq!(desk.confirmations.len(), 2);
    assert_eq!(desk.confirmations.expire(desk.now + REPLY_TIMEOUT), [1, 3]);
}

#[test]
fn on_a_private_channel_only_a_persons_own_no_ends_a_prompt_early() {
    let error = |kind: &str| element("error", ns::CLIENT, &[("type", kind)], &[]);
    for (sender, kind, ends) in [
        (ALICE, "auth", true),
        (ALICE, "cancel", false),
        (ALICE, "wait", false),
        ("alice@example.com", "auth", false),
        ("alice@example.com", "cancel", false),
        ("example.com", "auth", false),
        ("example.com", "cancel", false),
        ("mallory@example.com/x", "auth", false),
    ] {
        for asked in [ALICE, "alice@example.com"] {
            let mut desk = Desk::new(&settings());
            let prompt = desk.begin_as(1, asked, &of(1), PRIVATE).unwrap().unwrap();
            let id = prompt.attribute("id").unwrap();
            // ejabberd sends `confirm` back in bounces, too.
            for children in [vec![error(kind)], vec![confirm("t", "GET", URL), error(kind)]] {
                let stanza = from("message", sender, &children).with("type", "error").with("id", id);
                let expected = if ends { no(1) } else { None };
                assert_eq!(desk.decide(&stanza), expected, "{asked}: {kind} from {sender}");
                if ends {
                    break;
                }
            }
            let left = if ends { vec![] } else { vec![1] };
            assert_eq!(desk.confirmations.expire(desk.now + REPLY_TIMEOUT), left);
        }
    }
}

#[test]
fn a_channel_that_was_not_looked_up_counts_as_private() {
    let how = Confirmation { shown: true, access: None };
    for known_open in [false, true] {
        let mut desk = Desk::new(&settings());
        let (component, credentials) =
            ("media.example.com".parse().unwrap(), request(Need::Read).credentials);
        let asked = (&of(1), &credentials.unwrap());
        let prompt = desk.confirmations.begin(desk.now, &component, 1, asked, how, known_open).unwrap();
        let id = prompt.unwrap().attribute("id").unwrap().to_owned();
        let bounce = from("message", ALICE, &[]).with("type", "error").with("id", id);
        assert_eq!(desk.decide(&bounce), if known_open { no(1) } else { None });
    }
}

fn auto() -> Settings {
    Settings { confirm_stanza: ConfirmStanza::Auto, ..settings() }
}

/// Makes a reply of an IQ.
type MakeReply = fn(Element) -> Element;

#[test]
fn a_full_address_may_be_asked_by_iq() {
    let id = |prompt: &Element| prompt.attribute("id").unwrap().to_owned();
    let auth = || element("error", ns::CLIENT, &[("type", "auth")], &[]);
    let replies: [(MakeReply, bool); 4] = [
        (|iq| iq.with("type", "result"), true),
        (|iq| iq.with("type", "result").with_child(confirm("t", "GET", URL)), true),
        (|_| from("message", ALICE, &[confirm("t", "GET", URL)]), true),
        (|iq| iq.with("type", "error"), false),
    ];
    for (number, (reply, confirms)) in replies.into_iter().enumerate() {
        let mut desk = Desk::new(&auto());
        let prompt = desk.begin(1, ALICE);
        assert!(prompt.is("iq", ns::CLIENT) && prompt.attribute("type") == Some("get"));
        let mut stanza = reply(from("iq", ALICE, &[]).with("id", id(&prompt)));
        if !confirms {
            stanza.push(auth());
        }
        let stranger = stanza.clone().with("from", "alice@example.com/other");
        assert_eq!(desk.decide(&stranger), None);
        assert_eq!(desk.decide(&stanza), if confirms { yes(1) } else { no(1) }, "reply {number}");
    }
    let mut desk = Desk::new(&auto());
    let prompt = desk.begin(1, ALICE);
    let other = from("iq", ALICE, &[confirm("other", "GET", URL)]).with("type", "result");
    assert_eq!(desk.decide(&other.with("id", id(&prompt))), None, "another request");
}

#[test]
fn a_client_that_does_not_know_the_iq_is_asked_by_a_message() {
    let mut desk = Desk::new(&auto());
    let prompt = desk.begin(1, ALICE);
    let component = "media.example.com".parse().unwrap();
    let unknown = element("error", ns::CLIENT, &[("type", "cancel")], &[]);
    let error = from("iq", ALICE, std::slice::from_ref(&unknown)).with("type", "error");
    let error = error.with("id", prompt.attribute("id").unwrap());
    let reaction = desk.confirmations.take(desk.now, &component, &error);
    assert!(reaction.decided.is_empty());
    let [message] = reaction.send.as_slice() else { panic!("{:?}", reaction.send) };
    assert!(message.is("message", ns::CLIENT) && message.child("body", ns::CLIENT).is_some());
    let again = desk.confirmations.take(desk.now, &component, &error);
    assert!(again.decided.is_empty() && again.send.is_empty(), "it falls back once");
    let bounce = from("message", ALICE, &[unknown]).with("type", "error");
    assert_eq!(desk.decide(&bounce.with("id", message.attribute("id").unwrap())), no(1));

    let mut desk = Desk::new(&auto());
    let prompt = desk.begin(1, ALICE);
    let reaction =
        desk.confirmations.take(desk.now, &component, &error.with("id", prompt.attribute("id").unwrap()));
    assert_eq!(desk.decide(&echo(&reaction.send[0])), yes(1));
}
