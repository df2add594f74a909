//! Replies to IQs (RFC 6120 section 8.2.3) and their errors (section 8.3). Pure functions.

use crate::xmpp::{Element, ns};

/// Where the reply to an IQ goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReturnAddress {
    id: String,
    from: String,
    to: String,
}

impl ReturnAddress {
    /// The return address of an IQ of type `get` or `set`. `None` for all other stanzas, which get no reply, and for an
    /// IQ that lacks its id or an address.
    pub(super) fn of(stanza: &Element) -> Option<Self> {
        let asks = stanza.is("iq", ns::CLIENT) && matches!(stanza.attribute("type"), Some("get" | "set"));
        let text = |name| stanza.attribute(name).filter(|_| asks).map(str::to_owned);
        Some(Self { id: text("id")?, from: text("to")?, to: text("from")? })
    }

    /// The reply of type `result`.
    pub(super) fn result(self, payload: Element) -> Element {
        self.reply("result").with_child(payload)
    }

    /// The reply of type `error`.
    pub(super) fn error(self, error: StanzaError) -> Element {
        self.reply("error").with_child(error.into_element())
    }

    /// The same with what was asked before it (RFC 6120 section 8.3.1).
    pub(super) fn error_about(self, asked: Element, error: StanzaError) -> Element {
        self.reply("error").with_child(asked).with_child(error.into_element())
    }

    fn reply(self, kind: &str) -> Element {
        let Self { id, from, to } = self;
        let reply = Element::new("iq", ns::CLIENT).with("type", kind);
        reply.with("id", id).with("from", from).with("to", to)
    }
}

/// A stanza error. Clients show the text to people.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct StanzaError {
    kind: &'static str,
    condition: &'static str,
    text: String,
    details: Option<Box<Element>>,
}

impl StanzaError {
    /// The sender must change the request.
    pub(super) fn bad_request(text: &str) -> Self {
        Self::new("modify", "bad-request", text)
    }

    /// An error of this type and condition.
    pub(super) fn new(kind: &'static str, condition: &'static str, text: impl Into<String>) -> Self {
        Self { kind, condition, text: text.into(), details: None }
    }

    /// The error with this condition of the application (RFC 6120 section 8.3.4).
    pub(super) fn with(self, details: Element) -> Self {
        Self { details: Some(Box::new(details)), ..self }
    }

    pub(super) fn into_element(self) -> Element {
        let text = Element::new("text", ns::STANZAS).with("xml:lang", "en").with_text(self.text);
        let error = Element::error(self.kind, self.condition).with_child(text);
        match self.details {
            Some(details) => error.with_child(*details),
            None => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn iq(kind: &str) -> Element {
        let iq = Element::new("iq", ns::CLIENT).with("type", kind).with("id", "i");
        iq.with("from", "alice@example.org/phone").with("to", "media.example.org")
    }

    #[test]
    fn a_reply_goes_back_to_the_sender() {
        let address = ReturnAddress::of(&iq("get")).unwrap();
        assert_eq!(
            address.clone().result(Element::new("slot", "u")).to_xml(ns::CLIENT),
            "<iq type='result' id='i' from='media.example.org' to='alice@example.org/phone'><slot xmlns='u'/></iq>"
        );
        let error = StanzaError::bad_request("Not <so>.").with(Element::new("more", "u"));
        assert_eq!(
            address.error(error).to_xml(ns::CLIENT),
            "<iq type='error' id='i' from='media.example.org' to='alice@example.org/phone'><error type='modify'>\
             <bad-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>\
             <text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas' xml:lang='en'>Not &lt;so&gt;.</text>\
             <more xmlns='u'/></error></iq>"
        );
    }

    #[test]
    fn only_iqs_that_ask_have_a_return_address() {
        for kind in ["result", "error", "", "GET"] {
            assert_eq!(ReturnAddress::of(&iq(kind)), None, "{kind}");
        }
        assert!(ReturnAddress::of(&iq("set")).is_some());
        let message = Element::new("message", ns::CLIENT).with("type", "get").with("id", "i");
        assert_eq!(ReturnAddress::of(&message.with("from", "a").with("to", "b")), None);
        let nameless = Element::new("iq", ns::CLIENT).with("type", "get");
        assert_eq!(ReturnAddress::of(&nameless), None);
        assert_eq!(ReturnAddress::of(&nameless.with("id", "i").with("to", "b")), None);
    }
}
