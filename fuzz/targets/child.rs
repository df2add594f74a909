//! The output of children is not believed: the decoder's reply, ffprobe's description and ffmpeg's frame. The first byte
//! of the input chooses one of them. An accepted picture is no larger than the request, and of the format that it names.

#![no_main]

use libfuzzer_sys::fuzz_target;
use media_server::preview::{self, Bounds};

const BOUNDS: Bounds = Bounds { height: 20, width: 30 };
const PIXELS: u64 = 10_000;

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, printed)) = bytes.split_first() else { return };
    match kind {
        b'r' => check_reply(printed),
        b'p' => check_probe(printed),
        _ => check_frame(printed),
    }
});

fn check_reply(printed: &[u8]) {
    let Ok(made) = preview::believe_reply(printed, BOUNDS) else { return };
    let shown = preview::properties(&made.bytes);
    assert!(shown.width.is_some_and(|width| width <= BOUNDS.width), "{shown:?}");
    assert!(shown.height.is_some_and(|height| height <= BOUNDS.height), "{shown:?}");
    let kind = media_server::media_type::sniff(&made.bytes).map(|content| content.mime_type);
    assert_eq!(kind, Some(made.format.mime_type()));
    // A reply is all that was printed, and nothing less.
    assert!(printed.ends_with(&made.bytes));
    assert!(preview::believe_reply(&printed[..printed.len() - 1], BOUNDS).is_err());
}

fn check_probe(printed: &[u8]) {
    let told = preview::believe_probe(printed);
    assert_eq!(told.width.is_some(), told.height.is_some());
    assert!(told.width != Some(0) && told.height != Some(0));
    assert!(told.length.is_none_or(|length| length <= media_server::limits::LONGEST_PLAY));
}

fn check_frame(printed: &[u8]) {
    let Some((width, height)) = preview::believe_frame(printed, PIXELS) else { return };
    let pixels = u64::from(width) * u64::from(height);
    assert!(pixels > 0 && pixels <= PIXELS && 3 * pixels < printed.len() as u64);
}
