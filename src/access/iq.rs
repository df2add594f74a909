//! The IQs that ask XMPP services, and how their replies are read. Pure functions; a value that a reply lacks is `None`.

use crate::model::{AccessModel, Affiliation, BareJid, Jid};
use crate::xmpp::{Element, ns};

/// An IQ of type `get` that is to be sent.
pub(super) struct IqRequest {
    pub(super) to: Jid,
    pub(super) payload: Element,
}

/// The reply to an [`IqRequest`], or its absence.
#[derive(Clone, Copy)]
pub(super) enum IqReply<'a> {
    /// The IQ of type `result`.
    Result(&'a Element),
    /// The entity does not know what it is asked about.
    NotFound,
    /// The entity does not tell it to us.
    Refused,
    /// The entity can't be reached, or failed.
    Unreachable,
    /// No reply in time, or the entity asks to try again later.
    Silence,
}

/// The form of a node's meta-data (XEP-0060 section 5.4).
const META_DATA: &str = "http://jabber.org/protocol/pubsub#meta-data";
/// The field of either form that holds the access model (XEP-0060 section 4.5).
const ACCESS_MODEL: &str = "pubsub#access_model";

/// Reads an IQ of type `result` or `error`.
pub(super) fn read(iq: &Element) -> Option<IqReply<'_>> {
    match iq.attribute("type")? {
        "result" => Some(IqReply::Result(iq)),
        "error" => Some(iq.child("error", ns::CLIENT).map_or(IqReply::Refused, classify)),
        _ => None,
    }
}

/// Sorts stanza errors (RFC 6120 section 8.3).
fn classify(error: &Element) -> IqReply<'static> {
    let has = |condition: &&str| error.child(condition, ns::STANZAS).is_some();
    if error.attribute("type") == Some("wait") || has(&"remote-server-timeout") {
        IqReply::Silence
    } else if ["remote-server-not-found", "service-unavailable", "internal-server-error"].iter().any(has) {
        IqReply::Unreachable
    } else if has(&"item-not-found") || has(&"gone") {
        IqReply::NotFound
    } else {
        IqReply::Refused
    }
}

/// The entities that a domain lists (XEP-0030 section 4.1), each once, in order; at most `max`.
pub(super) fn items(iq: &Element, max: usize) -> Vec<Jid> {
    let mut found: Vec<Jid> = Vec::new();
    let items = iq.child("query", ns::DISCO_ITEMS).into_iter().flat_map(Element::children);
    let mut last = "";
    for jid in items.filter(|item| item.is("item", ns::DISCO_ITEMS)).filter_map(|item| item.attribute("jid"))
    {
        if found.len() == max {
            break;
        }
        // A channel service lists a node per item: thousands, all at the same address.
        if jid == last {
            continue;
        }
        last = jid;
        if let Ok(jid) = jid.parse()
            && !found.contains(&jid)
        {
            found.push(jid);
        }
    }
    found
}

/// Whether an entity has an identity of this category and type (XEP-0030 section 3.1).
pub(super) fn has_identity(iq: &Element, category: &str, kind: &str) -> bool {
    let identities = iq.child("query", ns::DISCO_INFO).into_iter().flat_map(Element::children);
    identities.filter(|child| child.is("identity", ns::DISCO_INFO)).any(|identity| {
        identity.attribute("category") == Some(category) && identity.attribute("type") == Some(kind)
    })
}

/// The access model in a node's disco#info, if the service puts it there.
pub(super) fn access_in_info(iq: &Element) -> Option<AccessModel> {
    let query = iq.child("query", ns::DISCO_INFO)?;
    let forms = query.children().filter(|child| child.is("x", ns::DATA_FORMS));
    let mut meta_data = forms.filter(|form| field(form, "FORM_TYPE") == Some(META_DATA));
    meta_data.find_map(|form| field(form, ACCESS_MODEL)).map(AccessModel::from_word)
}

