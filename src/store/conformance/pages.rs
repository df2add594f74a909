//! Lists of a channel, and rows that are read in pages.

use std::collections::BTreeSet;

use super::{Bench, ROOM, channel, id, media, page};
use crate::limits;
use crate::model::{MediaId, Page, Quotas};
use crate::store::Metadata;

fn names(store: &dyn Metadata, page: &Page) -> (String, bool) {
    let listing = store.list(&channel(ROOM), page).unwrap();
    let names: Vec<&str> = listing.entries.iter().map(|media| media.id.as_str()).collect();
    (names.join(" "), listing.more)
}

pub(in crate::store) fn lists_are_newest_first_and_ties_by_id(bench: &impl Bench) {
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

pub(in crate::store) fn pages_end_where_their_texts_are_too_long(bench: &impl Bench) {
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

pub(in crate::store) fn pages_lead_through_everything_once(bench: &impl Bench) {
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

pub(in crate::store) fn a_page_after_or_before_a_missing_id_is_empty(bench: &impl Bench) {
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

pub(in crate::store) fn an_unreadable_row_is_left_out(bench: &impl Bench) {
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

pub(in crate::store) fn rows_are_read_in_pages(bench: &impl Bench) {
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
