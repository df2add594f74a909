//! Finding the server among the items of a domain (XEP-0030). The caller's thread waits for the replies.

use std::collections::BTreeSet;

use media_server::limits;
use media_server::model::Jid;
use media_server::xmpp::{Element, ns};

use crate::account::Account;
use crate::address::Endpoint;
use crate::exit::{Exit, Failure, Result};

/// The form that tells the HTTP interface (XEP-0128).
const API_FORM: &str = "http://buddycloud.org/v1/api";

/// A media server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaService {
    /// Its address, from which prompts come.
    pub jid: Jid,
    /// Its HTTP interface.
    pub endpoint: Endpoint,
}

/// An upload service (XEP-0363).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadService {
    /// Its address.
    pub jid: Jid,
    /// Bytes of the largest file.
    pub max_size: Option<u64>,
    /// The purposes that it keeps.
    pub purposes: BTreeSet<String>,
}

/// The media server of the first of these domains that has one, or the one that the configuration names.
pub fn find_media(account: &Account, named: Option<&Jid>, domains: &[&str]) -> Result<MediaService> {
    let told = |info: &Element| is_media_server(info).then(|| endpoint(info));
    let (jid, endpoint) =
        search(account, named, domains, told).ok_or_else(|| none_found("media server", named, domains))?;
    let endpoint = endpoint.ok_or_else(|| {
        Failure::new(
            Exit::NoService,
            format!("{jid} does not say where its HTTP interface is: it lacks http.endpoint"),
        )
    })?;
    let endpoint = Endpoint::told(&endpoint, account.plain_http());
    let endpoint = endpoint.map_err(|text| Failure::new(Exit::NoService, text).of(&jid))?;
    Ok(MediaService { jid, endpoint })
}

/// The address of the media server of this domain, or the one that the configuration names.
pub fn find_server(account: &Account, named: Option<&Jid>, domain: &str) -> Result<Jid> {
    let found = search(account, named, &[domain], |info| is_media_server(info).then_some(()));
    found.map(|(jid, ())| jid).ok_or_else(|| none_found("media server", named, &[domain]))
}

/// The upload service of this domain, or the one that the configuration names.
pub fn find_upload(account: &Account, named: Option<&Jid>, domain: &str) -> Result<UploadService> {
    let (jid, (max_size, purposes)) = search(account, named, &[domain], upload)
        .ok_or_else(|| none_found("upload service", named, &[domain]))?;
    Ok(UploadService { jid, max_size, purposes })
}

fn none_found(what: &str, named: Option<&Jid>, domains: &[&str]) -> Failure {
    let place = named.map_or_else(|| domains.join(" and "), ToString::to_string);
    Failure::new(Exit::NoService, format!("no {what} found at {place}"))
}

/// Asks the named entity; without one, the items of each domain in order, and the domain itself. Gives the first for
/// which `read` finds a value.
fn search<T>(
    account: &Account,
    named: Option<&Jid>,
    domains: &[&str],
    read: impl Fn(&Element) -> Option<T>,
) -> Option<(Jid, T)> {
    if let Some(jid) = named {
        return first_of(account, vec![jid.clone()], &read);
    }
    domains.iter().find_map(|domain| {
        let domain: Jid = domain.parse().ok()?;
        let items = account.ask_one("get", &domain, Element::new("query", ns::DISCO_ITEMS)).ok();
        let mut candidates = items.as_ref().map(items_of).unwrap_or_default();
        candidates.push(domain);
        first_of(account, candidates, &read)
    })
}

/// Asks all of them at once; the first good reply counts.
fn first_of<T>(account: &Account, jids: Vec<Jid>, read: &impl Fn(&Element) -> Option<T>) -> Option<(Jid, T)> {
    let questions = jids.iter().map(|jid| (jid.clone(), Element::new("query", ns::DISCO_INFO)));
    let replies = account.ask("get", questions);
    let mut found = replies.filter_map(|(number, reply)| {
        let info =
            reply.child("query", ns::DISCO_INFO).filter(|_| reply.attribute("type") == Some("result"))?;
        Some((number, read(info)?))
    });
    let (number, value) = found.next()?;
    Some((jids.into_iter().nth(number)?, value))
}

/// The addresses of the items, without nodes of other entities.
fn items_of(reply: &Element) -> Vec<Jid> {
    let query = reply.child("query", ns::DISCO_ITEMS).filter(|_| reply.attribute("type") == Some("result"));
    let items = query.into_iter().flat_map(Element::children).filter(|item| item.attribute("node").is_none());
    let jids = items.filter_map(|item| item.attribute("jid")?.parse().ok());
    jids.take(limits::DISCOVERY_ITEMS).collect()
}

