//! The cases of uploads, of tokens' keys and of epochs that every metadata store must pass, on each engine.

use std::sync::Barrier;

use super::conformance::media;
use super::{
    EpochTable, Metadata, SecretTable, StoredSecret, UploadInsert, UploadLookup, UploadTable, UsageKind,
};
use crate::clock::Timestamp;
use crate::limits;
use crate::model::{Purpose, Quotas, UploadFile, UploadId, UploadLimits, UploadQuota, Uploaded};
use crate::secret::Secret;

/// A store with an empty database, for a case.
pub(super) trait Tables: Metadata + UploadTable + SecretTable + EpochTable {}
impl<T: Metadata + UploadTable + SecretTable + EpochTable> Tables for T {}

/// A store with an empty database.
pub(super) trait UploadBench {
    fn tables(&self) -> &dyn Tables;
    /// Runs SQL behind the store's back.
    fn run(&self, sql: &str);
}

/// A test for each case, on a bench made by the expression.
macro_rules! upload_suite {
    ($bench:expr) => {
        crate::store::upload_conformance::upload_suite!($bench;
            an_upload_comes_back_as_it_was_stored
            a_file_belongs_to_one_upload
            a_slot_stores_once
            many_puts_of_a_slot_store_once
            slots_are_used_when_something_was_stored
            sums_of_uploads_follow_their_rows
            sums_of_uploads_are_apart_from_those_of_media
            sums_follow_concurrent_uploads_and_sweeps
            a_limit_of_uploads_is_kept_and_a_deletion_gives_room
            concurrent_uploads_keep_a_limit
            the_sums_of_a_day_say_when_they_end
            expired_uploads_are_emptied_in_batches
            the_oldest_messages_go_first
            uploads_that_expire_are_told_soonest_first
            emptied_rows_go_when_their_slot_has_ended
            files_that_must_go_are_noted_with_their_rows
            rows_of_uploads_are_read_in_pages
            the_first_key_of_a_day_wins
            a_revocation_raises_the_epoch_of_one_user
        );
    };
    ($bench:expr; $($case:ident)*) => {
        $(#[test]
        fn $case() {
            crate::store::upload_conformance::$case(&$bench);
        })*
    };
}
pub(super) use upload_suite;

const DAY: i64 = 86_400;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros((1_700_000_000 + seconds) * 1_000_000)
}

/// A message of Alice's of 10 bytes, for ever.
pub(super) fn upload() -> Uploaded {
    Uploaded {
        id: UploadId::random(),
        path: None,
        file: UploadFile::random(),
        owner: Some("alice@example.org".to_owned()),
        file_name: "ü '\"\\.jpg".to_owned(),
        mime_type: "image/jpeg".to_owned(),
        size: 10,
        sha256: "0".repeat(64),
        purpose: Purpose::Message,
        created: at(0),
        expires: None,
        slot_ends: Some(at(300)),
    }
}

fn stored(tables: &dyn Tables, upload: &Uploaded) {
    let inserted = tables.insert_upload(upload, UploadLimits::default()).unwrap();
    assert_eq!(inserted, UploadInsert::Stored);
}

fn assert_sums_are_right(tables: &dyn Tables) {
    for kind in UsageKind::ALL {
        assert_eq!(tables.wrong_usage(kind).unwrap(), [], "{kind:?}");
    }
}

const EVERY: UploadLimits =
    UploadLimits { user: Some(1 << 40), day: Some(1 << 40), purpose: Some(1 << 40), all: Some(1 << 40) };

/// The sums of a user, of a purpose, of a day, and of all.
fn sums(tables: &dyn Tables, purpose: Purpose) -> [u64; 4] {
    let sums = tables.upload_sums(Some("alice@example.org"), purpose, at(0), EVERY).unwrap();
    [UploadQuota::User, UploadQuota::Purpose, UploadQuota::Day, UploadQuota::All].map(|quota| sums.of(quota))
}

