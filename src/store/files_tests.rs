use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;

use sha1::{Digest, Sha1};

use super::super::upload::{Body, Uploads};
use super::super::{UploadDirectory, place_conformance};
use super::*;
use crate::limits;
use crate::model::Refusal;
use crate::sys::faults::{self, Fault};
use crate::sys::fs::FsCall;
use crate::testing::Scratch;

struct Bench {
    uploads: Uploads,
    files: Directory,
    root: Scratch,
}

impl Bench {
    fn new() -> Self {
        let root = Scratch::new();
        let uploads = Uploads::open(root.path(), true).unwrap();
        Self { uploads, files: Directory::open(root.path(), true).unwrap(), root }
    }

    fn names(&self) -> Vec<String> {
        let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
        fs::read_dir(self.root.path()).unwrap().map(name).collect()
    }

    fn sealed(&self, bytes: &[u8]) -> Sealed {
        let mut upload = self.uploads.begin(1 << 20, 16);
        upload.write_all(bytes).unwrap();
        upload.seal().unwrap()
    }
}

fn place() -> (place_conformance::Bench, Scratch) {
    let root = Scratch::new();
    let uploads = Uploads::open(root.path(), true).unwrap();
    let files = Arc::new(Directory::open(root.path(), true).unwrap());
    let slots = Arc::new(UploadDirectory::open(root.path(), true).unwrap());
    (place_conformance::Bench { uploads, files, slots }, root)
}

place_conformance::place_suite!(place());

fn channel() -> Channel {
    "room@example.org".parse().unwrap()
}

fn id(text: &str) -> MediaId {
    text.parse().unwrap()
}

fn read(stored: Option<StoredFile>) -> Vec<u8> {
    let mut bytes = Vec::new();
    (&*stored.unwrap().whole().unwrap()).read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn exhausted_resources_have_kinds_of_their_own() {
    let kind = |errno: rustix::io::Errno| storage_error("storage failed", errno.into()).kind();
    assert_eq!(kind(rustix::io::Errno::MFILE), Kind::Exhausted);
    assert_eq!(kind(rustix::io::Errno::NOSPC), Kind::Full);
    assert_eq!(kind(rustix::io::Errno::IO), Kind::Failure);
}

#[test]
fn an_upload_is_counted_hashed_and_published_whatever_its_threshold() {
    let bench = Bench::new();
    let body: Vec<u8> = (0..10_000_u32).map(|at| at.to_le_bytes()[0]).collect();
    let expected: String = Sha1::digest(&body).iter().map(|byte| format!("{byte:02x}")).collect();
    for (threshold, step) in [(0, 7), (1, 1000), (9_999, 10_000), (10_000, 3), (1 << 20, 4096)] {
        let mut upload = bench.uploads.begin(10_000, threshold);
        for part in body.chunks(step) {
            upload.write_all(part).unwrap();
            if let Some(Body::Memory(memory)) = &upload.body {
                assert!(memory.capacity() <= threshold);
            }
        }
        let sealed = upload.seal().unwrap();
        assert_eq!((sealed.size(), sealed.digest()), (10_000, expected.as_str()));
        assert_eq!(sealed.head(), &body[..limits::SNIFF_BYTES]);
        let id = MediaId::random();
        assert!(matches!(bench.files.put(sealed, &channel(), &id), Ok(Published::Done)));
        let stored = bench.files.get(&channel(), &id, 0).unwrap().unwrap();
        assert_eq!(stored.size(), 10_000);
        assert_eq!(read(Some(stored)), body);
    }
    assert_eq!(bench.names(), ["room@example.org"]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&bench.root.join("room@example.org")), 0o700);
}

#[test]
fn an_upload_that_memory_will_not_hold_goes_to_its_file_at_once() {
    let bench = Bench::new();
    for (expected, is_file) in [(0, false), (10, false), (11, true), (u64::MAX, true)] {
        let mut upload = bench.uploads.begin(100, 10).expecting(expected);
        upload.write_all(b"first").unwrap();
        assert_eq!(matches!(upload.body, Some(Body::File(_))), is_file, "{expected}");
    }
    let empty = bench.uploads.begin(100, 10).expecting(100).seal().unwrap();
    assert_eq!(empty.size(), 0);
}

