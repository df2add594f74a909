use std::net::IpAddr;
use std::thread;
use std::time::Instant;

use super::super::node_database::NodeDatabase;
use super::super::notice::CHANNEL;
use super::super::postgres_server::Server;
use super::*;

/// A database where a holder has the stream of epoch 3.
struct Bench {
    table: DedicatedConnection,
    client: postgres::Client,
}

impl Bench {
    fn new() -> Self {
        let database = NodeDatabase::new();
        let (table, mut client) = (database.session(), database.client());
        let sql = "INSERT INTO stream_holder (jid, node, pid, epoch, beat) VALUES ('media.example.com', 'a', 1, 3, now())";
        client.batch_execute(sql).unwrap();
        Self { table, client }
    }

    fn all(&mut self) -> Vec<StoredPrompt> {
        self.table.undecided(&[], &[], 1000).unwrap()
    }

    fn run(&mut self, sql: &str) {
        self.client.batch_execute(sql).unwrap();
    }
}

fn stream(epoch: i64) -> StreamEpoch {
    StreamEpoch { component: "media.example.com".to_owned(), epoch }
}

fn prompt(number: usize) -> SharedPrompt {
    SharedPrompt {
        asked: "alice@example.com/phone".parse().unwrap(),
        stanza_id: format!("stanza{number}"),
        thread: format!("thread{number}"),
        by_iq: false,
        transaction: format!("t{number}"),
        method: Method::Post,
        url: "https://media.example.com/room@example.com".to_owned(),
        deed: "upload a file to room@example.com".to_owned(),
        source: None,
        client: None,
        has_origin: false,
        shown: true,
        ends_by_bounce: false,
        time: Duration::from_secs(30),
    }
}

/// The same, but for the time, which passes.
fn is_same(stored: &StoredPrompt, prompt: &SharedPrompt) -> bool {
    let time = stored.prompt.time;
    assert!(time <= prompt.time && prompt.time < time + Duration::from_secs(20), "{time:?}");
    assert!(stored.age < Duration::from_secs(20), "{:?}", stored.age);
    SharedPrompt { time: prompt.time, ..stored.prompt.clone() } == *prompt
}

#[test]
fn a_prompt_comes_out_as_it_went_in() {
    let mut bench = Bench::new();
    let hard = SharedPrompt {
        asked: "émile@example.com/a \u{1f4f1} \\ \" ' ,{}".parse().unwrap(),
        by_iq: true,
        transaction: "~~~???>>> 'é'\\".to_owned(),
        method: Method::Delete,
        url: "https://media.example.com/a?%00\"',{}[]\\n".to_owned(),
        deed: "delete \u{2068}\u{5d0}@example.com\u{2069}…".to_owned(),
        source: Some("from 192.0.2.7, by a web page".to_owned()),
        client: Some("2001:db8::".parse().unwrap()),
        has_origin: true,
        shown: false,
        ends_by_bounce: true,
        ..prompt(2)
    };
    let prompts = [prompt(1), hard, SharedPrompt { client: Some(IpAddr::from([192, 0, 2, 7])), ..prompt(3) }];
    let ids = bench.table.ask("a", &prompts).unwrap();
    let stored = bench.all();
    assert_eq!(stored.iter().map(StoredPrompt::id).collect::<Vec<_>>(), ids);
    for (stored, prompt) in stored.iter().zip(&prompts) {
        assert!(is_same(stored, prompt) && !stored.is_sent && !stored.is_abandoned, "{}", prompt.stanza_id);
    }
    assert_eq!(bench.table.ask("a", &prompts).unwrap(), ids, "again, it stores nothing");
    assert_eq!(bench.all().len(), 3);
}

