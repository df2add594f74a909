//! The gate: a state machine without I/O. In go requests, stanzas and the clock; out come stanzas to
//! send, and decisions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::channels::{Channels, Event};
use super::confirm::{Confirmations, Verdict};
use super::counts::Counts;
use super::disco::{self, About};
use super::query::Query;
use super::request::{Ask, Decision, Request, Step, Ticket};
use super::settings::Settings;
use crate::clock::Clock;
use crate::limits;
use crate::model::{Channel, Jid, Refusal};
use crate::xmpp::{Element, Link, ns};

/// What the gate wants done.
pub enum Output<P> {
    /// Send this stanza.
    Send(Link, Element),
    /// Go on with what was parked.
    Decide(P, Decision),
}

/// Decides who may do what. `P` is what is parked while a request waits.
pub struct Gate<P> {
    settings: Settings,
    clock: Arc<dyn Clock>,
    component: Option<Connected>,
    client: Option<Connected>,
    confirmations: Confirmations,
    channels: Channels,
    requests: BTreeMap<Ticket, Request<P>>,
    last_ticket: Ticket,
    stopping: bool,
    /// What is counted here; [`Gate::counts`] adds the rest.
    counts: Counts,
}

/// A link that is up.
struct Connected {
    jid: Jid,
    since: Instant,
}

impl<P> Gate<P> {
    /// A gate whose links are down. The clock tells the time to those who ask for it over XMPP.
    pub fn new(mut settings: Settings, clock: Arc<dyn Clock>) -> Self {
        settings.reply_timeout = settings.reply_timeout.min(limits::REPLY_TIME);
        Self {
            confirmations: Confirmations::new(&settings),
            channels: Channels::new(&settings),
            settings,
            clock,
            component: None,
            client: None,
            requests: BTreeMap::new(),
            last_ticket: 0,
            stopping: false,
            counts: Counts::default(),
        }
    }

    /// What waits here, and what was done.
    pub fn counts(&self) -> Counts {
        let mut counts = self.counts;
        counts.component.up = self.component.is_some();
        counts.client.up = self.client.is_some();
        counts.parked = self.requests.len();
        counts.pending = self.confirmations.len();
        counts.lookups = self.channels.counts();
        counts
    }

    /// Whether channels of this domain are served.
    pub fn serves(&self, domain: &str) -> bool {
        self.settings.serves(domain)
    }

    /// Takes other settings for what comes; what is asked or cached already keeps its time. The links are what
    /// they are: `service_name` has no effect until they are up again.
    pub fn set_settings(&mut self, mut settings: Settings) {
        settings.reply_timeout = settings.reply_timeout.min(limits::REPLY_TIME);
        self.confirmations.set_limits(&settings);
        self.channels.set_limits(&settings);
        self.settings = settings;
    }

    /// Whether it is known now that everybody may read this channel, so that nothing is to be asked.
    pub fn is_public(&mut self, now: Instant, channel: &Channel) -> bool {
        !self.stopping && self.serves(channel.domain()) && self.channels.is_open(now, channel)
    }

    /// Takes a request, and gives it a ticket; its decision may be among the outputs already.
    pub fn ask(&mut self, now: Instant, ask: Ask, parked: P) -> (Ticket, Vec<Output<P>>) {
        self.last_ticket += 1;
        let ticket = self.last_ticket;
        if self.stopping {
            return (ticket, vec![Output::Decide(parked, Err(Refusal::Stopping))]);
        }
        if !self.serves(ask.channel.domain()) {
            return (ticket, vec![Output::Decide(parked, Err(Refusal::NotServed))]);
        }
        let mut out = Vec::new();
        let request = Request::new(ask, parked);
        let step = request.first_step();
        self.advance(now, ticket, request, step, &mut out);
        self.settle(now, &mut out);
        (ticket, out)
    }

    /// What is parked for a request that waits.
    pub fn parked(&mut self, ticket: Ticket) -> Option<&mut P> {
        self.requests.get_mut(&ticket).map(|request| &mut request.parked)
    }

    /// Forgets a request that waits, and gives back what was parked for it. A lookup that it began goes on: others may
    /// wait for it, and what it finds is kept.
    pub fn cancel(&mut self, ticket: Ticket) -> Option<P> {
        let request = self.requests.remove(&ticket)?;
        match &request.awaited {
            Some(query) => self.channels.forget(query, ticket),
            None => {
                self.confirmations.cancel(ticket);
                self.counts.confirmations.abandoned += 1;
            }
        }
        Some(request.parked)
    }

    /// Takes a stanza that came in over this link.
    pub fn stanza(&mut self, now: Instant, link: Link, stanza: &Element) -> Vec<Output<P>> {
        let mut out = Vec::new();
        let request = matches!(stanza.attribute("type"), Some("get" | "set"));
        match link {
            _ if stanza.is("iq", ns::CLIENT) && request => out.extend(self.answer(now, link, stanza)),
            Link::Component => {
                if let Some((ticket, verdict)) = self.confirmations.decide(now, stanza) {
                    self.confirmed(now, ticket, verdict, &mut out);
                }
            }
            Link::Client if stanza.is("iq", ns::CLIENT) => self.channels.reply(now, stanza),
            Link::Client => {}
        }
        self.settle(now, &mut out);
        out
    }

