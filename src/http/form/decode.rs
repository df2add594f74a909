//! Percent-encoding and base64, decoded from pieces that may be cut anywhere.

use crate::limits;
use crate::model::Refusal;

/// Decodes percent-encoding, as of `application/x-www-form-urlencoded`.
pub(super) struct Percent {
    plus: u8,
    escape: Escape,
}

/// How much of a `%XX` was read.
#[derive(Clone, Copy, PartialEq)]
enum Escape {
    None,
    Begun,
    Half(u8),
}

impl Percent {
    /// A decoder that reads `plus` for an unescaped `+`.
    pub(super) fn new(plus: u8) -> Self {
        Self { plus, escape: Escape::None }
    }

    /// Decodes a piece and appends it to `decoded`.
    pub(super) fn decode(&mut self, piece: &[u8], decoded: &mut Vec<u8>) -> Result<(), Refusal> {
        for &byte in piece {
            self.escape = match (self.escape, byte) {
                (Escape::None, b'%') => Escape::Begun,
                (Escape::None, _) => {
                    decoded.push(if byte == b'+' { self.plus } else { byte });
                    Escape::None
                }
                (Escape::Begun, _) => Escape::Half(hex(byte)?),
                (Escape::Half(high), _) => {
                    decoded.push(high << 4 | hex(byte)?);
                    Escape::None
                }
            };
        }
        Ok(())
    }

    /// Ends the decoding: fails if an escape is incomplete.
    pub(super) fn finish(self) -> Result<(), Refusal> {
        if self.escape == Escape::None { Ok(()) } else { Err(Refusal::BadForm) }
    }
}

fn hex(digit: u8) -> Result<u8, Refusal> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(Refusal::BadForm),
    }
}

/// Decodes base64 (RFC 4648) of either alphabet, mixed, with white space anywhere and with or without its
/// padding. Its last bits must be zero: otherwise something is missing.
#[derive(Default)]
pub(super) struct Base64 {
    bits: u32,
    /// Characters whose bits wait in `bits`; less than 4.
    waiting: u8,
    padding: u8,
    taken: u64,
    skipped: u64,
}

impl Base64 {
    /// Decodes a piece and appends it to `decoded`.
    pub(super) fn decode(&mut self, piece: &[u8], decoded: &mut Vec<u8>) -> Result<(), Refusal> {
        for &byte in piece {
            match SYMBOLS[usize::from(byte)] {
                SPACE => self.skip()?,
                PADDING if self.padding < 2 => self.padding += 1,
                value @ ..64 if self.padding == 0 => self.take(value, decoded),
                _ => return Err(Refusal::BadBase64),
            }
        }
        Ok(())
    }

    /// Limits white space: it yields no data, so the limit of the data would never end it.
    fn skip(&mut self) -> Result<(), Refusal> {
        self.skipped += 1;
        let limit = 4 * self.taken + limits::FORM_OVERHEAD_BYTES;
        if self.skipped > limit { Err(Refusal::TooLarge) } else { Ok(()) }
    }

    fn take(&mut self, value: u8, decoded: &mut Vec<u8>) {
        self.taken += 1;
        self.bits = self.bits << 6 | u32::from(value);
        self.waiting += 1;
        if self.waiting == 4 {
            decoded.extend_from_slice(&self.bits.to_be_bytes()[1..]);
            self.bits = 0;
            self.waiting = 0;
        }
    }

    /// Ends the decoding and appends the last bytes.
    pub(super) fn finish(self, decoded: &mut Vec<u8>) -> Result<(), Refusal> {
        let count = match (self.waiting, self.padding) {
            (0, 0) => return Ok(()),
            (2, _) => 1,
            (3, 0..=1) => 2,
            _ => return Err(Refusal::BadBase64),
        };
        let [_, bytes @ ..] = (self.bits << (6 * (4 - self.waiting))).to_be_bytes();
        if bytes[count] != 0 {
            return Err(Refusal::BadBase64);
        }
        decoded.extend_from_slice(&bytes[..count]);
        Ok(())
    }
}

const PADDING: u8 = 64;
const SPACE: u8 = 65;
const FOREIGN: u8 = 66;

