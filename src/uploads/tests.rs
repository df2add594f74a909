use std::fs;
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use super::testing::{Bench, Granted, put_through, request, settings};
use super::*;
use crate::clock::{Clock, Timestamp};
use crate::limits;
use crate::model::{Refusal, UploadId, Uploaded};
use crate::secret::Secret;

const DAY: Duration = Duration::from_secs(86_400);

fn content(bench: &Bench, uploaded: &Uploaded) -> Vec<u8> {
    let mut bytes = Vec::new();
    (&*bench.service.bytes(uploaded).unwrap().unwrap().whole().unwrap()).read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn a_file_that_was_put_to_a_slot_is_served() {
    let bench = Bench::new(settings());
    let slot = bench.slot(500);
    assert!(!bench.is_there(&slot));
    let bytes: Vec<u8> = (0..500_u32).map(|number| number as u8).collect();
    bench.put(&slot, &bytes).unwrap();
    let uploaded = bench.service.find(&slot.id).unwrap().unwrap();
    assert_eq!(content(&bench, &uploaded), bytes);
    let Uploaded { owner, file_name, mime_type, size, purpose, expires, .. } = &*uploaded;
    assert_eq!((owner.as_deref(), file_name.as_str()), (Some("alice@example.org"), "a b.jpg"));
    assert_eq!((mime_type.as_str(), *size, *purpose), ("image/jpeg", 500, Purpose::Message));
    assert_eq!(*expires, Some(bench.clock.now().after(31 * DAY)));
    assert_eq!(uploaded.sha256.len(), 64);
    assert_eq!(bench.files().len(), 1);
    assert_eq!(bench.service.max_age(&uploaded), Duration::from_secs(3600));
    bench.clock.pass(31 * DAY - Duration::from_secs(60));
    assert_eq!(bench.service.max_age(&uploaded), Duration::from_secs(60));
}

#[test]
fn a_type_is_served_as_it_was_sent_or_as_octets() {
    let bench = Bench::new(settings());
    for (sent, served) in [
        (Some("image/jpeg"), "image/jpeg"),
        (Some("Text/Plain; charset=\"UTF-8\""), "Text/Plain; charset=\"UTF-8\""),
        (Some("text/html"), "text/html"),
        (Some("nonsense"), "application/octet-stream"),
        (Some("a/b\r\nX: y"), "application/octet-stream"),
        (Some(""), "application/octet-stream"),
        (None, "application/octet-stream"),
    ] {
        let slot = bench.grant(SlotRequest { content_type: sent.map(str::to_owned), ..request(1) }).unwrap();
        bench.put(&slot, b"x").unwrap();
        assert_eq!(bench.service.find(&slot.id).unwrap().unwrap().mime_type, served, "{sent:?}");
    }
}

#[test]
fn a_put_that_differs_from_its_slot_is_refused_and_leaves_nothing() {
    let bench = Bench::new(settings());
    let slot = bench.slot(5);
    let begin = |id: &UploadId, name: &str, token: Option<&str>, length| {
        bench.service.begin(PutTarget::Slot { id, name, token }, length).map(|_| ()).unwrap_err()
    };
    let (id, name, token) = (&slot.id, slot.name.as_str(), slot.token.as_str());
    assert_eq!(begin(&UploadId::random(), name, Some(token), Some(5)), Refusal::BadSlot);
    for other in ["a b.jpeg", "a b.jp", "A b.jpg", "a%20b.jpg", ""] {
        assert_eq!(begin(id, other, Some(token), Some(5)), Refusal::BadSlot, "{other}");
    }
    assert_eq!(begin(id, name, None, Some(5)), Refusal::BadSlot);
    for place in 0..token.len() {
        let mut changed = token.as_bytes().to_vec();
        changed[place] = if changed[place] == b'A' { b'Q' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        assert_eq!(begin(id, name, Some(&changed), Some(5)), Refusal::BadSlot, "{place}");
    }
    assert_eq!(begin(id, name, Some(token), None), Refusal::LengthRequired);
    for length in [0, 4, 6] {
        assert_eq!(begin(id, name, Some(token), Some(length)), Refusal::OtherSize);
    }
    let put = bench.service.begin(slot.target(), Some(5)).unwrap();
    assert_eq!(bench.service.commit(put), Err(Refusal::OtherSize), "its body did not come");
    let mut put = bench.service.begin(slot.target(), Some(5)).unwrap();
    assert!(put.write_all(b"123456").is_err());
    assert!(bench.service.commit(put).is_err());
    assert!(bench.files().is_empty() && !bench.is_there(&slot));
    bench.put(&slot, b"12345").unwrap();
}

#[test]
fn a_slot_is_good_for_five_minutes_and_a_put_for_two_days() {
    let bench = Bench::new(settings());
    let (early, late) = (bench.slot(1), bench.slot(1));
    bench.clock.pass(limits::SLOT_TIME - Duration::from_secs(1));
    let begin = |slot: &Granted| {
        let mut put = bench.service.begin(slot.target(), Some(1)).unwrap();
        put.write_all(b"x").unwrap();
        put
    };
    let (slow, slower) = (begin(&early), begin(&late));
    bench.clock.pass(Duration::from_secs(1));
    assert_eq!(bench.service.begin(early.target(), Some(1)).err(), Some(Refusal::SlotEnded));
    bench.clock.pass(limits::PUT_TIME - Duration::from_secs(1));
    bench.service.commit(slow).unwrap();
    bench.clock.pass(Duration::from_secs(1));
    assert_eq!(bench.service.commit(slower), Err(Refusal::SlotEnded));
    assert_eq!(bench.files().len(), 1);
}

#[test]
fn the_first_put_to_commit_wins_and_the_same_bytes_are_no_other_file() {
    let bench = Bench::new(settings());
    let slot = bench.slot(3);
    let begin = |bytes: &[u8]| {
        let mut put = bench.service.begin(slot.target(), Some(3)).unwrap();
        put.write_all(bytes).unwrap();
        put
    };
    let (first, second, third) = (begin(b"one"), begin(b"two"), begin(b"two"));
    bench.service.commit(second).unwrap();
    assert_eq!(bench.service.commit(first), Err(Refusal::SlotUsed));
    assert_eq!(bench.service.commit(third), Ok(()));
    assert_eq!(bench.put(&slot, b"two"), Ok(()), "a client that did not see its 201");
    assert_eq!(bench.put(&slot, b"one"), Err(Refusal::SlotUsed));
    assert_eq!(content(&bench, &bench.service.find(&slot.id).unwrap().unwrap()), b"two");
    assert_eq!(bench.files().len(), 1);
    assert_eq!(bench.service.reservations.held(&"alice@example.org".parse().unwrap()).bytes, 0);
}

#[test]
fn a_slot_commits_once_whatever_becomes_of_its_file() {
    let bench = Bench::new(settings());
    let slot = bench.store(b"one");
    let mut late = bench.service.begin(bench.slot(3).target(), Some(3)).unwrap();
    late.write_all(b"two").unwrap();
    assert_eq!(bench.service.table.delete_uploads(std::slice::from_ref(&slot.id)).unwrap().len(), 1);
    bench.service.forget(&slot.id);
    assert!(!bench.is_there(&slot));
    for bytes in [b"one", b"two"] {
        assert_eq!(bench.put(&slot, bytes), Err(Refusal::SlotUsed));
    }
    bench.sweep();
    assert!(bench.files().iter().all(|path| !path.to_string_lossy().contains(".uploads")));
    drop(late);
    let rows = || {
        let connection = rusqlite::Connection::open(bench.scratch.join("metadata.sqlite")).unwrap();
        connection.query_row("SELECT COUNT(*) FROM uploads", [], |row| row.get::<_, i64>(0)).unwrap()
    };
    bench.clock.pass(limits::SLOT_TIME + 2 * limits::PUT_TIME - Duration::from_secs(1));
    bench.sweep();
    assert_eq!(rows(), 1);
    bench.clock.pass(Duration::from_secs(1));
    bench.sweep();
    assert_eq!(rows(), 0);
}

#[test]
fn from_its_stamp_on_a_file_is_gone_and_the_next_sweep_removes_it() {
    let bench = Bench::new(settings());
    let stamp = bench.clock.now().after(Duration::from_secs(60));
    let ephemeral =
        SlotRequest { purpose: Some(Purpose::Ephemeral), expire_before: Some(stamp), ..request(3) };
    let (slot, late) = (bench.grant(ephemeral.clone()).unwrap(), bench.grant(ephemeral).unwrap());
    bench.put(&slot, b"one").unwrap();
    let mut put = bench.service.begin(late.target(), Some(3)).unwrap();
    put.write_all(b"two").unwrap();
    let message = bench.store(b"stays");
    bench.clock.pass(Duration::from_millis(59_999));
    bench.sweep();
    assert!(bench.is_there(&slot) && bench.service.known(&slot.id).is_some());
    bench.clock.pass(Duration::from_millis(1));
    assert!(!bench.is_there(&slot) && bench.service.known(&slot.id).is_none());
    assert_eq!(bench.put(&slot, b"one"), Err(Refusal::SlotEnded));
    assert_eq!(bench.service.commit(put), Err(Refusal::SlotEnded));
    assert_eq!(bench.files().len(), 2);
    bench.sweep();
    assert_eq!(bench.files().len(), 1);
    assert!(bench.is_there(&message));
}

#[test]
fn a_batch_of_expired_files_is_no_limit() {
    let bench = Bench::new(settings());
    for _ in 0..=limits::EXPIRY_BATCH {
        bench.store(b"x");
    }
    bench.clock.pass(31 * DAY);
    bench.sweep();
    assert!(bench.files().is_empty());
    assert_eq!(bench.service.chore_counts().removed.get(), limits::EXPIRY_BATCH as u64 + 1);
}

#[test]
fn a_denied_user_is_refused_when_a_put_begins_and_when_it_ends() {
    let bench = Bench::new(settings());
    let slot = bench.slot(3);
    let mut put = bench.service.begin(slot.target(), Some(3)).unwrap();
    put.write_all(b"one").unwrap();
    bench.service.set_settings(Settings { deny: vec!["alice@example.org".parse().unwrap()], ..settings() });
    assert_eq!(bench.service.commit(put), Err(Refusal::SenderRefused));
    assert_eq!(bench.put(&slot, b"one"), Err(Refusal::SenderRefused));
    assert!(bench.files().is_empty());
    let refused = bench.grant(request(1)).unwrap_err();
    assert!(matches!(refused, SlotRefusal::Forbidden { .. }), "{refused:?}");
}

#[test]
fn slots_are_refused_as_the_xep_says() {
    let bench = Bench::new(settings());
    let now = bench.clock.now();
    let word = |refusal: &SlotRefusal| match refusal {
        SlotRefusal::TooLarge { max, .. } => format!("too large {max}"),
        SlotRefusal::NoRoom { .. } => "no room".into(),
        SlotRefusal::Forbidden { .. } => "forbidden".into(),
        SlotRefusal::BadRequest { .. } => "bad request".into(),
        SlotRefusal::Failed { .. } => "failed".into(),
    };
    for (request, expected) in [
        (SlotRequest { size: 0, ..request(1) }, "bad request"),
        (request(1001), "too large 1000"),
        (request(u64::MAX), "too large 1000"),
        (SlotRequest { name: "..".into(), ..request(1) }, "bad request"),
        (SlotRequest { expire_before: Some(now), ..request(1) }, "bad request"),
        (SlotRequest { owner: "a@sub.example.org".parse().unwrap(), ..request(1) }, "forbidden"),
        (SlotRequest { owner: "a@example.com".parse().unwrap(), ..request(1) }, "forbidden"),
        (
            SlotRequest { owner: format!("{}@example.org", "a".repeat(1023)).parse().unwrap(), ..request(1) },
            "ok",
        ),
    ] {
        let (memory, grant) = (bench.service.decide_from_memory(&request), bench.grant(request.clone()));
        assert_eq!(memory.as_ref().map_or_else(word, |_| "ok".into()), expected, "{request:?}");
        assert_eq!(grant.as_ref().map_or_else(word, |_| "ok".into()), expected, "{request:?}");
    }
    let counted = [
        ("granted", 1),
        ("too_large", 4),
        ("no_room", 0),
        ("forbidden", 4),
        ("bad_request", 6),
        ("failed", 0),
    ];
    assert_eq!(bench.service.slot_counts().outcomes(), counted, "each refusal was asked for twice");
    let granted = bench.slot(1000);
    bench.service.set_settings(Settings { enabled: false, ..settings() });
    assert!(!bench.service.is_enabled());
    assert!(matches!(bench.grant(request(1)), Err(SlotRefusal::Forbidden { .. })));
    assert_eq!(bench.put(&granted, &[0; 1000]), Err(Refusal::SenderRefused));
}

#[test]
fn a_purpose_says_how_long_a_file_is_kept() {
    let bench = Bench::new(Settings { purpose_prefixes: true, ..settings() });
    let now = bench.clock.now();
    let (soon, late) = (now.after(DAY / 2), now.after(2 * DAY));
    for (purpose, expire_before, name, kept, expires) in [
        (None, None, "a", Purpose::Message, Some(now.after(31 * DAY))),
        (Some(Purpose::Profile), None, "a", Purpose::Profile, None),
        (Some(Purpose::Permanent), None, "a", Purpose::Permanent, None),
        (Some(Purpose::Ephemeral), None, "a", Purpose::Ephemeral, Some(now.after(DAY))),
        (Some(Purpose::Ephemeral), Some(soon), "a", Purpose::Ephemeral, Some(soon)),
        (Some(Purpose::Ephemeral), Some(late), "a", Purpose::Ephemeral, Some(now.after(DAY))),
        (None, None, "story_a", Purpose::Ephemeral, Some(now.after(DAY))),
        (None, None, "post_a", Purpose::Permanent, None),
        (Some(Purpose::Message), None, "post_a", Purpose::Message, Some(now.after(31 * DAY))),
    ] {
        let wanted = SlotRequest { purpose, expire_before, name: name.into(), ..request(1) };
        let slot = bench.grant(wanted.clone()).unwrap();
        bench.put(&slot, b"x").unwrap();
        let uploaded = bench.service.find(&slot.id).unwrap().unwrap();
        assert_eq!((uploaded.purpose, uploaded.expires), (kept, expires), "{wanted:?}");
    }
}

/// The text and the stamp of a refusal for want of room.
fn no_room(bench: &Bench, request: SlotRequest) -> (String, Option<Timestamp>) {
    match bench.grant(request) {
        Err(SlotRefusal::NoRoom { text, retry }) => (text, retry),
        other => panic!("{other:?}"),
    }
}

fn quotas(quotas: UploadQuotas) -> Settings {
    Settings { quotas, ..settings() }
}

#[test]
fn files_that_went_through_another_node_use_their_slots_up() {
    let limited = || quotas(UploadQuotas { user: Some(1000), ..UploadQuotas::default() });
    let bench = Bench::new(limited());
    let (holder, other) = (bench.node(limited()), bench.node(limited()));
    let ask = |size| {
        holder.decide_from_memory(&request(size))?;
        holder.grant(request(size)).map(|slot| Granted::of(&slot))
    };
    let first = ask(400).unwrap();
    assert!(matches!(ask(700), Err(SlotRefusal::NoRoom { .. })), "it is reserved");
    put_through(&other, &first, &[1; 400]).unwrap();
    let second = ask(600).unwrap();
    put_through(&other, &second, &[1; 600]).unwrap();
    assert!(matches!(ask(1), Err(SlotRefusal::NoRoom { .. })), "the quota is used up");
    bench.service.delete(&[first.id, second.id]).unwrap();
    for number in 0..=limits::SLOTS_PER_USER {
        let slot = ask(1).unwrap_or_else(|refusal| panic!("{number}: {refusal:?}"));
        put_through(&other, &slot, b"x").unwrap();
    }
    let open: Vec<_> = (0..limits::SLOTS_PER_USER).map(|_| ask(1).unwrap()).collect();
    assert!(matches!(ask(1), Err(SlotRefusal::NoRoom { .. })), "so many are open");
    put_through(&other, &open[0], b"x").unwrap();
    ask(1).unwrap();
}

#[test]
fn slots_reserve_what_their_files_will_take() {
    let bench = Bench::new(quotas(UploadQuotas { user: Some(100), ..UploadQuotas::default() }));
    let ends = bench.clock.now().after(limits::SLOT_TIME);
    let first = bench.slot(60);
    assert_eq!(no_room(&bench, request(41)).1, Some(ends));
    bench.slot(40);
    let other = SlotRequest { owner: "bob@example.org".parse().unwrap(), ..request(100) };
    bench.grant(other).unwrap();
    bench.put(&first, &[0; 60]).unwrap();
    assert_eq!(no_room(&bench, request(1)).1, Some(ends));
    bench.clock.pass(limits::SLOT_TIME);
    bench.slot(40);
    let (text, retry) = no_room(&bench, request(101));
    assert_eq!(retry, None);
    assert!(text.contains("100 bytes") && text.ends_with("This file alone is larger."), "{text}");
}

#[test]
fn a_refusal_says_when_there_will_be_room() {
    let bench = Bench::new(quotas(UploadQuotas { user: Some(100), ..UploadQuotas::default() }));
    let start = bench.clock.now();
    bench.store(&[0; 50]);
    bench.clock.pass(DAY);
    bench.store(&[0; 30]);
    let (text, retry) = no_room(&bench, request(60));
    assert_eq!(retry, Some(start.after(31 * DAY)));
    assert!(text.starts_with("Your uploads may take 100 bytes together, and 80 bytes are used. "), "{text}");
    assert!(text.contains("There will be room for this file on 2"), "{text}");
    assert_eq!(no_room(&bench, request(80)).1, Some(start.after(32 * DAY)));
    let permanent = SlotRequest { purpose: Some(Purpose::Permanent), ..request(20) };
    bench.put(&bench.grant(permanent).unwrap(), &[0; 20]).unwrap();
    let (text, retry) = no_room(&bench, request(90));
    assert_eq!(retry, None);
    assert!(text.ends_with("Delete some of them to make room."), "{text}");
}

#[test]
fn a_day_is_the_last_24_hours() {
    let bench = Bench::new(quotas(UploadQuotas { day: Some(100), ..UploadQuotas::default() }));
    bench.store(&[0; 60]);
    bench.clock.pass(Duration::from_secs(3600));
    bench.store(&[0; 40]);
    let (text, retry) = no_room(&bench, request(50));
    assert!(text.starts_with("Within 24 hours you may upload 100 bytes, and 100 bytes are used."), "{text}");
    let (early, late) = (23 * Duration::from_secs(3600), 23 * Duration::from_secs(3600) + limits::DAY_STEP);
    let now = bench.clock.now();
    assert!(retry > Some(now.after(early)) && retry <= Some(now.after(late)), "{retry:?}");
    bench.clock.pass(early);
    assert!(bench.grant(request(50)).is_err() || retry == Some(bench.clock.now()));
    bench.clock.pass(limits::DAY_STEP);
    bench.store(&[0; 50]);
}

#[test]
fn each_purpose_has_its_quota() {
    let limits = UploadQuotas { profile: Some(10), message: Some(20), ..UploadQuotas::default() };
    let bench = Bench::new(quotas(limits));
    let profile = |size| SlotRequest { purpose: Some(Purpose::Profile), ..request(size) };
    bench.put(&bench.grant(profile(10)).unwrap(), &[0; 10]).unwrap();
    let (text, retry) = no_room(&bench, profile(1));
    assert!(text.starts_with("Your uploads of the kind profile may take 10 bytes together"), "{text}");
    assert_eq!(retry, None);
    bench.store(&[0; 20]);
    assert!(no_room(&bench, request(1)).1.is_some());
    bench.grant(SlotRequest { purpose: Some(Purpose::Permanent), ..request(999) }).unwrap();
}

#[test]
fn the_quota_of_all_counts_from_the_beginning_of_a_put() {
    let bench = Bench::new(quotas(UploadQuotas { all: Some(100), ..UploadQuotas::default() }));
    let (first, second) = (bench.slot(60), bench.slot(60));
    let under_way = bench.service.begin(first.target(), Some(60)).unwrap();
    assert_eq!(bench.put(&second, &[0; 60]), Err(Refusal::AllFull));
    assert!(no_room(&bench, request(60)).0.starts_with("The uploads of all users may take 100 bytes"));
    drop(under_way);
    bench.put(&second, &[0; 60]).unwrap();
    assert_eq!(bench.put(&first, &[0; 60]), Err(Refusal::AllFull));
    let (_, retry) = no_room(&bench, request(60));
    assert_eq!(retry, Some(bench.clock.now().after(31 * DAY)));
    assert_eq!(bench.files().len(), 1);
}

#[test]
fn a_quota_that_was_lowered_holds_when_a_put_commits() {
    let bench = Bench::new(settings());
    let slot = bench.slot(60);
    bench.service.set_settings(quotas(UploadQuotas { user: Some(50), ..UploadQuotas::default() }));
    assert_eq!(bench.put(&slot, &[0; 60]), Err(Refusal::UploadsFull));
    assert!(bench.files().is_empty());
}

#[test]
fn the_oldest_messages_make_room_where_that_is_wanted() {
    let wanted = UploadQuotas { user: Some(100), message: Some(90), ..UploadQuotas::default() };
    let bench = Bench::new(Settings { makes_room: true, ..quotas(wanted) });
    let profile = SlotRequest { purpose: Some(Purpose::Profile), ..request(10) };
    let profile = bench.grant(profile).unwrap();
    bench.put(&profile, &[0; 10]).unwrap();
    let messages: Vec<Granted> = (0..3)
        .map(|number| {
            bench.clock.pass(Duration::from_secs(1));
            bench.store(&[number; 30])
        })
        .collect();
    let new = bench.slot(40);
    assert!(bench.is_there(&messages[0]), "nothing goes before the PUT commits");
    bench.put(&new, &[9; 40]).unwrap();
    let there: Vec<bool> = messages.iter().chain([&profile, &new]).map(|slot| bench.is_there(slot)).collect();
    assert_eq!(there, [false, false, true, true, true]);
    bench.sweep();
    assert_eq!(bench.files().len(), 3);
    // More than the messages take does not go.
    let (text, retry) = no_room(&bench, request(91));
    assert!(text.ends_with("Delete some of them to make room.") && retry.is_none(), "{text}");
    let permanent = SlotRequest { purpose: Some(Purpose::Permanent), ..request(90) };
    bench.put(&bench.grant(permanent).unwrap(), &[0; 90]).unwrap();
    assert!(!bench.is_there(&new) && bench.is_there(&profile));
    assert!(no_room(&bench, request(1)).1.is_none());
}

#[test]
fn many_puts_at_once_keep_a_quota() {
    let bench = Bench::new(settings());
    let slots: Vec<Granted> = (0..16).map(|_| bench.slot(10)).collect();
    bench.service.set_settings(quotas(UploadQuotas { user: Some(50), ..UploadQuotas::default() }));
    let stored: usize = std::thread::scope(|scope| {
        let put = |slot| {
            let bench = &bench;
            scope.spawn(move || usize::from(bench.put(slot, &[0; 10]).is_ok()))
        };
        let puts: Vec<_> = slots.iter().map(put).collect();
        puts.into_iter().map(|put| put.join().unwrap()).sum()
    });
    assert_eq!((stored, bench.files().len()), (5, 5));
}

#[test]
fn memory_grants_a_slot_if_it_knows_the_user_and_the_key_and_there_is_no_quota() {
    let bench = Bench::new(settings());
    let ask = |request: &SlotRequest| bench.service.decide_from_memory(request).unwrap();
    assert_eq!(ask(&request(3)), None, "neither is known");
    bench.slot(3);
    let slot = Granted::of(&ask(&request(3)).expect("both are known"));
    let bob = SlotRequest { owner: "bob@example.org".parse().unwrap(), ..request(3) };
    assert_eq!(ask(&bob), None, "he may be blocked");
    let held = || bench.service.reservations.held(&request(3).owner).bytes;
    assert_eq!(held(), 6, "it is reserved like any other");
    bench.put(&slot, b"one").unwrap();
    assert_eq!(held(), 3);
    assert_eq!(bench.service.slot_counts().outcomes()[0], ("granted", 2));

    let limited = [
        UploadQuotas { user: Some(9), ..UploadQuotas::default() },
        UploadQuotas { day: Some(9), ..UploadQuotas::default() },
        UploadQuotas { message: Some(9), ..UploadQuotas::default() },
        UploadQuotas { all: Some(9), ..UploadQuotas::default() },
    ];
    for limited in limited {
        bench.service.set_settings(quotas(limited));
        assert_eq!(ask(&request(3)), None, "sums are in the database");
    }
    bench.service.set_settings(settings());
    let long = SlotRequest { name: format!("{}.jpg", "\u{1f600}".repeat(50)), ..request(3) };
    assert!(ask(&long).is_some());
    bench.clock.pass(limits::SECRETS_READ);
    assert_eq!(ask(&request(3)), None, "the keys may have changed");
    assert_eq!(held(), 6);
}

#[test]
fn memory_grants_no_more_slots_than_a_user_may_have() {
    let bench = Bench::new(settings());
    bench.slot(1);
    for _ in 1..limits::SLOTS_PER_USER {
        assert!(bench.service.decide_from_memory(&request(1)).unwrap().is_some());
    }
    let refused = bench.service.decide_from_memory(&request(1)).unwrap_err();
    assert!(matches!(refused, SlotRefusal::NoRoom { .. }), "{refused:?}");
}

#[test]
fn a_slot_costs_no_write_to_the_disk() {
    let bench = Bench::new(quotas(UploadQuotas {
        user: Some(1 << 30),
        day: Some(1 << 30),
        all: Some(1 << 30),
        ..UploadQuotas::default()
    }));
    bench.service.keys.maintain().unwrap();
    let state = || {
        let mut files: Vec<_> = fs::read_dir(bench.scratch.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            // SQLite's index of its log is memory that processes share.
            .filter(|path| !path.to_string_lossy().ends_with("-shm"))
            .map(|path| (path.clone(), fs::read(&path).unwrap_or_default()))
            .collect();
        files.sort();
        files
    };
    let before = state();
    for _ in 0..limits::SLOTS_PER_USER {
        bench.slot(10);
    }
    assert!(state() == before);
}

#[test]
fn a_blocked_user_gets_no_slot_and_no_put_of_theirs_commits() {
    let bench = Bench::new(settings());
    let (alice, admin) = ("alice@example.org".parse().unwrap(), "admin@example.org".parse().unwrap());
    let (begun, unused) = (bench.slot(3), bench.slot(3));
    let mut under_way = bench.service.begin(begun.target(), Some(3)).unwrap();
    under_way.write_all(b"one").unwrap();
    assert!(bench.service.block(&alice, &admin, bench.clock.now()).unwrap());
    assert!(!bench.service.block(&alice, &admin, bench.clock.now()).unwrap());
    assert_eq!(bench.service.commit(under_way), Err(Refusal::SenderRefused));
    assert_eq!(bench.service.begin(unused.target(), Some(3)).err(), Some(Refusal::SenderRefused));
    let refused = SlotRefusal::Forbidden { text: "You may not upload files to this server.".to_owned() };
    assert_eq!(bench.service.decide_from_memory(&request(3)), Err(refused.clone()));
    assert_eq!(bench.grant(request(3)).err(), Some(refused.clone()));
    assert!(bench.files().is_empty());
    let bob = SlotRequest { owner: "bob@example.org".parse().unwrap(), ..request(3) };
    bench.put(&bench.grant(bob).unwrap(), b"two").unwrap();

    // A server that starts anew knows it from the table alone.
    let bench = bench.restarted(settings());
    assert_eq!(bench.service.decide_from_memory(&request(3)), Ok(None), "memory does not know it yet");
    assert_eq!(bench.grant(request(3)).err(), Some(refused));
    assert!(bench.service.unblock(&alice).unwrap() && !bench.service.unblock(&alice).unwrap());
    bench.store(b"one");
}

#[test]
fn nothing_is_decided_before_the_schema_is_known() {
    let bench = Bench::new(settings());
    let slot = bench.slot(1);
    let sqlite = crate::store::Sqlite::new(&bench.scratch.join("metadata.sqlite"), false);
    let store = Arc::new(crate::store::Store::new(sqlite));
    let stores = Stores {
        table: Arc::clone(&bench.service.table),
        blocks: Arc::clone(&store) as _,
        secrets: store,
        files: Arc::new(crate::store::UploadDirectory::open(bench.scratch.path(), false).unwrap()),
        incoming: bench.service.incoming.clone(),
    };
    let closed = UploadService::new(stores, Arc::clone(&bench.clock) as _, settings());
    assert_eq!(closed.begin(slot.target(), Some(1)).err(), Some(Refusal::DatabaseDown));
    assert!(closed.find(&slot.id).is_err());
    assert!(Sweeper::new(Arc::new(closed)).run().is_err());
}

const SECRET: &str = "0123456789abcdef";

fn foreign(bench: &Bench, path: &str, bytes: &[u8], secret: &str) -> Result<(), Refusal> {
    use hmac::{Hmac, KeyInit, Mac};
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(format!("{path} {}", bytes.len()).as_bytes());
    let v: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let path = foreign_path(path);
    let content_type = Some("image/png");
    let proof = Proof { authorization: None, v2: None, v: Some(&v), content_type };
    let target = PutTarget::Foreign { path: &path, proof };
    let mut put = bench.service.begin(target, Some(bytes.len() as u64))?;
    put.write_all(bytes).unwrap();
    bench.service.commit(put)
}

fn foreign_path(path: &str) -> ForeignPath {
    ForeignPath::of(&path.split('/').map(str::to_owned).collect::<Vec<_>>()).unwrap()
}

#[test]
fn files_of_foreign_slots_are_kept_as_messages_under_the_hash_of_their_path() {
    let external = External { secret: Secret::new(SECRET), protocol: Protocol::V };
    let all = UploadQuotas { user: Some(1), message: Some(1), all: Some(100), ..UploadQuotas::default() };
    let foreign_only = Settings { enabled: false, external: Some(external), ..quotas(all) };
    let bench = Bench::new(foreign_only.clone());
    foreign(&bench, "x/a b.png", &[1; 60], SECRET).unwrap();
    let id = foreign_path("x/a b.png").id();
    let uploaded = bench.service.find(&id).unwrap().unwrap();
    assert_eq!((uploaded.owner.as_deref(), uploaded.path.as_deref()), (None, Some("x/a b.png")));
    assert_eq!((uploaded.file_name.as_str(), uploaded.mime_type.as_str()), ("a b.png", "image/png"));
    assert_eq!(uploaded.expires, Some(bench.clock.now().after(31 * DAY)));
    assert!(!bench.files()[0].to_string_lossy().contains("a b"));
    assert_eq!(foreign(&bench, "x/a b.png", &[1; 60], SECRET), Ok(()));
    assert_eq!(foreign(&bench, "x/a b.png", &[2; 60], SECRET), Err(Refusal::SlotUsed));
    assert_eq!(foreign(&bench, "x/other", &[1; 60], SECRET), Err(Refusal::AllFull));
    assert_eq!(foreign(&bench, "x/other", &[1; 1001], SECRET), Err(Refusal::TooLarge));
    assert_eq!(foreign(&bench, "x/other", &[], SECRET), Err(Refusal::OtherSize));
    assert_eq!(foreign(&bench, "x/other", &[1; 10], "another secret!!"), Err(Refusal::BadSlot));
    bench.clock.pass(31 * DAY);
    bench.sweep();
    assert!(bench.service.find(&id).unwrap().is_none() && bench.files().is_empty());
    bench.clock.pass(365 * DAY);
    bench.sweep();
    assert_eq!(foreign(&bench, "x/a b.png", &[1; 60], SECRET), Err(Refusal::SlotUsed), "used for ever");
    bench.service.set_settings(Settings { external: None, ..foreign_only });
    assert_eq!(foreign(&bench, "x/new", &[1; 10], SECRET), Err(Refusal::NoSuchRoute));
}
