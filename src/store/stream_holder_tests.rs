use super::super::node_database::NodeDatabase;
use super::super::{Change, DedicatedConnection};
use super::*;

const COMPONENT: &str = "media.example.com";
const HOUR: Duration = Duration::from_secs(3600);

fn take(of: &mut DedicatedConnection, node: &'static str, own: Option<i64>, stale: Duration) -> Option<i64> {
    of.transact(move |session| take_stream(session, COMPONENT, node, own, stale).map(Change::Commit)).unwrap()
}

fn owner(of: &mut DedicatedConnection) -> Option<i64> {
    of.run(|session| lock_owner(session, COMPONENT)).unwrap()
}

fn end(of: &mut DedicatedConnection, pid: i64, stale: Duration, is_new: bool) -> bool {
    of.run(move |session| end_holder(session, COMPONENT, pid, stale, is_new)).unwrap()
}

#[test]
fn of_many_candidates_one_takes_the_stream() {
    let database = NodeDatabase::new();
    let taken: Vec<_> = std::thread::scope(|scope| {
        let candidate = || take(&mut database.session(), "a", None, HOUR);
        let candidates: Vec<_> = (0..5).map(|_| scope.spawn(candidate)).collect();
        candidates.into_iter().map(|candidate| candidate.join().unwrap()).collect()
    });
    assert_eq!(taken.iter().flatten().collect::<Vec<_>>(), [&1], "{taken:?}");
}

#[test]
fn a_stream_is_taken_when_its_holder_gives_it_up_or_is_silent() {
    let database = NodeDatabase::new();
    let (mut one, mut other) = (database.session(), database.session());
    assert_eq!(other.run(|session| find_holder(session, COMPONENT)).unwrap(), None);
    assert_eq!(take(&mut one, "one", None, HOUR), Some(1));
    assert_eq!(take(&mut other, "other", None, Duration::ZERO), None, "the lock is another session's");
    let holder = other.run(|session| find_holder(session, COMPONENT)).unwrap().unwrap();
    assert_eq!((holder.node.as_deref(), holder.epoch), (Some("one"), 1));
    assert!(holder.age < HOUR);
    drop(one);
    while owner(&mut other).is_some() {}
    assert_eq!(take(&mut other, "other", None, HOUR), None, "the holder beat a moment ago");
    assert_eq!(owner(&mut other), None, "a lock that is not used is not taken");
    assert_eq!(take(&mut other, "other", None, Duration::ZERO), Some(2));
    assert!(other.run(|session| beat(session, COMPONENT, 2)).unwrap());
    assert!(!other.run(|session| beat(session, COMPONENT, 1)).unwrap(), "that epoch is over");
    let mut third = database.session();
    assert!(!third.run(|session| beat(session, COMPONENT, 2)).unwrap(), "it is another session's");
    other.run(|session| give_up_stream(session, COMPONENT, 2)).unwrap();
    other.run(|session| unlock_stream(session, COMPONENT)).unwrap();
    assert_eq!(take(&mut third, "third", None, HOUR), Some(3));
}

#[test]
fn a_process_whose_session_broke_takes_its_stream_back_in_the_same_epoch() {
    let database = NodeDatabase::new();
    let (mut before, mut after) = (database.session(), database.session());
    assert_eq!(take(&mut before, "a", None, HOUR), Some(1));
    drop(before);
    while owner(&mut after).is_some() {}
    assert_eq!(take(&mut after, "a", Some(7), HOUR), None);
    assert_eq!(take(&mut after, "a", Some(1), HOUR), Some(1));
    assert!(after.run(|session| beat(session, COMPONENT, 1)).unwrap());
}

