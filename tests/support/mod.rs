//! What the end-to-end tests stand on: a real XMPP server, the media server, curl, and clients of our own.

#![allow(dead_code, reason = "no test uses all of it")]

pub mod child;
pub mod exposition;
pub mod http;
pub mod load;
pub mod media;
pub mod postgres;
pub mod prosody;
pub mod random;
pub mod scratch;
pub mod scripted_peer;
pub mod server;
pub mod soak;
pub mod stanza;
pub mod xmpp_client;

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long anything may take that has no reason to take long. Generous: the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Asks until there is an answer.
///
/// # Panics
/// When there is none after [`PATIENCE`]; `what` is in the message.
pub fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A port that is free now, and no outgoing connection's: those get one from 32768 on (ip_local_port_range(7)). Another
/// process may take it before its user does; starters try again.
pub fn free_port() -> u16 {
    const PORTS: u32 = 12_000;
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(101);
    for _ in 0..PORTS {
        let at = first.wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed)) % PORTS;
        let port = u16::try_from(20_000 + at).expect("it is below 32768");
        if TcpListener::bind(("0.0.0.0", port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free");
}
