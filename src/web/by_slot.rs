//! `/upload/<id>/<name>` and `/external/...`: files that are sent by slot (XEP-0363), and how they are served.
//!
//! The address alone gives access to the file: no credentials are needed, and logs show only its beginning.
//! Clients show the text of a refusal to people, so it is one sentence, unless JSON is asked for.

use std::io::Write;
use std::sync::Arc;

use super::Web;
use super::download::{described, range_of};
use crate::http::conditional::{self, Validators};
use crate::http::{BodyLength, Exchange, Response, target};
use crate::limits;
use crate::metrics;
use crate::model::{Method, Refusal, UploadId, Uploaded};
use crate::remote::NotFetched;
use crate::store::storage_error;
use crate::uploads::{ForeignPath, Proof, PutTarget};

/// The methods of these addresses.
const METHODS: &str = "GET, HEAD, PUT, OPTIONS";
/// Bytes of a body that are moved at a time.
const STEP: usize = limits::FORM_STEP;

/// Where a request leads that is about a file of a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SlotRoute {
    address: Address,
    action: SlotAction,
}

/// The address of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Address {
    /// A slot of ours: its id and the file name.
    Slot(UploadId, String),
    /// A foreign slot.
    Foreign(ForeignPath),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SlotAction {
    Get,
    Put,
    Options,
}

/// The route of a request to `/upload` or `/external`; `None` for all others.
pub(super) fn route(method: Method, path: &str) -> Option<Result<SlotRoute, Refusal>> {
    let start = path.split('/').nth(1)?;
    if !matches!(start, "upload" | "external") && !start.contains('%') {
        return None;
    }
    let segments = target::segments(path).ok()?;
    let (first, rest) = segments.split_first()?;
    let address = match (first.as_str(), rest) {
        ("upload", [id, name]) if !name.is_empty() => {
            id.parse().ok().map(|id| Address::Slot(id, name.clone()))
        }
        ("external", rest) if !rest.is_empty() => ForeignPath::of(rest).map(Address::Foreign),
        ("upload" | "external", _) => None,
        _ => return None,
    };
    let action = match method {
        Method::Get | Method::Head => SlotAction::Get,
        Method::Put => SlotAction::Put,
        Method::Options => SlotAction::Options,
        Method::Post | Method::Delete | Method::Other => return Some(Err(Refusal::MethodNotAllowed)),
    };
    Some(address.map(|address| SlotRoute { address, action }).ok_or(Refusal::NoSuchUpload))
}

/// The form of a path in the access log: only the first characters of the address of such a file.
pub(super) fn shown_path(path: &str) -> Option<String> {
    let (first, rest) = path.strip_prefix('/')?.split_once('/')?;
    let first = target::segments(first).ok()?.pop()?;
    if !matches!(first.as_str(), "upload" | "external") {
        return None;
    }
    // The path is ASCII, and shown as it came.
    let end = rest.len().min(limits::UPLOAD_ID_SHOWN);
    Some(format!("/{first}/{}...", rest.get(..end).unwrap_or_default()))
}

impl Web {
    /// Serves a request to `/upload` or `/external`. Called on a turn; what may wait leaves it.
    pub(super) fn by_slot(self: Arc<Self>, mut exchange: Exchange, route: Result<SlotRoute, Refusal>) {
        let SlotRoute { address, action } = match route {
            Ok(route) => route,
            Err(refusal) => return self.answer_by_slot(exchange, Err(refusal)),
        };
        match action {
            SlotAction::Options => {
                exchange.note_route(metrics::Route::Options);
                self.answer_by_slot(exchange, Ok(Response::new(200).header("Allow", METHODS)));
            }
            SlotAction::Get => {
                exchange.note_route(metrics::Route::GetUpload);
                self.get_by_slot(exchange, address);
            }
            SlotAction::Put => {
                exchange.note_route(metrics::Route::PutUpload);
                exchange.leave_turn(move |mut exchange| {
                    let response = self.put(&mut exchange, &address);
                    self.answer_by_slot(exchange, response);
                });
            }
        }
    }

    /// On the turn if the row is in memory, and its file is still there.
    fn get_by_slot(self: Arc<Self>, exchange: Exchange, address: Address) {
        let id = match address {
            Address::Slot(id, _) => id,
            Address::Foreign(path) => path.id(),
        };
        if let Some(uploaded) = self.uploads.known(&id) {
            let response = self.uploaded(&exchange, &uploaded);
            if !matches!(response, Err(Refusal::NoSuchUpload)) {
                return self.answer_by_slot(exchange, response);
            }
        }
        exchange.leave_turn(move |exchange| {
            let response = self.found(&exchange, &id);
            self.answer_by_slot(exchange, response);
        });
    }

