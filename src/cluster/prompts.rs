//! Confirmations (XEP-0070) of several nodes through the table `prompts`. A node without the component's stream stores its
//! prompts there; the node that holds the stream asks the users and stores the decisions. All of it runs on the thread
//! `cluster`; the gate hands its events to that thread's queue.
//!
//! Notices only say when to look, and then the new rows are read. The table decides: at each beat all rows are compared with
//! what this node knows, also without a notice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use crate::access::{NodeDoor, NodeEvent, RequestId};
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::model::{PromptDecision, PromptId, Refusal, SharedPrompt, StoredPrompt};
use crate::store::{PromptTable, StreamEpoch};

/// The prompts of this node in the table, and those of the others that it sends.
pub(super) struct Prompts {
    door: Arc<dyn NodeDoor>,
    node: String,
    component: String,
    /// The component's stream, while this node holds it.
    stream: Option<StreamEpoch>,
    /// Whether the rows of an earlier run of this node are abandoned.
    is_clean: bool,
    /// Requests that are not stored yet.
    unasked: Vec<Unasked>,
    /// Stored requests that wait for a decision, both ways.
    waiting: BTreeMap<PromptId, RequestId>,
    rows: BTreeMap<RequestId, PromptId>,
    /// Rows whose requests wait no more.
    abandoned: Vec<PromptId>,
    /// Rows whose decisions were taken. They are removed when the next decisions are read.
    taken: Vec<PromptId>,
    /// On the holder: rows whose prompts were sent.
    sent: Vec<PromptId>,
    /// On the holder: decisions that are not stored yet.
    decided: Vec<(PromptId, PromptDecision)>,
    /// On the holder: undecided rows for which no client waits, as the gate knows.
    hung_up: BTreeSet<PromptId>,
    /// The prompts that may have to be sent.
    prompts_due: Due,
    /// The decisions that there may be about our requests.
    decisions_due: Due,
    swept: Option<Instant>,
}

/// The rows that are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Nothing,
    /// Those that have come or changed.
    New,
    /// All, to be compared with what is known.
    All,
}

/// A request that is not stored yet.
struct Unasked {
    id: RequestId,
    prompt: SharedPrompt,
    /// Whether the database did not answer when it was to be stored. It may be stored all the same.
    was_tried: bool,
}

/// A part of the work that is due.
type PromptStep = fn(&mut Prompts, &mut dyn PromptTable) -> Result<()>;

impl Prompts {
    /// The prompts of the node of this name, which does not hold the stream.
    pub fn new(door: Arc<dyn NodeDoor>, node: String, component: String) -> Self {
        Self {
            door,
            node,
            component,
            stream: None,
            is_clean: false,
            unasked: Vec::new(),
            waiting: BTreeMap::new(),
            rows: BTreeMap::new(),
            abandoned: Vec::new(),
            taken: Vec::new(),
            sent: Vec::new(),
            decided: Vec::new(),
            hung_up: BTreeSet::new(),
            prompts_due: Due::Nothing,
            decisions_due: Due::Nothing,
            swept: None,
        }
    }

    /// Whether this node holds the component's stream from now on, and with which epoch.
    pub fn follow(&mut self, epoch: Option<i64>) {
        if self.stream.as_ref().map(|stream| stream.epoch) == epoch {
            return;
        }
        if self.stream.is_some() {
            self.release();
        }
        if let Some(epoch) = epoch {
            self.stream = Some(StreamEpoch { component: self.component.clone(), epoch });
            self.prompts_due = Due::All;
            self.door.hold();
        }
    }

    /// Decisions that this node has not stored are left to the next holder.
    fn release(&mut self) {
        self.stream = None;
        self.door.release();
        self.sent.clear();
        self.decided.clear();
        self.hung_up.clear();
    }

    /// Takes an event of the gate for the other nodes. Without I/O.
    pub fn take(&mut self, event: NodeEvent) {
        match event {
            NodeEvent::Ask(id, prompt) => {
                self.unasked.push(Unasked { id, prompt: *prompt, was_tried: false });
            }
            NodeEvent::Abandon(id) => self.drop_request(id),
            NodeEvent::Sent(row) if self.stream.is_some() => self.sent.push(row),
            NodeEvent::Decide(row, decision) if self.stream.is_some() => self.decided.push((row, decision)),
            NodeEvent::Sent(_) | NodeEvent::Decide(..) => {}
            NodeEvent::Ready => self.prompts_due = Due::All,
        }
    }

    fn drop_request(&mut self, id: RequestId) {
        self.unasked.retain(|unasked| unasked.id != id);
        if let Some(row) = self.rows.remove(&id) {
            self.waiting.remove(&row);
            self.abandoned.push(row);
        }
    }

    /// Another node says that prompts were stored, or abandoned.
    pub fn hear_of_prompts(&mut self) {
        self.prompts_due = self.prompts_due.max(Due::New);
    }

    /// The holder says that rows are decided.
    pub fn hear_of_decisions(&mut self) {
        self.decisions_due = self.decisions_due.max(Due::New);
    }

