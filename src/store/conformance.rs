//! The cases that every metadata store must pass, on each engine.

use std::collections::BTreeSet;
use std::sync::Barrier;
use std::time::SystemTime;

use super::{
    CURRENT, DatabaseState, KnownAs, MediaInsert, MediaUpdate, Metadata, PreviewInsert, Removal, StoreId,
    UsageKind, WriteError, WrongSum,
};
use crate::clock::Timestamp;
use crate::limits::{self, MEDIA_COST};
use crate::model::{Channel, Description, Media, MediaId, Page, Preview, Quota, Quotas};

/// A store with an empty database.
pub(super) trait Bench {
    fn store(&self) -> &dyn Metadata;
    /// Runs SQL behind the store's back.
    fn execute(&self, sql: &str);
}

/// A test for each case, on a bench made by the expression.
macro_rules! suite {
    ($bench:expr) => {
        crate::store::conformance::suite!($bench;
            a_media_comes_back_as_it_was_stored
            a_media_exists_in_its_channel_only
            storing_twice_succeeds_and_a_taken_id_fails
            a_failed_insert_leaves_nothing
            the_avatar_is_the_last_one_stored
            first_avatars_may_race
            lists_are_newest_first_and_ties_by_id
            pages_end_where_their_texts_are_too_long
            pages_lead_through_everything_once
            a_page_after_or_before_a_missing_id_is_empty
            an_unreadable_row_is_left_out
            an_update_changes_what_it_names_and_the_date
            a_delete_takes_everything_with_it
            previews_are_found_by_their_size
            the_previews_used_longest_ago_are_evicted
            a_deletion_notes_which_files_must_go
            a_deletion_that_fails_notes_nothing
            a_preview_that_is_evicted_must_go
            a_file_that_a_row_names_is_told_among_the_removals
            each_file_is_known_by_its_row
            rows_are_read_in_pages
            many_threads_may_insert
            a_quota_is_kept_and_a_deletion_gives_room
            a_user_has_one_quota_in_all_channels
            concurrent_inserts_keep_a_quota
            storing_twice_within_a_quota_succeeds
            texts_count_in_a_quota
            impossible_sizes_break_no_sum
            an_update_grows_as_far_as_a_quota_has_room
            an_update_that_does_not_grow_is_never_over_a_quota
            concurrent_updates_keep_a_quota
            no_text_is_taken_for_sql
            sums_follow_every_change_of_a_row
            sums_follow_concurrent_changes
            sums_are_counted_for_every_writer
            a_wrong_sum_is_found_and_corrected
            a_second_deletion_finds_nothing
            the_version_of_the_schema_is_told
            a_store_gets_one_id_once
        );
    };
    ($bench:expr; $($case:ident)*) => {
        $(#[test]
        fn $case() {
            crate::store::conformance::$case(&$bench);
        })*
    };
}
pub(super) use suite;

/// A media with all its fields set, uploaded at this many microseconds.
pub(super) fn media(channel: &str, id: &str, micros: i64) -> Media {
    Media {
        id: id.parse().unwrap(),
        channel: channel.parse().unwrap(),
        author: "alice@example.org".into(),
        description: Description {
            file_name: Some("a.jpg".into()),
            title: Some("Ein schöner Titel".into()),
            description: Some(String::new()),
        },
        mime_type: "image/jpeg".into(),
        uploaded: Timestamp::from_micros(micros),
        last_updated: Timestamp::from_micros(micros),
        extension: Some("jpg".into()),
        sha1: "bc46e5fac2f1cbb607c8b253a5af33181f161562".into(),
        sha256: Some("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".into()),
        size: 5_000_000_000,
        length: Some(60_000),
        height: Some(312),
        width: Some(400),
    }
}

fn id(text: &str) -> MediaId {
    text.parse().unwrap()
}

fn channel(text: &str) -> Channel {
    text.parse().unwrap()
}

const ROOM: &str = "room@example.org";

pub(super) fn a_media_comes_back_as_it_was_stored(bench: &impl Bench) {
    let store = bench.store();
    let full = media(ROOM, "full", 1_390_500_000_123_456);
    let bare = Media {
        description: Description::default(),
        extension: None,
        sha256: None,
        length: None,
        height: None,
        width: None,
        size: 0,
        ..media(ROOM, "bare", -1)
    };
    for media in [full, bare] {
        assert_eq!(store.media(&media.channel, &media.id).unwrap(), None);
        store.insert(&media, false, Quotas::NONE).unwrap();
        assert_eq!(store.media(&media.channel, &media.id).unwrap(), Some(media.clone()));
        assert_eq!(store.avatar(&media.channel).unwrap(), None);
    }
}

pub(super) fn a_media_exists_in_its_channel_only(bench: &impl Bench) {
    let store = bench.store();
    let media = media(ROOM, "a", 1);
    store.insert(&media, true, Quotas::NONE).unwrap();
    let other = channel("other@example.org");
    assert_eq!(store.media(&other, &media.id).unwrap(), None);
    let elsewhere = Media { channel: other.clone(), ..media.clone() };
    assert_eq!(update(store, &elsewhere, &Description::default(), Quotas::NONE), MediaUpdate::NoMedia);
    assert_eq!(store.delete(&other, &media.id).unwrap(), None);
    assert!(store.list(&other, &Page { max: 9, after: None, before: None }).unwrap().entries.is_empty());
    bench.execute("UPDATE avatars SET entityId = 'other@example.org'");
    assert_eq!(store.avatar(&other).unwrap(), None);
    assert_eq!(store.media(&media.channel, &media.id).unwrap(), Some(media));
}

