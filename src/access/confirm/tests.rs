use super::super::testing::{
    ALICE, COMPONENT, REPLY_TIMEOUT, URL, ask, credentials, echo, element, settings,
};
use super::*;
use crate::model::Need;
use crate::xmpp::ns;

struct Desk {
    confirmations: Confirmations,
    now: Instant,
}

impl Desk {
    fn new(settings: &Settings) -> Self {
        Self { confirmations: Confirmations::new(settings), now: Instant::now() }
    }

    fn try_begin(&mut self, ticket: Ticket, jid: &str, ask: &Ask) -> Result<Element, Refusal> {
        let credentials = credentials(jid, "t").unwrap();
        self.confirmations.begin(self.now, &COMPONENT.parse().unwrap(), ticket, ask, &credentials)
    }

    fn begin(&mut self, ticket: Ticket, jid: &str) -> Element {
        self.try_begin(ticket, jid, &ask(Need::Read)).unwrap()
    }

    fn decide(&mut self, stanza: &Element) -> Option<(Ticket, Verdict)> {
        self.confirmations.decide(self.now, stanza)
    }
}

fn desk() -> Desk {
    Desk::new(&settings())
}

fn yes(ticket: Ticket) -> Option<(Ticket, Verdict)> {
    Some((ticket, Ok("alice@example.com".parse().unwrap())))
}

fn no(ticket: Ticket) -> Option<(Ticket, Verdict)> {
    Some((ticket, Err(Refusal::Denied)))
}

fn confirm(id: &str, method: &str, url: &str) -> Element {
    element("confirm", ns::HTTP_AUTH, &[("id", id), ("method", method), ("url", url)], &[])
}

/// A stanza from `from` with these children.
fn from(name: &str, from: &str, children: &[Element]) -> Element {
    element(name, ns::CLIENT, &[("from", from), ("to", COMPONENT)], children)
}

fn thread(text: &str) -> Element {
    Element::new("thread", ns::CLIENT).with_text(text)
}

#[test]
fn the_request_says_what_is_asked_in_both_languages() {
    let mut desk = desk();
    let mut wanted = ask(Need::Publish);
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
    assert!(body.contains(&format!("POST {URL}/x\n")), "{body}");
    assert!(body.ends_with("Confirmation message for transaction t"), "{body}");
}

#[test]
fn every_known_way_to_confirm_is_understood() {
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
fn what_differs_from_the_request_is_ignored() {
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
fn a_bounce_of_the_stanza_is_a_denial_if_it_comes_for_whom_was_asked() {
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
fn one_answer_decides_one_of_several_equal_requests() {
    let mut desk = desk();
    let prompts: Vec<_> = (1..=4).map(|ticket| desk.begin(ticket, ALICE)).collect();
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
fn what_is_not_answered_in_time_is_taken_out() {
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
    assert_eq!(desk.confirmations.clear(), [2]);
}

#[test]
fn pending_confirmations_are_limited() {
    let limited = Settings { pending_per_user: 2, pending_per_address: 3, pending_total: 5, ..settings() };
    let mut desk = Desk::new(&limited);
    let from = |last: u8| Ask { client: Some([192, 0, 2, last].into()), ..ask(Need::Read) };
    let prompt = desk.try_begin(1, "a@example.com/1", &from(1)).unwrap();
    desk.try_begin(2, "a@example.com/2", &from(1)).unwrap();
    // All resources of a user count together.
    assert_eq!(desk.try_begin(3, "a@example.com", &from(2)), Err(Refusal::TooManyForUser));
    desk.try_begin(3, "b@example.com", &from(1)).unwrap();
    assert_eq!(desk.try_begin(4, "b@example.com", &from(1)), Err(Refusal::TooManyForAddress));
    desk.try_begin(4, "c@example.com", &ask(Need::Read)).unwrap();
    desk.try_begin(5, "d@example.com", &ask(Need::Read)).unwrap();
    assert_eq!(desk.try_begin(6, "e@example.com", &ask(Need::Read)), Err(Refusal::TooManyPending));
    // Whoever is decided makes room.
    assert!(desk.decide(&echo(&prompt)).is_some());
    assert!(desk.try_begin(6, "a@example.com/3", &from(1)).is_ok());
    desk.confirmations.clear();
    for ticket in 8..10 {
        assert!(desk.try_begin(ticket, "a@example.com", &from(1)).is_ok());
    }
}

#[test]
fn who_hangs_up_can_ask_no_more_often_than_who_waits() {
    let limited = Settings { pending_per_user: 2, pending_per_address: 3, pending_total: 5, ..settings() };
    let mut desk = Desk::new(&limited);
    let client = Ask { client: Some([192, 0, 2, 1].into()), ..ask(Need::Read) };
    let mut leave = |user: &str, client: &Ask, ticket| {
        let prompt = desk.try_begin(ticket, user, client);
        desk.confirmations.cancel(ticket);
        desk.confirmations.cancel(ticket);
        prompt
    };
    let prompts = [1, 2].map(|ticket| leave(ALICE, &client, ticket).unwrap());
    assert_eq!(leave(ALICE, &ask(Need::Read), 3), Err(Refusal::TooManyForUser));
    leave("b@example.com", &client, 3).unwrap();
    assert_eq!(leave("c@example.com", &client, 4), Err(Refusal::TooManyForAddress));
    // What the user answers decides nothing, but makes room; and so does time.
    assert_eq!(desk.decide(&echo(&prompts[0])), None);
    assert!(desk.try_begin(4, ALICE, &client).is_ok());
    assert_eq!((desk.confirmations.len(), desk.confirmations.pending.len()), (1, 3));
    assert_eq!(desk.confirmations.expire(desk.now + REPLY_TIMEOUT), [4]);
    assert!(desk.try_begin(5, ALICE, &client).is_ok());
    desk.confirmations.cancel(5);
    assert!(desk.confirmations.clear().is_empty());
}

#[test]
fn those_who_hung_up_keep_nobody_out_and_take_bounded_room() {
    let mut desk = Desk::new(&Settings { pending_total: 2, ..settings() });
    for ticket in 1..9 {
        let user = format!("user{ticket}@example.com");
        assert!(desk.try_begin(ticket, &user, &ask(Need::Read)).is_ok());
        desk.confirmations.cancel(ticket);
    }
    assert_eq!((desk.confirmations.len(), desk.confirmations.pending.len()), (0, 2));
}

#[test]
fn an_answer_is_for_the_request_that_waits_though_an_equal_one_has_left() {
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
fn nothing_is_left_of_what_was_decided() {
    let mut desk = desk();
    let client = Ask { client: Some([192, 0, 2, 1].into()), ..ask(Need::Read) };
    let prompt = desk.try_begin(1, ALICE, &client).unwrap();
    desk.try_begin(2, ALICE, &client).unwrap();
    desk.try_begin(3, "bob@example.com", &client).unwrap();
    assert!(desk.decide(&echo(&prompt)).is_some());
    desk.confirmations.cancel(2);
    desk.confirmations.expire(desk.now + REPLY_TIMEOUT);
    let Confirmations { pending, left, by_user, by_stanza_id, by_address, .. } = &desk.confirmations;
    assert!(
        left.is_empty()
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
    for ticket in 0..8 {
        assert!(desk.try_begin(ticket, ALICE, &ask(Need::Read)).is_ok());
    }
}
