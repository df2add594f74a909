//! The lookups of the gate for commands, which send one IQ after the other and wait for each reply. Without I/O: the
//! caller sends the IQs.

use std::collections::VecDeque;

use super::discovery::Discovery;
use super::iq::{self, IqReply, IqRequest};
use super::lookup::{Conclusion, LookupProtocol, LookupStep, LookupValue};
use super::rights::{AccessProtocol, AffiliationProtocol};
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::model::{AccessModel, Affiliation, BareJid, Channel, Jid, NodeNames, Refusal};
use crate::xmpp::{Element, ns};

/// Sends an IQ of type `get` or `set` and waits for its reply; `None` without one in time.
pub type Ask<'a> = dyn FnMut(&'static str, &Jid, Element) -> Result<Option<Element>> + 'a;

/// The reply of a service to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply<T> {
    /// It told this.
    Told(T),
    /// It refused, with this condition (RFC 6120 section 8.3.3).
    Refused(String),
}

/// Finds the channel service of a domain, as the server does.
pub fn channel_service(ask: &mut Ask<'_>, domain: &Jid) -> Result<Option<Jid>> {
    match run(ask, &mut Discovery::new(domain.clone()))?.0.result {
        Ok(LookupValue::Service(service)) => Ok(service),
        Ok(_) => Ok(None),
        Err(refusal) => Err(silence(domain, refusal)),
    }
}

/// Asks who may read the channel of this node.
pub fn access_model(ask: &mut Ask<'_>, service: &Jid, node: &str) -> Result<Reply<AccessModel>> {
    let (conclusion, condition) = run(ask, &mut AccessProtocol::new(service.clone(), node.to_owned()))?;
    match (conclusion.result, condition) {
        (Ok(LookupValue::Access(model)), None) => Ok(Reply::Told(model)),
        (Err(refusal), None) => Err(silence(service, refusal)),
        (_, condition) => Ok(Reply::Refused(condition.unwrap_or_default())),
    }
}

/// Asks for a user's affiliation with the channel of this node.
pub fn affiliation(
    ask: &mut Ask<'_>,
    service: &Jid,
    node: &str,
    user: &BareJid,
) -> Result<Reply<Affiliation>> {
    let mut protocol = AffiliationProtocol::new(service.clone(), node.to_owned(), user.clone());
    let (conclusion, condition) = run(ask, &mut protocol)?;
    match (conclusion.result, condition) {
        (Ok(LookupValue::Affiliation(affiliation)), None) => Ok(Reply::Told(affiliation)),
        (Err(refusal), None) => Err(silence(service, refusal)),
        (_, condition) => Ok(Reply::Refused(condition.unwrap_or_default())),
    }
}

/// Some of the channels of this domain that its service lists, by their nodes.
pub fn channels(ask: &mut Ask<'_>, service: &Jid, domain: &str, nodes: &NodeNames) -> Result<Vec<Channel>> {
    let Some(reply) = ask("get", service, Element::new("query", ns::DISCO_ITEMS))? else {
        return Err(silence(service, Refusal::ChannelServiceDown));
    };
    let items = reply.child("query", ns::DISCO_ITEMS).into_iter().flat_map(Element::children);
    let channel = |item: &Element| nodes.channel(domain, item.attribute("node")?);
    Ok(items.filter_map(channel).take(limits::DISCOVERY_ITEMS).collect())
}

/// The condition of a stanza error (RFC 6120 section 8.3.3); `None` for other stanzas.
pub fn error_condition(stanza: &Element) -> Option<String> {
    if stanza.attribute("type") != Some("error") {
        return None;
    }
    let error = stanza.child("error", ns::CLIENT);
    let condition = error.and_then(|error| error.children().find(|child| child.namespace() == ns::STANZAS));
    Some(condition.map_or("an error without a condition", Element::name).to_owned())
}

/// Asks what the protocol wants to know. Returns its conclusion, and the condition of the reply that led to it, if that was
/// an error.
fn run(ask: &mut Ask<'_>, protocol: &mut dyn LookupProtocol) -> Result<(Conclusion, Option<String>)> {
    let mut requests: VecDeque<IqRequest> = protocol.start().into();
    let mut number = 0;
    while let Some(IqRequest { to, payload }) = requests.pop_front() {
        let reply = ask("get", &to, payload)?;
        let read = reply.as_ref().and_then(iq::read).unwrap_or(IqReply::Silence);
        match protocol.reply(number, read) {
            LookupStep::Send(more) => requests.extend(more),
            LookupStep::Wait => {}
            LookupStep::Done(conclusion) => {
                return Ok((conclusion, reply.as_ref().and_then(error_condition)));
            }
        }
        number += 1;
    }
    Ok((Conclusion::refused(Refusal::ChannelServiceDown), None))
}

