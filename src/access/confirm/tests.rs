use std::time::Duration;

use super::super::testing::{
    ALICE, COMPONENT, REPLY_TIMEOUT, URL, credentials, echo, element, request, settings,
};
use super::*;
use crate::model::{AccessModel, Need};
use crate::xmpp::ns;

/// The registry, and the time.
pub(super) struct Desk {
    pub confirmations: Confirmations,
    pub now: Instant,
}

impl Desk {
    pub fn new(settings: &Settings) -> Self {
        Self { confirmations: Confirmations::new(settings), now: Instant::now() }
    }

    /// Asks for a request to an open channel.
    pub fn try_begin(&mut self, id: RequestId, jid: &str, request: &Request) -> Result<Element, Refusal> {
        let how = Confirmation { shown: true, access: Some(AccessModel::Open) };
        self.begin_as(id, jid, request, how).map(|prompt| prompt.expect("it is shown"))
    }

    pub fn begin_as(
        &mut self,
        id: RequestId,
        jid: &str,
        request: &Request,
        how: Confirmation,
    ) -> Result<Option<Element>, Refusal> {
        let credentials = credentials(jid, "t").unwrap();
        let component = COMPONENT.parse().unwrap();
        self.confirmations.begin(self.now, &component, id, (request, &credentials), how, false)
    }

    pub fn begin(&mut self, id: RequestId, jid: &str) -> Element {
        self.try_begin(id, jid, &request(Need::Read)).unwrap()
    }

    pub fn decide(&mut self, stanza: &Element) -> Option<(RequestId, ConfirmationResult)> {
        let reaction = self.confirmations.take(self.now, &COMPONENT.parse().unwrap(), stanza);
        assert!(reaction.decided.len() <= 1, "{:?}", reaction.decided);
        reaction.decided.into_iter().next()
    }
}

fn desk() -> Desk {
    Desk::new(&settings())
}

pub(super) fn yes(id: RequestId) -> Option<(RequestId, ConfirmationResult)> {
    Some((id, Ok("alice@example.com".parse().unwrap())))
}

pub(super) fn no(id: RequestId) -> Option<(RequestId, ConfirmationResult)> {
    Some((id, Err(Refusal::Denied)))
}

pub(super) fn confirm(id: &str, method: &str, url: &str) -> Element {
    element("confirm", ns::HTTP_AUTH, &[("id", id), ("method", method), ("url", url)], &[])
}

/// A stanza from `from` with these children.
pub(super) fn from(name: &str, from: &str, children: &[Element]) -> Element {
    element(name, ns::CLIENT, &[("from", from), ("to", COMPONENT)], children)
}

fn thread(text: &str) -> Element {
    Element::new("thread", ns::CLIENT).with_text(text)
}

#[test]
fn the_prompt_names_the_request_for_clients_and_for_people() {
    let mut desk = desk();
    let mut wanted = request(Need::Publish);
    wanted.url = format!("{URL}/x");
    let prompt = desk.try_begin(1, ALICE, &wanted).unwrap();
    assert!(prompt.is("message", ns::CLIENT));
    assert_eq!(prompt.attribute("type"), Some("normal"));
    assert_eq!(prompt.attribute("to"), Some(ALICE));
    assert_eq!(prompt.attribute("from"), Some(COMPONENT));
    assert_eq!(prompt.attribute("id").map(str::len), Some(32));
    assert_eq!(prompt.child("thread", ns::CLIENT).unwrap().text().len(), 32);
    let confirm = prompt.child("confirm", ns::HTTP_AUTH).unwrap();
    assert_eq!(confirm.attribute("id"), Some("t"));
    assert_eq!(confirm.attribute("method"), Some("POST"));
    assert_eq!(confirm.attribute("url"), Some(format!("{URL}/x").as_str()));
    let body = prompt.child("body", ns::CLIENT).unwrap().text();
    assert!(body.starts_with("Did you just upload a file to room@topics.example.com?\n"), "{body}");
    assert!(body.ends_with("\nConfirmation message for transaction t"), "{body}");
}

#[test]
fn all_known_forms_of_a_confirmation_count() {
    let whole = [confirm("t", "GET", URL)];
    let ways: [fn(&Element, &[Element]) -> Element; 5] = [
        |prompt, _| echo(prompt),
        |prompt, whole| {
            let thread = prompt.child("thread", ns::CLIENT).unwrap().clone();
            from("message", ALICE, &[whole[0].clone(), thread]).with("type", "normal")
        },
        |_, whole| from("message", ALICE, whole),
        |_, whole| from("message", ALICE, whole).with("type", "result"),
        |_, whole| from("iq", ALICE, whole).with("type", "result").with("id", "x"),
    ];
    for (number, way) in ways.iter().enumerate() {
        let mut desk = desk();
        let prompt = desk.begin(7, ALICE);
        let answer = way(&prompt, &whole);
        assert_eq!(desk.decide(&answer), yes(7), "way {number}");
        assert_eq!(desk.decide(&answer), None, "way {number} works once only");
    }
}

