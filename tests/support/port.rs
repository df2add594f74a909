//! Ports for the servers of tests; the library's tests include this file, too.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

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