pub(super) fn storing_twice_succeeds_and_a_taken_id_fails(bench: &impl Bench) {
    let store = bench.store();
    let first = media(ROOM, "a", 1);
    store.insert(&first, false, Quotas::NONE).unwrap();
    store.insert(&first, false, Quotas::NONE).unwrap();
    for second in [media("other@example.org", "a", 1), Media { sha1: "0".repeat(40), ..first.clone() }] {
        assert!(matches!(store.insert(&second, true, Quotas::NONE), Err(WriteError::Failed(_))));
        assert_eq!(store.avatar(&second.channel).unwrap(), None);
    }
    assert_eq!(store.media(&first.channel, &first.id).unwrap(), Some(first));
}

pub(super) fn a_failed_insert_leaves_nothing(bench: &impl Bench) {
    let store = bench.store();
    bench.execute("DROP TABLE avatars");
    let media = media(ROOM, "a", 1);
    assert!(matches!(store.insert(&media, true, Quotas::NONE), Err(WriteError::Failed(_))));
    assert_eq!(store.media(&media.channel, &media.id).unwrap(), None);
}

pub(super) fn the_avatar_is_the_last_one_stored(bench: &impl Bench) {
    let store = bench.store();
    let (first, second) = (media(ROOM, "a", 1), media(ROOM, "b", 2));
    store.insert(&first, true, Quotas::NONE).unwrap();
    assert_eq!(store.avatar(&first.channel).unwrap(), Some(first.clone()));
    store.insert(&second, true, Quotas::NONE).unwrap();
    assert_eq!(store.avatar(&first.channel).unwrap(), Some(second.clone()));
    store.delete(&first.channel, &first.id).unwrap().unwrap();
    assert_eq!(store.avatar(&first.channel).unwrap(), Some(second.clone()));
    store.delete(&first.channel, &second.id).unwrap().unwrap();
    assert_eq!(store.avatar(&first.channel).unwrap(), None);
}

/// D16: the one that came second was told that it was stored, and was not.
pub(super) fn first_avatars_may_race(bench: &(impl Bench + Sync)) {
    let store = bench.store();
    for round in 0..5 {
        let room = format!("room{round}@example.org");
        let ids: Vec<String> = (0..4).map(|at| format!("m{round}-{at}")).collect();
        std::thread::scope(|scope| {
            for id in &ids {
                let room = &room;
                scope.spawn(move || store.insert(&media(room, id, 1), true, Quotas::NONE).unwrap());
            }
        });
        let avatar = store.avatar(&channel(&room)).unwrap().unwrap();
        assert!(ids.contains(&avatar.id.to_string()));
        assert_eq!(store.list(&channel(&room), &page(9)).unwrap().entries.len(), ids.len());
    }
}

fn page(max: usize) -> Page {
    Page { max, after: None, before: None }
}

fn names(store: &dyn Metadata, page: &Page) -> (String, bool) {
    let listing = store.list(&channel(ROOM), page).unwrap();
    let names: Vec<&str> = listing.entries.iter().map(|media| media.id.as_str()).collect();
    (names.join(" "), listing.more)
}

pub(super) fn lists_are_newest_first_and_ties_by_id(bench: &impl Bench) {
    let store = bench.store();
    for (id, micros) in [("old", 1), ("b", 2), ("B", 2), ("_", 2), ("9", 2), ("new", 3)] {
        store.insert(&media(ROOM, id, micros), false, Quotas::NONE).unwrap();
    }
    store.insert(&media("other@example.org", "other", 2), false, Quotas::NONE).unwrap();
    assert_eq!(names(store, &page(99)), ("new b _ B 9 old".into(), false));
    assert_eq!(names(store, &page(6)), ("new b _ B 9 old".into(), false));
    assert_eq!(names(store, &page(2)), ("new b".into(), true));
    assert_eq!(names(store, &page(0)), (String::new(), true));
    let after = |max, name| Page { max, after: Some(id(name)), before: None };
    assert_eq!(names(store, &after(99, "B")), ("new b _".into(), false));
    assert_eq!(names(store, &after(1, "old")), ("new".into(), true));
    assert_eq!(names(store, &after(1, "new")), (String::new(), false));
    let before = |max, name| Page { max, after: None, before: Some(id(name)) };
    assert_eq!(names(store, &before(2, "_")), ("B 9".into(), true));
    assert_eq!(names(store, &before(2, "9")), ("old".into(), false));
    let between = Page { max: 99, after: Some(id("old")), before: Some(id("b")) };
    assert_eq!(names(store, &between), ("_ B 9".into(), false));
}

pub(super) fn pages_end_where_their_texts_are_too_long(bench: &impl Bench) {
    let store = bench.store();
    let half = limits::LIST_TEXT_BYTES / 2;
    let lengths = [("a", 2 * half + 500), ("b", half), ("c", half - 99), ("d", 500), ("e", 0)];
    for ((name, length), micros) in lengths.into_iter().zip((1..=5).rev()) {
        let mut media = media(ROOM, name, micros);
        let spent = media.author.len() + media.description.size() as usize;
        media.description.description = Some("é".repeat(length.saturating_sub(spent) / 2));
        store.insert(&media, false, Quotas::NONE).unwrap();
    }
    assert_eq!(names(store, &page(9)), ("a".into(), true), "a page has one entry, however long");
    let before = |max, name| Page { max, after: None, before: Some(id(name)) };
    assert_eq!(names(store, &before(9, "a")), ("b c".into(), true));
    assert_eq!(names(store, &before(1, "a")), ("b".into(), true));
    assert_eq!(names(store, &before(9, "c")), ("d e".into(), false));
}

pub(super) fn pages_lead_through_everything_once(bench: &impl Bench) {
    let store = bench.store();
    let mut expected = BTreeSet::new();
    for at in 0..20 {
        let name = MediaId::random();
        store.insert(&media(ROOM, name.as_str(), at / 7), false, Quotas::NONE).unwrap();
        expected.insert(name);
    }
    for max in [1, 3, 20] {
        let (mut seen, mut before) = (Vec::new(), None);
        loop {
            let listing = store.list(&channel(ROOM), &Page { max, after: None, before }).unwrap();
            before = listing.entries.last().map(|media| media.id.clone());
            seen.extend(listing.entries.into_iter().map(|media| media.id));
            if !listing.more {
                break;
            }
        }
        assert_eq!(seen.len(), expected.len());
        assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), expected);
    }
}

