//! System calls, each with the behaviour the rest of the program relies on. Safe throughout (rustix).

mod epoll;
#[cfg(test)]
pub mod faults;
pub mod fs;
mod mounts;
mod notify;
mod ports;
mod process;
mod socket;
mod wait;

pub use epoll::{Epoll, Events};
pub use mounts::Mount;
pub use notify::Notifier;
pub use ports::{Listening, listening};
pub use process::{Usage, raise_file_limit};
pub use socket::{Accepted, accept, acknowledge, listen, reset_on_close, send_file, send_more};
pub use wait::{Interest, Waker, wait};
