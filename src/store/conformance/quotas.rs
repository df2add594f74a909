//! Quotas of a channel and of a user.

use std::sync::Barrier;

use super::{Bench, OVER_CHANNEL, OVER_USER, ROOM, channel, id, page, room, sized, texts, update};
use crate::limits::MEDIA_COST;
use crate::model::{Description, Media, Quota, Quotas};
use crate::store::{MediaInsert, MediaUpdate, WriteError};

pub(in crate::store) fn a_quota_is_kept_and_a_deletion_gives_room(bench: &impl Bench) {
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

pub(in crate::store) fn a_user_has_one_quota_in_all_channels(bench: &impl Bench) {
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
pub(in crate::store) fn concurrent_inserts_keep_a_quota(bench: &(impl Bench + Sync)) {
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

pub(in crate::store) fn storing_twice_within_a_quota_succeeds(bench: &impl Bench) {
    let store = bench.store();
    let quotas = Quotas { channel: room(1, 10), user: room(1, 10) };
    let media = sized(ROOM, "a", 10);
    for _ in 0..2 {
        assert_eq!(store.insert(&media, false, quotas).unwrap(), MediaInsert::Stored);
    }
    let other = Media { sha1: "0".repeat(40), ..media };
    assert!(matches!(store.insert(&other, false, quotas), Err(WriteError::Failed(_))));
}

pub(in crate::store) fn texts_count_in_a_quota(bench: &impl Bench) {
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
pub(in crate::store) fn impossible_sizes_break_no_sum(bench: &impl Bench) {
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

pub(in crate::store) fn an_update_grows_as_far_as_a_quota_has_room(bench: &impl Bench) {
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

pub(in crate::store) fn an_update_that_does_not_grow_is_never_over_a_quota(bench: &impl Bench) {
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

pub(in crate::store) fn concurrent_updates_keep_a_quota(bench: &(impl Bench + Sync)) {
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
