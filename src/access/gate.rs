//! The gate as a state machine without I/O, threads or locks: requests, stanzas and the time go in, stanzas to send and
//! decisions come out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::channels::{Channels, LookupEvent};
use super::confirm::{ConfirmationResult, Confirmations, TextRequest};
use super::counts::Counts;
use super::disco::{self, About};
use super::lookup::Lookup;
use super::nodes::Nodes;
use super::request::{Confirmation, Decision, ParkedRequest, Request, RequestId, RequestStep};
use super::settings::Settings;
use crate::clock::Clock;
use crate::limits;
use crate::model::{Channel, Jid, Refusal};
use crate::xmpp::{Element, Link, ns};

/// An action that the gate's owner must carry out.
pub enum GateOutput<P> {
    /// Send this stanza.
    Send(Link, Element),
    /// Resume the request whose `P` was parked, with this decision.
    Decide(P, Decision),
    /// Do what a user asks for by a text.
    Serve(TextRequest),
}

/// Decides which requests are allowed. `P` is what the caller parks with a request until its decision.
pub struct Gate<P> {
    settings: Settings,
    clock: Arc<dyn Clock>,
    component: Option<Connected>,
    client: Option<Connected>,
    confirmations: Confirmations,
    channels: Channels,
    requests: BTreeMap<RequestId, ParkedRequest<P>>,
    /// `None`: this is the only node, and every stanza of the component is its own.
    nodes: Option<Nodes>,
    last_id: RequestId,
    stopping: bool,
    /// Counters since the start; [`Gate::counts`] adds the values of the moment.
    counts: Counts,
}

/// A link that is up.
struct Connected {
    jid: Jid,
    since: Instant,
}

