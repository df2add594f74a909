//! The gate for many threads: a lock around it, and hands that do what it wants.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::gate::{Gate, Output};
use super::request::{Ask, Decision};
use super::settings::Settings;
use crate::clock::Clock;
use crate::model::Jid;
use crate::xmpp::{Element, Handler, Link, Outbox};

/// Brings what was parked back, with its decision. Called without any lock held, on the thread that
/// asked or on the one that brought the stanza: it must not block.
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

    /// Takes a request. The decision comes through `deliver`: maybe at once, on this thread.
    pub fn ask(&self, ask: Ask, parked: P) {
        self.with_gate(|gate| gate.ask(Instant::now(), ask, parked));
    }

    /// Refuses everyone who waits, and everyone who comes.
    pub fn stop(&self) {
        self.with_gate(Gate::stop);
    }

    /// Does what the gate wants once its lock is free: whoever gets a decision may ask again.
    fn with_gate(&self, act: impl FnOnce(&mut Gate<P>) -> Vec<Output<P>>) {
        // A panic in the gate costs the request it was about; the others still want their answers.
        let wanted = act(&mut self.gate.lock().unwrap_or_else(PoisonError::into_inner));
        for output in wanted {
            match output {
                Output::Send(link, stanza) => self.outbox.send(link, stanza),
                Output::Decide(parked, decision) => (self.deliver)(parked, decision),
            }
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

    fn tick(&self, now: Instant) {
        self.with_gate(|gate| gate.tick(now));
    }
}
