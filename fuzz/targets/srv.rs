//! Replies of name servers to the command line's client: only records for its question count, and each names a host.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../src/bin/buddycloud-media/dns/message.rs"]
mod message;
#[allow(dead_code, reason = "the client makes places of records")]
#[path = "../../src/bin/buddycloud-media/dns/order.rs"]
mod order;

/// A record after `order`.
#[allow(dead_code, reason = "the client reads it")]
pub struct Place {
    pub host: String,
    pub port: u16,
    pub direct_tls: bool,
}

fuzz_target!(|input: &[u8]| {
    let question = message::Question::new("_xmpp-client._tcp.example.com", 0x1234).expect("a name");
    assert_eq!(question.read(question.bytes()), None, "a question is no reply");
    let Some(message::Reply::Records(records)) = question.read(input) else { return };
    assert_eq!(input[..2], [0x12, 0x34]);
    let is_host = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    assert!(records.iter().all(|record| record.target.len() <= 253 && record.target.chars().all(is_host)));
    let count = records.len();
    let mut number = 0_u32;
    let ordered = order::ordered(records, &mut || {
        number = number.wrapping_mul(31).wrapping_add(7);
        number
    });
    assert_eq!(ordered.len(), count);
    assert!(ordered.windows(2).all(|pair| pair[0].priority <= pair[1].priority));
});
