//! Requests of users to the component itself, over XMPP: one file per kind. Now these are requests for upload slots
//! (XEP-0363); the gate replies to all others.
//!
//! The XMPP thread reads a request and decides what memory can decide. What may wait for the store goes to a worker
//! thread of the HTTP server, which sends the reply through the outbox.

mod jobs;
mod rates;
mod reply;
mod slots;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jobs::Jobs;
use rates::Rates;
use reply::{ReturnAddress, StanzaError};

use crate::clock::{Clock, Timestamp};
use crate::http::ResumeQueue;
use crate::model::{BareJid, Jid};
use crate::uploads::{Slot, SlotRefusal, Slots};
use crate::xmpp::{Element, Handler, Link, LinkEvent, Outbox};

/// The first to see what comes over both links. It keeps what is its own, and passes the rest on to the gate.
pub struct Component {
    gate: Arc<dyn Handler>,
    slots: Arc<dyn Slots>,
    clock: Arc<dyn Clock>,
    jobs: Jobs,
    rates: Mutex<Rates>,
    outbox: Outbox,
    /// Another number for each stream of the component.
    stream: Arc<AtomicU64>,
}

impl Component {
    /// A component before this gate. Requests that may wait run on `workers`, of which there are `threads`.
    pub fn new(
        gate: Arc<dyn Handler>,
        slots: Arc<dyn Slots>,
        clock: Arc<dyn Clock>,
        outbox: Outbox,
        workers: ResumeQueue,
        threads: usize,
    ) -> Self {
        let (jobs, rates) = (Jobs::new(workers, threads), Mutex::new(Rates::new()));
        Self { gate, slots, clock, jobs, rates, outbox, stream: Arc::default() }
    }

    /// The sender of a stanza that asks for a slot; nobody if it is for the gate.
    fn asker(&self, stanza: &Element) -> Option<Asker> {
        let address = ReturnAddress::of(stanza).filter(|_| slots::is_request(stanza))?;
        let (outbox, stream) = (self.outbox.clone(), Arc::clone(&self.stream));
        let number = stream.load(Ordering::Acquire);
        self.slots.is_enabled().then_some(Asker { address, outbox, stream, number })
    }

    fn slot(&self, iq: &Element, asker: Asker) {
        let request = self.owner(iq).and_then(|owner| slots::read(iq, owner)).and_then(|request| {
            self.slots.decide_from_memory(&request).map(|()| request).map_err(slots::refusal)
        });
        let request = match request {
            Ok(request) => request,
            Err(error) => return asker.refuse(error),
        };
        let slots = Arc::clone(&self.slots);
        self.jobs.run(move |admitted| {
            asker.tell(if admitted { slots.grant(request) } else { Err(busy()) });
        });
    }

    /// The user who asks, if they do not ask too fast.
    fn owner(&self, iq: &Element) -> Result<BareJid, StanzaError> {
        let jid = iq.attribute("from").and_then(|from| from.parse::<Jid>().ok());
        let malformed = || StanzaError::new("modify", "jid-malformed", "Your address is not valid.");
        let owner = jid.ok_or_else(malformed)?.into_bare();
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        rates.admit(Instant::now(), &owner).map_err(|wait| slots::refusal(self.too_fast(wait)))?;
        Ok(owner)
    }

    fn too_fast(&self, wait: Duration) -> SlotRefusal {
        let micros = i64::try_from(wait.as_micros()).unwrap_or(i64::MAX);
        let retry = self.clock.now().as_micros().saturating_add(micros);
        let text = "You have asked for many uploads in a short time; try again in a moment.".to_owned();
        SlotRefusal::NoRoom { text, retry: Some(Timestamp::from_micros(retry)) }
    }
}

impl Handler for Component {
    fn event(&self, link: Link, event: LinkEvent) {
        if link == Link::Component {
            match &event {
                LinkEvent::Stanza(stanza) => {
                    if let Some(asker) = self.asker(stanza) {
                        return self.slot(stanza, asker);
                    }
                }
                LinkEvent::Up(_) | LinkEvent::Down => {
                    self.stream.fetch_add(1, Ordering::AcqRel);
                }
                LinkEvent::Failed(_) => {}
            }
        }
        self.gate.event(link, event);
    }

    fn tick(&self, now: Instant) -> Option<Instant> {
        self.gate.tick(now)
    }
}

/// A user who waits for a reply on the stream of the request.
struct Asker {
    address: ReturnAddress,
    outbox: Outbox,
    stream: Arc<AtomicU64>,
    /// The number of the stream on which the request came.
    number: u64,
}

impl Asker {
    fn tell(self, slot: Result<Slot, SlotRefusal>) {
        match slot {
            Ok(slot) => self.send(|address| address.result(slots::slot(&slot))),
            Err(refusal) => self.refuse(slots::refusal(refusal)),
        }
    }

    fn refuse(self, error: StanzaError) {
        self.send(|address| address.error(error));
    }

    /// Sends the reply, unless the stream was renewed meanwhile: the server has answered for us then. A stream that ends
    /// from here on takes the reply with it, for the XMPP thread empties the outbox many times before it has logged in
    /// again.
    fn send(self, reply: impl FnOnce(ReturnAddress) -> Element) {
        if self.stream.load(Ordering::Acquire) == self.number {
            self.outbox.send(Link::Component, reply(self.address));
        }
    }
}

/// The worker threads have no time.
fn busy() -> SlotRefusal {
    let text = "The server is busy; try again in a minute.".to_owned();
    SlotRefusal::NoRoom { text, retry: None }
}

#[cfg(test)]
mod tests;
