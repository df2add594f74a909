//! How commands are found: service discovery (XEP-0030) of the node of XEP-0050 section 3. Pure functions.

use super::super::reply::StanzaError;
use super::Command;
use crate::xmpp::{Element, ns};

/// Whether an IQ asks about a node.
pub(in super::super) fn is_discovery(iq: &Element) -> bool {
    iq.attribute("type") == Some("get") && query(iq).is_some()
}

/// The only child of an IQ that asks about a node, and the node.
fn query(iq: &Element) -> Option<(&Element, &str)> {
    let mut children = iq.children();
    let (Some(query), None) = (children.next(), children.next()) else { return None };
    let asks = query.name() == "query" && matches!(query.namespace(), ns::DISCO_ITEMS | ns::DISCO_INFO);
    let node = query.attribute("node").filter(|node| asks && !node.is_empty())?;
    Some((query, node))
}

/// The reply to such an IQ to the address `own`.
pub(in super::super) fn discovered(iq: &Element, own: &str, is_admin: bool) -> Result<Element, StanzaError> {
    let found = query(iq).and_then(|(query, node)| match query.namespace() {
        ns::DISCO_ITEMS => items(node, own, is_admin),
        _ => info(node, is_admin),
    });
    found.ok_or_else(|| StanzaError::new("cancel", "item-not-found", "There is no such node."))
}

/// The list of commands. A command itself has no items.
fn items(node: &str, own: &str, is_admin: bool) -> Option<Element> {
    let query = Element::new("query", ns::DISCO_ITEMS).with("node", node);
    if node != ns::COMMANDS {
        return Command::find(node, is_admin).map(|_| query);
    }
    let item = |command: Command| {
        Element::new("item", ns::DISCO_ITEMS)
            .with("jid", own)
            .with("node", command.node())
            .with("name", command.name())
    };
    Some(Command::seen_by(is_admin).map(item).fold(query, Element::with_child))
}

fn info(node: &str, is_admin: bool) -> Option<Element> {
    let query = Element::new("query", ns::DISCO_INFO).with("node", node);
    let identity = |kind: &str, name: &str| {
        Element::new("identity", ns::DISCO_INFO)
            .with("category", "automation")
            .with("type", kind)
            .with("name", name)
    };
    let feature = |name: &str| Element::new("feature", ns::DISCO_INFO).with("var", name);
    if node == ns::COMMANDS {
        return Some(query.with_child(identity("command-list", "Commands")));
    }
    let command = Command::find(node, is_admin)?;
    let query = query.with_child(identity("command-node", command.name()));
    Some(query.with_child(feature(ns::COMMANDS)).with_child(feature(ns::DATA_FORMS)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn iq(namespace: &str, node: &str) -> Element {
        let query = Element::new("query", namespace).with("node", node);
        Element::new("iq", ns::CLIENT).with("type", "get").with_child(query)
    }

    fn xml(namespace: &str, node: &str, is_admin: bool) -> String {
        let iq = iq(namespace, node);
        if !is_discovery(&iq) {
            return "for others".to_owned();
        }
        let reply = discovered(&iq, "media.example.org", is_admin);
        reply.map_or("refused".to_owned(), |query| query.to_xml(ns::CLIENT))
    }

    #[test]
    fn the_list_holds_what_the_user_may_run() {
        let own = "<query xmlns='http://jabber.org/protocol/disco#items' node='http://jabber.org/protocol/commands'>\
            <item jid='media.example.org' node='files' name='My files'/>\
            <item jid='media.example.org' node='quota' name='How much I use'/>\
            <item jid='media.example.org' node='delete-all' name='Delete all my files'/>";
        assert_eq!(xml(ns::DISCO_ITEMS, ns::COMMANDS, false), format!("{own}</query>"));
        let of_admins = "<item jid='media.example.org' node='user-files' name='Files of a user'/>\
            <item jid='media.example.org' node='usage' name='Usage'/>\
            <item jid='media.example.org' node='block' name='Block a user'/>\
            <item jid='media.example.org' node='unblock' name='Unblock a user'/>";
        assert_eq!(xml(ns::DISCO_ITEMS, ns::COMMANDS, true), format!("{own}{of_admins}</query>"));
    }

    #[test]
    fn each_node_tells_what_it_is() {
        assert_eq!(
            xml(ns::DISCO_INFO, ns::COMMANDS, false),
            "<query xmlns='http://jabber.org/protocol/disco#info' node='http://jabber.org/protocol/commands'>\
             <identity category='automation' type='command-list' name='Commands'/></query>"
        );
        assert_eq!(
            xml(ns::DISCO_INFO, "files", false),
            "<query xmlns='http://jabber.org/protocol/disco#info' node='files'>\
             <identity category='automation' type='command-node' name='My files'/>\
             <feature var='http://jabber.org/protocol/commands'/><feature var='jabber:x:data'/></query>"
        );
        assert_eq!(
            xml(ns::DISCO_ITEMS, "files", false),
            "<query xmlns='http://jabber.org/protocol/disco#items' node='files'/>"
        );
        for namespace in [ns::DISCO_INFO, ns::DISCO_ITEMS] {
            assert_eq!(xml(namespace, "block", false), "refused", "others do not see it");
            assert!(xml(namespace, "block", true).starts_with("<query "));
            assert_eq!(xml(namespace, "x", true), "refused");
            assert_eq!(xml(namespace, "", true), "for others");
        }
        assert_eq!(xml(ns::PING, "files", true), "for others");
        let set = iq(ns::DISCO_INFO, "files").with("type", "set");
        assert!(!is_discovery(&set));
    }
}