pub(super) fn an_upload_comes_back_as_it_was_stored(bench: &impl UploadBench) {
    let tables = bench.tables();
    let foreign = Uploaded {
        id: UploadId::external("a".repeat(64)),
        path: Some("x/ü.jpg".to_owned()),
        owner: None,
        size: 5_000_000_000,
        purpose: Purpose::Permanent,
        expires: Some(at(7)),
        slot_ends: None,
        ..upload()
    };
    for upload in [upload(), foreign] {
        assert_eq!(tables.upload(&upload.id).unwrap(), UploadLookup::Unknown);
        stored(tables, &upload);
        assert_eq!(tables.upload(&upload.id).unwrap(), UploadLookup::There(Box::new(upload.clone())));
        assert_eq!(tables.delete_uploads(std::slice::from_ref(&upload.id)).unwrap().len(), 1);
        assert_eq!(tables.upload(&upload.id).unwrap(), UploadLookup::Emptied);
        assert!(tables.delete_uploads(std::slice::from_ref(&upload.id)).unwrap().is_empty());
    }
}

pub(super) fn a_file_belongs_to_one_upload(bench: &impl UploadBench) {
    let tables = bench.tables();
    let (first, other) = (upload(), upload());
    stored(tables, &first);
    let second = Uploaded { file: first.file.clone(), ..other.clone() };
    assert!(tables.insert_upload(&second, UploadLimits::default()).is_err());
    stored(tables, &other);
    tables.delete_uploads(&[first.id.clone(), other.id]).unwrap();
    assert_sums_are_right(tables);
}

pub(super) fn a_slot_stores_once(bench: &impl UploadBench) {
    let tables = bench.tables();
    let first = upload();
    stored(tables, &first);
    stored(tables, &first);
    let insert = |upload: Uploaded| tables.insert_upload(&upload, UploadLimits::default()).unwrap();
    let again = Uploaded { file: UploadFile::random(), ..first.clone() };
    assert_eq!(insert(again.clone()), UploadInsert::Same);
    assert_eq!(insert(Uploaded { sha256: "1".repeat(64), ..again.clone() }), UploadInsert::Taken);
    assert_eq!(insert(Uploaded { size: 11, ..again.clone() }), UploadInsert::Taken);
    tables.delete_uploads(std::slice::from_ref(&first.id)).unwrap();
    assert_eq!(insert(again), UploadInsert::Taken);
    assert_sums_are_right(tables);
}

pub(super) fn slots_are_used_when_something_was_stored(bench: &impl UploadBench) {
    let tables = bench.tables();
    let (there, gone) = (upload(), upload());
    for upload in [&there, &gone] {
        stored(tables, upload);
    }
    tables.delete_uploads(std::slice::from_ref(&gone.id)).unwrap();
    let mut ids: Vec<UploadId> = (0..2 * limits::UPLOAD_BATCH).map(|_| UploadId::random()).collect();
    assert_eq!(tables.used_slots(&[]).unwrap(), []);
    assert_eq!(tables.used_slots(&ids).unwrap(), []);
    ids.insert(0, there.id.clone());
    ids.push(gone.id.clone());
    assert_eq!(tables.used_slots(&ids).unwrap(), [there.id, gone.id]);
}

pub(super) fn many_puts_of_a_slot_store_once(bench: &impl UploadBench) {
    let tables = bench.tables();
    let puts: Vec<Uploaded> = (0..8)
        .map(|number| Uploaded { file: UploadFile::random(), sha256: format!("{number:064}"), ..upload() })
        .map(|put| Uploaded { id: "aaaaaaaaaaaaaaaaaaaaaaaa".parse().unwrap(), ..put })
        .collect();
    let barrier = Barrier::new(puts.len());
    let results: Vec<UploadInsert> = std::thread::scope(|scope| {
        let insert = |put| {
            let barrier = &barrier;
            scope.spawn(move || {
                barrier.wait();
                tables.insert_upload(put, UploadLimits::default()).unwrap()
            })
        };
        let inserts: Vec<_> = puts.iter().map(insert).collect();
        inserts.into_iter().map(|insert| insert.join().unwrap()).collect()
    });
    let count = |wanted| results.iter().filter(|result| **result == wanted).count();
    assert_eq!((count(UploadInsert::Stored), count(UploadInsert::Taken)), (1, 7));
    assert_sums_are_right(tables);
}

