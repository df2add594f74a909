use std::fs::File;
use std::io::{Cursor, Read};
use std::thread;

use image::{DynamicImage, ImageFormat};

use super::super::PreviewSettings;
use super::super::testing::Bench;
use super::*;
use crate::preview;

fn bounds(height: u32, width: u32) -> Bounds {
    Bounds { height, width }
}

/// A picture of 30 by 20 pixels.
fn picture(bench: &Bench) -> Media {
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::new_luma8(30, 20).write_to(&mut bytes, ImageFormat::Png).unwrap();
    bench.add(bytes.into_inner())
}

fn bytes((_, stored): Found) -> Vec<u8> {
    let mut bytes = Vec::new();
    (&*stored.whole().unwrap()).read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn bounds_are_within_a_media_whichever_way_it_is_turned() {
    let bench = Bench::new();
    let mut media = picture(&bench);
    assert_eq!(media.width.zip(media.height), Some((30, 20)));
    for turned in [false, true] {
        if turned {
            std::mem::swap(&mut media.width, &mut media.height);
        }
        for (height, width, expected) in
            [(20, 20, true), (1, 1, true), (20, 21, false), (21, 20, false), (20, 30, false), (30, 20, false)]
        {
            assert_eq!(is_within(bounds(height, width), &media), expected, "{height} {width} {turned}");
        }
    }
    media.width = None;
    assert!(!is_within(bounds(1, 1), &media), "nobody knows");
}

#[test]
fn a_stored_preview_is_found_without_its_source() {
    let bench = Bench::new();
    let media = picture(&bench);
    let made = bytes(bench.library.preview(&media, bounds(10, 20), None).unwrap());
    std::fs::remove_file(bench.file(&media)).unwrap();
    bench.library.rows.forget_preview(&(media.id.clone(), bounds(10, 20)));
    assert!(bytes(bench.library.preview(&media, bounds(10, 20), None).unwrap()) == made);
    // A preview that may have to be clamped needs the source, and so does a preview that is not stored.
    for other in [bounds(10, 30), bounds(10, 19)] {
        assert_eq!(bench.library.preview(&media, other, None).err(), Some(Refusal::NoSuchMedia));
    }
}

#[test]
fn the_row_of_a_preview_is_read_once_in_a_while() {
    let bench = Bench::new();
    let media = picture(&bench);
    for asked in [bounds(10, 20), bounds(99, 99)] {
        let preview = || bench.library.preview(&media, asked, None).unwrap().0;
        let first = preview();
        bench.sql("DELETE FROM previews");
        assert_eq!(preview().id, first.id);
        bench.library.rows.forget_preview(&(media.id.clone(), asked));
        assert_ne!(preview().id, first.id, "there is no such row any more");
    }
}

#[test]
fn a_kept_row_without_its_file_is_not_believed() {
    let bench = Bench::new();
    let media = picture(&bench);
    let preview = |side| bench.library.preview(&media, bounds(side, side), None).unwrap();
    let first = preview(9).0;
    bench.pass(Duration::from_secs(1));
    // As many as are kept, so that the first one goes.
    (1..=3).for_each(|side| drop(preview(side)));
    assert!(!bench.files().contains(&first.id.to_string()));
    let again = preview(9);
    assert_ne!(again.0.id, first.id);
    let size = again.0.size;
    assert_eq!(bytes(again).len() as u64, size);
}

#[test]
fn a_preview_is_made_of_a_picture_that_is_far_away() {
    let bench = Bench::far();
    let media = picture(&bench);
    let near = Bench::new();
    let expected = bytes(near.library.preview(&picture(&near), bounds(10, 20), None).unwrap());
    assert!(!bench.library.begins_here(&media));
    assert!(bytes(bench.library.preview(&media, bounds(10, 20), None).unwrap()) == expected);
    assert!(bench.library.begins_here(&media));
    std::fs::remove_file(bench.file(&media)).unwrap();
    bench.library.preview(&media, bounds(9, 9), None).expect("its blocks are here");
    bench.library.delete(&media).unwrap();
    assert!(!bench.library.begins_here(&media));
}

/// A media whose file begins with these bytes and is so long.
fn padded(bench: &Bench, first: &[u8], size: u64) -> Media {
    let media = picture(bench);
    let file = File::create(bench.file(&media)).unwrap();
    (&file).write_all(first).unwrap();
    file.set_len(size).unwrap();
    Media { size, ..media }
}

/// The same for a picture.
fn padded_picture(bench: &Bench, size: u64) -> Media {
    let bytes = std::fs::read(bench.file(&picture(bench))).unwrap();
    padded(bench, &bytes, size)
}

#[test]
fn a_file_that_is_fetched_keeps_no_decoder_waiting() {
    let bench = Bench::far();
    let (large, small) = (padded_picture(&bench, limits::BLOCK_BYTES + 1), picture(&bench));
    bench.store.be_silent_from(1);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| bench.library.preview(&large, bounds(9, 9), None).map(drop));
        while bench.store.asked() < 2 {
            thread::yield_now();
        }
        let places = (bench.library.jobs.activity(), bench.library.fetches.activity());
        let other = bench.library.preview(&small, bounds(9, 9), None).map(drop);
        bench.store.be_silent_from(u64::MAX);
        assert_eq!((other, waiting.join().unwrap()), (Ok(()), Ok(())));
        assert_eq!(places, ((0, 0), (1, 0)), "there is one place for decoders");
    });
    assert_eq!(bench.library.fetches.activity(), (0, 0));
}

