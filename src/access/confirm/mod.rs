//! Pending confirmations (XEP-0070): who was asked what, and whose word counts as the reply.

mod stanza;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::credentials::Credentials;
use super::random::hex_id;
use super::request::{Ask, Ticket};
use super::settings::Settings;
use crate::model::{BareJid, Jid, Refusal};
use crate::xmpp::Element;
use stanza::{Prompt, PromptReply};

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

/// A prompt that was sent, and what it counts for.
struct Pending {
    prompt: Prompt,
    client: Option<IpAddr>,
    deadline: Instant,
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
        let prompt = Prompt::new(ask, credentials, hex_id(), hex_id());
        let stanza = prompt.to_stanza(component);
        let deadline = now + self.limits.reply_timeout;
        self.insert(ticket, Pending { prompt, client: ask.client, deadline });
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
        let reply = PromptReply::read(stanza)?;
        // One answer decides one confirmation: the one it names by stanza id, else the oldest.
        let named = reply.stanza_id.and_then(|id| self.by_stanza_id.get(id));
        let of_sender = self.by_user.get(reply.from.bare()).into_iter().flatten();
        let meant = named.into_iter().chain(of_sender).filter_map(|ticket| {
            let pending = self.pending.get(ticket)?;
            (now < pending.deadline && reply.decides(&pending.prompt))
                .then_some((self.left.contains(ticket), *ticket))
        });
        // Of equal ones, one that somebody waits for.
        let (left, ticket) = meant.min_by_key(|(left, _)| *left)?;
        let pending = self.remove(ticket)?;
        if left {
            return None;
        }
        let verdict = if reply.denies { Err(Refusal::Denied) } else { Ok(pending.prompt.asked.into_bare()) };
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
        self.by_user.entry(pending.prompt.asked.bare().clone()).or_default().insert(ticket);
        self.by_stanza_id.insert(pending.prompt.stanza_id.clone(), ticket);
        if let Some(client) = pending.client {
            *self.by_address.entry(client).or_default() += 1;
        }
        self.pending.insert(ticket, pending);
    }

    fn remove(&mut self, ticket: Ticket) -> Option<Pending> {
        let pending = self.pending.remove(&ticket)?;
        self.left.remove(&ticket);
        self.by_stanza_id.remove(&pending.prompt.stanza_id);
        if let Some(tickets) = self.by_user.get_mut(pending.prompt.asked.bare()) {
            tickets.remove(&ticket);
            if tickets.is_empty() {
                self.by_user.remove(pending.prompt.asked.bare());
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

#[cfg(test)]
mod tests;