/// The meaning of each byte: a value below 64, or one of the constants above.
const SYMBOLS: [u8; 256] = {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut symbols = [FOREIGN; 256];
    let mut value = 0;
    while value < 64 {
        symbols[alphabet[value as usize] as usize] = value;
        value += 1;
    }
    symbols[b'-' as usize] = 62;
    symbols[b'_' as usize] = 63;
    symbols[b'=' as usize] = PADDING;
    symbols[b' ' as usize] = SPACE;
    symbols[b'\t' as usize] = SPACE;
    symbols[b'\r' as usize] = SPACE;
    symbols[b'\n' as usize] = SPACE;
    symbols
};

#[cfg(test)]
mod tests {
    use super::*;

    fn base64(text: &str, piece: usize) -> Result<Vec<u8>, Refusal> {
        let mut decoder = Base64::default();
        let mut decoded = Vec::new();
        for piece in text.as_bytes().chunks(piece) {
            decoder.decode(piece, &mut decoded)?;
        }
        decoder.finish(&mut decoded)?;
        Ok(decoded)
    }

    #[test]
    fn base64_is_read_in_every_spelling() {
        let bytes = [0xfb, 0xff, 0xfe, 0x01];
        for text in ["+//+AQ==", "-__-AQ==", "+/_-AQ", "+//+AQ=", " +/\r\n/+\tAQ= =\n", "+\n/\n/\n+\nA\nQ\n"]
        {
            for piece in 1..=text.len() {
                assert_eq!(base64(text, piece).as_deref(), Ok(&bytes[..]), "{text:?} by {piece}");
            }
        }
        assert_eq!(base64("", 1), Ok(vec![]));
        assert_eq!(base64("QUI", 2), Ok(b"AB".to_vec()));
        assert_eq!(base64("QUI=", 2), Ok(b"AB".to_vec()));
    }

    #[test]
    fn malformed_base64_is_refused() {
        for text in [
            "A", "A=", "=", "==", "AAAA=", "AAAAA", "QUI==", "AA===", "AB==", "QUJ", "AA=A", "AA==AA==",
            "A*AA", "A\0AA", "é", "AAAA.", "A\u{b}AA",
        ] {
            for piece in 1..=text.len() {
                assert_eq!(base64(text, piece), Err(Refusal::BadBase64), "{text:?} by {piece}");
            }
        }
    }

    #[test]
    fn base64_agrees_with_the_base64_crate() {
        use ::base64::Engine;
        use ::base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
        let bytes: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
        for length in 0..bytes.len() {
            let expected = Ok(bytes[..length].to_vec());
            assert_eq!(base64(&STANDARD.encode(&bytes[..length]), 7), expected);
            assert_eq!(base64(&URL_SAFE_NO_PAD.encode(&bytes[..length]), 5), expected);
        }
    }

    #[test]
    fn white_space_is_limited() {
        let mut decoder = Base64::default();
        let mut decoded = Vec::new();
        let space = [b' '; 1024];
        let steps = (0..10_000).take_while(|_| decoder.decode(&space, &mut decoded).is_ok()).count();
        assert_eq!(steps as u64 * 1024, limits::FORM_OVERHEAD_BYTES);
    }

    #[test]
    fn percent_encoding_is_decoded_from_pieces() {
        let text = b"a%20b+c%2b%C3%a9\xff";
        for piece in 1..=text.len() {
            let mut decoder = Percent::new(b' ');
            let mut decoded = Vec::new();
            text.chunks(piece).for_each(|piece| decoder.decode(piece, &mut decoded).unwrap());
            decoder.finish().unwrap();
            assert_eq!(decoded, b"a b c+\xc3\xa9\xff");
        }
    }

    #[test]
    fn bad_escapes_are_refused() {
        for text in ["%", "%4", "a%4", "%g0", "%0g", "%%41", "% 41", "%+1"] {
            let mut decoder = Percent::new(b' ');
            let result = decoder.decode(text.as_bytes(), &mut Vec::new()).and_then(|()| decoder.finish());
            assert_eq!(result, Err(Refusal::BadForm), "{text}");
        }
    }
}
