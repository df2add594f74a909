//! The gate for many threads: a lock around it, and hands that do what it wants.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::counts::Counts;
use super::gate::{Gate, Output};
use super::request::{Ask, Decision, Ticket};
use super::settings::Settings;
use crate::clock::Clock;
use crate::model::{Channel, Jid};
use crate::xmpp::{Element, Handler, Link, Outbox};

/// Brings what was parked back, with its decision. Called without any lock held, on the thread that
/// brought the stanza or the time: it must not block.
pub type Deliver<P> = Box<dyn Fn(P, Decision) + Send + Sync>;

/// Lets requests in, or not. `P` is what is parked while a request waits.
pub struct Doorkeeper<P: Send> {
    gate: Mutex<Gate<P>>,
    outbox: Outbox,
    deliver: Deliver<P>,
}

impl<P: Send> Doorkeeper<P> {
    /// A doorkeeper whose stanzas go to `outbox` and whose decisions go to `deliver`.
    pub fn new(settings: Settings, clock: Arc<dyn Clock>, outbox: Outbox, deliver: Deliver<P>) -> Self {
        Self { gate: Mutex::new(Gate::new(settings, clock)), outbox, deliver }
    }

    /// Whether the channel's domain is one whose media are kept here.
    pub fn serves(&self, channel: &Channel) -> bool {
        self.lock().serves(channel.domain())
    }

    /// Whether it is known now that everybody may read this channel: what [`Doorkeeper::ask`] would say, for less.
    pub fn is_public(&self, channel: &Channel) -> bool {
        self.lock().is_public(Instant::now(), channel)
    }

    /// Takes a request. What can be decided at once is handed back; any other decision comes through `deliver`. What
    /// has to wait is shown to `wait` first, under the gate's lock, with the ticket to [`Doorkeeper::cancel`] it by.
    pub fn ask(&self, ask: Ask, parked: P, wait: impl FnOnce(&mut P, Ticket)) -> Option<(P, Decision)> {
        let wanted = {
            let mut gate = self.lock();
            let (ticket, wanted) = gate.ask(Instant::now(), ask, parked);
            if let Some(parked) = gate.parked(ticket) {
                wait(parked, ticket);
            }
            wanted
        };
        let mut decided = None;
        for output in wanted {
            match output {
                Output::Decide(parked, decision) if decided.is_none() => decided = Some((parked, decision)),
                output => self.carry_out(output),
            }
        }
        decided
    }

    /// Takes back a request that waits, if this still holds of it: nobody's word counts for it any more. That a user
    /// was asked still counts, until it is answered or late. Nothing if it is decided already.
    pub fn cancel(&self, ticket: Ticket, if_holds: impl FnOnce(&mut P) -> bool) -> Option<P> {
        let mut gate = self.lock();
        if_holds(gate.parked(ticket)?).then(|| gate.cancel(ticket))?
    }

    /// What waits at the gate, and what it has done.
    pub fn counts(&self) -> Counts {
        self.lock().counts()
    }

    /// Other settings for what comes.
    pub fn set_settings(&self, settings: Settings) {
        self.lock().set_settings(settings);
    }

    /// Refuses everyone who waits, and everyone who comes.
    pub fn stop(&self) {
        self.with_gate(Gate::stop);
    }

    /// Does what the gate wants once its lock is free: whoever gets a decision may ask again.
    fn with_gate(&self, act: impl FnOnce(&mut Gate<P>) -> Vec<Output<P>>) {
        let wanted = act(&mut self.lock());
        for output in wanted {
            self.carry_out(output);
        }
    }

    /// A panic in the gate costs the request it was about; the others still want their answers.
    fn lock(&self) -> MutexGuard<'_, Gate<P>> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn carry_out(&self, output: Output<P>) {
        match output {
            Output::Send(link, stanza) => self.outbox.send(link, stanza),
            Output::Decide(parked, decision) => (self.deliver)(parked, decision),
        }
    }
}

