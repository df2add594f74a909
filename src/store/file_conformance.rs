//! The cases of blocks and of lists over both kinds of files that every metadata store must pass, on each engine.

use super::conformance::media;
use super::{
    Block, BlockTable, FileFilter, FileRow, FileSum, FileTable, Metadata, UploadInsert, UploadTable,
    UsageKind, UserData,
};
use crate::clock::Timestamp;
use crate::model::{
    BareJid, FileKey, FileKind, Media, Purpose, Quotas, UploadFile, UploadId, UploadLimits, Uploaded,
};

/// The traits of a store with an empty database that the cases use.
pub(super) trait FileTables: Metadata + UploadTable + FileTable + BlockTable + UserData {}
impl<T: Metadata + UploadTable + FileTable + BlockTable + UserData> FileTables for T {}

/// A test for each case, on a store made by the expression.
macro_rules! file_suite {
    ($bench:expr) => {
        crate::store::file_conformance::file_suite!($bench;
            a_user_is_blocked_once_until_the_block_ends
            blocks_are_listed_in_pages
            files_of_both_kinds_come_newest_first
            pages_of_files_lead_through_everything_once
            a_filter_includes_what_all_its_conditions_hold_for
            sums_of_a_user_and_the_largest_users
            all_that_names_a_user_is_found
        );
    };
    ($bench:expr; $($case:ident)*) => {
        $(#[test]
        fn $case() {
            crate::store::file_conformance::$case(&$bench.store);
        })*
    };
}
pub(super) use file_suite;

fn jid(text: &str) -> BareJid {
    text.parse().unwrap()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros((1_700_000_000 + seconds) * 1_000_000)
}

fn add_media(tables: &impl FileTables, id: &str, author: &str, seconds: i64) -> Media {
    let media = Media { author: author.to_owned(), ..media("room@example.org", id, at(seconds).as_micros()) };
    tables.insert(&media, false, Quotas::NONE).unwrap();
    media
}

fn add_upload(tables: &impl FileTables, owner: Option<&str>, purpose: Purpose, seconds: i64) -> Uploaded {
    let upload = Uploaded {
        id: UploadId::random(),
        path: None,
        file: UploadFile::random(),
        owner: owner.map(str::to_owned),
        file_name: "ü '\"\\.jpg".to_owned(),
        mime_type: "image/jpeg".to_owned(),
        size: 10,
        sha256: "0".repeat(64),
        purpose,
        created: at(seconds),
        expires: Some(at(1_000_000)),
        slot_ends: Some(at(300)),
    };
    let inserted = tables.insert_upload(&upload, UploadLimits::default()).unwrap();
    assert_eq!(inserted, UploadInsert::Stored);
    upload
}

pub(super) fn a_user_is_blocked_once_until_the_block_ends(tables: &impl FileTables) {
    let block = Block { jid: jid("mallory@example.org"), since: at(1), by: jid("admin@example.org") };
    assert_eq!(tables.find_block(&block.jid).unwrap(), None);
    assert!(!tables.unblock(&block.jid).unwrap());
    assert!(tables.block(&block).unwrap());
    let again = Block { since: at(2), by: jid("other@example.org"), ..block.clone() };
    assert!(!tables.block(&again).unwrap());
    assert_eq!(tables.find_block(&block.jid).unwrap(), Some(block.clone()));
    assert_eq!(tables.find_block(&block.by).unwrap(), None);
    assert!(tables.unblock(&block.jid).unwrap());
    assert_eq!(tables.find_block(&block.jid).unwrap(), None);
    assert!(tables.block(&again).unwrap());
}

pub(super) fn blocks_are_listed_in_pages(tables: &impl FileTables) {
    // In the order of bytes; "example.org" blocks the address of a server, not its users.
    let users = ["B@x", "a@x", "é@x", "example.org"].map(jid);
    for user in &users {
        tables.block(&Block { jid: user.clone(), since: at(0), by: jid("admin@example.org") }).unwrap();
    }
    let mut sorted = users.to_vec();
    sorted.sort_by(|one, other| one.as_str().cmp(other.as_str()));
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = tables.blocks(after.as_ref(), 3).unwrap();
        after = page.last().map(|block| block.jid.clone());
        found.extend(page.iter().map(|block| block.jid.clone()));
        if page.len() < 3 {
            break;
        }
    }
    assert_eq!(found, sorted);
}

