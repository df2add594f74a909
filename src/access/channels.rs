//! Lookups at channel services over the client's link. Results are cached, equal lookups share one, and a reply counts
//! only from the entity that was asked. A part of the gate's state machine, without I/O.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::caches::Caches;
use super::counts::{LookupCountsByKind, RightsRefused};
use super::discovery::Discovery;
use super::iq::{self, IqReply, IqRequest};
use super::lookup::{Conclusion, Lookup, LookupProtocol, LookupResult, LookupStep, LookupValue};
use super::random::hex_id;
use super::refused_rights::RefusedRights;
use super::reports::Reports;
use super::request::RequestId;
use super::rights::{AccessProtocol, AffiliationProtocol};
use super::settings::Settings;
use crate::limits;
use crate::model::{AccessModel, Channel, Jid, NodeNames, Refusal};
use crate::xmpp::{Element, ns};

/// An output of [`Channels`].
pub(super) enum LookupEvent {
    /// A stanza for the client's link.
    Send(Element),
    /// The result that a request waits for.
    Found(RequestId, LookupResult),
}

/// Lookups under way, and what earlier ones found.
pub(super) struct Channels {
    limits: LookupLimits,
    nodes: NodeNames,
    /// Our address on the link, while it is up.
    own: Option<Jid>,
    caches: Caches,
    running: HashMap<Lookup, RunningLookup>,
    /// IQs without a reply, by stanza id.
    unanswered: HashMap<String, SentIq>,
    events: VecDeque<LookupEvent>,
    counts: LookupCountsByKind,
    reports: Reports,
    refused_rights: RefusedRights,
}

struct LookupLimits {
    reply_timeout: Duration,
    cache_ttl: Duration,
    per_address: usize,
    total: usize,
}

impl LookupLimits {
    fn of(settings: &Settings) -> Self {
        Self {
            reply_timeout: settings.reply_timeout,
            cache_ttl: settings.cache_ttl,
            per_address: settings.lookups_per_address,
            total: settings.lookups_total,
        }
    }
}

struct RunningLookup {
    /// The client network that it counts for, until it ends: also when the request that began it has gone.
    client: Option<IpAddr>,
    /// `None` while the channel service is looked for.
    protocol: Option<Box<dyn LookupProtocol>>,
    waiters: Vec<Waiter>,
    /// When it must have ended.
    end: Instant,
    /// The stanza ids of its IQs, by number.
    sent: Vec<String>,
}

enum Waiter {
    Request(RequestId),
    /// Another lookup, which needs the service that this one finds.
    Lookup(Lookup),
}

struct SentIq {
    lookup: Lookup,
    number: usize,
    to: Jid,
    deadline: Instant,
}

