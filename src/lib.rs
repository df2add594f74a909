//! The buddycloud media server: an HTTP daemon that keeps the media of XMPP channels.
//!
//! Folders are layers and imports point down only; `tests/layers.rs` holds the table.

pub mod access;
pub mod admin;
pub mod cache;
pub mod chore;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod component;
pub mod config;
pub mod daemon;
pub mod error;
pub mod hex;
pub mod http;
pub mod https;
pub mod limits;
pub mod log;
pub mod media;
pub mod media_type;
pub mod metrics;
pub mod model;
pub mod preview;
pub mod remote;
pub mod s3;
pub mod secret;
pub mod store;
pub mod sys;
#[cfg(test)]
mod testing;
pub mod tickets;
pub mod tokens;
pub mod transfer;
pub mod uploads;
pub mod web;
pub mod xmpp;