pub(super) fn files_of_both_kinds_come_newest_first(tables: &impl FileTables) {
    let old = add_upload(tables, Some("alice@example.org"), Purpose::Message, 1);
    let media = add_media(tables, "middle", "alice@example.org", 2);
    let new = add_upload(tables, Some("alice@example.org"), Purpose::Profile, 3);
    let gone = add_upload(tables, Some("alice@example.org"), Purpose::Profile, 4);
    tables.delete_uploads(&[gone.id]).unwrap();
    add_upload(tables, None, Purpose::Message, 5);
    add_media(tables, "other", "bob@example.org", 6);
    let files = tables.files(&FileFilter::of(&jid("alice@example.org")), None, 10).unwrap();
    let keys: Vec<_> = files.iter().map(FileRow::key).collect();
    let expected = [
        FileKey::Upload(new.id.clone()),
        FileKey::Media(media.channel.clone(), media.id.clone()),
        FileKey::Upload(old.id),
    ];
    assert_eq!(keys, expected.map(Some));
    assert_eq!(
        files[0],
        FileRow {
            kind: FileKind::Upload,
            id: new.id.as_str().to_owned(),
            channel: None,
            owner: new.owner,
            file_name: Some(new.file_name),
            mime_type: new.mime_type,
            size: 10,
            created: at(3),
            purpose: Some("profile".to_owned()),
            path: None,
            expires: new.expires,
        }
    );
    assert_eq!(
        files[1],
        FileRow {
            kind: FileKind::Media,
            id: "middle".to_owned(),
            channel: Some("room@example.org".to_owned()),
            owner: Some(media.author),
            file_name: media.description.file_name,
            mime_type: media.mime_type,
            size: media.size,
            created: at(2),
            purpose: None,
            path: None,
            expires: None,
        }
    );
}

pub(super) fn pages_of_files_lead_through_everything_once(tables: &impl FileTables) {
    // Three dates with three files of each kind: ids that differ in case, too, and all that ties.
    for date in 0..3 {
        for name in ["a", "B", "c"] {
            add_media(tables, &format!("{name}{date}"), "alice@example.org", date);
            add_upload(tables, Some("alice@example.org"), Purpose::Message, date);
        }
    }
    let filter = FileFilter::of(&jid("alice@example.org"));
    let all = tables.files(&filter, None, 100).unwrap();
    assert_eq!(all.len(), 18);
    for size in 1..=19 {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = tables.files(&filter, after.as_ref(), size).unwrap();
            assert!(page.len() <= size);
            after = page.last().map(FileRow::place);
            found.extend(page.iter().cloned());
            if page.len() < size {
                break;
            }
        }
        assert_eq!(found, all, "pages of {size}");
    }
}

pub(super) fn a_filter_includes_what_all_its_conditions_hold_for(tables: &impl FileTables) {
    let alice = Some("alice@example.org");
    add_media(tables, "media", "alice@example.org", 10);
    add_media(tables, "bobs", "bob@example.org", 20);
    add_upload(tables, alice, Purpose::Message, 30);
    add_upload(tables, alice, Purpose::Profile, 40);
    add_upload(tables, None, Purpose::Message, 50);
    let seconds = |filter: FileFilter| {
        let files = tables.files(&filter, None, 10).unwrap();
        files.iter().map(|file| file.created.as_micros() / 1_000_000 - 1_700_000_000).collect::<Vec<_>>()
    };
    let all = FileFilter::default;
    let of_alice = || FileFilter::of(&jid("alice@example.org"));
    assert_eq!(seconds(all()), [50, 40, 30, 20, 10]);
    assert_eq!(seconds(of_alice()), [40, 30, 10]);
    let room = || Some("room@example.org".parse().unwrap());
    assert_eq!(seconds(FileFilter { channel: room(), ..all() }), [20, 10]);
    assert_eq!(seconds(FileFilter { channel: room(), ..of_alice() }), [10]);
    assert_eq!(seconds(FileFilter { channel: Some("x@y".parse().unwrap()), ..all() }), [0_i64; 0]);
    assert_eq!(seconds(FileFilter { purpose: Some(Purpose::Message), ..all() }), [50, 30]);
    assert_eq!(seconds(FileFilter { kind: Some(FileKind::Media), ..all() }), [20, 10]);
    assert_eq!(seconds(FileFilter { kind: Some(FileKind::Upload), ..of_alice() }), [40, 30]);
    assert_eq!(seconds(FileFilter { before: Some(at(30)), ..all() }), [20, 10]);
    let nothing = FileFilter { channel: room(), purpose: Some(Purpose::Message), ..all() };
    assert_eq!(seconds(nothing), [0_i64; 0]);
    let hostile = FileFilter { owner: Some(jid("a;--b@example.org")), ..all() };
    assert_eq!(seconds(hostile), [0_i64; 0]);
}

