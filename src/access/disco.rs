//! Replies to IQs that others send to us: identity (XEP-0030), ping (XEP-0199), last activity (XEP-0012) and time
//! (XEP-0202). Pure functions.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::xmpp::{Element, Link, ns};

/// The form that tells the HTTP interface (XEP-0128).
const API_FORM: &str = "http://buddycloud.org/v1/api";

/// The purposes of uploads that are kept (XEP-0363 version 1.2.0 section 6).
const PURPOSES: [&str; 4] = ["message", "profile", "ephemeral", "permanent"];

/// The facts in the replies.
#[derive(Clone, Debug)]
pub struct About<'a> {
    /// The link that the IQ came on.
    pub link: Link,
    /// Our address on this link.
    pub own: &'a str,
    /// How long this link has been up.
    pub uptime: Duration,
    /// The time.
    pub now: Timestamp,
    /// Where the HTTP interface is found from outside.
    pub endpoint: Option<&'a str>,
    /// Bytes of the largest file that the upload service takes (XEP-0363), if there is one.
    pub upload: Option<u64>,
}

impl About<'_> {
    /// Bytes of the largest file that may be uploaded, where this link tells it.
    fn upload_size(&self) -> Option<u64> {
        self.upload.filter(|_| self.link == Link::Component)
    }
}

/// The reply to an IQ of type `get` or `set`; `None` for all other stanzas, and for an IQ without a return address or
/// id.
pub fn reply(iq: &Element, about: &About<'_>) -> Option<Element> {
    let kind = iq.attribute("type")?;
    if !iq.is("iq", ns::CLIENT) || !matches!(kind, "get" | "set") {
        return None;
    }
    let mut children = iq.children();
    let content = match (children.next(), children.next()) {
        (Some(request), None) => content(kind, request, about),
        // RFC 6120 section 8.2.3: exactly one.
        _ => Err(Element::error("modify", "bad-request")),
    };
    let reply = empty_reply(iq, about)?;
    Some(match content {
        Ok(Some(child)) => reply.with("type", "result").with_child(child),
        Ok(None) => reply.with("type", "result"),
        Err(error) => reply.with("type", "error").with_child(error),
    })
}

/// An IQ back to the sender of `iq`.
fn empty_reply(iq: &Element, about: &About<'_>) -> Option<Element> {
    let mut reply = Element::new("iq", ns::CLIENT).with("id", iq.attribute("id")?);
    match (about.link, iq.attribute("from")) {
        (Link::Component, from) => {
            reply.set("from", iq.attribute("to").unwrap_or(about.own));
            reply.set("to", from?);
        }
        (Link::Client, Some(from)) => reply.set("to", from),
        // Our own account asks. An IQ without `to` goes there, too.
        (Link::Client, None) => {}
    }
    Some(reply)
}

fn content(kind: &str, request: &Element, about: &About<'_>) -> Result<Option<Element>, Element> {
    let has_node = request.attribute("node").is_some_and(|node| !node.is_empty());
    match (kind, request.name(), request.namespace()) {
        ("get", "query", ns::DISCO_INFO | ns::DISCO_ITEMS) if has_node => {
            Err(Element::error("cancel", "item-not-found"))
        }
        ("get", "query", ns::DISCO_INFO) => Ok(Some(info(about))),
        ("get", "query", ns::DISCO_ITEMS) => Ok(Some(Element::new("query", ns::DISCO_ITEMS))),
        ("get", "ping", ns::PING) => Ok(None),
        ("get", "query", ns::LAST) => {
            let seconds = about.uptime.as_secs().to_string();
            Ok(Some(Element::new("query", ns::LAST).with("seconds", seconds)))
        }
        ("get", "time", ns::TIME) => Ok(Some(time(about.now))),
        _ => Err(Element::error("cancel", "service-unavailable")),
    }
}

/// XEP-0030. Some clients read only the first identity, some only the first form, and some join the fields of all forms:
/// those of the upload service come first, and no other form has a `max-file-size`. Clients of buddycloud look through
/// all identities for exactly theirs.
fn info(about: &About<'_>) -> Element {
    let mut query = Element::new("query", ns::DISCO_INFO);
    if let Some(max_size) = about.upload_size() {
        query.push(identity("store", "file", "HTTP File Upload"));
        own_info(about, &mut query);
        query.push(feature(ns::UPLOAD));
        PURPOSES.iter().for_each(|name| query.push(feature(&format!("{}#{name}", ns::UPLOAD_PURPOSE))));
        query.push(upload_form(max_size));
    } else {
        own_info(about, &mut query);
    }
    match (about.link, about.endpoint) {
        (Link::Component, Some(endpoint)) => query.with_child(api_form(endpoint)),
        _ => query,
    }
}

