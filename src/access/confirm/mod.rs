//! The registry of confirmations (XEP-0070): which requests wait for a user's reply, until when, and which limits they
//! count for. A part of the gate's state machine, without I/O.

mod nodes;
mod people;
mod prompt;
mod reply;
mod talk;
mod text_request;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Instant;

use super::credentials::Credentials;
use super::request::{Confirmation, Request, RequestId};
use super::settings::Settings;
use crate::limits;
use crate::model::{BareJid, Jid, Refusal};
use crate::xmpp::Element;
use people::{EndedPrompt, People};
use prompt::{Prompt, PromptForm};
use reply::{PromptReply, TextMessage, Verdict};
use talk::Told;
pub use text_request::TextRequest;

/// The user who confirmed, or the reason why the request was not confirmed.
pub(super) type ConfirmationResult = Result<BareJid, Refusal>;

/// The effects of a stanza.
#[derive(Default)]
pub(super) struct Reaction {
    /// The requests that it decides, with the result.
    pub(super) decided: Vec<(RequestId, ConfirmationResult)>,
    /// Stanzas for the component's link.
    pub(super) send: Vec<Element>,
    /// Commands that came as texts.
    pub(super) commands: Vec<TextRequest>,
}

/// The requests that wait for a confirmation. For some of them no user was asked: see [`Confirmation`].
pub(super) struct Confirmations {
    settings: Settings,
    /// By number, hence by age.
    pending: BTreeMap<RequestId, Pending>,
    /// Those of them whose client has hung up. They count for the user and for the client's address until their
    /// deadline: otherwise a client that hangs up and asks again could ask the user without end.
    abandoned: BTreeSet<RequestId>,
    /// By asked user, so that the cost of a reply and of a request does not grow with all that are pending.
    by_user: HashMap<BareJid, PendingOfUser>,
    by_stanza_id: HashMap<String, RequestId>,
    /// How many each client network has.
    by_address: HashMap<IpAddr, usize>,
    people: People,
    told: Told,
    /// Confirmations that have ended without a report, since their clients had hung up.
    ended: Vec<RequestId>,
    /// Until then users may reply by texts to prompts of another node that are unknown here.
    cautious_until: Option<Instant>,
}

/// The confirmations of one user.
#[derive(Default)]
struct PendingOfUser {
    ids: BTreeSet<RequestId>,
    /// How many each client network has.
    by_network: HashMap<Option<IpAddr>, usize>,
}

/// A prompt, and what it counts for.
struct Pending {
    prompt: Prompt,
    client: Option<IpAddr>,
    begun: Instant,
    deadline: Instant,
    /// Whether the prompt was sent. Otherwise nothing that anybody sends may have to do with it.
    shown: bool,
    /// Whether a bounce refuses it. On a private channel, it would tell that the prompt was sent.
    ends_by_bounce: bool,
}

