//! Stanzas that may be replies to a prompt: those of clients that know XEP-0070, bounces, and the texts of people. Values,
//! without I/O.

use super::prompt::{Prompt, PromptForm};
use crate::model::Jid;
use crate::xmpp::{Element, ns};

/// The meaning of a [`PromptReply`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Confirms,
    Denies,
    /// The prompt could not be delivered, or the client does not know it.
    Bounces,
}

/// A stanza of a client that knows XEP-0070, or of a server that could not deliver the prompt.
pub(super) struct PromptReply<'a> {
    pub from: Jid,
    pub verdict: Verdict,
    pub stanza_id: Option<&'a str>,
    is_iq: bool,
    thread: Option<&'a str>,
    confirm: Option<&'a Element>,
}

impl<'a> PromptReply<'a> {
    /// Reads a stanza; `None` for one that can't be a reply to any prompt.
    pub fn read(stanza: &'a Element) -> Option<Self> {
        let kind = stanza.attribute("type");
        let is_iq = stanza.is("iq", ns::CLIENT) && matches!(kind, Some("result" | "error"));
        // Some clients send messages of type "result"; every type but "error" may confirm.
        if !is_iq && !stanza.is("message", ns::CLIENT) {
            return None;
        }
        let confirm = stanza.child("confirm", ns::HTTP_AUTH);
        Some(Self {
            from: stanza.attribute("from")?.parse().ok()?,
            verdict: verdict(stanza, confirm),
            stanza_id: stanza.attribute("id"),
            is_iq,
            thread: stanza.child("thread", ns::CLIENT).map(Element::text),
            confirm,
        })
    }

    /// Its decision about this prompt, if it is a reply to it.
    pub fn to(&self, prompt: &Prompt) -> Option<Verdict> {
        let names = self.has_id_of(prompt) || self.repeats(prompt);
        match self.verdict {
            Verdict::Confirms => self.confirms(prompt).then_some(Verdict::Confirms),
            // Servers write in the name of a bare address, and also send errors of type "auth". People have clients.
            Verdict::Denies if self.is_from(&prompt.asked) && self.from.resource().is_some() => {
                names.then_some(Verdict::Denies)
            }
            Verdict::Denies | Verdict::Bounces => {
                let is_of_form = self.is_iq == (prompt.form == PromptForm::Iq);
                let sender = self.is_from(&prompt.asked) || self.is_from_server_of(&prompt.asked);
                (sender && names && is_of_form).then_some(Verdict::Bounces)
            }
        }
    }

    /// The user who was asked names the same id, method and URL, or sends back the result of the IQ.
    fn confirms(&self, prompt: &Prompt) -> bool {
        let result_of_iq =
            self.is_iq && self.confirm.is_none() && prompt.form == PromptForm::Iq && self.has_id_of(prompt);
        self.is_from(&prompt.asked) && (self.repeats(prompt) || result_of_iq)
    }

    fn repeats(&self, prompt: &Prompt) -> bool {
        let same_thread = self.thread.is_none_or(|thread| thread == prompt.thread);
        same_thread && self.confirm.is_some_and(|confirm| prompt.matches(confirm))
    }

    fn has_id_of(&self, prompt: &Prompt) -> bool {
        self.stanza_id == Some(&prompt.stanza_id)
    }

    fn is_from(&self, asked: &Jid) -> bool {
        may_reply(&self.from, asked)
    }

    fn is_from_server_of(&self, asked: &Jid) -> bool {
        let sender = self.from.bare();
        self.from.resource().is_none() && (sender == asked.bare() || sender.as_str() == asked.bare().domain())
    }
}

/// A full address replies for itself only, a bare one through any of its resources.
pub(super) fn may_reply(sender: &Jid, asked: &Jid) -> bool {
    match asked.resource() {
        Some(_) => sender == asked,
        None => sender.bare() == asked.bare(),
    }
}

