//! The XMPP connections: bytes to stanzas, logging in, and the thread that owns both sockets.

mod element;
mod login;
pub mod ns;
mod sasl;
mod secret;
mod settings;
mod stream;

pub use element::Element;
pub use secret::Secret;
pub use settings::{ClientSettings, ComponentSettings, LinkSettings, Security, Settings, Times};
