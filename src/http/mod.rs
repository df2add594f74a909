//! The HTTP edge: connections, heads, bodies, forms, answers; HTTP/1.1 (RFC 9110, 9112), blocking.
//!
//! Connections that wait for their clients rest in one epoll. Whatever comes for one is seen to by a worker that has nothing
//! else to do, or else by the front, a thread that never waits for a client: it collects the head, and hands the connection
//! through a bounded queue to a worker. The worker reads the body and writes the answer with blocking calls under two
//! clocks, and lets the connection rest again. An [`Exchange`] may be parked in between.

mod connection;
mod exchange;
pub mod form;
mod limits;
mod message;
pub mod mime;
mod monitor;
mod runtime;
mod server;
mod settings;

#[cfg(test)]
mod tests;

pub use connection::body::Body;
pub use exchange::Exchange;
pub use limits::client::Client;
pub use message::chunked::BodyLength;
pub use message::response::Response;
pub use message::{chunked, conditional, cors, disposition, head, range, target};
pub use monitor::{Activity, Monitor};
pub use runtime::workers::Workers;
pub use server::Server;
pub use settings::{Clocks, Limits, Listen, Pkcs12, Settings};

/// What answers the requests.
pub trait Service: Send + Sync + 'static {
    /// Called on a worker for each request; must end in [`Exchange::answer`], now or, once parked, later.
    fn serve(&self, exchange: Exchange);
}
