//! The server as its users meet it: curl in front, a real XMPP server behind.
//!
//! One binary, so that the tests share one site; each makes users and channels of its own there.

mod asked;
mod commands;
mod conformance;
mod crash;
mod daemon;
mod defects;
mod durability;
mod faults;
mod harness;
mod hostile_http;
mod hostile_media;
mod hostile_xmpp;
mod http_basics;
mod install;
mod ledger;
mod load;
mod manual;
mod moving;
mod original;
mod previews;
mod private_channels;
mod quota;
mod rate;
mod reload;
mod replies;
mod schema;
mod site;
mod smuggling;
mod starving;
#[path = "../support/mod.rs"]
mod support;
mod waiting;
mod watching;
