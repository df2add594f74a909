//! Requests of users to add us to their contacts (RFC 6121 section 3). Pure functions.
//!
//! The component accepts them, so that a client shows it as a contact, with its commands. It does not store who they are:
//! its presence is no secret, and the user's server asks for it. Our account has no contacts: without a reply, its server
//! would keep each request and send it again at every log-in.

use crate::model::Jid;
use crate::xmpp::{Element, Link, ns};

/// The replies to a presence that asks for something.
pub(super) fn replies(link: Link, presence: &Element) -> Vec<Element> {
    let (Some(from), Some(to)) = (address(presence, "from"), address(presence, "to")) else {
        return Vec::new();
    };
    // Only the domain of the component is a contact.
    let is_contact = link == Link::Component && to.bare().local().is_none();
    let reply = |kind: Option<&str>, to: &str| {
        let mut reply = Element::new("presence", ns::CLIENT).with("to", to);
        if link == Link::Component {
            reply.set("from", presence.attribute("to").unwrap_or_default());
        }
        if let Some(kind) = kind {
            reply.set("type", kind);
        }
        reply
    };
    let (user, asker) = (from.bare().as_str(), from.to_string());
    match presence.attribute("type") {
        Some("subscribe") if is_contact => vec![reply(Some("subscribed"), user), reply(None, user)],
        Some("subscribe") => vec![reply(Some("unsubscribed"), user)],
        Some("unsubscribe") if is_contact => vec![reply(Some("unavailable"), user)],
        Some("probe") if is_contact => vec![reply(None, &asker)],
        _ => Vec::new(),
    }
}

/// Whether a stanza may have such replies.
pub(super) fn is_request(stanza: &Element) -> bool {
    let asks = |kind| matches!(kind, "subscribe" | "unsubscribe" | "probe");
    stanza.is("presence", ns::CLIENT) && stanza.attribute("type").is_some_and(asks)
}

fn address(stanza: &Element, name: &str) -> Option<Jid> {
    stanza.attribute(name)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPONENT: &str = "media.example.org";
    const ALICE: &str = "alice@example.org/phone";

    fn told(link: Link, kind: &str, from: &str, to: &str) -> Vec<String> {
        let presence = Element::new("presence", ns::CLIENT).with("from", from).with("to", to);
        let presence = if kind.is_empty() { presence } else { presence.with("type", kind) };
        let replies = replies(link, &presence);
        assert!(replies.is_empty() || is_request(&presence), "{kind}");
        replies.iter().map(|reply| reply.to_xml(ns::CLIENT)).collect()
    }

    #[test]
    fn the_component_is_a_contact_of_everybody_who_wants() {
        let told = |kind, from| told(Link::Component, kind, from, COMPONENT);
        let here = format!("<presence to='alice@example.org' from='{COMPONENT}'/>");
        let accepted = format!("<presence to='alice@example.org' from='{COMPONENT}' type='subscribed'/>");
        assert_eq!(told("subscribe", ALICE), [accepted, here.clone()]);
        assert_eq!(told("probe", "alice@example.org"), [here]);
        assert_eq!(told("probe", ALICE), [format!("<presence to='{ALICE}' from='{COMPONENT}'/>")]);
        let gone = format!("<presence to='alice@example.org' from='{COMPONENT}' type='unavailable'/>");
        assert_eq!(told("unsubscribe", ALICE), [gone]);
        for kind in ["", "subscribed", "unsubscribed", "unavailable", "error", "Subscribe"] {
            assert_eq!(told(kind, ALICE), [] as [&str; 0], "{kind}: two services would answer each other");
        }
        assert_eq!(told("subscribe", "@"), [] as [&str; 0]);
    }

    #[test]
    fn other_addresses_and_our_account_have_no_contacts() {
        let other = "bob@media.example.org";
        let refused = format!("<presence to='alice@example.org' from='{other}' type='unsubscribed'/>");
        assert_eq!(told(Link::Component, "subscribe", ALICE, other), [refused]);
        assert_eq!(told(Link::Component, "probe", ALICE, other), [] as [&str; 0]);
        let account = "mediaserver@example.org";
        let refused = "<presence to='alice@example.org' type='unsubscribed'/>";
        assert_eq!(told(Link::Client, "subscribe", ALICE, account), [refused]);
        assert_eq!(told(Link::Client, "probe", ALICE, account), [] as [&str; 0]);
    }
}