pub(super) fn sums_of_uploads_follow_their_rows(bench: &impl UploadBench) {
    let tables = bench.tables();
    let (first, second) = (upload(), Uploaded { size: 20, purpose: Purpose::Profile, ..upload() });
    let unknown = Uploaded { owner: None, size: 5, ..upload() };
    let old = Uploaded { size: 40, created: at(-DAY - 700), ..upload() };
    for upload in [&first, &second, &unknown, &old] {
        stored(tables, upload);
        assert_sums_are_right(tables);
    }
    assert_eq!(sums(tables, Purpose::Message), [70, 50, 30, 75]);
    assert_eq!(sums(tables, Purpose::Profile), [70, 20, 30, 75]);
    tables.delete_uploads(&[first.id.clone(), unknown.id.clone()]).unwrap();
    assert_sums_are_right(tables);
    assert_eq!(sums(tables, Purpose::Message), [60, 40, 20, 60]);
    let limits = UploadLimits { all: Some(1), ..UploadLimits::default() };
    let sums = tables.upload_sums(None, Purpose::Message, at(0), limits).unwrap();
    assert_eq!((sums.user, sums.all, sums.day.len()), (0, 60, 0), "only what is limited is read");
    bench.run("UPDATE uploads SET owner = 'bob@example.org', fileSize = 7 WHERE purpose = 'profile'");
    assert_sums_are_right(tables);
    bench.run("DELETE FROM uploads");
    assert_sums_are_right(tables);
    assert_eq!(self::sums(tables, Purpose::Message), [0; 4]);
}

pub(super) fn sums_of_uploads_are_apart_from_those_of_media(bench: &impl UploadBench) {
    let tables = bench.tables();
    let room = media("room@example.org", "a", 1);
    stored(tables, &upload());
    let quotas = Quotas { channel: None, user: Some(room.cost()) };
    assert_eq!(tables.insert(&room, false, quotas).unwrap(), super::MediaInsert::Stored);
    assert_eq!(sums(tables, Purpose::Message), [10; 4]);
    tables.delete(&room.channel, &room.id).unwrap();
    assert_eq!(sums(tables, Purpose::Message), [10; 4]);
    assert_sums_are_right(tables);
}

pub(super) fn sums_follow_concurrent_uploads_and_sweeps(bench: &impl UploadBench) {
    let tables = bench.tables();
    let owners = ["a@example.org", "b@example.org", "c@example.org"];
    std::thread::scope(|scope| {
        for owner in owners {
            for _ in 0..2 {
                scope.spawn(move || {
                    for number in 0..20 {
                        let owner = Some(owner.to_owned());
                        let expires = (number % 2 == 0).then(|| at(1));
                        stored(tables, &Uploaded { owner, expires, created: at(number * 300), ..upload() });
                    }
                });
            }
            scope.spawn(move || {
                for _ in 0..10 {
                    tables.make_room(owner, 25).unwrap();
                }
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..10 {
                    tables.expire_uploads(at(1)).unwrap();
                }
            });
        }
    });
    assert_sums_are_right(tables);
}