/// The access model in a node's configuration (XEP-0060 section 8.2).
pub(super) fn access_in_configuration(iq: &Element) -> Option<AccessModel> {
    let configure = iq.child("pubsub", ns::PUBSUB_OWNER)?.child("configure", ns::PUBSUB_OWNER)?;
    let form = configure.child("x", ns::DATA_FORMS)?;
    field(form, ACCESS_MODEL).map(AccessModel::from_word)
}

/// The first value of a form's field (XEP-0004).
fn field<'a>(form: &'a Element, name: &str) -> Option<&'a str> {
    let mut fields = form.children().filter(|child| child.is("field", ns::DATA_FORMS));
    let field = fields.find(|field| field.attribute("var") == Some(name))?;
    field.child("value", ns::DATA_FORMS).map(|value| value.text().trim())
}

/// A page of a node's affiliations (XEP-0060 section 8.9.1, XEP-0059).
pub(super) struct AffiliationPage<'a> {
    list: &'a Element,
    set: Option<&'a Element>,
}

impl<'a> AffiliationPage<'a> {
    /// Services use either namespace, whichever the request used.
    pub(super) fn read(iq: &'a Element) -> Option<Self> {
        let page = |namespace| {
            let pubsub = iq.child("pubsub", namespace)?;
            Some(Self { list: pubsub.child("affiliations", namespace)?, set: pubsub.child("set", ns::RSM) })
        };
        page(ns::PUBSUB_OWNER).or_else(|| page(ns::PUBSUB))
    }

    /// The first entry of the user; it may name any of their resources.
    pub(super) fn of(&self, user: &BareJid) -> Option<Affiliation> {
        let is_user = |entry: &&Element| {
            let jid = entry.attribute("jid").and_then(|jid| jid.parse::<Jid>().ok());
            jid.is_some_and(|jid| jid.bare() == user)
        };
        let entry = self.entries().find(is_user)?;
        Some(entry.attribute("affiliation").map_or(Affiliation::None, Affiliation::from_word))
    }

    /// Entries on the page.
    pub(super) fn len(&self) -> usize {
        self.entries().count()
    }