    fn found(&self, exchange: &Exchange, id: &UploadId) -> Result<Response, Refusal> {
        let uploaded = self.uploads.find(id)?.ok_or(Refusal::NoSuchUpload)?;
        let response = self.uploaded(exchange, &uploaded);
        if matches!(response, Err(Refusal::NoSuchUpload)) {
            log::error!(
                "the upload {id} has a row but no file {}, unless it was deleted a moment ago",
                uploaded.file
            );
        }
        response
    }

    /// Takes the file of a PUT.
    fn put(&self, exchange: &mut Exchange, address: &Address) -> Result<Response, Refusal> {
        if exchange.header("Content-Range").is_some() {
            return Err(Refusal::PartOfFile);
        }
        let length = match exchange.body_length() {
            BodyLength::None => Some(0),
            BodyLength::Sized(length) => Some(length),
            BodyLength::Chunked => None,
        };
        let parameter = |name| target::parameter(exchange.query(), name);
        let (slot, v2, v) = (parameter("slot"), parameter("v2"), parameter("v"));
        let put_target = match address {
            Address::Slot(id, name) => PutTarget::Slot { id, name, token: slot.as_deref() },
            Address::Foreign(path) => {
                let (authorization, content_type) =
                    (exchange.header("Authorization"), exchange.header("Content-Type"));
                let proof = Proof { authorization, v2: v2.as_deref(), v: v.as_deref(), content_type };
                PutTarget::Foreign { path, proof }
            }
        };
        let mut put = self.uploads.begin(put_target, length)?;
        if let Some(owner) = put.owner().cloned() {
            exchange.note_user(&owner);
        }
        receive(exchange, &mut put)?;
        self.uploads.commit(put)?;
        Ok(Response::new(201))
    }

    /// The bytes of an upload, whole or in part (RFC 9110 sections 13 and 14).
    fn uploaded(&self, exchange: &Exchange, uploaded: &Uploaded) -> Result<Response, Refusal> {
        let validators = Validators::new(&uploaded.sha256, uploaded.created);
        let outcome = conditional::evaluate(&validators, |name| exchange.headers(name), exchange.method());
        let response = match outcome {
            conditional::Outcome::PreconditionFailed => return Err(Refusal::PreconditionFailed),
            conditional::Outcome::NotModified => Response::new(304),
            conditional::Outcome::Proceed => {
                let stored = self.uploads.bytes(uploaded)?.ok_or(Refusal::NoSuchUpload)?;
                match range_of(exchange, &validators, stored) {
                    Ok(response) => described(response, &uploaded.mime_type, Some(&uploaded.file_name)),
                    Err(range) => {
                        return Ok(
                            refused(exchange, Refusal::RangeNotSatisfiable).header("Content-Range", range)
                        );
                    }
                }
            }
        };
        let max_age = self.uploads.max_age(uploaded).as_secs();
        Ok(response
            .header("ETag", validators.etag().to_owned())
            .header("Last-Modified", validators.last_modified())
            .header("Cache-Control", format!("public, max-age={max_age}")))
    }

    /// Sends the response, with what every response here has. The addresses hold no secrets of a browser's, so every page
    /// may use them.
    fn answer_by_slot(self: &Arc<Self>, exchange: Exchange, answer: Result<Response, Refusal>) {
        let is_preflight = exchange.method() == Method::Options;
        let response = answer.unwrap_or_else(|refusal| refused(&exchange, refusal));
        let response = response.header("Access-Control-Allow-Origin", "*");
        let response = if is_preflight {
            response
                .header("Access-Control-Allow-Methods", METHODS)
                .header("Access-Control-Allow-Headers", "Authorization, Content-Type, Range, If-Range")
                .header("Access-Control-Max-Age", "86400")
        } else {
            response.header(
                "Access-Control-Expose-Headers",
                "Content-Length, Content-Disposition, Content-Range, ETag, Retry-After",
            )
        };
        let web = Arc::clone(self);
        exchange.answer_or(response, move |exchange, error| {
            let refusal = match error {
                NotFetched::Missing => {
                    let path = shown_path(exchange.path()).unwrap_or_default();
                    log::error!("{path} has a row but no file, unless it was deleted a moment ago");
                    Refusal::NoSuchUpload
                }
                other => other.into(),
            };
            web.answer_by_slot(exchange, Err(refusal));
        });
    }
}

/// Reads the body to its end.
fn receive(exchange: &mut Exchange, put: &mut impl Write) -> Result<(), Refusal> {
    let mut body = exchange.body()?;
    let mut step = vec![0; STEP];
    loop {
        let count = std::io::Read::read(&mut body, &mut step)
            .map_err(|error| Refusal::in_io(&error).unwrap_or(Refusal::BodyCut))?;
        if count == 0 {
            return Ok(());
        }
        put.write_all(&step[..count]).map_err(|error| {
            Refusal::in_io(&error).unwrap_or_else(|| storage_error("can't store an upload", error).into())
        })?;
    }
}

