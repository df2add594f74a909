//! The objects of a bucket: put, get, head, remove, copy. Each call ends in bounded time, whatever the store does.

use std::fmt;
use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rusty_s3::Method;
use sha2::{Digest, Sha256};
use ureq::Body;
use ureq::http::Response;

use super::failure::Failure;
use super::request::{FilePart, Payload, Request, Sender, field, length};
use super::settings::Settings;
use crate::error::{Error, Kind, Result};
use crate::{hex, limits};

/// The characters of a key that stand for themselves in a URL; the slash separates its parts.
const KEY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// The client of one bucket; cheap to clone.
///
/// Errors have [`Kind::Unavailable`], or [`Kind::Full`] where the store has no room, and say what the operator can do. They
/// hold no secret.
#[derive(Clone)]
pub struct Client(pub(super) Arc<Sender>);

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.settings())
    }
}

/// An object of the bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its key.
    pub key: String,
    /// Its size in bytes.
    pub size: u64,
    /// When it was stored, by the clock of the store.
    pub modified: SystemTime,
}

impl Client {
    /// A client with these settings; it does not connect yet. [`Kind::Config`] if the endpoint is not the URL of a server.
    pub fn new(settings: &Settings) -> Result<Self> {
        Ok(Self(Arc::new(Sender::new(settings)?)))
    }

    /// A client that stores in smaller parts, for tests.
    #[cfg(test)]
    pub(crate) fn with_parts_of(settings: &Settings, part_bytes: u64) -> Self {
        let mut sender = Sender::new(settings).unwrap();
        sender.part_bytes = part_bytes;
        Self(Arc::new(sender))
    }

    /// A client that demands so many bytes per second in both directions, for tests.
    #[cfg(test)]
    pub(super) fn with_rate(settings: &Settings, rate: u64) -> Self {
        let mut sender = Sender::new(settings).unwrap();
        (sender.send_rate, sender.receive_rate) = (rate, rate);
        Self(Arc::new(sender))
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// Whether requests that change the bucket are sent. Others are always sent.
    pub fn may_change(&self) -> bool {
        self.0.may_change.load(Ordering::Acquire)
    }

    /// Sends requests that change the bucket from now on, or refuses them as [`Kind::Unavailable`].
    pub fn set_may_change(&self, may_change: bool) {
        self.0.may_change.store(may_change, Ordering::Release);
    }

    /// Stores the first `size` bytes of a file; `sha256` is their hash in hexadecimal. Replaces an object of this key. After
    /// an error the object is removed in case it was stored: no other attempt uses this key.
    pub fn put(&self, key: &str, file: &File, size: u64, sha256: &str) -> Result<()> {
        self.put_lasting(key, file, size, sha256).inspect_err(|_| self.remove_once(key))
    }

    /// The same for a key under which others may store the same bytes. An error removes nothing: the object is either the
    /// complete new one or the old one.
    pub fn put_lasting(&self, key: &str, file: &File, size: u64, sha256: &str) -> Result<()> {
        if size <= self.0.part_bytes {
            self.put_whole(key, || Payload::Part(FilePart::new(file, 0..size)), sha256)
        } else {
            self.put_parts(key, file, size)
        }
    }

    /// The size in bytes up to which a file is stored by one request.
    pub fn part_bytes(&self) -> u64 {
        self.0.part_bytes
    }

    /// The same as [`Client::put`] for bytes that memory holds, [`Client::part_bytes`] at most.
    pub fn put_held(&self, key: &str, bytes: &[u8], sha256: &str) -> Result<()> {
        self.put_whole(key, || Payload::Bytes(bytes), sha256).inspect_err(|_| self.remove_once(key))
    }

    fn put_whole<'a>(&self, key: &str, payload: impl Fn() -> Payload<'a>, sha256: &str) -> Result<()> {
        let checksum = STANDARD.encode(hex::decode(sha256).unwrap_or_default());
        self.repeat(&format!("can't store {key}"), |_| self.put_once(key, payload(), &checksum))
    }

    /// Stores a few bytes; replaces an object of this key.
    pub fn put_bytes(&self, key: &str, bytes: &[u8]) -> Result<()> {
        let checksum = STANDARD.encode(Sha256::digest(bytes));
        self.repeat(&format!("can't store {key}"), |_| self.put_once(key, Payload::Bytes(bytes), &checksum))
    }

