//! Sums of files and bytes: of a channel, of a user, and of all.

use super::{Bench, OVER_USER, ROOM, channel, id, room, sized, texts, update};
use crate::model::{Media, Quota, Quotas};
use crate::store::{MediaUpdate, Metadata, UsageKind, WrongSum};

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

pub(in crate::store) fn sums_follow_every_change_of_a_row(bench: &impl Bench) {
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

pub(in crate::store) fn sums_follow_concurrent_changes(bench: &(impl Bench + Sync)) {
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
pub(in crate::store) fn sums_are_counted_for_every_writer(bench: &impl Bench) {
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

pub(in crate::store) fn a_wrong_sum_is_found_and_corrected(bench: &impl Bench) {
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
