//! `slot`: files by XEP-0363, to any server.

use std::path::{Path, PathBuf};

use media_server::limits;
use media_server::media_type;
use media_server::model::{Purpose, cut_file_name};
use media_server::xmpp::{Element, ns};
use serde_json::{Value, json};

use crate::account::Account;
use crate::address::{PlainHttp, check_url};
use crate::body::FileBody;
use crate::config::Config;
use crate::console::{Console, Progress};
use crate::exit::{Exit, Failure, Result};
use crate::files::{self, Upload};
use crate::http::{Http, Payload, Request};
use crate::login;
use crate::put::tell_as_they_come;
use crate::retry::{Attempt, attempts};
use crate::service::{self, UploadService};
use crate::site::judged;

/// The header fields that a slot may ask for (XEP-0363 section 6); their values are the server's.
const FIELDS: [&str; 3] = ["Authorization", "Cookie", "Expires"];

/// The type of a file whose name tells none.
const BYTES: &str = "application/octet-stream";

/// Where a file goes, and where it is then.
#[derive(Debug, PartialEq, Eq)]
struct Slot {
    put: String,
    get: String,
    fields: Vec<(&'static str, String)>,
}

/// Uploads all files of these paths, each by a slot of its own. A failure is reported, and the others go
/// on.
pub fn upload(
    config: &Config,
    console: &Console,
    http: &Http,
    purpose: Option<Purpose>,
    paths: &[PathBuf],
) -> Result<Exit> {
    let found = files::find(paths);
    let uploads: Vec<&Upload> = found.iter().flatten().collect();
    if uploads.is_empty() {
        return tell_as_they_come(console, &found, 1, |_| unreachable!("there is no file"));
    }
    let account = Account::start(login::log_in(config, console, http)?)?;
    let domain = account.jid().bare().domain().to_owned();
    let service = service::find_upload(&account, config.service.as_ref(), &domain)?;
    console.detail(format!("the upload service is {}", service.jid));
    check_purpose(&service, purpose)?;
    let bytes = uploads.iter().map(|upload| upload.size).sum();
    let progress = console.progress(&uploads[0].name, uploads.len(), Some(bytes));
    let way = Way { account: &account, service: &service, http, console, purpose, progress: &progress };
    tell_as_they_come(console, &found, limits::CLIENT_UPLOADS, |upload| way.send(upload))
}

fn check_purpose(service: &UploadService, purpose: Option<Purpose>) -> Result<()> {
    match purpose.map(Purpose::name).filter(|name| !service.purposes.contains(*name)) {
        Some(name) => {
            let text = format!("{} does not keep files for the purpose {name}", service.jid);
            Err(Failure::new(Exit::NoService, text))
        }
        None => Ok(()),
    }
}

/// The parameters of all files.
struct Way<'a> {
    account: &'a Account,
    service: &'a UploadService,
    http: &'a Http,
    console: &'a Console,
    purpose: Option<Purpose>,
    progress: &'a Progress<'a>,
}

impl Way<'_> {
    fn send(&self, upload: &Upload) -> Result<Value> {
        let what = upload.path.display().to_string();
        // The same slot again: the server knows the bytes if the 201 was lost.
        let mut slot: Option<Slot> = None;
        let get = attempts(&what, self.console, || {
            self.attempt(upload, &mut slot).unwrap_or_else(Attempt::Failed)
        })?;
        self.progress.file_done();
        Ok(json!({"url": get, "file": what}))
    }

    fn attempt(&self, upload: &Upload, slot: &mut Option<Slot>) -> Result<Attempt<String>> {
        let mut body = FileBody::plain(&upload.path, self.progress)?;
        if let Some(max) = self.service.max_size.filter(|max| body.size() > *max) {
            let text = format!("it is too large: {} takes {max} bytes at most", self.service.jid);
            return Err(Failure::new(Exit::Refused, text));
        }
        let media_type = type_of(&upload.path);
        let slot = match slot {
            Some(slot) => slot,
            None => slot.insert(self.ask(&upload.name, body.size(), media_type)?),
        };
        let mut fields = slot.fields.clone();
        fields.push(("Content-Type", media_type.to_owned()));
        let request = Request { method: "PUT", url: slot.put.clone(), fields };
        let length = body.length();
        let response = self.http.send(&request, Payload::Reader(&mut body, length));
        if let Some(failure) = body.failure() {
            return Err(failure);
        }
        Ok(match judged(response) {
            Attempt::Done(_) => {
                body.keep();
                Attempt::Done(slot.get.clone())
            }
            Attempt::Again(failure, after) => Attempt::Again(failure, after),
            Attempt::Unreachable(failure) => Attempt::Unreachable(failure),
            Attempt::Failed(failure) => Attempt::Failed(failure),
        })
    }

    fn ask(&self, name: &str, size: u64, media_type: &str) -> Result<Slot> {
        let mut request = Element::new("request", ns::UPLOAD)
            .with("filename", cut_file_name(name))
            .with("size", size.to_string())
            .with("content-type", media_type);
        if let Some(purpose) = self.purpose {
            request.push(Element::new(purpose.name(), ns::UPLOAD_PURPOSE));
        }
        slot_of(&self.account.ask_one("get", &self.service.jid, request)?, self.account.plain_http())
    }
}

fn type_of(path: &Path) -> &'static str {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    media_type::type_for(&extension.to_ascii_lowercase()).unwrap_or(BYTES)
}

