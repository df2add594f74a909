//! Media and avatars that are stored, read, updated and deleted.

use super::{Bench, ROOM, channel, id, media, page, update};
use crate::clock::Timestamp;
use crate::model::{Description, Media, Page, Quotas};
use crate::store::{MediaUpdate, WriteError};

pub(in crate::store) fn a_media_comes_back_as_it_was_stored(bench: &impl Bench) {
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

pub(in crate::store) fn a_media_exists_in_its_channel_only(bench: &impl Bench) {
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

pub(in crate::store) fn storing_twice_succeeds_and_a_taken_id_fails(bench: &impl Bench) {
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

pub(in crate::store) fn a_failed_insert_leaves_nothing(bench: &impl Bench) {
    let store = bench.store();
    bench.execute("DROP TABLE avatars");
    let media = media(ROOM, "a", 1);
    assert!(matches!(store.insert(&media, true, Quotas::NONE), Err(WriteError::Failed(_))));
    assert_eq!(store.media(&media.channel, &media.id).unwrap(), None);
}

pub(in crate::store) fn the_avatar_is_the_last_one_stored(bench: &impl Bench) {
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
pub(in crate::store) fn first_avatars_may_race(bench: &(impl Bench + Sync)) {
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

pub(in crate::store) fn an_update_changes_what_it_names_and_the_date(bench: &impl Bench) {
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
pub(in crate::store) fn a_delete_takes_everything_with_it(bench: &impl Bench) {
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

pub(in crate::store) fn a_second_deletion_finds_nothing(bench: &impl Bench) {
    let store = bench.store();
    let media = media(ROOM, "a", 1);
    store.insert(&media, false, Quotas::NONE).unwrap();
    assert!(store.delete(&media.channel, &media.id).unwrap().is_some());
    assert_eq!(store.delete(&media.channel, &media.id).unwrap(), None);
}

pub(in crate::store) fn many_threads_may_insert(bench: &(impl Bench + Sync)) {
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

pub(in crate::store) fn no_text_is_taken_for_sql(bench: &impl Bench) {
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