pub(super) fn a_page_after_or_before_a_missing_id_is_empty(bench: &impl Bench) {
    let store = bench.store();
    store.insert(&media(ROOM, "a", 1), false, Quotas::NONE).unwrap();
    store.insert(&media("other@example.org", "b", 0), false, Quotas::NONE).unwrap();
    for bound in ["nothing", "b"] {
        let after = Page { max: 9, after: Some(id(bound)), before: None };
        let before = Page { max: 9, after: None, before: Some(id(bound)) };
        assert_eq!(names(store, &after), (String::new(), false));
        assert_eq!(names(store, &before), (String::new(), false));
    }
}

pub(super) fn an_unreadable_row_is_left_out(bench: &impl Bench) {
    let store = bench.store();
    for (name, micros) in [("a", 3), ("b", 2), ("c", 1)] {
        store.insert(&media(ROOM, name, micros), false, Quotas::NONE).unwrap();
    }
    bench.execute(
        "UPDATE medias SET id = '../b', author = 'no address', title = NULL, fileName = NULL, \
         fileExtension = NULL, fileSize = -1, length = -1, height = NULL, width = -1 WHERE id = 'b'",
    );
    assert_eq!(names(store, &page(9)), ("a c".into(), false));
    assert_eq!(names(store, &page(2)), ("a".into(), true));
    bench.execute("UPDATE medias SET id = 'b' WHERE id = '../b'");
    let odd = store.media(&channel(ROOM), &id("b")).unwrap().unwrap();
    assert_eq!((odd.size, odd.length, odd.height, odd.width), (0, None, None, None));
    assert_eq!((odd.author.as_str(), odd.description.title), ("no address", None));
}

pub(super) fn an_update_changes_what_it_names_and_the_date(bench: &impl Bench) {
    let store = bench.store();
    let before = media(ROOM, "a", 1);
    store.insert(&before, false, Quotas::NONE).unwrap();
    let new = Description { title: Some(String::new()), description: Some("new".into()), file_name: None };
    let now = Timestamp::from_micros(7_000_001);
    let MediaUpdate::Updated(after) = store.update(&before, &new, now, Quotas::NONE).unwrap() else {
        panic!("not updated")
    };
    let description = Description { file_name: before.description.file_name.clone(), ..new };
    assert_eq!(*after, Media { description, last_updated: now, ..before.clone() });
    assert_eq!(store.media(&before.channel, &before.id).unwrap(), Some(*after));
    let missing = Media { id: id("b"), ..before };
    assert_eq!(update(store, &missing, &Description::default(), Quotas::NONE), MediaUpdate::NoMedia);
}

/// D14: an avatar that was deleted by its id stayed as a row without a file.
pub(super) fn a_delete_takes_everything_with_it(bench: &impl Bench) {
    let store = bench.store();
    let (media, other) = (media(ROOM, "a", 1), media(ROOM, "b", 2));
    store.insert(&other, false, Quotas::NONE).unwrap();
    store.insert(&media, true, Quotas::NONE).unwrap();
    bench.execute(
        "INSERT INTO previews (id, mediaId, mimeType) VALUES ('p1', 'a', 'image/jpeg'), \
         ('p2', 'a', 'image/jpeg'), ('odd/name', 'a', 'image/jpeg'), ('p3', 'b', 'image/jpeg')",
    );
    let mut previews = store.delete(&media.channel, &media.id).unwrap().unwrap().previews;
    previews.sort();
    assert_eq!(previews, [id("p1"), id("p2")]);
    assert_eq!(store.media(&media.channel, &media.id).unwrap(), None);
    assert_eq!(store.avatar(&media.channel).unwrap(), None);
    assert_eq!(store.delete(&media.channel, &media.id).unwrap(), None);
    assert_eq!(store.preview_rows(None, 9).unwrap().len(), 1);
    assert_eq!(store.media(&other.channel, &other.id).unwrap(), Some(other));
}

fn preview(name: &str, side: u32, micros: i64) -> Preview {
    Preview {
        id: id(name),
        height: side,
        width: side + 1,
        mime_type: "image/png".into(),
        size: 5_000_000_000,
        sha1: "bc46".into(),
        last_used: Timestamp::from_micros(micros),
    }
}

pub(super) fn previews_are_found_by_their_size(bench: &impl Bench) {
    let store = bench.store();
    let media = media(ROOM, "a", 1);
    let first = preview("p1", 50, 7);
    assert_eq!(store.insert_preview(&media, &first, 9).unwrap(), PreviewInsert::NoMedia);
    store.insert(&media, false, Quotas::NONE).unwrap();
    assert_eq!(store.preview(&media.id, 50, 51).unwrap(), None);
    // Twice, as after a commit whose reply was lost.
    for _ in 0..2 {
        assert_eq!(store.insert_preview(&media, &first, 9).unwrap(), PreviewInsert::Stored(Vec::new()));
    }
    assert_eq!(store.insert_preview(&media, &preview("p2", 50, 8), 9).unwrap(), PreviewInsert::Taken);
    assert_eq!(store.preview(&media.id, 50, 51).unwrap(), Some(first.clone()));
    assert_eq!(store.preview(&media.id, 51, 50).unwrap(), None);
    store.use_preview(&first.id, Timestamp::from_micros(9)).unwrap();
    assert_eq!(store.preview(&media.id, 50, 51).unwrap().unwrap().last_used, Timestamp::from_micros(9));
    let elsewhere = Media { channel: channel("other@example.org"), ..media.clone() };
    let third = preview("p3", 60, 1);
    assert_eq!(store.insert_preview(&elsewhere, &third, 9).unwrap(), PreviewInsert::NoMedia);
    assert_eq!(store.delete(&media.channel, &media.id).unwrap().unwrap().previews, [first.id]);
}

