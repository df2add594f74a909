//! The settings of the XMPP links.

use std::path::PathBuf;
use std::time::Duration;

use native_tls::TlsConnector;

use crate::limits;
use crate::model::BareJid;

use crate::secret::Secret;

/// Settings of both links.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The settings of the component's link.
    pub component: ComponentSettings,
    /// The settings of the client's link.
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
    /// The secret that is shared with the server.
    pub secret: Secret,
}

/// How the client logs in (RFC 6120).
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// Host to connect to.
    pub host: String,
    /// Port to connect to.
    pub port: u16,
    /// The XMPP domain of the account. The server's certificate must be for it.
    pub service: BareJid,
    /// Local part of the account's address.
    pub username: String,
    /// The account's password.
    pub password: Secret,
    /// How TLS is used.
    pub security: Security,
    /// A PEM file with certificates of authorities that are trusted in addition to the system's.
    pub ca: Option<PathBuf>,
    /// A connector for STARTTLS that the program uses for other protocols, too. Without one, and with [`Security::Direct`],
    /// each handshake makes its own.
    pub connector: Option<TlsConnector>,
    /// The resource to bind; the server may assign another one.
    pub resource: String,
    /// Whether the resource becomes available (RFC 6121 section 4.2). A resource that does not gets only what is sent to
    /// its full address.
    pub available: bool,
    /// How error messages name these settings.
    pub names: SettingNames,
}

/// How error messages name the settings of a client, in the words of the program's own configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SettingNames {
    /// Host and port.
    pub endpoint: &'static str,
    /// The port.
    pub port: &'static str,
    /// The XMPP domain.
    pub service: &'static str,
    /// User name, password and domain.
    pub account: &'static str,
    /// The file of authorities.
    pub ca: &'static str,
    /// Why there must be TLS: a sentence without a full stop.
    pub security: &'static str,
}

impl SettingNames {
    /// Those of the media server.
    pub const SERVER: Self = Self {
        endpoint: "xmpp.connection.host, xmpp.connection.port",
        port: "xmpp.connection.port",
        service: "xmpp.connection.servicename",
        account: "xmpp.connection.username, .password and .servicename",
        ca: "xmpp.connection.tls.ca",
        security: "xmpp.connection.securitymode is required",
    };
}

impl ClientSettings {
    /// The same with a random end of the resource: a server ends the session of an account whose resource is bound again.
    pub fn with_own_resource(&self) -> Self {
        // Without random bytes, the process id tells at least those on one machine apart.
        let random = getrandom::u64().unwrap_or_else(|_| std::process::id().into());
        Self { resource: format!("{}-{random:016x}", self.resource), ..self.clone() }
    }
}

/// How a client's stream uses TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// Never. Passwords may be sent in clear text.
    Disabled,
    /// STARTTLS is used if the server offers it.
    Enabled,
    /// Log in only with STARTTLS.
    Required,
    /// The connection begins with TLS (XEP-0368).
    Direct,
}

/// The settings of one link.
#[derive(Clone, Debug)]
pub enum LinkSettings {
    /// A component.
    Component(ComponentSettings),
    /// A client.
    Client(ClientSettings),
}

impl LinkSettings {
    /// The settings that say where to connect to, for error messages.
    pub(super) fn endpoint_keys(&self) -> &'static str {
        match self {
            Self::Component(_) => "xmpp.component.host, xmpp.component.port",
            Self::Client(settings) => settings.names.endpoint,
        }
    }

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
    /// For name resolution, connecting and logging in together.
    pub login: Duration,
    /// Silence after which the server is pinged. After as much again the link is closed.
    pub keepalive: Duration,
    /// First pause before a reconnect.
    pub backoff_min: Duration,
    /// Maximum pause before a reconnect.
    pub backoff_max: Duration,
    /// Minimum pause between two calls of `Handler::tick`.
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