#[test]
fn a_full_address_answers_for_itself_and_a_bare_one_through_any_resource() {
    for (asked, sender, counts) in [
        (ALICE, ALICE, true),
        (ALICE, "ALICE@Example.com/phone", true),
        (ALICE, "alice@example.com/Phone", false),
        (ALICE, "alice@example.com/desktop", false),
        (ALICE, "alice@example.com", false),
        (ALICE, "example.com", false),
        (ALICE, "mallory@example.com/phone", false),
        (ALICE, "alice@example.com.evil.tld/phone", false),
        (ALICE, COMPONENT, false),
        (ALICE, "", false),
        ("alice@example.com", "alice@example.com", true),
        ("alice@example.com", ALICE, true),
        ("alice@example.com", "alice@example.com/desktop", true),
        ("alice@example.com", "alice@example.org/phone", false),
        ("alice@example.com", "mallory@example.com", false),
        ("alice@example.com", "example.com/alice", false),
    ] {
        let mut desk = desk();
        let prompt = desk.begin(1, asked);
        let answer = echo(&prompt).with("from", sender);
        let expected = if counts { yes(1) } else { None };
        assert_eq!(desk.decide(&answer), expected, "{asked} asked, {sender:?} answers");
    }
}

#[test]
fn a_reply_that_differs_from_the_prompt_is_ignored() {
    let mut desk = desk();
    let prompt = desk.begin(1, ALICE);
    let own = prompt.child("thread", ns::CLIENT).unwrap().text().to_owned();
    let good = confirm("t", "GET", URL);
    let mut nested = from("message", ALICE, &[Element::new("forwarded", "urn:xmpp:forward:0")]);
    nested.push(Element::new("x", "y").with_child(good.clone()));
    let elsewhere = Element::new("confirm", "jabber:client").with("id", "t").with("method", "GET");
    let without = |name: &str| {
        let keep = [("id", "t"), ("method", "GET"), ("url", URL)].into_iter().filter(|(n, _)| *n != name);
        element("confirm", ns::HTTP_AUTH, &keep.collect::<Vec<_>>(), &[])
    };
    let forged = [
        from("message", ALICE, &[]),
        from("message", ALICE, &[confirm("T", "GET", URL)]),
        from("message", ALICE, &[confirm("t", "get", URL)]),
        from("message", ALICE, &[confirm("t", "DELETE", URL)]),
        from("message", ALICE, &[confirm("t", "GET", &format!("{URL}/"))]),
        from("message", ALICE, &[without("id")]),
        from("message", ALICE, &[without("method")]),
        from("message", ALICE, &[without("url")]),
        from("message", ALICE, &[elsewhere.with("url", URL)]),
        from("message", ALICE, &[good.clone(), thread("another")]),
        from("message", ALICE, &[good.clone(), thread("")]),
        nested,
        from("presence", ALICE, std::slice::from_ref(&good)),
        from("iq", ALICE, std::slice::from_ref(&good)),
        from("iq", ALICE, std::slice::from_ref(&good)).with("type", "set"),
        from("iq", ALICE, std::slice::from_ref(&good)).with("type", "get"),
        element("message", "jabber:server", &[("from", ALICE)], std::slice::from_ref(&good)),
        element("message", ns::CLIENT, &[], std::slice::from_ref(&good)),
    ];
    for stanza in &forged {
        assert_eq!(desk.decide(stanza), None, "{stanza:?}");
    }
    assert_eq!(desk.decide(&from("message", ALICE, &[good, thread(&own)])), yes(1));
}

