//! The XMPP connections: bytes to stanzas, logging in, and the thread that owns both sockets.

mod element;

pub use element::Element;
