//! The HTTP edge: HTTP/1.1 (RFC 9110, 9112) over non-blocking sockets, on worker threads.
//!
//! A worker thread that holds a turn waits in one epoll and handles each event to its end: it accepts, reads heads, serves,
//! sends. It waits for nothing else. A request that may wait leaves its turn first ([`Exchange::leave_turn`]). An
//! [`Exchange`] may be parked in between, on no thread.

mod connection;
mod exchange;
pub mod form;
mod limits;
mod lock;
mod message;
mod monitor;
mod runtime;
mod server;
mod settings;

#[cfg(test)]
mod tests;

pub use connection::body::Body;
pub use exchange::{Exchange, Service};
pub use limits::client::Client;
pub use message::chunked::BodyLength;
pub use message::response::{Confinement, Response};
pub use message::{
    accept, chunked, conditional, cookie, cors, disposition, head, range, scan, target, version,
};
pub use monitor::{Activity, Monitor};
pub use runtime::resume::ResumeQueue;
pub use server::{Listeners, Server};
pub use settings::{Clocks, Limits, Listen, Pkcs12, Settings};
