//! The beginning of a response: its head, and as much of its body as goes out with it in one write.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::SystemTime;

use crate::http::connection::sending::Rest;
use crate::http::message::head::Head;
use crate::http::message::response::{Confinement, Payload, Response};
use crate::http::message::version::Version;
use crate::model::{Method, Refusal};

/// Bytes of a body that is copied to go out in one write with the head.
const COPIED_BYTES: u64 = 16 * 1024;
/// Bytes that are read of a larger file before anything is said: a page, to know that it can be read.
const BEGINNING_BYTES: u64 = 4096;
/// Bytes that heads have room for before more is asked of the allocator.
const HEAD_ROOM: usize = 1024;

/// A response that is ready to be sent.
pub struct Outgoing {
    pub status: u16,
    /// Bytes of the head.
    pub head: u64,
    /// Whether the connection is kept afterwards.
    pub keep: bool,
    /// The head, and the beginning of the body.
    pub ready: Vec<u8>,
    /// The rest of the body.
    pub rest: Rest,
}

impl Outgoing {
    /// Makes the response to the request of this head ready, and confines it; it is a 500 if its file can't be read.
    pub fn new(head: &Head, confinement: Option<Confinement>, response: Response, keep: bool) -> Self {
        let confined = |response: Response| match confinement {
            Some(confinement) => response.confined(confinement),
            None => response,
        };
        Self::of(head, confined(response), keep).unwrap_or_else(|error| {
            // Nothing is sent yet, so the client can still be told.
            log::error!("a response's file can't be read: {error}");
            let refusal = confined(Response::refusal(Refusal::Internal));
            let (status, ready) = (refusal.status(), refusal.into_bytes());
            Self { status, head: 0, keep: false, ready, rest: Rest::Nothing }
        })
    }

    fn of(head: &Head, response: Response, keep: bool) -> io::Result<Self> {
        let (status, length) = (response.status(), response.length());
        let first = match length {
            _ if head.method() == Method::Head => 0,
            0..=COPIED_BYTES => length,
            _ => BEGINNING_BYTES,
        };
        let mut ready = Vec::with_capacity(HEAD_ROOM + usize::try_from(first).map_err(io::Error::other)?);
        response.write_head(connection_field(keep, head.version()), SystemTime::now(), &mut ready);
        let bytes = ready.len() as u64;
        let rest = match response.into_payload() {
            _ if first == 0 => Rest::Nothing,
            Payload::Bytes(body) if first == length => {
                ready.extend_from_slice(&body);
                Rest::Nothing
            }
            Payload::Bytes(body) => Rest::Bytes(body),
            Payload::File(file, range) => {
                read(&file, range.start, first, &mut ready)?;
                if first == length { Rest::Nothing } else { Rest::File(file, range.start + first..range.end) }
            }
            Payload::Remote(mut part) => {
                let (file, range) = part.open().ok_or(io::ErrorKind::NotFound)?;
                let first = first.min(range.end - range.start);
                read(file, range.start, first, &mut ready)?;
                part.advance(first);
                if part.left() == 0 { Rest::Nothing } else { Rest::Remote(part) }
            }
        };
        Ok(Self { status, head: bytes, keep, ready, rest })
    }
}

/// The value of Connection, where the version does not say it already.
fn connection_field(keep: bool, version: Version) -> Option<&'static str> {
    match (keep, version) {
        (false, _) => Some("close"),
        (true, Version::Http10) => Some("keep-alive"),
        (true, Version::Http11) => None,
    }
}

fn read(file: &File, at: u64, count: u64, into: &mut Vec<u8>) -> io::Result<()> {
    let start = into.len();
    into.resize(start + usize::try_from(count).map_err(io::Error::other)?, 0);
    file.read_exact_at(&mut into[start..], at)
}
