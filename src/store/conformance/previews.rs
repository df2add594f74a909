//! Rows of previews.

use super::{Bench, ROOM, channel, id, media, preview};
use crate::clock::Timestamp;
use crate::model::{Media, Quotas};
use crate::store::PreviewInsert;

pub(in crate::store) fn previews_are_found_by_their_size(bench: &impl Bench) {
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

pub(in crate::store) fn the_previews_used_longest_ago_are_evicted(bench: &impl Bench) {
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