fn is_media_server(info: &Element) -> bool {
    info.children().any(|identity| {
        let is_told = |name: &str, value: &str| identity.attribute(name) == Some(value);
        identity.is("identity", ns::DISCO_INFO)
            && is_told("category", "component")
            && is_told("type", "generic")
            && is_told("name", "Media Server")
    })
}

fn endpoint(info: &Element) -> Option<String> {
    form_field(info, API_FORM, "endpoint")
}

/// The largest size and the purposes of an upload service.
fn upload(info: &Element) -> Option<(Option<u64>, BTreeSet<String>)> {
    let features =
        || info.children().filter_map(|child| child.attribute("var").filter(|_| child.name() == "feature"));
    if !features().any(|feature| feature == ns::UPLOAD) {
        return None;
    }
    let purposes =
        features().filter_map(|feature| feature.strip_prefix(ns::UPLOAD_PURPOSE)?.strip_prefix('#'));
    let max_size = form_field(info, ns::UPLOAD, "max-file-size").and_then(|size| size.trim().parse().ok());
    Some((max_size, purposes.map(str::to_owned).collect()))
}

/// A field of the form of this type.
fn form_field(info: &Element, form_type: &str, name: &str) -> Option<String> {
    let field = |form: &Element, name: &str| {
        let field = form.children().find(|field| field.attribute("var") == Some(name))?;
        Some(field.child("value", ns::DATA_FORMS)?.text().to_owned())
    };
    let forms = info.children().filter(|child| child.is("x", ns::DATA_FORMS));
    forms
        .filter(|form| field(form, "FORM_TYPE").as_deref() == Some(form_type))
        .find_map(|form| field(form, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(kind: &str, name: &str, value: &str) -> Element {
        let field = |name: &str, value: &str| {
            let value = Element::new("value", ns::DATA_FORMS).with_text(value);
            Element::new("field", ns::DATA_FORMS).with("var", name).with_child(value)
        };
        Element::new("x", ns::DATA_FORMS).with_child(field("FORM_TYPE", kind)).with_child(field(name, value))
    }

    fn identity(category: &str, kind: &str, name: &str) -> Element {
        Element::new("identity", ns::DISCO_INFO)
            .with("category", category)
            .with("type", kind)
            .with("name", name)
    }

    fn feature(name: &str) -> Element {
        Element::new("feature", ns::DISCO_INFO).with("var", name)
    }

    #[test]
    fn a_media_server_is_known_by_its_identity() {
        let info = Element::new("query", ns::DISCO_INFO)
            .with_child(identity("store", "file", "HTTP File Upload"))
            .with_child(identity("component", "generic", "Media Server"))
            .with_child(form(ns::UPLOAD, "max-file-size", "1017"))
            .with_child(form(API_FORM, "endpoint", "https://media.example.com"));
        assert!(is_media_server(&info));
        assert_eq!(endpoint(&info).as_deref(), Some("https://media.example.com"));
        let other =
            Element::new("query", ns::DISCO_INFO).with_child(identity("component", "generic", "Gateway"));
        assert!(!is_media_server(&other));
        assert_eq!(endpoint(&other), None);
    }

    #[test]
    fn an_upload_service_is_known_by_its_feature() {
        let info = Element::new("query", ns::DISCO_INFO)
            .with_child(feature(ns::UPLOAD))
            .with_child(feature("urn:xmpp:http:upload:purpose:0#profile"))
            .with_child(form("other", "max-file-size", "1"))
            .with_child(form(ns::UPLOAD, "max-file-size", "1017"));
        assert_eq!(upload(&info), Some((Some(1017), BTreeSet::from(["profile".to_owned()]))));
        assert_eq!(upload(&Element::new("query", ns::DISCO_INFO).with_child(feature("x"))), None);
    }

    #[test]
    fn nodes_are_no_services() {
        let item = |jid: &str| Element::new("item", ns::DISCO_ITEMS).with("jid", jid);
        let query = Element::new("query", ns::DISCO_ITEMS)
            .with_child(item("a.example.com"))
            .with_child(item("b.example.com").with("node", "x"))
            .with_child(item("not an address"));
        let reply = Element::new("iq", ns::CLIENT).with_child(query);
        assert_eq!(items_of(&reply.clone().with("type", "error")), []);
        assert_eq!(items_of(&reply.with("type", "result")), ["a.example.com".parse().unwrap()]);
    }
}
