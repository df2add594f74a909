//! Large objects go to the store in parts. An upload in parts that fails is aborted: otherwise the store keeps, and
//! charges for, parts that no list of objects shows. An upload that can't be aborted now is remembered, and a sweep aborts
//! it later.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::PoisonError;
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rusty_s3::Method;
use sha2::{Digest, Sha256};

use super::client::{Client, stored_tag};
use super::failure::Failure;
use super::list::date;
use super::request::{FilePart, Payload, Request, Sender};
use crate::error::{Error, Result};
use crate::limits;

/// An upload in parts that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// The key of the object to be.
    pub key: String,
    /// Its id in the store.
    pub id: String,
    /// When it began, by the clock of the store.
    pub begun: SystemTime,
}

/// An upload in parts of this process, while it runs.
struct RunningUpload<'a> {
    sender: &'a Sender,
    id: String,
}

impl<'a> RunningUpload<'a> {
    fn new(sender: &'a Sender, id: &str) -> Self {
        sender.running.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned());
        Self { sender, id: id.to_owned() }
    }
}

impl Drop for RunningUpload<'_> {
    fn drop(&mut self) {
        self.sender.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

/// The place in a list of uploads after which a page begins: a key and the id of an upload.
type Marker = (String, String);

/// A part that the store has.
pub(super) struct Stored {
    number: u64,
    tag: String,
    checksum: Option<String>,
}

impl Client {
    pub(super) fn put_parts(&self, key: &str, file: &File, size: u64) -> Result<()> {
        self.in_parts(key, size, self.0.part_bytes, true, |id, number, range| {
            self.put_part(key, id, number, file, range)
        })
    }

    pub(super) fn copy_parts(&self, from: &str, to: &str, size: u64) -> Result<()> {
        self.in_parts(to, size, limits::S3_COPY_BYTES, false, |id, number, range| {
            self.copy_part(from, to, id, number, &range)
        })
    }

    /// Makes an object of parts. Each has at least `least` bytes, except the last one.
    pub(super) fn in_parts(
        &self,
        key: &str,
        size: u64,
        least: u64,
        checksums: bool,
        store: impl Fn(&str, u64, Range<u64>) -> Result<Stored>,
    ) -> Result<()> {
        let id = self.begin_parts(key, checksums)?;
        let _running = RunningUpload::new(&self.0, &id);
        let length = size.div_ceil(limits::S3_PARTS).max(least);
        let stored: Result<Vec<_>> = (0..size.div_ceil(length))
            .map(|part| store(&id, part + 1, part * length..((part + 1) * length).min(size)))
            .collect();
        let done = stored.and_then(|parts| self.complete(key, &id, size, &parts));
        done.inspect_err(|_| self.abort_or_remember(key, &id))
    }

    pub(crate) fn begin_parts(&self, key: &str, checksums: bool) -> Result<String> {
        self.repeat(&format!("can't begin to store {key} in parts"), |_| {
            let mut request = Request::new(Method::Post, key).query("uploads", "");
            if checksums {
                request = request.signed("x-amz-checksum-algorithm", "SHA256");
            }
            let reply = self.0.ask(&request, Payload::Bytes(&[]), "InitiateMultipartUploadResult")?;
            match reply.fields.get("UploadId") {
                "" => Err(Failure::Wrong("it names no id of the upload".to_owned())),
                id => Ok(id.to_owned()),
            }
        })
    }

    fn put_part(&self, key: &str, id: &str, number: u64, file: &File, range: Range<u64>) -> Result<Stored> {
        let checksum = checksum(file, range.clone())
            .map_err(|cause| Error::io("can't read the bytes to store", cause))?;
        let tag = self.repeat(&format!("can't store part {number} of {key}"), |_| {
            let request = Request::new(Method::Put, key)
                .query("partNumber", number.to_string())
                .query("uploadId", id)
                .signed("x-amz-checksum-sha256", checksum.as_str());
            let response = self.0.send(&request, Payload::Part(FilePart::new(file, range.clone())))?;
            let tag = stored_tag(&response, &checksum)?;
            self.0.read(response, limits::S3_REFUSAL_BYTES)?;
            Ok(tag)
        })?;
        Ok(Stored { number, tag, checksum: Some(checksum) })
    }

    fn copy_part(&self, from: &str, to: &str, id: &str, number: u64, range: &Range<u64>) -> Result<Stored> {
        let tag = self.repeat(&format!("can't copy part {number} of {from} to {to}"), |_| {
            let request = Request::new(Method::Put, to)
                .query("partNumber", number.to_string())
                .query("uploadId", id)
                .signed("x-amz-copy-source", self.source(from))
                .signed("x-amz-copy-source-range", format!("bytes={}-{}", range.start, range.end - 1))
                .long();
            let reply = self.0.ask(&request, Payload::Bytes(&[]), "CopyPartResult")?;
            match reply.fields.get("ETag") {
                "" => Err(Failure::Wrong("its response has no ETag".to_owned())),
                tag => Ok(tag.to_owned()),
            }
        })?;
        Ok(Stored { number, tag, checksum: None })
    }

    fn complete(&self, key: &str, id: &str, size: u64, parts: &[Stored]) -> Result<()> {
        let body = completion(parts);
        self.repeat(&format!("can't put the parts of {key} together"), |first| {
            let request = Request::new(Method::Post, key).query("uploadId", id).long();
            match self.0.ask(&request, Payload::Bytes(body.as_bytes()), "CompleteMultipartUploadResult") {
                Ok(reply) if reply.fields.get("ETag").is_empty() => {
                    Err(Failure::Wrong("its response has no ETag".to_owned()))
                }
                // An earlier attempt succeeded, and its response was lost.
                Err(failure) if !first && failure.is("NoSuchUpload") => match self.head_once(key)? {
                    Some(object) if object.size == size => Ok(()),
                    _ => Err(failure),
                },
                result => result.map(drop),
            }
        })
    }

    fn abort_or_remember(&self, key: &str, id: &str) {
        let unfinished = Unfinished { key: key.to_owned(), id: id.to_owned(), begun: SystemTime::now() };
        if let Err(error) = self.abort(&unfinished) {
            log::warn!("{error}; a sweep tries again");
            self.remember_failed([unfinished]);
        }
    }

    /// Aborts an upload. It is no error if the upload has ended meanwhile.
    pub fn abort(&self, unfinished: &Unfinished) -> Result<()> {
        let Unfinished { key, id, .. } = unfinished;
        self.repeat(&format!("can't abort the upload of {key}"), |_| {
            let request = Request::new(Method::Delete, key).query("uploadId", id);
            match self.0.send(&request, Payload::Nothing) {
                Err(failure) if failure.is("NoSuchUpload") => Ok(()),
                result => result.map(drop),
            }
        })
    }

    /// Gives the uploads of this process that failed and could not be aborted, and forgets them.
    pub fn take_failed(&self) -> Vec<Unfinished> {
        std::mem::take(&mut *self.0.failed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Remembers uploads that must be aborted, [`limits::S3_FAILED`] at most. The list of unfinished uploads has the others.
    pub fn remember_failed(&self, failed: impl IntoIterator<Item = Unfinished>) {
        let mut remembered = self.0.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let room = limits::S3_FAILED.saturating_sub(remembered.len());
        remembered.extend(failed.into_iter().take(room));
    }

    /// The uploads in parts that have not ended, by all programs, except those that run in this process.
    pub fn unfinished(&self) -> Result<Vec<Unfinished>> {
        let (mut all, mut marker) = (Vec::<Unfinished>::new(), None);
        loop {
            let (page, next) = self.repeat("can't list the uploads that have not ended", |_| {
                self.unfinished_page(marker.as_ref())
            })?;
            all.extend(page);
            match next {
                Some(next) if marker.as_ref() != Some(&next) => marker = Some(next),
                _ => break,
            }
        }
        let running = self.0.running.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|upload| !running.contains(&upload.id));
        Ok(all)
    }

    /// A page of the list, and the place of the next page if there is one.
    fn unfinished_page(
        &self,
        marker: Option<&Marker>,
    ) -> std::result::Result<(Vec<Unfinished>, Option<Marker>), Failure> {
        let mut request = Request::new(Method::Get, "").query("uploads", "");
        if let Some((key, id)) = marker {
            request = request.query("key-marker", key.as_str()).query("upload-id-marker", id.as_str());
        }
        let reply = self.0.ask(&request, Payload::Nothing, "ListMultipartUploadsResult")?;
        let uploads = reply.records.iter().filter(|(name, _)| name == "Upload");
        let read = uploads.map(|(_, fields)| {
            let begun = date(fields.get("Initiated"))
                .ok_or_else(|| Failure::Wrong("its list has an upload without a date".to_owned()))?;
            Ok(Unfinished { key: fields.get("Key").to_owned(), id: fields.get("UploadId").to_owned(), begun })
        });
        let read = read.collect::<std::result::Result<Vec<_>, Failure>>()?;
        let next = |name| reply.fields.get(name).to_owned();
        let more = reply.fields.get("IsTruncated") == "true";
        Ok((read, more.then(|| (next("NextKeyMarker"), next("NextUploadIdMarker")))))
    }
}

/// The document that lists the parts of an object.
fn completion(parts: &[Stored]) -> String {
    let part = |Stored { number, tag, checksum }: &Stored| {
        let checksum = checksum.as_ref().map(|sum| format!("<ChecksumSHA256>{sum}</ChecksumSHA256>"));
        let (tag, checksum) = (escaped(tag), checksum.unwrap_or_default());
        format!("<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag>{checksum}</Part>")
    };
    let parts: String = parts.iter().map(part).collect();
    format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The SHA-256 of a part of a file, in base64.
fn checksum(file: &File, range: Range<u64>) -> io::Result<String> {
    let (mut part, mut hash) = (FilePart::new(file, range), Sha256::new());
    let mut buffer = vec![0; limits::S3_BUFFER_BYTES];
    loop {
        match part.read(&mut buffer)? {
            0 => return Ok(STANDARD.encode(hash.finalize())),
            read => hash.update(&buffer[..read]),
        }
    }
}