#[test]
fn a_file_that_is_too_large_to_be_fetched_is_refused_by_its_first_block() {
    let bench = Bench::far();
    let first = b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41";
    let film = padded(&bench, first, limits::FILM_FETCH_BYTES + 1);
    let max_bytes = preview::Settings::default().max_bytes;
    for (number, media) in [film, padded_picture(&bench, max_bytes + 1)].iter().enumerate() {
        let refused = bench.library.preview(media, bounds(9, 9), None).err();
        assert_eq!(refused, Some(Refusal::TooManyPixels));
        assert_eq!(bench.store.asked(), number + 1);
    }
    let near = Bench::new();
    let film = padded(&near, first, limits::FILM_FETCH_BYTES + 1);
    let refused = near.library.preview(&film, bounds(9, 9), None).err();
    assert_eq!(refused, Some(Refusal::Undecodable), "what is here need not be fetched");
}

#[test]
fn a_picture_that_cannot_be_fetched_is_told() {
    let bench = Bench::far();
    let (gone, cut) = (picture(&bench), picture(&bench));
    std::fs::remove_file(bench.file(&gone)).unwrap();
    std::fs::write(bench.file(&cut), "cut").unwrap();
    for (media, expected) in [(gone, Refusal::NoSuchMedia), (cut, Refusal::StoreDown)] {
        assert_eq!(bench.library.preview(&media, bounds(9, 9), None).err(), Some(expected));
    }
}

#[test]
fn a_box_that_is_too_large_is_the_preview_of_the_whole() {
    let bench = Bench::new();
    let media = picture(&bench);
    let whole = bench.library.preview(&media, bounds(u32::MAX, u32::MAX), None).unwrap().0;
    assert_eq!((whole.height, whole.width), (20, 30));
    assert_eq!(bench.library.preview(&media, bounds(20, 31), None).unwrap().0.id, whole.id);
    assert_eq!(bench.library.preview(&media, bounds(20, 30), None).unwrap().0.id, whole.id);
}

#[test]
fn other_settings_hold_from_now_on() {
    let bench = Bench::new();
    let media = picture(&bench);
    let set = |max_pixels| {
        let studio = preview::Settings { max_pixels, ..preview::Settings::default() };
        bench.library.set_previews(PreviewSettings { count: 1, jobs: 1, queue: 0, ahead: false, studio });
    };
    set(599);
    assert_eq!(bench.library.preview(&media, bounds(9, 9), None).err(), Some(Refusal::TooManyPixels));
    set(600);
    for side in 8..10 {
        bench.library.preview(&media, bounds(side, side), None).unwrap();
    }
    assert_eq!(bench.files().len(), 2, "the media, and one preview");
}