impl Channels {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            limits: LookupLimits::of(settings),
            nodes: settings.nodes.clone(),
            own: None,
            caches: Caches::new(),
            running: HashMap::new(),
            unanswered: HashMap::new(),
            events: VecDeque::new(),
            counts: LookupCountsByKind::default(),
            reports: Reports::new(),
            refused_rights: RefusedRights::default(),
        }
    }

    /// Counters since the start.
    pub(super) fn counts(&self) -> LookupCountsByKind {
        self.counts
    }

    /// Lookups that a channel service refused to our account.
    pub(super) fn rights_refused(&self) -> RightsRefused {
        self.refused_rights.counts()
    }

    /// Replaces times, limits and names of nodes; lookups under way and cached results keep theirs.
    pub(super) fn set_settings(&mut self, settings: &Settings) {
        self.limits = LookupLimits::of(settings);
        self.nodes = settings.nodes.clone();
    }

    /// The result, if it is cached or the lookup is refused. `None`: an event will bring it.
    pub(super) fn find(
        &mut self,
        now: Instant,
        lookup: &Lookup,
        id: RequestId,
        client: Option<IpAddr>,
    ) -> Option<LookupResult> {
        if let Some(cached) = self.cached(now, lookup) {
            return Some(cached);
        }
        self.look_up(now, lookup, Some(Waiter::Request(id)), client).err().map(Err)
    }

    /// The request no longer waits for this lookup.
    pub(super) fn forget(&mut self, lookup: &Lookup, id: RequestId) {
        if let Some(running) = self.running.get_mut(lookup) {
            running.waiters.retain(|waiter| !matches!(waiter, Waiter::Request(other) if *other == id));
        }
    }

    /// Whether the cache says that everyone may read this channel.
    pub(super) fn is_open(&mut self, now: Instant, channel: &Channel) -> bool {
        let is_open = self.is_known_open(now, channel);
        // Other cached results are counted when the request itself looks them up.
        self.counts.access.cached += u64::from(is_open);
        is_open
    }

    /// Forgets results that have expired.
    pub(super) fn forget_expired(&mut self, now: Instant) {
        self.caches.forget_expired(now);
    }

    /// The same, for no request that counts.
    pub(super) fn is_known_open(&mut self, now: Instant, channel: &Channel) -> bool {
        let cached = self.caches.get(now, &Lookup::Access(channel.clone()));
        matches!(cached, Some(Ok(LookupValue::Access(AccessModel::Open))))
    }

    /// Begins a lookup for which no request waits yet.
    pub(super) fn prepare(&mut self, now: Instant, lookup: &Lookup) {
        // If it is refused, the request that needs the result looks it up again.
        let _ = self.look_up(now, lookup, None, None);
    }

    /// The next event, oldest first.
    pub(super) fn next_event(&mut self) -> Option<LookupEvent> {
        self.events.pop_front()
    }

    /// The client's link is up under this address.
    pub(super) fn up(&mut self, own: Jid) {
        self.own = Some(own);
    }

    /// The client's link is down: ends all lookups.
    pub(super) fn down(&mut self) {
        self.own = None;
        self.unanswered.clear();
        for lookup in self.running.keys() {
            self.counts.of(lookup).failed += 1;
        }
        for waiter in self.running.drain().flat_map(|(_, running)| running.waiters) {
            if let Waiter::Request(id) = waiter {
                self.events.push_back(LookupEvent::Found(id, Err(Refusal::XmppDown)));
            }
        }
    }

    /// Takes an IQ of type `result` or `error` from the client's link.
    pub(super) fn reply(&mut self, now: Instant, iq: &Element) {
        let Some(id) = iq.attribute("id") else { return };
        let Some(reply) = iq::read(iq) else { return };
        if !self.unanswered.get(id).is_some_and(|sent| self.is_from(iq, &sent.to)) {
            return;
        }
        if let Some(sent) = self.unanswered.remove(id) {
            self.take_reply(now, &sent, reply);
        }
    }

    /// Gives up IQs whose time is over.
    pub(super) fn tick(&mut self, now: Instant) {
        let late = self.unanswered.iter().filter(|(_, sent)| sent.deadline <= now);
        let late: Vec<String> = late.map(|(id, _)| id.clone()).collect();
        for id in late {
            // An earlier one of them may have ended the lookup.
            if let Some(sent) = self.unanswered.remove(&id) {
                self.take_reply(now, &sent, IqReply::Silence);
            }
        }
    }

    /// When the time of the first unanswered IQ is over.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.unanswered.values().map(|sent| sent.deadline).min()
    }

    /// Only our own server and account may leave out `from` (RFC 6120 section 8.1.2.1).
    fn is_from(&self, iq: &Element, asked: &Jid) -> bool {
        match (iq.attribute("from"), &self.own) {
            (Some(from), _) => from.parse().is_ok_and(|from: Jid| from == *asked),
            (None, Some(own)) => {
                let (own, sender) = (own.bare(), asked.bare());
                asked.resource().is_none() && (sender == own || sender.as_str() == own.domain())
            }
            (None, None) => false,
        }
    }

    fn cached(&mut self, now: Instant, lookup: &Lookup) -> Option<LookupResult> {
        let cached = self.caches.get(now, lookup)?;
        self.counts.of(lookup).cached += 1;
        Some(cached)
    }

    /// Joins a lookup under way, or begins it.
    fn look_up(
        &mut self,
        now: Instant,
        lookup: &Lookup,
        waiter: Option<Waiter>,
        client: Option<IpAddr>,
    ) -> Result<(), Refusal> {
        if self.own.is_none() {
            return Err(Refusal::XmppDown);
        }
        if let Some(running) = self.running.get_mut(lookup) {
            if running.waiters.len() >= limits::LOOKUP_WAITERS {
                return Err(Refusal::Overloaded);
            }
            running.waiters.extend(waiter);
            return Ok(());
        }
        self.check_limits(client)?;
        let waiters = waiter.into_iter().collect();
        let running = RunningLookup { client, protocol: None, waiters, end: now, sent: Vec::new() };
        self.running.insert(lookup.clone(), running);
        self.counts.of(lookup).asked += 1;
        self.find_service(now, lookup);
        Ok(())
    }

    fn check_limits(&self, client: Option<IpAddr>) -> Result<(), Refusal> {
        if self.running.len() >= self.limits.total {
            return Err(Refusal::Overloaded);
        }
        let own = || self.running.values().filter(|running| running.client == client).count();
        if client.is_some() && own() >= self.limits.per_address {
            return Err(Refusal::TooManyLookups);
        }
        Ok(())
    }

    fn find_service(&mut self, now: Instant, lookup: &Lookup) {
        let domain = match lookup {
            Lookup::Service(domain) => return self.ask(now, lookup, domain.parse().ok()),
            Lookup::Access(channel) | Lookup::Affiliation(channel, _) => channel.domain(),
        };
        let service = Lookup::Service(domain.to_owned());
        if let Some(cached) = self.cached(now, &service) {
            return self.take_service(now, lookup, cached);
        }
        // Many clients may wait for the service of one domain, so its lookup counts for none of them.
        if let Err(refusal) = self.look_up(now, &service, Some(Waiter::Lookup(lookup.clone())), None) {
            self.finish(now, lookup, &Conclusion::refused(refusal));
        }
    }

    fn take_service(&mut self, now: Instant, lookup: &Lookup, service: LookupResult) {
        match service {
            Ok(LookupValue::Service(service)) => self.ask(now, lookup, service),
            Ok(_) => self.ask(now, lookup, None),
            Err(refusal) => self.finish(now, lookup, &Conclusion::refused(refusal)),
        }
    }

    /// Sends the first IQs of a lookup to this entity.
    fn ask(&mut self, now: Instant, lookup: &Lookup, to: Option<Jid>) {
        let Some(to) = to else {
            let conclusion = Conclusion { result: lookup.without_service(), certain: false };
            return self.finish(now, lookup, &conclusion);
        };
        let Some(running) = self.running.get_mut(lookup) else { return };
        let mut protocol: Box<dyn LookupProtocol> = match lookup {
            Lookup::Service(_) => Box::new(Discovery::new(to)),
            Lookup::Access(channel) => Box::new(AccessProtocol::new(to, self.nodes.node(channel))),
            Lookup::Affiliation(channel, user) => {
                Box::new(AffiliationProtocol::new(to, self.nodes.node(channel), user.clone()))
            }
        };
        let requests = protocol.start();
        running.protocol = Some(protocol);
        // Two IQs in a row, the usual need, have their full time; more have to be quicker.
        running.end = now + 2 * self.limits.reply_timeout;
        self.send(now, lookup, requests);
    }

    fn send(&mut self, now: Instant, lookup: &Lookup, requests: Vec<IqRequest>) {
        let Some(running) = self.running.get_mut(lookup) else { return };
        let deadline = running.end.min(now + self.limits.reply_timeout);
        for IqRequest { to, payload } in requests {
            let id = hex_id();
            let iq = Element::new("iq", ns::CLIENT)
                .with("type", "get")
                .with("id", &id)
                .with("to", to.to_string())
                .with_child(payload);
            let sent = SentIq { lookup: lookup.clone(), number: running.sent.len(), to, deadline };
            running.sent.push(id.clone());
            self.unanswered.insert(id, sent);
            self.events.push_back(LookupEvent::Send(iq));
        }
    }

    fn take_reply(&mut self, now: Instant, sent: &SentIq, reply: IqReply<'_>) {
        let protocol = self.running.get_mut(&sent.lookup).and_then(|running| running.protocol.as_mut());
        match protocol.map(|protocol| protocol.reply(sent.number, reply)) {
            Some(LookupStep::Send(requests)) => self.send(now, &sent.lookup, requests),
            Some(LookupStep::Done(conclusion)) => {
                if let (Err(Refusal::RightsUntold), Lookup::Affiliation(channel, _), Some(own)) =
                    (&conclusion.result, &sent.lookup, &self.own)
                {
                    self.refused_rights.note(now, &sent.to, own, &self.nodes.node(channel));
                }
                self.finish(now, &sent.lookup, &conclusion);
            }
            Some(LookupStep::Wait) | None => {}
        }
    }

    fn finish(&mut self, now: Instant, lookup: &Lookup, conclusion: &Conclusion) {
        let Some(running) = self.running.remove(lookup) else { return };
        for id in &running.sent {
            self.unanswered.remove(id);
        }
        self.reports.report(now, lookup, &conclusion.result);
        self.counts.of(lookup).failed += u64::from(conclusion.result.is_err());
        self.remember(now, lookup, conclusion);
        for waiter in running.waiters {
            let result = conclusion.result.clone();
            match waiter {
                Waiter::Request(id) => self.events.push_back(LookupEvent::Found(id, result)),
                Waiter::Lookup(lookup) => self.take_service(now, &lookup, result),
            }
        }
    }

    fn remember(&mut self, now: Instant, lookup: &Lookup, conclusion: &Conclusion) {
        let ttl = match conclusion.result {
            Ok(_) if conclusion.certain => self.limits.cache_ttl,
            Ok(_) | Err(Refusal::ChannelServiceDown | Refusal::RightsUntold) => {
                self.limits.cache_ttl.min(limits::FAILURE_TTL)
            }
            // These are about this server, not about the channel.
            Err(_) => Duration::ZERO,
        };
        self.caches.insert(now, lookup, conclusion.result.clone(), ttl);
    }
}

#[cfg(test)]
mod tests;
