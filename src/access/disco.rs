//! Answers to IQs that others send to us: who we are, and whether we are there.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::xmpp::{Element, Link, ns};

/// The form that tells the HTTP interface (XEP-0128).
const API_FORM: &str = "http://buddycloud.org/v1/api";

/// What the answers tell.
#[derive(Clone, Debug)]
pub struct About<'a> {
    /// On which link the IQ came.
    pub link: Link,
    /// Our address on it.
    pub own: &'a str,
    /// For how long that link has been up.
    pub uptime: Duration,
    /// The time.
    pub now: Timestamp,
    /// Where the HTTP interface is found from outside.
    pub endpoint: Option<&'a str>,
}

/// A stanza error: type and condition (RFC 6120 section 8.3).
struct Fault(&'static str, &'static str);

/// The answer to an IQ of type `get` or `set`; `None` for all other stanzas, and where nobody could
/// receive it.
pub fn answer(iq: &Element, about: &About<'_>) -> Option<Element> {
    let kind = iq.attribute("type")?;
    if !iq.is("iq", ns::CLIENT) || !matches!(kind, "get" | "set") {
        return None;
    }
    let mut children = iq.children();
    let content = match (children.next(), children.next()) {
        (Some(request), None) => content(kind, request, about),
        // RFC 6120 section 8.2.3: exactly one.
        _ => Err(Fault("modify", "bad-request")),
    };
    let answer = address(iq, about)?;
    Some(match content {
        Ok(Some(child)) => answer.with("type", "result").with_child(child),
        Ok(None) => answer.with("type", "result"),
        Err(fault) => answer.with("type", "error").with_child(error(&fault)),
    })
}

/// An IQ back to where `iq` came from.
fn address(iq: &Element, about: &About<'_>) -> Option<Element> {
    let mut answer = Element::new("iq", ns::CLIENT).with("id", iq.attribute("id")?);
    match (about.link, iq.attribute("from")) {
        (Link::Component, from) => {
            answer.set("from", iq.attribute("to").unwrap_or(about.own));
            answer.set("to", from?);
        }
        (Link::Client, Some(from)) => answer.set("to", from),
        // Our own account asks; the answer goes where an IQ without address goes.
        (Link::Client, None) => {}
    }
    Some(answer)
}

fn content(kind: &str, request: &Element, about: &About<'_>) -> Result<Option<Element>, Fault> {
    let has_node = request.attribute("node").is_some_and(|node| !node.is_empty());
    match (kind, request.name(), request.namespace()) {
        ("get", "query", ns::DISCO_INFO | ns::DISCO_ITEMS) if has_node => {
            Err(Fault("cancel", "item-not-found"))
        }
        ("get", "query", ns::DISCO_INFO) => Ok(Some(info(about))),
        ("get", "query", ns::DISCO_ITEMS) => Ok(Some(Element::new("query", ns::DISCO_ITEMS))),
        ("get", "ping", ns::PING) => Ok(None),
        ("get", "query", ns::LAST) => {
            let seconds = about.uptime.as_secs().to_string();
            Ok(Some(Element::new("query", ns::LAST).with("seconds", seconds)))
        }
        ("get", "time", ns::TIME) => Ok(Some(time(about.now))),
        _ => Err(Fault("cancel", "service-unavailable")),
    }
}

/// XEP-0030. Clients look for exactly this identity.
fn info(about: &About<'_>) -> Element {
    let (category, kind) = match about.link {
        Link::Component => ("component", "generic"),
        Link::Client => ("client", "bot"),
    };
    let identity = Element::new("identity", ns::DISCO_INFO)
        .with("category", category)
        .with("type", kind)
        .with("name", "Media Server");
    let mut query = Element::new("query", ns::DISCO_INFO).with_child(identity);
    for feature in [ns::DISCO_INFO, ns::PING, ns::LAST, ns::TIME] {
        query.push(Element::new("feature", ns::DISCO_INFO).with("var", feature));
    }
    match (about.link, about.endpoint) {
        (Link::Component, Some(endpoint)) => query.with_child(api_form(endpoint)),
        _ => query,
    }
}

fn api_form(endpoint: &str) -> Element {
    let field = |name: &str, kind: &str, value: &str| {
        let value = Element::new("value", ns::DATA_FORMS).with_text(value);
        Element::new("field", ns::DATA_FORMS).with("var", name).with("type", kind).with_child(value)
    };
    Element::new("x", ns::DATA_FORMS)
        .with("type", "result")
        .with_child(field("FORM_TYPE", "hidden", API_FORM))
        .with_child(field("endpoint", "text-single", endpoint))
}

/// XEP-0202.
fn time(now: Timestamp) -> Element {
    let child = |name: &str, text: String| Element::new(name, ns::TIME).with_text(text);
    Element::new("time", ns::TIME)
        .with_child(child("tzo", "+00:00".to_owned()))
        .with_child(child("utc", now.to_string()))
}

fn error(Fault(kind, condition): &Fault) -> Element {
    Element::new("error", ns::CLIENT).with("type", *kind).with_child(Element::new(condition, ns::STANZAS))
}
