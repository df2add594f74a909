//! The cases of files of both kinds that every place for them must pass: a directory, and a bucket of an S3 store.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{Algorithm, Files, Listed, ListedUpload, Published, Sealed, StoredFile, UploadFiles, Uploads};
use crate::clock::Timestamp;
use crate::model::{Channel, MediaId, UploadFile};

/// An empty place.
pub(super) struct Bench {
    pub uploads: Uploads,
    pub files: Arc<dyn Files>,
    pub slots: Arc<dyn UploadFiles>,
}

/// A test for each case, on a bench made by the expression, whose second part lives as long.
macro_rules! place_suite {
    ($bench:expr) => {
        crate::store::place_conformance::place_suite!($bench;
            a_file_is_there_until_it_is_removed
            files_of_any_size_come_back_as_they_were
            lists_hold_the_files_of_channels_and_nothing_else
            a_file_set_aside_replaces_nothing_and_is_listed_no_more
            files_set_aside_are_forgotten_by_day_and_by_channel
            a_place_is_gone_when_its_files_are
            uploads_have_a_place_of_their_own
        );
    };
    ($bench:expr; $($case:ident)*) => {
        $(#[test]
        fn $case() {
            let (bench, _kept) = $bench;
            crate::store::place_conformance::$case(&bench);
        })*
    };
}
pub(super) use place_suite;

impl Bench {
    fn sealed(&self, bytes: &[u8]) -> Sealed {
        let mut upload = self.uploads.begin_with(Algorithm::Sha1AndSha256, 1 << 30, 16);
        upload.write_all(bytes).unwrap();
        upload.seal().unwrap()
    }

    fn put(&self, channel: &str, id: &str, bytes: &[u8]) {
        let published = self.files.put(self.sealed(bytes), &of(channel), &name(id)).unwrap();
        assert!(matches!(published, Published::Done));
    }

    fn get(&self, channel: &str, id: &str, size: u64) -> Option<Vec<u8>> {
        self.files.get(&of(channel), &name(id), size).unwrap().as_ref().map(read)
    }

    /// The listed files, in order; those of this channel, if one is given.
    fn listed(&self, channel: Option<&str>) -> Vec<String> {
        let list = match channel {
            Some(channel) => self.files.list_of(&of(channel)),
            None => self.files.list(),
        };
        let shown = |entry| match entry {
            Listed::File { channel, id, size, modified } => {
                assert!(is_now(modified));
                format!("{channel}/{id} {size}")
            }
            Listed::Foreign(path) => format!("foreign {}", path.display()),
        };
        let mut found: Vec<_> = list.unwrap().map(|entry| shown(entry.unwrap())).collect();
        found.sort();
        found
    }

    fn set_aside(&self, channel: &str, id: &str, day: i64) -> Option<PathBuf> {
        self.files.set_aside(&of(channel), &name(id), on(day)).unwrap()
    }
}

fn of(channel: &str) -> Channel {
    channel.parse().unwrap()
}

fn name(id: &str) -> MediaId {
    id.parse().unwrap()
}

/// A day since 1970.
fn on(day: i64) -> Timestamp {
    Timestamp::from_micros(day * 24 * 3600 * 1_000_000)
}

fn is_now(time: SystemTime) -> bool {
    let hour = Duration::from_secs(3600);
    let now = SystemTime::now();
    time > now - hour && time < now + hour
}

fn read(stored: &StoredFile) -> Vec<u8> {
    let mut bytes = Vec::new();
    (&*stored.whole().unwrap()).read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len() as u64, stored.size());
    bytes
}

pub(super) fn a_file_is_there_until_it_is_removed(bench: &Bench) {
    for channel in ["room@example.org", "a+b=c%20d!@example.org", "日本@example.org"] {
        let (channel_of, id) = (of(channel), name("id-1"));
        assert_eq!(bench.files.head(&channel_of, &id).unwrap(), None);
        assert!(!bench.files.remove(&channel_of, &id).unwrap());
        bench.put(channel, "id-1", b"four");
        assert_eq!(bench.files.head(&channel_of, &id).unwrap(), Some(4));
        assert_eq!(bench.get(channel, "id-1", 4).as_deref(), Some(&b"four"[..]));
        assert_eq!(bench.files.head(&channel_of, &name("ID-1")).unwrap(), None);
        assert!(
            bench.files.remove(&channel_of, &id).unwrap() && !bench.files.remove(&channel_of, &id).unwrap()
        );
        bench.files.settle_removals(&channel_of).unwrap();
        assert_eq!(bench.files.head(&channel_of, &id).unwrap(), None);
    }
    bench.files.try_out().unwrap();
    assert_eq!(bench.uploads.temporaries().unwrap(), []);
}

