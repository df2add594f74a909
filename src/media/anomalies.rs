//! Everything fails once: each call to the file system and to the database, in each way that it can.

use std::cell::Cell;
use std::io::{Cursor, Write};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use image::{ImageFormat, RgbImage};
use rustix::io::Errno;

use super::testing::{Bench, channel, new};
use super::{Finding, Settings};
use crate::clock::Timestamp;
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::model::{Channel, Description, Media, MediaId, Page, Preview, Quota, Quotas, Refusal};
use crate::preview::Bounds;
use crate::store::{
    Deleted, InsertError, Listing, MediaInsert, MediaRow, MediaUpdate, Metadata, Pool, Postgres,
    PreviewInsert, PreviewRow, Sqlite, storage_error,
};
use crate::sys::faults::{self, Fault};
use crate::sys::fs::Step;
use crate::testing::Scratch;

/// What may be asked of a library, and what it is to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
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
}

const DEEDS: [Deed; 7] =
    [Deed::Small, Deed::Large, Deed::Avatar, Deed::Picture, Deed::Delete, Deed::Preview, Deed::Read];

impl Deed {
    /// Whether files are removed by it, which is tried, but not what it is done for.
    fn removes(self) -> bool {
        matches!(self, Self::Delete | Self::Preview)
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
                assert_eq!(found.1.size, found.0.size);
                Ok(None)
            }
            Self::Read => bench.library.bytes(known())?.ok_or(Refusal::NoSuchMedia).map(|_| None),
        }
    }
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

/// What a client is told of a fault: to come back, or to wait for the operator. A disk that fails is no load that
/// passes, so 500 it is; no client can bring it about.
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
    // At a time, since most of it is waiting for the disk.
    thread::scope(|scope| {
        for deed in DEEDS {
            scope.spawn(move || fail_each_call(deed));
        }
    });
}

fn fail_each_call(deed: Deed) {
    let bench = bench(Box::new);
    let mut steps = Vec::new();
    for fault in FAULTS {
        let numbers = 0..;
        steps.extend(numbers.map_while(|number| fail_at(&bench, deed, number, fault)));
    }
    let expected: &[Step] = match deed {
        Deed::Delete => &[Step::OpenDirectory, Step::Remove],
        Deed::Read => &[Step::Open],
        _ => &[Step::Create, Step::Write, Step::Sync, Step::Rename, Step::SyncDirectory],
    };
    assert!(expected.iter().all(|step| steps.contains(step)), "{deed:?}: {steps:?}");
}

/// Does something with a fault at the call of this number; the step where it came.
fn fail_at(bench: &Bench, deed: Deed, number: usize, fault: Fault) -> Option<Step> {
    let media = deed.prepare(bench);
    let before = state(bench);
    let (done, step) = faults::at(number, fault, || deed.perform(bench, media.as_ref()));
    let step = step?;
    let case = format!("{deed:?} with {fault:?} at call {number}, {step:?}: {done:?}");
    match &done {
        Ok(made) => assert_whole(bench, made.as_ref(), &case),
        Err(refusal) => {
            assert!(!is_harmless(fault), "{case}");
            assert_eq!(refusal.row().status, status(fault), "{case}");
        }
    }
    assert_eq!(bench.open_files(), 0, "a descriptor is left open: {case}");
    // What can't be removed stays, without a row, until it is repaired; nothing else does.
    let may_stay = !is_harmless(fault) && (step == Step::Remove || deed.removes());
    assert!(repaired(bench, &case) == 0 || may_stay, "{case}");
    // A preview that was stored, and then not read, is stored.
    if done.is_err() && deed != Deed::Preview {
        assert_eq!(state(bench), before, "{case}");
    }
    let again = if done.is_ok() { deed.prepare(bench) } else { media };
    deed.perform(bench, again.as_ref()).unwrap_or_else(|refusal| panic!("again: {refusal}; {case}"));
    Some(step)
}

#[test]
fn each_call_to_the_embedded_database_may_fail() {
    fail_each_question(&bench(|metadata| Box::new(Moody(metadata))));
}

