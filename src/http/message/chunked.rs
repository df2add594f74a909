//! Where a body ends: the decoder of sized and chunked bodies (RFC 9112 sections 6 and 7.1). Pure functions on bytes.

use crate::limits;
use crate::model::Refusal;

/// How a request frames its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// No body.
    None,
    /// This number of bytes, from Content-Length.
    Sized(u64),
    /// In chunks; the length is not known in advance.
    Chunked,
}

/// The result of one call of [`Decoder::decode`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Bytes of the input that are used up.
    pub consumed: usize,
    /// Bytes of data in the output.
    pub produced: usize,
}

/// Takes the framing off a body, in any portions.
#[derive(Clone, Debug)]
pub struct Decoder {
    state: State,
    /// Bytes that a framing line, or the trailer section, may still have.
    allowance: usize,
}

/// The part of the body that comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// This number of bytes of data; `true`: then a chunk ends, `false`: then the body ends.
    Data(u64, bool),
    /// The CR behind a chunk's data.
    DataEnd,
    /// The LF behind it.
    DataLineFeed,
    /// Digits of a chunk's size: the value so far, and whether there was a digit.
    Size(u64, bool),
    /// A chunk extension; it is ignored.
    Extension(u64),
    /// The LF of a chunk's size line.
    SizeLineFeed(u64),
    /// The start of a line behind the last chunk.
    TrailerStart,
    /// A trailer field; it is dropped.
    Trailer,
    /// The LF of a trailer field.
    TrailerLineFeed,
    /// The LF of the empty line at the end.
    FinalLineFeed,
    Done,
}

impl Decoder {
    /// A decoder at the start of a body.
    pub fn new(length: BodyLength) -> Self {
        let state = match length {
            BodyLength::None | BodyLength::Sized(0) => State::Done,
            BodyLength::Sized(bytes) => State::Data(bytes, false),
            BodyLength::Chunked => State::Size(0, false),
        };
        Self { state, allowance: limits::CHUNK_LINE_BYTES }
    }

    /// Whether the body has ended.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Decodes from `input` into `output` until one of them is used up, or the body has ended.
    pub fn decode(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, Refusal> {
        let mut step = Step { consumed: 0, produced: 0 };
        while let Some(rest) = input.get(step.consumed..).filter(|rest| !rest.is_empty() && !self.is_done()) {
            let Some(data) = self.data() else {
                self.frame(rest[0])?;
                step.consumed += 1;
                continue;
            };
            let room = &mut output[step.produced..];
            let bytes = rest.len().min(room.len()).min(usize::try_from(data).unwrap_or(usize::MAX));
            if bytes == 0 {
                break;
            }
            room[..bytes].copy_from_slice(&rest[..bytes]);
            self.advance(bytes);
            step.consumed += bytes;
            step.produced += bytes;
        }
        Ok(step)
    }

    /// The bytes of plain data that come next, if data comes next: they may be read past the decoder.
    pub fn data(&self) -> Option<u64> {
        if let State::Data(bytes, _) = self.state { Some(bytes) } else { None }
    }

    /// Takes note of `bytes` of data, at most [`Decoder::data`].
    pub fn advance(&mut self, bytes: usize) {
        let State::Data(left, chunk) = self.state else { return };
        self.state = match (left.saturating_sub(bytes as u64), chunk) {
            (0, true) => State::DataEnd,
            (0, false) => State::Done,
            (left, _) => State::Data(left, chunk),
        };
    }

    /// Takes one byte of framing.
    fn frame(&mut self, byte: u8) -> Result<(), Refusal> {
        self.allowance = self.allowance.checked_sub(1).ok_or(Refusal::MalformedBody)?;
        self.state = match (self.state, byte) {
            (State::Size(size, _), digit) if digit.is_ascii_hexdigit() => {
                State::Size(larger(size, digit)?, true)
            }
            (State::Size(size, true) | State::Extension(size), b'\r') => State::SizeLineFeed(size),
            (State::Size(size, true), b';') => State::Extension(size),
            (State::Extension(size), byte) if is_text(byte) => State::Extension(size),
            (State::SizeLineFeed(0), b'\n') => {
                self.allowance = limits::TRAILER_BYTES;
                State::TrailerStart
            }
            (State::SizeLineFeed(size), b'\n') => {
                self.allowance = "\r\n".len();
                State::Data(size, true)
            }
            (State::DataEnd, b'\r') => State::DataLineFeed,
            (State::DataLineFeed, b'\n') => {
                self.allowance = limits::CHUNK_LINE_BYTES;
                State::Size(0, false)
            }
            (State::TrailerStart, b'\r') => State::FinalLineFeed,
            (State::Trailer, b'\r') => State::TrailerLineFeed,
            (State::TrailerStart | State::Trailer, byte) if is_text(byte) => State::Trailer,
            (State::TrailerLineFeed, b'\n') => State::TrailerStart,
            (State::FinalLineFeed, b'\n') => State::Done,
            _ => return Err(Refusal::MalformedBody),
        };
        Ok(())
    }
}

fn larger(size: u64, digit: u8) -> Result<u64, Refusal> {
    let value = char::from(digit).to_digit(16).map(u64::from).ok_or(Refusal::MalformedBody)?;
    size.checked_mul(16).and_then(|size| size.checked_add(value)).ok_or(Refusal::MalformedBody)
}

/// Whether a line may hold this byte: every one but the control characters; the tab is allowed.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= 0x20 && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes `input` in two pieces, with an output of `room` bytes. Returns the data, whether the body ended, and the
    /// number of bytes left.
    fn decode(
        length: BodyLength,
        input: &[u8],
        split: usize,
        room: usize,
    ) -> Result<(Vec<u8>, bool, usize), Refusal> {
        let mut decoder = Decoder::new(length);
        let (mut data, mut used) = (Vec::new(), 0);
        for end in [split, input.len()] {
            loop {
                let mut output = vec![0; room];
                let step = decoder.decode(&input[used..end], &mut output)?;
                used += step.consumed;
                data.extend_from_slice(&output[..step.produced]);
                if step.produced < room {
                    break;
                }
            }
        }
        Ok((data, decoder.is_done(), input.len() - used))
    }

