//! The HTTP edge: connections, heads, bodies, forms, answers; HTTP/1.1 (RFC 9110, 9112), blocking.

pub mod conditional;
pub mod cors;
pub mod disposition;
pub mod form;
pub mod mime;
mod parameters;
pub mod range;
pub mod target;
pub mod body;
mod fields;
pub mod head;

pub use body::BodyLength;