#[test]
fn the_holder_reads_what_it_does_not_know_and_what_was_abandoned() {
    let mut bench = Bench::new();
    let ids = bench.table.ask("a", &[1, 2, 3, 4].map(prompt)).unwrap();
    let rows = |stored: Vec<StoredPrompt>| stored.iter().map(StoredPrompt::id).collect::<Vec<_>>();
    assert_eq!(rows(bench.table.undecided(&[], &[], 2).unwrap()), ids[..2], "the oldest first");
    assert_eq!(rows(bench.table.fresh(&[], 2).unwrap()), ids[..2], "the oldest first");
    assert_eq!(rows(bench.table.undecided(&ids[..3], &ids[..3], 9).unwrap()), ids[3..]);
    bench.table.abandon(&ids[..1]).unwrap();
    assert_eq!(rows(bench.table.undecided(&ids, &ids, 9).unwrap()), ids[..1]);
    assert_eq!(rows(bench.table.undecided(&ids, &ids[1..], 9).unwrap()), [], "it is known already");
    bench.table.hand_back(&stream(3), &ids[2..3], &[(ids[1].clone(), Ok(()))]).unwrap();
    bench.table.hand_back(&stream(2), &ids[3..], &[]).unwrap();
    assert_eq!(rows(bench.table.fresh(&[], 9).unwrap()), [ids[0].clone(), ids[3].clone()]);
    bench.table.abandon(&ids[2..3]).unwrap();
    assert_eq!(rows(bench.table.fresh(&ids[..1], 9).unwrap()), ids[2..], "those that are abandoned, too");
    bench.run("UPDATE prompts SET abandoned = false WHERE stanza_id = 'stanza3'");
    let found: Vec<_> = bench.all().iter().map(|one| (one.id(), one.is_sent, one.is_abandoned)).collect();
    let [first, _, third, fourth] = ids.try_into().unwrap();
    assert_eq!(found, [(first, false, true), (third, true, false), (fourth, false, false)]);
}

#[test]
fn only_the_first_decision_of_the_newest_holder_counts() {
    let mut bench = Bench::new();
    let ids = bench.table.ask("a", &[1, 2, 3].map(prompt)).unwrap();
    let decided = |number: usize, decision| (ids[number].clone(), decision);
    assert!(!bench.table.hand_back(&stream(2), &[], &[decided(0, Ok(()))]).unwrap());
    let elsewhere = StreamEpoch { component: "other.example.com".to_owned(), epoch: 3 };
    assert!(!bench.table.hand_back(&elsewhere, &[], &[decided(0, Ok(()))]).unwrap());
    let found = |bench: &mut Bench| {
        let mut found = bench.table.decisions(&ids).unwrap();
        found.sort_by_key(|(id, _)| id.number);
        found.into_iter().map(|(_, decision)| decision).collect::<Vec<_>>()
    };
    assert_eq!(found(&mut bench), [None, None, None]);
    let first = [decided(0, Err(Refusal::Denied)), decided(1, Ok(()))];
    assert!(bench.table.hand_back(&stream(3), &[], &first).unwrap());
    let again = [decided(0, Ok(())), decided(1, Err(Refusal::NotConfirmed))];
    assert!(bench.table.hand_back(&stream(3), &[], &again).unwrap(), "it holds the stream all the same");
    assert_eq!(found(&mut bench), [Some(Err(Refusal::Denied)), Some(Ok(())), None]);
    assert_eq!(bench.table.decided("b", &[]).unwrap(), [], "those of another node");
    let mut decided_now = bench.table.decided("a", &[]).unwrap();
    decided_now.sort_by_key(|(id, _)| id.number);
    assert_eq!(decided_now, first);
    bench.run("UPDATE stream_holder SET epoch = 4");
    bench.table.hand_back(&stream(3), &[], &[decided(2, Ok(()))]).unwrap();
    assert_eq!(found(&mut bench)[2], None);
    bench.run("UPDATE prompts SET decision = 'SomethingNew' WHERE decision IS NULL");
    assert_eq!(found(&mut bench)[2], Some(Err(Refusal::NotConfirmed)), "of another version");
}

#[test]
fn a_row_of_another_stanza_with_the_same_number_is_another_row() {
    let mut bench = Bench::new();
    let old = bench.table.ask("a", &[prompt(1)]).unwrap();
    // As after a crash of PostgreSQL.
    bench.run("TRUNCATE prompts RESTART IDENTITY");
    let new = bench.table.ask("b", &[prompt(2)]).unwrap();
    assert_eq!(old[0].number, new[0].number);
    assert!(bench.table.hand_back(&stream(3), &[], &[(old[0].clone(), Ok(()))]).unwrap());
    bench.table.hand_back(&stream(3), &old, &[]).unwrap();
    bench.table.abandon(&old).unwrap();
    assert_eq!(bench.table.decided("a", &old).unwrap(), []);
    let found = bench.table.undecided(&old, &old, 9).unwrap();
    assert_eq!(found.iter().map(StoredPrompt::id).collect::<Vec<_>>(), new);
    assert!(is_same(&found[0], &prompt(2)) && !found[0].is_sent && !found[0].is_abandoned);
    assert_eq!(bench.table.decisions(&new).unwrap(), [(new[0].clone(), None)]);
    assert_eq!(bench.table.decisions(&old).unwrap(), []);
}