#[test]
fn a_denial_counts_at_once() {
    let whole = confirm("t", "GET", URL);
    let fault = element("error", ns::CLIENT, &[("type", "auth")], &[]);
    for denial in [
        from("message", ALICE, &[whole.clone(), fault.clone()]).with("type", "error"),
        from("message", ALICE, std::slice::from_ref(&whole)).with("type", "error"),
        from("message", ALICE, &[whole.clone(), fault]).with("type", "normal"),
        from("message", ALICE, &[whole.clone().with_child(Element::new("error", ns::HTTP_AUTH))]),
        from("message", ALICE, &[whole.clone().with_child(Element::new("error", ns::CLIENT))])
            .with("type", "result"),
        from("iq", ALICE, &[whole]).with("type", "error"),
    ] {
        let mut desk = desk();
        desk.begin(1, ALICE);
        let stranger = denial.clone().with("from", "mallory@example.com/x");
        assert_eq!(desk.decide(&stranger), None);
        assert_eq!(desk.decide(&denial), no(1), "{denial:?}");
        assert_eq!(desk.decide(&denial), None);
    }
}

#[test]
fn a_bounce_from_the_asked_user_or_their_server_denies_on_an_open_channel() {
    for (asked, sender, counts) in [
        (ALICE, ALICE, true),
        (ALICE, "alice@example.com", true),
        (ALICE, "example.com", true),
        (ALICE, "alice@example.com/desktop", false),
        (ALICE, "example.com/x", false),
        (ALICE, "mallory@example.com", false),
        (ALICE, "evil.tld", false),
        ("alice@example.com", "alice@example.com/desktop", true),
    ] {
        let mut desk = desk();
        let prompt = desk.begin(1, asked);
        let bounce = from("message", sender, &[]).with("type", "error");
        assert_eq!(desk.decide(&bounce), None, "no stanza id");
        assert_eq!(desk.decide(&bounce.clone().with("id", "guess")), None);
        let bounce = bounce.with("id", prompt.attribute("id").unwrap());
        let expected = if counts { no(1) } else { None };
        assert_eq!(desk.decide(&bounce), expected, "{asked} asked, {sender} bounces");
    }
}

#[test]
fn a_stanza_id_alone_confirms_nothing() {
    let mut desk = desk();
    let prompt = desk.begin(1, ALICE);
    let id = prompt.attribute("id").unwrap();
    for name in ["message", "iq"] {
        let stanza = from(name, ALICE, &[]).with("type", "result").with("id", id);
        assert_eq!(desk.decide(&stanza), None);
    }
}

#[test]
fn one_reply_decides_one_of_several_equal_requests() {
    let mut desk = desk();
    let prompts: Vec<_> = (1..=4).map(|id| desk.begin(id, ALICE)).collect();
    let plain = from("message", ALICE, &[confirm("t", "GET", URL)]);
    // By thread and by stanza id the third and the fourth are meant; without either the oldest is.
    let threaded = from(
        "message",
        ALICE,
        &[confirm("t", "GET", URL), prompts[2].child("thread", ns::CLIENT).unwrap().clone()],
    );
    assert_eq!(desk.decide(&threaded), yes(3));
    assert_eq!(desk.decide(&threaded), None);
    assert_eq!(desk.decide(&plain.clone().with("id", prompts[3].attribute("id").unwrap())), yes(4));
    assert_eq!(desk.decide(&plain), yes(1));
    assert_eq!(desk.decide(&plain.clone().with("type", "error")), no(2));
    assert_eq!(desk.decide(&plain), None);
}

#[test]
fn a_confirmation_expires() {
    let mut desk = desk();
    let first = desk.begin(1, ALICE);
    desk.now += REPLY_TIMEOUT / 2;
    desk.begin(2, ALICE);
    let end = desk.now + REPLY_TIMEOUT / 2;
    assert!(desk.confirmations.expire(end - Duration::from_millis(1)).is_empty());
    desk.now = end;
    assert_eq!(desk.decide(&echo(&first)), None, "late, though nobody has looked at the clock since");
    assert_eq!(desk.confirmations.expire(end), [1]);
    assert!(desk.confirmations.expire(end).is_empty());
    assert_eq!(desk.decide(&echo(&first)), None);
    assert_eq!(desk.confirmations.clear(desk.now), [2]);
}

#[test]
fn pending_confirmations_are_limited() {
    let limited = Settings { pending_per_user: 2, pending_per_address: 3, pending_total: 5, ..settings() };
    let mut desk = Desk::new(&limited);
    let from = |last: u8| Request { client: Some([192, 0, 2, last].into()), ..request(Need::Read) };
    let prompt = desk.try_begin(1, "a@example.com/1", &from(1)).unwrap();
    desk.try_begin(2, "a@example.com/2", &from(2)).unwrap();
    // All resources of a user count together.
    assert_eq!(desk.try_begin(3, "a@example.com", &from(3)), Err(Refusal::TooManyForUser));
    desk.try_begin(3, "b@example.com", &from(1)).unwrap();
    desk.try_begin(4, "c@example.com", &from(1)).unwrap();
    assert_eq!(desk.try_begin(5, "d@example.com", &from(1)), Err(Refusal::TooManyForAddress));
    desk.try_begin(5, "d@example.com", &request(Need::Read)).unwrap();
    assert_eq!(desk.try_begin(6, "e@example.com", &request(Need::Read)), Err(Refusal::TooManyPending));
    // A decided confirmation makes room.
    assert!(desk.decide(&echo(&prompt)).is_some());
    assert!(desk.try_begin(6, "a@example.com/3", &from(1)).is_ok());
    desk.confirmations.clear(desk.now);
    for id in 8..10 {
        assert!(desk.try_begin(id, "a@example.com", &from(id as u8)).is_ok());
    }
}