/// The media server's own identity and features.
fn own_info(about: &About<'_>, query: &mut Element) {
    let (category, kind) = match about.link {
        Link::Component => ("component", "generic"),
        Link::Client => ("client", "bot"),
    };
    query.push(identity(category, kind, "Media Server"));
    [ns::DISCO_INFO, ns::PING, ns::LAST, ns::TIME].iter().for_each(|name| query.push(feature(name)));
    if about.link == Link::Component {
        query.push(feature(ns::COMMANDS));
    }
}

fn identity(category: &str, kind: &str, name: &str) -> Element {
    Element::new("identity", ns::DISCO_INFO).with("category", category).with("type", kind).with("name", name)
}

fn feature(name: &str) -> Element {
    Element::new("feature", ns::DISCO_INFO).with("var", name)
}

/// XEP-0363 section 4.
fn upload_form(max_size: u64) -> Element {
    form(ns::UPLOAD).with_child(field("max-file-size", "text-single", &max_size.to_string()))
}

fn api_form(endpoint: &str) -> Element {
    form(API_FORM).with_child(field("endpoint", "text-single", endpoint))
}

/// A form that tells something (XEP-0128), with its type as the first field.
fn form(form_type: &str) -> Element {
    let form = Element::new("x", ns::DATA_FORMS).with("type", "result");
    form.with_child(field("FORM_TYPE", "hidden", form_type))
}

fn field(name: &str, kind: &str, value: &str) -> Element {
    let value = Element::new("value", ns::DATA_FORMS).with_text(value);
    Element::new("field", ns::DATA_FORMS).with("var", name).with("type", kind).with_child(value)
}

