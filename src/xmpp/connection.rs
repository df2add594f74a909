//! A link that reconnects: dialling, a session, a pause, and again, as long as that is allowed. Runs on the XMPP thread
//! and never blocks it but in [`PersistentLink::close`].

use std::mem;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::sys::{Interest, Waker};

use super::backoff::Backoff;
use super::dial::{self, Dial};
use super::login::{LinkError, LinkResult};
use super::session::{LinkPlan, LinkSession};
use super::{Element, Link, LinkEvent};

/// A link that reconnects when it breaks.
pub(super) struct PersistentLink {
    link: Link,
    plan: LinkPlan,
    waker: Arc<Waker>,
    state: LinkState,
    backoff: Backoff,
    outage: Outage,
}

enum LinkState {
    /// Another node may hold the stream. The thread of the last attempt may still run.
    Forbidden(Option<Dial>),
    /// Until then. The thread of the last attempt may still be in a name lookup.
    Waiting(Instant, Option<Dial>),
    Dialing {
        begun: Instant,
        deadline: Instant,
        dial: Dial,
    },
    /// With the time since when it has been logged in.
    Live(Box<LinkSession>, Option<Instant>),
}

impl PersistentLink {
    /// A link that connects at its first turn. `waker` wakes the XMPP thread when a connection is made.
    pub fn new(link: Link, plan: LinkPlan, waker: Arc<Waker>, now: Instant) -> Self {
        let backoff = Backoff::new(plan.times.backoff_min, plan.times.backoff_max);
        Self { link, plan, waker, state: LinkState::Waiting(now, None), backoff, outage: Outage::default() }
    }

    /// The descriptor to wait for, and what for.
    pub fn interest(&self) -> Option<(BorrowedFd<'_>, Interest)> {
        if let LinkState::Live(session, _) = &self.state { session.interest() } else { None }
    }