    /// Compares all rows with what is known the next time: to be called at each beat.
    pub fn look_again(&mut self) {
        (self.prompts_due, self.decisions_due) = (Due::All, Due::All);
    }

    /// Does the writes and reads that are due. Requests are stored, or refused, even if `until` is over: their clients wait. The
    /// rest may take as long as the database takes for one statement beyond `until`; then more stays due.
    pub fn work(&mut self, table: &mut dyn PromptTable, until: Instant) -> Result<()> {
        const STEPS: [PromptStep; 5] = [
            Prompts::store_abandoned,
            Prompts::hand_back,
            Prompts::read_decisions,
            Prompts::read_prompts,
            Prompts::sweep,
        ];
        self.clean_up(table)?;
        self.store_requests(table)?;
        let mut steps = STEPS.iter();
        steps.try_for_each(|step| if Instant::now() < until { step(self, table) } else { Ok(()) })
    }

    /// No client waits for the prompts of an earlier run of this node.
    fn clean_up(&mut self, table: &mut dyn PromptTable) -> Result<()> {
        if !self.is_clean {
            table.abandon_of_node(&self.node)?;
            self.is_clean = true;
        }
        Ok(())
    }

    fn store_requests(&mut self, table: &mut dyn PromptTable) -> Result<()> {
        let count = self.unasked.len().min(limits::PROMPTS_STORED);
        let batch: Vec<_> = self.unasked.drain(..count).collect();
        if batch.is_empty() { Ok(()) } else { self.store_together(table, batch) }
    }

    /// If the database can't hold one of several requests, each is stored separately. A request that can't be stored is refused:
    /// if the database does not answer, when that happens again.
    fn store_together(&mut self, table: &mut dyn PromptTable, batch: Vec<Unasked>) -> Result<()> {
        let prompts: Vec<_> = batch.iter().map(|unasked| unasked.prompt.clone()).collect();
        match table.ask(&self.node, &prompts) {
            Ok(rows) => {
                for (unasked, row) in batch.into_iter().zip(rows) {
                    self.waiting.insert(row.clone(), unasked.id);
                    self.rows.insert(unasked.id, row);
                }
                Ok(())
            }
            Err(error) if error.kind() == Kind::Unavailable => {
                let (again, first): (Vec<_>, Vec<_>) = batch.into_iter().partition(|one| one.was_tried);
                self.refuse(&again, &error);
                self.unasked.extend(first.into_iter().map(|one| Unasked { was_tried: true, ..one }));
                Err(error)
            }
            Err(_) if batch.len() > 1 => self.store_each(table, batch),
            Err(error) => {
                self.refuse(&batch, &error);
                Ok(())
            }
        }
    }

    fn store_each(&mut self, table: &mut dyn PromptTable, batch: Vec<Unasked>) -> Result<()> {
        let mut batch = batch.into_iter();
        let stored = batch.by_ref().try_for_each(|one| self.store_together(table, vec![one]));
        self.unasked.extend(batch);
        stored
    }

    /// Refuses the requests that are not stored yet: the database can't be reached.
    pub fn refuse_unasked(&mut self, error: &Error) {
        let unasked = std::mem::take(&mut self.unasked);
        self.refuse(&unasked, error);
    }

    fn refuse(&self, batch: &[Unasked], error: &Error) {
        if batch.is_empty() {
            return;
        }
        let refusal = Refusal::from(Error::new(error.kind(), error.to_string()));
        batch.iter().for_each(|unasked| self.door.answered(unasked.id, Err(refusal)));
    }

    fn store_abandoned(&mut self, table: &mut dyn PromptTable) -> Result<()> {
        if self.abandoned.is_empty() {
            return Ok(());
        }
        table.abandon(&self.abandoned)?;
        self.abandoned.clear();
        Ok(())
    }

    /// Stores, on the holder, which prompts were sent and how others are decided.
    fn hand_back(&mut self, table: &mut dyn PromptTable) -> Result<()> {
        let is_due = !self.sent.is_empty() || !self.decided.is_empty();
        let Some(stream) = self.stream.as_ref().filter(|_| is_due) else { return Ok(()) };
        let rows: BTreeSet<_> = self.decided.iter().map(|(row, _)| row.clone()).collect();
        // Nobody asks whether a decided one was sent.
        self.sent.retain(|row| !rows.contains(row));
        if !table.hand_back(stream, &self.sent, &self.decided)? {
            log::warn!("another node has the XMPP stream; it decides about requests of other nodes");
            self.release();
            return Ok(());
        }
        self.sent.clear();
        if rows.is_empty() {
            return Ok(());
        }
        self.decided.clear();
        self.door.decisions_written(&Vec::from_iter(rows));
        // Some may be our own.
        self.hear_of_decisions();
        Ok(())
    }