#[test]
fn each_call_to_postgresql_may_fail() {
    fail_each_question(&durable(Scratch::new(), Box::new(Moody(Postgres::for_test()))));
}

fn fail_each_question(bench: &Bench) {
    for deed in DEEDS.into_iter().filter(|deed| *deed != Deed::Read) {
        for mood in [Mood::Refuses, Mood::Vanishes] {
            let asked = (0..).take_while(|number| fail_question(bench, deed, *number, mood, 0)).count();
            assert!(asked > 0, "{deed:?} asks nothing");
        }
    }
    fail_each_question_of_quotas(bench);
}

/// Of an upload the database is asked whether there is room before it is asked to store.
fn fail_each_question_of_quotas(bench: &Bench) {
    let quotas = Quotas { channel: Some(1 << 40), user: Some(1 << 40) };
    bench.library.set_settings(Settings { size_limit: 1000, to_disk_threshold: 10, quotas });
    for deed in [Deed::Small, Deed::Large, Deed::Avatar, Deed::Picture] {
        for mood in [Mood::Refuses, Mood::Vanishes] {
            let asked = (0..).take_while(|number| fail_question(bench, deed, *number, mood, 1)).count();
            assert_eq!(asked, 2, "{deed:?}");
        }
    }
}

/// Does something while the database fails at the question of this number; whether there were so many. The first
/// `checks` questions change nothing.
fn fail_question(bench: &Bench, deed: Deed, number: usize, mood: Mood, checks: usize) -> bool {
    let media = deed.prepare(bench);
    let before = state(bench);
    MOOD.set(Some((number, mood)));
    let done = deed.perform(bench, media.as_ref());
    if MOOD.take().is_some() {
        return false;
    }
    let case = format!("{deed:?} with a database that {mood:?} at question {number}: {done:?}");
    let refusal = done.expect_err(&case);
    assert_eq!(refusal, Refusal::DatabaseDown, "{case}");
    assert_eq!(bench.open_files(), 0, "a descriptor is left open: {case}");
    let mended = repaired(bench, &case);
    if mood == Mood::Refuses || number < checks {
        assert!(mended == 0 && (deed == Deed::Preview || state(bench) == before), "{case}");
    } else if !deed.removes() {
        assert!(mended == 0 && state(bench).len() == before.len() + 2, "it is not stored whole: {case}");
    }
    let again = deed.perform(bench, media.as_ref());
    // Deleted it is, though nobody was told.
    let is_gone = deed == Deed::Delete && mood == Mood::Vanishes;
    assert_eq!(again.err(), is_gone.then_some(Refusal::NoSuchMedia), "{case}");
    true
}

fn bench<M: Metadata + 'static>(wrap: impl FnOnce(Sqlite) -> Box<M>) -> Bench {
    let scratch = Scratch::new();
    let metadata = wrap(Sqlite::open(&scratch.join("metadata.sqlite"), false).unwrap());
    durable(scratch, metadata)
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
    assert_eq!(bench.library.bytes(media).unwrap().map(|file| file.size), Some(media.size), "{case}");
    let found = bench.library.find(&channel(), &super::Name::Id(media.id.clone())).unwrap();
    assert_eq!(found.as_ref(), Some(media), "{case}");
}

/// How much `fsck` removes, which are files that no row knows and nothing else.
fn repaired(bench: &Bench, case: &str) -> usize {
    let mut mended = 0;
    let mut tell = |finding: &Finding| {
        assert!(matches!(finding, Finding::FileWithoutRow(..) | Finding::Temporary(_)), "{finding}: {case}");
        mended += 1;
    };
    bench.library.fsck(true, &mut tell).unwrap();
    bench.library.fsck(false, &mut |finding| panic!("{finding} is left: {case}")).unwrap();
    mended
}

/// How a database fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    /// It does not do what it is asked.
    Refuses,
    /// It does, and the answer is lost.
    Vanishes,
}

thread_local! {
    /// Questions to come before one fails, and how it does.
    static MOOD: Cell<Option<(usize, Mood)>> = const { Cell::new(None) };
}