/// Clients deny by an error of type "auth", by one within `confirm`, or by the type of a message alone. Other errors come
/// from servers, which send back all of the prompt, `confirm` too.
fn verdict(stanza: &Element, confirm: Option<&Element>) -> Verdict {
    let error = stanza.child("error", ns::CLIENT);
    let within = confirm.is_some_and(|confirm| confirm.children().any(|child| child.name() == "error"));
    let is_error = stanza.attribute("type") == Some("error");
    match error {
        _ if within => Verdict::Denies,
        Some(error) if error.attribute("type") == Some("auth") => Verdict::Denies,
        Some(_) => Verdict::Bounces,
        None if is_error && confirm.is_some() => Verdict::Denies,
        None if is_error => Verdict::Bounces,
        None => Verdict::Confirms,
    }
}

/// A message that a person wrote to the component.
pub(super) struct TextMessage<'a> {
    pub from: Jid,
    /// `chat` or `normal`.
    pub kind: &'static str,
    /// The text, without a quoted message before it. `None`: it is encrypted.
    pub body: Option<String>,
    pub thread: Option<&'a str>,
    /// The stanza id of the message that it replies to (XEP-0461).
    pub reply_to: Option<&'a str>,
}

impl<'a> TextMessage<'a> {
    /// Reads a stanza; `None` for one that no person wrote now: an error, a headline, a message in a group chat, one
    /// without text, one that was delayed (XEP-0203), or one that replies to a prompt by XEP-0070.
    pub fn read(stanza: &'a Element) -> Option<Self> {
        let kind = match (stanza.is("message", ns::CLIENT), stanza.attribute("type")) {
            (true, Some("chat")) => "chat",
            (true, None | Some("normal")) => "normal",
            _ => return None,
        };
        let from: Jid = stanza.attribute("from")?.parse().ok()?;
        let is_delayed =
            stanza.children().any(|child| matches!(child.namespace(), ns::DELAY | ns::OLD_DELAY));
        let other = ["error"].map(|name| stanza.child(name, ns::CLIENT)).iter().any(Option::is_some);
        if from.bare().local().is_none()
            || is_delayed
            || other
            || stanza.child("confirm", ns::HTTP_AUTH).is_some()
        {
            return None;
        }
        let reply = stanza.child("reply", ns::REPLY);
        Some(Self {
            from,
            kind,
            body: body(stanza)?,
            thread: stanza.child("thread", ns::CLIENT).map(Element::text).filter(|text| !text.is_empty()),
            reply_to: reply.and_then(|reply| reply.attribute("id")),
        })
    }
}

/// The text of a message; `Some(None)` for an encrypted one.
fn body(stanza: &Element) -> Option<Option<String>> {
    let is_encrypted = stanza.children().any(|child| {
        matches!(child.namespace(), ns::ENCRYPTED_PGP | ns::ENCRYPTION)
            || matches!(child.name(), "encrypted" | "openpgp")
    });
    if is_encrypted {
        return Some(None);
    }
    let body = stanza.child("body", ns::CLIENT)?.text();
    if body.starts_with("?OTR") {
        return Some(None);
    }
    let text = without_quote(stanza, body);
    (!text.trim().is_empty()).then_some(Some(text))
}

