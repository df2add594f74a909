//! The IQs that ask a channel service who may read a channel, and which affiliation a user has. Without I/O.

use super::iq::{self, AffiliationPage, IqReply, IqRequest};
use super::lookup::{Conclusion, LookupProtocol, LookupStep, LookupValue};
use crate::limits;
use crate::model::{AccessModel, Affiliation, BareJid, Jid, Refusal};
use crate::xmpp::{Element, ns};

/// Asks who may read a channel: first the node's disco#info, which services tell everyone; then the node's
/// configuration, if the former holds no access model.
pub(super) struct AccessProtocol {
    service: Jid,
    node: String,
}

impl AccessProtocol {
    pub(super) fn new(service: Jid, node: String) -> Self {
        Self { service, node }
    }

    fn info(&self) -> IqRequest {
        let payload = Element::new("query", ns::DISCO_INFO).with("node", &self.node);
        IqRequest { to: self.service.clone(), payload }
    }

    fn configuration(&self) -> IqRequest {
        let configure = Element::new("configure", ns::PUBSUB_OWNER).with("node", &self.node);
        let payload = Element::new("pubsub", ns::PUBSUB_OWNER).with_child(configure);
        IqRequest { to: self.service.clone(), payload }
    }
}

impl LookupProtocol for AccessProtocol {
    fn start(&mut self) -> Vec<IqRequest> {
        vec![self.info()]
    }

    fn reply(&mut self, number: usize, reply: IqReply<'_>) -> LookupStep {
        match reply {
            IqReply::Result(iq) if number == 0 => match iq::access_in_info(iq) {
                Some(model) => LookupStep::found(LookupValue::Access(model)),
                None => LookupStep::Send(vec![self.configuration()]),
            },
            IqReply::Result(iq) => match iq::access_in_configuration(iq) {
                Some(model) => LookupStep::found(LookupValue::Access(model)),
                None => LookupStep::assumed(LookupValue::Access(AccessModel::Private)),
            },
            // Services that don't support the request reply "service-unavailable", too.
            IqReply::NotFound | IqReply::Refused | IqReply::Unreachable => {
                LookupStep::assumed(LookupValue::Access(AccessModel::Private))
            }
            IqReply::Silence => LookupStep::failed(),
        }
    }
}

/// Asks which affiliation a user has with a channel: reads the pages of the node's affiliations until one names the
/// user.
pub(super) struct AffiliationProtocol {
    service: Jid,
    node: String,
    user: BareJid,
    pages: usize,
    /// Entries on the pages so far.
    seen: usize,
    /// The `after` of the last request.
    after: Option<String>,
}

impl AffiliationProtocol {
    pub(super) fn new(service: Jid, node: String, user: BareJid) -> Self {
        Self { service, node, user, pages: 0, seen: 0, after: None }
    }

    fn page(&self) -> IqRequest {
        let list = Element::new("affiliations", ns::PUBSUB_OWNER).with("node", &self.node);
        let mut payload = Element::new("pubsub", ns::PUBSUB_OWNER).with_child(list);
        if let Some(after) = &self.after {
            let after = Element::new("after", ns::RSM).with_text(after);
            payload.push(Element::new("set", ns::RSM).with_child(after));
        }
        IqRequest { to: self.service.clone(), payload }
    }

    fn take_page(&mut self, page: &AffiliationPage<'_>) -> LookupStep {
        if let Some(affiliation) = page.of(&self.user) {
            return LookupStep::found(LookupValue::Affiliation(affiliation));
        }
        self.pages += 1;
        self.seen += page.len();
        let Some(next) = page.next(self.seen) else {
            return LookupStep::found(LookupValue::Affiliation(Affiliation::None));
        };
        // Some services ignore `after`; others count people whom they never list.
        let no_progress = page.len() == 0 || self.after.as_deref() == Some(next);
        if no_progress || self.pages >= limits::AFFILIATION_PAGES {
            return LookupStep::assumed(LookupValue::Affiliation(Affiliation::None));
        }
        self.after = Some(next.to_owned());
        LookupStep::Send(vec![self.page()])
    }
}

impl LookupProtocol for AffiliationProtocol {
    fn start(&mut self) -> Vec<IqRequest> {
        vec![self.page()]
    }

    fn reply(&mut self, _number: usize, reply: IqReply<'_>) -> LookupStep {
        match reply {
            IqReply::Result(iq) => match AffiliationPage::read(iq) {
                Some(page) => self.take_page(&page),
                None => LookupStep::assumed(LookupValue::Affiliation(Affiliation::None)),
            },
            IqReply::NotFound => LookupStep::assumed(LookupValue::Affiliation(Affiliation::None)),
            IqReply::Refused => LookupStep::Done(Conclusion::refused(Refusal::RightsUntold)),
            IqReply::Unreachable | IqReply::Silence => LookupStep::failed(),
        }
    }
}
