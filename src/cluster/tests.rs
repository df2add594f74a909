use std::sync::Mutex;
use std::sync::mpsc::Receiver;
use std::time::Instant;

use super::*;
use crate::access::{KnownRows, NodeEvent, NodeLinks, RequestId};
use crate::model::{BareJid, Method, PromptDecision, PromptId, Refusal, SharedPrompt, StoredPrompt};
use crate::store::postgres_server::{self, Server};
use crate::store::{EpochTable, Notice, Postgres, Schema, SecretTable, Store};

const SECOND: Duration = Duration::from_secs(1);

/// Times with which no node takes the stream from a live holder.
const LONG: Times = Times {
    beat: Duration::from_millis(100),
    lease: Duration::from_secs(90),
    stale: Duration::from_secs(100),
    retry: Duration::from_millis(20),
    patience: Duration::from_millis(500),
    back_off: Duration::from_secs(100),
};
/// Times with which a holder that does not beat is soon replaced.
const SHORT: Times = Times { lease: Duration::from_millis(1600), stale: Duration::from_secs(2), ..LONG };

/// A database that nodes share.
struct Bench<'a> {
    server: &'a Server,
    database: String,
    settings: PostgresSettings,
    times: Times,
}

impl<'a> Bench<'a> {
    fn new(server: &'a Server, times: Times) -> Self {
        let database = server.new_database();
        let mut settings = PostgresSettings::for_test(server.port(), &database);
        settings.has_nodes = true;
        Schema::connect(&settings).unwrap().setup().unwrap();
        Self { server, database, settings, times }
    }

    fn node(&self, name: &str) -> Node {
        self.node_with(name, Arc::default())
    }

    fn node_with(&self, name: &str, links: Arc<Mutex<NodeLinks>>) -> Node {
        self.start(&self.settings_of(name), Arc::new(TestDoor { links, ..TestDoor::default() }))
    }

    fn settings_of(&self, name: &str) -> Settings {
        Settings {
            node: name.to_owned(),
            component: "media.example.com".to_owned(),
            database: self.settings.clone(),
            times: self.times,
        }
    }

    /// A node, and the answers to its requests.
    fn start_with_answers(&self) -> (Node, Receiver<(RequestId, PromptDecision)>) {
        let (answers, answered) = mpsc::channel();
        let door = TestDoor { answers: Some(answers), ..TestDoor::default() };
        (self.start(&self.settings_of("a"), Arc::new(door)), answered)
    }

    fn start(&self, settings: &Settings, door: Arc<dyn NodeDoor>) -> Node {
        let session = NodeSession::later(settings);
        let (lease, (sender, changes)) = (Lease::withheld(), mpsc::channel());
        let sender = Mutex::new(sender);
        let on_change = move |changed| {
            // The test may not listen.
            let _ = sender.lock().unwrap().send(changed);
        };
        let (end, ends) = mpsc::channel();
        let on_fatal = move |error| drop(end.send(error));
        let calls = Calls { on_change: Box::new(on_change), on_fatal: Box::new(on_fatal) };
        let queue = WorkQueue::new();
        let cluster = Cluster::start(settings.clone(), session, queue, lease.clone(), door, calls).unwrap();
        Node { cluster, lease, changes, ends }
    }

    fn execute(&self, sql: &str) {
        self.server.client(&self.database).batch_execute(sql).unwrap();
    }

    /// Waits until the holder has beaten so often.
    fn wait_for_beats(&self, count: usize) {
        let mut client = self.server.client(&self.database);
        let mut beat = || client.query_one("SELECT CAST(beat AS TEXT) FROM stream_holder", &[]).unwrap();
        let mut beat = || beat().get::<_, String>(0);
        for _ in 0..count {
            let last = beat();
            wait_until("the holder beats", || beat() != last);
        }
    }

    /// Ends the session of the holder, as an administrator may.
    /// Waits for the end of the session: until then it keeps the name of its node, and requests of a node whose name is taken
    /// are refused.
    fn end_holder(&self) {
        self.execute("SELECT pg_terminate_backend(pid, 20000) FROM stream_holder");
    }
}