    /// Where the next page begins; `None` if the `seen` entries are all. Services need not send a count.
    pub(super) fn next(&self, seen: usize) -> Option<&'a str> {
        let text = |name| self.set?.child(name, ns::RSM).map(|child| child.text().trim());
        let more = text("count").is_none_or(|count| count.parse().is_ok_and(|count: usize| seen < count));
        text("last").filter(|last| !last.is_empty() && more)
    }

    fn entries(&self) -> impl Iterator<Item = &'a Element> {
        let namespace = self.list.namespace();
        self.list.children().filter(move |child| child.is("affiliation", namespace))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{element, error, info, result};
    use super::*;

    fn iq(child: Element) -> Element {
        let question = element("iq", ns::CLIENT, &[("id", "i"), ("to", "x")], &[]);
        result(&question, &[child])
    }

    #[test]
    fn stanza_errors_are_sorted_into_four_kinds() {
        let question = element("iq", ns::CLIENT, &[("id", "i"), ("to", "x")], &[]);
        let sorted = |kind: &str, condition: &str| match read(&error(&question, kind, condition)) {
            Some(IqReply::NotFound) => "not found",
            Some(IqReply::Refused) => "refused",
            Some(IqReply::Unreachable) => "unreachable",
            Some(IqReply::Silence) => "silence",
            Some(IqReply::Result(_)) | None => "other",
        };
        assert_eq!(sorted("cancel", "item-not-found"), "not found");
        assert_eq!(sorted("cancel", "gone"), "not found");
        assert_eq!(sorted("cancel", "not-allowed"), "refused");
        assert_eq!(sorted("auth", "forbidden"), "refused");
        assert_eq!(sorted("cancel", "service-unavailable"), "unreachable");
        assert_eq!(sorted("cancel", "remote-server-not-found"), "unreachable");
        assert_eq!(sorted("cancel", "internal-server-error"), "unreachable");
        assert_eq!(sorted("cancel", "remote-server-timeout"), "silence");
        assert_eq!(sorted("wait", "internal-server-error"), "silence");
        assert!(matches!(read(&result(&question, &[]).with("type", "error")), Some(IqReply::Refused)));
        assert!(read(&result(&question, &[]).with("type", "get")).is_none());
    }

    #[test]
    fn an_identity_needs_its_namespace_its_category_and_its_type() {
        assert!(has_identity(&iq(info(&[("x", "y"), ("pubsub", "channels")])), "pubsub", "channels"));
        assert!(!has_identity(&iq(info(&[])), "pubsub", "channels"));
        assert!(!has_identity(&iq(info(&[("pubsub", "x"), ("x", "channels")])), "pubsub", "channels"));
        let stranger = Element::new("identity", "x").with("category", "pubsub").with("type", "channels");
        let query = Element::new("query", ns::DISCO_INFO).with_child(stranger);
        assert!(!has_identity(&iq(query), "pubsub", "channels"));
    }

    #[test]
    fn the_access_model_is_read_from_the_meta_data_form_only() {
        let field = |name: &str, value: &str| {
            let value = Element::new("value", ns::DATA_FORMS).with_text(value);
            element("field", ns::DATA_FORMS, &[("var", name)], &[value])
        };
        let form = |form_type: &str| {
            element("x", ns::DATA_FORMS, &[], &[field("FORM_TYPE", form_type), field(ACCESS_MODEL, " open ")])
        };
        let query = |forms: &[Element]| iq(element("query", ns::DISCO_INFO, &[], forms));
        assert_eq!(access_in_info(&query(&[form("other"), form(META_DATA)])), Some(AccessModel::Open));
        assert_eq!(access_in_info(&query(&[form("other")])), None);
        assert_eq!(access_in_info(&query(&[])), None);
        let empty = element("field", ns::DATA_FORMS, &[("var", ACCESS_MODEL)], &[]);
        let form = element("x", ns::DATA_FORMS, &[], &[field("FORM_TYPE", META_DATA), empty]);
        assert_eq!(access_in_info(&query(&[form])), None);
    }

    #[test]
    fn there_is_a_next_page_if_last_is_given_and_the_count_is_not_reached() {
        let page = |children: &[(&str, &str)]| {
            let child = |(name, text): &(&str, &str)| Element::new(name, ns::RSM).with_text(*text);
            let set = element("set", ns::RSM, &[], &children.iter().map(child).collect::<Vec<_>>());
            let list = Element::new("affiliations", ns::PUBSUB);
            iq(element("pubsub", ns::PUBSUB, &[], &[list, set]))
        };
        let next = |children: &[(&str, &str)], seen| {
            let page = page(children);
            AffiliationPage::read(&page).unwrap().next(seen).map(str::to_owned)
        };
        assert_eq!(next(&[("last", "a"), ("count", "3")], 2).as_deref(), Some("a"));
        assert_eq!(next(&[("last", "a"), ("count", "3")], 3), None);
        assert_eq!(next(&[("last", "a"), ("count", "-1")], 0), None);
        assert_eq!(next(&[("last", "a"), ("count", "99999999999999999999")], 0), None);
        assert_eq!(next(&[("last", "a")], 3).as_deref(), Some("a"));
        assert_eq!(next(&[("last", ""), ("count", "3")], 0), None);
        assert_eq!(next(&[("count", "3")], 0), None);
    }

    #[test]
    fn a_result_without_affiliations_is_not_read_as_a_page() {
        for child in [
            Element::new("pubsub", ns::PUBSUB),
            Element::new("affiliations", ns::PUBSUB),
            Element::new("pubsub", ns::PUBSUB).with_child(Element::new("affiliations", ns::PUBSUB_OWNER)),
            Element::new("pubsub", "x").with_child(Element::new("affiliations", "x")),
        ] {
            assert!(AffiliationPage::read(&iq(child)).is_none());
        }
    }
}
