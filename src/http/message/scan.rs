//! Finding a request head in a stream of bytes (RFC 9112 section 2). Pure functions on bytes.

use crate::limits;
use crate::model::Refusal;

/// Finds the end of a head in a buffer that grows; every byte is looked at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scan {
    at: usize,
    line: usize,
    begun: bool,
}

impl Scan {
    /// Looks at the bytes that came since the last call. `Some(n)`: the first `n` bytes are the head. Line ends other
    /// than CRLF, folded lines and control characters are refused here, because requests can be smuggled through
    /// parsers that accept them (RFC 9112 sections 2.2 and 11.2).
    pub fn advance(&mut self, input: &[u8]) -> Result<Option<usize>, Refusal> {
        while let Some(&byte) = input.get(self.at) {
            if self.at >= limits::HEAD_BYTES {
                return Err(if self.begun { Refusal::HeadTooLarge } else { Refusal::UriTooLong });
            }
            let after_cr = self.at > self.line && input[self.at - 1] == b'\r';
            self.at += 1;
            if after_cr && byte == b'\n' {
                if self.ends_head() {
                    return Ok(Some(self.at));
                }
            } else if after_cr || !self.allows(byte) {
                return Err(Refusal::MalformedRequest);
            }
        }
        Ok(None)
    }

    /// At the end of a line: whether it is the empty one behind the fields. Empty lines in front of the request
    /// line are skipped (RFC 9112 section 2.2).
    fn ends_head(&mut self) -> bool {
        let empty = self.at - self.line == "\r\n".len();
        self.line = self.at;
        if !empty {
            self.begun = true;
        }
        empty && self.begun
    }

    /// Whether a byte may stand where it does, line ends apart.
    fn allows(&self, byte: u8) -> bool {
        let first = self.at - 1 == self.line;
        match byte {
            b'\r' => true,
            b' ' | b'\t' => !first,
            _ => byte >= 0x20 && byte != 0x7f,
        }
    }
}