#[test]
fn a_prompt_whose_first_attempt_is_committed_meanwhile_has_the_row_of_that_attempt() {
    let mut bench = Bench::new();
    bench.table.ask("a", &[prompt(1)]).unwrap();
    bench.run(
        "BEGIN; INSERT INTO prompts SELECT (jsonb_populate_record(prompts, \
         '{\"id\": 1000, \"stanza_id\": \"stanza2\"}')).* FROM prompts",
    );
    let Bench { mut table, mut client } = bench;
    let asks = thread::spawn(move || table.ask("a", &[2, 3].map(prompt)).unwrap());
    let waits = "SELECT 1 FROM pg_locks WHERE NOT granted \
         AND pid IN (SELECT pid FROM pg_stat_activity WHERE datname = current_database())";
    let until = Instant::now() + Duration::from_secs(20);
    while client.query(waits, &[]).unwrap().is_empty() && Instant::now() < until {
        thread::yield_now();
    }
    client.batch_execute("COMMIT").unwrap();
    let ids = asks.join().unwrap();
    assert_eq!(ids.iter().map(|id| id.stanza_id.as_str()).collect::<Vec<_>>(), ["stanza2", "stanza3"]);
    assert_eq!(ids[0].number, 1000);
}

#[test]
fn every_refusal_has_a_name_that_is_read_again() {
    for refusal in Refusal::ALL {
        assert_eq!(decision_of(name_of(&Err(*refusal))), Err(*refusal));
    }
    assert_eq!(decision_of(name_of(&Ok(()))), Ok(()));
}

#[test]
fn rows_go_when_their_node_has_read_them_or_a_minute_after_their_deadline() {
    let mut bench = Bench::new();
    let ids = bench.table.ask("a", &[1, 2, 3].map(prompt)).unwrap();
    bench.table.ask("b", &[prompt(4)]).unwrap();
    let decisions = [0, 1].map(|number: usize| (ids[number].clone(), Ok(())));
    bench.table.hand_back(&stream(3), &[], &decisions).unwrap();
    // The third is not decided, so it can't have been taken.
    let taken = [ids[0].clone(), ids[2].clone()];
    assert_eq!(bench.table.decided("a", &taken).unwrap(), [(ids[1].clone(), Ok(()))], "the other one");
    let left = |bench: &mut Bench| bench.table.decisions(&ids).unwrap().len();
    assert_eq!(left(&mut bench), 2);
    bench.table.abandon(&ids[1..]).unwrap();
    assert_eq!(left(&mut bench), 1, "a decided one goes at once, and the holder must know the other");
    bench.run("UPDATE prompts SET deadline = now() - INTERVAL '59 seconds'");
    assert!(bench.all().is_empty(), "their time is over");
    assert_eq!(bench.table.sweep().unwrap(), 0);
    bench.run("UPDATE prompts SET deadline = now() - INTERVAL '61 seconds'");
    assert_eq!((bench.table.sweep().unwrap(), left(&mut bench)), (2, 0));
}

#[test]
fn a_node_that_starts_anew_abandons_its_prompts_and_no_others() {
    let mut bench = Bench::new();
    let ids = bench.table.ask("a", &[1, 2].map(prompt)).unwrap();
    bench.table.ask("b", &[prompt(3)]).unwrap();
    bench.table.hand_back(&stream(3), &[], &[(ids[0].clone(), Ok(()))]).unwrap();
    bench.table.abandon_of_node("a").unwrap();
    let found: Vec<_> =
        bench.all().into_iter().map(|one| (one.prompt.transaction, one.is_abandoned)).collect();
    assert_eq!(found, [("t2".to_owned(), true), ("t3".to_owned(), false)]);
}