/// A gate that has nothing for other nodes, and takes nothing of them.
#[derive(Default)]
struct TestDoor {
    /// The links of the node, which a test may change.
    links: Arc<Mutex<NodeLinks>>,
    /// Where the answers to the requests of a test go.
    answers: Option<Sender<(RequestId, PromptDecision)>>,
    panics: bool,
}

impl NodeDoor for TestDoor {
    fn hold(&self) {
        assert!(!self.panics, "on purpose");
    }
    fn release(&self) {}
    fn links(&self) -> NodeLinks {
        *self.links.lock().unwrap()
    }
    fn known_rows(&self) -> KnownRows {
        KnownRows::default()
    }
    fn decisions_written(&self, _: &[PromptId]) {}
    fn ask_for_node(&self, _: StoredPrompt) {}
    fn node_hung_up(&self, _: &PromptId) {}
    fn answered(&self, id: RequestId, decision: PromptDecision) {
        if let Some(answers) = &self.answers {
            // The test may be over.
            let _ = answers.send((id, decision));
        }
    }
}

struct Node {
    cluster: Cluster,
    lease: Lease,
    changes: Receiver<Changed>,
    ends: Receiver<Error>,
}

impl Node {
    fn state(&self) -> ClusterState {
        self.cluster.status.state()
    }

    fn holds(&self) -> bool {
        self.cluster.status.epoch().is_some() && self.lease.is_granted(Instant::now())
    }
}

