//! Everything fails once: each call to the file system and to the database, in each way that it can.

use std::io::{Cursor, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use image::{ImageFormat, RgbImage};
use rustix::io::Errno;

use super::testing::{Bench, channel, new, sqlite};
use super::{Deed, Finding, Remover, Repair, Settings, Walker};
use crate::chore::ChoreProgress;
use crate::error::Result;
use crate::limits;
use crate::model::{Media, Page, Quotas, Refusal};
use crate::preview::Bounds;
use crate::store::faulty::{self, FAILURES, Failure, Faulty};
use crate::store::{Engine, Metadata, Postgres, Sqlite, Store, storage_error};
use crate::sys::faults::{self, Fault};
use crate::sys::fs::FsCall;
use crate::testing::Scratch;

/// An operation of a library, and its expected effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    /// Uploads text that is held in memory.
    Small,
    /// Uploads text that goes to its file in parts.
    Large,
    /// Sets a square picture as the avatar, which loses its metadata.
    Avatar,
    /// Sets a picture as the avatar, which is made square.
    Picture,
    /// Deletes the avatar, which has a preview.
    Delete,
    /// Makes a preview, for which another one goes.
    Preview,
    /// Reads a media.
    Read,
    /// Removes the files of a media that was deleted while they could not be removed.
    Remove,
    /// Walks the store, where a file has no row.
    Walk,
}

const TASKS: [Task; 9] = [
    Task::Small,
    Task::Large,
    Task::Avatar,
    Task::Picture,
    Task::Delete,
    Task::Preview,
    Task::Read,
    Task::Remove,
    Task::Walk,
];

impl Task {
    /// Whether it removes files that have a removal: then the housekeeper removes what it can't.
    fn removes(self) -> bool {
        matches!(self, Self::Delete | Self::Preview | Self::Remove)
    }

    /// Makes what it needs.
    fn prepare(self, bench: &Bench) -> Option<Media> {
        match self {
            Self::Small | Self::Large | Self::Avatar | Self::Picture => None,
            Self::Read => Some(bench.add("bytes")),
            Self::Delete | Self::Preview => {
                let media = bench.library.add(bench.sealed(picture(8)), new(true)).unwrap();
                bench.library.preview(&media, Bounds { height: 2, width: 2 }, None).unwrap();
                Some(media)
            }
            Self::Remove => {
                let media = bench.add("bytes");
                let fault = Fault::Error(Errno::ROFS);
                let (deleted, failed) = faults::at(1, fault, || bench.library.delete(&media));
                assert_eq!((deleted.unwrap(), failed), (true, Some(FsCall::Remove)));
                None
            }
            Self::Walk => {
                // A new name each time: where names are taken, a move tries others, which are more calls.
                static ORPHANS: AtomicU32 = AtomicU32::new(0);
                bench.write(&format!("{}/orphan{}", channel(), ORPHANS.fetch_add(1, Ordering::Relaxed)));
                None
            }
        }
    }

    /// Does it; what is there afterwards that was not before.
    fn perform(self, bench: &Bench, media: Option<&Media>) -> std::result::Result<Option<Media>, Refusal> {
        let known = || media.expect("it was prepared");
        match self {
            Self::Small => upload(bench, b"bytes", false).map(Some),
            Self::Large => upload(bench, b"more bytes than are held in memory", false).map(Some),
            Self::Avatar => upload(bench, &picture(6), true).map(Some),
            Self::Picture => upload(bench, &picture(8), true).map(Some),
            Self::Delete => match bench.library.delete(known())? {
                true => Ok(None),
                false => Err(Refusal::NoSuchMedia),
            },
            Self::Preview => {
                let found = bench.library.preview(known(), Bounds { height: 4, width: 4 }, None)?;
                assert_eq!(found.1.size(), found.0.size);
                Ok(None)
            }
            Self::Read => bench.library.bytes(known())?.ok_or(Refusal::NoSuchMedia).map(|_| None),
            Self::Remove => Ok(remove(bench).map(|()| None)?),
            Self::Walk => {
                let mut walker = Walker::new(Arc::clone(&bench.library), true);
                while walker.run()? != ChoreProgress::Done {}
                Ok(None)
            }
        }
    }
}

/// A round of the chore that removes files.
fn remove(bench: &Bench) -> Result<()> {
    let mut remover = Remover::new(Arc::clone(&bench.library));
    while remover.run()? != ChoreProgress::Done {}
    Ok(())
}