pub(super) fn the_previews_used_longest_ago_are_evicted(bench: &impl Bench) {
    let store = bench.store();
    let (media, other) = (media(ROOM, "a", 1), media(ROOM, "b", 1));
    store.insert(&media, false, Quotas::NONE).unwrap();
    store.insert(&other, false, Quotas::NONE).unwrap();
    store.insert_preview(&other, &preview("q", 1, 0), 3).unwrap();
    for (name, side, micros) in [("p1", 1, 30), ("p2", 2, 10), ("p3", 3, 20)] {
        let stored = store.insert_preview(&media, &preview(name, side, micros), 3).unwrap();
        assert_eq!(stored, PreviewInsert::Stored(Vec::new()));
    }
    // The new one stays, whatever its date.
    let stored = store.insert_preview(&media, &preview("p4", 4, 0), 3).unwrap();
    assert_eq!(stored, PreviewInsert::Stored(vec![id("p2")]));
    assert_eq!(store.preview(&media.id, 2, 3).unwrap(), None);
    let PreviewInsert::Stored(mut gone) = store.insert_preview(&media, &preview("p5", 5, 40), 1).unwrap()
    else {
        panic!("not stored")
    };
    gone.sort();
    assert_eq!(gone, [id("p1"), id("p3"), id("p4")]);
    let left: Vec<_> = store.preview_rows(None, 9).unwrap().into_iter().map(|row| row.id).collect();
    assert_eq!(left, ["p5", "q"]);
}

/// The files of these removals, with their reasons, sorted.
fn files(removals: &[Removal]) -> Vec<String> {
    let mut files: Vec<_> = removals
        .iter()
        .map(|removal| format!("{}/{}: {}", removal.folder, removal.file, removal.reason))
        .collect();
    files.sort();
    files
}

pub(super) fn a_deletion_notes_which_files_must_go(bench: &impl Bench) {
    let store = bench.store();
    for (room, name) in [(ROOM, "a"), (ROOM, "b"), ("other@example.org", "c")] {
        store.insert(&media(room, name, 1), name == "a", Quotas::NONE).unwrap();
    }
    bench.execute(
        "INSERT INTO previews (id, mediaId, mimeType) VALUES ('p1', 'a', 'image/jpeg'), \
         ('p2', 'a', 'image/jpeg'), ('p3', 'b', 'image/jpeg')",
    );
    assert_eq!(store.removals(0, 9).unwrap(), []);
    store.delete(&channel("other@example.org"), &id("c")).unwrap().unwrap();
    for _ in 0..2 {
        store.delete(&channel(ROOM), &id("a")).unwrap();
    }
    let removals = store.removals(0, 9).unwrap();
    assert_eq!(
        files(&removals),
        [
            "other@example.org/c: media deleted",
            "room@example.org/a: media deleted",
            "room@example.org/p1: preview of a deleted media",
            "room@example.org/p2: preview of a deleted media",
        ]
    );
    assert!(removals.iter().all(|removal| !removal.is_named));
    let age = SystemTime::now().duration_since(removals[0].since.into()).unwrap_or_default();
    assert!(age.as_secs() < 600, "{age:?}");
    // In the order of their coming, in pages.
    assert_eq!(removals[0].file, "c");
    assert_eq!(store.removals(removals[0].id, 2).unwrap(), removals[1..3]);
    assert_eq!(store.removals(removals[3].id, 2).unwrap(), []);
    for _ in 0..2 {
        store.end_removals(&[removals[0].id, removals[2].id]).unwrap();
        assert_eq!(store.removals(0, 9).unwrap(), [removals[1].clone(), removals[3].clone()]);
    }
    // No later one gets the number of an earlier one.
    store.end_removals(&[removals[1].id, removals[3].id]).unwrap();
    store.delete(&channel(ROOM), &id("b")).unwrap().unwrap();
    let later = store.removals(removals[3].id, 9).unwrap();
    assert_eq!(later.len(), 2);
}

pub(super) fn a_deletion_that_fails_notes_nothing(bench: &impl Bench) {
    let store = bench.store();
    let media = media(ROOM, "a", 1);
    store.insert(&media, false, Quotas::NONE).unwrap();
    bench.execute("DROP TABLE avatars");
    store.delete(&media.channel, &media.id).unwrap_err();
    assert_eq!(store.removals(0, 9).unwrap(), []);
    assert!(store.media(&media.channel, &media.id).unwrap().is_some());
}

pub(super) fn a_preview_that_is_evicted_must_go(bench: &impl Bench) {
    let store = bench.store();
    let media = media(ROOM, "a", 1);
    store.insert(&media, false, Quotas::NONE).unwrap();
    for (name, side) in [("p1", 1), ("p2", 2), ("p3", 3)] {
        store.insert_preview(&media, &preview(name, side, side.into()), 2).unwrap();
    }
    let expected = "room@example.org/p1: preview that was used longest ago";
    assert_eq!(files(&store.removals(0, 9).unwrap()), [expected]);
    // A preview that is not stored drives out none.
    assert_eq!(store.insert_preview(&media, &preview("p4", 3, 9), 1).unwrap(), PreviewInsert::Taken);
    assert_eq!(store.removals(0, 9).unwrap().len(), 1);
}

/// Such a row can only come from a database that was restored, or was written to by hand.
pub(super) fn a_file_that_a_row_names_is_told_among_the_removals(bench: &impl Bench) {
    let store = bench.store();
    let media = media(ROOM, "a", 1);
    store.insert(&media, false, Quotas::NONE).unwrap();
    store.insert_preview(&media, &preview("p1", 1, 1), 9).unwrap();
    for name in ["a", "p1", "gone"] {
        bench.execute(&format!(
            "INSERT INTO removals (folder, file, reason) VALUES ('{ROOM}', '{name}', 'x')"
        ));
    }
    let named = |removal: Removal| (removal.file, removal.is_named);
    let removals: Vec<_> = store.removals(0, 9).unwrap().into_iter().map(named).collect();
    assert_eq!(removals, [("a".into(), true), ("p1".into(), true), ("gone".into(), false)]);
}