    fn check(length: BodyLength, input: &[u8], expected: Result<(&[u8], bool, usize), Refusal>) {
        for split in 0..=input.len() {
            for room in [1, 3, 1000] {
                let found = decode(length, input, split, room);
                let expected = expected.map(|(data, done, left)| (data.to_vec(), done, left));
                assert_eq!(found, expected, "{:?} at {split}", String::from_utf8_lossy(input));
            }
        }
    }

    #[test]
    fn a_sized_body_ends_where_it_says() {
        check(BodyLength::Sized(5), b"helloGET /", Ok((b"hello", true, 5)));
        check(BodyLength::Sized(5), b"hell", Ok((b"hell", false, 0)));
        check(BodyLength::Sized(0), b"GET /", Ok((b"", true, 5)));
        check(BodyLength::None, b"GET /", Ok((b"", true, 5)));
        check(BodyLength::Sized(u64::MAX), b"abc", Ok((b"abc", false, 0)));
    }

    #[test]
    fn a_chunked_body_ends_behind_its_trailer() {
        let chunked = |input: &str, data: &str, done, left| {
            check(BodyLength::Chunked, input.as_bytes(), Ok((data.as_bytes(), done, left)));
        };
        chunked("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\nGET", "hello world", true, 3);
        chunked("0\r\n\r\n", "", true, 0);
        chunked(
            "00A;ext=\"v;\u{e9}\";b\r\n0123456789\r\n0;last\r\nX: y\r\nZ:\r\n\r\n.",
            "0123456789",
            true,
            1,
        );
        chunked("a\r\n0123456789\r\n0\r\n\r", "0123456789", false, 0);
        chunked("5\r\nhel", "hel", false, 0);
    }

    #[test]
    fn odd_chunks_are_refused() {
        for input in [
            "\r\n",
            "5\nhello\r\n0\r\n\r\n",
            "5\r\nhello0\r\n\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "5\r\nhellox",
            "g\r\n",
            "+5\r\nhello",
            "-1\r\n",
            "0x5\r\n",
            " 5\r\n",
            "5 \r\nhello",
            "10000000000000000\r\n",
            ";x\r\n",
            "5;a\rb\r\n",
            "5;a\0\r\n",
            "5\r\rhello",
            "0\r\nX: y\n\r\n",
            "0\r\nX\0: y\r\n\r\n",
            "0\r\n\rX",
            "0\r\n\n",
        ] {
            check(BodyLength::Chunked, input.as_bytes(), Err(Refusal::MalformedBody));
        }
    }

    #[test]
    fn lines_of_framing_are_limited() {
        let line = |bytes: usize| format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(bytes));
        let decode = |input: &str| decode(BodyLength::Chunked, input.as_bytes(), 0, 100);
        assert!(decode(&line(limits::CHUNK_LINE_BYTES - 4)).unwrap().1);
        assert_eq!(decode(&line(limits::CHUNK_LINE_BYTES)), Err(Refusal::MalformedBody));
        let trailer = |bytes: usize| format!("0\r\n{}\r\n", "X: y\r\n".repeat(bytes / 6));
        assert!(decode(&trailer(limits::TRAILER_BYTES - 12)).unwrap().1);
        assert_eq!(decode(&trailer(limits::TRAILER_BYTES + 12)), Err(Refusal::MalformedBody));
        let many = "1\r\nx\r\n".repeat(limits::CHUNK_LINE_BYTES);
        assert_eq!(decode(&many).unwrap().0.len(), limits::CHUNK_LINE_BYTES);
    }

    #[test]
    fn data_may_be_read_past_the_decoder() {
        let mut decoder = Decoder::new(BodyLength::Chunked);
        decoder.decode(b"5\r\nhe", &mut [0; 9]).unwrap();
        assert_eq!(decoder.data(), Some(3));
        decoder.advance(3);
        assert_eq!(decoder.data(), None);
        decoder.decode(b"\r\n0\r\n\r\n", &mut []).unwrap();
        assert!(decoder.is_done());
    }
}
