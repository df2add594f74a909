//! Tokens: what is signed is read back, a token has one text, and nothing that was not signed is taken for a token.

#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use media_server::limits;
use media_server::tokens::{Key, Token, TokenKind, sign};

const KIND: TokenKind = TokenKind { name: "slot", life: Duration::ZERO };
const OTHER: TokenKind = TokenKind { name: "ticket", life: Duration::ZERO };

fuzz_target!(|input: &[u8]| {
    let text = String::from_utf8_lossy(input);
    let bound: &[&[u8]] = &[b"id", b"name"];
    if let Ok(token) = Token::parse(&text) {
        assert!(text.len() <= limits::SIGNED_TOKEN_CHARS);
        // The number of the key is the input's, the key is not.
        let key = Key::new(token.key(), [7; 32]);
        assert!(token.verify(KIND, &key, bound).is_err(), "{text:?} was signed by nobody");
    }
    let (number, fields) = input.split_at(input.len().min(4));
    let number = number.iter().fold(0, |number, byte| number << 8 | u32::from(*byte));
    let key = Key::new(number, [9; 32]);
    let fields: Vec<&[u8]> = fields.split(|byte| *byte == 0).collect();
    let Some(signed) = sign(KIND, &key, bound, &fields) else { return };
    let read = |kind, key: &Key, bound: &[&[u8]]| {
        let token = Token::parse(&signed).expect("it is one");
        assert_eq!(token.key(), number);
        token.verify(kind, key, bound)
    };
    let mut found = read(KIND, &key, bound).expect("it was signed");
    for field in &fields {
        assert_eq!(found.next_bytes(), Ok(*field));
    }
    found.end().expect("there are no more fields");
    assert!(read(OTHER, &key, bound).is_err());
    assert!(read(KIND, &Key::new(number, [7; 32]), bound).is_err());
    assert!(read(KIND, &key, &[b"idn", b"ame"]).is_err());
    // One changed character is found, wherever it is.
    let place = number as usize % signed.len();
    let mut changed = signed.clone().into_bytes();
    changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
    let changed = String::from_utf8(changed).expect("it is ASCII");
    let found = Token::parse(&changed).and_then(|token| {
        let key = Key::new(token.key(), [9; 32]);
        token.verify(KIND, &key, bound)
    });
    assert!(found.is_err(), "{signed} and {changed}");
});