pub(super) fn each_file_is_known_by_its_row(bench: &impl Bench) {
    let store = bench.store();
    let (kept, deleted) = (media(ROOM, "kept", 1), media(ROOM, "deleted", 1));
    for media in [&kept, &deleted] {
        store.insert(media, false, Quotas::NONE).unwrap();
    }
    store.insert_preview(&kept, &preview("p1", 1, 1), 9).unwrap();
    store.delete(&deleted.channel, &deleted.id).unwrap().unwrap();
    let file = |room: &str, name: &str| (channel(room), id(name));
    let files = [
        (file(ROOM, "kept"), KnownAs::Media),
        (file(ROOM, "other"), KnownAs::Nothing),
        (file(ROOM, "p1"), KnownAs::Preview),
        (file("other@example.org", "kept"), KnownAs::Nothing),
        (file("other@example.org", "p1"), KnownAs::Nothing),
        (file("other@example.org", "deleted"), KnownAs::Nothing),
        (file(ROOM, "deleted"), KnownAs::Removal),
    ];
    let (names, known): (Vec<_>, Vec<_>) = files.into_iter().unzip();
    assert_eq!(store.known_as(&names).unwrap(), known);
    assert_eq!(store.known_as(&[]).unwrap(), []);
    let removals = store.removals(0, 9).unwrap();
    store.end_removals(&[removals[0].id]).unwrap();
    assert_eq!(store.known_as(&names[6..]).unwrap(), [KnownAs::Nothing]);
}

pub(super) fn rows_are_read_in_pages(bench: &impl Bench) {
    let store = bench.store();
    for name in ["a", "b", "c"] {
        store.insert(&media(ROOM, name, 1), false, Quotas::NONE).unwrap();
    }
    bench.execute("UPDATE medias SET entityId = 'No Channel' WHERE id = 'c'");
    bench.execute(
        "INSERT INTO previews (id, mediaId, mimeType) VALUES ('p1', 'a', 'image/jpeg'), ('p2', NULL, 'x')",
    );
    let first = store.media_rows(None, 2).unwrap();
    assert_eq!(first.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!((first[0].channel.as_str(), first[0].size), (ROOM, 5_000_000_000));
    let rest = store.media_rows(Some("b"), 2).unwrap();
    assert_eq!(rest.iter().map(|row| row.channel.as_str()).collect::<Vec<_>>(), ["No Channel"]);
    let previews = store.preview_rows(None, 9).unwrap();
    assert_eq!((previews[0].id.as_str(), previews[0].channel.as_deref()), ("p1", Some(ROOM)));
    assert_eq!((previews[1].id.as_str(), &previews[1].channel), ("p2", &None));
    assert!(store.delete_preview("p1").unwrap());
    assert!(!store.delete_preview("p1").unwrap());
    assert!(store.preview_rows(Some("p2"), 9).unwrap().is_empty());
}

pub(super) fn many_threads_may_insert(bench: &(impl Bench + Sync)) {
    let store = bench.store();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            scope.spawn(move || {
                for at in 0..10 {
                    let media = media(ROOM, &format!("m{thread}-{at}"), at);
                    store.insert(&media, at == 5, Quotas::NONE).unwrap();
                    assert_eq!(store.media(&media.channel, &media.id).unwrap(), Some(media));
                }
            });
        }
    });
    assert_eq!(store.list(&channel(ROOM), &page(99)).unwrap().entries.len(), 80);
}

/// A media without texts.
fn sized(channel: &str, id: &str, size: u64) -> Media {
    Media { size, description: Description::default(), ..media(channel, id, 1) }
}

/// A description of this many bytes.
fn texts(bytes: usize) -> Description {
    Description { description: Some("x".repeat(bytes)), ..Description::default() }
}

fn update(store: &dyn Metadata, media: &Media, new: &Description, quotas: Quotas) -> MediaUpdate {
    store.update(media, new, Timestamp::from_micros(2), quotas).unwrap()
}

/// Room for this many media, and this many bytes in them.
fn room(media: u64, bytes: u64) -> Option<u64> {
    Some(media * MEDIA_COST + bytes)
}

const OVER_CHANNEL: MediaInsert = MediaInsert::OverQuota(Quota::Channel);
const OVER_USER: MediaInsert = MediaInsert::OverQuota(Quota::User);

pub(super) fn a_quota_is_kept_and_a_deletion_gives_room(bench: &impl Bench) {
    let store = bench.store();
    let quotas = Quotas { channel: room(2, 10_000_000_000), user: None };
    let insert = |media: &Media| store.insert(media, true, quotas).unwrap();
    let [first, second] = [sized(ROOM, "a", 6_000_000_000), sized(ROOM, "b", 4_000_000_000)];
    assert_eq!(insert(&sized(ROOM, "large", MEDIA_COST + 10_000_000_001)), OVER_CHANNEL);
    assert_eq!((insert(&first), insert(&second)), (MediaInsert::Stored, MediaInsert::Stored));
    assert_eq!(insert(&sized(ROOM, "c", 0)), OVER_CHANNEL);
    assert_eq!(store.media(&first.channel, &id("c")).unwrap(), None);
    assert_eq!(store.avatar(&first.channel).unwrap(), Some(second));
    assert_eq!(insert(&sized("other@example.org", "d", 1)), MediaInsert::Stored);
    let exceeded = |cost| store.exceeded(&first.channel, "any", cost, quotas).unwrap();
    assert_eq!((exceeded(0), exceeded(1)), (None, Some(Quota::Channel)));
    store.delete(&first.channel, &first.id).unwrap().unwrap();
    let left = MEDIA_COST + 6_000_000_000;
    assert_eq!((exceeded(left), exceeded(left + 1)), (None, Some(Quota::Channel)));
    assert_eq!(insert(&sized(ROOM, "e", 6_000_000_000)), MediaInsert::Stored);
    assert_eq!(store.exceeded(&first.channel, "any", u64::MAX, Quotas::NONE).unwrap(), None);
}