#[test]
fn an_upload_that_is_dropped_leaves_nothing() {
    let bench = Bench::new();
    let mut upload = bench.uploads.begin(100, 2);
    upload.write_all(b"ab").unwrap();
    assert!(bench.names().is_empty());
    upload.write_all(b"c").unwrap();
    assert_eq!(bench.names().len(), 1);
    drop(upload);
    assert!(bench.names().is_empty());
    for (bytes, is_held) in [("bytes", true), ("more bytes than memory holds", false)] {
        let mut sealed = bench.sealed(bytes.as_bytes());
        assert_eq!((sealed.bytes().is_some(), bench.names().len()), (is_held, usize::from(!is_held)));
        for _ in 0..2 {
            let mut again = String::new();
            sealed.open().unwrap().read_to_string(&mut again).unwrap();
            assert_eq!((again.as_str(), bench.names().len()), (bytes, 1));
        }
        drop(sealed);
        assert!(bench.names().is_empty());
    }
}

#[test]
fn an_upload_in_memory_is_stored_whether_it_was_opened_before_or_not() {
    let bench = Bench::new();
    for name in ["a", "b"] {
        let mut sealed = bench.sealed(b"bytes");
        if name == "b" {
            sealed.open().unwrap();
        }
        assert!(matches!(bench.files.put(sealed, &channel(), &id(name)), Ok(Published::Done)));
        assert_eq!(read(bench.files.get(&channel(), &id(name), 0).unwrap()), b"bytes");
    }
    assert_eq!(bench.names().len(), 1);
}

#[test]
fn an_upload_is_refused_at_its_limit() {
    let bench = Bench::new();
    for threshold in [0, 100] {
        let mut upload = bench.uploads.begin(5, threshold);
        upload.write_all(b"12345").unwrap();
        let error = upload.write_all(b"6").unwrap_err();
        assert_eq!(Refusal::in_io(&error), Some(Refusal::TooLarge));
        assert!(bench.names().is_empty());
        assert!(upload.seal().is_err());
    }
}

#[test]
fn a_full_disk_ends_the_upload_and_leaves_nothing() {
    let bench = Bench::new();
    let mut upload = bench.uploads.begin(100, 0);
    upload.write_all(b"good").unwrap();
    let Some(Body::File(temporary)) = &mut upload.body else { panic!("no file") };
    temporary.file.fill_up();
    assert_eq!(upload.write_all(b"lost").unwrap_err().kind(), ErrorKind::StorageFull);
    assert!(bench.names().is_empty());
    assert!(upload.write_all(b"more").is_err());
    assert!(upload.seal().is_err());
}

#[test]
fn a_taken_id_is_told_and_nothing_replaced() {
    let bench = Bench::new();
    let publish = |sealed, name| bench.files.put(sealed, &channel(), &id(name)).unwrap();
    assert!(matches!(publish(bench.sealed(b"first"), "a"), Published::Done));
    for (second, other) in [("second", "b"), ("a second that is in a file", "c")] {
        let Published::Taken(sealed) = publish(bench.sealed(second.as_bytes()), "a") else {
            panic!("replaced")
        };
        assert!(matches!(publish(sealed, other), Published::Done));
        assert_eq!(read(bench.files.get(&channel(), &id("a"), 0).unwrap()), b"first");
        assert_eq!(read(bench.files.get(&channel(), &id(other), 0).unwrap()), second.as_bytes());
    }
    assert_eq!(bench.names().len(), 1);
}

#[test]
fn a_file_in_the_place_of_a_channel_folder_is_an_error() {
    let bench = Bench::new();
    fs::write(bench.root.join(channel().as_str()), "a file").unwrap();
    assert!(bench.files.put(bench.sealed(b"bytes"), &channel(), &id("a")).is_err());
    assert_eq!(bench.names(), ["room@example.org"]);
    assert!(bench.files.get(&channel(), &id("a"), 0).unwrap().is_none());
    assert!(!bench.files.remove(&channel(), &id("a")).unwrap());
}

