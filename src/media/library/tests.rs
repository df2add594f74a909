//! Tests of the library over real files and metadata.

use std::io::Read;
use std::time::Duration;

use super::super::Repair;
use super::super::testing::{Bench, channel};
use super::*;

#[test]
fn an_added_media_is_found_with_its_bytes() {
    let bench = Bench::new();
    let media = bench.add("bytes");
    assert_eq!((media.size, media.sha1.as_str()), (5, "daf529a73101c2be626b99fc6938163e7a27620b"));
    assert_eq!(media.uploaded, media.last_updated);
    let library = &bench.library;
    assert_eq!(library.find(&channel(), &Name::Id(media.id.clone())).unwrap().as_ref(), Some(&media));
    assert_eq!(library.find(&channel(), &Name::Avatar).unwrap(), None);
    let elsewhere = "other@example.org".parse().unwrap();
    assert_eq!(library.find(&elsewhere, &Name::Id(media.id.clone())).unwrap(), None);
    let mut bytes = String::new();
    (&*library.bytes(&media).unwrap().unwrap().whole().unwrap()).read_to_string(&mut bytes).unwrap();
    assert_eq!(bytes, "bytes");
}

#[test]
fn readers_see_the_changes_of_this_process_at_once() {
    let bench = Bench::new();
    let (media, avatar) = (bench.add("bytes"), bench.add_avatar("one"));
    let read = |name: &Name| bench.library.find_to_read(&channel(), name).unwrap();
    let named = |media: &Media| Name::Id(media.id.clone());
    let title = |name: &Name| read(name).unwrap().description.title.clone().unwrap();
    assert_eq!(title(&named(&media)), "A title");
    assert_eq!(read(&Name::Avatar).as_deref(), Some(&avatar));
    bench.sql("UPDATE medias SET title = 'Another process''s'");
    let changes = Description { title: Some("Ours".to_owned()), ..Description::default() };
    for media in [&media, &avatar] {
        bench.library.update(media, &changes).unwrap().unwrap();
        assert_eq!(title(&named(media)), "Ours");
    }
    assert_eq!(title(&Name::Avatar), "Ours");
    let second = bench.add_avatar("two");
    assert_eq!(read(&Name::Avatar).as_deref(), Some(&second));
    assert!(bench.library.delete(&media).unwrap() && bench.library.delete(&second).unwrap());
    assert_eq!((read(&named(&media)), read(&Name::Avatar)), (None, None));
}

