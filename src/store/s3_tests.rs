//! Files in a bucket of SeaweedFS.

use std::io::{Read, Write};
use std::ops::Range;
use std::time::Duration;

use rustix::io::Errno;

use super::super::files::FetchError;
use super::super::place::{BucketPlace, Place, PlaceState};
use super::super::place_conformance::{Bench, place_suite};
use super::super::{Algorithm, DatabaseState, Identity, Match, RootLock, StoreId, Uploads, seaweedfs};
use super::*;
use crate::s3::Settings;
use crate::secret::Secret;
use crate::sys::faults::{self, Fault};
use crate::sys::fs::FsCall;
use crate::testing::Scratch;

fn settings() -> Settings {
    let store = seaweedfs::shared();
    Settings {
        endpoint: store.endpoint(),
        bucket: store.new_bucket(),
        region: "us-east-1".to_owned(),
        access_key: seaweedfs::ACCESS_KEY.to_owned(),
        secret_key: Secret::new(seaweedfs::SECRET_KEY),
        timeout: Duration::from_secs(10),
    }
}

fn opened(client: Client) -> (Uploads, S3Files, Scratch) {
    let scratch = Scratch::new();
    let files = S3Files::open(client, scratch.path()).unwrap();
    (Uploads::open(scratch.path(), false).unwrap(), files, scratch)
}

fn bench() -> (Bench, Scratch) {
    let (uploads, files, scratch) = opened(Client::new(&settings()).unwrap());
    (Bench { uploads, files: Arc::new(files.clone()), slots: Arc::new(files) }, scratch)
}

place_suite!(bench());

/// The same as a server reads them: through the disk cache.
mod through_the_cache {
    use super::*;

    fn cached() -> (Bench, Scratch) {
        let (uploads, files, scratch) = opened(Client::new(&settings()).unwrap());
        let files = files.with_cache(0).unwrap();
        (Bench { uploads, files: Arc::new(files.clone()), slots: Arc::new(files) }, scratch)
    }

    place_suite!(cached());
}

fn sealed(uploads: &Uploads, bytes: &[u8]) -> Sealed {
    let mut upload = uploads.begin_with(Algorithm::Sha256, 1 << 30, 0);
    upload.write_all(bytes).unwrap();
    upload.seal().unwrap()
}

fn channel() -> Channel {
    "room@example.org".parse().unwrap()
}

/// Through parts, too, which are as small as the store takes them.
#[test]
fn any_block_of_a_file_is_fetched() {
    const MIB: u64 = 1024 * 1024;
    let client = Client::with_parts_of(&settings(), 5 * MIB);
    let (uploads, files, _scratch) = opened(client.clone());
    let bytes: Vec<u8> = (0..11 * 1024 * 1024_usize).map(|at| at.to_le_bytes()[at % 3]).collect();
    let id = MediaId::random();
    Files::put(&files, sealed(&uploads, &bytes), &channel(), &id).unwrap();
    let (key, size) = (media_key(&channel(), &id), bytes.len() as u64);
    assert_eq!(Files::head(&files, &channel(), &id).unwrap(), Some(size));
    let fetch = |range: Range<u64>, size| {
        let mut fetched = Vec::new();
        BucketSource(client.clone()).fetch(&Part { key: &key, range, size }, &mut fetched).map(|()| fetched)
    };
    let place = |at: u64| usize::try_from(at).unwrap();
    for range in [0..1, 0..size, 5 * MIB - 3..5 * MIB + 3, 8 * MIB..11 * MIB] {
        let expected = &bytes[place(range.start)..place(range.end)];
        assert!(fetch(range.clone(), size).unwrap() == expected, "{range:?}");
    }
    assert!(matches!(fetch(0..1, size + 1), Err(FetchError::Failed(_))));
    let missing = Part { key: "room@example.org/none", range: 0..1, size: 1 };
    assert!(matches!(
        BucketSource(client.clone()).fetch(&missing, &mut Vec::new()),
        Err(FetchError::Missing)
    ));
    assert_eq!(client.unfinished().unwrap(), []);
    // Above the size of one copy it would go in parts, too.
    assert!(Files::set_aside(&files, &channel(), &id, Timestamp::from_micros(0)).unwrap().is_some());
}