pub(super) fn a_user_has_one_quota_in_all_channels(bench: &impl Bench) {
    let store = bench.store();
    let quotas = Quotas { channel: room(2, 8), user: room(2, 10) };
    let insert = |media: &Media| store.insert(media, false, quotas).unwrap();
    assert_eq!(insert(&sized(ROOM, "a", 6)), MediaInsert::Stored);
    assert_eq!(insert(&sized("other@example.org", "b", 5)), OVER_USER);
    assert_eq!(insert(&sized("other@example.org", "b", 4)), MediaInsert::Stored);
    let bob = |id, size| Media { author: "bob@example.org".into(), ..sized(ROOM, id, size) };
    assert_eq!(insert(&bob("c", 3)), OVER_CHANNEL);
    assert_eq!(insert(&bob("c", 2)), MediaInsert::Stored);
    let exceeded = |room, author| store.exceeded(&channel(room), author, 1, quotas).unwrap();
    assert_eq!(exceeded(ROOM, "bob@example.org"), Some(Quota::Channel));
    assert_eq!(exceeded("other@example.org", "alice@example.org"), Some(Quota::User));
    assert_eq!(exceeded("other@example.org", "bob@example.org"), None);
}

/// Two threads for each of two users in each of two channels, so that locks are waited for crosswise.
pub(super) fn concurrent_inserts_keep_a_quota(bench: &(impl Bench + Sync)) {
    let store = bench.store();
    let quotas = Quotas { channel: room(4, 45), user: room(3, 35) };
    let (rooms, users) = ([ROOM, "other@example.org"], ["alice@example.org", "bob@example.org"]);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            scope.spawn(move || {
                // The last character of the id says which part of a sum counts: at any time, threads change several.
                for at in 0..5 {
                    let new = sized(rooms[thread % 2], &format!("m{at}-{thread}"), 10);
                    let new = Media { author: users[thread / 2 % 2].into(), ..new };
                    store.insert(&new, at == 0, quotas).unwrap();
                }
            });
        }
    });
    let media: Vec<Media> =
        rooms.iter().flat_map(|room| store.list(&channel(room), &page(99)).unwrap().entries).collect();
    for room in rooms {
        assert!(media.iter().filter(|media| media.channel.as_str() == room).count() <= 4);
    }
    // Three for each user, since four would be more than 35; and both got theirs, as two channels have room for eight.
    for user in users {
        assert_eq!(media.iter().filter(|media| media.author == user).count(), 3);
    }
}

pub(super) fn storing_twice_within_a_quota_succeeds(bench: &impl Bench) {
    let store = bench.store();
    let quotas = Quotas { channel: room(1, 10), user: room(1, 10) };
    let media = sized(ROOM, "a", 10);
    for _ in 0..2 {
        assert_eq!(store.insert(&media, false, quotas).unwrap(), MediaInsert::Stored);
    }
    let other = Media { sha1: "0".repeat(40), ..media };
    assert!(matches!(store.insert(&other, false, quotas), Err(WriteError::Failed(_))));
}

pub(super) fn texts_count_in_a_quota(bench: &impl Bench) {
    let store = bench.store();
    let two = |text: &str| Some(text.repeat(2));
    let description =
        Description { file_name: two("a"), title: two("\u{e9}"), description: two("\u{1F642}") };
    let [first, second] =
        ["a", "b"].map(|id| Media { description: description.clone(), ..sized(ROOM, id, 0) });
    let quotas = Quotas { channel: room(2, 28), user: None };
    assert_eq!(store.insert(&first, false, quotas).unwrap(), MediaInsert::Stored);
    let exceeded = |cost| store.exceeded(&first.channel, "any", cost, quotas).unwrap();
    assert_eq!((exceeded(MEDIA_COST + 14), exceeded(MEDIA_COST + 15)), (None, Some(Quota::Channel)));
    let longer = Media { size: 1, ..second.clone() };
    assert_eq!(store.insert(&longer, false, quotas).unwrap(), OVER_CHANNEL);
    assert_eq!(store.insert(&second, false, quotas).unwrap(), MediaInsert::Stored);
}

/// A size that no file can have counts as none, and no sum overflows.
pub(super) fn impossible_sizes_break_no_sum(bench: &impl Bench) {
    let store = bench.store();
    for name in ["a", "b"] {
        store.insert(&sized(ROOM, name, 5), false, Quotas::NONE).unwrap();
    }
    let exceeded = |bytes, cost| {
        let quotas = Quotas { channel: room(2, bytes), user: room(2, bytes) };
        store.exceeded(&channel(ROOM), "alice@example.org", cost, quotas).unwrap()
    };
    bench.execute("UPDATE medias SET fileSize = -5");
    assert_eq!((exceeded(0, 0), exceeded(0, 1)), (None, Some(Quota::Channel)));
    bench.execute(&format!("UPDATE medias SET fileSize = {}", i64::MIN));
    assert_eq!((exceeded(0, 0), exceeded(0, 1)), (None, Some(Quota::Channel)));
    for size in [i64::MAX, i64::MAX / 2 + 1] {
        bench.execute(&format!("UPDATE medias SET fileSize = {size}"));
        assert_eq!(exceeded(1_000_000, 0), Some(Quota::Channel));
    }
}