/// A picture of 6 rows.
fn picture(width: u32) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    RgbImage::new(width, 6).write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// As the web layer does it.
fn upload(bench: &Bench, bytes: &[u8], avatar: bool) -> std::result::Result<Media, Refusal> {
    let new = new(avatar);
    bench.library.check_room(&new.channel, &new.author, 0)?;
    let mut upload = bench.library.begin();
    for part in bytes.chunks(16) {
        upload.write_all(part).map_err(|cause| storage_error("can't store an upload", cause))?;
    }
    bench.library.add(upload.seal()?, new)
}

const FAULTS: [Fault; 9] = [
    Fault::Error(Errno::IO),
    Fault::Error(Errno::NOSPC),
    Fault::Error(Errno::DQUOT),
    Fault::Error(Errno::MFILE),
    Fault::Error(Errno::INTR),
    Fault::Torn(Errno::NOSPC),
    Fault::Torn(Errno::DQUOT),
    Fault::Torn(Errno::IO),
    Fault::Short,
];

/// The refusal that a client gets after a fault: to try again, or to wait for the operator. A broken disk does not recover
/// by itself, so the response is 500; no client can cause it.
fn status(fault: Fault) -> u16 {
    match fault {
        Fault::Error(Errno::NOSPC | Errno::DQUOT) | Fault::Torn(Errno::NOSPC | Errno::DQUOT) => 507,
        Fault::Error(Errno::MFILE) => 503,
        _ => 500,
    }
}

/// Whether nothing is lost by it.
fn is_harmless(fault: Fault) -> bool {
    matches!(fault, Fault::Error(Errno::INTR) | Fault::Short)
}

#[test]
fn each_call_to_the_file_system_may_fail() {
    // All tasks at a time: they mostly wait for the disk.
    thread::scope(|scope| {
        for task in TASKS {
            scope.spawn(move || fail_each_call(task));
        }
    });
}

fn fail_each_call(task: Task) {
    let bench = bench(std::convert::identity);
    let mut calls = Vec::new();
    for fault in FAULTS {
        let numbers = 0..;
        calls.extend(numbers.map_while(|number| fail_at(&bench, task, number, fault)));
    }
    let expected: &[FsCall] = match task {
        Task::Delete => &[FsCall::OpenDirectory, FsCall::Remove],
        Task::Read => &[FsCall::Open],
        Task::Remove => &[FsCall::OpenDirectory, FsCall::Remove, FsCall::SyncDirectory],
        Task::Walk => &[FsCall::OpenDirectory, FsCall::MakeDirectory, FsCall::Rename],
        _ => &[FsCall::Create, FsCall::Write, FsCall::Rename, FsCall::Sync, FsCall::SyncDirectory],
    };
    assert!(expected.iter().all(|call| calls.contains(call)), "{task:?}: {calls:?}");
}

/// Does something with a fault at the call of this number; the call where it came.
fn fail_at(bench: &Bench, task: Task, number: usize, fault: Fault) -> Option<FsCall> {
    let media = task.prepare(bench);
    let before = state(bench);
    let (done, call) = faults::at(number, fault, || task.perform(bench, media.as_ref()));
    let call = call?;
    let case = format!("{task:?} with {fault:?} at call {number}, {call:?}: {done:?}");
    match &done {
        Ok(made) => assert_whole(bench, made.as_ref(), &case),
        Err(refusal) => {
            assert!(!is_harmless(fault), "{case}");
            assert_eq!(refusal.row().status, status(fault), "{case}");
        }
    }
    assert_eq!(bench.open_files(), 0, "a descriptor is left open: {case}");
    // A temporary file that can't be removed stays until it is repaired, and so does the file without a row if the walk fails.
    let may_stay = !is_harmless(fault) && (call == FsCall::Remove && !task.removes() || task == Task::Walk);
    assert!(repaired(bench, &case) == 0 || may_stay, "{case}");
    // A preview that was stored, and then not read, is stored; and the file without a row is repaired.
    if done.is_err() && task != Task::Preview && task != Task::Walk {
        assert_eq!(state(bench), before, "{case}");
    }
    let again = if done.is_ok() { task.prepare(bench) } else { media };
    task.perform(bench, again.as_ref()).unwrap_or_else(|refusal| panic!("again: {refusal}; {case}"));
    Some(call)
}

#[test]
fn each_call_to_the_embedded_database_may_fail() {
    fail_each_database_call(&bench(Faulty));
}

#[test]
fn each_call_to_postgresql_may_fail() {
    fail_each_database_call(&durable(Scratch::new(), Box::new(Store::new(Faulty(Postgres::for_test())))));
}

fn fail_each_database_call(bench: &Bench) {
    for task in TASKS.into_iter().filter(|task| !matches!(task, Task::Read | Task::Walk)) {
        for failure in FAILURES {
            let calls =
                (0..).take_while(|number| fail_database_call(bench, task, *number, failure, 0)).count();
            assert!(calls > 0, "{task:?} calls nothing");
        }
    }
    fail_each_call_with_quotas(bench);
}