fn silence(asked: &Jid, refusal: Refusal) -> Error {
    Error::caused(Kind::Unavailable, format!("{asked} did not reply in time"), refusal)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{element, error, info, result};
    use super::*;

    fn jid(text: &str) -> Jid {
        text.parse().unwrap()
    }

    fn iq() -> Element {
        element("iq", ns::CLIENT, &[("id", "i"), ("to", "x")], &[])
    }

    /// Answers the questions with these replies, in order.
    fn replies(
        replies: Vec<Option<Element>>,
    ) -> impl FnMut(&'static str, &Jid, Element) -> Result<Option<Element>> {
        let mut replies = replies.into_iter();
        move |kind, _, _| {
            assert_eq!(kind, "get");
            Ok(replies.next().expect("no more questions"))
        }
    }

    fn items(nodes: &[(&str, &str)]) -> Element {
        let item = |(jid, node): &(&str, &str)| {
            element("item", ns::DISCO_ITEMS, &[("jid", jid), ("node", node)], &[])
        };
        let items: Vec<_> = nodes.iter().map(item).collect();
        result(&iq(), &[element("query", ns::DISCO_ITEMS, &[], &items)])
    }

    #[test]
    fn a_service_is_found_although_other_items_do_not_reply() {
        let domain = jid("example.com");
        let listed = items(&[("away.example.com", ""), ("channels.example.com", "")]);
        let channels = result(&iq(), &[info(&[("pubsub", "channels")])]);
        let mut ask = replies(vec![Some(listed.clone()), None, Some(channels)]);
        assert_eq!(channel_service(&mut ask, &domain).unwrap(), Some(jid("channels.example.com")));
        let other = result(&iq(), &[info(&[("server", "im")])]);
        let mut ask = replies(vec![
            Some(listed.clone()),
            Some(other.clone()),
            Some(other.clone()),
            Some(other.clone()),
        ]);
        assert_eq!(channel_service(&mut ask, &domain).unwrap(), None);
        let mut ask = replies(vec![Some(listed), None, Some(other.clone()), Some(other)]);
        let error = channel_service(&mut ask, &domain).unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable, "the silent one may be it: {error}");
    }

    #[test]
    fn a_refusal_is_told_with_its_condition() {
        let (service, node) = (jid("channels.example.com"), "/user/room@example.com/posts");
        let user: BareJid = "bob@example.com".parse().unwrap();
        let page = |affiliation| {
            let row = element(
                "affiliation",
                ns::PUBSUB_OWNER,
                &[("jid", "bob@example.com"), ("affiliation", affiliation)],
                &[],
            );
            let list = element("affiliations", ns::PUBSUB_OWNER, &[], &[row]);
            result(&iq(), &[element("pubsub", ns::PUBSUB_OWNER, &[], &[list])])
        };
        let told = |reply| affiliation(&mut replies(vec![reply]), &service, node, &user);
        assert_eq!(told(Some(page("publisher"))).unwrap(), Reply::Told(Affiliation::Publisher));
        let forbidden = error(&iq(), "auth", "forbidden");
        assert_eq!(told(Some(forbidden.clone())).unwrap(), Reply::Refused("forbidden".to_owned()));
        assert!(told(None).is_err());
        let model = access_model(&mut replies(vec![Some(forbidden)]), &service, node).unwrap();
        assert_eq!(model, Reply::Refused("forbidden".to_owned()));
    }

    #[test]
    fn the_nodes_of_channels_are_channels() {
        let service = jid("channels.example.com");
        let nodes = [
            ("channels.example.com", "/user/room@example.com/posts"),
            ("channels.example.com", "/user/room@example.com/status"),
            ("channels.example.com", "other"),
            ("channels.example.com", "/user/no channel/posts"),
        ];
        let mut ask = replies(vec![Some(items(&nodes))]);
        let found = channels(&mut ask, &service, "example.com", &NodeNames::default()).unwrap();
        assert_eq!(found, ["room@example.com".parse().unwrap()]);
    }
}
