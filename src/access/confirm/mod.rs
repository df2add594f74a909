//! Pending confirmations (XEP-0070): who was asked what, and whose word counts as the answer.

use std::collections::{BTreeMap, BTreeSet, HashMap};
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

/// The confirmations that wait for their answers.
pub(super) struct Confirmations {
    limits: Limits,
    /// By ticket, hence by age.
    pending: BTreeMap<Ticket, Pending>,
    /// Of them, those whose requests have left. The user was asked all the same: they count for the user and for the
    /// address that asked, else whoever hangs up and asks again could ask without end.
    left: BTreeSet<Ticket>,
    /// Those of each user who was asked, so that neither an answer nor a request has to look at all there are.
    by_user: HashMap<BareJid, BTreeSet<Ticket>>,
    by_stanza_id: HashMap<String, Ticket>,
    /// How many each client address has.
    by_address: HashMap<IpAddr, usize>,
}

struct Limits {
    reply_timeout: Duration,
    per_user: usize,
    per_address: usize,
    total: usize,
}

impl Limits {
    fn of(settings: &Settings) -> Self {
        Self {
            reply_timeout: settings.reply_timeout,
            per_user: settings.pending_per_user,
            per_address: settings.pending_per_address,
            total: settings.pending_total,
        }
    }
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
        Self {
            limits: Limits::of(settings),
            pending: BTreeMap::new(),
            left: BTreeSet::new(),
            by_user: HashMap::new(),
            by_stanza_id: HashMap::new(),
            by_address: HashMap::new(),
        }
    }

    /// Other limits for what comes.
    pub(super) fn set_limits(&mut self, settings: &Settings) {
        self.limits = Limits::of(settings);
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.pending.len() - self.left.len()
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
        self.insert(ticket, pending);
        Ok(stanza)
    }

    /// Nobody waits for this confirmation any more: whatever is answered, it decides nothing.
    pub(super) fn cancel(&mut self, ticket: Ticket) {
        if self.pending.contains_key(&ticket) {
            self.left.insert(ticket);
        }
        if self.left.len() > self.limits.total
            && let Some(oldest) = self.left.first().copied()
        {
            self.remove(oldest);
        }
    }

    fn check_limits(&self, user: &BareJid, client: Option<IpAddr>) -> Result<(), Refusal> {
        let of_user = self.by_user.get(user).map_or(0, BTreeSet::len);
        let of_client = client.and_then(|client| self.by_address.get(&client)).map_or(0, |count| *count);
        if self.len() >= self.limits.total {
            return Err(Refusal::TooManyPending);
        }
        if of_user >= self.limits.per_user {
            return Err(Refusal::TooManyForUser);
        }
        if client.is_some() && of_client >= self.limits.per_address {
            return Err(Refusal::TooManyForAddress);
        }
        Ok(())
    }

    /// Takes a stanza of the component's link; says which confirmation it decides, if any, and how.
    pub(super) fn decide(&mut self, now: Instant, stanza: &Element) -> Option<(Ticket, Verdict)> {
        let answer = Answer::read(stanza)?;
        // One answer decides one confirmation: the one it names by stanza id, else the oldest.
        let named = answer.stanza_id.and_then(|id| self.by_stanza_id.get(id));
        let of_sender = self.by_user.get(answer.from.bare()).into_iter().flatten();
        let meant = named.into_iter().chain(of_sender).filter_map(|ticket| {
            let pending = self.pending.get(ticket)?;
            (now < pending.deadline && answer.is_to(pending)).then_some((self.left.contains(ticket), *ticket))
        });
        // Of equal ones, one that somebody waits for.
        let (left, ticket) = meant.min_by_key(|(left, _)| *left)?;
        let pending = self.remove(ticket)?;
        if left {
            return None;
        }
        let verdict = if answer.denies { Err(Refusal::Denied) } else { Ok(pending.asked.into_bare()) };
        Some((ticket, verdict))
    }

    /// Takes out what was not answered in time; the tickets of those who waited for it.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<Ticket> {
        let late = self.pending.iter().filter(|(_, pending)| pending.deadline <= now);
        let mut late: Vec<_> = late.map(|(ticket, _)| *ticket).collect();
        late.retain(|ticket| {
            let waits = !self.left.contains(ticket);
            self.remove(*ticket);
            waits
        });
        late
    }

    /// When the first of them is late.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.pending.values().map(|pending| pending.deadline).min()
    }

    /// Takes out everything; the tickets of those who waited.
    pub(super) fn clear(&mut self) -> Vec<Ticket> {
        self.by_user.clear();
        self.by_stanza_id.clear();
        self.by_address.clear();
        let left = std::mem::take(&mut self.left);
        std::mem::take(&mut self.pending).into_keys().filter(|ticket| !left.contains(ticket)).collect()
    }

    fn insert(&mut self, ticket: Ticket, pending: Pending) {
        self.by_user.entry(pending.asked.bare().clone()).or_default().insert(ticket);
        self.by_stanza_id.insert(pending.stanza_id.clone(), ticket);
        if let Some(client) = pending.client {
            *self.by_address.entry(client).or_default() += 1;
        }
        self.pending.insert(ticket, pending);
    }

    fn remove(&mut self, ticket: Ticket) -> Option<Pending> {
        let pending = self.pending.remove(&ticket)?;
        self.left.remove(&ticket);
        self.by_stanza_id.remove(&pending.stanza_id);
        if let Some(tickets) = self.by_user.get_mut(pending.asked.bare()) {
            tickets.remove(&ticket);
            if tickets.is_empty() {
                self.by_user.remove(pending.asked.bare());
            }
        }
        if let Some(client) = pending.client
            && let Some(count) = self.by_address.get_mut(&client)
        {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&client);
            }
        }
        Some(pending)
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

#[cfg(test)]
mod tests;