/// However many prompts wait, or were left by transactions that have ended.
#[test]
fn the_decisions_of_a_node_are_found_by_an_index() {
    let mut bench = Bench::new();
    bench.run("SET enable_seqscan = off");
    let plan = bench.client.query(&format!("EXPLAIN {DECIDED}"), &[&"a", &"[]"]).unwrap();
    let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
    assert!(plan.iter().any(|line| line.contains("prompts_decided_idx")), "{plan:#?}");
}

/// The notices that this connection gets until this one comes.
fn notices_until(client: &mut postgres::Client, last: Notice) -> Vec<String> {
    use postgres::fallible_iterator::FallibleIterator;
    let (mut found, until) = (Vec::new(), Instant::now() + Duration::from_secs(20));
    while Instant::now() < until {
        let mut notices = client.notifications();
        let mut waiting = notices.timeout_iter(Duration::from_millis(200));
        while let Some(notice) = waiting.next().unwrap() {
            found.push(notice.payload().to_owned());
            if found.last().is_some_and(|found| found == last.name()) {
                return found;
            }
        }
    }
    panic!("no notice {last:?}: {found:?}");
}

#[test]
fn a_notice_is_one_word_about_several_rows() {
    let mut bench = Bench::new();
    bench.run(&format!("LISTEN {CHANNEL}"));
    let ids = bench.table.ask("a", &[1, 2, 3].map(prompt)).unwrap();
    assert_eq!(notices_until(&mut bench.client, Notice::Prompts), ["prompts"], "one for several");
    let decisions: Vec<_> = ids.iter().map(|id| (id.clone(), Ok(()))).collect();
    bench.table.hand_back(&stream(2), &[], &decisions).unwrap();
    bench.table.abandon(&ids[2..]).unwrap();
    let told = notices_until(&mut bench.client, Notice::Prompts);
    assert_eq!(told, ["prompts"], "no decision of an old holder");
    bench.table.hand_back(&stream(3), &[], &decisions[..2]).unwrap();
    bench.table.hand_back(&stream(3), &[], &decisions).unwrap();
    let both = [(); 2].map(|()| notices_until(&mut bench.client, Notice::Decisions));
    assert_eq!(both, [["decisions"], ["decisions"]], "one for each statement");
    bench.table.hand_back(&stream(3), &[], &decisions).unwrap();
    bench.table.abandon_of_node("a").unwrap();
    bench.table.notify(Notice::Stream).unwrap();
    assert_eq!(notices_until(&mut bench.client, Notice::Stream), ["stream"], "nothing has changed");
}

#[test]
fn a_text_that_the_database_can_not_hold_is_an_error_that_says_so() {
    let mut bench = Bench::new();
    let error = bench.table.ask("a", &[SharedPrompt { url: "a\0b".to_owned(), ..prompt(1) }]).unwrap_err();
    assert_ne!(error.kind(), Kind::Unavailable, "{error}");
    assert!(bench.all().is_empty());
}

#[test]
fn a_holder_that_stands_still_in_its_transaction_keeps_nobody_from_the_stream() {
    let mut server = Server::start();
    let database = NodeDatabase::on(&server);
    let mut table = database.session();
    let (mut still, mut next) = (database.client(), database.client());
    still.batch_execute("INSERT INTO stream_holder VALUES ('media.example.com', 'a', 1, 3, now())").unwrap();
    let ids = table.ask("a", &[prompt(1)]).unwrap();
    still.batch_execute("BEGIN").unwrap();
    let decision =
        json([DecidedRow { stanza_id: &ids[0].stanza_id, decision: CONFIRMED }].into_iter()).unwrap();
    let told = Notice::Decisions.name();
    still.query(HAND_BACK, &[&"media.example.com", &3_i64, &decision, &CHANNEL, &told, &"[]"]).unwrap();
    let taken = thread::spawn(move || {
        next.batch_execute("SET lock_timeout = '5s'; UPDATE stream_holder SET epoch = 4").map(|()| next)
    });
    assert!(taken.join().unwrap().is_ok());
    still.batch_execute("COMMIT").unwrap();
    server.kill();
}
