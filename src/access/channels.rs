//! What is known of channels: answers are cached, equal questions asked once, and only the entity that
//! was asked is believed.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::caches::Caches;
use super::counts::Lookups;
use super::discovery::Discovery;
use super::query::{Answer, Finding, Found, Inquiry, Query, Question, Reply, Turn};
use super::random::hex_id;
use super::reply;
use super::request::Ticket;
use super::rights::{Access, Affiliations};
use super::settings::Settings;
use crate::limits;
use crate::model::{AccessModel, Channel, Jid, Refusal};
use crate::xmpp::{Element, ns};

/// What comes out of [`Channels`].
pub(super) enum Event {
    /// A stanza for the client's link.
    Send(Element),
    /// The answer that a request waits for.
    Found(Ticket, Answer),
}

/// Lookups at channel services over the client's link.
pub(super) struct Channels {
    limits: Limits,
    /// Our address on the link, while it is up.
    own: Option<Jid>,
    caches: Caches,
    lookups: HashMap<Query, Lookup>,
    /// Questions without reply, by stanza id.
    open: HashMap<String, Open>,
    events: VecDeque<Event>,
    counts: Lookups,
}

struct Limits {
    reply_timeout: Duration,
    cache_ttl: Duration,
    per_address: usize,
    total: usize,
}

impl Limits {
    fn of(settings: &Settings) -> Self {
        Self {
            reply_timeout: settings.reply_timeout,
            cache_ttl: settings.cache_ttl,
            per_address: settings.lookups_per_address,
            total: settings.lookups_total,
        }
    }
}

/// A query under way.
struct Lookup {
    /// For whom it was begun, if limits apply to them. It counts for them to its end, though they may have left.
    client: Option<IpAddr>,
    /// `None` while the channel service is looked for.
    inquiry: Option<Box<dyn Inquiry>>,
    waiters: Vec<Waiter>,
    /// When it must have ended.
    end: Instant,
    /// The stanza ids of its questions, by number.
    asked: Vec<String>,
}

enum Waiter {
    Request(Ticket),
    /// Another lookup, which needs the service that this one finds.
    Lookup(Query),
}

struct Open {
    query: Query,
    number: usize,
    to: Jid,
    deadline: Instant,
}