/// The mood at this question.
fn mood() -> Option<Mood> {
    match MOOD.take() {
        Some((0, mood)) => Some(mood),
        Some((left, mood)) => {
            MOOD.set(Some((left - 1, mood)));
            None
        }
        None => None,
    }
}

fn unavailable() -> Error {
    Error::new(Kind::Unavailable, "the connection broke")
}

/// A database with moods.
struct Moody<M>(M);

impl<M: Metadata> Moody<M> {
    fn ask<T>(&self, question: impl FnOnce(&M) -> Result<T>) -> Result<T> {
        match mood() {
            None => question(&self.0),
            Some(Mood::Refuses) => Err(unavailable()),
            Some(Mood::Vanishes) => question(&self.0).and(Err(unavailable())),
        }
    }

    fn store<T>(
        &self,
        question: impl FnOnce(&M) -> std::result::Result<T, InsertError>,
    ) -> std::result::Result<T, InsertError> {
        match mood() {
            None => question(&self.0),
            Some(Mood::Refuses) => Err(InsertError::Failed(unavailable())),
            Some(Mood::Vanishes) => question(&self.0).and(Err(InsertError::Unknown(unavailable()))),
        }
    }
}

impl<M: Metadata> Metadata for Moody<M> {
    fn insert(
        &self,
        media: &Media,
        avatar: bool,
        quotas: Quotas,
    ) -> std::result::Result<MediaInsert, InsertError> {
        self.store(|inner| inner.insert(media, avatar, quotas))
    }

    fn exceeded(&self, channel: &Channel, author: &str, cost: u64, quotas: Quotas) -> Result<Option<Quota>> {
        self.ask(|inner| inner.exceeded(channel, author, cost, quotas))
    }

    fn media(&self, channel: &Channel, id: &MediaId) -> Result<Option<Media>> {
        self.ask(|inner| inner.media(channel, id))
    }

    fn avatar(&self, channel: &Channel) -> Result<Option<Media>> {
        self.ask(|inner| inner.avatar(channel))
    }

    fn list(&self, channel: &Channel, page: &Page) -> Result<Listing> {
        self.ask(|inner| inner.list(channel, page))
    }

    fn update(
        &self,
        media: &Media,
        new: &Description,
        now: Timestamp,
        quotas: Quotas,
    ) -> Result<MediaUpdate> {
        self.ask(|inner| inner.update(media, new, now, quotas))
    }

    fn delete(&self, channel: &Channel, id: &MediaId) -> Result<Option<Deleted>> {
        self.ask(|inner| inner.delete(channel, id))
    }

    fn media_rows(&self, after: Option<&str>, max: usize) -> Result<Vec<MediaRow>> {
        self.ask(|inner| inner.media_rows(after, max))
    }

    fn preview_rows(&self, after: Option<&str>, max: usize) -> Result<Vec<PreviewRow>> {
        self.ask(|inner| inner.preview_rows(after, max))
    }

    fn has_preview(&self, channel: &Channel, id: &MediaId) -> Result<bool> {
        self.ask(|inner| inner.has_preview(channel, id))
    }

    fn preview(&self, media: &MediaId, height: u32, width: u32) -> Result<Option<Preview>> {
        self.ask(|inner| inner.preview(media, height, width))
    }

    fn insert_preview(
        &self,
        media: &Media,
        preview: &Preview,
        most: usize,
    ) -> std::result::Result<PreviewInsert, InsertError> {
        self.store(|inner| inner.insert_preview(media, preview, most))
    }

    fn use_preview(&self, id: &MediaId, now: Timestamp) -> Result<()> {
        self.ask(|inner| inner.use_preview(id, now))
    }

    fn delete_preview(&self, id: &str) -> Result<bool> {
        self.ask(|inner| inner.delete_preview(id))
    }

    fn ping(&self) -> Result<()> {
        self.ask(M::ping)
    }

    fn pool(&self) -> Pool {
        self.0.pool()
    }
}