    fn read_decisions(&mut self, table: &mut dyn PromptTable) -> Result<()> {
        if self.decisions_due == Due::Nothing || !self.awaits_decisions() {
            self.decisions_due = Due::Nothing;
            return Ok(());
        }
        let decided = table.decided(&self.node, &self.taken)?;
        self.taken.clear();
        let (unknown, known): (Vec<_>, Vec<_>) =
            decided.into_iter().partition(|(row, _)| self.may_have_stored(row));
        known.into_iter().for_each(|(row, decision)| self.answer(row, decision));
        if self.decisions_due == Due::All {
            self.compare_waiting(table)?;
        }
        self.decisions_due = if unknown.is_empty() { Due::Nothing } else { Due::New };
        Ok(())
    }

    /// Whether the row may be that of a request whose attempt to store it had no answer. That request is stored again and then
    /// reads the decision, so the row must stay.
    fn may_have_stored(&self, row: &PromptId) -> bool {
        self.unasked.iter().any(|unasked| unasked.was_tried && unasked.prompt.stanza_id == row.stanza_id)
    }

    /// Whether there may be decisions to read, or read ones to remove.
    fn awaits_decisions(&self) -> bool {
        !self.waiting.is_empty() || !self.taken.is_empty()
    }

    /// Ends the requests whose rows are gone.
    fn compare_waiting(&mut self, table: &mut dyn PromptTable) -> Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let waiting: Vec<_> = self.waiting.keys().cloned().collect();
        let found = table.decisions(&waiting)?;
        let decided = decided_or_gone(waiting, found);
        decided.into_iter().for_each(|(row, decision)| self.answer(row, decision));
        Ok(())
    }

    /// Tells the decision to the request of the row, unless its client has hung up. The row is to be removed.
    fn answer(&mut self, row: PromptId, decision: PromptDecision) {
        if let Some(id) = self.waiting.remove(&row) {
            self.rows.remove(&id);
            self.door.answered(id, decision);
        }
        self.taken.push(row);
    }

    /// The gate asks about the prompts that it does not know yet.
    fn read_prompts(&mut self, table: &mut dyn PromptTable) -> Result<()> {
        match self.prompts_due {
            Due::All if self.stream.is_some() => self.read_all_prompts(table),
            Due::New if self.stream.is_some() => self.read_new_prompts(table),
            _ => Ok(()),
        }
    }

    fn read_new_prompts(&mut self, table: &mut dyn PromptTable) -> Result<()> {
        let hung_up: Vec<_> = self.hung_up.iter().cloned().collect();
        let fresh = table.fresh(&hung_up, limits::PROMPTS_READ)?;
        // As many again may be left.
        self.prompts_due = if fresh.len() >= limits::PROMPTS_READ { Due::All } else { Due::Nothing };
        self.hand_over(fresh);
        Ok(())
    }

    fn read_all_prompts(&mut self, table: &mut dyn PromptTable) -> Result<()> {
        let known = self.door.known_rows();
        let undecided = table.undecided(&known.all, &known.waiting, limits::PROMPTS_READ)?;
        let is_full = undecided.len() >= limits::PROMPTS_READ;
        let waiting: BTreeSet<_> = known.waiting.iter().collect();
        self.hung_up = known.all.iter().filter(|row| !waiting.contains(row)).cloned().collect();
        self.hand_over(undecided);
        // As many again may be left, unless the gate takes none: then its link is down.
        let is_left = is_full && self.door.known_rows() != known;
        self.prompts_due = if is_left { Due::All } else { Due::Nothing };
        Ok(())
    }

    fn hand_over(&mut self, prompts: Vec<StoredPrompt>) {
        for stored in prompts {
            let hung_up = stored.is_abandoned.then(|| stored.id());
            self.door.ask_for_node(stored);
            if let Some(row) = hung_up {
                self.door.node_hung_up(&row);
                self.hung_up.insert(row);
            }
        }
    }

    /// Whether [`Prompts::work`] has more to do at once.
    pub fn is_due(&self) -> bool {
        let sends = self.stream.is_some() && self.prompts_due > Due::Nothing;
        let reads = self.decisions_due > Due::Nothing && self.awaits_decisions();
        sends || reads || !self.unasked.is_empty()
    }

    fn sweep(&mut self, table: &mut dyn PromptTable) -> Result<()> {
        let now = Instant::now();
        if self.swept.is_none_or(|at| now.saturating_duration_since(at) >= limits::PROMPTS_SWEEP) {
            self.swept = Some(now);
            table.sweep()?;
        }
        Ok(())
    }
}

/// The decisions about the requests of these rows. A row that is gone is decided, too: PostgreSQL empties the table after a
/// crash.
fn decided_or_gone(
    waiting: Vec<PromptId>,
    found: Vec<(PromptId, Option<PromptDecision>)>,
) -> Vec<(PromptId, PromptDecision)> {
    let mut found: BTreeMap<_, _> = found.into_iter().collect();
    let decision = |row| {
        let decision = found.remove(&row).unwrap_or(Some(Err(Refusal::XmppDown)))?;
        Some((row, decision))
    };
    waiting.into_iter().filter_map(decision).collect()
}

#[cfg(test)]
mod random_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod world;
