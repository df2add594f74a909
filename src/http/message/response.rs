//! Responses of a service, and the heads that are written for them.

use std::borrow::Cow;
use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use httpdate::HttpDate;
use serde::Serialize;

use crate::clock::Timestamp;
use crate::model::Refusal;
use crate::remote::{FileBlock, OnFetched, RemoteFile, RemotePart};

/// The value of `Server`, as the original sent it.
const SERVER: &str = "buddycloud media server";
/// Fields that the edge alone writes.
const OURS: &[&str] =
    &["connection", "content-length", "date", "server", "transfer-encoding", "trailer", "upgrade"];

/// A response.
#[derive(Debug)]
pub struct Response {
    status: u16,
    fields: Vec<(&'static str, Cow<'static, str>)>,
    payload: Payload,
}

/// The readers of a response to a request that was sent with a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confinement {
    /// Only those who send that secret; no shared cache keeps them, and no page gets them by what a browser adds by itself.
    Holder,
    /// Besides, only pages of the same site: the browser itself has added the secret.
    SameSite,
}

/// The body behind the head.
#[derive(Debug)]
pub(in crate::http) enum Payload {
    Bytes(Vec<u8>),
    File(File, Range<u64>),
    Remote(RemotePart),
}

impl Response {
    /// A response of this status without fields and without a body.
    pub fn new(status: u16) -> Self {
        Self { status, fields: Vec::new(), payload: Payload::Bytes(Vec::new()) }
    }

    /// Adds a field. A field whose value holds control characters is dropped and logged: with them a client could write
    /// fields, or whole responses, of its own. A field that only the edge may write is dropped and logged, too.
    pub fn header(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        let value = value.into();
        if value.bytes().any(|byte| byte != b'\t' && byte.is_ascii_control()) || !is_free(name) {
            log::warn!(
                "the field {name} of a response is not sent: it can't have this value, or only the server may write it"
            );
        } else {
            self.fields.push((name, value));
        }
        self
    }

    /// Takes away all fields of this name, in any case.
    pub fn without(mut self, name: &str) -> Self {
        self.fields.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self
    }

    /// Puts this field in the place of all of its name.
    pub fn set(self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        self.without(name).header(name, value)
    }

    /// The same response for those alone who hold what the request was sent with.
    pub(in crate::http) fn confined(self, confinement: Confinement) -> Self {
        let cache = if self.status >= 400 { "no-store" } else { "private, no-cache" };
        let response = self
            .set("Cache-Control", cache)
            .vary(&["Authorization", "Cookie", "Origin"])
            .without("Access-Control-Allow-Credentials")
            // The address may hold a ticket, and a proxy may log the field Referer.
            .set("Referrer-Policy", "no-referrer");
        match confinement {
            Confinement::Holder => response,
            Confinement::SameSite => response.set("Cross-Origin-Resource-Policy", "same-site"),
        }
    }

