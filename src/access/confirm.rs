//! Pending confirmations (XEP-0070): who was asked what, and whose word counts as the answer.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::credentials::Credentials;
use super::random::hex_id;
use super::request::{Ask, Ticket};
use super::settings::Settings;
use crate::model::{BareJid, Jid, Method, Refusal};
use crate::xmpp::{Element, ns};

/// What came of a confirmation: who confirmed, or why nobody did.
pub(super) type Verdict = Result<BareJid, Refusal>;

/// The confirmations that wait for their answers. By ticket, hence by age.
pub(super) struct Confirmations {
    limits: Limits,
    pending: BTreeMap<Ticket, Pending>,
}

struct Limits {
    reply_timeout: Duration,
    per_user: usize,
    per_address: usize,
    total: usize,
}

/// A confirmation that was asked for. It can't be formatted: it holds a transaction id.
struct Pending {
    asked: Jid,
    client: Option<IpAddr>,
    deadline: Instant,
    stanza_id: String,
    thread: String,
    transaction: String,
    method: Method,
    url: String,
}

impl Confirmations {
    pub(super) fn new(settings: &Settings) -> Self {
        let limits = Limits {
            reply_timeout: settings.reply_timeout,
            per_user: settings.pending_per_user,
            per_address: settings.pending_per_address,
            total: settings.pending_total,
        };
        Self { limits, pending: BTreeMap::new() }
    }

    /// Begins a confirmation; returns the stanza that asks for it.
    pub(super) fn begin(
        &mut self,
        now: Instant,
        component: &Jid,
        ticket: Ticket,
        ask: &Ask,
        credentials: &Credentials,
    ) -> Result<Element, Refusal> {
        self.check_limits(credentials.jid().bare(), ask.client)?;
        let pending = Pending {
            asked: credentials.jid().clone(),
            client: ask.client,
            deadline: now + self.limits.reply_timeout,
            stanza_id: hex_id(),
            thread: hex_id(),
            transaction: credentials.transaction().to_owned(),
            method: ask.method,
            url: ask.url.clone(),
        };
        let stanza = pending.stanza(component);
        self.pending.insert(ticket, pending);
        Ok(stanza)
    }

    fn check_limits(&self, user: &BareJid, client: Option<IpAddr>) -> Result<(), Refusal> {
        let count = |counts: &dyn Fn(&Pending) -> bool| self.pending.values().filter(|p| counts(p)).count();
        if self.pending.len() >= self.limits.total {
            return Err(Refusal::TooManyPending);
        }
        if count(&|pending| pending.asked.bare() == user) >= self.limits.per_user {
            return Err(Refusal::TooManyForUser);
        }
        if client.is_some() && count(&|pending| pending.client == client) >= self.limits.per_address {
            return Err(Refusal::TooManyForAddress);
        }
        Ok(())
    }

    /// Takes a stanza of the component's link; says which confirmation it decides, if any, and how.
    pub(super) fn decide(&mut self, stanza: &Element) -> Option<(Ticket, Verdict)> {
        let answer = Answer::read(stanza)?;
        let answered: Vec<_> = self.pending.iter().filter(|(_, pending)| answer.is_to(pending)).collect();
        // One answer decides one confirmation: the one it names by stanza id, else the oldest.
        let named = answered.iter().find(|(_, pending)| answer.names(pending));
        let ticket = *named.or(answered.first())?.0;
        let pending = self.pending.remove(&ticket)?;
        let verdict = if answer.denies { Err(Refusal::Denied) } else { Ok(pending.asked.into_bare()) };
        Some((ticket, verdict))
    }

    /// Takes out what was not answered in time.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<Ticket> {
        let late = self.pending.iter().filter(|(_, pending)| pending.deadline <= now);
        let late: Vec<_> = late.map(|(ticket, _)| *ticket).collect();
        self.pending.retain(|_, pending| pending.deadline > now);
        late
    }

    /// Takes out everything.
    pub(super) fn clear(&mut self) -> Vec<Ticket> {
        std::mem::take(&mut self.pending).into_keys().collect()
    }
}

