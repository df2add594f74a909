//! Requests for upload slots (XEP-0363 version 1.2.0): they are read here, and the replies are written. Pure functions.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::reply::StanzaError;
use crate::clock::Timestamp;
use crate::model::BareJid;
use crate::uploads::{Purpose, Slot, SlotRefusal, SlotRequest};
use crate::xmpp::{Element, ns};

/// Whether an IQ asks for a slot, however wrong it is.
pub(super) fn is_request(iq: &Element) -> bool {
    iq.child("request", ns::UPLOAD).is_some()
}

/// Reads the request in an IQ of this user. The error is for the user.
pub(super) fn read(iq: &Element, owner: BareJid) -> Result<SlotRequest, StanzaError> {
    let request = only_child(iq)?;
    if iq.attribute("type") != Some("get") {
        return Err(StanzaError::bad_request("A request for a slot must be an IQ of type get."));
    }
    let (purpose, expire_before) = purpose(request)?.unzip();
    Ok(SlotRequest {
        owner,
        name: request.attribute("filename").unwrap_or_default().to_owned(),
        size: size(request)?,
        content_type: request.attribute("content-type").map(str::to_owned),
        purpose,
        expire_before: expire_before.flatten(),
    })
}

/// RFC 6120 section 8.2.3: an IQ that asks has exactly one child.
fn only_child(iq: &Element) -> Result<&Element, StanzaError> {
    let mut children = iq.children();
    match (children.next(), children.next()) {
        (Some(child), None) => Ok(child),
        _ => Err(StanzaError::bad_request("An IQ must hold exactly one request.")),
    }
}

/// A number of bytes. One that no number can hold is larger than every limit.
fn size(request: &Element) -> Result<u64, StanzaError> {
    let text = request.attribute("size").unwrap_or_default();
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(size) if digits => Ok(size),
        Err(_) if digits => Ok(u64::MAX),
        _ => Err(StanzaError::bad_request("The size of the file must be a number of bytes.")),
    }
}

/// The purpose, and the date from which the file must be gone; none if no purpose is given.
fn purpose(request: &Element) -> Result<Option<(Purpose, Option<Timestamp>)>, StanzaError> {
    let mut given = request.children().filter(|child| child.namespace() == ns::UPLOAD_PURPOSE);
    let Some(element) = given.next() else { return Ok(None) };
    if given.next().is_some() {
        return Err(StanzaError::bad_request("An upload can have only one purpose."));
    }
    let purpose = Purpose::from_name(element.name());
    let purpose = purpose.ok_or_else(|| StanzaError::bad_request("The purpose of the upload is unknown."))?;
    let until = element.attribute("expire-before").filter(|_| purpose == Purpose::Ephemeral);
    Ok(Some((purpose, until.map(date).transpose()?)))
}

/// A DateTime of XEP-0082 section 3.2, which is a profile of RFC 3339.
fn date(text: &str) -> Result<Timestamp, StanzaError> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok();
    let micros = time.and_then(|time| i64::try_from(time.unix_timestamp_nanos() / 1000).ok());
    let unreadable =
        || StanzaError::bad_request("expire-before must be a date such as 2026-01-31T12:00:00Z.");
    micros.map(Timestamp::from_micros).ok_or_else(unreadable)
}

/// A slot as it is sent. Its URLs hold all that a PUT needs: many clients leave header fields out or spoil them.
pub(super) fn slot(slot: &Slot) -> Element {
    let url = |name, url: &str| Element::new(name, ns::UPLOAD).with("url", url);
    let element = Element::new("slot", ns::UPLOAD);
    element.with_child(url("put", &slot.put_url)).with_child(url("get", &slot.get_url))
}

/// A refusal as it is sent (XEP-0363 section 5).
pub(super) fn refusal(refusal: SlotRefusal) -> StanzaError {
    match refusal {
        SlotRefusal::TooLarge { max, text } => {
            let max = Element::new("max-file-size", ns::UPLOAD).with_text(max.to_string());
            let details = Element::new("file-too-large", ns::UPLOAD).with_child(max);
            StanzaError::new("modify", "not-acceptable", text).with(details)
        }
        SlotRefusal::NoRoom { text, retry } => {
            let error = StanzaError::new("wait", "resource-constraint", text);
            let retry = retry.map(|at| Element::new("retry", ns::UPLOAD).with("stamp", at.to_string()));
            retry.into_iter().fold(error, StanzaError::with)
        }
        SlotRefusal::Forbidden { text } => StanzaError::new("auth", "forbidden", text),
        SlotRefusal::BadRequest { text } => StanzaError::new("modify", "bad-request", text),
        SlotRefusal::Failed { text } => StanzaError::new("wait", "internal-server-error", text),
    }
}

#[cfg(test)]
mod tests;