impl Confirmations {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            settings: settings.clone(),
            pending: BTreeMap::new(),
            abandoned: BTreeSet::new(),
            by_user: HashMap::new(),
            by_stanza_id: HashMap::new(),
            by_address: HashMap::new(),
            people: People::default(),
            told: Told::new(),
            ended: Vec::new(),
            cautious_until: None,
        }
    }

    /// Replaces time and limits; pending confirmations keep their deadline.
    pub(super) fn set_settings(&mut self, settings: &Settings) {
        self.settings = settings.clone();
    }

    /// How many requests wait for their confirmation.
    pub(super) fn len(&self) -> usize {
        self.pending.len() - self.abandoned.len()
    }

    /// Begins a confirmation; returns the prompt, if the user is to be asked. `known_open` is whether the channel is known
    /// to be open, if it was not looked up for the request.
    pub(super) fn begin(
        &mut self,
        now: Instant,
        component: &Jid,
        id: RequestId,
        (request, credentials): (&Request, &Credentials),
        confirmation: Confirmation,
        known_open: bool,
    ) -> Result<Option<Element>, Refusal> {
        self.check_limits(request.client)?;
        self.check_user(now, credentials.jid().bare(), request.client, request.origin.is_some())?;
        let prompt = Prompt::new(request, credentials, &self.settings);
        let stanza = confirmation.shown.then(|| prompt.to_stanza(component));
        let pending = Pending {
            prompt,
            client: request.client,
            begun: now,
            deadline: now + self.settings.reply_timeout,
            shown: confirmation.shown,
            ends_by_bounce: confirmation.ends_by_bounce(known_open),
        };
        self.insert(id, pending);
        Ok(stanza)
    }

    /// The request's client has hung up: the reply will decide nothing.
    pub(super) fn cancel(&mut self, id: RequestId) {
        if self.pending.contains_key(&id) {
            self.abandoned.insert(id);
        }
        if self.abandoned.len() > self.settings.pending_total
            && let Some(oldest) = self.abandoned.first().copied()
            && let Some(pending) = self.remove(oldest)
            && let Some(person) = self.people.get_mut(pending.prompt.asked.bare())
        {
            person.left_unanswered();
        }
    }

    fn check_limits(&self, client: Option<IpAddr>) -> Result<(), Refusal> {
        let of_client = client.and_then(|client| self.by_address.get(&client)).map_or(0, |count| *count);
        if self.len() >= self.settings.pending_total {
            return Err(Refusal::TooManyPending);
        }
        if client.is_some() && of_client >= self.settings.pending_per_address {
            return Err(Refusal::TooManyForAddress);
        }
        Ok(())
    }

    /// Whether the user may be asked once more. No network has all places of a user, and strangers have not all of them
    /// together; so nobody keeps the user from confirming, and nobody asks without end.
    fn check_user(
        &mut self,
        now: Instant,
        user: &BareJid,
        client: Option<IpAddr>,
        has_origin: bool,
    ) -> Result<(), Refusal> {
        let share = |(part, whole): (usize, usize)| self.settings.pending_per_user * part / whole;
        let pending = self.by_user.get(user);
        let of_user = pending.map_or(0, |pending| pending.ids.len());
        let of_network = pending.and_then(|pending| pending.by_network.get(&client));
        let of_network = of_network.map_or(0, |count| *count);
        if client.is_some() && of_network >= share(limits::PROMPTS_OF_NETWORK).max(1) {
            return Err(Refusal::TooManyForUser);
        }
        let person = self.people.of(now, user);
        // A web page of a stranger runs within the user's own network.
        let is_known = !has_origin && person.knows(now, client);
        let is_expected = person.expects_prompts(now) && of_network == 0;
        let kept = if is_known || is_expected { 0 } else { share(limits::PROMPTS_KEPT) };
        if of_user + kept >= self.settings.pending_per_user {
            return Err(Refusal::TooManyForUser);
        }
        if person.is_silent() && !is_known {
            if !person.may_be_asked(now) {
                return Err(Refusal::UserSilent);
            }
            person.asked_rarely(now);
        }
        Ok(())
    }

    /// Takes a stanza from the component's link.
    pub(super) fn take(&mut self, now: Instant, component: &Jid, stanza: &Element) -> Reaction {
        let mut reaction = Reaction::default();
        let meant = PromptReply::read(stanza).and_then(|reply| self.meant_by(now, &reply));
        if let Some((id, verdict)) = meant {
            self.take_verdict(now, component, id, verdict, &mut reaction);
        } else if let Some(message) = TextMessage::read(stanza) {
            self.take_text(now, component, &message, &mut reaction);
        }
        reaction
    }

    /// The prompt that a reply decides: the one with its stanza id, else the oldest that it fits.
    fn meant_by(&self, now: Instant, reply: &PromptReply<'_>) -> Option<(RequestId, Verdict)> {
        let named = reply.stanza_id.and_then(|id| self.by_stanza_id.get(id));
        let of_sender = self.by_user.get(reply.from.bare()).into_iter().flat_map(|pending| &pending.ids);
        let mut fitting = named.into_iter().chain(of_sender).filter_map(|id| {
            let pending = self.pending.get(id).filter(|pending| pending.is_asked(now))?;
            Some((*id, reply.to(&pending.prompt)?))
        });
        // A request that waits comes before an equal one that was abandoned.
        let first = fitting.next()?;
        let waits = |(id, _): &(RequestId, Verdict)| !self.abandoned.contains(id);
        if waits(&first) { Some(first) } else { Some(fitting.find(waits).unwrap_or(first)) }
    }

    fn take_verdict(
        &mut self,
        now: Instant,
        component: &Jid,
        id: RequestId,
        verdict: Verdict,
        reaction: &mut Reaction,
    ) {
        match verdict {
            Verdict::Confirms => reaction.decided.extend(self.decide(now, id, true)),
            Verdict::Denies => reaction.decided.extend(self.decide(now, id, false)),
            Verdict::Bounces => self.bounced(now, component, id, reaction),
        }
    }

    /// The prompt bounced: the client does not support that IQ, or no client is online.
    fn bounced(&mut self, now: Instant, component: &Jid, id: RequestId, reaction: &mut Reaction) {
        let Some(pending) = self.pending.get_mut(&id) else { return };
        if pending.prompt.form == PromptForm::Iq {
            pending.prompt.fall_back();
            reaction.send.push(pending.prompt.to_stanza(component));
        } else if pending.ends_by_bounce {
            reaction.decided.extend(self.end(now, id).map(|(id, _)| (id, Err(Refusal::Denied))));
        }
    }

    /// The user has replied. Returns the request and the result, unless its client has hung up.
    fn decide(&mut self, now: Instant, id: RequestId, yes: bool) -> Option<(RequestId, ConfirmationResult)> {
        let pending = self.pending.get(&id)?;
        let (user, client) = (pending.prompt.asked.bare().clone(), pending.client);
        let person = self.people.of(now, &user);
        person.heard(now);
        if yes {
            person.confirmed_for(now, client);
        }
        let (id, user) = self.end(now, id)?;
        Some((id, if yes { Ok(user) } else { Err(Refusal::Denied) }))
    }

    /// Removes a prompt, which a reply may still name. Returns the request, unless its client has hung up, and the user.
    fn end(&mut self, now: Instant, id: RequestId) -> Option<(RequestId, BareJid)> {
        let waits = !self.abandoned.contains(&id);
        let Pending { prompt, begun, shown, .. } = self.remove(id)?;
        let user = prompt.asked.bare().clone();
        if shown {
            let Prompt { asked, thread, stanza_id, transaction, .. } = prompt;
            let ended = EndedPrompt { asked, thread, stanza_id, transaction, begun, ended: now };
            self.people.of(now, &user).ended(now, ended);
        }
        waits.then_some((id, user))
    }

    /// Removes the confirmations whose deadline is over; returns the requests that waited for them.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<RequestId> {
        let late = self.pending.iter().filter(|(_, pending)| pending.deadline <= now);
        let late: Vec<_> = late.map(|(id, _)| *id).collect();
        late.into_iter().filter_map(|id| self.expire_one(now, id)).collect()
    }

    /// The user has not replied in time.
    fn expire_one(&mut self, now: Instant, id: RequestId) -> Option<RequestId> {
        let user = self.pending.get(&id)?.prompt.asked.bare().clone();
        self.people.of(now, &user).left_unanswered();
        self.end(now, id).map(|(id, _)| id)
    }

    /// The earliest deadline.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.pending.values().map(|pending| pending.deadline).min()
    }

    /// Removes all confirmations; returns the requests that waited for them.
    pub(super) fn clear(&mut self, now: Instant) -> Vec<RequestId> {
        let all: Vec<_> = self.pending.keys().copied().collect();
        all.into_iter().filter_map(|id| self.end(now, id)).map(|(id, _)| id).collect()
    }

    fn insert(&mut self, id: RequestId, pending: Pending) {
        let of_user = self.by_user.entry(pending.prompt.asked.bare().clone()).or_default();
        of_user.ids.insert(id);
        *of_user.by_network.entry(pending.client).or_default() += 1;
        self.by_stanza_id.insert(pending.prompt.stanza_id.clone(), id);
        if let Some(client) = pending.client {
            *self.by_address.entry(client).or_default() += 1;
        }
        self.pending.insert(id, pending);
    }

    fn remove(&mut self, id: RequestId) -> Option<Pending> {
        let pending = self.pending.remove(&id)?;
        if self.abandoned.remove(&id) {
            self.ended.push(id);
        }
        self.by_stanza_id.remove(&pending.prompt.stanza_id);
        if let Some(of_user) = self.by_user.get_mut(pending.prompt.asked.bare()) {
            of_user.ids.remove(&id);
            count_down(&mut of_user.by_network, &pending.client);
            if of_user.ids.is_empty() {
                self.by_user.remove(pending.prompt.asked.bare());
            }
        }
        if let Some(client) = pending.client {
            count_down(&mut self.by_address, &client);
        }
        Some(pending)
    }
}

/// Decrements the count of this key.
fn count_down<K: Eq + std::hash::Hash>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

impl Pending {
    /// Whether the user was asked, and may still reply.
    fn is_asked(&self, now: Instant) -> bool {
        self.shown && now < self.deadline
    }
}

#[cfg(test)]
mod fairness_tests;
#[cfg(test)]
mod tests;