    /// The store compares the bytes with the checksum. A response without an `ETag` does not come from a store.
    fn put_once(&self, key: &str, payload: Payload<'_>, checksum: &str) -> std::result::Result<(), Failure> {
        let request = Request::new(Method::Put, key).signed("x-amz-checksum-sha256", checksum);
        let response = self.0.send(&request, payload)?;
        stored_tag(&response, checksum)?;
        self.0.read(response, limits::S3_REFUSAL_BYTES).map(drop)
    }

    /// Writes a range of an object of this size to `sink`; `false` if there is no object of this key. Fails if the object has
    /// another size; some bytes may be written then.
    pub fn get(&self, key: &str, range: Range<u64>, size: u64, sink: &mut dyn Write) -> Result<bool> {
        let (length, mut count) = (range.end.saturating_sub(range.start), 0);
        self.repeat(&format!("can't read {key}"), |_| {
            if length == 0 {
                return Ok(true);
            }
            // The bytes that came before the connection broke are written already.
            let response = match self.get_once(key, range.start + count..range.end, size) {
                Err(failure) if failure.is("NoSuchKey") => return Ok(false),
                result => result?,
            };
            self.0.copy(response, length, sink, &mut count)?;
            if count == length { Ok(true) } else { Err(shorter()) }
        })
    }

    fn get_once(
        &self,
        key: &str,
        range: Range<u64>,
        size: u64,
    ) -> std::result::Result<Response<Body>, Failure> {
        let (first, last) = (range.start, range.end - 1);
        let is_whole = first == 0 && range.end == size;
        let mut request = Request::new(Method::Get, key).expecting(range.end - first);
        if !is_whole {
            request = request.field("range", format!("bytes={first}-{last}"));
        }
        let response = self.0.send(&request, Payload::Nothing)?;
        let is_part = match response.status().as_u16() {
            206 => field(&response, "content-range") == Some(format!("bytes {first}-{last}/{size}").as_str()),
            _ => is_whole,
        };
        if is_part && length(&response) == Some(range.end - first) { Ok(response) } else { Err(shorter()) }
    }

    /// Reads a small object; `None` if there is no object of this key.
    pub fn read(&self, key: &str) -> Result<Option<Vec<u8>>> {
        self.repeat(&format!("can't read {key}"), |_| {
            let response = match self.0.send(&Request::new(Method::Get, key), Payload::Nothing) {
                Err(failure) if failure.is("NoSuchKey") => return Ok(None),
                result => result?,
            };
            self.0.read(response, limits::S3_SMALL_BYTES).map(Some)
        })
    }

    /// The size and date of an object; `None` if there is no object of this key.
    pub fn head(&self, key: &str) -> Result<Option<Object>> {
        self.repeat(&format!("can't look for {key}"), |_| self.head_once(key))
    }

    pub(super) fn head_once(&self, key: &str) -> std::result::Result<Option<Object>, Failure> {
        let response = match self.0.send(&Request::new(Method::Head, key), Payload::Nothing) {
            // A response to HEAD has no body that tells whether the object or the bucket is missing.
            Err(Failure::Refused(refused)) if refused.status == 404 => return self.is_missing(key),
            result => result?,
        };
        let size =
            length(&response).ok_or_else(|| Failure::Wrong("its response has no length".to_owned()))?;
        let modified =
            field(&response, "last-modified").and_then(|date| httpdate::parse_http_date(date).ok());
        let modified = modified.ok_or_else(|| Failure::Wrong("its response has no date".to_owned()))?;
        Ok(Some(Object { key: key.to_owned(), size, modified }))
    }

    fn is_missing(&self, key: &str) -> std::result::Result<Option<Object>, Failure> {
        let request = Request::new(Method::Get, key).field("range", "bytes=0-0");
        match self.0.send(&request, Payload::Nothing) {
            Err(failure) if failure.is("NoSuchKey") => Ok(None),
            Err(failure) => Err(failure),
            Ok(_) => Err(Failure::Wrong("it answers HEAD with 404 and GET with the object".to_owned())),
        }
    }

    /// Removes an object. It is no error if the object is missing.
    pub fn remove(&self, key: &str) -> Result<()> {
        self.repeat(&format!("can't remove {key}"), |_| self.try_remove(key))
    }

    fn try_remove(&self, key: &str) -> std::result::Result<(), Failure> {
        match self.0.send(&Request::new(Method::Delete, key), Payload::Nothing) {
            Err(failure) if failure.is("NoSuchKey") => Ok(()),
            result => self.0.read(result?, limits::S3_REFUSAL_BYTES).map(drop),
        }
    }

