//! System calls, each with the behaviour the rest of the program relies on. Safe throughout (rustix).

pub mod fs;
mod epoll;
mod socket;
mod wait;

pub use epoll::{Epoll, Events};
pub use socket::{Accepted, accept, listen, send_file};
pub use wait::{Interest, Waker, wait};