#[test]
fn an_upload_in_memory_goes_to_the_store_without_a_file_unless_it_takes_parts() {
    const MIB: usize = 1024 * 1024;
    let (_, files, scratch) = opened(Client::with_parts_of(&settings(), 5 * MIB as u64));
    let uploads = Uploads::open(scratch.path(), false).unwrap();
    for (size, is_small) in [(0, true), (5 * MIB, true), (5 * MIB + 1, false)] {
        let held = || {
            let mut upload = uploads.begin_with(Algorithm::Sha256, 1 << 30, 6 * MIB);
            upload.write_all(&vec![7; size]).unwrap();
            upload.seal().unwrap()
        };
        let full = Fault::Error(Errno::NOSPC);
        let (stored, failed) =
            faults::at(0, full, || UploadFiles::put(&files, held(), &UploadFile::random()));
        assert_eq!((stored.is_ok(), failed), (is_small, (!is_small).then_some(FsCall::Create)), "{size}");
        let file = UploadFile::random();
        UploadFiles::put(&files, held(), &file).unwrap();
        assert_eq!(UploadFiles::head(&files, &file).unwrap(), Some(size as u64));
        let stored = UploadFiles::get(&files, &file, size as u64).unwrap().unwrap();
        let mut bytes = Vec::new();
        (&*stored.whole().unwrap()).read_to_end(&mut bytes).unwrap();
        assert!(bytes == vec![7; size], "{size}");
    }
}

/// Two that move one file: the first has stored it, and the second fails.
#[test]
fn a_move_that_fails_leaves_the_object_of_another_one() {
    let (uploads, files, scratch) = opened(Client::new(&settings()).unwrap());
    let (id, upload) = (MediaId::random(), UploadFile::random());
    let broken = || {
        let sealed = sealed(&uploads, b"four");
        let temporaries = uploads.temporaries().unwrap();
        temporaries.iter().for_each(|(name, _)| std::fs::write(scratch.join(name), "fo").unwrap());
        sealed
    };
    Files::put(&files, sealed(&uploads, b"four"), &channel(), &id).unwrap();
    UploadFiles::put(&files, sealed(&uploads, b"four"), &upload).unwrap();
    Files::put_moved(&files, broken(), &channel(), &id).unwrap_err();
    UploadFiles::put_moved(&files, broken(), &upload).unwrap_err();
    assert_eq!(Files::head(&files, &channel(), &id).unwrap(), Some(4));
    assert_eq!(UploadFiles::head(&files, &upload).unwrap(), Some(4));
    Files::put(&files, broken(), &channel(), &id).unwrap_err();
    assert_eq!(Files::head(&files, &channel(), &id).unwrap(), None, "a failed upload leaves nothing");
}

#[test]
fn uploads_that_a_crash_left_are_aborted_once_they_are_old() {
    let settings = settings();
    let client = Client::new(&settings).unwrap();
    let (_, files, _scratch) = opened(client.clone());
    for key in ["room@example.org/left", "backup/of-another-program"] {
        client.begin_parts(key, true).unwrap();
    }
    assert_eq!(client.unfinished().unwrap().len(), 2);
    let hour = Duration::from_secs(3600);
    assert_eq!(files.abort_unfinished(SystemTime::now() - hour).unwrap(), 0);
    assert_eq!(files.abort_unfinished(SystemTime::now() + hour).unwrap(), 1);
    let left: Vec<_> = client.unfinished().unwrap().into_iter().map(|upload| upload.key).collect();
    assert_eq!(left, ["backup/of-another-program"], "others may use the bucket");
    // Those of this process that failed need not be old.
    let id = client.begin_parts("room@example.org/failed", true).unwrap();
    client.remember_failed([Unfinished {
        key: "room@example.org/failed".into(),
        id,
        begun: SystemTime::now(),
    }]);
    assert_eq!(files.abort_unfinished(SystemTime::UNIX_EPOCH).unwrap(), 1);
    assert_eq!(client.unfinished().unwrap().len(), 1);
}

