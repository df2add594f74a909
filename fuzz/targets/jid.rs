//! Addresses: a second preparation does not change them, and they are safe in paths, XML and logs.

#![no_main]

use libfuzzer_sys::fuzz_target;
use media_server::limits;
use media_server::model::{Channel, Jid};

fuzz_target!(|text: &str| {
    let Ok(jid) = text.parse::<Jid>() else { return };
    let shown = jid.to_string();
    assert_eq!(shown.parse().as_ref(), Ok(&jid), "{text:?} became {shown:?}");
    assert!(!shown.contains(char::is_control), "{shown:?}");
    let bare = jid.bare();
    assert_eq!(bare.as_str().parse().as_ref(), Ok(bare));
    let parts = [bare.local(), Some(bare.domain()), jid.resource()];
    assert!(parts.into_iter().flatten().all(|part| (1..=limits::JID_PART_BYTES).contains(&part.len())));
    let Ok(channel) = Channel::try_from(bare.clone()) else { return };
    let name = channel.as_str();
    assert!(name.contains('@') && name.len() <= limits::CHANNEL_BYTES);
    assert!(!name.contains(['/', '<', '>', '"', '\'', '&', ' ', '\0']), "{name:?}");
});