    /// When [`PersistentLink::turn`] is due though no bytes come.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            LinkState::Forbidden(_) => None,
            LinkState::Waiting(until, _) => Some(*until),
            LinkState::Dialing { deadline, .. } => Some(*deadline),
            LinkState::Live(session, _) => Some(session.deadline()),
        }
    }

    /// Ends the session or the attempt at once, and begins no other before [`PersistentLink::allow`].
    pub fn forbid(&mut self, sink: &mut dyn FnMut(LinkEvent)) {
        let dial = match mem::replace(&mut self.state, LinkState::Forbidden(None)) {
            LinkState::Forbidden(dial) | LinkState::Waiting(_, dial) => dial,
            LinkState::Dialing { dial, .. } => Some(dial),
            LinkState::Live(session, up) => {
                session.end();
                if up.is_some() {
                    log::info!("{} closed: another node may now hold its stream", self.link);
                    sink(LinkEvent::Down);
                }
                None
            }
        };
        self.state = LinkState::Forbidden(dial);
    }

    /// Connects at the next turn, if that was forbidden.
    pub fn allow(&mut self, now: Instant) {
        if let LinkState::Forbidden(dial) = &mut self.state {
            self.state = LinkState::Waiting(now, dial.take());
            self.backoff = Backoff::new(self.plan.times.backoff_min, self.plan.times.backoff_max);
        }
    }

    /// Whether it is logged in.
    pub fn is_up(&self) -> bool {
        matches!(self.state, LinkState::Live(_, Some(_)))
    }

    /// Ends the pause before the next attempt.
    pub fn hurry(&mut self, now: Instant) {
        if let LinkState::Waiting(until, _) = &mut self.state {
            *until = now;
        }
    }

    /// Reads and writes without waiting; returns whether more can be read at once.
    pub fn turn(&mut self, now: Instant, sink: &mut dyn FnMut(LinkEvent)) -> bool {
        self.advance(now, sink).unwrap_or_else(|error| {
            self.fail(error, now, sink);
            false
        })
    }

    /// Sends a stanza if the link is up.
    pub fn send(&mut self, stanza: Element, now: Instant, sink: &mut dyn FnMut(LinkEvent)) {
        let LinkState::Live(session, Some(_)) = &mut self.state else { return };
        if let Err(error) = session.send(stanza) {
            self.fail(error.into(), now, sink);
        }
    }

    /// Ends the session or the attempt, logs why (not too often), and plans the next attempt.
    pub fn fail(&mut self, error: LinkError, now: Instant, sink: &mut dyn FnMut(LinkEvent)) {
        let (up, dial, begun) = match mem::replace(&mut self.state, LinkState::Waiting(now, None)) {
            LinkState::Live(_, up) => (up, None, now),
            LinkState::Dialing { dial, begun, .. } => (None, Some(dial), begun),
            LinkState::Waiting(_, dial) | LinkState::Forbidden(dial) => (None, dial, now),
        };
        let pause = self.backoff.pause(up.map(|up| now.saturating_duration_since(up)).unwrap_or_default());
        self.state = LinkState::Waiting((begun + pause).max(now), dial);
        let reason = Error::from(error).to_string();
        if self.outage.is_due(now) {
            log::warn!("{} is down, trying again: {reason}", self.link);
        }
        if up.is_some() {
            sink(LinkEvent::Down);
        }
        sink(LinkEvent::Failed(reason));
    }

    /// Ends the session after a panic in it.
    pub fn panicked(&mut self, now: Instant, sink: &mut dyn FnMut(LinkEvent)) {
        let error = Error::new(Kind::Failure, "a panic in the link's code, which is a bug");
        self.fail(error.into(), now, sink);
    }

    /// Ends the link's last session.
    pub fn close(self, sink: &mut dyn FnMut(LinkEvent)) {
        let LinkState::Live(session, up) = self.state else { return };
        session.close(self.plan.times.close);
        if up.is_some() {
            log::info!("{} closed", self.link);
            sink(LinkEvent::Down);
        }
    }

    fn advance(&mut self, now: Instant, sink: &mut dyn FnMut(LinkEvent)) -> LinkResult<bool> {
        match &mut self.state {
            LinkState::Forbidden(_) => Ok(false),
            LinkState::Waiting(until, _) if now < *until => Ok(false),
            LinkState::Waiting(until, Some(dial)) if dial.is_running() => {
                *until = now + self.backoff.pause(Duration::ZERO);
                Ok(false)
            }
            LinkState::Waiting(..) => Ok(self.dial(now)?),
            LinkState::Dialing { deadline, dial, .. } => match dial.poll() {
                None if now < *deadline => Ok(false),
                None => Err(dial::late().into()),
                Some(socket) => {
                    let session = LinkSession::new(socket?, &self.plan, *deadline, now)?;
                    self.state = LinkState::Live(Box::new(session), None);
                    self.live(now, sink)
                }
            },
            LinkState::Live(..) => self.live(now, sink),
        }
    }

    fn dial(&mut self, now: Instant) -> Result<bool> {
        let (host, port) = self.plan.settings.endpoint();
        let deadline = now + self.plan.times.login;
        let waker = Arc::clone(&self.waker);
        let dial = Dial::start(host, port, deadline, move || waker.wake())?;
        self.state = LinkState::Dialing { begun: now, deadline, dial };
        Ok(false)
    }

    fn live(&mut self, now: Instant, sink: &mut dyn FnMut(LinkEvent)) -> LinkResult<bool> {
        let LinkState::Live(session, up) = &mut self.state else { return Ok(false) };
        let encrypted = if session.is_encrypted() { ", encrypted" } else { "" };
        let (link, outage) = (self.link, &mut self.outage);
        session.turn(now, &mut |event| {
            if let LinkEvent::Up(jid) = &event {
                *up = Some(now);
                outage.over();
                log::info!("{link} connected as {jid}{encrypted}");
            }
            sink(event);
        })
    }
}

/// When the present outage was last logged.
#[derive(Default)]
struct Outage(Option<Instant>);

impl Outage {
    /// Whether a failure is to be logged: the first of an outage is, then one each minute.
    fn is_due(&mut self, now: Instant) -> bool {
        let due = self.0.is_none_or(|logged| now.saturating_duration_since(logged) >= limits::XMPP_REMINDER);
        if due {
            self.0 = Some(now);
        }
        due
    }

    fn over(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_logged_once_and_then_each_minute() {
        let (mut outage, start) = (Outage::default(), Instant::now());
        assert!(outage.is_due(start));
        assert!(!outage.is_due(start + limits::XMPP_REMINDER / 2));
        assert!(outage.is_due(start + limits::XMPP_REMINDER));
        assert!(!outage.is_due(start + limits::XMPP_REMINDER * 3 / 2));
        outage.over();
        assert!(outage.is_due(start + limits::XMPP_REMINDER * 3 / 2));
    }
}