impl<P> Gate<P> {
    /// A gate whose links are down. The clock serves the replies to XEP-0202.
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
            nodes: None,
            last_id: 0,
            stopping: false,
            counts: Counts::default(),
        }
    }

    /// Counters since the start, and how much waits now.
    pub fn counts(&self) -> Counts {
        let mut counts = self.counts.clone();
        counts.component.up = self.component.is_some();
        counts.client.up = self.client.is_some();
        counts.parked = self.requests.len();
        counts.pending = self.confirmations.len();
        counts.handed_over = self.nodes.as_ref().map_or(0, Nodes::asked);
        counts.lookups = self.channels.counts();
        counts.rights_refused = self.channels.rights_refused();
        counts
    }

    /// Whether channels of this domain are served.
    pub fn serves(&self, domain: &str) -> bool {
        self.settings.serves(domain)
    }

    /// Replaces the settings. Confirmations, lookups and cached results keep the times they began with;
    /// `service_name` has no effect until the client's link is up again.
    pub fn set_settings(&mut self, mut settings: Settings) {
        settings.reply_timeout = settings.reply_timeout.min(limits::REPLY_TIME);
        self.confirmations.set_settings(&settings);
        self.channels.set_settings(&settings);
        self.settings = settings;
    }

    /// Whether the cache says that everyone may read this channel.
    pub fn is_public(&mut self, now: Instant, channel: &Channel) -> bool {
        !self.stopping && self.serves(channel.domain()) && self.channels.is_open(now, channel)
    }

    /// Takes a request and numbers it. Its decision may be among the outputs already.
    pub fn ask(&mut self, now: Instant, request: Request, parked: P) -> (RequestId, Vec<GateOutput<P>>) {
        self.last_id += 1;
        let id = self.last_id;
        if self.stopping {
            return (id, vec![GateOutput::Decide(parked, Err(Refusal::Stopping))]);
        }
        if !self.serves(request.channel.domain()) {
            return (id, vec![GateOutput::Decide(parked, Err(Refusal::NotServed))]);
        }
        let mut out = Vec::new();
        let request = ParkedRequest::new(request, parked);
        let step = request.first_step();
        self.advance(now, id, request, step, &mut out);
        self.settle(now, &mut out);
        (id, out)
    }

    /// The parked value of a request that waits.
    pub fn parked(&mut self, id: RequestId) -> Option<&mut P> {
        self.requests.get_mut(&id).map(|request| &mut request.parked)
    }

    /// Forgets a request that waits, and gives back what was parked for it. The lookup that it waits for goes on: other
    /// requests may wait for it, and its result is cached.
    pub fn cancel(&mut self, id: RequestId) -> Option<P> {
        let request = self.requests.remove(&id)?;
        match &request.awaited {
            Some(lookup) => self.channels.forget(lookup, id),
            None => {
                self.confirmations.cancel(id);
                self.end_abandoned();
                if let Some(nodes) = &mut self.nodes {
                    nodes.abandon(id);
                }
                self.counts.confirmations.abandoned += 1;
            }
        }
        Some(request.parked)
    }

    /// Takes a stanza that came in over this link.
    pub fn stanza(&mut self, now: Instant, link: Link, stanza: &Element) -> Vec<GateOutput<P>> {
        let mut out = Vec::new();
        let asks_us = matches!(stanza.attribute("type"), Some("get" | "set"));
        match link {
            _ if stanza.is("iq", ns::CLIENT) && asks_us => out.extend(self.reply(now, link, stanza)),
            Link::Component => self.take_reply(now, stanza, &mut out),
            Link::Client if stanza.is("iq", ns::CLIENT) => self.channels.reply(now, stanza),
            Link::Client => {}
        }
        self.settle(now, &mut out);
        out
    }

    /// Ends what has waited for too long.
    pub fn tick(&mut self, now: Instant) -> Vec<GateOutput<P>> {
        let mut out = Vec::new();
        let mut late = self.confirmations.expire(now);
        late.retain(|id| !self.decide_for_node(*id, Err(Refusal::NotConfirmed)));
        late.extend(self.take_unanswered(now));
        self.counts.confirmations.late += late.len() as u64;
        self.refuse(late, Refusal::NotConfirmed, &mut out);
        self.channels.tick(now);
        self.settle(now, &mut out);
        out
    }

    /// Forgets results of lookups that have expired.
    pub fn forget_expired(&mut self, now: Instant) {
        self.channels.forget_expired(now);
    }

    /// When [`Gate::tick`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        let nodes = self.nodes.as_ref().and_then(Nodes::deadline);
        self.confirmations.deadline().into_iter().chain(self.channels.deadline()).chain(nodes).min()
    }

    /// The link is up, and this is our address on it.
    pub fn up(&mut self, now: Instant, link: Link, jid: &Jid) -> Vec<GateOutput<P>> {
        let mut out = self.down(now, link);
        let connected = Some(Connected { jid: jid.clone(), since: now });
        match link {
            Link::Component => {
                self.component = connected;
                self.counts.component.failure = None;
                self.counts.component.logins += 1;
                if let Some(nodes) = &mut self.nodes {
                    nodes.link_up();
                }
            }
            Link::Client => {
                self.client = connected;
                self.counts.client.failure = None;
                self.counts.client.logins += 1;
                self.channels.up(jid.clone());
                let own = self.settings.service_name.domain();
                if self.settings.serves(own) {
                    self.channels.prepare(now, &Lookup::Service(own.to_owned()));
                }
            }
        }
        self.settle(now, &mut out);
        out
    }

    /// The link is down: refuses the requests that wait for a stanza from it.
    pub fn down(&mut self, now: Instant, link: Link) -> Vec<GateOutput<P>> {
        let mut out = Vec::new();
        match link {
            Link::Component => {
                self.component = None;
                if let Some(nodes) = &mut self.nodes {
                    nodes.link_down(now);
                }
                self.refuse_pending(now, &mut out);
            }
            Link::Client => {
                self.client = None;
                self.channels.down();
            }
        }
        self.settle(now, &mut out);
        out
    }

    /// The link could not be made, or broke, for this reason.
    pub fn failed(&mut self, link: Link, reason: &str) {
        // A server's own words are part of it.
        let reason: String = reason.chars().take(limits::LINK_FAILURE_CHARS).collect();
        match link {
            Link::Component => self.counts.component.failure = Some(reason),
            Link::Client => self.counts.client.failure = Some(reason),
        }
    }

    /// Refuses all requests that wait or come later.
    pub fn stop(&mut self) -> Vec<GateOutput<P>> {
        self.stopping = true;
        let abandoned = self.requests.values().filter(|request| request.awaited.is_none()).count();
        self.counts.confirmations.abandoned += abandoned as u64;
        self.confirmations = Confirmations::new(&self.settings);
        if let Some(nodes) = &mut self.nodes {
            nodes.abandon_all();
            nodes.release();
        }
        let waiting = std::mem::take(&mut self.requests).into_values();
        waiting.map(|request| GateOutput::Decide(request.parked, Err(Refusal::Stopping))).collect()
    }

    /// Goes on with a request until it is decided or has to wait.
    fn advance(
        &mut self,
        now: Instant,
        id: RequestId,
        mut request: ParkedRequest<P>,
        mut step: RequestStep,
        out: &mut Vec<GateOutput<P>>,
    ) {
        loop {
            step = match step {
                RequestStep::Decide(decision) => {
                    return out.push(GateOutput::Decide(request.parked, decision));
                }
                RequestStep::LookUp(lookup) => {
                    match self.channels.find(now, &lookup, id, request.request.client) {
                        Some(result) => request.found(&result),
                        None => {
                            request.awaited = Some(lookup);
                            break;
                        }
                    }
                }
                RequestStep::Confirm(how) => match self.begin_confirmation(now, id, &request.request, how) {
                    Ok(prompt) => {
                        request.awaited = None;
                        out.extend(prompt.map(|prompt| GateOutput::Send(Link::Component, prompt)));
                        break;
                    }
                    Err(refusal) => {
                        self.counts.confirmations.count::<()>(&Err(refusal));
                        RequestStep::Decide(Err(refusal))
                    }
                },
            };
        }
        self.requests.insert(id, request);
    }

    /// Begins a confirmation; returns the prompt, if this node is to ask the user.
    fn begin_confirmation(
        &mut self,
        now: Instant,
        id: RequestId,
        request: &Request,
        how: Confirmation,
    ) -> Result<Option<Element>, Refusal> {
        let credentials = request.credentials.as_ref().map_err(|refusal| *refusal)?;
        let asked = (request, credentials);
        let known_open = how.access.is_none() && self.channels.is_known_open(now, &request.channel);
        if !how.shown {
            log::debug!(
                "{} has no right to do this at {}, so the user is not asked",
                credentials.jid().bare(),
                request.channel
            );
        }
        let component = match (&mut self.nodes, &self.component) {
            (Some(nodes), component) if !nodes.holds() || component.is_none() => {
                let prompt = self.confirmations.shared(asked, how, known_open);
                return nodes.ask(now, id, prompt, &self.settings).map(|()| None);
            }
            (_, component) => &component.as_ref().ok_or(Refusal::XmppDown)?.jid,
        };
        self.confirmations.begin(now, component, id, asked, how, known_open)
    }

    /// Refuses our own requests that wait for a reply over the component's link.
    fn refuse_pending(&mut self, now: Instant, out: &mut Vec<GateOutput<P>>) {
        let mut pending = self.confirmations.clear(now);
        pending.retain(|id| self.requests.contains_key(id));
        self.counts.confirmations.abandoned += pending.len() as u64;
        self.refuse(pending, Refusal::XmppDown, out);
    }

    /// Handles a stanza of the component's link that is not a request to the component.
    fn take_reply(&mut self, now: Instant, stanza: &Element, out: &mut Vec<GateOutput<P>>) {
        let Some(component) = &self.component else { return };
        let reaction = self.confirmations.take(now, &component.jid, stanza);
        out.extend(reaction.send.into_iter().map(|stanza| GateOutput::Send(Link::Component, stanza)));
        out.extend(reaction.commands.into_iter().map(GateOutput::Serve));
        for (id, result) in reaction.decided {
            self.confirmed(now, id, result, out);
        }
    }

    fn confirmed(
        &mut self,
        now: Instant,
        id: RequestId,
        result: ConfirmationResult,
        out: &mut Vec<GateOutput<P>>,
    ) {
        if self.decide_for_node(id, result.as_ref().map(|_| ()).map_err(|refusal| *refusal)) {
            return;
        }
        self.counts.confirmations.count(&result);
        let Some(mut request) = self.requests.remove(&id) else { return };
        let step = match result {
            Ok(user) => request.confirmed(user),
            Err(refusal) => RequestStep::Decide(Err(refusal)),
        };
        self.advance(now, id, request, step, out);
    }

    fn refuse(&mut self, ids: Vec<RequestId>, refusal: Refusal, out: &mut Vec<GateOutput<P>>) {
        let refused = ids.into_iter().filter_map(|id| self.requests.remove(&id));
        out.extend(refused.map(|request| GateOutput::Decide(request.parked, Err(refusal))));
    }

    /// Handles the events of lookups, which may begin further lookups.
    fn settle(&mut self, now: Instant, out: &mut Vec<GateOutput<P>>) {
        self.end_abandoned();
        while let Some(event) = self.channels.next_event() {
            match event {
                LookupEvent::Send(iq) => out.push(GateOutput::Send(Link::Client, iq)),
                LookupEvent::Found(id, result) => {
                    if let Some(mut request) = self.requests.remove(&id) {
                        let step = request.found(&result);
                        self.advance(now, id, request, step, out);
                    }
                }
            }
        }
    }

    /// The reply to an IQ that asks us.
    fn reply(&self, now: Instant, link: Link, iq: &Element) -> Option<GateOutput<P>> {
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
            upload: self.settings.upload_size,
        };
        disco::reply(iq, &about).map(|reply| GateOutput::Send(link, reply))
    }
}

mod cluster;
#[cfg(test)]
mod secrecy_tests;
#[cfg(test)]
mod tests;
