//! The XMPP connections: bytes to stanzas, logging in, and the thread that owns both sockets.

mod backoff;
mod check;
mod connection;
mod dial;
mod element;
mod login;
pub mod ns;
mod outbound;
mod outbox;
#[cfg(test)]
mod peer;
mod pulse;
mod sasl;
mod session;
mod settings;
pub mod stream;
mod thread;
mod tls;
mod transport;

use std::fmt;

pub use check::{Checked, check};
pub use element::Element;
pub use outbox::{Inbox, Outbox, channel};
pub use settings::{ClientSettings, ComponentSettings, LinkSettings, Security, Settings, Times};
pub use thread::{Handler, Thread, start};

/// One of our two connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Link {
    /// The component that asks users (XEP-0114).
    Component,
    /// The client that asks channel services.
    Client,
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Component => "XMPP component",
            Self::Client => "XMPP client",
        })
    }
}
