//! The two XMPP connections: streams, log-in, and the one thread that owns both sockets. All of it runs on that thread
//! but [`Outbox`] and [`Lease`], which any thread may use, and [`check()`] and [`Conversation`], which commands use.

mod backoff;
mod check;
mod connection;
mod conversation;
mod dial;
mod element;
mod keepalive;
mod lease;
mod login;
pub mod ns;
mod outbox;
#[cfg(test)]
mod peer;
mod sasl;
mod send_buffer;
mod session;
mod settings;
pub mod stream;
mod thread;
mod tls;
mod transport;

use std::fmt;

use crate::model::Jid;

pub use check::{Checked, check};
pub use conversation::{Conversation, LoginError, LoginFailure};
pub use element::Element;
pub use lease::Lease;
pub use outbox::{Inbox, Outbox, channel};
pub use settings::{
    ClientSettings, ComponentSettings, LinkSettings, Security, SettingNames, Settings, Times,
};
pub use thread::{Handler, Thread, start};

/// One of the two connections to the XMPP server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Link {
    /// The component (XEP-0114), which asks users.
    Component,
    /// The client (RFC 6120), which asks channel services.
    Client,
}

impl Link {
    /// The other one.
    fn other(self) -> Self {
        match self {
            Self::Component => Self::Client,
            Self::Client => Self::Component,
        }
    }
}

/// An event of a link.
#[derive(Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// It is logged in, under this address.
    Up(Jid),
    /// A stanza came, in namespace [`ns::CLIENT`] on both links.
    Stanza(Element),
    /// It was up and is down; it reconnects by itself.
    Down,
    /// An attempt to connect, or the connection, failed for this reason, in words for the operator.
    Failed(String),
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Component => "XMPP component",
            Self::Client => "XMPP client",
        })
    }
}
