//! The stanzas of a confirmation (XEP-0070): the prompt that asks a user, and how replies to it are read. Values in,
//! values out; it knows no limits, no clock and no other confirmation.

use super::super::credentials::Credentials;
use super::super::request::Request;
use crate::model::{Jid, Method};
use crate::xmpp::{Element, ns};

/// A question to a user. It has no `Debug`: it holds a transaction id.
pub(super) struct Prompt {
    pub asked: Jid,
    pub stanza_id: String,
    thread: String,
    transaction: String,
    method: Method,
    url: String,
}

impl Prompt {
    /// The prompt for this request, with a stanza id and a thread that nobody can guess.
    pub fn new(request: &Request, credentials: &Credentials, stanza_id: String, thread: String) -> Self {
        Self {
            asked: credentials.jid().clone(),
            stanza_id,
            thread,
            transaction: credentials.transaction().to_owned(),
            method: request.method,
            url: request.url.clone(),
        }
    }

    /// The stanza that asks.
    pub fn to_stanza(&self, component: &Jid) -> Element {
        let confirm = Element::new("confirm", ns::HTTP_AUTH)
            .with("id", &self.transaction)
            .with("method", self.method.name())
            .with("url", &self.url);
        // Not an IQ: deployed clients reply by sending the stanza back with its addresses swapped.
        Element::new("message", ns::CLIENT)
            .with("type", "normal")
            .with("id", &self.stanza_id)
            .with("from", component.to_string())
            .with("to", self.asked.to_string())
            .with_child(Element::new("thread", ns::CLIENT).with_text(&self.thread))
            .with_child(Element::new("body", ns::CLIENT).with_text(self.body()))
            .with_child(confirm)
    }

    /// For people whose client does not know XEP-0070. What the requester chose comes last.
    fn body(&self) -> String {
        format!(
            "Somebody, probably you, asks in your name for {} {}\nIf it was you, confirm the request in your \
             client. If not, deny it, or do nothing: it will then be refused.\nConfirmation message for \
             transaction {}",
            self.method.name(),
            self.url,
            self.transaction
        )
    }

    fn matches(&self, confirm: &Element) -> bool {
        confirm.attribute("id") == Some(&self.transaction)
            && confirm.attribute("method") == Some(self.method.name())
            && confirm.attribute("url") == Some(&self.url)
    }
}

/// A stanza that may be the reply to a prompt.
pub(super) struct PromptReply<'a> {
    pub from: Jid,
    pub denies: bool,
    pub stanza_id: Option<&'a str>,
    thread: Option<&'a str>,
    confirm: Option<&'a Element>,
}

impl<'a> PromptReply<'a> {
    /// Reads a stanza; `None` for one that can't be a reply to any prompt.
    pub fn read(stanza: &'a Element) -> Option<Self> {
        let kind = stanza.attribute("type");
        let is_reply = match stanza.name() {
            // One client sends messages of type "result"; every type but "error" may confirm.
            "message" => true,
            "iq" => matches!(kind, Some("result" | "error")),
            _ => false,
        };
        if !is_reply || stanza.namespace() != ns::CLIENT {
            return None;
        }
        Some(Self {
            from: stanza.attribute("from")?.parse().ok()?,
            denies: kind == Some("error") || stanza.child("error", ns::CLIENT).is_some(),
            stanza_id: stanza.attribute("id"),
            thread: stanza.child("thread", ns::CLIENT).map(Element::text),
            confirm: stanza.child("confirm", ns::HTTP_AUTH),
        })
    }

    /// Whether it decides this prompt.
    pub fn decides(&self, prompt: &Prompt) -> bool {
        self.answers(prompt) || self.bounces(prompt)
    }

    /// The user who was asked names the same id, method and URL.
    fn answers(&self, prompt: &Prompt) -> bool {
        let same_thread = self.thread.is_none_or(|thread| thread == prompt.thread);
        self.is_from(&prompt.asked)
            && same_thread
            && self.confirm.is_some_and(|confirm| prompt.matches(confirm))
    }

    /// An error with the prompt's own stanza id, from the user who was asked or from their server. It need not repeat
    /// the prompt.
    fn bounces(&self, prompt: &Prompt) -> bool {
        self.denies
            && self.stanza_id == Some(&prompt.stanza_id)
            && (self.is_from(&prompt.asked) || self.is_from_server_of(&prompt.asked))
    }

    /// A full address answers for itself only, a bare one through any of its resources.
    fn is_from(&self, asked: &Jid) -> bool {
        match asked.resource() {
            Some(_) => self.from == *asked,
            None => self.from.bare() == asked.bare(),
        }
    }

    fn is_from_server_of(&self, asked: &Jid) -> bool {
        let sender = self.from.bare();
        self.from.resource().is_none() && (sender == asked.bare() || sender.as_str() == asked.bare().domain())
    }
}