pub(super) fn sums_of_a_user_and_the_largest_users(tables: &impl FileTables) {
    let sum = |files, bytes| FileSum { files, bytes };
    assert_eq!(tables.usage(UsageKind::UploadUser, "alice@example.org").unwrap(), sum(0, 0));
    assert!(tables.largest(UsageKind::UploadUser, 5).unwrap().is_empty());
    for (owner, count) in [("alice@example.org", 2), ("bob@example.org", 3), ("carol@example.org", 1)] {
        for number in 0..count {
            add_upload(tables, Some(owner), Purpose::Message, number);
        }
    }
    let media = add_media(tables, "a", "alice@example.org", 1);
    assert_eq!(tables.usage(UsageKind::UploadUser, "alice@example.org").unwrap(), sum(2, 20));
    assert_eq!(tables.usage(UsageKind::UploadTotal, "").unwrap(), sum(6, 60));
    let of_media = tables.usage(UsageKind::User, "alice@example.org").unwrap();
    assert!(of_media.files == 1 && of_media.bytes >= media.size, "{of_media:?}");
    let largest = tables.largest(UsageKind::UploadUser, 2).unwrap();
    assert_eq!(
        largest,
        [("bob@example.org".to_owned(), sum(3, 30)), ("alice@example.org".to_owned(), sum(2, 20))]
    );
}

pub(super) fn all_that_names_a_user_is_found(tables: &impl FileTables) {
    let alice = jid("alice@example.org");
    // With a resource, and names that only begin like it.
    for (number, author) in
        (1..).zip(["alice@example.org", "alice@example.org/laptop", "alice@example.org0", "alice@example.or"])
    {
        add_media(tables, &format!("m{number}"), author, number);
    }
    let channel = "alice@example.org".parse().unwrap();
    let others = Media { channel, author: "bob@example.org".into(), ..media("room@example.org", "m5", 5) };
    tables.insert(&others, true, Quotas::NONE).unwrap();
    let upload = add_upload(tables, Some("alice@example.org"), Purpose::Message, 6);
    add_upload(tables, Some("bob@example.org"), Purpose::Message, 7);
    tables.block(&Block { jid: alice.clone(), since: at(8), by: jid("bob@example.org") }).unwrap();

    let totals = tables.user_totals(&alice).unwrap();
    assert_eq!((totals.own.files, totals.others.files, totals.avatars, totals.previews), (2, 1, 1, 0));
    assert_eq!(
        (totals.uploads, totals.is_blocked, totals.blocks),
        (FileSum { files: 1, bytes: 10 }, true, 0)
    );
    assert_eq!(tables.user_totals(&jid("bob@example.org")).unwrap().blocks, 1);
    let ids = |after: &str| -> Vec<String> {
        let rows = tables.user_media(&alice, after, 2).unwrap();
        rows.into_iter().map(|row| row.id).collect()
    };
    assert_eq!((ids(""), ids("m2")), (vec!["m1".to_owned(), "m2".to_owned()], vec!["m5".to_owned()]));
    let uploads = tables.user_uploads(&alice, "", 9).unwrap();
    assert_eq!(uploads.len(), 1);
    assert_eq!(uploads[0].id, upload.id.as_str());
    // Sums that are right stay.
    tables.correct_user_sums(&alice).unwrap();
    tables.delete_user_prompts(&alice).unwrap();
    let of = |name: &str| tables.usage(UsageKind::User, name).unwrap().files;
    assert_eq!(
        (of("alice@example.org"), of("alice@example.org/laptop"), of("alice@example.org0")),
        (1, 1, 1)
    );
}
