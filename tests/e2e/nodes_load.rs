//! Several nodes under load, while they are killed, stopped and cut off: what one of them promised, all keep.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::nodes_bench::{Bench, Place};
use crate::nodes_ledger::NodesLedger;
use crate::support::http::Raw;
use crate::support::random::Random;
use crate::support::{soak, wait_for};

/// Clients at a time.
const CLIENTS: u64 = 3;
/// Deeds of the clients between two events.
const DEEDS: u64 = 8;
/// The longest time until requests can be confirmed after the holder of the stream failed.
const TAKEOVER: Duration = Duration::from_secs(10);
/// The longest time until a node serves after what it needs is back.
const RETURN: Duration = Duration::from_secs(20);

/// What happens in the middle of the load.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// A node that does not hold the component's stream is killed in the middle of an upload.
    KillOther,
    /// The holder is killed in the middle of an upload and of a confirmation, as below.
    KillHolder,
    /// The holder stands still for as long as a takeover takes.
    StopHolder,
    /// The holder does not reach PostgreSQL for as long as a takeover takes.
    CutHolder,
    /// PostgreSQL is killed and started again.
    RestartDatabase,
    /// The S3 store is killed and started again.
    RestartStore,
}

/// What happens in `make soak`.
const ON_A_DIRECTORY: &[Event] =
    &[Event::KillOther, Event::KillHolder, Event::StopHolder, Event::CutHolder, Event::RestartDatabase];
const ON_A_BUCKET: &[Event] = &[
    Event::KillOther,
    Event::KillHolder,
    Event::StopHolder,
    Event::CutHolder,
    Event::RestartDatabase,
    Event::RestartStore,
];
/// What happens in `make check`: each event once.
const BRIEF_ON_A_DIRECTORY: &[Event] =
    &[Event::KillOther, Event::KillHolder, Event::StopHolder, Event::CutHolder];
const BRIEF_ON_A_BUCKET: &[Event] = &[Event::RestartStore, Event::RestartDatabase];

#[test]
fn nodes_on_a_directory_keep_promises_through_failures_for_a_while() {
    survive(Place::Directory, BRIEF_ON_A_DIRECTORY, ON_A_DIRECTORY);
}

#[test]
fn nodes_on_a_bucket_keep_promises_through_failures_for_a_while() {
    survive(Place::Bucket, BRIEF_ON_A_BUCKET, ON_A_BUCKET);
}

/// Each of the brief events once with two nodes, or in `make soak` all events at random with three.
fn survive(place: Place, brief: &[Event], all: &[Event]) {
    let seed = soak::seed();
    let (mut random, end) = (Random::new(seed), Instant::now() + soak::time(Duration::ZERO));
    let mut bench = Bench::start(place, if soak::is_soak() { 3 } else { 2 });
    let mut ledgers: Vec<_> =
        (1..=CLIENTS).map(|number| NodesLedger::new(&bench, seed ^ number << 32)).collect();
    let load = Load::default();
    thread::scope(|scope| {
        for ledger in &mut ledgers {
            scope.spawn(|| load.go_on(ledger));
        }
        let _end = EndOfLoad(&load);
        load.wait_for_deeds();
        for &event in brief.iter().filter(|_| !soak::is_soak()) {
            happen(event, &mut bench, &mut random);
            load.wait_for_deeds();
        }
        while soak::is_soak() && Instant::now() < end {
            happen(random.pick(all).expect("there are some"), &mut bench, &mut random);
            load.wait_for_deeds();
        }
    });
    ledgers.iter_mut().for_each(NodesLedger::compare_all);
    bench.assert_nothing_is_left();
}

/// The clients' work.
#[derive(Default)]
struct Load {
    has_ended: AtomicBool,
    deeds: AtomicU64,
}

/// Ends the load, also where an assertion fails.
struct EndOfLoad<'a>(&'a Load);

impl Drop for EndOfLoad<'_> {
    fn drop(&mut self) {
        self.0.has_ended.store(true, Ordering::SeqCst);
    }
}

impl Load {
    fn go_on(&self, ledger: &mut NodesLedger) {
        let _end = EndOfLoad(self);
        while !self.has_ended.load(Ordering::SeqCst) {
            if ledger.act() {
                self.deeds.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    /// Waits until the clients have done something.
    #[track_caller]
    fn wait_for_deeds(&self) {
        let wanted = self.deeds.load(Ordering::SeqCst) + DEEDS;
        wait_for("the load to go on", || {
            assert!(!self.has_ended.load(Ordering::SeqCst), "a client has found a broken promise");
            (self.deeds.load(Ordering::SeqCst) >= wanted).then_some(())
        });
    }
}

fn happen(event: Event, bench: &mut Bench, random: &mut Random) {
    let holder = bench.holder();
    let others: Vec<usize> = (0..bench.nodes.len()).filter(|node| *node != holder).collect();
    let other = random.pick(&others).expect("there are two nodes at least");
    match event {
        Event::KillOther => kill(bench, other),
        Event::RestartDatabase => restart(bench, |bench| {
            bench.database.kill();
            bench.database.restart();
        }),
        Event::RestartStore => restart(bench, |bench| {
            let store = bench.store.as_mut().expect("the files are in a bucket");
            store.kill();
            store.restart();
        }),
        Event::KillHolder => {
            let upload = take_over(bench, holder, other, |bench, node| bench.nodes[node].server.kill());
            assert_no_answer(upload);
            bench.nodes[holder].server.start_again();
        }
        // The uploads there end without their last part.
        Event::StopHolder => {
            take_over(bench, holder, other, |bench, node| bench.nodes[node].server.signal("STOP"));
            bench.nodes[holder].server.signal("CONT");
        }
        Event::CutHolder => {
            bench.blind(holder);
            take_over(bench, holder, other, |bench, node| bench.nodes[node].relay.stand_still(true));
            bench.nodes[holder].relay.stand_still(false);
        }
    }
    wait_for_return(bench);
    soak::count(&format!("events with several nodes: {event:?}"), 1);
}

fn kill(bench: &mut Bench, node: usize) {
    let upload = bench.begin_upload(node);
    bench.nodes[node].server.kill();
    assert_no_answer(upload);
    bench.nodes[node].server.start_again();
}

fn assert_no_answer(mut upload: Raw) {
    assert!(upload.answer().is_none(), "an upload that was cut has a response");
}

/// What all nodes need ends and is started again. They may not see each other's changes meanwhile.
fn restart(bench: &mut Bench, restart: impl FnOnce(&mut Bench)) {
    (0..bench.nodes.len()).for_each(|node| bench.blind(node));
    restart(bench);
}

/// The holder of the stream fails in the middle of an upload, which is given, while another node waits for a slow user.
fn take_over(bench: &mut Bench, holder: usize, other: usize, fail: impl FnOnce(&mut Bench, usize)) -> Raw {
    let (waiting, member, upload) = (bench.waiting(other), bench.member(), bench.begin_upload(holder));
    let failed = Instant::now();
    fail(bench, holder);
    bench.wait_for_confirmation(other, &member);
    let took = failed.elapsed();
    assert!(took < TAKEOVER, "no request was confirmed for {took:?}");
    soak::worst("longest time until a request was confirmed after the holder failed", took);
    waiting.confirm();
    upload
}

fn wait_for_return(bench: &Bench) {
    let begun = Instant::now();
    (0..bench.nodes.len()).for_each(|node| bench.wait_until_it_serves(node));
    let took = begun.elapsed();
    assert!(took < RETURN, "the nodes were back after {took:?}");
    soak::worst("longest time until all nodes served after an event", took);
}