pub(super) fn a_limit_of_uploads_is_kept_and_a_deletion_gives_room(bench: &impl UploadBench) {
    let tables = bench.tables();
    let none = UploadLimits::default();
    for (limits, quota) in [
        (UploadLimits { user: Some(25), ..none }, UploadQuota::User),
        (UploadLimits { day: Some(25), ..none }, UploadQuota::Day),
        (UploadLimits { purpose: Some(25), ..none }, UploadQuota::Purpose),
        (UploadLimits { all: Some(25), ..none }, UploadQuota::All),
    ] {
        let insert = |upload: &Uploaded| tables.insert_upload(upload, limits).unwrap();
        let (first, second, third) = (upload(), upload(), upload());
        assert_eq!((insert(&first), insert(&second)), (UploadInsert::Stored, UploadInsert::Stored));
        assert_eq!(insert(&third), UploadInsert::OverQuota(quota));
        assert_eq!(tables.upload(&third.id).unwrap(), UploadLookup::Unknown);
        assert_eq!(insert(&second), UploadInsert::Stored, "stored already");
        tables.delete_uploads(std::slice::from_ref(&first.id)).unwrap();
        assert_eq!(insert(&third), UploadInsert::Stored);
        assert_sums_are_right(tables);
        bench.run("DELETE FROM uploads");
    }
}

pub(super) fn concurrent_uploads_keep_a_limit(bench: &impl UploadBench) {
    let tables = bench.tables();
    let limits = UploadLimits { user: Some(50), ..UploadLimits::default() };
    let barrier = Barrier::new(12);
    let stored: usize = std::thread::scope(|scope| {
        let insert = || {
            barrier.wait();
            usize::from(tables.insert_upload(&upload(), limits).unwrap() == UploadInsert::Stored)
        };
        let inserts: Vec<_> = (0..12).map(|_| scope.spawn(insert)).collect();
        inserts.into_iter().map(|insert| insert.join().unwrap()).sum()
    });
    assert_eq!((stored, sums(tables, Purpose::Message)[0]), (5, 50));
}

pub(super) fn the_sums_of_a_day_say_when_they_end(bench: &impl UploadBench) {
    let tables = bench.tables();
    let step = limits::DAY_STEP.as_secs().cast_signed();
    // At 400 s a step begins.
    for created in [0, 399, 400, 400 + step] {
        stored(tables, &Uploaded { created: at(created), ..upload() });
    }
    let day = |now| {
        let sums = tables.upload_sums(Some("alice@example.org"), Purpose::Message, at(now), EVERY).unwrap();
        sums.day
            .into_iter()
            .map(|(end, bytes)| ((end.as_micros() - at(0).as_micros()) / 1_000_000, bytes))
            .collect::<Vec<_>>()
    };
    let all = [(400 + DAY, 20), (400 + step + DAY, 10), (400 + 2 * step + DAY, 10)];
    assert_eq!(day(400 + step), all);
    assert_eq!(day(399 + DAY), all);
    assert_eq!(day(400 + DAY), all[1..]);
    assert_eq!(day(400 + 2 * step + DAY), []);
}

pub(super) fn expired_uploads_are_emptied_in_batches(bench: &impl UploadBench) {
    let tables = bench.tables();
    let (kept, late) = (upload(), Uploaded { expires: Some(at(101)), ..upload() });
    stored(tables, &kept);
    stored(tables, &late);
    for _ in 0..=limits::EXPIRY_BATCH {
        stored(tables, &Uploaded { expires: Some(at(100)), ..upload() });
    }
    assert_eq!(tables.expire_uploads(at(99)).unwrap(), []);
    let first = tables.expire_uploads(at(100)).unwrap();
    assert_eq!(first.len(), limits::EXPIRY_BATCH);
    assert!(first.iter().all(|gone| gone.size == 10));
    assert_eq!(tables.expire_uploads(at(100)).unwrap().len(), 1);
    assert_eq!(tables.expire_uploads(at(100)).unwrap(), []);
    assert_eq!(tables.upload(&first[0].id).unwrap(), UploadLookup::Emptied);
    for upload in [kept, late] {
        assert!(matches!(tables.upload(&upload.id).unwrap(), UploadLookup::There(_)));
    }
    assert_eq!(sums(tables, Purpose::Message)[0], 20);
    assert_sums_are_right(tables);
}

