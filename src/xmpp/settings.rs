//! What the XMPP links are handed.

use std::path::PathBuf;
use std::time::Duration;

use crate::limits;
use crate::model::BareJid;

use crate::secret::Secret;

/// Both links and their clocks.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The component's link.
    pub component: ComponentSettings,
    /// The client's link.
    pub client: ClientSettings,
    /// Time limits.
    pub times: Times,
}

/// How the component logs in (XEP-0114).
#[derive(Clone, Debug)]
pub struct ComponentSettings {
    /// Host to connect to.
    pub host: String,
    /// Port to connect to.
    pub port: u16,
    /// The component's address: a domain.
    pub jid: BareJid,
    /// The secret that the server knows, too.
    pub secret: Secret,
}

/// How the client logs in (RFC 6120).
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// Host to connect to.
    pub host: String,
    /// Port to connect to.
    pub port: u16,
    /// The XMPP domain of the account: the name that the server's certificate must have.
    pub service: BareJid,
    /// Local part of the account's address.
    pub username: String,
    /// The account's password.
    pub password: Secret,
    /// Whether the stream is encrypted.
    pub security: Security,
    /// A PEM file with certificates of authorities that are trusted besides the system's.
    pub ca: Option<PathBuf>,
    /// The resource that is asked for; the server may give another.
    pub resource: String,
}

/// Whether a client's stream is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// Never, and passwords may be sent in the clear.
    Disabled,
    /// If the server offers it.
    Enabled,
    /// Or there is no connection.
    Required,
}

/// One link, as `check` wants it.
#[derive(Clone, Debug)]
pub enum LinkSettings {
    /// A component.
    Component(ComponentSettings),
    /// A client.
    Client(ClientSettings),
}

impl LinkSettings {
    /// Host and port to connect to.
    pub(super) fn endpoint(&self) -> (&str, u16) {
        match self {
            Self::Component(settings) => (&settings.host, settings.port),
            Self::Client(settings) => (&settings.host, settings.port),
        }
    }
}

/// Time limits of both links.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// For resolving, connecting and logging in.
    pub login: Duration,
    /// Silence after which the server is pinged; as much again and the link is broken.
    pub keepalive: Duration,
    /// First pause before a reconnect.
    pub backoff_min: Duration,
    /// Longest pause before a reconnect.
    pub backoff_max: Duration,
    /// Shortest pause between two calls of `Handler::tick`.
    pub tick: Duration,
    /// How long a closing link waits for the server to close, too.
    pub close: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            login: limits::XMPP_LOGIN_TIME,
            keepalive: limits::XMPP_KEEPALIVE,
            backoff_min: limits::XMPP_BACKOFF_MIN,
            backoff_max: limits::XMPP_BACKOFF_MAX,
            tick: limits::XMPP_TICK,
            close: limits::XMPP_CLOSE_TIME,
        }
    }
}
