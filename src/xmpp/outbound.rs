//! Bytes that wait for the socket.

use std::io::{self, Write};

use crate::error::{Error, Kind, Result};
use crate::limits;

/// A queue of bytes with a cap. What was offered to TLS and not taken is offered again from the same
/// byte on, and never less of it, as OpenSSL asks.
#[derive(Default)]
pub(super) struct Outbound {
    bytes: Vec<u8>,
    sent: usize,
}

impl Outbound {
    /// Adds a text. A server that reads so little that it does not fit breaks the link.
    pub fn push(&mut self, text: &str) -> Result<()> {
        if self.bytes.len() - self.sent + text.len() > limits::XMPP_OUTBOUND_BYTES {
            return Err(Error::new(Kind::Unavailable, "the XMPP server takes no more stanzas"));
        }
        self.bytes.drain(..self.sent);
        self.sent = 0;
        self.bytes.extend_from_slice(text.as_bytes());
        Ok(())
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.sent == self.bytes.len()
    }

    /// Whether so much waits that only what we have to say ourselves should be added.
    pub fn is_crowded(&self) -> bool {
        self.bytes.len() - self.sent > limits::XMPP_ANSWER_BYTES
    }

    /// Writes until nothing is left or the socket has no room.
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

/// The connection broke.
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
        let (mut outbound, mut socket) = (Outbound::default(), Narrow(Vec::new(), 0));
        for text in ["one ", "two ", "three"] {
            outbound.push(text).unwrap();
            socket.1 = 3;
            outbound.flush(&mut socket).unwrap();
            assert!(!outbound.is_empty());
        }
        socket.1 = 100;
        outbound.flush(&mut socket).unwrap();
        assert_eq!(socket.0, b"one two three");
        assert!(outbound.is_empty());
    }

    #[test]
    fn a_server_that_reads_nothing_breaks_the_link() {
        let mut outbound = Outbound::default();
        let text = "x".repeat(limits::XMPP_OUTBOUND_BYTES / 4);
        for _ in 0..4 {
            outbound.push(&text).unwrap();
        }
        assert!(outbound.push("x").is_err());
        outbound.flush(&mut Narrow(Vec::new(), 1)).unwrap();
        assert!(outbound.push("x").is_ok());
    }
}
