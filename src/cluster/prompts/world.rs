//! Gates of several nodes with a table between them: every step of the real code but the database and the XMPP server.

use std::sync::Mutex;
use std::time::Duration;

use super::*;
use crate::access::testing::{FixedClock, GateTest, request, settings};
use crate::access::{Decision, Gate, KnownRows, NodeLinks, Request, Settings};
use crate::model::{BareJid, Need, StoredPrompt};
use crate::xmpp::{Element, Link};

const COMPONENT: &str = "media.example.com";
pub(super) const SECOND: Duration = Duration::from_secs(1);

/// The table `prompts`, and of the table `stream_holder` the epoch.
pub(super) struct FakeTable(pub Rows);

pub(super) struct Rows {
    now: Instant,
    epoch: i64,
    pub last: i64,
    pub rows: BTreeMap<i64, FakeRow>,
    pub is_down: bool,
    /// Whether it does what it is asked, and its answer is lost.
    pub loses_answers: bool,
}

pub(super) struct FakeRow {
    node: String,
    prompt: SharedPrompt,
    begun: Instant,
    is_sent: bool,
    is_abandoned: bool,
    decision: Option<PromptDecision>,
}

impl FakeRow {
    fn is(&self, id: &PromptId) -> bool {
        self.prompt.stanza_id == id.stanza_id
    }

    fn id(&self, number: i64) -> PromptId {
        PromptId { number, stanza_id: self.prompt.stanza_id.clone() }
    }

    fn is_in(&self, ids: &[PromptId]) -> bool {
        ids.iter().any(|id| self.is(id))
    }
}

impl FakeTable {
    fn use_rows<T>(&mut self, act: impl FnOnce(&mut Rows) -> T) -> Result<T> {
        let rows = &mut self.0;
        if rows.is_down {
            return Err(Error::new(Kind::Unavailable, "it is down"));
        }
        let answer = act(rows);
        if rows.loses_answers { Err(Error::new(Kind::Unavailable, "the answer is lost")) } else { Ok(answer) }
    }

    /// At most `max` undecided rows of this kind whose time is not over.
    fn open_rows(&mut self, max: usize, is_wanted: impl Fn(&FakeRow) -> bool) -> Result<Vec<StoredPrompt>> {
        self.use_rows(|rows| {
            let now = rows.now;
            let is_open = |row: &FakeRow| row.decision.is_none() && now < row.begun + row.prompt.time;
            let stored = |(number, row): (&i64, &FakeRow)| {
                let age = now - row.begun;
                let prompt = SharedPrompt { time: row.prompt.time - age, ..row.prompt.clone() };
                let FakeRow { is_sent, is_abandoned, .. } = *row;
                StoredPrompt { number: *number, prompt, age, is_sent, is_abandoned }
            };
            let wanted = rows.rows.iter().filter(|(_, row)| is_open(row) && is_wanted(row));
            wanted.take(max).map(stored).collect()
        })
    }

    fn undecided_row<'a>(rows: &'a mut Rows, id: &PromptId) -> Option<&'a mut FakeRow> {
        rows.rows.get_mut(&id.number).filter(|row| row.is(id) && row.decision.is_none())
    }

    fn remove_row(rows: &mut Rows, id: &PromptId) {
        if rows.rows.get(&id.number).is_some_and(|row| row.is(id)) {
            rows.rows.remove(&id.number);
        }
    }
}

impl PromptTable for FakeTable {
    fn ask(&mut self, node: &str, prompts: &[SharedPrompt]) -> Result<Vec<PromptId>> {
        self.use_rows(|rows| {
            let mut store = |prompt: &SharedPrompt| {
                if let Some((number, row)) =
                    rows.rows.iter().find(|(_, row)| row.prompt.stanza_id == prompt.stanza_id)
                {
                    return row.id(*number);
                }
                rows.last += 1;
                let id = PromptId { number: rows.last, stanza_id: prompt.stanza_id.clone() };
                let (node, prompt) = (node.to_owned(), prompt.clone());
                let row = FakeRow {
                    node,
                    prompt,
                    begun: rows.now,
                    is_sent: false,
                    is_abandoned: false,
                    decision: None,
                };
                rows.rows.insert(rows.last, row);
                id
            };
            prompts.iter().map(&mut store).collect()
        })
    }

    fn fresh(&mut self, abandoned: &[PromptId], max: usize) -> Result<Vec<StoredPrompt>> {
        self.open_rows(max, |row| (!row.is_sent || row.is_abandoned) && !row.is_in(abandoned))
    }

    fn undecided(
        &mut self,
        known: &[PromptId],
        waiting: &[PromptId],
        max: usize,
    ) -> Result<Vec<StoredPrompt>> {
        self.open_rows(max, |row| !row.is_in(known) || row.is_abandoned && row.is_in(waiting))
    }

