//! Bytes that the socket has not taken yet.

use std::io::{self, Write};

use crate::error::{Error, Kind, Result};
use crate::limits;

/// A queue of bytes with a limit. A write that TLS refused is repeated with the same bytes, and maybe more, as OpenSSL
/// demands.
#[derive(Default)]
pub(super) struct SendBuffer {
    bytes: Vec<u8>,
    sent: usize,
}

impl SendBuffer {
    /// Adds a text. Fails if it does not fit because the server reads too little.
    pub fn push(&mut self, text: &str) -> Result<()> {
        if self.bytes.len() - self.sent + text.len() > limits::XMPP_OUTBOUND_BYTES {
            return Err(Error::new(Kind::Unavailable, "the XMPP server accepts no more stanzas"));
        }
        self.bytes.drain(..self.sent);
        self.sent = 0;
        self.bytes.extend_from_slice(text.as_bytes());
        Ok(())
    }

    /// Whether nothing is unsent.
    pub fn is_empty(&self) -> bool {
        self.sent == self.bytes.len()
    }

    /// Whether so much is unsent that replies should be dropped.
    pub fn is_crowded(&self) -> bool {
        self.bytes.len() - self.sent > limits::XMPP_ANSWER_BYTES
    }

    /// Writes until nothing is unsent or the socket has no room.
    pub fn flush(&mut self, socket: &mut impl Write) -> Result<()> {
        while !self.is_empty() {
            match socket.write(&self.bytes[self.sent..]) {
                Ok(0) => return Err(lost(io::ErrorKind::WriteZero.into())),
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(lost(error)),
            }
        }
        self.bytes.clear();
        self.sent = 0;
        Ok(())
    }
}

/// The error of a broken connection.
pub(super) fn lost(error: io::Error) -> Error {
    Error::caused(Kind::Unavailable, "the connection to the XMPP server broke", error)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A socket with room for a few bytes at a time.
    struct Narrow(Vec<u8>, usize);

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.1 == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let count = bytes.len().min(self.1);
            self.1 -= count;
            self.0.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn bytes_wait_in_order() {
        let (mut buffer, mut socket) = (SendBuffer::default(), Narrow(Vec::new(), 0));
        for text in ["one ", "two ", "three"] {
            buffer.push(text).unwrap();
            socket.1 = 3;
            buffer.flush(&mut socket).unwrap();
            assert!(!buffer.is_empty());
        }
        socket.1 = 100;
        buffer.flush(&mut socket).unwrap();
        assert_eq!(socket.0, b"one two three");
        assert!(buffer.is_empty());
    }

    #[test]
    fn a_full_buffer_is_an_error() {
        let mut buffer = SendBuffer::default();
        let text = "x".repeat(limits::XMPP_OUTBOUND_BYTES / 4);
        for _ in 0..4 {
            buffer.push(&text).unwrap();
        }
        assert!(buffer.push("x").is_err());
        buffer.flush(&mut Narrow(Vec::new(), 1)).unwrap();
        assert!(buffer.push("x").is_ok());
    }
}