/// XEP-0202.
fn time(now: Timestamp) -> Element {
    let child = |name: &str, text: String| Element::new(name, ns::TIME).with_text(text);
    Element::new("time", ns::TIME)
        .with_child(child("tzo", "+00:00".to_owned()))
        .with_child(child("utc", now.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABOUT: About<'_> = About {
        link: Link::Component,
        own: "media.example.com",
        uptime: Duration::from_millis(61_900),
        now: Timestamp::from_micros(1_390_500_000_123_999),
        endpoint: None,
        upload: None,
    };

    /// An IQ from Alice with this child.
    fn iq(kind: &str, child: Element) -> Element {
        bare_iq(kind).with_child(child)
    }

    fn bare_iq(kind: &str) -> Element {
        Element::new("iq", ns::CLIENT)
            .with("type", kind)
            .with("id", "i1")
            .with("from", "alice@example.org/phone")
            .with("to", "media.example.com")
    }

    fn xml(iq: &Element, about: &About<'_>) -> String {
        reply(iq, about).map(|reply| reply.to_xml(ns::CLIENT)).unwrap_or_default()
    }

    const HEAD: &str = "<iq id='i1' from='media.example.com' to='alice@example.org/phone' ";

    fn error_xml(kind: &str, condition: &str) -> String {
        format!("{HEAD}type='error'><error type='{kind}'><{condition} xmlns='{}'/></error></iq>", ns::STANZAS)
    }

    #[test]
    fn the_component_tells_its_identity_and_its_endpoint() {
        let info = "<query xmlns='http://jabber.org/protocol/disco#info'>\
            <identity category='component' type='generic' name='Media Server'/>\
            <feature var='http://jabber.org/protocol/disco#info'/><feature var='urn:xmpp:ping'/>\
            <feature var='jabber:iq:last'/><feature var='urn:xmpp:time'/>\
            <feature var='http://jabber.org/protocol/commands'/>";
        let request = iq("get", Element::new("query", ns::DISCO_INFO));
        assert_eq!(xml(&request, &ABOUT), format!("{HEAD}type='result'>{info}</query></iq>"));
        let about = About { endpoint: Some("https://api.example.com/media"), ..ABOUT };
        let form = "<x xmlns='jabber:x:data' type='result'>\
            <field var='FORM_TYPE' type='hidden'><value>http://buddycloud.org/v1/api</value></field>\
            <field var='endpoint' type='text-single'><value>https://api.example.com/media</value></field></x>";
        assert_eq!(xml(&request, &about), format!("{HEAD}type='result'>{info}{form}</query></iq>"));
    }

    #[test]
    fn the_upload_service_comes_first() {
        let about =
            About { endpoint: Some("https://api.example.com/media"), upload: Some(104_857_617), ..ABOUT };
        let shown = xml(&iq("get", Element::new("query", ns::DISCO_INFO)), &about);
        let expected = "<query xmlns='http://jabber.org/protocol/disco#info'>\
            <identity category='store' type='file' name='HTTP File Upload'/>\
            <identity category='component' type='generic' name='Media Server'/>\
            <feature var='http://jabber.org/protocol/disco#info'/><feature var='urn:xmpp:ping'/>\
            <feature var='jabber:iq:last'/><feature var='urn:xmpp:time'/>\
            <feature var='http://jabber.org/protocol/commands'/>\
            <feature var='urn:xmpp:http:upload:0'/>\
            <feature var='urn:xmpp:http:upload:purpose:0#message'/>\
            <feature var='urn:xmpp:http:upload:purpose:0#profile'/>\
            <feature var='urn:xmpp:http:upload:purpose:0#ephemeral'/>\
            <feature var='urn:xmpp:http:upload:purpose:0#permanent'/>\
            <x xmlns='jabber:x:data' type='result'>\
            <field var='FORM_TYPE' type='hidden'><value>urn:xmpp:http:upload:0</value></field>\
            <field var='max-file-size' type='text-single'><value>104857617</value></field></x>\
            <x xmlns='jabber:x:data' type='result'>\
            <field var='FORM_TYPE' type='hidden'><value>http://buddycloud.org/v1/api</value></field>\
            <field var='endpoint' type='text-single'><value>https://api.example.com/media</value></field></x>";
        assert_eq!(shown, format!("{HEAD}type='result'>{expected}</query></iq>"));
    }

    #[test]
    fn the_client_is_a_bot_without_an_endpoint_or_an_upload_service() {
        let about =
            About { link: Link::Client, endpoint: Some("https://api.example.com"), upload: Some(1), ..ABOUT };
        let shown = xml(&iq("get", Element::new("query", ns::DISCO_INFO)), &about);
        assert!(shown.starts_with("<iq id='i1' to='alice@example.org/phone' type='result'>"), "{shown}");
        assert!(shown.contains("<identity category='client' type='bot'"), "{shown}");
        assert!(!shown.contains("jabber:x:data") && !shown.contains("upload"), "{shown}");
    }

    #[test]
    fn items_ping_last_activity_and_time_are_answered() {
        for (name, namespace, content) in [
            ("query", ns::DISCO_ITEMS, "><query xmlns='http://jabber.org/protocol/disco#items'/></iq>"),
            ("ping", ns::PING, "/>"),
            ("query", ns::LAST, "><query xmlns='jabber:iq:last' seconds='61'/></iq>"),
            (
                "time",
                ns::TIME,
                "><time xmlns='urn:xmpp:time'><tzo>+00:00</tzo><utc>2014-01-23T18:00:00.123Z</utc></time></iq>",
            ),
        ] {
            let request = iq("get", Element::new(name, namespace));
            assert_eq!(xml(&request, &ABOUT), format!("{HEAD}type='result'{content}"), "{namespace}");
        }
    }

    #[test]
    fn other_requests_are_refused() {
        for request in [
            iq("get", Element::new("query", "jabber:iq:version")),
            iq("get", Element::new("ping", ns::DISCO_INFO)),
            iq("get", Element::new("query", ns::PING)),
            iq("set", Element::new("query", ns::DISCO_INFO)),
            iq("set", Element::new("ping", ns::PING)),
            iq("set", Element::new("confirm", ns::HTTP_AUTH)),
        ] {
            assert_eq!(xml(&request, &ABOUT), error_xml("cancel", "service-unavailable"));
        }
        for namespace in [ns::DISCO_INFO, ns::DISCO_ITEMS] {
            let node = |node: &str| iq("get", Element::new("query", namespace).with("node", node));
            assert_eq!(xml(&node("x"), &ABOUT), error_xml("cancel", "item-not-found"));
            assert!(xml(&node(""), &ABOUT).contains("type='result'"));
        }
    }

    #[test]
    fn a_request_has_exactly_one_child() {
        let ping = || Element::new("ping", ns::PING);
        for request in [bare_iq("get"), bare_iq("set"), iq("get", ping()).with_child(ping())] {
            assert_eq!(xml(&request, &ABOUT), error_xml("modify", "bad-request"));
        }
    }

    #[test]
    fn replies_get_no_reply() {
        let ping = || Element::new("ping", ns::PING);
        for kind in ["result", "error", "", "GET"] {
            assert_eq!(reply(&iq(kind, ping()), &ABOUT), None, "{kind}");
        }
        let untyped = Element::new("iq", ns::CLIENT).with("from", "a@b").with("id", "i").with_child(ping());
        assert_eq!(reply(&untyped, &ABOUT), None);
        let message =
            Element::new("message", ns::CLIENT).with("type", "get").with("id", "i").with("from", "a@b");
        assert_eq!(reply(&message, &ABOUT), None);
    }

    #[test]
    fn a_reply_goes_to_the_sender() {
        let request = iq("get", Element::new("ping", ns::PING)).with("to", "echo@media.example.com/x");
        let found = reply(&request, &ABOUT).unwrap();
        assert_eq!(found.attribute("from"), Some("echo@media.example.com/x"));
        let nameless = Element::new("iq", ns::CLIENT)
            .with("type", "get")
            .with("id", "i")
            .with_child(Element::new("ping", ns::PING));
        assert_eq!(reply(&nameless, &ABOUT), None);
        let own = reply(&nameless, &About { link: Link::Client, ..ABOUT }).unwrap();
        assert_eq!((own.attribute("from"), own.attribute("to")), (None, None));
    }
}
