//! Texts that are for the component, not for the gate, and how texts are answered. Values, without I/O.

use super::prompt::passing;
use super::reply::TextMessage;
use crate::access::random::hex_id;
use crate::access::text::TextCommand;
use crate::model::Jid;
use crate::xmpp::{Element, ns};

/// A command that a user sent as a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextRequest {
    /// The user, with the resource of the client.
    pub from: Jid,
    /// The command.
    pub command: TextCommand,
    /// `chat` or `normal`.
    kind: &'static str,
    /// The component's address.
    own: Jid,
}

impl TextRequest {
    /// The command of a message to the component at this address.
    pub(super) fn new(component: &Jid, message: &TextMessage<'_>, command: TextCommand) -> Self {
        Self { from: message.from.clone(), command, kind: message.kind, own: component.clone() }
    }

    /// The message that answers it.
    pub fn reply(&self, text: impl Into<String>) -> Element {
        message(&self.own, &self.from, self.kind, text)
    }
}

impl TextMessage<'_> {
    /// The message that answers it.
    pub(super) fn reply(&self, component: &Jid, text: impl Into<String>) -> Element {
        message(component, &self.from, self.kind, text)
    }
}

/// The message that answers a text.
fn message(component: &Jid, user: &Jid, kind: &str, text: impl Into<String>) -> Element {
    passing(
        Element::new("message", ns::CLIENT)
            .with("type", kind)
            .with("id", hex_id())
            .with("from", component.to_string())
            .with("to", user.to_string())
            .with_child(Element::new("body", ns::CLIENT).with_text(text)),
    )
}
