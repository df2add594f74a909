//! Pictures are measured by their headers, whatever stands in them, and never by more than they could hold.

#![no_main]

use libfuzzer_sys::fuzz_target;
use media_server::preview;

fuzz_target!(|bytes: &[u8]| {
    let properties = preview::properties(bytes);
    assert_eq!(properties.width.is_some(), properties.height.is_some());
    assert!(properties.width != Some(0) && properties.height != Some(0));
    assert_eq!(properties.length, None);
});
