//! Limits that keep one client from taking all: permits, rates, and the networks that count as one client.

pub mod client;
pub mod permits;
pub mod rate;
pub mod uploads;
