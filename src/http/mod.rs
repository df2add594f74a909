//! The HTTP edge: connections, heads, bodies, forms, answers; HTTP/1.1 (RFC 9110, 9112), blocking.
//!
//! Connections that wait for their clients rest in one epoll. Whatever comes for one is seen to by a worker that has nothing
//! else to do, or else by the front, a thread that never waits for a client: it collects the head, and hands the connection
//! through a bounded queue to a worker. The worker reads the body and writes the answer with blocking calls under two
//! clocks, and lets the connection rest again. An [`Exchange`] may be parked in between.

pub mod body;
mod client;
pub mod conditional;
mod connection;
pub mod cors;
mod delivery;
pub mod disposition;
mod edge;
mod entrance;
mod events;
mod exchange;
mod fields;
pub mod form;
mod front;
pub mod head;
mod monitor;
mod pace;
pub mod range;
mod rate;
mod reader;
mod response;
mod seats;
mod server;
mod settings;
mod stream;
pub mod target;
mod tls;
mod transfer;
mod workers;

#[cfg(test)]
mod tests;

pub use body::BodyLength;
pub use client::Client;
pub use exchange::Exchange;
pub use monitor::{Activity, Monitor};
pub use reader::Body;
pub use response::Response;
pub use server::Server;
pub use settings::{Clocks, Limits, Listen, Pkcs12, Settings};
pub use workers::Workers;

/// What answers the requests.
pub trait Service: Send + Sync + 'static {
    /// Called on a worker for each request; must end in [`Exchange::answer`], now or, once parked, later.
    fn serve(&self, exchange: Exchange);
}
