//! The gate for many threads: a mutex around it. Its outputs are carried out after the mutex is released, on the thread
//! that made the call: a worker thread with a request, or the XMPP thread with a stanza, a link event or the time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::confirm::TextRequest;
use super::counts::Counts;
use super::gate::{Gate, GateOutput};
use super::nodes::{KnownRows, NodeEvent, NodeLinks};
use super::request::{Decision, Request, RequestId};
use super::settings::Settings;
use crate::clock::Clock;
use crate::model::{Channel, PromptDecision, PromptId, StoredPrompt};
use crate::xmpp::{Link, LinkEvent, Outbox};

/// Called with the parked value and its decision, without any lock held. It must not block: mostly it runs on the XMPP
/// thread.
pub type OnDecision<P> = Box<dyn Fn(P, Decision) + Send + Sync>;

/// Called with the gate's events for the other nodes, under the gate's lock, so that they keep their order. It must not
/// block or call the gate.
pub type OnNodeEvent = Box<dyn Fn(NodeEvent) + Send + Sync>;

/// A [`Gate`] that all threads share. `P` is what is parked with a request until its decision.
pub struct SharedGate<P: Send> {
    gate: Mutex<Gate<P>>,
    outbox: Outbox,
    on_decision: OnDecision<P>,
    /// `None`: this is the only node.
    on_node_event: Option<OnNodeEvent>,
}

impl<P: Send> SharedGate<P> {
    /// A gate that sends its stanzas through `outbox`.
    pub fn new(
        settings: Settings,
        clock: Arc<dyn Clock>,
        outbox: Outbox,
        on_decision: OnDecision<P>,
    ) -> Self {
        let gate = Mutex::new(Gate::new(settings, clock));
        Self { gate, outbox, on_decision, on_node_event: None }
    }

    /// The same gate as one of several nodes.
    pub fn of_cluster(self, on_node_event: OnNodeEvent) -> Self {
        let gate = self.gate.into_inner().unwrap_or_else(PoisonError::into_inner).of_cluster();
        Self { gate: Mutex::new(gate), on_node_event: Some(on_node_event), ..self }
    }

    /// Whether channels of this channel's domain are served.
    pub fn serves(&self, channel: &Channel) -> bool {
        self.lock().serves(channel.domain())
    }

    /// Whether the cache says that everyone may read this channel. Cheaper than [`SharedGate::ask`].
    pub fn is_public(&self, channel: &Channel) -> bool {
        self.lock().is_public(Instant::now(), channel)
    }

    /// Takes a request. A decision that can be made at once is returned; any other one goes to `on_decision`. If the
    /// request has to wait, `wait` is called first, under the gate's lock, with the number for [`SharedGate::cancel`].
    pub fn ask(
        &self,
        request: Request,
        parked: P,
        wait: impl FnOnce(&mut P, RequestId),
    ) -> Option<(P, Decision)> {
        let (waits, outputs) = self.locked(|gate| {
            let (id, outputs) = gate.ask(Instant::now(), request, parked);
            let waiting = gate.parked(id);
            (waiting.map(|parked| wait(parked, id)).is_some(), outputs)
        });
        if waits && outputs.is_empty() {
            // Its time passes though no stanza was sent.
            self.outbox.tick_soon();
        }
        let mut decided = None;
        for output in outputs {
            match output {
                GateOutput::Decide(parked, decision) if decided.is_none() => {
                    decided = Some((parked, decision));
                }
                output => {
                    self.carry_out(output);
                }
            }
        }
        decided
    }

    /// Takes back a request that waits, if `condition` is true of it: it will not be decided. `None` if it is decided
    /// already. Its confirmation counts for the limits until the user replies or its time is over.
    pub fn cancel(&self, id: RequestId, condition: impl FnOnce(&mut P) -> bool) -> Option<P> {
        self.locked(|gate| condition(gate.parked(id)?).then(|| gate.cancel(id))?)
    }

    /// Counters since the start, and how much waits now.
    pub fn counts(&self) -> Counts {
        self.lock().counts()
    }

    /// Forgets results of lookups that have expired: a chore of the housekeeper.
    pub fn forget_expired(&self) {
        self.lock().forget_expired(Instant::now());
    }

    /// Replaces the settings; see [`Gate::set_settings`].
    pub fn set_settings(&self, settings: Settings) {
        self.lock().set_settings(settings);
    }

    /// Refuses all requests that wait or come later.
    pub fn stop(&self) {
        self.with_gate(Gate::stop);
    }

    /// Carries the outputs out after the lock is released: `on_decision` may call the gate again. Gives those that are for
    /// the caller.
    fn with_gate(&self, act: impl FnOnce(&mut Gate<P>) -> Vec<GateOutput<P>>) -> Vec<TextRequest> {
        let outputs = self.locked(act);
        outputs.into_iter().filter_map(|output| self.carry_out(output)).collect()
    }