#[test]
fn clients_that_hang_up_are_limited_like_those_that_wait() {
    let limited = Settings { pending_per_user: 2, pending_per_address: 3, pending_total: 5, ..settings() };
    let mut desk = Desk::new(&limited);
    let client = Request { client: Some([192, 0, 2, 1].into()), ..request(Need::Read) };
    let mut leave = |user: &str, client: &Request, id| {
        let prompt = desk.try_begin(id, user, client);
        desk.confirmations.cancel(id);
        desk.confirmations.cancel(id);
        prompt
    };
    let other = Request { client: Some([192, 0, 2, 2].into()), ..request(Need::Read) };
    let first = leave(ALICE, &client, 1).unwrap();
    leave(ALICE, &other, 2).unwrap();
    assert_eq!(leave(ALICE, &request(Need::Read), 3), Err(Refusal::TooManyForUser));
    leave("b@example.com", &client, 3).unwrap();
    leave("c@example.com", &client, 4).unwrap();
    assert_eq!(leave("d@example.com", &client, 5), Err(Refusal::TooManyForAddress));
    // What the user answers decides nothing, but makes room; and so does time.
    assert_eq!(desk.decide(&echo(&first)), None);
    assert!(desk.try_begin(5, ALICE, &client).is_ok());
    assert_eq!((desk.confirmations.len(), desk.confirmations.pending.len()), (1, 4));
    assert_eq!(desk.confirmations.expire(desk.now + REPLY_TIMEOUT), [5]);
    assert!(desk.try_begin(6, ALICE, &client).is_ok());
    desk.confirmations.cancel(6);
    assert!(desk.confirmations.clear(desk.now).is_empty());
}

#[test]
fn abandoned_confirmations_do_not_count_in_all_and_are_bounded() {
    let mut desk = Desk::new(&Settings { pending_total: 2, ..settings() });
    for id in 1..9 {
        let user = format!("user{id}@example.com");
        assert!(desk.try_begin(id, &user, &request(Need::Read)).is_ok());
        desk.confirmations.cancel(id);
    }
    assert_eq!((desk.confirmations.len(), desk.confirmations.pending.len()), (0, 2));
}

#[test]
fn a_reply_decides_a_waiting_request_before_an_abandoned_one() {
    let mut desk = desk();
    desk.begin(1, ALICE);
    desk.begin(2, ALICE);
    desk.confirmations.cancel(1);
    let plain = from("message", ALICE, &[confirm("t", "GET", URL)]);
    assert_eq!(desk.decide(&plain), yes(2));
    assert_eq!(desk.decide(&plain), None);
    assert_eq!(desk.confirmations.len(), 0);
}

#[test]
fn every_index_is_empty_once_all_is_decided() {
    let mut desk = desk();
    let client = Request { client: Some([192, 0, 2, 1].into()), ..request(Need::Read) };
    let prompt = desk.try_begin(1, ALICE, &client).unwrap();
    desk.try_begin(2, ALICE, &client).unwrap();
    desk.try_begin(3, "bob@example.com", &client).unwrap();
    assert!(desk.decide(&echo(&prompt)).is_some());
    desk.confirmations.cancel(2);
    desk.confirmations.expire(desk.now + REPLY_TIMEOUT);
    let Confirmations { pending, abandoned, by_user, by_stanza_id, by_address, .. } = &desk.confirmations;
    assert!(
        abandoned.is_empty()
            && pending.is_empty()
            && by_user.is_empty()
            && by_stanza_id.is_empty()
            && by_address.is_empty()
    );
}

#[test]
fn clients_without_address_are_not_limited_by_it() {
    let limited = Settings { pending_per_address: 1, ..settings() };
    let mut desk = Desk::new(&limited);
    for id in 0..6 {
        assert!(desk.try_begin(id, ALICE, &request(Need::Read)).is_ok());
    }
}