    /// Tries to remove the object of a failed attempt. An object that stays has no row, and a walk of the store finds it.
    fn remove_once(&self, key: &str) {
        if let Err(failure) = self.try_remove(key) {
            log::debug!("{}", failure.into_error(&format!("can't remove {key}"), self.settings()));
        }
    }

    /// Stores a small object, reads it and removes it; fails if one of these fails.
    pub fn try_out(&self) -> Result<()> {
        let number = getrandom::u64()
            .map_err(|cause| Error::new(Kind::Failure, format!("no random number: {cause}")))?;
        let (key, bytes) = (format!(".check-{number:016x}"), b"stored by a check; may be removed");
        let stored = self.put_bytes(&key, bytes).and_then(|()| self.read(&key));
        let removed = self.remove(&key);
        if stored?.as_deref() != Some(bytes.as_slice()) {
            let wrong = Failure::Wrong("it gives other bytes than were stored".to_owned());
            return Err(wrong.into_error("can't try it out", self.settings()));
        }
        removed
    }

    /// Copies an object within the bucket; `false` if there is no object of the key `from`.
    pub fn copy(&self, from: &str, to: &str) -> Result<bool> {
        let Some(Object { size, .. }) = self.head(from)? else { return Ok(false) };
        if size > limits::S3_COPY_BYTES {
            self.copy_parts(from, to, size)?;
            return Ok(true);
        }
        let request = || Request::new(Method::Put, to).signed("x-amz-copy-source", self.source(from)).long();
        self.repeat(&format!("can't copy {from} to {to}"), |_| {
            match self.0.ask(&request(), Payload::Bytes(&[]), "CopyObjectResult") {
                Err(failure) if failure.is("NoSuchKey") => Ok(false),
                result => result.map(|_| true),
            }
        })
    }

    /// The value of `x-amz-copy-source` for this key.
    pub(super) fn source(&self, key: &str) -> String {
        format!("/{}/{}", self.settings().bucket, utf8_percent_encode(key, KEY))
    }

    /// A URL at which anybody gets this object for this time, [`limits::S3_PRESIGNED`] at most. `response` sets header fields
    /// of the store's response by query parameters such as `response-content-type`.
    pub fn presigned(&self, key: &str, lifetime: Duration, response: &[(&'static str, &str)]) -> String {
        let request = Request::new(Method::Get, key);
        let request = response.iter().fold(request, |request, (name, value)| request.query(name, *value));
        self.0.address(&request, lifetime.min(limits::S3_PRESIGNED).as_secs().max(1))
    }

    /// Makes attempts until one succeeds, one fails for good, or there were too many. The argument of `attempt` says
    /// whether it is the first one.
    pub(super) fn repeat<T>(
        &self,
        doing: &str,
        mut attempt: impl FnMut(bool) -> std::result::Result<T, Failure>,
    ) -> Result<T> {
        let (begun, mut pause) = (Instant::now(), limits::S3_PAUSE);
        for number in 1.. {
            match attempt(number == 1) {
                Ok(done) => return Ok(done),
                Err(failure)
                    if failure.may_pass()
                        && number < limits::S3_ATTEMPTS
                        && begun.elapsed() < limits::S3_RETRY_TIME =>
                {
                    log::debug!("attempt {number}: {}", failure.into_error(doing, self.settings()));
                    thread::sleep(pause);
                    pause *= 2;
                }
                Err(failure) => return Err(failure.into_error(doing, self.settings())),
            }
        }
        Err(Error::new(Kind::Failure, "no attempt was made"))
    }
}

/// The `ETag` of the response to a request that stores bytes. A checksum in the response must be `checksum`.
pub(super) fn stored_tag(response: &Response<Body>, checksum: &str) -> std::result::Result<String, Failure> {
    if field(response, "x-amz-checksum-sha256").is_some_and(|told| told != checksum) {
        return Err(Failure::Wrong("it has stored other bytes than it was sent".to_owned()));
    }
    let tag = field(response, "etag").filter(|tag| !tag.is_empty());
    tag.map(str::to_owned).ok_or_else(|| {
        Failure::Wrong("its response has no ETag, so nothing proves that the bytes are stored".to_owned())
    })
}

fn shorter() -> Failure {
    Failure::Wrong("it sends other bytes, or fewer, than were asked for".to_owned())
}