#[test]
fn a_bucket_is_marked_and_compared_as_a_directory_is() {
    let client = Client::new(&settings()).unwrap();
    let (uploads, files, scratch) = opened(client.clone());
    let place = BucketPlace::new(client.clone());
    assert_eq!(place.look().unwrap(), PlaceState { is_there: true, id: None, channel: None });
    let identity = Identity::in_bucket(&client, scratch.path(), "the database".to_owned());
    let mut database = DatabaseState { version: Some(1), ..DatabaseState::default() };
    let Match::New(id) = identity.compare(&database).unwrap() else { panic!("it is a new site") };
    identity.mark(&id, &RootLock::take(scratch.path()).unwrap()).unwrap();
    assert_eq!(place.id().unwrap(), Some(id.clone()));
    database.id = Some(id.clone());
    assert_eq!(identity.compare(&database).unwrap(), Match::Same);

    let media = MediaId::random();
    Files::put(&files, sealed(&uploads, b"four"), &channel(), &media).unwrap();
    UploadFiles::put(&files, sealed(&uploads, b"four"), &UploadFile::random()).unwrap();
    assert_eq!(place.look().unwrap().channel.as_deref(), Some("room@example.org"));
    assert_eq!(place.size("room@example.org", media.as_str()).unwrap(), Some(4));
    assert_eq!(place.size("room@example.org", "none").unwrap(), None);
    database.id = Some(StoreId::random());
    let error = identity.compare(&database).unwrap_err();
    assert_eq!(error.kind(), Kind::Config);
    let text = error.to_string();
    assert!(text.contains("belong to different sites") && text.contains("media.storage.s3.bucket"), "{text}");
    client.put_bytes(STORE, b"odd\n").unwrap();
    assert!(place.look().unwrap_err().to_string().contains("is no store's id"));
    client.try_out().unwrap();
}

#[test]
fn large_files_have_an_address_at_the_store_that_presents_them() {
    let client = Client::new(&settings()).unwrap();
    let (uploads, files, _scratch) = opened(client);
    let presented =
        Presented { content_type: "text/x-test", content_disposition: "attachment; filename=\"a b.txt\"" };
    let id = MediaId::random();
    Files::put(&files, sealed(&uploads, b"four"), &channel(), &id).unwrap();
    let address = |files: &S3Files, size| files.direct_address(&channel(), &id, size, &presented);
    assert_eq!(address(&files, 1 << 40), None);
    let files = files.direct_from(Some(4));
    assert_eq!(address(&files, 3), None);
    let mut response = ureq::get(&address(&files, 4).unwrap()).call().unwrap();
    let field = |name| response.headers().get(name).unwrap().to_str().unwrap().to_owned();
    assert_eq!(field("content-type"), presented.content_type);
    assert_eq!(field("content-disposition"), presented.content_disposition);
    assert_eq!(response.body_mut().read_to_string().unwrap(), "four");
}

#[test]
fn a_wrong_key_or_bucket_is_told_in_words() {
    let right = settings();
    for (wrong, told) in [
        (Settings { access_key: "AKIAOTHER".into(), ..right.clone() }, "media.storage.s3.access.key"),
        (Settings { secret_key: Secret::new("other"), ..right.clone() }, "media.storage.s3.secret.key"),
        (Settings { bucket: "missing-bucket".into(), ..right.clone() }, "check that the bucket is there"),
    ] {
        let client = Client::new(&wrong).unwrap();
        let error = client.put_bytes("room@example.org/id", b"x").unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable);
        assert!(error.to_string().contains(told), "{told}: {error}");
        assert!(client.head("room@example.org/id").is_err(), "{told}");
    }
}
