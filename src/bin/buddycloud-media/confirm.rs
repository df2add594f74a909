//! The prompts of a server (XEP-0070) for our own requests, and no others. Without I/O.

use media_server::model::{BareJid, Jid};
use media_server::xmpp::{Element, ns};

/// A request that is on its way, and whose prompt is to be confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The server that was asked.
    pub service: BareJid,
    /// The transaction id, which is secret.
    pub transaction: String,
    /// The method.
    pub method: &'static str,
    /// The URL without its query.
    pub url: String,
}

/// Whether a stanza is a prompt, for whatever request.
pub fn is_prompt(stanza: &Element) -> bool {
    stanza.child("confirm", ns::HTTP_AUTH).is_some()
}

/// The confirmation of a prompt, if it is for one of these requests.
pub fn confirmation(expected: &[Expected], stanza: &Element) -> Option<Element> {
    let confirm = stanza.child("confirm", ns::HTTP_AUTH)?;
    let from = stanza.attribute("from")?;
    let sender: Jid = from.parse().ok()?;
    let is_told = |name: &str, value: &str| confirm.attribute(name) == Some(value);
    let is_own = expected.iter().any(|request| {
        request.service == *sender.bare()
            && is_told("id", &request.transaction)
            && is_told("method", request.method)
            && is_told("url", &request.url)
    });
    if !is_own {
        return None;
    }
    let kind = match (stanza.name(), stanza.attribute("type")) {
        ("iq", Some("get" | "set")) => "result",
        ("message", None | Some("normal")) => "normal",
        ("message", Some("chat")) => "chat",
        _ => return None,
    };
    let mut reply = Element::new(stanza.name(), ns::CLIENT).with("type", kind).with("to", from);
    if let Some(id) = stanza.attribute("id") {
        reply.set("id", id);
    }
    if let Some(thread) = stanza.child("thread", ns::CLIENT) {
        reply.push(thread.clone());
    }
    Some(reply.with_child(confirm.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://media.example.com/room@example.com";

    fn expected() -> Vec<Expected> {
        let request = |transaction: &str, method| Expected {
            service: "media.example.com".parse().unwrap(),
            transaction: transaction.to_owned(),
            method,
            url: URL.to_owned(),
        };
        vec![request("t1", "POST"), request("t2", "GET")]
    }

    fn prompt(name: &str, kind: &str, from: &str, [id, method, url]: [&str; 3]) -> Element {
        let confirm =
            Element::new("confirm", ns::HTTP_AUTH).with("id", id).with("method", method).with("url", url);
        Element::new(name, ns::CLIENT)
            .with("type", kind)
            .with("from", from)
            .with("id", "s1")
            .with_child(Element::new("thread", ns::CLIENT).with_text("0f"))
            .with_child(Element::new("body", ns::CLIENT).with_text("Did you?"))
            .with_child(confirm)
    }

    #[test]
    fn prompts_for_own_requests_are_confirmed() {
        for (name, kind, reply) in
            [("message", "normal", "normal"), ("message", "chat", "chat"), ("iq", "get", "result")]
        {
            let stanza = prompt(name, kind, "media.example.com", ["t1", "POST", URL]);
            let confirmed = confirmation(&expected(), &stanza).unwrap();
            let thread = if name == "iq" || name == "message" { "<thread>0f</thread>" } else { "" };
            assert_eq!(
                confirmed.to_xml(ns::CLIENT),
                format!(
                    "<{name} type='{reply}' to='media.example.com' id='s1'>{thread}<confirm \
                     xmlns='http://jabber.org/protocol/http-auth' id='t1' method='POST' url='{URL}'/></{name}>"
                )
            );
        }
    }

    #[test]
    fn all_others_stay_without_a_reply() {
        let service = "media.example.com";
        for (name, kind, from, told) in [
            ("message", "normal", service, ["t3", "POST", URL]),
            ("message", "normal", service, ["t2", "POST", URL]),
            ("message", "normal", service, ["t1", "DELETE", URL]),
            ("message", "normal", service, ["t1", "POST", "https://media.example.com/other@example.com"]),
            ("message", "normal", service, ["", "", ""]),
            ("message", "normal", "evil.example.com", ["t1", "POST", URL]),
            ("message", "normal", "alice@media.example.com", ["t1", "POST", URL]),
            ("message", "error", service, ["t1", "POST", URL]),
            ("message", "groupchat", service, ["t1", "POST", URL]),
            ("iq", "result", service, ["t1", "POST", URL]),
            ("presence", "normal", service, ["t1", "POST", URL]),
        ] {
            let stanza = prompt(name, kind, from, told);
            assert_eq!(confirmation(&expected(), &stanza), None, "{name} {kind} {from} {told:?}");
        }
        let unsigned = Element::new("message", ns::CLIENT)
            .with_child(Element::new("confirm", ns::HTTP_AUTH).with("id", "t1"));
        assert_eq!(confirmation(&expected(), &unsigned), None);
        assert!(is_prompt(&unsigned));
    }
}