    fn locked<T>(&self, act: impl FnOnce(&mut Gate<P>) -> T) -> T {
        let mut gate = self.lock();
        let result = act(&mut gate);
        if let Some(on_node_event) = &self.on_node_event {
            gate.take_node_events().into_iter().for_each(on_node_event);
        }
        result
    }

    /// Ignores poison: after a panic the other requests still need their decisions.
    fn lock(&self) -> MutexGuard<'_, Gate<P>> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries an output out, unless it is for the caller.
    fn carry_out(&self, output: GateOutput<P>) -> Option<TextRequest> {
        match output {
            GateOutput::Send(link, stanza) => self.outbox.send(link, stanza),
            GateOutput::Decide(parked, decision) => (self.on_decision)(parked, decision),
            GateOutput::Serve(request) => return Some(request),
        }
        None
    }
}

/// The gate as the XMPP thread's handler sees it, for any type of parked values.
pub trait Door: Send + Sync {
    /// Takes an event of a link. Gives the texts that ask for something else than a decision of the gate.
    fn take(&self, link: Link, event: LinkEvent) -> Vec<TextRequest>;

    /// Ends what has waited for too long; gives the time when it wants to be called again.
    fn tick(&self, now: Instant) -> Option<Instant>;
}

impl<P: Send + 'static> Door for SharedGate<P> {
    fn take(&self, link: Link, event: LinkEvent) -> Vec<TextRequest> {
        let now = Instant::now();
        self.with_gate(|gate| match event {
            LinkEvent::Up(jid) => gate.up(now, link, &jid),
            LinkEvent::Down => gate.down(now, link),
            LinkEvent::Stanza(stanza) => gate.stanza(now, link, &stanza),
            LinkEvent::Failed(reason) => {
                gate.failed(link, &reason);
                Vec::new()
            }
        })
    }

    fn tick(&self, now: Instant) -> Option<Instant> {
        self.with_gate(|gate| gate.tick(now));
        self.lock().deadline()
    }
}

/// The gate as the thread `cluster` sees it, for any type of parked values. See the methods of [`Gate`] of these
/// names.
pub trait NodeDoor: Send + Sync {
    /// This node holds the component's stream from now on.
    fn hold(&self);

    /// This node holds the component's stream no longer.
    fn release(&self);

    /// The state of this node's links to the XMPP server.
    fn links(&self) -> NodeLinks;

    /// The rows that need not be read again.
    fn known_rows(&self) -> KnownRows;

    /// The table has the decisions about these rows.
    fn decisions_written(&self, rows: &[PromptId]);

    /// Asks a user for another node.
    fn ask_for_node(&self, stored: StoredPrompt);

    /// The client of a request of another node has hung up.
    fn node_hung_up(&self, row: &PromptId);

    /// Takes the decision of the node that asked about this request.
    fn answered(&self, id: RequestId, decision: PromptDecision);
}

