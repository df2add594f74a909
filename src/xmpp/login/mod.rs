//! The log-in as a state machine without I/O: stream events go in, bytes to send and transitions come out.

mod client;
mod component;

use std::borrow::Cow;
use std::fmt;

use crate::error::{Error, Kind};
use crate::model::{BareJid, Jid};

use super::ns;
use super::settings::LinkSettings;
use super::stream::{StreamError, StreamEvent};

use client::ClientLogin;
use component::ComponentLogin;

/// The next action.
#[derive(PartialEq, Eq)]
pub(super) enum LoginStep {
    /// Send these bytes, which may be empty.
    Send(String),
    /// Begin a new stream: a new parser, then send these bytes.
    Restart(String),
    /// Begin a new stream under TLS: a handshake and a new parser, then call [`Login::secured`].
    StartTls,
    /// Logged in under this address; send these bytes.
    Ready(Jid, String),
}

/// Without the bytes, which hold passwords and proofs.
impl fmt::Debug for LoginStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Send(_) => f.write_str("Send"),
            Self::Restart(_) => f.write_str("Restart"),
            Self::StartTls => f.write_str("StartTls"),
            Self::Ready(jid, _) => write!(f, "Ready({jid})"),
        }
    }
}

/// Why a log-in failed, as far as a command does something else for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginFailure {
    /// There is no TLS, or the server's certificate is not trusted.
    Tls,
    /// The server refuses the user name or the password.
    Refused,
    /// Any other reason.
    Other,
}

/// A result whose error ends the link.
pub(super) type LinkResult<T> = Result<T, LinkError>;

/// Why a link ended.
#[derive(Debug)]
pub(super) enum LinkError {
    /// Another connection of this component exists.
    AlreadyConnected,
    /// Any other reason.
    Failed(Error),
}

impl From<Error> for LinkError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<LinkError> for Error {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Failed(error) => error,
            LinkError::AlreadyConnected => Self::new(
                Kind::Unavailable,
                "a component of this name is already connected to the XMPP server",
            ),
        }
    }
}

/// The log-in of one link.
pub(super) enum Login {
    /// The log-in of a component.
    Component(ComponentLogin),
    /// The log-in of a client.
    Client(Box<ClientLogin>),
}

impl Login {
    /// A log-in before its first byte.
    pub fn new(settings: &LinkSettings) -> Self {
        match settings {
            LinkSettings::Component(settings) => Self::Component(ComponentLogin::new(settings)),
            LinkSettings::Client(settings) => Self::Client(Box::new(ClientLogin::new(settings))),
        }
    }

    /// The stream's content namespace (RFC 6120 section 4.8.2).
    pub fn content(&self) -> &'static str {
        match self {
            Self::Component(_) => ns::COMPONENT,
            Self::Client(_) => ns::CLIENT,
        }
    }

    /// The bytes to send once connected.
    pub fn open(&self) -> String {
        match self {
            Self::Component(component) => component.open(),
            Self::Client(client) => client.open(),
        }
    }

    /// The bytes to send once TLS is established.
    pub fn secured(&mut self) -> String {
        match self {
            Self::Component(component) => component.open(),
            Self::Client(client) => client.secured(),
        }
    }

    /// Takes an event of the stream.
    pub fn event(&mut self, event: StreamEvent) -> LinkResult<LoginStep> {
        match self {
            Self::Component(component) => component.event(event),
            Self::Client(client) => client.event(event).map_err(LinkError::Failed),
        }
    }

    /// Whether the server offers no TLS where it must.
    pub fn lacks_tls(&self) -> bool {
        matches!(self, Self::Client(client) if client.failure() == LoginFailure::Tls)
    }

    /// Whether the server has refused the account.
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Client(client) if client.failure() == LoginFailure::Refused)
    }

    /// The element that the server must send next, for error messages.
    pub fn awaited(&self) -> &'static str {
        match self {
            Self::Component(component) => component.awaited(),
            Self::Client(client) => client.awaited(),
        }
    }
}

/// The start tag that opens our stream. A domain holds no characters that need an escape.
fn stream_header(content: &str, to: &BareJid, version: &str) -> String {
    let (to, stream) = (to.domain(), ns::STREAM);
    format!("<stream:stream xmlns='{content}' xmlns:stream='{stream}' to='{to}'{version}>")
}

/// A stream error in words for the operator.
pub(super) fn stream_error(kind: Kind, hint: impl Into<Cow<'static, str>>, error: &StreamError) -> Error {
    let StreamError { condition, text } = error;
    let cause = if text.is_empty() { condition.clone() } else { format!("{condition} ({text})") };
    Error::caused(kind, hint, cause)
}

/// The error of an event that must not come now.
fn unexpected(event: &StreamEvent, awaited: &'static str) -> Error {
    let what = match event {
        StreamEvent::Failed(error) => {
            return stream_error(Kind::Unavailable, "the XMPP server ends the stream", error);
        }
        StreamEvent::Closed => "the end of the stream".to_owned(),
        StreamEvent::Opened(_) => "a stream header".to_owned(),
        StreamEvent::Stanza(stanza) => format!("<{}>", stanza.name()),
    };
    Error::new(Kind::Corrupt, format!("the XMPP server sent {what} instead of {awaited}"))
}