    fn hand_back(
        &mut self,
        stream: &StreamEpoch,
        sent: &[PromptId],
        decisions: &[(PromptId, PromptDecision)],
    ) -> Result<bool> {
        assert!(decisions.iter().all(|(row, _)| !sent.contains(row)), "a statement changes a row once");
        self.use_rows(|rows| {
            let holds = stream.epoch == rows.epoch;
            for id in sent.iter().filter(|_| holds) {
                if let Some(row) = rows.rows.get_mut(&id.number).filter(|row| row.is(id)) {
                    row.is_sent = true;
                }
            }
            for (id, decision) in decisions.iter().filter(|_| holds) {
                if let Some(row) = Self::undecided_row(rows, id) {
                    row.decision = Some(*decision);
                }
            }
            holds
        })
    }

    fn decided(&mut self, node: &str, taken: &[PromptId]) -> Result<Vec<(PromptId, PromptDecision)>> {
        self.use_rows(|rows| {
            let decided = |row: &FakeRow| row.decision.filter(|_| row.node == node && !row.is_in(taken));
            let found = rows.rows.iter().filter_map(|(number, row)| Some((row.id(*number), decided(row)?)));
            let found = found.collect();
            rows.rows.retain(|_, row| row.decision.is_none() || !row.is_in(taken));
            found
        })
    }

    fn decisions(&mut self, prompts: &[PromptId]) -> Result<Vec<(PromptId, Option<PromptDecision>)>> {
        self.use_rows(|rows| {
            let row = |id: &PromptId| rows.rows.get(&id.number).filter(|row| row.is(id));
            prompts.iter().filter_map(|id| row(id).map(|row| (id.clone(), row.decision))).collect()
        })
    }

    fn abandon(&mut self, prompts: &[PromptId]) -> Result<()> {
        self.use_rows(|rows| {
            for id in prompts {
                match Self::undecided_row(rows, id) {
                    Some(row) => row.is_abandoned = true,
                    None => Self::remove_row(rows, id),
                }
            }
        })
    }

    fn abandon_of_node(&mut self, node: &str) -> Result<()> {
        self.use_rows(|rows| {
            let undecided = rows.rows.values_mut().filter(|row| row.node == node && row.decision.is_none());
            undecided.for_each(|row| row.is_abandoned = true);
        })
    }

    fn sweep(&mut self) -> Result<u64> {
        self.use_rows(|rows| {
            let now = rows.now;
            rows.rows.retain(|_, row| now < row.begun + row.prompt.time + 60 * SECOND);
            0
        })
    }
}

pub(super) struct TestDoor(Mutex<GateTest>);

impl TestDoor {
    pub fn act<T>(&self, act: impl FnOnce(&mut GateTest) -> T) -> T {
        act(&mut self.0.lock().unwrap())
    }
}

impl NodeDoor for TestDoor {
    fn hold(&self) {
        self.act(|test| test.gate.hold(test.now));
    }

    fn release(&self) {
        self.act(|test| {
            let out = test.gate.release(test.now);
            test.take(out);
        });
    }

    fn links(&self) -> NodeLinks {
        self.act(|test| test.gate.links())
    }

    fn known_rows(&self) -> KnownRows {
        self.act(|test| test.gate.known_rows())
    }

    fn decisions_written(&self, rows: &[PromptId]) {
        self.act(|test| test.gate.decisions_written(rows));
    }

    fn ask_for_node(&self, stored: StoredPrompt) {
        self.act(|test| {
            let out = test.gate.ask_for_node(test.now, stored);
            test.take(out);
        });
    }

    fn node_hung_up(&self, row: &PromptId) {
        self.act(|test| test.gate.node_hung_up(row));
    }

    fn answered(&self, id: RequestId, decision: PromptDecision) {
        self.act(|test| {
            let out = test.gate.answered(test.now, id, decision);
            test.take(out);
        });
    }
}

/// A node: its gate, and what the thread `cluster` does with the table.
pub(super) struct Node {
    pub door: Arc<TestDoor>,
    pub prompts: Prompts,
}

/// Nodes that share a table. The clock is one for all.
pub(super) struct World {
    pub table: FakeTable,
    /// `None`: it is dead.
    pub nodes: Vec<Option<Node>>,
    settings: Settings,
    /// Prompts that users have, with the node that sent them.
    pub inbox: Vec<(usize, Element)>,
    now: Instant,
}

impl World {
    pub fn new(count: usize) -> Self {
        Self::with(count, settings())
    }

