//! A preview fits its box, shows no more pixels than its source has, and is itself a picture that can be measured. An
//! avatar can be measured, too, and making one of it changes nothing but what is encoded anew.

#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use media_server::preview::{self, Bounds};

const PIXELS: u64 = 1_000_000;
const TIME: Duration = Duration::from_secs(4);

fuzz_target!(|bytes: &[u8]| {
    check_avatar(bytes);
    let bounds = Bounds { height: 20, width: 30 };
    let Ok(rendered) = preview::render(bytes, bounds, PIXELS, TIME) else { return };
    let (source, shown) = (preview::properties(bytes), preview::properties(&rendered.bytes));
    assert!(shown.width <= source.width.min(Some(30)), "{source:?} {shown:?}");
    assert!(shown.height <= source.height.min(Some(20)), "{source:?} {shown:?}");
    assert!(shown.width.is_some() && shown.height.is_some());
});

fn check_avatar(bytes: &[u8]) {
    let Ok(avatar) = preview::avatar(bytes, PIXELS, TIME) else { return };
    let shown = preview::properties(&avatar.bytes);
    assert!(shown.width.is_some() && shown.height.is_some());
    if shown.width == shown.height {
        assert_eq!(preview::avatar(&avatar.bytes, PIXELS, TIME), Ok(avatar));
    }
}