#[test]
fn a_node_sees_the_changes_through_another_one_within_two_seconds() {
    let bench = Bench::new();
    let other = bench.other_node();
    let read = |name: &Name| other.find_to_read(&channel(), name).unwrap();
    let preview = |media: &Media| {
        let bounds = crate::preview::Bounds { height: 5, width: 5 };
        other.preview(media, bounds, None).map(|(preview, _)| preview)
    };
    let (changed, deleted, avatar) = (bench.add("one"), bench.add("two"), bench.add_avatar("three"));
    let named = |media: &Media| Name::Id(media.id.clone());
    for name in [named(&changed), named(&deleted), Name::Avatar, named(&avatar)] {
        assert!(read(&name).is_some());
    }
    preview(&avatar).unwrap();
    let changes = Description { title: Some("Changed".to_owned()), ..Description::default() };
    bench.library.update(&changed, &changes).unwrap().unwrap();
    assert!(bench.library.delete(&deleted).unwrap() && bench.library.delete(&avatar).unwrap());
    let next = bench.add_avatar("four");
    let begun = Instant::now();
    let title = || read(&named(&changed)).unwrap().description.title.clone();
    while title().as_deref() != Some("Changed")
        || read(&named(&deleted)).is_some()
        || read(&named(&avatar)).is_some()
        || read(&Name::Avatar).is_none_or(|row| row.id != next.id)
    {
        std::thread::yield_now();
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    // The row of a preview is kept for longer, but counts for nothing without its file.
    assert_eq!(preview(&avatar).unwrap_err(), Refusal::NoSuchMedia);
}

#[test]
fn a_row_whose_file_is_gone_is_read_again() {
    let bench = Bench::new();
    let media = bench.add("bytes");
    let read = || bench.library.find_to_read(&channel(), &Name::Id(media.id.clone())).unwrap();
    let kept = read().unwrap();
    bench.sql("DELETE FROM medias");
    std::fs::remove_file(bench.file(&media)).unwrap();
    assert!(bench.library.bytes(&kept).unwrap().is_none());
    assert_eq!(read(), None);
}

#[test]
fn an_avatar_is_the_last_that_was_set_and_the_earlier_ones_stay() {
    let bench = Bench::new();
    let [first, second] = ["one", "two"].map(|bytes| bench.add_avatar(bytes));
    let found = |name| bench.library.find(&channel(), &name).unwrap();
    assert_eq!(found(Name::Avatar).as_ref(), Some(&second));
    assert_eq!(found(Name::Id(first.id.clone())).as_ref(), Some(&first));
}

#[test]
fn d13_an_upload_without_its_row_has_failed_and_leaves_no_file() {
    let bench = Bench::new();
    bench.sql("CREATE TRIGGER no BEFORE INSERT ON medias BEGIN SELECT RAISE(ABORT, 'no'); END");
    bench.try_add("bytes", false).unwrap_err();
    assert!(bench.files().is_empty());
    bench.sql(
        "DROP TRIGGER no; CREATE TRIGGER no BEFORE INSERT ON avatars BEGIN SELECT RAISE(ABORT, 'no'); END",
    );
    bench.try_add("bytes", true).unwrap_err();
    assert!(bench.files().is_empty());
    let page = Page { max: 9, after: None, before: None };
    assert!(bench.library.list(&channel(), &page).unwrap().entries.is_empty(), "half an avatar is stored");
}

#[test]
fn an_upload_beyond_a_quota_leaves_no_file() {
    let bench = Bench::new();
    let title = 7;
    let quotas = Quotas { channel: None, user: Some(2 * (limits::MEDIA_COST + title) + 7) };
    bench.library.set_settings(Settings { quotas, ..bench.library.settings() });
    let first = bench.add("bytes");
    for avatar in [false, true] {
        assert_eq!(bench.try_add("abc", avatar), Err(Refusal::UserFull));
    }
    assert_eq!(bench.files(), [first.id.to_string()]);
    let room = |size| bench.library.check_room(&channel(), &first.author.parse().unwrap(), size);
    assert_eq!((room(title + 2), room(title + 3)), (Ok(()), Err(Refusal::UserFull)));
    assert!(bench.library.delete(&first).unwrap());
    assert_eq!(room(title + 7), Ok(()));
    bench.add("abc");
}

#[test]
fn an_update_beyond_a_quota_changes_no_text() {
    let bench = Bench::new();
    let media = bench.add("bytes");
    let quotas = Quotas { channel: Some(media.cost()), user: None };
    bench.library.set_settings(Settings { quotas, ..bench.library.settings() });
    let title = |text: &str| Description { title: Some(text.to_owned()), ..Description::default() };
    assert_eq!(bench.library.update(&media, &title("A titles")), Err(Refusal::ChannelFull));
    let name = Name::Id(media.id.clone());
    assert_eq!(bench.library.find_to_read(&channel(), &name).unwrap().as_deref(), Some(&media));
    let updated = bench.library.update(&media, &title("A tale.")).unwrap().unwrap();
    assert_eq!(updated.description.title.as_deref(), Some("A tale."));
}

#[test]
fn an_upload_that_is_given_up_leaves_nothing() {
    let bench = Bench::new();
    drop(bench.sealed("more than the threshold"));
    bench.pass(Duration::from_secs(1_000_000));
    let findings = bench.library.fsck(Repair::No, &mut |finding, _| panic!("{finding}")).unwrap();
    assert_eq!(findings.left, 0);
}

#[test]
fn an_update_changes_what_it_names_and_the_date() {
    let bench = Bench::new();
    let media = bench.add("bytes");
    bench.pass(Duration::from_secs(1));
    let changes = Description { description: Some("New".into()), ..Description::default() };
    let updated = bench.library.update(&media, &changes).unwrap().unwrap();
    assert_eq!(updated.description.title.as_deref(), Some("A title"));
    assert_eq!(updated.description.description.as_deref(), Some("New"));
    assert_eq!(updated.last_updated.as_micros() - media.last_updated.as_micros(), 1_000_000);
    assert_eq!(updated.uploaded, media.uploaded);
    assert!(bench.library.delete(&media).unwrap());
    assert_eq!(bench.library.update(&media, &changes).unwrap(), None);
}

#[test]
fn a_deletion_takes_rows_and_files_of_media_and_previews() {
    let bench = Bench::new();
    let media = bench.add_avatar("bytes");
    bench.write("room@example.org/preview");
    bench.sql(&format!(
        "INSERT INTO previews (id, mediaId, mimeType) VALUES ('preview', '{}', 'image/png')",
        media.id
    ));
    assert!(bench.library.delete(&media).unwrap());
    assert!(bench.files().is_empty());
    assert_eq!(bench.library.find(&channel(), &Name::Avatar).unwrap(), None);
    assert!(!bench.library.delete(&media).unwrap(), "it is gone already");
}

#[test]
fn a_media_without_its_file_can_be_deleted() {
    let bench = Bench::new();
    let media = bench.add("bytes");
    std::fs::remove_file(bench.file(&media)).unwrap();
    assert!(bench.library.bytes(&media).unwrap().is_none());
    assert!(bench.library.delete(&media).unwrap());
}

#[test]
fn a_closed_library_is_unavailable() {
    let bench = Bench::new();
    bench.library.open.store(false, Ordering::Release);
    assert_eq!(bench.try_add("bytes", false), Err(Refusal::DatabaseDown));
    assert!(bench.files().is_empty());
    assert_eq!(bench.library.find(&channel(), &Name::Avatar).unwrap_err().kind(), Kind::Unavailable);
}

#[test]
fn a_start_removes_what_uploads_left() {
    let bench = Bench::new();
    bench.write(".upload-1");
    bench.library.clean_up().unwrap();
    bench.pass(Duration::from_secs(1_000_000));
    bench.library.fsck(Repair::No, &mut |finding, _| panic!("{finding}")).unwrap();
}
