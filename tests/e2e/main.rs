//! The server as its users meet it: curl in front, a real XMPP server behind.
//!
//! One binary, so that the tests share one site; each makes users and channels of its own there.

mod access_lines;
mod asked;
mod backup;
mod channel;
mod check;
mod colours;
mod commands;
mod conformance;
mod crash;
mod daemon;
mod defects;
mod durability;
mod edge;
mod external_slots;
mod faults;
mod harness;
mod hostile_http;
mod hostile_media;
mod hostile_xmpp;
mod http_basics;
mod identity;
mod install;
mod ledger;
mod links;
mod load;
mod manual;
mod moving;
mod operator;
mod original;
mod pooler;
mod previews;
mod private_channels;
mod quota;
mod rate;
mod reload;
mod removals;
mod replies;
mod schema;
mod self_service;
mod site;
mod slots;
mod smuggling;
mod starving;
#[path = "../support/mod.rs"]
mod support;
mod upload_clients;
mod uploads;
mod waiting;
mod watching;