/// The text without the range that clients without XEP-0461 are to see in place of the reply (XEP-0428), in characters.
fn without_quote(stanza: &Element, body: &str) -> String {
    let is_quote = |child: &&Element| {
        child.is("fallback", ns::FALLBACK) && child.attribute("for").is_none_or(|of| of == ns::REPLY)
    };
    let ranges =
        stanza.children().filter(is_quote).filter_map(|fallback| fallback.child("body", ns::FALLBACK));
    let range = ranges.map(|range| {
        let at = |name| range.attribute(name).and_then(|text| text.parse::<usize>().ok());
        at("start").unwrap_or(0)..at("end").unwrap_or(usize::MAX)
    });
    match (range.into_iter().next(), stanza.child("reply", ns::REPLY)) {
        (Some(range), Some(_)) => {
            let own = body.chars().enumerate().filter(|(at, _)| !range.contains(at));
            own.map(|(_, c)| c).collect()
        }
        _ => body.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::element;
    use super::*;

    fn message(kind: &str, children: &[Element]) -> Element {
        element("message", ns::CLIENT, &[("from", "alice@example.com/phone"), ("type", kind)], children)
    }

    fn with_body(text: &str) -> Element {
        Element::new("body", ns::CLIENT).with_text(text)
    }

    fn text_of(stanza: &Element) -> Option<Option<String>> {
        TextMessage::read(stanza).map(|message| message.body)
    }

    #[test]
    fn only_what_a_person_wrote_now_is_a_text() {
        let plain = with_body("ok");
        for kind in ["chat", "normal"] {
            assert_eq!(text_of(&message(kind, std::slice::from_ref(&plain))), Some(Some("ok".to_owned())));
        }
        let untyped = element("message", ns::CLIENT, &[("from", "a@b.c/d")], std::slice::from_ref(&plain));
        assert_eq!(text_of(&untyped), Some(Some("ok".to_owned())));
        for kind in ["error", "headline", "groupchat", "result", ""] {
            assert_eq!(text_of(&message(kind, std::slice::from_ref(&plain))), None, "{kind}");
        }
        for extra in [
            Element::new("delay", ns::DELAY),
            Element::new("x", ns::OLD_DELAY),
            Element::new("error", ns::CLIENT),
            Element::new("confirm", ns::HTTP_AUTH),
        ] {
            assert_eq!(text_of(&message("chat", &[plain.clone(), extra.clone()])), None, "{extra:?}");
        }
        for from in ["example.com", "example.com/x", "", "a b@c"] {
            assert_eq!(text_of(&message("chat", std::slice::from_ref(&plain)).with("from", from)), None);
        }
        for stanza in [
            message("chat", &[]),
            message("chat", &[with_body(" \n")]),
            message("chat", &[Element::new("composing", "http://jabber.org/protocol/chatstates")]),
            message("chat", &[Element::new("body", "x").with_text("ok")]),
            message("chat", &[Element::new("x", "y").with_child(plain.clone())]),
            element("iq", ns::CLIENT, &[("from", "a@b.c"), ("type", "chat")], &[plain]),
        ] {
            assert_eq!(text_of(&stanza), None, "{stanza:?}");
        }
    }

    #[test]
    fn an_encrypted_message_counts_as_a_text_that_nobody_can_read() {
        for (name, namespace) in [
            ("encrypted", "eu.siacs.conversations.axolotl"),
            ("encrypted", "urn:xmpp:omemo:2"),
            ("x", "jabber:x:encrypted"),
            ("openpgp", "urn:xmpp:openpgp:0"),
            ("encryption", "urn:xmpp:eme:0"),
        ] {
            let element = Element::new(name, namespace);
            for children in [vec![element.clone()], vec![with_body("ok"), element]] {
                assert_eq!(text_of(&message("chat", &children)), Some(None), "{namespace}");
            }
        }
        assert_eq!(text_of(&message("chat", &[with_body("?OTR:AAMC")])), Some(None));
    }

    #[test]
    fn a_quoted_message_is_not_read() {
        let reply = Element::new("reply", ns::REPLY).with("id", "m1").with("to", "media.example.com");
        let range = |start: &str, end: &str| {
            let body = Element::new("body", ns::FALLBACK).with("start", start).with("end", end);
            Element::new("fallback", ns::FALLBACK).with("for", ns::REPLY).with_child(body)
        };
        let quoted = with_body("> No, é?\nok");
        for (fallback, expected) in [
            (range("0", "9"), "ok"),
            (range("0", "999999999999999999999999"), ""),
            (range("5", "1"), "> No, é?\nok"),
            (range("x", "9"), "ok"),
            (range("9", "11"), "> No, é?\n"),
        ] {
            let stanza = message("chat", &[quoted.clone(), reply.clone(), fallback]);
            let read = TextMessage::read(&stanza);
            match expected {
                "" => assert!(read.is_none()),
                _ => assert_eq!(read.map(|text| (text.body, text.reply_to)), {
                    Some((Some(expected.to_owned()), Some("m1")))
                }),
            }
        }
        // Without a reply there is nothing to quote: the range could hide what a person reads.
        let stanza = message("chat", &[with_body("no, ok"), range("0", "4")]);
        assert_eq!(text_of(&stanza), Some(Some("no, ok".to_owned())));
    }
}
