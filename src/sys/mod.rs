//! System calls, each with the behaviour the rest of the program relies on. Safe throughout (rustix).

pub mod fs;
mod wait;

pub use wait::{Interest, Waker, wait};
