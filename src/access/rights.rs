//! Asking a channel service who may read a channel, and what a user is in it.

use super::query::{Found, Inquiry, Question, Reply, Turn};
use super::reply::{self, AffiliationPage};
use crate::limits;
use crate::model::{AccessModel, Affiliation, BareJid, Channel, Jid};
use crate::xmpp::{Element, ns};

/// The question who may read a channel: its node's disco#info, which tells everyone, then the node's
/// configuration, where the former says nothing of it.
pub(super) struct Access {
    service: Jid,
    node: String,
}

impl Access {
    pub(super) fn new(service: Jid, channel: &Channel) -> Self {
        Self { service, node: channel.node() }
    }

    fn info(&self) -> Question {
        let payload = Element::new("query", ns::DISCO_INFO).with("node", &self.node);
        Question { to: self.service.clone(), payload }
    }

    fn configuration(&self) -> Question {
        let configure = Element::new("configure", ns::PUBSUB_OWNER).with("node", &self.node);
        let payload = Element::new("pubsub", ns::PUBSUB_OWNER).with_child(configure);
        Question { to: self.service.clone(), payload }
    }
}

impl Inquiry for Access {
    fn start(&mut self) -> Vec<Question> {
        vec![self.info()]
    }

    fn reply(&mut self, number: usize, reply: Reply<'_>) -> Turn {
        match reply {
            Reply::Result(iq) if number == 0 => match reply::access_in_info(iq) {
                Some(model) => Turn::found(Found::Access(model)),
                None => Turn::Ask(vec![self.configuration()]),
            },
            Reply::Result(iq) => match reply::access_in_configuration(iq) {
                Some(model) => Turn::found(Found::Access(model)),
                None => Turn::assumed(Found::Access(AccessModel::Private)),
            },
            // "Service unavailable" is also what services say that don't know the question.
            Reply::Refused | Reply::Unreachable => Turn::assumed(Found::Access(AccessModel::Private)),
            Reply::Silence => Turn::failed(),
        }
    }
}

/// The question what a user is in a channel: the pages of the node's affiliations, until one has them.
pub(super) struct Affiliations {
    service: Jid,
    node: String,
    user: BareJid,
    pages: usize,
    /// How many people were listed so far.
    seen: usize,
    /// What the last page was asked for with.
    after: Option<String>,
}

impl Affiliations {
    pub(super) fn new(service: Jid, channel: &Channel, user: BareJid) -> Self {
        Self { service, node: channel.node(), user, pages: 0, seen: 0, after: None }
    }

    fn question(&self) -> Question {
        let list = Element::new("affiliations", ns::PUBSUB_OWNER).with("node", &self.node);
        let mut payload = Element::new("pubsub", ns::PUBSUB_OWNER).with_child(list);
        if let Some(after) = &self.after {
            let after = Element::new("after", ns::RSM).with_text(after);
            payload.push(Element::new("set", ns::RSM).with_child(after));
        }
        Question { to: self.service.clone(), payload }
    }

    fn take_page(&mut self, page: &AffiliationPage<'_>) -> Turn {
        if let Some(affiliation) = page.of(&self.user) {
            return Turn::found(Found::Affiliation(affiliation));
        }
        self.pages += 1;
        self.seen += page.len();
        let Some(next) = page.next(self.seen) else {
            return Turn::found(Found::Affiliation(Affiliation::None));
        };
        // Services are known that ignore `after`, or count people whom they never list.
        let no_progress = page.len() == 0 || self.after.as_deref() == Some(next);
        if no_progress || self.pages >= limits::AFFILIATION_PAGES {
            return Turn::assumed(Found::Affiliation(Affiliation::None));
        }
        self.after = Some(next.to_owned());
        Turn::Ask(vec![self.question()])
    }
}

impl Inquiry for Affiliations {
    fn start(&mut self) -> Vec<Question> {
        vec![self.question()]
    }

    fn reply(&mut self, _number: usize, reply: Reply<'_>) -> Turn {
        match reply {
            Reply::Result(iq) => match AffiliationPage::read(iq) {
                Some(page) => self.take_page(&page),
                None => Turn::assumed(Found::Affiliation(Affiliation::None)),
            },
            Reply::Refused => Turn::assumed(Found::Affiliation(Affiliation::None)),
            Reply::Unreachable | Reply::Silence => Turn::failed(),
        }
    }
}
