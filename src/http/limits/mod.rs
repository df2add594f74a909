//! What keeps one client from taking all: permits, rates, and what counts as one client.

pub mod client;
pub mod permits;
pub mod rate;
pub mod uploads;