#[track_caller]
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + 60 * SECOND;
    while !is_so() {
        assert!(Instant::now() < deadline, "in vain waited until {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// Waits for one holder; gives it and the others.
fn holder(mut nodes: Vec<Node>) -> (Node, Vec<Node>) {
    wait_until("a node holds the stream", || nodes.iter().any(Node::holds));
    let at = nodes.iter().position(Node::holds).unwrap();
    let holder = nodes.remove(at);
    (holder, nodes)
}

#[test]
fn a_node_that_stops_hands_the_stream_over_at_once() {
    let bench = Bench::new(postgres_server::shared(), LONG);
    let nodes = ["a", "b", "c"].map(|name| bench.node(name));
    let (first, others) = holder(nodes.into());
    assert!(others.iter().all(|node| !node.lease.is_granted(Instant::now())));
    let name = first.state().node;
    wait_until("all know the holder", || {
        others.iter().all(|node| node.state().holder.as_ref() == Some(&name))
    });
    let stopped = Instant::now();
    first.cluster.stop();
    assert!(!first.lease.is_granted(Instant::now()));
    let (second, others) = holder(others);
    assert!(stopped.elapsed() < LONG.lease, "{:?}", stopped.elapsed());
    assert_eq!((second.cluster.status.epoch(), second.state().takeovers), (Some(2), 1));
    second.cluster.stop();
    let (third, _) = holder(others);
    assert_eq!(third.cluster.status.epoch(), Some(3));
    assert!(third.state().beat_age.unwrap() < LONG.stale);
}

#[test]
fn a_holder_whose_session_is_ended_goes_on_in_its_epoch() {
    let bench = Bench::new(postgres_server::shared(), LONG);
    let (holding, others) = holder(vec![bench.node("a"), bench.node("b")]);
    for _ in 0..3 {
        let query = "SELECT pid FROM stream_holder";
        let pid = || bench.server.client(&bench.database).query_one(query, &[]).unwrap().get::<_, i32>(0);
        let before = pid();
        bench.end_holder();
        wait_until("it has another session", || pid() != before && holding.holds());
        assert_eq!((holding.cluster.status.epoch(), holding.state().takeovers), (Some(1), 1));
    }
    assert!(holding.lease.is_granted(Instant::now()) && !others[0].holds());
}

#[test]
fn a_holder_that_does_not_beat_is_replaced() {
    let bench = Bench::new(postgres_server::shared(), SHORT);
    // A node that stands still: its session has the lock.
    let mut frozen = bench.server.client(&bench.database);
    frozen
        .batch_execute(
            "SELECT pg_advisory_lock(hashtextextended('stream media.example.com', 0)); INSERT INTO stream_holder \
             VALUES ('media.example.com', 'frozen', pg_backend_pid(), 41, clock_timestamp() - INTERVAL '1500 ms')",
        )
        .unwrap();
    let node = bench.node("a");
    wait_until("the node takes the stream", || node.holds());
    assert_eq!(node.cluster.status.epoch(), Some(42));
    assert!(frozen.simple_query("SELECT 1").is_err(), "its session is ended");
}

#[test]
fn a_holder_whose_beat_is_in_the_future_is_replaced() {
    let bench = Bench::new(postgres_server::shared(), SHORT);
    // The clock of the database was an hour ahead when it beat, and nobody has the lock.
    bench.execute(
        "INSERT INTO stream_holder VALUES ('media.example.com', 'gone', 1, 41, clock_timestamp() + INTERVAL '1 hour')",
    );
    let node = bench.node("a");
    wait_until("the node takes the stream", || node.holds());
    assert_eq!(node.cluster.status.epoch(), Some(42));
}

#[test]
fn the_lease_ends_while_the_database_stands_still() {
    let server = Server::start();
    let bench = Bench::new(&server, SHORT);
    let (holding, others) = holder(vec![bench.node("a"), bench.node("b")]);
    for _ in 0..2 {
        server.freeze();
        let frozen = Instant::now();
        let nodes = || std::iter::once(&holding).chain(&others);
        wait_until("the lease ends", || nodes().all(|node| !node.lease.is_granted(Instant::now())));
        assert!(frozen.elapsed() < SHORT.stale, "{:?}", frozen.elapsed());
        server.thaw();
        wait_until("a node holds the stream", || nodes().any(Node::holds));
        assert!(nodes().all(|node| node.ends.try_recv().is_err()), "its own old session has its name");
    }
    let frozen = Instant::now();
    server.freeze();
    holding.cluster.stop();
    assert!(frozen.elapsed() < 20 * SECOND, "it hangs");
}

#[test]
fn the_stream_goes_on_over_a_restart_of_the_database() {
    let mut server = Server::start();
    let (holding, others) = {
        let bench = Bench::new(&server, LONG);
        holder(vec![bench.node("a"), bench.node("b")])
    };
    server.kill();
    wait_until("the node knows that its session has ended", || holding.cluster.status.epoch().is_none());
    assert!(holding.lease.is_granted(Instant::now()), "nobody can have taken the stream yet");
    server.restart();
    wait_until("the node has the stream", || holding.holds());
    assert_eq!((holding.cluster.status.epoch(), holding.state().takeovers), (Some(1), 1));
    assert!(!others[0].lease.is_granted(Instant::now()));
}

/// Sessions end at every moment, and there are never two leases.
#[test]
fn no_two_nodes_may_hold_the_stream() {
    let bench = Bench::new(postgres_server::shared(), SHORT);
    let nodes = ["a", "b", "c"].map(|name| bench.node(name));
    let end = Instant::now() + 8 * SECOND;
    let (mut samples, mut kills) = (0, 0);
    while Instant::now() < end {
        let granted: Vec<&Node> = nodes.iter().filter(|node| node.lease.is_granted(Instant::now())).collect();
        if let [one, other, ..] = granted[..] {
            // The first lease may have ended since it was looked at.
            assert!(!one.lease.is_granted(Instant::now()), "{:?} {:?}", one.state(), other.state());
        }
        samples += 1;
        if samples % 200 == 0 {
            let which = if kills % 2 == 0 {
                "FROM stream_holder"
            } else {
                "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            };
            bench.execute(&format!("SELECT pg_terminate_backend(pid) {which}"));
            kills += 1;
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
    assert!(kills > 2, "{samples} {kills}");
    wait_until("a node holds the stream", || nodes.iter().any(Node::holds));
}

fn links(is_cut_off: bool, is_client_up: bool) -> NodeLinks {
    NodeLinks { is_cut_off, is_client_up }
}

fn node_with_links(bench: &Bench<'_>, name: &str, state: NodeLinks) -> (Node, Arc<Mutex<NodeLinks>>) {
    let links = Arc::new(Mutex::new(state));
    (bench.node_with(name, Arc::clone(&links)), links)
}

#[test]
fn a_holder_without_the_xmpp_server_gives_the_stream_to_a_node_that_reaches_it() {
    let bench = Bench::new(postgres_server::shared(), LONG);
    let (first, first_links) = node_with_links(&bench, "first", links(false, true));
    wait_until("the first node holds the stream", || first.holds());
    let (second, second_links) = node_with_links(&bench, "second", links(false, false));
    wait_until("the second node knows the holder", || second.state().holder.is_some());
    *first_links.lock().unwrap() = links(true, false);
    bench.wait_for_beats(10);
    assert!(first.holds(), "no other node reaches the XMPP server");
    let back = Instant::now();
    *second_links.lock().unwrap() = links(false, true);
    wait_until("the second node holds the stream", || second.holds());
    assert!(back.elapsed() >= LONG.patience, "the first one may be about to log in");
    assert!(!first.lease.is_granted(Instant::now()));
    assert_eq!(second.cluster.status.epoch(), Some(2));
    // The component's port may be closed to all nodes: then the first one does not take it back so soon.
    *first_links.lock().unwrap() = links(false, true);
    *second_links.lock().unwrap() = links(true, true);
    bench.wait_for_beats(10);
    assert!(second.holds() && !first.holds());
}

#[test]
fn a_single_node_keeps_the_stream_whatever_its_links_are() {
    let bench = Bench::new(postgres_server::shared(), LONG);
    let (node, _) = node_with_links(&bench, "a", links(true, true));
    wait_until("the node holds the stream", || node.holds());
    bench.wait_for_beats(10);
    assert!(node.holds());
    assert_eq!(node.state().takeovers, 1);
}

#[test]
fn a_stream_that_was_given_up_goes_to_a_node_that_reaches_the_xmpp_server() {
    let bench = Bench::new(postgres_server::shared(), LONG);
    let (holding, _) = node_with_links(&bench, "holder", links(false, true));
    wait_until("it holds the stream", || holding.holds());
    let others = [("dark", false), ("ready", true)].map(|(name, is_up)| {
        let (node, _) = node_with_links(&bench, name, links(false, is_up));
        wait_until("it knows the holder", || node.state().holder.is_some());
        node
    });
    holding.cluster.stop();
    wait_until("another node holds the stream", || others.iter().any(Node::holds));
    assert!(others[1].holds());
}

#[test]
fn a_second_server_with_the_name_of_a_node_does_not_start_and_one_that_runs_ends() {
    let bench = Bench::new(postgres_server::shared(), SHORT);
    let first = bench.node("a");
    wait_until("the first server holds the stream", || first.holds());
    let refused = |error: &Error| {
        assert_eq!(error.kind(), Kind::Failure);
        let text = error.to_string();
        assert!(text.contains("node.name=a") && text.contains("connected from 127.0.0.1"), "{text}");
    };
    let begun = Instant::now();
    refused(&NodeSession::open(&bench.settings_of("a")).err().unwrap());
    assert!(begun.elapsed() < 20 * SECOND, "{:?}", begun.elapsed());
    // A server that could not reach the database at its start.
    let second = bench.node("a");
    refused(&second.ends.recv_timeout(60 * SECOND).unwrap());
    assert!(!second.lease.is_granted(Instant::now()));
    assert!(first.holds() && first.ends.try_recv().is_err());
    assert_eq!(first.state().takeovers, 1);
    NodeSession::open(&bench.settings_of("b")).unwrap();
}

#[test]
fn a_server_that_is_gone_keeps_its_name_for_some_seconds_only() {
    let bench = Bench::new(postgres_server::shared(), SHORT);
    let silent = NodeSession::open(&bench.settings_of("a")).unwrap();
    let begun = Instant::now();
    let session = NodeSession::open(&bench.settings_of("a")).unwrap();
    assert!(begun.elapsed() < 20 * SECOND, "{:?}", begun.elapsed());
    assert!(session.connection.is_some());
    drop(silent);
}

#[test]
fn a_server_whose_session_is_lost_has_its_name_again_at_once() {
    let bench = Bench::new(postgres_server::shared(), LONG);
    let node = bench.node("a");
    wait_until("the node holds the stream", || node.holds());
    let sessions = "SELECT COUNT(*) FROM stream_holder JOIN pg_locks USING (pid) WHERE locktype = 'advisory'";
    let locks = || bench.server.client(&bench.database).query_one(sessions, &[]).unwrap().get::<_, i64>(0);
    wait_until("it has both locks", || locks() == 2);
    bench.end_holder();
    wait_until("it has none", || locks() != 2);
    wait_until("it has both again", || locks() == 2);
    assert!(node.ends.try_recv().is_err());
}

#[test]
fn changes_are_told_to_other_nodes() {
    let bench = Bench::new(postgres_server::shared(), LONG);
    let node = bench.node("a");
    wait_until("the notices come in", || node.state().is_listening);
    for expected in Changed::ALL {
        // Notices that may have been missed before.
        assert!(node.changes.iter().any(|changed| changed == expected));
    }
    let store = Store::new(Postgres::new(&bench.settings).unwrap());
    let alice: BareJid = "alice@example.org".parse().unwrap();
    while node.changes.recv_timeout(SECOND).is_ok() {}
    store.raise_epoch(&alice).unwrap();
    assert_eq!(node.changes.recv_timeout(60 * SECOND), Ok(Changed::Epochs));
    store.remove_secrets("ticket", 1).unwrap();
    assert_eq!(node.changes.recv_timeout(60 * SECOND), Ok(Changed::Keys));
    crate::store::BlockTable::unblock(&store, &alice).unwrap();
    assert_eq!(node.changes.recv_timeout(60 * SECOND), Ok(Changed::Blocks));
    bench.execute("NOTIFY media_server, 'something else'; NOTIFY media_server, 'epochs'");
    assert_eq!(node.changes.recv_timeout(60 * SECOND), Ok(Changed::Epochs));
}

#[test]
fn a_flood_of_notices_fills_no_queue_and_empties_no_cache_all_the_time() {
    let (sender, queue) = mpsc::channel();
    let heard = HeardNotices::new(sender);
    for _ in 0..2 {
        for _ in 0..1000 {
            [Notice::Keys, Notice::Prompts, Notice::Stream].into_iter().for_each(|notice| heard.hear(notice));
        }
        assert!(matches!(queue.try_iter().collect::<Vec<_>>()[..], [Work::Notices]));
        assert_eq!(heard.take().len(), 3);
    }
    let (beat, retry) = (Duration::from_millis(500), Duration::from_millis(250));
    let bench = Bench::new(postgres_server::shared(), Times { beat, retry, ..LONG });
    bench.execute(
        "CREATE SEQUENCE beats; CREATE FUNCTION count_beat() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN PERFORM nextval(''beats''); RETURN NEW; END'; CREATE TRIGGER counts BEFORE UPDATE ON stream_holder \
         FOR EACH ROW EXECUTE FUNCTION count_beat()",
    );
    let node = bench.node("a");
    wait_until("the node beats and listens", || node.holds() && node.state().is_listening);
    let mut client = bench.server.client(&bench.database);
    client.batch_execute("SET synchronous_commit = off; SELECT nextval('beats')").unwrap();
    let mut beats = || client.query_one("SELECT nextval('beats')", &[]).unwrap().get::<_, i64>(0);
    let (before, begun) = (beats(), Instant::now());
    let _ = node.changes.try_iter().count();
    let mut flood = bench.server.client(&bench.database);
    flood.batch_execute("SET synchronous_commit = off").unwrap();
    for word in ["keys", "epochs", "blocks", "stream", "prompts", "decisions"].iter().cycle().take(3000) {
        flood.batch_execute(&format!("NOTIFY media_server, '{word}'")).unwrap();
    }
    let rounds = |each: Duration| begun.elapsed().as_millis() / each.as_millis() + 2;
    // What came last is read, too.
    let last = node.changes.recv_timeout(60 * SECOND).is_ok();
    let changes = node.changes.try_iter().count() as u128;
    assert!(last && changes <= 3 * rounds(beat), "{changes} in {:?}", begun.elapsed());
    let beats = u128::try_from(beats() - before).unwrap();
    assert!(beats <= rounds(retry) + 1, "{beats} beats in {:?}", begun.elapsed());
}

/// A request of a user, as the gate hands it over.
fn ask(number: RequestId) -> Work {
    let prompt = SharedPrompt {
        asked: "alice@example.com/phone".parse().unwrap(),
        stanza_id: format!("stanza{number}"),
        thread: format!("thread{number}"),
        by_iq: false,
        transaction: "t".to_owned(),
        method: Method::Get,
        url: "https://media.example.com/room@example.com".to_owned(),
        deed: "see a list of room@example.com".to_owned(),
        source: None,
        client: None,
        has_origin: false,
        shown: true,
        ends_by_bounce: false,
        time: 30 * SECOND,
    };
    Work::Gate(NodeEvent::Ask(number, Box::new(prompt)))
}

#[test]
fn requests_are_refused_while_the_database_is_away_and_no_more_when_it_is_back() {
    let mut server = Server::start();
    let ((node, answered), database) = {
        let bench = Bench::new(&server, Times { retry: SECOND / 2, ..LONG });
        (bench.start_with_answers(), bench.database.clone())
    };
    wait_until("the node holds the stream", || node.holds());
    server.kill();
    node.cluster.queue.send(ask(1)).unwrap();
    assert_eq!(answered.recv_timeout(20 * SECOND), Ok((1, Err(Refusal::DatabaseDown))));
    server.restart();
    // The thread tries to connect again a moment later.
    node.cluster.queue.send(ask(2)).unwrap();
    let stored = "SELECT COUNT(*) FROM prompts WHERE stanza_id = 'stanza2'";
    let count = || server.client(&database).query_one(stored, &[]).unwrap().get::<_, i64>(0);
    wait_until("the request is stored", || count() == 1);
    assert!(answered.try_recv().is_err());
}

#[test]
fn a_request_whose_connection_was_lost_is_stored_on_the_next_one() {
    let bench = Bench::new(postgres_server::shared(), Times { beat: 60 * SECOND, ..LONG });
    let (node, answered) = bench.start_with_answers();
    wait_until("the node holds the stream", || node.holds());
    bench.end_holder();
    node.cluster.queue.send(ask(1)).unwrap();
    let count = || {
        let mut client = bench.server.client(&bench.database);
        client.query_one("SELECT COUNT(*) FROM prompts", &[]).unwrap().get::<_, i64>(0)
    };
    wait_until("the request is stored", || count() == 1);
    assert!(answered.try_recv().is_err());
}

#[test]
fn a_node_that_ends_leaves_no_decided_prompt() {
    let bench = Bench::new(postgres_server::shared(), Times { beat: 60 * SECOND, ..LONG });
    let (node, answered) = bench.start_with_answers();
    wait_until("the node holds the stream", || node.holds());
    node.cluster.queue.send(ask(1)).unwrap();
    let mut client = bench.server.client(&bench.database);
    // The node has no notice of it.
    let decide = "UPDATE prompts SET decision = 'Denied'";
    wait_until("the request is stored", || client.execute(decide, &[]).unwrap() == 1);
    assert!(answered.try_recv().is_err());
    node.cluster.stop();
    assert_eq!(answered.try_recv(), Ok((1, Err(Refusal::Denied))));
    assert!(client.query("SELECT FROM prompts", &[]).unwrap().is_empty());
}

/// A gate with a fault, and the text of the end that it brings about.
#[test]
fn a_panic_of_the_thread_ends_the_process() {
    let bench = Bench::new(postgres_server::shared(), LONG);
    let node =
        bench.start(&bench.settings_of("a"), Arc::new(TestDoor { panics: true, ..TestDoor::default() }));
    let error = node.ends.recv_timeout(60 * SECOND).unwrap();
    assert!(error.to_string().contains("the thread cluster panicked"), "{error}");
    assert!(node.ends.try_recv().is_err(), "it is told once");
    node.cluster.stop();
}

#[test]
fn without_notices_all_is_read_again_now_and_then() {
    let server = Server::start();
    let bench = Bench::new(&server, LONG);
    let node = bench.node("a");
    wait_until("the notices come in", || node.state().is_listening);
    while node.changes.recv_timeout(SECOND).is_ok() {}
    server.freeze();
    wait_until("it is known that no notices come in", || !node.state().is_listening);
    for _ in 0..3 {
        let changed: Vec<_> = node.changes.iter().take(3).collect();
        assert_eq!(changed, Changed::ALL);
    }
    server.thaw();
    wait_until("the notices come in", || node.state().is_listening);
}
