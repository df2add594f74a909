//! How tokens are written and checked. Pure functions on bytes.
//!
//! A token is base64url (RFC 4648 section 5, without padding) of a version, the number of its key, its fields, and an
//! HMAC-SHA-256 (RFC 2104). Each field has its length before it. The HMAC is over the kind's name and the values that the
//! token is bound to, each with its length, and then over all that is in the token.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::TokenKind;
use crate::limits;

/// The version of the format.
const VERSION: u8 = 1;
/// Bytes before the fields: the version and the key's number.
const HEAD: usize = 5;
/// Bytes of the HMAC.
const MAC: usize = 32;

/// A key of one kind of token.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    id: u32,
    bytes: [u8; 32],
}

impl Key {
    /// A key with this number.
    pub fn new(id: u32, bytes: [u8; 32]) -> Self {
        Self { id, bytes }
    }

    /// Its number, by which tokens name it.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Its bytes, for the table of keys and never for messages.
    pub(super) fn expose(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// The HMAC of a token's bytes before it is finished.
    fn mac(&self, kind: TokenKind, bound: &[&[u8]], signed: &[u8]) -> Hmac<Sha256> {
        // An HMAC takes keys of any length.
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.bytes).unwrap_or_else(|_| unreachable!());
        for value in std::iter::once(kind.name.as_bytes()).chain(bound.iter().copied()) {
            mac.update(&(value.len() as u64).to_be_bytes());
            mac.update(value);
        }
        mac.update(&(signed.len() as u64).to_be_bytes());
        mac.update(signed);
        mac
    }
}

/// Hides the bytes.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key {}", self.id)
    }
}

/// The token with these fields, which counts only together with the values in `bound`; `None` if it would be longer than
/// [`limits::SIGNED_TOKEN_CHARS`].
pub fn sign(kind: TokenKind, key: &Key, bound: &[&[u8]], fields: &[&[u8]]) -> Option<String> {
    let mut token = vec![VERSION];
    token.extend_from_slice(&key.id.to_be_bytes());
    for field in fields {
        token.extend_from_slice(&u16::try_from(field.len()).ok()?.to_be_bytes());
        token.extend_from_slice(field);
    }
    let mac = key.mac(kind, bound, &token).finalize().into_bytes();
    token.extend_from_slice(&mac);
    let text = URL_SAFE_NO_PAD.encode(token);
    (text.len() <= limits::SIGNED_TOKEN_CHARS).then_some(text)
}

/// The text is not a token, or not one of this server's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenError;

/// A token as it came. Nothing in it counts before [`Token::verify`] but the number of its key.
#[derive(Debug)]
pub struct Token {
    key: u32,
    /// All but the HMAC.
    signed: Vec<u8>,
    mac: Vec<u8>,
}

impl Token {
    /// Reads a text as a token. Only one text stands for the same bytes.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        if text.len() > limits::SIGNED_TOKEN_CHARS {
            return Err(TokenError);
        }
        let mut signed = URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError)?;
        if signed.len() < HEAD + MAC || signed[0] != VERSION {
            return Err(TokenError);
        }
        let mac = signed.split_off(signed.len() - MAC);
        let key = signed[1..HEAD].try_into().map(u32::from_be_bytes).map_err(|_| TokenError)?;
        Ok(Self { key, signed, mac })
    }

    /// The number of the key that it says it was signed with.
    pub fn key(&self) -> u32 {
        self.key
    }

    /// The fields, if this key signed the token for this kind and these values. Takes the same time for every wrong HMAC.
    pub fn verify(self, kind: TokenKind, key: &Key, bound: &[&[u8]]) -> Result<Fields, TokenError> {
        let genuine = key.mac(kind, bound, &self.signed).verify_slice(&self.mac);
        if genuine.is_err() || self.key != key.id {
            return Err(TokenError);
        }
        Ok(Fields { bytes: self.signed, at: HEAD })
    }
}

/// The fields of a genuine token, in their order.
#[derive(Debug)]
pub struct Fields {
    bytes: Vec<u8>,
    at: usize,
}

impl Fields {
    /// The next field.
    pub fn next_bytes(&mut self) -> Result<&[u8], TokenError> {
        let length = self.take(2)?.try_into().map(u16::from_be_bytes).map_err(|_| TokenError)?;
        self.take(length.into())
    }

    /// The next field as a text.
    pub fn next_text(&mut self) -> Result<&str, TokenError> {
        std::str::from_utf8(self.next_bytes()?).map_err(|_| TokenError)
    }