pub(super) fn the_oldest_messages_go_first(bench: &impl UploadBench) {
    let tables = bench.tables();
    let uploads: Vec<Uploaded> =
        [3, 1, 2, 4].map(|second| Uploaded { created: at(second), ..upload() }).into();
    let other = Uploaded { created: at(0), purpose: Purpose::Profile, ..upload() };
    let others = Uploaded { created: at(0), owner: Some("bob@example.org".into()), ..upload() };
    for upload in uploads.iter().chain([&other, &others]) {
        stored(tables, upload);
    }
    let gone = tables.make_room("alice@example.org", 11).unwrap();
    let ids: Vec<_> = gone.iter().map(|gone| gone.id.clone()).collect();
    assert_eq!(ids, [uploads[1].id.clone(), uploads[2].id.clone()]);
    assert_eq!(tables.make_room("alice@example.org", 0).unwrap(), []);
    assert_eq!(tables.make_room("alice@example.org", u64::MAX).unwrap().len(), 2);
    assert_eq!(tables.make_room("alice@example.org", 1).unwrap(), []);
    assert_eq!(sums(tables, Purpose::Profile)[0], 10);
    assert_sums_are_right(tables);
}

pub(super) fn uploads_that_expire_are_told_soonest_first(bench: &impl UploadBench) {
    let tables = bench.tables();
    let bob = Some("bob@example.org".to_owned());
    for (expires, size, purpose, owner) in [
        (Some(at(3)), 3, Purpose::Message, upload().owner),
        (Some(at(1)), 1, Purpose::Ephemeral, upload().owner),
        (None, 9, Purpose::Message, upload().owner),
        (Some(at(2)), 2, Purpose::Message, bob),
        (Some(at(4)), 4, Purpose::Message, None),
    ] {
        stored(tables, &Uploaded { expires, size, purpose, owner, ..upload() });
    }
    let told = |owner, purpose| {
        let told = tables.expiring_uploads(owner, purpose).unwrap();
        told.into_iter().map(|(_, size)| size).collect::<Vec<_>>()
    };
    let alice = Some("alice@example.org");
    assert_eq!((told(alice, None), told(None, None)), (vec![1, 3], vec![1, 2, 3, 4]));
    assert_eq!(told(alice, Some(Purpose::Message)), [3]);
}

pub(super) fn emptied_rows_go_when_their_slot_has_ended(bench: &impl UploadBench) {
    let tables = bench.tables();
    let (slot, there, foreign) = (upload(), upload(), Uploaded { slot_ends: None, ..upload() });
    for upload in [&slot, &there, &foreign] {
        stored(tables, upload);
    }
    tables.delete_uploads(&[slot.id.clone(), foreign.id.clone()]).unwrap();
    assert_eq!(tables.forget_slots(at(299)).unwrap(), 0);
    assert_eq!(tables.forget_slots(at(300)).unwrap(), 1);
    assert_eq!(tables.upload(&slot.id).unwrap(), UploadLookup::Unknown);
    assert_eq!(tables.upload(&foreign.id).unwrap(), UploadLookup::Emptied);
    assert!(matches!(tables.upload(&there.id).unwrap(), UploadLookup::There(_)));
    assert_sums_are_right(tables);
}