    pub fn with(count: usize, settings: Settings) -> Self {
        let now = Instant::now();
        let rows =
            Rows { now, epoch: 0, last: 0, rows: BTreeMap::new(), is_down: false, loses_answers: false };
        let table = FakeTable(rows);
        let mut world = Self { table, nodes: Vec::new(), settings, inbox: Vec::new(), now };
        for number in 0..count {
            world.nodes.push(None);
            world.start(number);
        }
        world
    }

    pub fn start(&mut self, number: usize) {
        let mut test = GateTest::dark(self.settings.clone());
        test.gate = Gate::new(self.settings.clone(), Arc::new(FixedClock)).of_cluster();
        test.now = self.now;
        let door = Arc::new(TestDoor(Mutex::new(test)));
        let prompts = Prompts::new(door.clone(), format!("node{number}"), COMPONENT.to_owned());
        self.nodes[number] = Some(Node { door, prompts });
    }

    /// The node takes the stream, as if no other one had it, and logs in.
    pub fn take_stream(&mut self, number: usize) {
        let epoch = self.table.use_rows(|rows| {
            rows.epoch += 1;
            rows.epoch
        });
        if let (Ok(epoch), Some(node)) = (epoch, &mut self.nodes[number]) {
            node.prompts.follow(Some(epoch));
            node.door.act(|test| test.up(Link::Component));
        }
    }

    pub fn release(&mut self, number: usize) {
        if let Some(node) = &mut self.nodes[number] {
            node.prompts.follow(None);
            node.door.act(|test| test.down(Link::Component));
        }
    }

    pub fn kill(&mut self, number: usize) {
        self.nodes[number] = None;
    }

    pub fn ask(&self, number: usize, mark: u32, request: Request) -> RequestId {
        self.door(number).act(|test| test.ask(mark, request))
    }

    pub fn hang_up(&self, number: usize, id: RequestId) -> Option<u32> {
        self.door(number).act(|test| test.gate.cancel(id))
    }

    pub fn door(&self, number: usize) -> &TestDoor {
        &self.nodes[number].as_ref().expect("it lives").door
    }

    /// One round of the node's thread `cluster`; `notified`: it was told of prompts and decisions.
    pub fn work(&mut self, number: usize, notified: bool) {
        if let Some(node) = self.nodes[number].as_mut().filter(|_| notified) {
            node.prompts.hear_of_prompts();
            node.prompts.hear_of_decisions();
        }
        self.run(number);
    }

    /// A round at a beat of the node.
    pub fn beat(&mut self, number: usize) {
        if let Some(node) = &mut self.nodes[number] {
            node.prompts.look_again();
        }
        self.run(number);
    }

    fn run(&mut self, number: usize) {
        let Some(node) = &mut self.nodes[number] else { return };
        node.door
            .act(|test| test.gate.take_node_events())
            .into_iter()
            .for_each(|event| node.prompts.take(event));
        let until = Instant::now() + 3600 * SECOND;
        if let Err(error) = node.prompts.work(&mut self.table, until) {
            node.prompts.refuse_unasked(&error);
        }
        let sent = node.door.act(|test| test.sent(Link::Component));
        self.inbox.extend(sent.into_iter().map(|prompt| (number, prompt)));
    }

    pub fn work_all(&mut self) {
        for _ in 0..3 {
            (0..self.nodes.len()).for_each(|number| self.work(number, true));
        }
    }

    pub fn beat_all(&mut self) {
        for _ in 0..3 {
            (0..self.nodes.len()).for_each(|number| self.beat(number));
        }
    }

    /// The user's client sends this to the component, which is at this node.
    pub fn reply(&self, number: usize, stanza: &Element) {
        if let Some(node) = &self.nodes[number] {
            node.door.act(|test| test.stanza(Link::Component, stanza));
        }
    }

    /// A minute later the nodes have removed the rows of dead nodes.
    pub fn wait_for_sweep(&mut self) {
        self.wait(61 * SECOND);
        self.nodes.iter_mut().flatten().for_each(|node| node.prompts.swept = None);
        self.beat_all();
    }

    pub fn wait(&mut self, time: Duration) {
        self.now += time;
        self.table.0.now = self.now;
        for node in self.nodes.iter().flatten() {
            node.door.act(|test| test.wait(time));
        }
    }

    pub fn decided(&self, number: usize) -> Vec<(u32, Decision)> {
        self.nodes[number].as_ref().map(|node| node.door.act(GateTest::decided)).unwrap_or_default()
    }

    pub fn rows(&self) -> usize {
        self.table.0.rows.len()
    }
}

/// Alice's request to her own channel, for which nobody's rights are looked up.
pub(super) fn own(last: u8) -> Request {
    let channel = "alice@example.com".parse::<BareJid>().unwrap().try_into().unwrap();
    Request { channel, client: Some([192, 0, 2, last].into()), ..request(Need::Publish) }
}
