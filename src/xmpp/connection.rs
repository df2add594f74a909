//! One link for good: connecting, a session, a pause, and again.

use std::mem;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::model::Jid;
use crate::sys::{Interest, Waker};

use super::backoff::Backoff;
use super::dial::{self, Dial};
use super::login::{Broken, Outcome};
use super::session::{Plan, Session, Traffic};
use super::{Element, Link};

/// What a connection reports.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Happening {
    /// The link is there, under this address.
    Up(Jid),
    /// A stanza came.
    Stanza(Element),
    /// The link is gone.
    Down,
}

/// A link that comes back whenever it breaks.
pub(super) struct Connection {
    link: Link,
    plan: Plan,
    waker: Arc<Waker>,
    state: State,
    backoff: Backoff,
    outage: Outage,
}

enum State {
    /// Until then; the thread of the last attempt may still hang in a name lookup.
    Waiting(Instant, Option<Dial>),
    /// Until then.
    Dialing(Instant, Dial),
    /// Up since then, if it is.
    Live(Box<Session>, Option<Instant>),
}

impl Connection {
    /// A link that connects at its first turn; `waker` wakes whoever is to call it then.
    pub fn new(link: Link, plan: Plan, waker: Arc<Waker>, now: Instant) -> Self {
        let backoff = Backoff::new(plan.times.backoff_min, plan.times.backoff_max);
        Self { link, plan, waker, state: State::Waiting(now, None), backoff, outage: Outage::default() }
    }

    /// What to wait for besides waker and clock.
    pub fn interest(&self) -> Option<(BorrowedFd<'_>, Interest)> {
        if let State::Live(session, _) = &self.state { session.interest() } else { None }
    }

    /// When it wants its turn though nothing comes.
    pub fn deadline(&self) -> Instant {
        match &self.state {
            State::Waiting(until, _) => *until,
            State::Dialing(deadline, _) => *deadline,
            State::Live(session, _) => session.deadline(),
        }
    }

    /// Does what can be done now without waiting; says whether there is more.
    pub fn turn(&mut self, now: Instant, sink: &mut dyn FnMut(Happening)) -> bool {
        self.advance(now, sink).unwrap_or_else(|broken| {
            self.fail(broken, now, sink);
            false
        })
    }

    /// Sends a stanza if the link is up.
    pub fn send(&mut self, stanza: Element, now: Instant, sink: &mut dyn FnMut(Happening)) {
        let State::Live(session, Some(_)) = &mut self.state else { return };
        if let Err(error) = session.send(stanza) {
            self.fail(error.into(), now, sink);
        }
    }

    /// Gives the session up, says why unless it was said lately, and plans the next one.
    pub fn fail(&mut self, broken: Broken, now: Instant, sink: &mut dyn FnMut(Happening)) {
        let (up, dial) = match mem::replace(&mut self.state, State::Waiting(now, None)) {
            State::Live(_, up) => (up, None),
            State::Dialing(_, dial) => (None, Some(dial)),
            State::Waiting(_, dial) => (None, dial),
        };
        let pause = self.backoff.pause(up.map(|up| now.saturating_duration_since(up)).unwrap_or_default());
        self.state = State::Waiting(now + pause, dial);
        if self.outage.is_news(now) {
            log::warn!("{} is down, trying again: {}", self.link, Error::from(broken));
        }
        if up.is_some() {
            sink(Happening::Down);
        }
    }

    /// Gives the session up after a panic in it.
    pub fn panicked(&mut self, now: Instant, sink: &mut dyn FnMut(Happening)) {
        let error = Error::new(Kind::Failure, "a panic in the code of the link, which is a bug");
        self.fail(error.into(), now, sink);
    }

    /// Ends the link's last session.
    pub fn close(self, sink: &mut dyn FnMut(Happening)) {
        let State::Live(session, up) = self.state else { return };
        session.close(self.plan.times.close);
        if up.is_some() {
            log::info!("{} closed", self.link);
            sink(Happening::Down);
        }
    }

    fn advance(&mut self, now: Instant, sink: &mut dyn FnMut(Happening)) -> Outcome<bool> {
        match &mut self.state {
            State::Waiting(until, _) if now < *until => Ok(false),
            State::Waiting(until, Some(dial)) if dial.is_running() => {
                *until = now + self.backoff.pause(Duration::ZERO);
                Ok(false)
            }
            State::Waiting(..) => Ok(self.dial(now)?),
            State::Dialing(deadline, dial) => match dial.poll() {
                None if now < *deadline => Ok(false),
                None => Err(dial::late().into()),
                Some(socket) => {
                    let session = Session::new(socket?, &self.plan, *deadline, now)?;
                    self.state = State::Live(Box::new(session), None);
                    self.live(now, sink)
                }
            },
            State::Live(..) => self.live(now, sink),
        }
    }

    fn dial(&mut self, now: Instant) -> Result<bool> {
        let (host, port) = self.plan.settings.endpoint();
        let deadline = now + self.plan.times.login;
        let waker = Arc::clone(&self.waker);
        self.state = State::Dialing(deadline, Dial::start(host, port, deadline, move || waker.wake())?);
        Ok(false)
    }

    fn live(&mut self, now: Instant, sink: &mut dyn FnMut(Happening)) -> Outcome<bool> {
        let State::Live(session, up) = &mut self.state else { return Ok(false) };
        let encrypted = if session.is_encrypted() { ", encrypted" } else { "" };
        let (link, outage) = (self.link, &mut self.outage);
        session.turn(now, &mut |traffic| {
            sink(match traffic {
                Traffic::Ready(jid) => {
                    *up = Some(now);
                    outage.over();
                    log::info!("{link} connected as {jid}{encrypted}");
                    Happening::Up(jid)
                }
                Traffic::Stanza(stanza) => Happening::Stanza(stanza),
            });
        })
    }
}

/// When the log was told of the present outage.
#[derive(Default)]
struct Outage(Option<Instant>);

impl Outage {
    /// Whether a failure is worth a line: the first of an outage is, and then one each minute.
    fn is_news(&mut self, now: Instant) -> bool {
        let news = self.0.is_none_or(|told| now.saturating_duration_since(told) >= limits::XMPP_REMINDER);
        if news {
            self.0 = Some(now);
        }
        news
    }

    fn over(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_told_once_and_then_each_minute() {
        let (mut outage, start) = (Outage::default(), Instant::now());
        assert!(outage.is_news(start));
        assert!(!outage.is_news(start + limits::XMPP_REMINDER / 2));
        assert!(outage.is_news(start + limits::XMPP_REMINDER));
        assert!(!outage.is_news(start + limits::XMPP_REMINDER * 3 / 2));
        outage.over();
        assert!(outage.is_news(start + limits::XMPP_REMINDER * 3 / 2));
    }
}
