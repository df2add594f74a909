//! HTTP messages as bytes and values: heads, targets, fields, framing, conditions, ranges, responses. Nothing here knows of
//! sockets or waits; any thread runs it.

pub mod accept;
pub mod chunked;
pub mod conditional;
pub mod cookie;
pub mod cors;
pub mod disposition;
pub(super) mod fields;
pub mod file_name;
pub mod head;
pub mod range;
pub mod response;
pub mod scan;
pub mod target;
pub mod version;
