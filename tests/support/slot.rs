//! Upload slots (XEP-0363) as clients ask for them, and their PUT by curl.

use std::path::Path;

use super::http::{Answer, Request};
use super::stanza::{Stanza, escape};
use super::xmpp_client::Client;

/// The namespace of slots.
pub const UPLOAD: &str = "urn:xmpp:http:upload:0";
/// The namespace of purposes.
pub const PURPOSE: &str = "urn:xmpp:http:upload:purpose:0";
const STANZAS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";

/// A slot.
#[derive(Debug)]
pub struct Slot {
    /// The address of the PUT.
    pub put: String,
    /// The address of the GET.
    pub get: String,
    /// The fields that the PUT is to have.
    pub headers: Vec<(String, String)>,
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoSlot {
    /// The type and the condition, such as `auth forbidden`.
    pub condition: String,
    /// The words for the user.
    pub text: String,
    /// The date to try again.
    pub retry: Option<String>,
    /// The size that is too large.
    pub max_size: Option<String>,
}

impl Slot {
    /// Uploads a file as it is, without a type, as some clients do.
    pub fn upload(&self, file: &Path) -> Answer {
        self.request(file).send()
    }

    /// The upload of a file before it is sent.
    pub fn request(&self, file: &Path) -> Request {
        let request = Request::get(&self.put).with(&["-T", &file.display().to_string()]);
        self.headers.iter().fold(request, |request, (name, value)| request.header(name, value))
    }
}

/// Asks this service for a slot; `more` is what stands in the request.
pub fn ask(client: &Client, service: &str, attributes: &[(&str, &str)], more: &str) -> Result<Slot, NoSlot> {
    let attributes: String =
        attributes.iter().map(|(name, value)| format!(" {name}='{}'", escape(value))).collect();
    let request = format!("<request xmlns='{UPLOAD}'{attributes}>{more}</request>");
    read(&client.ask("get", service, &request).expect("the service replies"))
}

/// The same for a file of this name, size and type.
pub fn ask_for(client: &Client, service: &str, name: &str, size: usize, kind: &str) -> Result<Slot, NoSlot> {
    let size = size.to_string();
    ask(client, service, &[("filename", name), ("size", &size), ("content-type", kind)], "")
}

/// Reads the reply to a request.
pub fn read(reply: &Stanza) -> Result<Slot, NoSlot> {
    let Some(slot) = reply.child("slot", UPLOAD) else { return Err(refusal(reply)) };
    let url = |name| slot.child(name, UPLOAD).expect("a slot has both addresses").attribute("url").to_owned();
    let header = |header: &Stanza| (header.attribute("name").to_owned(), header.text.clone());
    Ok(Slot {
        put: url("put"),
        get: url("get"),
        headers: slot.all("header").into_iter().map(header).collect(),
    })
}

fn refusal(reply: &Stanza) -> NoSlot {
    assert_eq!(reply.attribute("type"), "error", "{reply:?}");
    let error = reply.child("error", "jabber:client").expect("an error tells what it is");
    let condition = error.children.iter().find(|child| child.namespace == STANZAS && child.name != "text");
    let condition = condition.map(|condition| condition.name.as_str()).unwrap_or_default();
    let texts = error.all("text");
    NoSlot {
        condition: format!("{} {condition}", error.attribute("type")),
        text: texts.first().map(|text| text.text.clone()).unwrap_or_default(),
        retry: error.child("retry", UPLOAD).map(|retry| retry.attribute("stamp").to_owned()),
        max_size: error.all("max-file-size").first().map(|size| size.text.clone()),
    }
}
