//! The bytes of a stream that were fed and not parsed yet, and how many of them the parser may read. Without I/O.

use std::io::{self, Read};

use super::scan::{ScanEnd, StanzaScanner};
use crate::limits;

/// The bytes that were fed and not parsed yet. The parser loses bytes when it is interrupted within a character, so it
/// may read whole characters only; after the header, whole stanzas.
#[derive(Default)]
pub(super) struct ByteWindow {
    bytes: Vec<u8>,
    /// Bytes that the parser has read, or that it need not read.
    taken: usize,
    /// Bytes that the parser may read.
    released: usize,
    /// Bytes that are whole characters.
    whole: usize,
    /// Whether the bytes after the whole characters are not UTF-8.
    invalid: bool,
    /// Bytes of the header so far.
    header: usize,
    /// `None` until the header has ended. It has seen the bytes up to `released`, and more of an incomplete stanza.
    scan: Option<StanzaScanner>,
    /// Bytes that the scanner has seen.
    scanned: usize,
}

impl ByteWindow {
    /// Takes more bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.taken);
        for mark in [&mut self.released, &mut self.whole, &mut self.scanned] {
            *mark = mark.saturating_sub(self.taken);
        }
        self.taken = 0;
        self.bytes.extend_from_slice(bytes);
        match str::from_utf8(&self.bytes[self.whole..]) {
            Ok(text) => self.whole += text.len(),
            Err(error) => {
                self.whole += error.valid_up_to();
                self.invalid = error.error_len().is_some();
            }
        }
    }

    /// The header has ended: from here on the parser gets whole stanzas.
    pub fn end_header(&mut self) {
        self.scan = Some(StanzaScanner::default());
        (self.released, self.scanned) = (self.taken, self.taken);
    }

    /// Whether the last byte is after the header and outside of stanzas.
    pub fn is_between(&self) -> bool {
        self.scan.as_ref().is_some_and(StanzaScanner::is_between)
    }

    /// Whether no bytes are left to read.
    pub fn is_drained(&self) -> bool {
        self.taken == self.bytes.len()
    }

    /// Bytes that are held.
    #[cfg(test)]
    pub fn held(&self) -> usize {
        self.bytes.len()
    }

    /// Finds the end of the next stanza, or of the stream, and skips bytes that the parser need not read.
    pub fn next_stanza(&mut self) -> Result<bool, &'static str> {
        let Some(scan) = &mut self.scan else { return Ok(false) };
        for &byte in &self.bytes[self.scanned..self.whole] {
            self.scanned += 1;
            match scan.step(byte)? {
                Some(ScanEnd::Stanza | ScanEnd::Stream) => {
                    self.released = self.scanned;
                    return Ok(true);
                }
                Some(ScanEnd::Oversized) => {
                    log::debug!("a stanza beyond the limits was dropped");
                    self.taken = self.scanned;
                }
                None if scan.is_discarding() => self.taken = self.scanned,
                None => {}
            }
        }
        if self.invalid { Err("it is not UTF-8") } else { Ok(false) }
    }
}

impl Read for ByteWindow {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let in_header = self.scan.is_none();
        let end = if in_header { self.whole } else { self.released };
        let ready = self.bytes.get(self.taken..end).unwrap_or_default();
        if ready.is_empty() {
            let invalid = in_header && self.invalid;
            return Err(if invalid {
                io::Error::other("it is not UTF-8")
            } else {
                io::ErrorKind::WouldBlock.into()
            });
        }
        let left = if in_header { limits::STREAM_HEADER_BYTES - self.header } else { ready.len() };
        if left == 0 {
            return Err(io::Error::other("its header is too large"));
        }
        let count = ready.len().min(buffer.len()).min(left);
        buffer[..count].copy_from_slice(&ready[..count]);
        self.taken += count;
        self.header += if in_header { count } else { 0 };
        Ok(count)
    }
}
