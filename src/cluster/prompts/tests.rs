//! Gates of several nodes with a table between them: every step of the real code but the database and the XMPP server.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use super::*;
use crate::access::testing::{ALICE, FakeService, GateTest, REPLY_TIMEOUT, echo, request, settings};
use crate::access::{Decision, Gate, Granted, KnownRows, Request, Settings};
use crate::model::{BareJid, Need, StoredPrompt};
use crate::testing::Random;
use crate::xmpp::{Element, Link};

const COMPONENT: &str = "media.example.com";
const SECOND: Duration = Duration::from_secs(1);

/// The table `prompts`, and of the table `stream_holder` the epoch.
struct FakeTable(Rows);

struct Rows {
    now: Instant,
    epoch: i64,
    last: i64,
    rows: BTreeMap<i64, FakeRow>,
    is_down: bool,
}

struct FakeRow {
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
}

impl FakeTable {
    fn use_rows<T>(&mut self, act: impl FnOnce(&mut Rows) -> T) -> Result<T> {
        let rows = &mut self.0;
        if rows.is_down { Err(Error::new(Kind::Unavailable, "it is down")) } else { Ok(act(rows)) }
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

    fn undecided(
        &mut self,
        known: &[PromptId],
        waiting: &[PromptId],
        max: usize,
    ) -> Result<Vec<StoredPrompt>> {
        self.use_rows(|rows| {
            let now = rows.now;
            let wanted = |(_, row): &(&i64, &FakeRow)| {
                let is_in = |rows: &[PromptId]| rows.iter().any(|id| row.is(id));
                let is_new = !is_in(known) || row.is_abandoned && is_in(waiting);
                is_new && row.decision.is_none() && now < row.begun + row.prompt.time
            };
            let stored = |(number, row): (&i64, &FakeRow)| {
                let age = now - row.begun;
                let prompt = SharedPrompt { time: row.prompt.time - age, ..row.prompt.clone() };
                let FakeRow { is_sent, is_abandoned, .. } = *row;
                StoredPrompt { number: *number, prompt, age, is_sent, is_abandoned }
            };
            rows.rows.iter().filter(wanted).take(max).map(stored).collect()
        })
    }

    fn sent(&mut self, stream: &StreamEpoch, prompts: &[PromptId]) -> Result<()> {
        self.use_rows(|rows| {
            let holds = stream.epoch == rows.epoch;
            for id in prompts.iter().filter(|_| holds) {
                if let Some(row) = Self::undecided_row(rows, id) {
                    row.is_sent = true;
                }
            }
        })
    }

    fn decide(&mut self, stream: &StreamEpoch, decisions: &[(PromptId, PromptDecision)]) -> Result<bool> {
        self.use_rows(|rows| {
            let holds = stream.epoch == rows.epoch;
            for (id, decision) in decisions.iter().filter(|_| holds) {
                if let Some(row) = Self::undecided_row(rows, id) {
                    row.decision = Some(*decision);
                }
            }
            holds
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

    fn remove(&mut self, prompts: &[PromptId]) -> Result<()> {
        self.use_rows(|rows| prompts.iter().for_each(|id| Self::remove_row(rows, id)))
    }

    fn sweep(&mut self) -> Result<u64> {
        self.use_rows(|rows| {
            let now = rows.now;
            rows.rows.retain(|_, row| now < row.begun + row.prompt.time + 60 * SECOND);
            0
        })
    }
}

struct TestDoor(Mutex<GateTest>);

impl TestDoor {
    fn act<T>(&self, act: impl FnOnce(&mut GateTest) -> T) -> T {
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
struct Node {
    door: Arc<TestDoor>,
    prompts: Prompts,
}

/// Nodes that share a table. The clock is one for all.
struct World {
    table: FakeTable,
    /// `None`: it is dead.
    nodes: Vec<Option<Node>>,
    settings: Settings,
    /// Prompts that users have, with the node that sent them.
    inbox: Vec<(usize, Element)>,
    now: Instant,
}

impl World {
    fn new(count: usize) -> Self {
        Self::with(count, settings())
    }

    fn with(count: usize, settings: Settings) -> Self {
        let now = Instant::now();
        let rows = Rows { now, epoch: 0, last: 0, rows: BTreeMap::new(), is_down: false };
        let table = FakeTable(rows);
        let mut world = Self { table, nodes: Vec::new(), settings, inbox: Vec::new(), now };
        for number in 0..count {
            world.nodes.push(None);
            world.start(number);
        }
        world
    }

    fn start(&mut self, number: usize) {
        let mut test = GateTest::dark(self.settings.clone());
        test.gate =
            Gate::new(self.settings.clone(), Arc::new(crate::access::testing::FixedClock)).of_cluster();
        test.now = self.now;
        let door = Arc::new(TestDoor(Mutex::new(test)));
        let prompts = Prompts::new(door.clone(), format!("node{number}"), COMPONENT.to_owned());
        self.nodes[number] = Some(Node { door, prompts });
    }

    /// The node takes the stream, as if no other one had it, and logs in.
    fn take_stream(&mut self, number: usize) {
        let epoch = self.table.use_rows(|rows| {
            rows.epoch += 1;
            rows.epoch
        });
        if let (Ok(epoch), Some(node)) = (epoch, &mut self.nodes[number]) {
            node.prompts.follow(Some(epoch));
            node.door.act(|test| test.up(Link::Component));
        }
    }

    fn release(&mut self, number: usize) {
        if let Some(node) = &mut self.nodes[number] {
            node.prompts.follow(None);
            node.door.act(|test| test.down(Link::Component));
        }
    }

    fn kill(&mut self, number: usize) {
        self.nodes[number] = None;
    }

    fn ask(&self, number: usize, mark: u32, request: Request) -> RequestId {
        self.door(number).act(|test| test.ask(mark, request))
    }

    fn hang_up(&self, number: usize, id: RequestId) -> Option<u32> {
        self.door(number).act(|test| test.gate.cancel(id))
    }

    fn door(&self, number: usize) -> &TestDoor {
        &self.nodes[number].as_ref().expect("it lives").door
    }

    /// One round of the node's thread `cluster`; `notified`: it was told of prompts and decisions.
    fn work(&mut self, number: usize, notified: bool) {
        let Some(node) = &mut self.nodes[number] else { return };
        node.door
            .act(|test| test.gate.take_node_events())
            .into_iter()
            .for_each(|event| node.prompts.take(event));
        if notified {
            node.prompts.look_again();
        }
        let until = Instant::now() + 3600 * SECOND;
        if let Err(error) = node.prompts.work(&mut self.table, until) {
            node.prompts.refuse_unasked(&error);
        }
        let sent = node.door.act(|test| test.sent(Link::Component));
        self.inbox.extend(sent.into_iter().map(|prompt| (number, prompt)));
    }

    fn work_all(&mut self) {
        for _ in 0..3 {
            (0..self.nodes.len()).for_each(|number| self.work(number, true));
        }
    }

    /// The user's client sends this to the component, which is at this node.
    fn reply(&self, number: usize, stanza: &Element) {
        if let Some(node) = &self.nodes[number] {
            node.door.act(|test| test.stanza(Link::Component, stanza));
        }
    }

    /// A minute later the nodes have removed the rows of dead nodes.
    fn wait_for_sweep(&mut self) {
        self.wait(61 * SECOND);
        self.nodes.iter_mut().flatten().for_each(|node| node.prompts.swept = None);
        self.work_all();
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        self.table.0.now = self.now;
        for node in self.nodes.iter().flatten() {
            node.door.act(|test| test.wait(time));
        }
    }

    fn decided(&self, number: usize) -> Vec<(u32, Decision)> {
        self.nodes[number].as_ref().map(|node| node.door.act(GateTest::decided)).unwrap_or_default()
    }

    fn rows(&self) -> usize {
        self.table.0.rows.len()
    }
}

fn alices() -> Decision {
    Ok(Granted::Owned("alice@example.com".parse().unwrap()))
}

/// Alice's request to her own channel, for which nobody's rights are looked up.
fn own(last: u8) -> Request {
    let channel = "alice@example.com".parse::<BareJid>().unwrap().try_into().unwrap();
    Request { channel, client: Some([192, 0, 2, last].into()), ..request(Need::Publish) }
}

fn denial(prompt: &Element) -> Element {
    echo(prompt).with("type", "error")
}

#[test]
fn requests_of_a_node_without_the_stream_are_confirmed_denied_and_end() {
    for (reply, expected) in [
        (Some(echo as fn(&Element) -> Element), alices()),
        (Some(denial as fn(&Element) -> Element), Err(Refusal::Denied)),
        (None, Err(Refusal::NotConfirmed)),
    ] {
        let mut world = World::new(2);
        world.take_stream(0);
        world.ask(1, 1, own(1));
        world.work_all();
        let (by, prompt) = world.inbox.pop().expect("the user is asked");
        assert_eq!((by, world.inbox.len()), (0, 0));
        match reply {
            Some(reply) => world.reply(0, &reply(&prompt)),
            None => world.wait(REPLY_TIMEOUT),
        }
        world.work_all();
        assert_eq!((world.decided(1), world.decided(0)), (vec![(1, expected)], vec![]));
        assert_eq!(world.rows(), 0, "the node that asked removes the row");
    }
}

#[test]
fn a_new_holder_serves_its_own_rows_too() {
    let mut world = World::new(1);
    world.ask(0, 1, own(1));
    world.work_all();
    world.take_stream(0);
    world.work_all();
    let (_, prompt) = world.inbox.pop().expect("the user is asked");
    world.reply(0, &echo(&prompt));
    world.work_all();
    assert_eq!((world.decided(0), world.rows()), (vec![(1, alices())], 0));
}

/// The events of a request at node 1, with node 0 as the holder.
const STEPS: [fn(&mut World); 7] = [
    |world| {
        world.ask(1, 1, own(1));
    },
    |world| world.work(1, true),
    |world| world.work(0, true),
    |world| world.work(0, false),
    |world| {
        let prompts = world.inbox.clone();
        prompts.iter().for_each(|(by, prompt)| world.reply(*by, &echo(prompt)));
    },
    |world| world.work(0, true),
    |world| world.work(1, true),
];

#[test]
fn a_request_is_confirmed_though_the_holder_dies_at_any_step() {
    for step in 0..=STEPS.len() {
        for next in [1, 2] {
            let mut world = World::new(3);
            world.take_stream(0);
            for (number, act) in STEPS.iter().enumerate() {
                if number == step {
                    world.kill(0);
                }
                act(&mut world);
            }
            world.kill(0);
            world.wait(10 * SECOND);
            world.take_stream(next);
            world.work_all();
            let ids: BTreeSet<_> =
                world.inbox.iter().map(|(_, prompt)| prompt.attribute("id").unwrap().to_owned()).collect();
            assert!(ids.len() == 1 && world.inbox.len() <= 2, "step {step}: the same prompt, at most twice");
            let prompt = world.inbox[0].1.clone();
            world.reply(next, &echo(&prompt));
            world.work_all();
            assert_eq!(world.decided(1), [(1, alices())], "step {step}");
            assert_eq!(world.rows(), 0, "step {step}");
        }
    }
}

#[test]
fn the_prompts_of_a_node_that_dies_end() {
    for step in 0..=STEPS.len() {
        let mut world = World::new(2);
        world.take_stream(0);
        for (number, act) in STEPS.iter().enumerate() {
            if number == step {
                world.kill(1);
            }
            let is_of_the_dead = number >= step && [0, 1, 6].contains(&number);
            if !is_of_the_dead {
                act(&mut world);
            }
        }
        world.kill(1);
        world.work_all();
        // The user may reply to it all the same.
        world.inbox.clone().iter().for_each(|(_, prompt)| world.reply(0, &echo(prompt)));
        world.start(1);
        world.work_all();
        assert!(world.inbox.len() <= 1, "step {step}");
        world.wait(REPLY_TIMEOUT);
        world.work_all();
        world.wait_for_sweep();
        assert_eq!((world.rows(), world.decided(0), world.decided(1)), (0, vec![], vec![]), "step {step}");
        assert!(world.door(0).known_rows().all.is_empty(), "step {step}");
    }
}

#[test]
fn a_prompt_that_an_earlier_run_of_a_node_stored_is_not_sent() {
    let mut world = World::new(2);
    world.ask(1, 1, own(1));
    world.work(1, true);
    world.kill(1);
    world.start(1);
    world.work(1, true);
    world.take_stream(0);
    world.work_all();
    assert!(world.inbox.is_empty());
}

#[test]
fn decisions_of_a_holder_that_was_replaced_do_not_count() {
    let mut world = World::new(3);
    world.take_stream(0);
    world.ask(2, 1, own(1));
    world.work(2, true);
    world.work(0, true);
    world.take_stream(1);
    let prompt = world.inbox[0].1.clone();
    // It does not know that its time is over.
    world.reply(0, &denial(&prompt));
    world.work(0, true);
    world.work(2, true);
    assert_eq!(world.decided(2), []);
    world.release(0);
    world.work_all();
    world.reply(1, &echo(&prompt));
    world.work_all();
    assert_eq!((world.decided(2), world.rows()), (vec![(1, alices())], 0));
}

#[test]
fn a_decision_after_the_hang_up_is_for_nobody() {
    for late in [false, true] {
        let mut world = World::new(2);
        world.take_stream(0);
        let id = world.ask(1, 1, own(1));
        world.work_all();
        let prompt = world.inbox[0].1.clone();
        if late {
            world.reply(0, &echo(&prompt));
            world.work(0, true);
        }
        assert_eq!(world.hang_up(1, id), Some(1));
        world.work_all();
        let pending = world.door(0).act(|test| test.gate.counts().pending);
        assert_eq!(pending, 0, "it takes no place of all that may be pending");
        world.reply(0, &echo(&prompt));
        world.wait(REPLY_TIMEOUT);
        world.wait_for_sweep();
        assert_eq!((world.decided(1), world.rows(), world.inbox.len()), (vec![], 0, 1), "{late}");
        assert!(world.door(0).known_rows().all.is_empty());
    }
}

#[test]
fn a_client_that_hangs_up_before_its_request_is_stored_asks_nobody() {
    let mut world = World::new(2);
    world.take_stream(0);
    let id = world.ask(1, 1, own(1));
    world.hang_up(1, id);
    world.work_all();
    assert_eq!((world.rows(), world.inbox.len()), (0, 0));
}

#[test]
fn limits_are_over_all_nodes() {
    let mut world = World::with(3, Settings { pending_per_user: 8, ..settings() });
    world.take_stream(0);
    for (number, mark) in (0..3).flat_map(|number| (0..4).map(move |mark| (number, mark))) {
        world.ask(number, mark, own(1));
        world.work_all();
    }
    let refused = |number| {
        world.decided(number).iter().filter(|(_, decision)| *decision == Err(Refusal::TooManyForUser)).count()
    };
    assert_eq!([0, 1, 2].map(refused), [1, 4, 4], "one network has 3 of 8 places");
}

#[test]
fn a_silent_request_ends_like_an_unanswered_prompt_at_another_node_too() {
    let ends = |service: &FakeService| {
        let mut world = World::new(2);
        world.take_stream(0);
        world.door(1).act(|test| {
            test.up(Link::Client);
            test.play(service);
        });
        let private = Request { client: Some([192, 0, 2, 1].into()), ..request(Need::Publish) };
        for mark in 0..5 {
            world.ask(1, mark, private.clone());
            world.door(1).act(|test| test.play(service));
        }
        let mut ends = Vec::new();
        for second in 0..60 {
            world.work_all();
            ends.extend(world.decided(1).into_iter().map(|(mark, decision)| (second, mark, decision)));
            world.wait(SECOND);
        }
        (ends, world.inbox.len())
    };
    let (member, prompts) = ends(&FakeService::where_alice_is("publisher"));
    assert_eq!((member.len(), prompts), (5, 3));
    assert_eq!(ends(&FakeService::new()), (member, 0));
}

#[test]
fn requests_wait_while_no_node_holds_the_stream() {
    let mut world = World::new(2);
    world.ask(0, 1, own(1));
    world.ask(1, 2, own(2));
    world.work_all();
    world.wait(20 * SECOND);
    assert_eq!((world.decided(0), world.decided(1)), (vec![], vec![]));
    world.take_stream(1);
    world.work_all();
    assert_eq!(world.inbox.len(), 2);
    let body = world.inbox[0].1.child("body", crate::xmpp::ns::CLIENT).unwrap().text().to_owned();
    assert!(body.contains("refused in 10 seconds"), "{body}");
    world.inbox.clone().iter().for_each(|(_, prompt)| world.reply(1, &echo(prompt)));
    world.work_all();
    assert_eq!((world.decided(0), world.decided(1)), (vec![(1, alices())], vec![(2, alices())]));
}

#[test]
fn a_table_that_is_lost_or_away_ends_what_it_held() {
    let mut world = World::new(2);
    world.take_stream(0);
    world.ask(1, 1, own(1));
    world.work_all();
    world.table.0.rows.clear();
    world.work_all();
    assert_eq!(world.decided(1), [(1, Err(Refusal::XmppDown))]);
    world.table.0.is_down = true;
    world.ask(1, 2, own(2));
    world.work_all();
    assert_eq!(world.decided(1), [(2, Err(Refusal::DatabaseDown))]);
    world.table.0.is_down = false;
    world.ask(1, 3, own(3));
    world.work_all();
    world.table.0.is_down = true;
    world.inbox.clone().iter().for_each(|(_, prompt)| world.reply(0, &echo(prompt)));
    world.work_all();
    assert_eq!(world.decided(1), []);
    world.table.0.is_down = false;
    world.work_all();
    assert_eq!(world.decided(1), [(3, alices())], "a decision that could not be stored is stored later");
}

/// Bob's request to his own channel.
fn bobs() -> Request {
    let channel = "bob@example.com".parse::<BareJid>().unwrap().try_into().unwrap();
    let credentials = crate::access::testing::credentials("bob@example.com/phone", "b");
    Request { channel, credentials, ..own(2) }
}

/// PostgreSQL empties the table after a crash, and begins its numbers anew.
fn crash(world: &mut World) {
    world.table.0.rows.clear();
    world.table.0.last = 0;
}

#[test]
fn a_late_reply_after_a_database_crash_does_not_decide_for_another_user() {
    // Alice replies before or after the crash; Bob's request is at the same node as hers, or at another one.
    for (asks, replies_first) in [(1, false), (1, true), (2, false), (2, true)] {
        let mut world = World::new(3);
        world.take_stream(0);
        world.ask(1, 1, own(1));
        world.work_all();
        let (_, to_alice) = world.inbox.pop().expect("Alice is asked");
        if replies_first {
            world.reply(0, &echo(&to_alice));
        }
        crash(&mut world);
        world.ask(asks, 2, bobs());
        world.work(asks, false);
        assert_eq!(world.table.0.rows.keys().collect::<Vec<_>>(), [&1], "the number of Alice's row");
        if !replies_first {
            world.reply(0, &echo(&to_alice));
        }
        world.work_all();
        let (_, to_bob) = world.inbox.pop().expect("Bob is asked");
        assert_eq!(to_bob.attribute("to"), Some("bob@example.com/phone"));
        let decided: Vec<_> = [1, 2].into_iter().flat_map(|number| world.decided(number)).collect();
        assert_eq!(decided, [(1, Err(Refusal::XmppDown))], "Alice's row is lost, and Bob has not replied");
        world.reply(0, &echo(&to_bob));
        world.work_all();
        let bob = Granted::Owned("bob@example.com".parse().unwrap());
        assert_eq!((world.decided(asks), world.rows()), (vec![(2, Ok(bob))], 0));
        assert!(world.door(0).known_rows().all.is_empty());
    }
}

#[test]
fn a_hang_up_after_a_database_crash_does_not_end_the_request_of_another_user() {
    let mut world = World::new(3);
    world.take_stream(0);
    let id = world.ask(1, 1, own(1));
    world.work_all();
    crash(&mut world);
    world.ask(2, 2, bobs());
    world.work(2, false);
    world.hang_up(1, id);
    world.work_all();
    let (_, to_bob) = world.inbox.pop().expect("Bob is asked");
    world.reply(0, &echo(&to_bob));
    world.work_all();
    let bob = Granted::Owned("bob@example.com".parse().unwrap());
    assert_eq!(world.decided(2), [(2, Ok(bob))]);
}

#[test]
fn requests_are_stored_though_the_time_for_prompts_is_over() {
    let mut world = World::new(1);
    world.ask(0, 1, own(1));
    let node = world.nodes[0].as_mut().expect("it lives");
    let events = node.door.act(|test| test.gate.take_node_events());
    events.into_iter().for_each(|event| node.prompts.take(event));
    node.prompts.work(&mut world.table, Instant::now()).unwrap();
    assert_eq!(world.rows(), 1);
}

/// The test's record of a request.
struct Known {
    node: usize,
    id: RequestId,
    is_over: bool,
}

#[test]
fn each_request_is_decided_once_and_by_its_user_in_every_order_of_events() {
    let mut confirmed = 0;
    for round in 0..300 {
        let mut dice = Random::new(0x00c1_0573 + round);
        let roomy = Settings { pending_per_user: 1000, ..settings() };
        let mut world = World::with(3, roomy);
        let mut requests: BTreeMap<u32, Known> = BTreeMap::new();
        let mut agreed: BTreeSet<String> = BTreeSet::new();
        let mut holder = 0;
        world.take_stream(holder);
        for mark in 0..200 {
            let number = dice.below(3);
            let lives = world.nodes[number].is_some();
            match dice.below(12) {
                0..=2 if lives => {
                    let wanted = Request {
                        client: Some([192, 0, 2, dice.byte()].into()),
                        credentials: crate::access::testing::credentials(ALICE, &format!("t{mark}")),
                        ..own(1)
                    };
                    let id = world.ask(number, mark, wanted);
                    requests.insert(mark, Known { node: number, id, is_over: false });
                }
                3 | 4 if !world.inbox.is_empty() => {
                    let (_, prompt) = world.inbox[dice.below(world.inbox.len())].clone();
                    let confirm = prompt.child("confirm", crate::xmpp::ns::HTTP_AUTH).unwrap();
                    agreed.insert(confirm.attribute("id").unwrap().to_owned());
                    // Some replies still go to a node that held the stream before.
                    world.reply(if dice.below(4) == 0 { number } else { holder }, &echo(&prompt));
                }
                5 => world.wait(Duration::from_millis(dice.below(9000) as u64)),
                6 if lives && dice.below(3) == 0 => {
                    world.kill(number);
                    requests
                        .values_mut()
                        .filter(|known| known.node == number)
                        .for_each(|known| known.is_over = true);
                }
                6 if !lives => world.start(number),
                // The other holder learns of it only now and again.
                7 if lives && dice.below(3) == 0 => {
                    if dice.below(2) == 0 {
                        (0..3).for_each(|other| world.release(other));
                    }
                    holder = number;
                    world.take_stream(holder);
                }
                8 if lives => {
                    let waiting =
                        requests.iter_mut().filter(|(_, known)| known.node == number && !known.is_over);
                    if let Some((mark, known)) = waiting.last()
                        && world.hang_up(number, known.id) == Some(*mark)
                    {
                        known.is_over = true;
                    }
                }
                9 => world.table.0.is_down = dice.below(4) == 0,
                _ => world.work(number, dice.below(2) == 0),
            }
            take_decisions(&world, &mut requests, &agreed, &mut confirmed);
        }
        world.table.0.is_down = false;
        (0..3).for_each(|number| {
            if world.nodes[number].is_none() {
                world.start(number);
            }
        });
        for _ in 0..3 {
            world.wait(REPLY_TIMEOUT);
            world.work_all();
            take_decisions(&world, &mut requests, &agreed, &mut confirmed);
        }
        world.wait_for_sweep();
        assert!(requests.values().all(|known| known.is_over), "round {round}");
        assert_eq!(world.rows(), 0, "round {round}");
        for node in world.nodes.iter().flatten() {
            assert_eq!(node.door.act(|test| test.gate.counts().parked), 0, "round {round}");
            assert!(
                node.door.known_rows().all.is_empty() && node.prompts.waiting.is_empty(),
                "round {round}"
            );
        }
    }
    assert!(confirmed > 300, "{confirmed} of the requests were confirmed");
}

fn take_decisions(
    world: &World,
    requests: &mut BTreeMap<u32, Known>,
    agreed: &BTreeSet<String>,
    confirmed: &mut u32,
) {
    for (mark, decision) in (0..3).flat_map(|number| world.decided(number)) {
        let known = requests.get_mut(&mark).unwrap();
        assert!(!std::mem::replace(&mut known.is_over, true), "request {mark} is decided twice");
        if decision.is_ok() {
            *confirmed += 1;
            assert!(agreed.contains(&format!("t{mark}")), "request {mark} was confirmed by nobody");
        }
    }
}