impl<P: Send + 'static> Handler for Doorkeeper<P> {
    fn up(&self, link: Link, jid: &Jid) {
        self.with_gate(|gate| gate.up(Instant::now(), link, jid));
    }

    fn down(&self, link: Link) {
        self.with_gate(|gate| gate.down(Instant::now(), link));
    }

    fn stanza(&self, link: Link, stanza: Element) {
        self.with_gate(|gate| gate.stanza(Instant::now(), link, &stanza));
    }

    fn tick(&self, now: Instant) -> Option<Instant> {
        self.with_gate(|gate| gate.tick(now));
        self.lock().deadline()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::sync::{OnceLock, Weak};

    use super::super::request::Granted;
    use super::super::testing::{ALICE, COMPONENT, FixedClock, URL, ask, element, settings};
    use super::*;
    use crate::model::{Need, Refusal};
    use crate::xmpp::{channel, ns};

    /// A doorkeeper for numbers, and what it delivers.
    fn doorkeeper() -> (Doorkeeper<u32>, mpsc::Receiver<(u32, Decision)>) {
        let (sender, delivered) = mpsc::channel();
        let deliver = Box::new(move |parked, decision| sender.send((parked, decision)).unwrap());
        (Doorkeeper::new(settings(), Arc::new(FixedClock), channel().0, deliver), delivered)
    }

    /// Alice's request to post to her own channel.
    fn own() -> Ask {
        Ask { channel: "alice@example.com".parse().unwrap(), ..ask(Need::Publish) }
    }

    #[test]
    fn requests_go_in_and_decisions_come_out() {
        let (doorkeeper, delivered) = doorkeeper();
        assert_eq!(doorkeeper.ask(own(), 1, |_, _| {}), Some((1, Err(Refusal::XmppDown))));
        doorkeeper.up(Link::Component, &COMPONENT.parse().unwrap());
        for number in 2..=4 {
            assert_eq!(doorkeeper.ask(own(), number, |_, _| {}), None);
        }
        assert!(delivered.try_recv().is_err());
        let attributes = [("id", "t"), ("method", "POST"), ("url", URL)];
        let confirm = element("confirm", ns::HTTP_AUTH, &attributes, &[]);
        let message = element("message", ns::CLIENT, &[("from", ALICE)], &[confirm]);
        doorkeeper.stanza(Link::Component, message);
        let alice = "alice@example.com".parse().unwrap();
        assert_eq!(delivered.try_recv(), Ok((2, Ok(Granted::Owned(alice)))));
        assert!(doorkeeper.tick(Instant::now()).is_some(), "two wait for their answers");
        assert!(delivered.try_recv().is_err());
        doorkeeper.down(Link::Component);
        assert_eq!(delivered.try_recv(), Ok((3, Err(Refusal::XmppDown))));
        assert_eq!(delivered.try_recv(), Ok((4, Err(Refusal::XmppDown))));
        doorkeeper.up(Link::Component, &COMPONENT.parse().unwrap());
        assert_eq!(doorkeeper.ask(own(), 5, |_, _| {}), None);
        assert_eq!(doorkeeper.tick(Instant::now() + settings().reply_timeout), None);
        assert_eq!(delivered.try_recv(), Ok((5, Err(Refusal::NotConfirmed))));
        doorkeeper.set_settings(Settings { pending_per_user: 0, ..settings() });
        assert_eq!(doorkeeper.ask(own(), 6, |_, _| {}), Some((6, Err(Refusal::TooManyForUser))));
        doorkeeper.set_settings(Settings { domains: Vec::new(), ..settings() });
        assert_eq!(doorkeeper.ask(own(), 6, |_, _| {}), Some((6, Err(Refusal::NotServed))));
        doorkeeper.set_settings(settings());
        assert_eq!(doorkeeper.ask(own(), 6, |_, _| {}), None);
        doorkeeper.stop();
        assert_eq!(delivered.try_recv(), Ok((6, Err(Refusal::Stopping))));
        assert!(delivered.try_recv().is_err());
    }

    #[test]
    fn only_who_waits_can_be_taken_back_and_only_if_they_shall() {
        let (doorkeeper, delivered) = doorkeeper();
        assert_eq!(
            doorkeeper.ask(own(), 1, |_, _| panic!("it does not wait")),
            Some((1, Err(Refusal::XmppDown)))
        );
        doorkeeper.up(Link::Component, &COMPONENT.parse().unwrap());
        let mut shown = None;
        assert_eq!(doorkeeper.ask(own(), 2, |parked, ticket| shown = Some((*parked, ticket))), None);
        let (parked, ticket) = shown.expect("it waits");
        assert_eq!(parked, 2);
        assert_eq!(doorkeeper.cancel(ticket, |_| false), None);
        assert_eq!(doorkeeper.cancel(ticket + 1, |_| true), None);
        assert_eq!(doorkeeper.cancel(ticket, |parked| *parked == 2), Some(2));
        assert_eq!(doorkeeper.cancel(ticket, |_| panic!("it is gone")), None);
        doorkeeper.down(Link::Component);
        assert!(delivered.try_recv().is_err());
    }

    #[test]
    fn whoever_gets_a_decision_may_ask_again() {
        let kept: Arc<OnceLock<Weak<Doorkeeper<u32>>>> = Arc::default();
        let (sender, delivered) = mpsc::channel();
        let back = kept.clone();
        let deliver = Box::new(move |parked: u32, _| {
            let doorkeeper = back.get().and_then(Weak::upgrade).unwrap();
            sender.send(doorkeeper.ask(own(), parked + 1, |_, _| {})).unwrap();
        });
        let doorkeeper = Arc::new(Doorkeeper::new(settings(), Arc::new(FixedClock), channel().0, deliver));
        kept.set(Arc::downgrade(&doorkeeper)).unwrap();
        doorkeeper.up(Link::Component, &COMPONENT.parse().unwrap());
        assert_eq!(doorkeeper.ask(own(), 1, |_, _| {}), None);
        doorkeeper.down(Link::Component);
        assert_eq!(delivered.try_recv(), Ok(Some((2, Err(Refusal::XmppDown)))));
    }
}