pub(super) fn files_of_any_size_come_back_as_they_were(bench: &Bench) {
    for size in [0, 1, 17, 100_000] {
        let bytes: Vec<u8> = (0..size).map(|at: u32| at.to_le_bytes()[0]).collect();
        let id = format!("size{size}");
        bench.put("room@example.org", &id, &bytes);
        assert_eq!(bench.get("room@example.org", &id, u64::from(size)), Some(bytes));
    }
}

pub(super) fn lists_hold_the_files_of_channels_and_nothing_else(bench: &Bench) {
    assert!(bench.listed(None).is_empty());
    for (channel, id) in [("room@example.org", "a"), ("room@example.org", "b"), ("room@example.orga", "c")] {
        bench.put(channel, id, b"four");
    }
    bench.put("room@example.org", "aside", b"five!");
    bench.slots.put(bench.sealed(b"slot"), &UploadFile::random()).unwrap();
    bench.set_aside("room@example.org", "aside", 20_000).unwrap();
    let own = ["room@example.org/a 4", "room@example.org/b 4"];
    assert_eq!(bench.listed(Some("room@example.org")), own);
    assert_eq!(bench.listed(Some("other@example.org")), [""; 0]);
    assert_eq!(bench.listed(None), [own[0], own[1], "room@example.orga/c 4"]);
}

pub(super) fn a_file_set_aside_replaces_nothing_and_is_listed_no_more(bench: &Bench) {
    assert_eq!(bench.set_aside("room@example.org", "id", 16_093), None);
    for file in ["id", "id.1", "id.2"] {
        bench.put("room@example.org", "id", b"four");
        let path = bench.set_aside("room@example.org", "id", 16_093).unwrap();
        assert_eq!(path, Path::new(".lost/2014-01-23/room@example.org").join(file));
        assert_eq!(bench.files.head(&of("room@example.org"), &name("id")).unwrap(), None);
    }
    assert!(bench.listed(None).is_empty());
}

pub(super) fn files_set_aside_are_forgotten_by_day_and_by_channel(bench: &Bench) {
    for day in [16_000, 16_001, 16_002] {
        for channel in ["one@example.org", "two@example.org"] {
            bench.put(channel, "id", b"four");
            bench.set_aside(channel, "id", day).unwrap();
        }
    }
    assert_eq!(bench.files.forget_set_aside(on(16_000)).unwrap(), [""; 0].map(PathBuf::from));
    let mut gone = bench.files.forget_set_aside(on(16_002)).unwrap();
    gone.sort();
    assert_eq!(gone, [Path::new(".lost/2013-10-22"), Path::new(".lost/2013-10-23")]);
    let of_one = bench.files.forget_set_aside_of(&of("one@example.org")).unwrap();
    assert_eq!(of_one, [Path::new(".lost/2013-10-24/one@example.org")]);
    assert!(bench.files.forget_set_aside_of(&of("one@example.org")).unwrap().is_empty());
    assert_eq!(bench.files.forget_set_aside_of(&of("two@example.org")).unwrap().len(), 1);
}

pub(super) fn a_place_is_gone_when_its_files_are(bench: &Bench) {
    let channel = of("room@example.org");
    assert!(bench.files.remove_place(&channel).unwrap());
    bench.put("room@example.org", "id", b"four");
    assert!(!bench.files.remove_place(&channel).unwrap());
    bench.files.remove(&channel, &name("id")).unwrap();
    assert!(bench.files.remove_place(&channel).unwrap() && bench.files.remove_place(&channel).unwrap());
}

pub(super) fn uploads_have_a_place_of_their_own(bench: &Bench) {
    let slots = &bench.slots;
    let (file, aside) = (UploadFile::random(), UploadFile::random());
    assert!(slots.head(&file).unwrap().is_none() && !slots.remove(&file).unwrap());
    assert_eq!(slots.list().unwrap().count(), 0);
    slots.put(bench.sealed(b"four"), &file).unwrap();
    slots.put(bench.sealed(b"aside"), &aside).unwrap();
    assert_eq!(slots.head(&file).unwrap(), Some(4));
    assert_eq!(slots.get(&file, 4).unwrap().as_ref().map(read).as_deref(), Some(&b"four"[..]));
    let path = slots.set_aside(&aside, on(16_093)).unwrap().unwrap();
    assert!(path.starts_with(".lost/2014-01-23") && path.ends_with(aside.as_str()), "{}", path.display());
    assert_eq!(slots.set_aside(&aside, on(16_093)).unwrap(), None);
    let listed: Vec<_> = slots.list().unwrap().map(Result::unwrap).collect();
    let [ListedUpload::File { file: found, size: 4, modified }] = &listed[..] else { panic!("{listed:?}") };
    assert!(*found == file && is_now(*modified));
    assert!(slots.remove(&file).unwrap() && !slots.remove(&file).unwrap());
    slots.settle_removals(std::slice::from_ref(&file)).unwrap();
    assert!(bench.listed(None).is_empty());
    assert_eq!(bench.uploads.temporaries().unwrap(), []);
}