/// The slot of a reply, or the reason why there is none.
fn slot_of(reply: &Element, plain: PlainHttp) -> Result<Slot> {
    if reply.attribute("type") != Some("result") {
        return Err(refusal(reply));
    }
    let slot = reply.child("slot", ns::UPLOAD);
    let url = |name: &str| {
        let url = slot?.child(name, ns::UPLOAD)?.attribute("url")?;
        Some(url.to_owned())
    };
    let (Some(put), Some(get)) = (url("put"), url("get")) else {
        return Err(Failure::new(Exit::NoService, "the reply holds no slot"));
    };
    for url in [&put, &get] {
        check_url(url, plain).map_err(|text| Failure::new(Exit::Tls, text))?;
    }
    let headers = slot.and_then(|slot| slot.child("put", ns::UPLOAD)).into_iter().flat_map(Element::children);
    let fields = headers.filter(|child| child.is("header", ns::UPLOAD)).filter_map(|header| {
        let name = header.attribute("name")?;
        let name = FIELDS.into_iter().find(|known| known.eq_ignore_ascii_case(name))?;
        // "MUST strip newlines"; other control characters are stripped, too.
        let value: String = header.text().chars().filter(|c| !c.is_control()).collect();
        Some((name, value))
    });
    Ok(Slot { put, get, fields: fields.collect() })
}

/// The text that servers send for people, or the condition.
fn refusal(reply: &Element) -> Failure {
    let error = reply.child("error", ns::CLIENT);
    let children =
        || error.into_iter().flat_map(Element::children).filter(|child| child.namespace() == ns::STANZAS);
    let text = children().find(|child| child.name() == "text").map(|text| text.text().trim().to_owned());
    let condition = children().map(Element::name).find(|name| *name != "text").unwrap_or("no reason given");
    let retry = error.and_then(|error| error.child("retry", ns::UPLOAD)?.attribute("stamp"));
    let exit = match condition {
        "forbidden"
        | "not-allowed"
        | "not-acceptable"
        | "not-authorized"
        | "resource-constraint"
        | "bad-request" => Exit::Refused,
        _ => Exit::NoService,
    };
    let told = text.filter(|text| !text.is_empty()).unwrap_or_else(|| "the server gives no slot".to_owned());
    let retry = retry.map(|stamp| format!("; try again after {stamp}")).unwrap_or_default();
    Failure::new(exit, format!("{} ({condition}){retry}", told.trim_end_matches('.')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(put: &str, get: &str, headers: &[(&str, &str)]) -> Element {
        let url = |name: &str, url: &str| Element::new(name, ns::UPLOAD).with("url", url);
        let mut put = url("put", put);
        for (name, value) in headers {
            put.push(Element::new("header", ns::UPLOAD).with("name", *name).with_text(*value));
        }
        let slot = Element::new("slot", ns::UPLOAD).with_child(put).with_child(url("get", get));
        Element::new("iq", ns::CLIENT).with("type", "result").with_child(slot)
    }

    fn slot_of(reply: &Element) -> Result<Slot> {
        super::slot_of(reply, PlainHttp::Never)
    }

    #[test]
    fn a_slot_has_two_addresses_and_three_header_fields_at_most() {
        let headers = [("authorization", "Bearer a\r\nX: y"), ("Host", "evil"), ("Expires", "1")];
        let slot = slot_of(&reply("https://a/put?x", "https://a/get", &headers)).unwrap();
        let fields = vec![("Authorization", "Bearer aX: y".to_owned()), ("Expires", "1".to_owned())];
        let expected = Slot { put: "https://a/put?x".to_owned(), get: "https://a/get".to_owned(), fields };
        assert_eq!(slot, expected);
    }

    #[test]
    fn an_address_without_tls_is_refused() {
        for (put, get) in [
            ("http://a/put", "https://a/get"),
            ("https://a/put", "http://a/get"),
            ("https://a/put", "x"),
            ("http://127.0.0.1:8500/v1/agent/leave", "https://a/get"),
        ] {
            assert_eq!(slot_of(&reply(put, get, &[])).unwrap_err().exit, Exit::Tls, "{put} {get}");
        }
        let local = reply("http://127.0.0.1:8080/put", "http://127.0.0.1:8080/get", &[]);
        assert!(super::slot_of(&local, PlainHttp::Loopback).is_ok(), "the XMPP server is on this machine");
        let empty = Element::new("iq", ns::CLIENT).with("type", "result");
        assert_eq!(slot_of(&empty).unwrap_err().exit, Exit::NoService);
    }

    #[test]
    fn a_refusal_has_the_text_for_people() {
        let error = |condition: &str, text: Option<&str>| {
            let mut error =
                Element::new("error", ns::CLIENT).with_child(Element::new(condition, ns::STANZAS));
            if let Some(text) = text {
                error.push(Element::new("text", ns::STANZAS).with_text(text));
            }
            error
        };
        let reply = |error| Element::new("iq", ns::CLIENT).with("type", "error").with_child(error);
        for (error, exit, text) in [
            (error("forbidden", Some("Not you.")), Exit::Refused, "Not you (forbidden)"),
            (error("not-acceptable", None), Exit::Refused, "the server gives no slot (not-acceptable)"),
            (
                error("remote-server-timeout", None),
                Exit::NoService,
                "the server gives no slot (remote-server-timeout)",
            ),
            (
                error("resource-constraint", Some("Full."))
                    .with_child(Element::new("retry", ns::UPLOAD).with("stamp", "2026-01-01T00:00:00Z")),
                Exit::Refused,
                "Full (resource-constraint); try again after 2026-01-01T00:00:00Z",
            ),
        ] {
            assert_eq!(slot_of(&reply(error)).unwrap_err(), Failure::new(exit, text));
        }
    }

    #[test]
    fn a_type_is_found_by_the_name() {
        assert_eq!(type_of(Path::new("a/photo.JPG")), "image/jpeg");
        assert_eq!(type_of(Path::new("photo")), BYTES);
    }
}
