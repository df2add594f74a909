//! Files that must be removed, and the rows by which files are known.

use std::time::SystemTime;

use super::{Bench, ROOM, channel, id, media, preview};
use crate::model::Quotas;
use crate::store::{KnownAs, PreviewInsert, Removal};

/// The files of these removals, with their reasons, sorted.
fn files(removals: &[Removal]) -> Vec<String> {
    let mut files: Vec<_> = removals
        .iter()
        .map(|removal| format!("{}/{}: {}", removal.folder, removal.file, removal.reason))
        .collect();
    files.sort();
    files
}

pub(in crate::store) fn a_deletion_notes_which_files_must_go(bench: &impl Bench) {
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

pub(in crate::store) fn a_deletion_that_fails_notes_nothing(bench: &impl Bench) {
    let store = bench.store();
    let media = media(ROOM, "a", 1);
    store.insert(&media, false, Quotas::NONE).unwrap();
    bench.execute("DROP TABLE avatars");
    store.delete(&media.channel, &media.id).unwrap_err();
    assert_eq!(store.removals(0, 9).unwrap(), []);
    assert!(store.media(&media.channel, &media.id).unwrap().is_some());
}

pub(in crate::store) fn a_preview_that_is_evicted_must_go(bench: &impl Bench) {
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
pub(in crate::store) fn a_file_that_a_row_names_is_told_among_the_removals(bench: &impl Bench) {
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

pub(in crate::store) fn each_file_is_known_by_its_row(bench: &impl Bench) {
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
