//! Lines of an export: what is read is written as it is read again, and names no file but one of ours.

#![no_main]

use libfuzzer_sys::fuzz_target;
use media_server::store::StoredRow;
use media_server::transfer::{Line, parse, write};

fuzz_target!(|text: &str| {
    let Ok(Line::Row(row)) = parse(text) else { return };
    let written = write(&row);
    assert_eq!(parse(&written).as_ref(), Ok(&Line::Row(row.clone())), "{text:?} was written as {written:?}");
    assert!(!written.contains('\n'));
    if let StoredRow::Media(media) = &*row {
        let name = media.channel.as_str();
        assert!(name.contains('@') && !name.contains('/'), "{name:?} is no directory of ours");
    }
});