    /// Looks at the clock.
    pub fn tick(&mut self, now: Instant) -> Vec<Output<P>> {
        let mut out = Vec::new();
        let late = self.confirmations.expire(now);
        self.counts.confirmations.late += late.len() as u64;
        self.refuse(late, Refusal::NotConfirmed, &mut out);
        self.channels.tick(now);
        self.settle(now, &mut out);
        out
    }

    /// When it has to look at the clock next, unless it sends more before: what waits, waits for the answer to a stanza.
    pub fn deadline(&self) -> Option<Instant> {
        self.confirmations.deadline().into_iter().chain(self.channels.deadline()).min()
    }

    /// The link is up, and this is our address on it.
    pub fn up(&mut self, now: Instant, link: Link, jid: &Jid) -> Vec<Output<P>> {
        let mut out = self.down(now, link);
        let connected = Some(Connected { jid: jid.clone(), since: now });
        match link {
            Link::Component => {
                self.component = connected;
                self.counts.component.logins += 1;
            }
            Link::Client => {
                self.client = connected;
                self.counts.client.logins += 1;
                self.channels.up(jid.clone());
                let own = self.settings.service_name.domain();
                if self.settings.serves(own) {
                    self.channels.prepare(now, &Query::Service(own.to_owned()));
                }
            }
        }
        self.settle(now, &mut out);
        out
    }

    /// The link is down: who waits for a stanza from it waits in vain.
    pub fn down(&mut self, now: Instant, link: Link) -> Vec<Output<P>> {
        let mut out = Vec::new();
        match link {
            Link::Component => {
                self.component = None;
                let pending = self.confirmations.clear();
                self.counts.confirmations.abandoned += pending.len() as u64;
                self.refuse(pending, Refusal::XmppDown, &mut out);
            }
            Link::Client => {
                self.client = None;
                self.channels.down();
            }
        }
        self.settle(now, &mut out);
        out
    }

    /// Refuses everyone who waits, and everyone who comes.
    pub fn stop(&mut self) -> Vec<Output<P>> {
        self.stopping = true;
        self.counts.confirmations.abandoned += self.confirmations.clear().len() as u64;
        let waiting = std::mem::take(&mut self.requests).into_values();
        waiting.map(|request| Output::Decide(request.parked, Err(Refusal::Stopping))).collect()
    }

    /// Goes on with a request until it is decided or has to wait.
    fn advance(
        &mut self,
        now: Instant,
        ticket: Ticket,
        mut request: Request<P>,
        mut step: Step,
        out: &mut Vec<Output<P>>,
    ) {
        loop {
            step = match step {
                Step::Decide(decision) => return out.push(Output::Decide(request.parked, decision)),
                Step::Find(query) => match self.channels.find(now, &query, ticket, request.ask.client) {
                    Some(answer) => request.found(answer),
                    None => {
                        request.awaited = Some(query);
                        break;
                    }
                },
                Step::Confirm => match self.begin_confirmation(now, ticket, &request.ask) {
                    Ok(stanza) => {
                        request.awaited = None;
                        out.push(Output::Send(Link::Component, stanza));
                        break;
                    }
                    Err(refusal) => {
                        self.counts.confirmations.count::<()>(&Err(refusal));
                        Step::Decide(Err(refusal))
                    }
                },
            };
        }
        self.requests.insert(ticket, request);
    }

    fn begin_confirmation(&mut self, now: Instant, ticket: Ticket, ask: &Ask) -> Result<Element, Refusal> {
        let credentials = ask.credentials.as_ref().map_err(|refusal| *refusal)?;
        let component = self.component.as_ref().ok_or(Refusal::XmppDown)?;
        self.confirmations.begin(now, &component.jid, ticket, ask, credentials)
    }

    fn confirmed(&mut self, now: Instant, ticket: Ticket, verdict: Verdict, out: &mut Vec<Output<P>>) {
        self.counts.confirmations.count(&verdict);
        let Some(mut request) = self.requests.remove(&ticket) else { return };
        let step = match verdict {
            Ok(user) => request.confirmed(user),
            Err(refusal) => Step::Decide(Err(refusal)),
        };
        self.advance(now, ticket, request, step, out);
    }

    fn refuse(&mut self, tickets: Vec<Ticket>, refusal: Refusal, out: &mut Vec<Output<P>>) {
        let refused = tickets.into_iter().filter_map(|ticket| self.requests.remove(&ticket));
        out.extend(refused.map(|request| Output::Decide(request.parked, Err(refusal))));
    }

    /// Does what came of the lookups, which may lead to further lookups.
    fn settle(&mut self, now: Instant, out: &mut Vec<Output<P>>) {
        while let Some(event) = self.channels.next_event() {
            match event {
                Event::Send(iq) => out.push(Output::Send(Link::Client, iq)),
                Event::Found(ticket, answer) => {
                    if let Some(request) = self.requests.remove(&ticket) {
                        let step = request.found(answer);
                        self.advance(now, ticket, request, step, out);
                    }
                }
            }
        }
    }

    fn answer(&self, now: Instant, link: Link, iq: &Element) -> Option<Output<P>> {
        let connected = match link {
            Link::Component => self.component.as_ref(),
            Link::Client => self.client.as_ref(),
        }?;
        let about = About {
            link,
            own: &connected.jid.to_string(),
            uptime: now.saturating_duration_since(connected.since),
            now: self.clock.now(),
            endpoint: self.settings.endpoint.as_deref(),
        };
        disco::answer(iq, &about).map(|answer| Output::Send(link, answer))
    }
}

#[cfg(test)]
mod tests;
