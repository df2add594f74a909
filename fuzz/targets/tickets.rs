//! Tickets and the cookies that hold them: a cookie is a part of its line, and whatever is read as a ticket is written again as
//! it was.

#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use media_server::http::cookie::cookie;
use media_server::limits;
use media_server::tickets::{TICKETS, Ticket, expiry};
use media_server::tokens::{Key, Token, sign};

const NAME: &str = "__Secure-media";

fuzz_target!(|input: &[u8]| {
    let text = String::from_utf8_lossy(input);
    check_cookie(&text);
    check_fields(input);
});

fn check_cookie(text: &str) {
    let lines: Vec<&str> = text.split('\n').collect();
    let Some(value) = cookie(&lines, NAME) else {
        assert!(!text.starts_with("__Secure-media="), "{text:?}");
        return;
    };
    assert!(!value.contains([';', '\n']) && value.trim() == value, "{text:?}");
    assert!(text.contains(NAME) && text.contains(value));
    let found = lines.iter().flat_map(|line| line.split(';')).any(|pair| {
        pair.split_once('=').is_some_and(|(name, other)| name.trim() == NAME && other.trim() == value)
    });
    assert!(found, "{text:?}");
    // Pairs before it with other names do not matter.
    let longer = format!("a=b; c;{}", lines[0]);
    assert_eq!(cookie(&[longer.as_str()], NAME), cookie(&lines[..1], NAME));
}

/// The fields of the input, between zeros, signed as a ticket.
fn check_fields(input: &[u8]) {
    let key = Key::new(7, [9; 32]);
    let fields: Vec<&[u8]> = input.split(|byte| *byte == b'|').collect();
    let Some(signed) = sign(TICKETS, &key, &[], &fields) else { return };
    let token = Token::parse(&signed).expect("it is one");
    let verified = token.verify(TICKETS, &key, &[]).expect("it was signed");
    let Ok((ticket, epoch)) = Ticket::read(verified) else { return };
    assert_eq!(fields.len(), 5);
    let written = ticket.with_fields(epoch, |fields| sign(TICKETS, &key, &[], fields)).expect("it fits");
    let again = Token::parse(&written).and_then(|token| token.verify(TICKETS, &key, &[]));
    assert_eq!(Ticket::read(again.expect("it was signed")), Ok((ticket.clone(), epoch)));
    // Whatever its date, the next ticket expires in its time.
    for seconds in [1, 900, 3600] {
        let expires = expiry(ticket.expires, Duration::from_secs(seconds));
        assert!(expires <= ticket.expires.after(limits::TICKET_LIFE));
    }
}