/// An upload with a quota asks the database whether there is room before it stores.
fn fail_each_call_with_quotas(bench: &Bench) {
    let quotas = Quotas { channel: Some(1 << 40), user: Some(1 << 40) };
    bench.library.set_settings(Settings { size_limit: 1000, to_disk_threshold: 10, quotas });
    for task in [Task::Small, Task::Large, Task::Avatar, Task::Picture] {
        for failure in FAILURES {
            let calls =
                (0..).take_while(|number| fail_database_call(bench, task, *number, failure, 1)).count();
            assert_eq!(calls, 2, "{task:?}");
        }
    }
}

/// Does something while the database fails at the call of this number; whether there were so many. The first `checks` calls
/// change nothing.
fn fail_database_call(bench: &Bench, task: Task, number: usize, failure: Failure, checks: usize) -> bool {
    let media = task.prepare(bench);
    let before = state(bench);
    let (done, failed) = faulty::at(number, failure, || task.perform(bench, media.as_ref()));
    if !failed {
        return false;
    }
    let case = format!("{task:?} with a database that {failure:?} at call {number}: {done:?}");
    let refusal = done.expect_err(&case);
    assert_eq!(refusal, Refusal::DatabaseDown, "{case}");
    assert_eq!(bench.open_files(), 0, "a descriptor is left open: {case}");
    let mended = repaired(bench, &case);
    assert!(mended == 0 || !matches!(task, Task::Delete | Task::Remove), "{case}");
    if task == Task::Remove {
        return true;
    }
    let is_lost = failure == Failure::Loses && number >= checks && task != Task::Delete;
    if is_lost && task != Task::Preview {
        // The row might have been stored: its file stays until it is repaired.
        assert!(mended == 1 && state(bench) == before, "{case}");
    } else if failure != Failure::Vanishes || number < checks {
        let is_same = task == Task::Preview || state(bench) == before;
        assert!(mended <= usize::from(is_lost) && is_same, "{case}");
    } else if !task.removes() {
        assert!(mended == 0 && state(bench).len() == before.len() + 2, "it is not stored whole: {case}");
    }
    let again = task.perform(bench, media.as_ref());
    // The media is deleted, though the client was told of a failure.
    let is_gone = task == Task::Delete && failure == Failure::Vanishes;
    assert_eq!(again.err(), is_gone.then_some(Refusal::NoSuchMedia), "{case}");
    true
}

fn bench<E: Engine>(wrap: impl FnOnce(Sqlite) -> E) -> Bench {
    let scratch = Scratch::new();
    let engine = wrap(sqlite(&scratch));
    durable(scratch, Box::new(Store::new(engine)))
}

/// A library in which every file is old, so that `fsck` looks at all.
fn durable(scratch: Scratch, metadata: Box<dyn Metadata>) -> Bench {
    let bench = Bench::with(scratch, metadata, true);
    bench.library.preview_count.store(1, Ordering::Relaxed);
    bench.pass(limits::FSCK_AGE + Duration::from_secs(3600));
    bench
}

/// Files of the channel, and rows.
fn state(bench: &Bench) -> Vec<String> {
    let page = Page { max: 10_000, after: None, before: None };
    let media = bench.library.list(&channel(), &page).unwrap().entries;
    let rows = media.iter().map(|media| format!("row {}", media.id));
    bench.files().into_iter().chain(rows).collect()
}

fn assert_whole(bench: &Bench, media: Option<&Media>, case: &str) {
    let Some(media) = media else { return };
    assert_eq!(bench.library.bytes(media).unwrap().map(|file| file.size()), Some(media.size), "{case}");
    let found = bench.library.find(&channel(), &super::Name::Id(media.id.clone())).unwrap();
    assert_eq!(found.as_ref(), Some(media), "{case}");
}

/// How much `fsck` sets aside after the housekeeper's next round, which are files that no row knows and nothing else.
/// Nothing that was deleted is left then, be it as a file or as a removal.
fn repaired(bench: &Bench, case: &str) -> usize {
    remove(bench).unwrap();
    assert_eq!(bench.library.metadata().unwrap().removals(0, 9).unwrap(), [], "{case}");
    let mut mended = 0;
    let mut tell = |finding: &Finding, _: &Deed| {
        assert!(matches!(finding, Finding::FileWithoutRow(..) | Finding::Temporary(_)), "{finding}: {case}");
        mended += 1;
    };
    bench.library.fsck(Repair::Careful, &mut tell).unwrap();
    bench.library.fsck(Repair::No, &mut |finding, _| panic!("{finding} is left: {case}")).unwrap();
    mended
}