    /// The next field as a number of eight bytes.
    pub fn next_number(&mut self) -> Result<i64, TokenError> {
        self.next_bytes()?.try_into().map(i64::from_be_bytes).map_err(|_| TokenError)
    }

    /// Fails if there are more fields.
    pub fn end(self) -> Result<(), TokenError> {
        if self.at == self.bytes.len() { Ok(()) } else { Err(TokenError) }
    }

    fn take(&mut self, count: usize) -> Result<&[u8], TokenError> {
        let end = self.at.checked_add(count).ok_or(TokenError)?;
        let taken = self.bytes.get(self.at..end).ok_or(TokenError)?;
        self.at = end;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SLOT: TokenKind = TokenKind { name: "slot", life: Duration::ZERO };
    const OTHER: TokenKind = TokenKind { name: "slo", life: Duration::ZERO };

    fn key(id: u32) -> Key {
        Key::new(id, [7; 32])
    }

    fn signed() -> String {
        sign(SLOT, &key(5), &[b"id", b"name"], &[b"", b"text", &9_i64.to_be_bytes()]).unwrap()
    }

    fn verified(text: &str, kind: TokenKind, key: &Key, bound: &[&[u8]]) -> Result<Fields, TokenError> {
        Token::parse(text)?.verify(kind, key, bound)
    }

    #[test]
    fn fields_come_back_in_their_order() {
        let token = Token::parse(&signed()).unwrap();
        assert_eq!(token.key(), 5);
        let mut fields = token.verify(SLOT, &key(5), &[b"id", b"name"]).unwrap();
        assert_eq!(fields.next_bytes().unwrap(), b"");
        assert_eq!(fields.next_text().unwrap(), "text");
        assert_eq!(fields.next_number().unwrap(), 9);
        assert!(fields.next_bytes().is_err());
        fields.end().unwrap();
    }

    #[test]
    fn a_token_counts_for_its_kind_its_key_and_what_it_is_bound_to() {
        let bound: &[&[u8]] = &[b"id", b"name"];
        assert!(verified(&signed(), SLOT, &key(5), bound).is_ok());
        assert!(verified(&signed(), OTHER, &key(5), bound).is_err());
        assert!(verified(&signed(), SLOT, &Key::new(5, [8; 32]), bound).is_err());
        assert!(verified(&signed(), SLOT, &key(6), bound).is_err());
        let moved: [&[&[u8]]; 6] =
            [&[], &[b"id"], &[b"idn", b"ame"], &[b"", b"idname"], &[b"name", b"id"], &[b"id", b"name", b""]];
        for bound in moved {
            assert!(verified(&signed(), SLOT, &key(5), bound).is_err(), "{bound:?}");
        }
    }

    #[test]
    fn every_changed_bit_is_found() {
        let bytes = URL_SAFE_NO_PAD.decode(signed()).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let text = URL_SAFE_NO_PAD.encode(changed);
            // As if every number had the same key.
            let found = Token::parse(&text).and_then(|token| {
                let key = key(token.key());
                token.verify(SLOT, &key, &[b"id", b"name"])
            });
            assert!(found.is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            let text = URL_SAFE_NO_PAD.encode(&bytes[..length]);
            assert!(verified(&text, SLOT, &key(5), &[b"id", b"name"]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn only_one_text_stands_for_a_token() {
        let good = sign(SLOT, &key(5), &[], &[b"x"]).unwrap();
        assert!(verified(&good, SLOT, &key(5), &[]).is_ok());
        assert_ne!(good.len() % 4, 0, "there is room for padding");
        let last = good.chars().last().unwrap();
        let mut others =
            vec![format!("{good}="), format!("{good}\n"), format!(" {good}"), good.replace('A', "+")];
        others.extend(('A'..='z').filter(|c| *c != last).map(|c| format!("{}{c}", &good[..good.len() - 1])));
        for text in others.iter().filter(|text| **text != good) {
            assert!(verified(text, SLOT, &key(5), &[]).is_err(), "{text}");
        }
    }

    #[test]
    fn a_token_has_a_limit() {
        let fits = |length: usize| sign(SLOT, &key(5), &[], &[&vec![0; length]]);
        let longest = limits::SIGNED_TOKEN_CHARS / 4 * 3 - HEAD - MAC - 2;
        assert!(fits(longest + 1).is_none());
        assert!(verified(&fits(longest).unwrap(), SLOT, &key(5), &[]).is_ok());
        assert!(fits(70_000).is_none());
        assert!(Token::parse(&"A".repeat(limits::SIGNED_TOKEN_CHARS + 4)).is_err());
    }
}