impl Channels {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            limits: Limits::of(settings),
            own: None,
            caches: Caches::new(),
            lookups: HashMap::new(),
            open: HashMap::new(),
            events: VecDeque::new(),
            counts: Lookups::default(),
        }
    }

    /// What was looked up so far.
    pub(super) fn counts(&self) -> Lookups {
        self.counts
    }

    /// Other times and limits for what is asked and cached from now on.
    pub(super) fn set_limits(&mut self, settings: &Settings) {
        self.limits = Limits::of(settings);
    }

    /// The answer if it is known, or why there will be none; `None`: an event will bring it.
    pub(super) fn find(
        &mut self,
        now: Instant,
        query: &Query,
        ticket: Ticket,
        client: Option<IpAddr>,
    ) -> Option<Answer> {
        if let Some(known) = self.known(now, query) {
            return Some(known);
        }
        self.look_up(now, query, Some(Waiter::Request(ticket)), client).err().map(Err)
    }

    /// This request waits for that lookup no more.
    pub(super) fn forget(&mut self, query: &Query, ticket: Ticket) {
        if let Some(lookup) = self.lookups.get_mut(query) {
            lookup.waiters.retain(|waiter| !matches!(waiter, Waiter::Request(other) if *other == ticket));
        }
    }

    /// Whether the channel is known to be open to all readers.
    pub(super) fn is_open(&mut self, now: Instant, channel: &Channel) -> bool {
        let query = Query::Access(channel.clone());
        let is_open = matches!(self.caches.get(now, &query), Some(Ok(Found::Access(AccessModel::Open))));
        // Whatever else is known is counted when the whole request asks.
        self.counts.of(&query).cached += u64::from(is_open);
        is_open
    }

    /// Learns the answer in advance.
    pub(super) fn prepare(&mut self, now: Instant, query: &Query) {
        // Whoever needs it later asks again.
        let _ = self.look_up(now, query, None, None);
    }

    /// The next event, oldest first.
    pub(super) fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The client's link is up under this address.
    pub(super) fn up(&mut self, own: Jid) {
        self.own = Some(own);
    }

    /// The client's link is down: nobody is waited for any more.
    pub(super) fn down(&mut self) {
        self.own = None;
        self.open.clear();
        for query in self.lookups.keys() {
            self.counts.of(query).failed += 1;
        }
        for waiter in self.lookups.drain().flat_map(|(_, lookup)| lookup.waiters) {
            if let Waiter::Request(ticket) = waiter {
                self.events.push_back(Event::Found(ticket, Err(Refusal::XmppDown)));
            }
        }
    }

    /// Takes an IQ of type `result` or `error` from the client's link.
    pub(super) fn reply(&mut self, now: Instant, iq: &Element) {
        let Some(id) = iq.attribute("id") else { return };
        let Some(reply) = reply::read(iq) else { return };
        if !self.open.get(id).is_some_and(|open| self.is_from(iq, &open.to)) {
            return;
        }
        if let Some(open) = self.open.remove(id) {
            self.take_reply(now, &open, reply);
        }
    }

    /// Gives up what was not answered in time.
    pub(super) fn tick(&mut self, now: Instant) {
        let late = self.open.iter().filter(|(_, open)| open.deadline <= now);
        let late: Vec<String> = late.map(|(id, _)| id.clone()).collect();
        for id in late {
            // An earlier one of them may have ended the lookup.
            if let Some(open) = self.open.remove(&id) {
                self.take_reply(now, &open, Reply::Silence);
            }
        }
    }

    /// When the first question has been open for too long.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.open.values().map(|open| open.deadline).min()
    }

    /// Only our own server and account may leave out who they are (RFC 6120 section 8.1.2.1).
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

    fn known(&mut self, now: Instant, query: &Query) -> Option<Answer> {
        let known = self.caches.get(now, query)?;
        self.counts.of(query).cached += 1;
        Some(known)
    }

    /// Joins the lookup of `query`, or begins it.
    fn look_up(
        &mut self,
        now: Instant,
        query: &Query,
        waiter: Option<Waiter>,
        client: Option<IpAddr>,
    ) -> Result<(), Refusal> {
        if self.own.is_none() {
            return Err(Refusal::XmppDown);
        }
        if let Some(lookup) = self.lookups.get_mut(query) {
            if lookup.waiters.len() >= limits::LOOKUP_WAITERS {
                return Err(Refusal::Overloaded);
            }
            lookup.waiters.extend(waiter);
            return Ok(());
        }
        self.check_limits(client)?;
        let waiters = waiter.into_iter().collect();
        let lookup = Lookup { client, inquiry: None, waiters, end: now, asked: Vec::new() };
        self.lookups.insert(query.clone(), lookup);
        self.counts.of(query).asked += 1;
        self.find_whom_to_ask(now, query);
        Ok(())
    }

    fn check_limits(&self, client: Option<IpAddr>) -> Result<(), Refusal> {
        if self.lookups.len() >= self.limits.total {
            return Err(Refusal::Overloaded);
        }
        let own = || self.lookups.values().filter(|lookup| lookup.client == client).count();
        if client.is_some() && own() >= self.limits.per_address {
            return Err(Refusal::TooManyLookups);
        }
        Ok(())
    }

    fn find_whom_to_ask(&mut self, now: Instant, query: &Query) {
        let domain = match query {
            Query::Service(domain) => return self.ask(now, query, domain.parse().ok()),
            Query::Access(channel) | Query::Affiliation(channel, _) => channel.domain(),
        };
        let service = Query::Service(domain.to_owned());
        if let Some(known) = self.known(now, &service) {
            return self.take_service(now, query, known);
        }
        // Many may wait for the service of one domain; it is nobody's.
        if let Err(refusal) = self.look_up(now, &service, Some(Waiter::Lookup(query.clone())), None) {
            self.finish(now, query, &Finding { answer: Err(refusal), sure: false });
        }
    }

    fn take_service(&mut self, now: Instant, query: &Query, service: Answer) {
        match service {
            Ok(Found::Service(service)) => self.ask(now, query, service),
            Ok(_) => self.ask(now, query, None),
            Err(refusal) => self.finish(now, query, &Finding { answer: Err(refusal), sure: false }),
        }
    }

    /// Begins the questions of a lookup to this entity.
    fn ask(&mut self, now: Instant, query: &Query, to: Option<Jid>) {
        let Some(to) = to else {
            return self.finish(now, query, &Finding { answer: Ok(query.nothing()), sure: false });
        };
        let Some(lookup) = self.lookups.get_mut(query) else { return };
        let mut inquiry: Box<dyn Inquiry> = match query {
            Query::Service(_) => Box::new(Discovery::new(to)),
            Query::Access(channel) => Box::new(Access::new(to, channel)),
            Query::Affiliation(channel, user) => Box::new(Affiliations::new(to, channel, user.clone())),
        };
        let questions = inquiry.start();
        lookup.inquiry = Some(inquiry);
        // Two questions in a row, the usual need, have their full time; more have to be quicker.
        lookup.end = now + 2 * self.limits.reply_timeout;
        self.send(now, query, questions);
    }

    fn send(&mut self, now: Instant, query: &Query, questions: Vec<Question>) {
        let Some(lookup) = self.lookups.get_mut(query) else { return };
        let deadline = lookup.end.min(now + self.limits.reply_timeout);
        for Question { to, payload } in questions {
            let id = hex_id();
            let iq = Element::new("iq", ns::CLIENT)
                .with("type", "get")
                .with("id", &id)
                .with("to", to.to_string())
                .with_child(payload);
            let open = Open { query: query.clone(), number: lookup.asked.len(), to, deadline };
            lookup.asked.push(id.clone());
            self.open.insert(id, open);
            self.events.push_back(Event::Send(iq));
        }
    }

    fn take_reply(&mut self, now: Instant, open: &Open, reply: Reply<'_>) {
        let inquiry = self.lookups.get_mut(&open.query).and_then(|lookup| lookup.inquiry.as_mut());
        match inquiry.map(|inquiry| inquiry.reply(open.number, reply)) {
            Some(Turn::Ask(questions)) => self.send(now, &open.query, questions),
            Some(Turn::Done(finding)) => self.finish(now, &open.query, &finding),
            Some(Turn::Wait) | None => {}
        }
    }

    fn finish(&mut self, now: Instant, query: &Query, finding: &Finding) {
        let Some(lookup) = self.lookups.remove(query) else { return };
        for id in &lookup.asked {
            self.open.remove(id);
        }
        report(query, &finding.answer);
        self.counts.of(query).failed += u64::from(finding.answer.is_err());
        self.remember(now, query, finding);
        for waiter in lookup.waiters {
            let answer = finding.answer.clone();
            match waiter {
                Waiter::Request(ticket) => self.events.push_back(Event::Found(ticket, answer)),
                Waiter::Lookup(query) => self.take_service(now, &query, answer),
            }
        }
    }

    fn remember(&mut self, now: Instant, query: &Query, finding: &Finding) {
        let ttl = match finding.answer {
            Ok(_) if finding.sure => self.limits.cache_ttl,
            Ok(_) | Err(Refusal::ChannelServiceDown) => self.limits.cache_ttl.min(limits::FAILURE_TTL),
            // About us, not about the channel.
            Err(_) => Duration::ZERO,
        };
        self.caches.of(query).insert(now, query.clone(), finding.answer.clone(), ttl);
    }
}

/// Tells the operator about channel services, and whoever wants to know it exactly about all else.
fn report(query: &Query, answer: &Answer) {
    match (query, answer) {
        (Query::Service(_), Ok(Found::Service(Some(jid)))) => log::info!("the {query} is {jid}"),
        (Query::Service(_), Ok(_)) => log::warn!("the {query} was not found"),
        (_, Ok(found)) => log::debug!("{query}: {found:?}"),
        (_, Err(refusal)) => log::warn!("no answer about the {query}: {refusal}"),
    }
}

#[cfg(test)]
mod tests;