#[test]
fn files_are_removed_once() {
    let bench = Bench::new();
    assert!(!bench.files.remove(&channel(), &id("a")).unwrap());
    bench.files.put(bench.sealed(b"bytes"), &channel(), &id("a")).unwrap();
    assert!(bench.files.remove(&channel(), &id("a")).unwrap());
    assert!(!bench.files.remove(&channel(), &id("a")).unwrap());
    assert!(bench.files.get(&channel(), &id("a"), 0).unwrap().is_none());
}

#[test]
fn a_root_that_takes_no_files_is_refused_with_advice() {
    let bench = Bench::new();
    let file = bench.root.join("file");
    fs::write(&file, "").unwrap();
    for root in [file, "/proc/media".into()] {
        let error = Uploads::open(&root, true).err().unwrap().to_string();
        assert!(error.contains("media.storage.root") && error.contains("can't"), "{error}");
    }
}

#[test]
fn leftovers_go_and_a_channel_that_is_named_like_one_stays() {
    let bench = Bench::new();
    for name in [".upload-1", ".upload-2", ".upload-3"] {
        fs::write(bench.root.join(name), "").unwrap();
    }
    fs::create_dir(bench.root.join(".upload-x@example.org")).unwrap();
    assert!(bench.uploads.remove_temporary(".upload-1").unwrap());
    assert!(!bench.uploads.remove_temporary(".upload-1").unwrap());
    assert_eq!(bench.uploads.remove_temporaries().unwrap(), 2);
    assert_eq!(bench.names(), [".upload-x@example.org"]);
}

#[test]
fn a_node_removes_leftovers_of_its_own_and_of_no_other_node() {
    let bench = Bench::new();
    let node = |name| Uploads::open_as(Some(name), bench.root.path(), true).unwrap();
    let (one, other) = (node("a"), node("a-b.c"));
    let under_way = |uploads: &Uploads| {
        let mut upload = uploads.begin(100, 0);
        upload.write_all(b"bytes").unwrap();
        upload
    };
    let _uploads = [under_way(&one), under_way(&other)];
    // The temporary file of a server that had the root for itself.
    fs::write(bench.root.join(".upload-1"), "").unwrap();
    assert_eq!(one.temporaries().unwrap().len(), 3);
    assert_eq!(one.remove_temporaries().unwrap(), 2);
    let left = bench.names();
    assert!(left.len() == 1 && left[0].starts_with(".upload-a-b.c-"), "{left:?}");
    let _upload = under_way(&one);
    assert_eq!(other.remove_temporaries().unwrap(), 1);
    assert_eq!(bench.uploads.remove_temporaries().unwrap(), 1, "a server that has the root for itself");
}

#[test]
fn a_directory_that_another_node_made_is_brought_to_the_disk() {
    let bench = Bench::new();
    let node = || Directory::open(bench.root.path(), true).unwrap().shared(true);
    let (one, other) = (node(), node());
    let put = |files: &Directory| {
        let sealed = bench.sealed(b"bytes");
        let lost = Fault::Error(rustix::io::Errno::IO);
        faults::at(1, lost, || files.put(sealed, &channel(), &MediaId::random())).1
    };
    assert!(one.put(bench.sealed(b"bytes"), &"first@example.org".parse().unwrap(), &id("a")).is_ok());
    fs::create_dir(bench.root.join(channel().as_str())).unwrap();
    for files in [&one, &other, &one] {
        assert_eq!(put(files), Some(FsCall::SyncDirectory));
    }
    // A server that has the root for itself knows that it is there.
    assert!(bench.files.put(bench.sealed(b"bytes"), &channel(), &id("b")).is_ok());
    assert_eq!(put(&bench.files), Some(FsCall::OpenDirectory));
}

#[test]
fn first_uploads_to_a_channel_may_race() {
    let bench = Bench::new();
    std::thread::scope(|scope| {
        for at in 0..8 {
            let bench = &bench;
            scope.spawn(move || {
                for round in 0..4 {
                    let channel = format!("room{round}@example.org").parse().unwrap();
                    let name = id(&format!("m{at}"));
                    let published = bench.files.put(bench.sealed(b"bytes"), &channel, &name);
                    assert!(matches!(published, Ok(Published::Done)));
                }
            });
        }
    });
    assert_eq!(bench.files.list().unwrap().count(), 32);
}