pub(super) fn an_update_grows_as_far_as_a_quota_has_room(bench: &impl Bench) {
    let store = bench.store();
    let (first, second) = (sized(ROOM, "a", 6), sized("other@example.org", "b", 0));
    for media in [&first, &second] {
        store.insert(media, false, Quotas::NONE).unwrap();
    }
    for (quotas, over) in [
        (Quotas { channel: room(1, 10), user: None }, Quota::Channel),
        (Quotas { channel: None, user: room(2, 10) }, Quota::User),
        (Quotas { channel: room(1, 10), user: room(2, 10) }, Quota::Channel),
    ] {
        let stored = || store.media(&first.channel, &first.id).unwrap();
        let before = stored();
        assert_eq!(update(store, &first, &texts(5), quotas), MediaUpdate::OverQuota(over));
        assert_eq!(stored(), before);
        let MediaUpdate::Updated(after) = update(store, &first, &texts(4), quotas) else {
            panic!("{over:?}")
        };
        assert_eq!(after.description.size(), 4);
        assert_eq!(stored(), Some(*after));
        assert!(matches!(update(store, &first, &texts(0), quotas), MediaUpdate::Updated(_)));
    }
    let missing = Media { id: id("c"), ..first };
    let none = Quotas { channel: Some(1), user: Some(1) };
    assert_eq!(update(store, &missing, &texts(9), none), MediaUpdate::NoMedia);
}

pub(super) fn an_update_that_does_not_grow_is_never_over_a_quota(bench: &impl Bench) {
    let store = bench.store();
    let quotas = Quotas { channel: Some(1), user: Some(1) };
    let media = Media { description: texts(100), ..sized(ROOM, "a", 5) };
    store.insert(&media, false, Quotas::NONE).unwrap();
    let moved =
        Description { title: Some("y".repeat(60)), description: Some("x".repeat(40)), file_name: None };
    for new in [&Description::default(), &texts(100), &moved, &texts(30)] {
        assert!(matches!(update(store, &media, new, quotas), MediaUpdate::Updated(_)), "{new:?}");
    }
    // It is what is stored that counts, and not what the caller read before.
    assert_eq!(update(store, &media, &texts(41), quotas), OVER_CHANNEL_UPDATE);
}

const OVER_CHANNEL_UPDATE: MediaUpdate = MediaUpdate::OverQuota(Quota::Channel);

pub(super) fn concurrent_updates_keep_a_quota(bench: &(impl Bench + Sync)) {
    let store = bench.store();
    let media: Vec<Media> =
        (0..8).map(|at| sized([ROOM, "other@example.org"][at % 2], &format!("m{at}"), 0)).collect();
    for media in &media {
        store.insert(media, false, Quotas::NONE).unwrap();
    }
    // With uploads, which don't fit, among them, so that locks are waited for crosswise.
    let quotas = Quotas { channel: room(4, 1000), user: room(8, 35) };
    for round in 0..5 {
        let begin = Barrier::new(media.len());
        let grow = |media: &Media| {
            begin.wait();
            let updated = update(store, media, &texts(10), quotas);
            let new = Media { id: id(&format!("{}-{round}", media.id)), size: 1000, ..media.clone() };
            assert_ne!(store.insert(&new, true, quotas).unwrap(), MediaInsert::Stored);
            matches!(updated, MediaUpdate::Updated(_))
        };
        let grown = std::thread::scope(|scope| {
            let updates: Vec<_> = media.iter().map(|media| scope.spawn(|| grow(media))).collect();
            updates.into_iter().filter_map(|update| update.join().unwrap().then_some(())).count()
        });
        assert_eq!(grown, 3);
        for media in &media {
            update(store, media, &texts(0), Quotas::NONE);
        }
    }
}

pub(super) fn no_text_is_taken_for_sql(bench: &impl Bench) {
    let store = bench.store();
    let odd = "$1 ?2 '; DROP TABLE medias; -- \u{1F642} \" \\ \n";
    let media = Media {
        description: Description {
            file_name: Some(odd.into()),
            title: Some(odd.into()),
            description: Some(odd.into()),
        },
        author: odd.into(),
        mime_type: odd.into(),
        ..media("zo\u{e9}@example.org", "a", 1)
    };
    store.insert(&media, true, Quotas::NONE).unwrap();
    assert_eq!(store.avatar(&media.channel).unwrap(), Some(media));
}

/// Asserts that all sums are what the rows say.
#[track_caller]
fn assert_sums(store: &dyn Metadata) {
    for kind in UsageKind::ALL {
        assert_eq!(store.wrong_usage(kind).unwrap(), []);
    }
}

/// A quota that exactly so many files of so many bytes together fill.
#[track_caller]
fn assert_used(store: &dyn Metadata, room_of: &str, author: &str, files: u64, bytes: u64) {
    let exceeded = |quotas| store.exceeded(&channel(room_of), author, 0, quotas).unwrap();
    let just = room(files, bytes);
    let less = room(files, bytes).map(|bytes| bytes - 1);
    assert_eq!(exceeded(Quotas { channel: just, user: None }), None);
    assert_eq!(exceeded(Quotas { channel: None, user: just }), None);
    assert_eq!(exceeded(Quotas { channel: less, user: None }), Some(Quota::Channel));
    assert_eq!(exceeded(Quotas { channel: None, user: less }), Some(Quota::User));
}

pub(super) fn sums_follow_every_change_of_a_row(bench: &impl Bench) {
    let store = bench.store();
    let media = sized(ROOM, "a", 100);
    let author = media.author.as_str();
    store.insert(&media, true, Quotas::NONE).unwrap();
    assert_used(store, ROOM, author, 1, 100);
    store.insert(&media, true, Quotas::NONE).unwrap();
    assert_used(store, ROOM, author, 1, 100);
    store.insert(&Media { description: texts(7), ..sized(ROOM, "b", 1) }, false, Quotas::NONE).unwrap();
    assert_used(store, ROOM, author, 2, 108);
    update(store, &media, &texts(30), Quotas::NONE);
    assert_used(store, ROOM, author, 2, 138);
    assert!(matches!(
        update(store, &media, &texts(40), Quotas { channel: Some(1), user: None }),
        MediaUpdate::OverQuota(_)
    ));
    assert_used(store, ROOM, author, 2, 138);
    let full = Quotas { channel: None, user: Some(1) };
    assert_eq!(store.insert(&sized(ROOM, "c", 1), true, full).unwrap(), OVER_USER);
    assert_used(store, ROOM, author, 2, 138);
    assert_sums(store);
    store.delete(&media.channel, &media.id).unwrap().unwrap();
    assert_used(store, ROOM, author, 1, 8);
    store.delete(&media.channel, &id("b")).unwrap().unwrap();
    let none = Quotas { channel: Some(0), user: Some(0) };
    assert_eq!(store.exceeded(&media.channel, author, 0, none).unwrap(), None, "nothing is left");
    assert_sums(store);
}