/// A refusal as clients of slots read it.
fn refused(exchange: &Exchange, refusal: Refusal) -> Response {
    let row = refusal.row();
    if exchange.headers("Accept").iter().any(|list| asks_for_json(list)) {
        return with_allow(Response::refusal(refusal), refusal);
    }
    let text = row.detail.as_bytes().to_vec();
    let mut response = Response::bytes(row.status, "text/plain; charset=utf-8", text)
        .header("X-Content-Type-Options", "nosniff")
        .header("Cache-Control", "no-store");
    if let Some(seconds) = row.retry_after {
        response = response.header("Retry-After", seconds.to_string());
    }
    with_allow(response, refusal)
}

fn with_allow(response: Response, refusal: Refusal) -> Response {
    if refusal == Refusal::MethodNotAllowed { response.header("Allow", METHODS) } else { response }
}

/// Whether a list of media ranges names JSON (RFC 9110 section 12.5.1); `*/*` does not.
fn asks_for_json(accept: &str) -> bool {
    accept.split(',').any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        let refused = parts.any(|part| matches!(part.strip_prefix("q="), Some(q) if q.parse() == Ok(0.0)));
        matches!(name.as_str(), "application/json" | "application/problem+json") && !refused
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "aaaaaaaaaaaaaaaaaaaaaaaa";

    #[test]
    fn the_routes() {
        let leads = |method, path: &str| match route(method, path) {
            None => "elsewhere".to_owned(),
            Some(Err(refusal)) => refusal.row().status.to_string(),
            Some(Ok(SlotRoute { address: Address::Slot(id, name), action })) => {
                format!("{action:?} {} {name}", id.as_str())
            }
            Some(Ok(SlotRoute { address: Address::Foreign(path), action })) => {
                format!("{action:?} {}", path.as_str())
            }
        };
        use Method::{Get, Head, Options, Post, Put};
        for (method, path, expected) in [
            (Get, format!("/upload/{ID}/a%20b.jpg"), format!("Get {ID} a b.jpg")),
            (Head, format!("/%75pload/{ID}/a"), format!("Get {ID} a")),
            (Put, format!("/upload/{ID}/a%2Fb"), format!("Put {ID} a/b")),
            (Options, format!("/upload/{ID}/a"), format!("Options {ID} a")),
            (Post, format!("/upload/{ID}/a"), "405".into()),
            (Get, format!("/upload/{ID}"), "404".into()),
            (Get, format!("/upload/{ID}/"), "404".into()),
            (Get, format!("/upload/{ID}/a/b"), "404".into()),
            (Get, "/upload/short/a".into(), "404".into()),
            (Get, "/upload".into(), "404".into()),
            (Put, "/external/slot/a%20b".into(), "Put slot/a b".into()),
            (Get, "/external/a/b/c".into(), "Get a/b/c".into()),
            (Get, "/external/a".into(), "Get a".into()),
            (Get, "/external/a/".into(), "404".into()),
            (Get, "/external/a%0a/b".into(), "404".into()),
            (Get, "/external/".into(), "404".into()),
            (Get, "/Upload/x/y".into(), "elsewhere".into()),
            (Get, "/a@b/upload".into(), "elsewhere".into()),
            (Get, "/upload/%ff/x".into(), "elsewhere".into()),
        ] {
            assert_eq!(leads(method, &path), expected, "{method:?} {path}");
        }
    }

    #[test]
    fn logs_show_the_beginning_of_an_address() {
        for (path, expected) in [
            (format!("/upload/{ID}/secret.jpg"), Some("/upload/aaaaaa...")),
            (format!("/%75pload/{ID}/x"), Some("/upload/aaaaaa...")),
            ("/external/ab/cdefgh".into(), Some("/external/ab/cde...")),
            ("/upload/a".into(), Some("/upload/a...")),
            ("/upload/%ffffffffffff".into(), Some("/upload/%fffff...")),
            ("/upload".into(), None),
            ("/a@b/upload".into(), None),
            ("*".into(), None),
        ] {
            assert_eq!(shown_path(&path).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn json_is_sent_only_to_those_who_ask_for_it() {
        for (accept, expected) in [
            ("application/json", true),
            ("text/html, application/Problem+JSON;q=0.5", true),
            ("*/*", false),
            ("text/plain", false),
            ("application/json;q=0", false),
            ("application/json; q=0.000, */*", false),
        ] {
            assert_eq!(asks_for_json(accept), expected, "{accept}");
        }
    }
}
