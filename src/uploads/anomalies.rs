//! Everything fails once: each call to the file system and to the database, in each way that it can.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;

use super::testing::{Bench, Granted, settings};
use super::*;
use crate::chore::ChoreProgress;
use crate::limits;
use crate::model::Refusal;
use crate::store::faulty::{self, FAILURES, Failure, Faulty};
use crate::store::{Engine, Postgres, Sqlite, SqliteSchema, Store};
use crate::sys::faults::{self, Fault};
use crate::sys::fs::FsCall;
use crate::testing::Scratch;

/// An operation of the service, and its expected effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    /// Sends a file that is held in memory.
    Small,
    /// Sends a file that goes to the disk in parts.
    Large,
    /// Sends the same file again.
    Again,
    /// Reads a file.
    Read,
    /// Removes a file that was deleted.
    Sweep,
    /// Moves a file without a row.
    Walk,
}

const TASKS: [Task; 6] = [Task::Small, Task::Large, Task::Again, Task::Read, Task::Sweep, Task::Walk];

const LARGE: [u8; 500] = [7; 500];

impl Task {
    /// Makes what it needs.
    fn prepare(self, bench: &Bench) -> Granted {
        match self {
            Self::Small => bench.slot(5),
            Self::Large => bench.slot(LARGE.len() as u64),
            Self::Again | Self::Read => bench.store(b"bytes"),
            Self::Sweep => {
                let slot = bench.store(b"bytes");
                bench.service.table.delete_uploads(std::slice::from_ref(&slot.id)).unwrap();
                bench.service.forget(&slot.id);
                slot
            }
            Self::Walk => {
                // Gone again, so that each walk has as many calls as the one before.
                let slot = Self::Sweep.prepare(bench);
                sweep(bench).unwrap();
                bench.orphan();
                slot
            }
        }
    }

    fn perform(self, bench: &Bench, slot: &Granted) -> Result<(), Refusal> {
        match self {
            Self::Small | Self::Again => put(bench, slot, b"bytes"),
            Self::Large => put(bench, slot, &LARGE),
            Self::Read => {
                bench.service.forget(&slot.id);
                let uploaded = bench.service.find(&slot.id)?.ok_or(Refusal::NoSuchUpload)?;
                bench.service.bytes(&uploaded)?.ok_or(Refusal::NoSuchUpload).map(drop)
            }
            Self::Sweep => Ok(sweep(bench)?),
            Self::Walk => Ok(bench.service.fsck(true, &mut |_, _| {}).map(drop)?),
        }
    }

    /// Whether it leaves a file and a row that were not there.
    fn stores(self) -> bool {
        matches!(self, Self::Small | Self::Large)
    }
}

fn sweep(bench: &Bench) -> crate::error::Result<()> {
    let mut sweeper = Sweeper::new(Arc::clone(&bench.service));
    while sweeper.run()? != ChoreProgress::Done {}
    Ok(())
}

/// As the web layer does it.
fn put(bench: &Bench, slot: &Granted, bytes: &[u8]) -> Result<(), Refusal> {
    let mut put = bench.service.begin(slot.target(), Some(bytes.len() as u64))?;
    for part in bytes.chunks(100) {
        let failed = |cause| crate::store::storage_error("can't store an upload", cause);
        put.write_all(part).map_err(failed)?;
    }
    bench.service.commit(put)
}

const FAULTS: [Fault; 6] = [
    Fault::Error(Errno::IO),
    Fault::Error(Errno::NOSPC),
    Fault::Error(Errno::MFILE),
    Fault::Error(Errno::INTR),
    Fault::Torn(Errno::NOSPC),
    Fault::Short,
];

fn status(fault: Fault) -> u16 {
    match fault {
        Fault::Error(Errno::NOSPC) | Fault::Torn(Errno::NOSPC) => 507,
        Fault::Error(Errno::MFILE) => 503,
        _ => 500,
    }
}

#[test]
fn each_call_to_the_file_system_may_fail() {
    for task in TASKS {
        let bench = sqlite(std::convert::identity);
        let mut calls = Vec::new();
        for fault in FAULTS {
            calls.extend((0..).map_while(|number| fail_at(&bench, task, number, fault)));
        }
        let expected: &[FsCall] = match task {
            Task::Small | Task::Large => {
                &[FsCall::Create, FsCall::Write, FsCall::Rename, FsCall::Sync, FsCall::SyncDirectory]
            }
            Task::Again => &[],
            Task::Read => &[FsCall::OpenDirectory, FsCall::Open],
            Task::Sweep => &[FsCall::OpenDirectory, FsCall::Remove, FsCall::SyncDirectory],
            Task::Walk => &[FsCall::OpenDirectory, FsCall::Rename],
        };
        assert!(expected.iter().all(|call| calls.contains(call)), "{task:?}: {calls:?}");
    }
}