    /// Says in one field Vary (RFC 9110 section 12.5.5) that the response depends on these fields of the request, too.
    pub fn vary(self, names: &[&str]) -> Self {
        let mut all: Vec<&str> = names.to_vec();
        let lists = self.fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case("Vary"));
        for name in lists.flat_map(|(_, list)| list.split(',')).map(str::trim) {
            if !all.iter().any(|known| known.eq_ignore_ascii_case(name)) {
                all.push(name);
            }
        }
        let all = all.join(", ");
        self.set("Vary", all)
    }

    /// A response with this body.
    pub fn bytes(status: u16, content_type: &'static str, body: Vec<u8>) -> Self {
        let mut response = Self::new(status).header("Content-Type", content_type);
        response.payload = Payload::Bytes(body);
        response
    }

    /// A response with a value as JSON.
    pub fn json(status: u16, body: &impl Serialize) -> Self {
        match serde_json::to_vec(body) {
            Ok(mut body) => {
                // A client that reads slowly keeps it for long; it may have twice the room that it needs.
                body.shrink_to_fit();
                Self::bytes(status, "application/json; charset=UTF-8", body)
            }
            Err(error) => {
                log::error!("a response can't be written as JSON: {error}");
                Self::refusal(Refusal::Internal)
            }
        }
    }

    /// A response with a part of a file, which must not shrink; the caller adds `Content-Type`.
    pub fn file(status: u16, file: File, range: Range<u64>) -> Self {
        let mut response = Self::new(status);
        response.payload = Payload::File(file, range);
        response
    }

    /// A response with a part of a file that lies in another place; the caller adds `Content-Type`.
    pub fn remote(status: u16, file: Arc<dyn RemoteFile>, range: Range<u64>) -> Self {
        let mut response = Self::new(status);
        response.payload = Payload::Remote(RemotePart::new(file, range));
        response
    }

    /// A refusal as a problem (RFC 9457).
    pub fn refusal(refusal: Refusal) -> Self {
        Self::refusal_of(refusal, "the media server")
    }

    /// The same, by the server whose component has this address.
    pub fn refusal_of(refusal: Refusal, component: &str) -> Self {
        let row = refusal.row();
        let detail = row.detail.replace("{component}", component);
        let problem = serde_json::json!({ "title": row.title, "status": row.status, "detail": detail });
        let body = problem.to_string().into_bytes();
        let mut response =
            Self::bytes(row.status, "application/problem+json", body).header("Cache-Control", "no-store");
        if let Some(seconds) = row.retry_after {
            response = response.header("Retry-After", seconds.to_string());
        }
        if row.status == 401 {
            response = response.header("WWW-Authenticate", "Basic realm=\"xmpp\"");
        }
        response
    }

    /// The same with another status.
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// The status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The body, without the head that was made for it.
    pub(in crate::http) fn into_payload(self) -> Payload {
        self.payload
    }

    /// A function that fetches the beginning of the body, if that is not local.
    pub(in crate::http) fn must_fetch(&mut self) -> Option<impl FnOnce(OnFetched) + Send + use<>> {
        let has_body = self.has_body();
        let Payload::Remote(part) = &mut self.payload else { return None };
        (has_body && part.left() > 0 && part.open().is_none()).then(|| part.fetch())
    }

    /// The beginning of the body was fetched.
    pub(in crate::http) fn give(&mut self, block: FileBlock) {
        if let Payload::Remote(part) = &mut self.payload {
            part.give(block);
        }
    }

    /// The whole response that closes the connection, if its body is in memory.
    pub(in crate::http) fn into_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write_head(Some("close"), SystemTime::now(), &mut bytes);
        if let Payload::Bytes(body) = &self.payload {
            bytes.extend_from_slice(body);
        }
        bytes
    }

    /// Bytes of the body; 0 for a status without a body (RFC 9110 section 6.4.1).
    pub(in crate::http) fn length(&self) -> u64 {
        match &self.payload {
            _ if !self.has_body() => 0,
            Payload::Bytes(bytes) => bytes.len() as u64,
            Payload::File(_, range) => range.end.saturating_sub(range.start),
            Payload::Remote(part) => part.left(),
        }
    }

    /// Appends the head to `out`; `connection` is the value of the field Connection, if it is needed.
    pub(in crate::http) fn write_head(&self, connection: Option<&str>, now: SystemTime, out: &mut Vec<u8>) {
        let (status, reason, date) = (self.status, reason(self.status), date(now));
        // Writing to memory can't fail.
        let _ = write!(out, "HTTP/1.1 {status} {reason}\r\nDate: {date}\r\nServer: {SERVER}\r\n");
        for (name, value) in &self.fields {
            for part in [name, ": ", value, "\r\n"] {
                out.extend_from_slice(part.as_bytes());
            }
        }
        if self.has_body() {
            let _ = write!(out, "Content-Length: {}\r\n", self.length());
        }
        if let Some(connection) = connection {
            let _ = write!(out, "Connection: {connection}\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }

    fn has_body(&self) -> bool {
        !matches!(self.status, 100..=199 | 204 | 304)
    }
}

/// The date of a response; a clock that is before 1970 or behind 9999 has none of its own.
fn date(now: SystemTime) -> HttpDate {
    HttpDate::from(Timestamp::from(now).to_http_seconds())
}

fn is_free(name: &str) -> bool {
    !OURS.iter().any(|ours| name.eq_ignore_ascii_case(ours))
}

/// The reason phrase of a status (RFC 9110 section 15); clients ignore it, people at a terminal read it.
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn head(response: &Response, connection: Option<&str>) -> String {
        let mut out = Vec::new();
        response.write_head(connection, UNIX_EPOCH, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_head_has_server_date_and_length() {
        let response = Response::bytes(200, "text/plain", b"hello".to_vec()).header("ETag", "\"1\"");
        assert_eq!(
            head(&response, Some("close")),
            "HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nServer: buddycloud media server\r\n\
             Content-Type: text/plain\r\nETag: \"1\"\r\nContent-Length: 5\r\nConnection: close\r\n\r\n"
        );
        assert!(head(&Response::new(200), None).contains("Content-Length: 0\r\n"));
    }

    #[test]
    fn a_clock_that_is_wrong_gives_a_date_all_the_same() {
        let year = Duration::from_secs(366 * 24 * 3600);
        for (now, expected) in [
            (UNIX_EPOCH - 4 * year, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (UNIX_EPOCH + 9000 * year, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            let mut out = Vec::new();
            Response::new(200).write_head(None, now, &mut out);
            assert!(String::from_utf8(out).unwrap().contains(&format!("Date: {expected}\r\n")));
        }
    }

    #[test]
    fn a_confined_response_is_for_the_holder_of_the_secret() {
        let open = |status| {
            Response::new(status)
                .header("Cache-Control", "public, max-age=86400")
                .header("Vary", "Accept, origin")
                .header("vary", "Cookie")
                .header("Access-Control-Allow-Credentials", "true")
                .header("Access-Control-Allow-Origin", "https://example.com")
                .header("Cross-Origin-Resource-Policy", "cross-origin")
        };
        for (status, cache) in [
            (200, "private, no-cache"),
            (206, "private, no-cache"),
            (304, "private, no-cache"),
            (403, "no-store"),
        ] {
            for (confinement, policy) in
                [(Confinement::Holder, "cross-origin"), (Confinement::SameSite, "same-site")]
            {
                let head = head(&open(status).confined(confinement), None);
                let fields: Vec<_> = head.lines().skip(3).filter(|line| !line.is_empty()).collect();
                let (cache, policy) =
                    (format!("Cache-Control: {cache}"), format!("Cross-Origin-Resource-Policy: {policy}"));
                for expected in [
                    cache.as_str(),
                    policy.as_str(),
                    "Vary: Authorization, Cookie, Origin, Accept",
                    "Access-Control-Allow-Origin: https://example.com",
                    "Referrer-Policy: no-referrer",
                ] {
                    assert!(fields.contains(&expected), "{expected}: {head}");
                }
                assert_eq!(fields.iter().filter(|line| !line.starts_with("Content-Length")).count(), 5);
            }
        }
    }

    #[test]
    fn statuses_without_a_body_have_no_length() {
        for status in [204, 304] {
            let response = Response::bytes(status, "text/plain", b"hello".to_vec());
            assert!(!head(&response, None).contains("Content-Length") && response.length() == 0);
        }
    }

    #[test]
    fn values_with_control_characters_are_dropped() {
        for value in ["a\r\nSet-Cookie: b", "a\nb", "a\rb", "a\0b", "a\x7fb"] {
            let response = Response::new(200).header("X-Value", value);
            assert_eq!(head(&response, None), head(&Response::new(200), None), "{value:?}");
        }
        assert!(
            head(&Response::new(200).header("X-Value", "\u{e9}\tb"), None).contains("X-Value: \u{e9}\tb\r\n")
        );
    }

    #[test]
    fn the_edges_own_fields_cannot_be_written() {
        let response =
            Response::new(200).header("Content-Length", "7").header("transfer-encoding", "chunked");
        assert_eq!(head(&response, None), head(&Response::new(200), None));
    }

    #[test]
    fn json_has_the_type_that_clients_know() {
        let response = Response::json(201, &["a"]);
        assert!(head(&response, None).contains("Content-Type: application/json; charset=UTF-8\r\n"));
        assert!(matches!(response.into_payload(), Payload::Bytes(body) if body == b"[\"a\"]"));
    }

    #[test]
    fn every_refusal_is_a_problem_and_not_cached() {
        for &refusal in Refusal::ALL {
            let response = Response::refusal(refusal);
            let head = head(&response, None);
            assert!(!head.contains(&format!("{} \r\n", refusal.row().status)), "no reason for {refusal}");
            assert!(head.contains("Content-Type: application/problem+json\r\nCache-Control: no-store\r\n"));
            let retry = refusal.row().retry_after.map(|seconds| format!("Retry-After: {seconds}\r\n"));
            assert!(retry.is_none_or(|retry| head.contains(&retry)), "{refusal}");
            let asks = head.contains("WWW-Authenticate: Basic realm=\"xmpp\"\r\n");
            assert_eq!(asks, response.status() == 401, "{refusal}");
        }
        let response = Response::refusal(Refusal::TooLarge);
        let Payload::Bytes(body) = response.into_payload() else { panic!("no bytes") };
        let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((&problem["status"], &problem["title"]), (&413.into(), &"Too large".into()));
    }
}
