//! The helpers of the end-to-end tests: a real XMPP server, the media server, curl, and our own clients.

#![allow(dead_code, reason = "no test uses all of it")]

pub mod child;
pub mod dns_server;
pub mod ejabberd;
pub mod ejabberd_accounts;
pub mod exposition;
mod folder;
pub mod gateway;
pub mod granter;
pub mod http;
pub mod load;
pub mod media;
pub mod media_client;
mod port;
pub mod postgres;
pub mod profanity;
pub mod prosody;
pub mod python;
pub mod random;
pub mod relay;
pub mod s3_proxy;
pub mod scratch;
pub mod scripted_media;
pub mod scripted_peer;
pub mod seaweedfs;
pub mod server;
pub mod slot;
pub mod soak;
pub mod stanza;
pub mod terminal;
pub mod webdriver;
pub mod xmpp_client;

use std::time::{Duration, Instant};

pub use self::port::free_port;

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
