use super::super::node_database::NodeDatabase;
use super::super::{DedicatedConnection, take_stream, unlock_stream};
use super::*;
use crate::store::Change;

const COMPONENT: &str = "media.example.com";
const HOUR: Duration = Duration::from_secs(3600);

fn lock(of: &mut DedicatedConnection, node: &'static str) -> NameLock {
    of.run(move |session| lock_name(session, node)).unwrap()
}

fn owner(of: &mut DedicatedConnection, node: &'static str) -> NameOwner {
    match lock(of, node) {
        NameLock::Other(Some(owner)) => owner,
        other => panic!("{other:?}"),
    }
}

fn ready(of: &mut DedicatedConnection, is_ready: bool) {
    of.run(move |session| say_ready(session, COMPONENT, is_ready)).unwrap();
}

fn sees_ready(of: &mut DedicatedConnection, within: Duration) -> bool {
    of.run(move |session| is_other_ready(session, COMPONENT, within)).unwrap()
}

#[test]
fn one_session_at_a_time_has_a_name() {
    let database = NodeDatabase::new();
    let (mut one, mut other) = (database.session(), database.session());
    let NameLock::Ours(pid) = lock(&mut one, "a") else { panic!("it is free") };
    assert!(matches!(lock(&mut other, "b"), NameLock::Ours(_)), "that is another name");
    let found = owner(&mut other, "a");
    assert_eq!(found.pid, pid);
    assert!(found.silent.unwrap() < HOUR, "{found:?}");
    drop(one);
    while !matches!(lock(&mut other, "a"), NameLock::Ours(_)) {}
}

#[test]
fn sites_in_schemas_of_one_database_have_names_of_their_own() {
    let database = NodeDatabase::new();
    let (mut one, mut other) = (database.session(), database.session());
    assert!(matches!(lock(&mut one, "a"), NameLock::Ours(_)));
    database.client().batch_execute("CREATE SCHEMA site; CREATE TABLE site.store (id TEXT)").unwrap();
    other.run(|session| session.execute("SET search_path = site", &[])).unwrap();
    assert!(matches!(lock(&mut other, "a"), NameLock::Ours(_)));
}

#[test]
fn a_name_outlives_the_stream_in_its_session() {
    let database = NodeDatabase::new();
    let (mut one, mut other) = (database.session(), database.session());
    assert!(matches!(lock(&mut one, "a"), NameLock::Ours(_)));
    ready(&mut one, true);
    one.transact(|session| take_stream(session, COMPONENT, "a", None, HOUR).map(Change::Commit)).unwrap();
    one.run(|session| unlock_stream(session, COMPONENT)).unwrap();
    owner(&mut other, "a");
    assert!(sees_ready(&mut other, HOUR));
}

#[test]
fn the_session_of_a_silent_server_is_ended_and_no_other() {
    let database = NodeDatabase::new();
    let (mut silent, mut other) = (database.session(), database.session());
    assert!(matches!(lock(&mut silent, "a"), NameLock::Ours(_)));
    let pid = owner(&mut other, "a").pid;
    let end = |of: &mut DedicatedConnection, pid: i64, silent: Duration| {
        of.run(move |session| end_name_owner(session, "a", pid, silent)).unwrap()
    };
    assert!(!end(&mut other, pid, HOUR), "it was used a moment ago");
    assert!(!end(&mut other, pid + 1, Duration::ZERO), "that one has no lock");
    let other_name = other.run(move |session| end_name_owner(session, "b", pid, Duration::ZERO)).unwrap();
    assert!(!other_name, "it has another name");
    assert!(end(&mut other, pid, Duration::ZERO));
    while !matches!(lock(&mut other, "a"), NameLock::Ours(_)) {}
    silent.run(|session| lock_name(session, "a")).unwrap_err();
}

#[test]
fn another_node_is_ready_until_it_takes_that_back_or_is_silent() {
    let database = NodeDatabase::new();
    let (mut one, mut other) = (database.session(), database.session());
    ready(&mut one, true);
    assert!(!sees_ready(&mut one, HOUR), "it is the only one");
    assert!(sees_ready(&mut other, HOUR));
    assert!(!sees_ready(&mut other, Duration::ZERO), "it may be gone");
    ready(&mut other, true);
    assert!(sees_ready(&mut one, HOUR));
    ready(&mut one, false);
    assert!(!sees_ready(&mut other, HOUR));
    drop(other);
    while sees_ready(&mut one, HOUR) {}
}