impl<P: Send + 'static> NodeDoor for SharedGate<P> {
    fn hold(&self) {
        self.locked(|gate| gate.hold(Instant::now()));
    }

    fn release(&self) {
        self.with_gate(|gate| gate.release(Instant::now()));
    }

    fn links(&self) -> NodeLinks {
        self.lock().links()
    }

    fn known_rows(&self) -> KnownRows {
        self.lock().known_rows()
    }

    fn decisions_written(&self, rows: &[PromptId]) {
        self.lock().decisions_written(rows);
    }

    fn ask_for_node(&self, stored: StoredPrompt) {
        self.with_gate(|gate| gate.ask_for_node(Instant::now(), stored));
        // A prompt that is not shown ends at its deadline, too.
        self.outbox.tick_soon();
    }

    fn node_hung_up(&self, row: &PromptId) {
        self.locked(|gate| gate.node_hung_up(row));
    }

    fn answered(&self, id: RequestId, decision: PromptDecision) {
        self.with_gate(|gate| gate.answered(Instant::now(), id, decision));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::sync::{OnceLock, Weak};

    use super::super::request::Granted;
    use super::super::testing::{ALICE, COMPONENT, FixedClock, URL, element, request, settings};
    use super::*;
    use crate::model::{Need, Refusal};
    use crate::xmpp::{channel, ns};

    /// A gate that parks numbers, and its decisions.
    fn shared_gate() -> (SharedGate<u32>, mpsc::Receiver<(u32, Decision)>) {
        let (sender, decided) = mpsc::channel();
        let on_decision = Box::new(move |parked, decision| sender.send((parked, decision)).unwrap());
        (SharedGate::new(settings(), Arc::new(FixedClock), channel().0, on_decision), decided)
    }

    /// Alice's request to post to her own channel.
    fn own() -> Request {
        Request { channel: "alice@example.com".parse().unwrap(), ..request(Need::Publish) }
    }

    #[test]
    fn requests_go_in_and_decisions_come_out() {
        let (gate, decided) = shared_gate();
        assert_eq!(gate.ask(own(), 1, |_, _| {}), Some((1, Err(Refusal::XmppDown))));
        gate.take(Link::Component, LinkEvent::Up(COMPONENT.parse().unwrap()));
        for number in 2..=4 {
            assert_eq!(gate.ask(own(), number, |_, _| {}), None);
        }
        assert!(decided.try_recv().is_err());
        let attributes = [("id", "t"), ("method", "POST"), ("url", URL)];
        let confirm = element("confirm", ns::HTTP_AUTH, &attributes, &[]);
        let message = element("message", ns::CLIENT, &[("from", ALICE)], &[confirm]);
        gate.take(Link::Component, LinkEvent::Stanza(message));
        let alice = "alice@example.com".parse().unwrap();
        assert_eq!(decided.try_recv(), Ok((2, Ok(Granted::Owned(alice)))));
        assert!(gate.tick(Instant::now()).is_some(), "two wait for their answers");
        assert!(decided.try_recv().is_err());
        gate.take(Link::Component, LinkEvent::Down);
        assert_eq!(decided.try_recv(), Ok((3, Err(Refusal::XmppDown))));
        assert_eq!(decided.try_recv(), Ok((4, Err(Refusal::XmppDown))));
        gate.take(Link::Component, LinkEvent::Up(COMPONENT.parse().unwrap()));
        assert_eq!(gate.ask(own(), 5, |_, _| {}), None);
        assert_eq!(gate.tick(Instant::now() + settings().reply_timeout), None);
        assert_eq!(decided.try_recv(), Ok((5, Err(Refusal::NotConfirmed))));
        gate.set_settings(Settings { pending_per_user: 0, ..settings() });
        assert_eq!(gate.ask(own(), 6, |_, _| {}), Some((6, Err(Refusal::TooManyForUser))));
        gate.set_settings(Settings { domains: Vec::new(), ..settings() });
        assert_eq!(gate.ask(own(), 6, |_, _| {}), Some((6, Err(Refusal::NotServed))));
        gate.set_settings(settings());
        assert_eq!(gate.ask(own(), 6, |_, _| {}), None);
        gate.stop();
        assert_eq!(decided.try_recv(), Ok((6, Err(Refusal::Stopping))));
        assert!(decided.try_recv().is_err());
    }

    #[test]
    fn only_a_request_that_waits_can_be_cancelled_and_only_on_its_condition() {
        let (gate, decided) = shared_gate();
        assert_eq!(gate.ask(own(), 1, |_, _| panic!("it does not wait")), Some((1, Err(Refusal::XmppDown))));
        gate.take(Link::Component, LinkEvent::Up(COMPONENT.parse().unwrap()));
        let mut shown = None;
        assert_eq!(gate.ask(own(), 2, |parked, id| shown = Some((*parked, id))), None);
        let (parked, id) = shown.expect("it waits");
        assert_eq!(parked, 2);
        assert_eq!(gate.cancel(id, |_| false), None);
        assert_eq!(gate.cancel(id + 1, |_| true), None);
        assert_eq!(gate.cancel(id, |parked| *parked == 2), Some(2));
        assert_eq!(gate.cancel(id, |_| panic!("it is gone")), None);
        gate.take(Link::Component, LinkEvent::Down);
        assert!(decided.try_recv().is_err());
    }

    #[test]
    fn on_decision_may_call_the_gate() {
        let kept: Arc<OnceLock<Weak<SharedGate<u32>>>> = Arc::default();
        let (sender, decided) = mpsc::channel();
        let back = kept.clone();
        let on_decision = Box::new(move |parked: u32, _| {
            let gate = back.get().and_then(Weak::upgrade).unwrap();
            sender.send(gate.ask(own(), parked + 1, |_, _| {})).unwrap();
        });
        let gate = Arc::new(SharedGate::new(settings(), Arc::new(FixedClock), channel().0, on_decision));
        kept.set(Arc::downgrade(&gate)).unwrap();
        gate.take(Link::Component, LinkEvent::Up(COMPONENT.parse().unwrap()));
        assert_eq!(gate.ask(own(), 1, |_, _| {}), None);
        gate.take(Link::Component, LinkEvent::Down);
        assert_eq!(decided.try_recv(), Ok(Some((2, Err(Refusal::XmppDown)))));
    }
}
