//! The registry of confirmations (XEP-0070): which requests wait for a user's reply, until when, and which limits they
//! count for. A part of the gate's state machine, without I/O.

mod stanza;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::credentials::Credentials;
use super::random::hex_id;
use super::request::{Request, RequestId};
use super::settings::Settings;
use crate::model::{BareJid, Jid, Refusal};
use crate::xmpp::Element;
use stanza::{Prompt, PromptReply};

/// The user who confirmed, or why nobody did.
pub(super) type ConfirmationResult = Result<BareJid, Refusal>;

/// The confirmations whose users have been asked and have not replied.
pub(super) struct Confirmations {
    limits: ConfirmationLimits,
    /// By ticket, hence by age.
    pending: BTreeMap<RequestId, Pending>,
    /// Those of them whose client has hung up. They count for the user and for the client's address until their
    /// deadline: otherwise a client that hangs up and asks again could ask the user without end.
    abandoned: BTreeSet<RequestId>,
    /// By asked user, so that the cost of a reply and of a request does not grow with all that are pending.
    by_user: HashMap<BareJid, BTreeSet<RequestId>>,
    by_stanza_id: HashMap<String, RequestId>,
    /// How many each client network has.
    by_address: HashMap<IpAddr, usize>,
}

struct ConfirmationLimits {
    reply_timeout: Duration,
    per_user: usize,
    per_address: usize,
    total: usize,
}

impl ConfirmationLimits {
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
            limits: ConfirmationLimits::of(settings),
            pending: BTreeMap::new(),
            abandoned: BTreeSet::new(),
            by_user: HashMap::new(),
            by_stanza_id: HashMap::new(),
            by_address: HashMap::new(),
        }
    }

    /// Replaces time and limits; pending confirmations keep their deadline.
    pub(super) fn set_limits(&mut self, settings: &Settings) {
        self.limits = ConfirmationLimits::of(settings);
    }

    /// How many requests wait for their confirmation.
    pub(super) fn len(&self) -> usize {
        self.pending.len() - self.abandoned.len()
    }

    /// Begins a confirmation; returns the prompt.
    pub(super) fn begin(
        &mut self,
        now: Instant,
        component: &Jid,
        id: RequestId,
        request: &Request,
        credentials: &Credentials,
    ) -> Result<Element, Refusal> {
        self.check_limits(credentials.jid().bare(), request.client)?;
        let prompt = Prompt::new(request, credentials, hex_id(), hex_id());
        let stanza = prompt.to_stanza(component);
        let deadline = now + self.limits.reply_timeout;
        self.insert(id, Pending { prompt, client: request.client, deadline });
        Ok(stanza)
    }

    /// The request's client has hung up: the reply will decide nothing.
    pub(super) fn cancel(&mut self, id: RequestId) {
        if self.pending.contains_key(&id) {
            self.abandoned.insert(id);
        }
        if self.abandoned.len() > self.limits.total
            && let Some(oldest) = self.abandoned.first().copied()
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

    /// Takes a stanza from the component's link. Returns the request that it decides, if any, and the result.
    pub(super) fn decide(
        &mut self,
        now: Instant,
        stanza: &Element,
    ) -> Option<(RequestId, ConfirmationResult)> {
        let reply = PromptReply::read(stanza)?;
        // One reply decides one confirmation: the one with its stanza id, else the oldest that it fits.
        let named = reply.stanza_id.and_then(|id| self.by_stanza_id.get(id));
        let of_sender = self.by_user.get(reply.from.bare()).into_iter().flatten();
        let fitting = named.into_iter().chain(of_sender).filter_map(|id| {
            let pending = self.pending.get(id)?;
            (now < pending.deadline && reply.decides(&pending.prompt))
                .then_some((self.abandoned.contains(id), *id))
        });
        // A request that waits comes before an equal one that was abandoned.
        let (abandoned, id) = fitting.min_by_key(|(abandoned, _)| *abandoned)?;
        let pending = self.remove(id)?;
        if abandoned {
            return None;
        }
        let result = if reply.denies { Err(Refusal::Denied) } else { Ok(pending.prompt.asked.into_bare()) };
        Some((id, result))
    }

    /// Removes the confirmations whose deadline is over; returns the requests that waited for them.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<RequestId> {
        let late = self.pending.iter().filter(|(_, pending)| pending.deadline <= now);
        let mut late: Vec<_> = late.map(|(id, _)| *id).collect();
        late.retain(|id| {
            let waits = !self.abandoned.contains(id);
            self.remove(*id);
            waits
        });
        late
    }

    /// The earliest deadline.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.pending.values().map(|pending| pending.deadline).min()
    }

    /// Removes all confirmations; returns the requests that waited for them.
    pub(super) fn clear(&mut self) -> Vec<RequestId> {
        self.by_user.clear();
        self.by_stanza_id.clear();
        self.by_address.clear();
        let abandoned = std::mem::take(&mut self.abandoned);
        std::mem::take(&mut self.pending).into_keys().filter(|id| !abandoned.contains(id)).collect()
    }

    fn insert(&mut self, id: RequestId, pending: Pending) {
        self.by_user.entry(pending.prompt.asked.bare().clone()).or_default().insert(id);
        self.by_stanza_id.insert(pending.prompt.stanza_id.clone(), id);
        if let Some(client) = pending.client {
            *self.by_address.entry(client).or_default() += 1;
        }
        self.pending.insert(id, pending);
    }

    fn remove(&mut self, id: RequestId) -> Option<Pending> {
        let pending = self.pending.remove(&id)?;
        self.abandoned.remove(&id);
        self.by_stanza_id.remove(&pending.prompt.stanza_id);
        if let Some(ids) = self.by_user.get_mut(pending.prompt.asked.bare()) {
            ids.remove(&id);
            if ids.is_empty() {
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