pub(super) fn sums_follow_concurrent_changes(bench: &(impl Bench + Sync)) {
    let store = bench.store();
    let (rooms, users) = ([ROOM, "other@example.org"], ["alice@example.org", "bob@example.org"]);
    std::thread::scope(|scope| {
        for thread in 0..8_usize {
            scope.spawn(move || {
                for at in 0..8_u64 {
                    let new = sized(rooms[thread % 2], &format!("m{thread}-{at}"), at);
                    let new = Media { author: users[thread / 2 % 2].into(), ..new };
                    store.insert(&new, at % 3 == 0, Quotas::NONE).unwrap();
                    update(store, &new, &texts(10), Quotas::NONE);
                    if at % 2 == 0 {
                        store.delete(&new.channel, &new.id).unwrap().unwrap();
                    }
                }
            });
        }
    });
    assert_sums(store);
    // Of each thread 1, 3, 5 and 7; two threads in each channel for each user.
    assert_used(store, ROOM, users[0], 16, 4 * (16 + 4 * 10));
}

/// The original's program, and a person with a shell, know nothing of sums.
pub(super) fn sums_are_counted_for_every_writer(bench: &impl Bench) {
    let store = bench.store();
    for name in ["a", "b", "c"] {
        store.insert(&sized(ROOM, name, 10), false, Quotas::NONE).unwrap();
    }
    bench.execute("UPDATE medias SET fileSize = fileSize + 5, title = 'four' WHERE id <> 'c'");
    assert_used(store, ROOM, "alice@example.org", 3, 48);
    bench.execute(
        "UPDATE medias SET entityId = 'other@example.org', author = 'bob@example.org' WHERE id = 'a'",
    );
    assert_used(store, ROOM, "alice@example.org", 2, 29);
    assert_used(store, "other@example.org", "bob@example.org", 1, 19);
    bench.execute("UPDATE medias SET id = 'z' WHERE id = 'b'");
    assert_sums(store);
    bench.execute("DELETE FROM medias");
    assert_sums(store);
}

pub(super) fn a_wrong_sum_is_found_and_corrected(bench: &impl Bench) {
    let store = bench.store();
    store.insert(&sized(ROOM, "a", 10), false, Quotas::NONE).unwrap();
    bench.execute("UPDATE usage SET files = files + 2, bytes = bytes - 3 WHERE kind = 'channel'");
    bench.execute("DELETE FROM usage WHERE kind = 'user'");
    bench.execute("INSERT INTO usage (kind, name, part, files, bytes) VALUES ('user', 'nobody', 0, 1, 1)");
    let channels = store.wrong_usage(UsageKind::Channel).unwrap();
    let part = channels[0].part;
    let wrong =
        |kind, name: &str, part, files, bytes| WrongSum { kind, name: name.into(), part, files, bytes };
    assert_eq!(channels, [wrong(UsageKind::Channel, ROOM, part, 2, -3)]);
    assert_eq!(store.wrong_usage(UsageKind::Total).unwrap(), []);
    let users = store.wrong_usage(UsageKind::User).unwrap();
    let alice = wrong(UsageKind::User, "alice@example.org", part, -1, -10);
    let expected = [alice, wrong(UsageKind::User, "nobody", 0, 1, 1)];
    assert_eq!(users, expected);
    for _ in 0..2 {
        for wrong in channels.iter().chain(&expected) {
            store.correct_usage(wrong).unwrap();
        }
        assert_sums(store);
    }
    assert_used(store, ROOM, "alice@example.org", 1, 10);
}

pub(super) fn a_second_deletion_finds_nothing(bench: &impl Bench) {
    let store = bench.store();
    let media = media(ROOM, "a", 1);
    store.insert(&media, false, Quotas::NONE).unwrap();
    assert!(store.delete(&media.channel, &media.id).unwrap().is_some());
    assert_eq!(store.delete(&media.channel, &media.id).unwrap(), None);
}

pub(super) fn the_version_of_the_schema_is_told(bench: &impl Bench) {
    let store = bench.store();
    assert_eq!(store.schema_version().unwrap(), Some(CURRENT));
    bench.execute("INSERT INTO schema_version (version) VALUES (99)");
    let version = store.schema_version().unwrap();
    assert_eq!(version, Some(99));
    assert!(super::refuse_newer(version).unwrap_err().to_string().contains("newer program"));
    bench.execute("DROP TABLE schema_version");
    assert_eq!(store.schema_version().unwrap(), Some(0));
}

pub(super) fn a_store_gets_one_id_once(bench: &impl Bench) {
    let store = bench.store();
    let state = || store.store_state().unwrap();
    assert_eq!(state(), DatabaseState { version: Some(CURRENT), id: None, has_media: false });
    let barrier = Barrier::new(4);
    let set = || {
        barrier.wait();
        store.set_store_id(&StoreId::random()).unwrap()
    };
    let given: Vec<StoreId> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(set)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(given.iter().all(|id| *id == given[0]), "{given:?}");
    store.insert(&media(ROOM, "a", 1), false, Quotas::NONE).unwrap();
    let expected = DatabaseState { version: Some(CURRENT), id: Some(given[0].clone()), has_media: true };
    assert_eq!(state(), expected);
    bench.execute("UPDATE store SET id = 'odd'");
    assert_eq!(store.store_state().unwrap_err().kind(), crate::error::Kind::Corrupt);
}