pub(super) fn files_that_must_go_are_noted_with_their_rows(bench: &impl UploadBench) {
    let tables = bench.tables();
    let (gone, there, unknown) = (upload(), upload(), UploadFile::random());
    stored(tables, &gone);
    stored(tables, &there);
    tables.delete_uploads(std::slice::from_ref(&gone.id)).unwrap();
    let media_files = tables.removals(0, 9).unwrap();
    assert_eq!(media_files, [], "those of media have a chore of their own");
    let removals = tables.upload_removals("", 9).unwrap();
    let [removal] = removals.as_slice() else { panic!("{removals:?}") };
    assert_eq!((removal.file.as_str(), removal.is_named), (gone.file.as_str(), false));
    let files = [gone.file.clone(), there.file.clone(), unknown.clone()];
    assert_eq!(tables.unnamed_uploads(&files).unwrap(), [unknown]);
    bench.run(&format!(
        "INSERT INTO removals (folder, file, reason) VALUES ('.uploads', '{}', 'x')",
        there.file
    ));
    let named: Vec<bool> =
        tables.upload_removals("", 9).unwrap().iter().map(|removal| removal.is_named).collect();
    assert_eq!(named.iter().filter(|named| **named).count(), 1);
    let first = tables.upload_removals("", 1).unwrap();
    assert_eq!(tables.upload_removals(&first[0].file, 9).unwrap().len(), 1);
    let ids: Vec<i64> = tables.upload_removals("", 9).unwrap().iter().map(|removal| removal.id).collect();
    tables.end_upload_removals(&ids).unwrap();
    tables.end_upload_removals(&[]).unwrap();
    assert_eq!(tables.upload_removals("", 9).unwrap(), []);
}

pub(super) fn rows_of_uploads_are_read_in_pages(bench: &impl UploadBench) {
    let tables = bench.tables();
    let (mut uploads, emptied) = ([upload(), upload(), upload()], upload());
    for upload in uploads.iter().chain([&emptied]) {
        stored(tables, upload);
    }
    tables.delete_uploads(&[emptied.id]).unwrap();
    uploads.sort_by(|one, other| one.id.cmp(&other.id));
    let mut rows = tables.upload_rows(None, 2).unwrap();
    let last = rows[1].id.clone();
    rows.extend(tables.upload_rows(Some(&last), 2).unwrap());
    rows.sort_by(|one, other| one.id.cmp(&other.id));
    let found: Vec<_> = rows.iter().map(|row| (row.id.as_str(), row.file.as_str(), row.size)).collect();
    let expected: Vec<_> =
        uploads.iter().map(|upload| (upload.id.as_str(), upload.file.as_str(), 10)).collect();
    assert_eq!(found, expected);
}

pub(super) fn the_first_key_of_a_day_wins(bench: &impl UploadBench) {
    let tables = bench.tables();
    let secret = |id, text: &str| StoredSecret { id, secret: Secret::new(text) };
    tables.add_secret("slot", &secret(1, "first")).unwrap();
    tables.add_secret("slot", &secret(1, "second")).unwrap();
    tables.add_secret("slot", &secret(2, "third")).unwrap();
    tables.add_secret("ticket", &secret(1, "other")).unwrap();
    let mut slots = tables.secrets("slot").unwrap();
    slots.sort_by_key(|secret| secret.id);
    assert_eq!(slots, [secret(1, "first"), secret(2, "third")]);
    tables.remove_secrets("slot", 2).unwrap();
    assert_eq!(tables.secrets("slot").unwrap(), [secret(2, "third")]);
    assert_eq!(tables.secrets("ticket").unwrap(), [secret(1, "other")]);
}

pub(super) fn a_revocation_raises_the_epoch_of_one_user(bench: &impl UploadBench) {
    let tables = bench.tables();
    let (alice, bob) = ("alice@example.org".parse().unwrap(), "zo\u{e9}@example.org".parse().unwrap());
    assert_eq!(tables.epoch(&alice).unwrap(), 0);
    for epoch in 1..=3 {
        tables.raise_epoch(&alice).unwrap();
        assert_eq!((tables.epoch(&alice).unwrap(), tables.epoch(&bob).unwrap()), (epoch, 0));
    }
    tables.raise_epoch(&bob).unwrap();
    assert_eq!((tables.epoch(&alice).unwrap(), tables.epoch(&bob).unwrap()), (3, 1));
}
