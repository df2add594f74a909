//! The servers to compare with, each with a configuration that does not limit it.

pub mod ejabberd;
pub mod nginx;
pub mod prosody;

use std::fs;
use std::net::TcpStream;

use crate::support::child::Guarded;
use crate::support::scratch::Scratch;
use crate::support::wait_for;
use crate::uploads::Slots;

/// Writes a configuration, with each `@NAME@` replaced by its value; its path.
fn configure(scratch: &Scratch, name: &str, template: &str, values: &[(&str, &str)]) -> String {
    let fill = |text: String, (name, value): &(&str, &str)| text.replace(&format!("@{name}@"), value);
    let path = scratch.join(name);
    fs::write(&path, values.iter().fold(template.to_owned(), fill))
        .expect("the scratch directory takes files");
    path.display().to_string()
}

/// Makes a directory in the scratch directory; its path.
fn folder(scratch: &Scratch, name: &str) -> String {
    let path = scratch.join(name);
    fs::create_dir_all(&path).expect("the scratch directory takes folders");
    path.display().to_string()
}

/// Waits until an XMPP server listens for clients and for HTTP.
fn wait_ready(name: &str, mut process: Guarded, slots: Slots) -> Guarded {
    for port in [slots.client_port, slots.port] {
        wait_for(&format!("{name} to listen"), || {
            assert!(process.ended().is_none(), "{name} ended:\n{}", process.printed());
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
    }
    process
}