/// Does something with a fault at the call of this number; the call where it came.
fn fail_at(bench: &Bench, task: Task, number: usize, fault: Fault) -> Option<FsCall> {
    let slot = task.prepare(bench);
    let before = stored(bench);
    let (done, call) = faults::at(number, fault, || task.perform(bench, &slot));
    let call = call?;
    let case = format!("{task:?} with {fault:?} at call {number}, {call:?}: {done:?}");
    let is_harmless = matches!(fault, Fault::Error(Errno::INTR) | Fault::Short);
    if let Err(refusal) = &done {
        assert!(!is_harmless, "{case}");
        assert_eq!(refusal.row().status, status(fault), "{case}");
    }
    if task.stores() {
        assert_eq!(bench.is_there(&slot), done.is_ok(), "{case}");
        let more = usize::from(done.is_ok());
        // A file that can't be removed stays for a walk of the store.
        let may_stay = usize::from(call == FsCall::Remove);
        assert!((more..=more + may_stay).contains(&(stored(bench).len() - before.len())), "{case}");
        assert_eq!(bench.service.reservations.arriving(), 0, "{case}");
    }
    let again = if done.is_ok() { task.prepare(bench) } else { slot };
    task.perform(bench, &again).unwrap_or_else(|refusal| panic!("again: {refusal}; {case}"));
    assert_in_step(bench, &case);
    Some(call)
}

#[test]
fn each_call_to_the_embedded_database_may_fail() {
    fail_each_database_call(&sqlite(Faulty));
}

#[test]
fn each_call_to_postgresql_may_fail() {
    let store = Store::new(Faulty(Postgres::for_test()));
    fail_each_database_call(&Bench::with(Scratch::new(), store, quotas(), true));
}

/// The first PUT of a slot that this server has granted.
#[test]
fn the_database_is_asked_for_an_earlier_file_only_if_there_may_be_one() {
    let bench = sqlite(Faulty);
    bench.service.set_settings(settings());
    let slot = bench.slot(5);
    let asks = |bench: &Bench| {
        let begin = || bench.service.begin(slot.target(), Some(5));
        faulty::at(0, Failure::Refuses, begin).1
    };
    assert!(!asks(&bench), "it was just granted");
    assert!(asks(&bench), "a PUT of it has begun");
    put(&bench, &slot, b"bytes").unwrap();
    assert!(asks(&bench), "it has stored something");
    assert_eq!(put(&bench, &slot, b"other"), Err(Refusal::SlotUsed));
}

/// A quota, so that the database is asked whether there is room.
fn quotas() -> Settings {
    let quotas = UploadQuotas { user: Some(1 << 40), day: Some(1 << 40), ..UploadQuotas::default() };
    Settings { quotas, ..settings() }
}

fn fail_each_database_call(bench: &Bench) {
    bench.service.keys.maintain().unwrap();
    for task in TASKS {
        for failure in FAILURES {
            let calls = (0..).take_while(|number| fail_database_call(bench, task, *number, failure)).count();
            assert!(calls > 0, "{task:?} calls nothing");
        }
    }
}

/// Does something while the database fails at the call of this number; whether there were so many.
fn fail_database_call(bench: &Bench, task: Task, number: usize, failure: Failure) -> bool {
    let slot = task.prepare(bench);
    let before = stored(bench).len();
    let (done, failed) = faulty::at(number, failure, || task.perform(bench, &slot));
    if !failed {
        return false;
    }
    let case = format!("{task:?} with a database that {failure:?} at call {number}: {done:?}");
    // Keys that are known count while the database is down.
    if let Err(refusal) = done {
        assert_eq!(refusal, Refusal::DatabaseDown, "{case}");
        if task.stores() && failure == Failure::Refuses {
            assert_eq!((stored(bench).len(), bench.is_there(&slot)), (before, false), "{case}");
        }
    }
    assert_eq!(bench.service.reservations.arriving(), 0, "{case}");
    task.perform(bench, &slot).unwrap_or_else(|refusal| panic!("again: {refusal}; {case}"));
    if task.stores() {
        assert!(bench.is_there(&slot), "{case}");
    }
    assert_in_step(bench, &case);
    true
}

/// The files of uploads that are complete.
fn stored(bench: &Bench) -> Vec<std::path::PathBuf> {
    let mut files = bench.files();
    files.retain(|path| {
        path.to_string_lossy().contains("/.uploads/") && !path.to_string_lossy().contains(".lost")
    });
    files
}

/// After a repair, files and rows are the same ones, and nothing that was deleted is left.
fn assert_in_step(bench: &Bench, case: &str) {
    sweep(bench).unwrap();
    let mut tell = |finding: &UploadFinding, _: &str| {
        assert!(matches!(finding, UploadFinding::FileWithoutRow(_)), "{finding}: {case}");
    };
    bench.service.fsck(true, &mut tell).unwrap();
    bench.service.fsck(false, &mut |finding, _| panic!("{finding} is left: {case}")).unwrap();
    assert_eq!(bench.service.table.upload_removals("", 9).unwrap(), [], "{case}");
    for entry in std::fs::read_dir(bench.scratch.path()).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(".upload-") {
            // A temporary file that could not be removed; the next start removes it.
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
}

/// A service for which every file is old, so that `fsck` looks at all, and whose slots are good nevertheless.
fn sqlite<E: Engine>(wrap: impl FnOnce(Sqlite) -> E) -> Bench {
    let scratch = Scratch::new();
    let path = scratch.join("metadata.sqlite");
    SqliteSchema::new(&path).set_up().unwrap();
    let bench = Bench::with(scratch, Store::new(wrap(Sqlite::new(&path, false))), quotas(), true);
    bench.clock.pass(limits::FSCK_AGE + Duration::from_secs(3600));
    bench
}