impl Pending {
    fn stanza(&self, component: &Jid) -> Element {
        let confirm = Element::new("confirm", ns::HTTP_AUTH)
            .with("id", &self.transaction)
            .with("method", self.method.name())
            .with("url", &self.url);
        // Not an IQ: deployed clients answer by sending the stanza back with its addresses swapped.
        Element::new("message", ns::CLIENT)
            .with("type", "normal")
            .with("id", &self.stanza_id)
            .with("from", component.to_string())
            .with("to", self.asked.to_string())
            .with_child(Element::new("thread", ns::CLIENT).with_text(&self.thread))
            .with_child(Element::new("body", ns::CLIENT).with_text(self.body()))
            .with_child(confirm)
    }

    fn matches(&self, confirm: &Element) -> bool {
        confirm.attribute("id") == Some(&self.transaction)
            && confirm.attribute("method") == Some(self.method.name())
            && confirm.attribute("url") == Some(&self.url)
    }

    /// For people whose client does not know XEP-0070. What the requester chose comes last.
    fn body(&self) -> String {
        format!(
            "Somebody, probably you, asks in your name for {} {}\nIf it was you, confirm the request in your \
             client. If not, deny it, or do nothing: it will then be refused.\nConfirmation message for \
             transaction {}",
            self.method.name(),
            self.url,
            self.transaction
        )
    }
}

/// A stanza that may answer a confirmation.
struct Answer<'a> {
    from: Jid,
    denies: bool,
    stanza_id: Option<&'a str>,
    thread: Option<&'a str>,
    confirm: Option<&'a Element>,
}

impl<'a> Answer<'a> {
    fn read(stanza: &'a Element) -> Option<Self> {
        let kind = stanza.attribute("type");
        let is_answer = match stanza.name() {
            // One client sends messages of type "result"; every type but "error" may confirm.
            "message" => true,
            "iq" => matches!(kind, Some("result" | "error")),
            _ => false,
        };
        if !is_answer || stanza.namespace() != ns::CLIENT {
            return None;
        }
        Some(Self {
            from: stanza.attribute("from")?.parse().ok()?,
            denies: kind == Some("error") || stanza.child("error", ns::CLIENT).is_some(),
            stanza_id: stanza.attribute("id"),
            thread: stanza.child("thread", ns::CLIENT).map(Element::text),
            confirm: stanza.child("confirm", ns::HTTP_AUTH),
        })
    }

    fn is_to(&self, pending: &Pending) -> bool {
        self.answers(pending) || self.bounces(pending)
    }

    /// From whom was asked, about what they were asked.
    fn answers(&self, pending: &Pending) -> bool {
        let same_thread = self.thread.is_none_or(|thread| thread == pending.thread);
        self.is_from(&pending.asked)
            && same_thread
            && self.confirm.is_some_and(|confirm| pending.matches(confirm))
    }

    /// An error to the very stanza that was sent, from whom was asked or from a server in their place. It
    /// need not repeat what it answers.
    fn bounces(&self, pending: &Pending) -> bool {
        self.denies
            && self.names(pending)
            && (self.is_from(&pending.asked) || self.is_from_server_of(&pending.asked))
    }

    /// A full address answers for itself only, a bare one through any of its resources.
    fn is_from(&self, asked: &Jid) -> bool {
        match asked.resource() {
            Some(_) => self.from == *asked,
            None => self.from.bare() == asked.bare(),
        }
    }

    fn is_from_server_of(&self, asked: &Jid) -> bool {
        let sender = self.from.bare();
        self.from.resource().is_none() && (sender == asked.bare() || sender.as_str() == asked.bare().domain())
    }

    fn names(&self, pending: &Pending) -> bool {
        self.stanza_id == Some(&pending.stanza_id)
    }
}