#[test]
fn a_beat_in_the_future_gets_old_from_now_on() {
    let database = NodeDatabase::new();
    let (mut holding, mut other) = (database.session(), database.session());
    let watch = |of: &mut DedicatedConnection| of.run(|session| watch_holder(session, COMPONENT)).unwrap();
    take(&mut holding, "one", None, HOUR);
    let ahead = |of: &mut DedicatedConnection| {
        let sql =
            "SELECT CAST(EXTRACT(EPOCH FROM beat - clock_timestamp()) * 1000 AS BIGINT) FROM stream_holder";
        of.run(move |session| session.row(sql, &[])?.unwrap().single::<i64>()).unwrap()
    };
    let set = |by: &str| {
        let sql = format!("UPDATE stream_holder SET beat = clock_timestamp() + INTERVAL '{by}'");
        database.client().batch_execute(&sql).unwrap();
    };
    set("1 hour");
    drop(holding);
    while owner(&mut other).is_some() {}
    assert_eq!(take(&mut other, "other", None, Duration::ZERO), None, "a lease may last");
    assert_eq!(watch(&mut other).unwrap().age, Duration::ZERO);
    assert!(ahead(&mut other) <= 0);
    while watch(&mut other).unwrap().age.is_zero() {}
    assert_eq!(take(&mut other, "other", None, HOUR), None, "it is not old yet");
    assert_eq!(take(&mut other, "other", None, Duration::ZERO), Some(2));
    set("-1 hour");
    watch(&mut other);
    assert!(ahead(&mut other) < -3_500_000, "an old beat stays");
}

#[test]
fn the_session_of_a_silent_holder_is_ended_and_no_other() {
    let database = NodeDatabase::new();
    let (mut silent, mut other) = (database.session(), database.session());
    take(&mut silent, "silent", None, HOUR);
    let pid = owner(&mut other).unwrap();
    assert!(!end(&mut other, pid, HOUR, false), "it beat a moment ago");
    assert!(!end(&mut other, pid + 1, Duration::ZERO, false), "that one has no lock");
    assert!(!end(&mut silent, pid, Duration::ZERO, false), "it does not end itself");
    assert!(end(&mut other, pid, Duration::ZERO, true));
    while owner(&mut other).is_some() {}
    silent.run(|session| find_holder(session, COMPONENT)).unwrap_err();
    assert!(silent.is_broken());
    assert_eq!(take(&mut other, "other", None, Duration::ZERO), Some(2));
}

#[test]
fn a_session_that_has_the_lock_and_no_row_is_ended_after_a_while_only() {
    let database = NodeDatabase::new();
    let mut other = database.session();
    let mut stray = database.client();
    stray
        .batch_execute(&format!("SELECT pg_advisory_lock(hashtextextended('stream {COMPONENT}', 0))"))
        .unwrap();
    let pid = owner(&mut other).unwrap();
    assert_eq!(take(&mut other, "other", None, Duration::ZERO), None);
    assert!(end(&mut other, pid, Duration::ZERO, false));
    while owner(&mut other).is_some() {}
    assert_eq!(take(&mut other, "other", None, HOUR), Some(1));
    // The same beside the row of another session.
    other.run(|session| unlock_stream(session, COMPONENT)).unwrap();
    let mut stray = database.client();
    stray
        .batch_execute(&format!("SELECT pg_advisory_lock(hashtextextended('stream {COMPONENT}', 0))"))
        .unwrap();
    let pid = owner(&mut other).unwrap();
    assert!(!end(&mut other, pid, Duration::ZERO, true), "it may write its row at any moment");
    assert!(end(&mut other, pid, Duration::ZERO, false));
}

#[test]
fn each_component_has_a_lock_of_its_own() {
    let database = NodeDatabase::new();
    let mut session = database.session();
    for number in 0..20 {
        let component = format!("media{number}.example.com");
        let (first, second) = (component.clone(), component.clone());
        assert_eq!(session.run(move |session| lock_owner(session, &first)).unwrap(), None);
        session
            .transact(move |session| take_stream(session, &second, "a", None, HOUR).map(Change::Commit))
            .unwrap();
        // Keys may be negative, and pg_locks has them in two halves.
        assert!(session.run(move |session| lock_owner(session, &component)).unwrap().is_some());
    }
}
