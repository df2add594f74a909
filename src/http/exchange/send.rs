//! Sending an answer: its head and as much of its body as goes with it, and the rest.

use std::io;
use std::time::SystemTime;

use crate::http::connection::pace::Pace;
use crate::http::connection::transfer::Transfer;
use crate::http::connection::{Buffer, Connection};
use crate::http::message::head::{Head, Version};
use crate::http::message::response::{Payload, Response};
use crate::http::runtime::edge::Edge;
use crate::limits;
use crate::model::{Method, Refusal};

/// Bytes of a file that is copied to go out in one write with the head. Of a larger one the kernel sends all but its
/// beginning without a copy.
const COPIED_BYTES: u64 = 16 * 1024;
/// Bytes of that beginning: a page, to know that the file can be read before anything is said.
const BEGINNING_BYTES: u64 = 4096;
/// Bytes that heads have room for before more is asked of the allocator.
const HEAD_ROOM: usize = 1024;

/// How an answer is sent, and what became of it.
pub struct Delivery {
    version: Version,
    head_only: bool,
    /// Whether the connection is kept afterwards.
    pub keep: bool,
    pub status: u16,
    /// Bytes of the head.
    head: u64,
    /// Bytes sent, or left to be sent, head and body.
    sent: u64,
}

impl Delivery {
    pub fn new(head: &Head, keep: bool) -> Self {
        let head_only = head.method() == Method::Head;
        Self { version: head.version(), head_only, keep, status: 0, head: 0, sent: 0 }
    }

    /// Bytes of the body that were sent, or are left to be.
    pub fn body(&self) -> u64 {
        self.sent.saturating_sub(self.head)
    }

    /// Sends a large answer, but leaves a small one to be sent.
    pub fn send(&mut self, connection: &mut Connection, response: &Response, edge: &Edge) -> io::Result<()> {
        let most = first_bytes(response, connection.stream.is_tls());
        let first = self.first_write(response, most).or_else(|error| {
            // Nothing is sent yet, so the client can still be told.
            log::error!("an answer's file can't be read: {error}");
            self.keep = false;
            self.first_write(&Response::refusal(Refusal::Internal), limits::DOWNLOAD_BYTES)
        })?;
        if self.head_only || self.status != response.status() || response.length() <= most {
            self.sent = first.len() as u64;
            connection.output = Buffer::from(first);
            return Ok(());
        }
        let written = connection.stream.write_more(&first)?;
        self.sent = written as u64;
        let left = first.get(written..).unwrap_or_default();
        if response.length() <= limits::DOWNLOAD_BYTES {
            return self.leave(connection, left, response, most);
        }
        let mut pace = Pace::new(edge.settings.pace);
        let mut transfer = Transfer { stream: &mut connection.stream, pace: &mut pace, halt: &edge.halt };
        transfer.write_all(left, &mut self.sent)?;
        match response.payload() {
            Payload::Bytes(bytes) => {
                let rest = usize::try_from(most).ok().and_then(|most| bytes.get(most..));
                transfer.write_all(rest.unwrap_or_default(), &mut self.sent)
            }
            Payload::File(file, range) => {
                transfer.send_file(file, range.start + most..range.end, &mut self.sent)
            }
        }
    }

    /// Sends what the client takes at once of an answer that needs no seat, and leaves the rest of it. `left` is left
    /// of the first write, and the body was read up to `from`.
    fn leave(
        &mut self,
        connection: &mut Connection,
        left: &[u8],
        response: &Response,
        mut from: u64,
    ) -> io::Result<()> {
        if let (true, Payload::File(file, range)) = (left.is_empty(), response.payload()) {
            let mut offset = range.start + from;
            let count = usize::try_from(range.end - offset).map_err(io::Error::other)?;
            match connection.stream.send_file(file, &mut offset, count) {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                _ => from = offset - range.start,
            }
        }
        let mut output = left.to_vec();
        response.read(from..response.length(), &mut output)?;
        connection.output = Buffer::from(output);
        self.sent = self.head + response.length();
        Ok(())
    }

    /// The head and the first bytes of the body, at most so many.
    fn first_write(&mut self, response: &Response, most: u64) -> io::Result<Vec<u8>> {
        let bytes = if self.head_only { 0 } else { response.length().min(most) };
        let mut first = Vec::with_capacity(HEAD_ROOM + usize::try_from(bytes).map_err(io::Error::other)?);
        response.write_head(self.connection_field(), SystemTime::now(), &mut first);
        let head = first.len();
        response.read(0..bytes, &mut first)?;
        (self.status, self.head) = (response.status(), head as u64);
        Ok(first)
    }

    /// The value of Connection, where the version does not say it already.
    fn connection_field(&self) -> Option<&'static str> {
        match (self.keep, self.version) {
            (false, _) => Some("close"),
            (true, Version::Http10) => Some("keep-alive"),
            (true, Version::Http11) => None,
        }
    }
}

/// Bytes of the body that go out in one write with the head.
fn first_bytes(response: &Response, tls: bool) -> u64 {
    match response.payload() {
        Payload::File(..) if !tls && response.length() > COPIED_BYTES => BEGINNING_BYTES,
        _ => limits::DOWNLOAD_BYTES,
    }
}
