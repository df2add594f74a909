//! Logging in, without I/O: stream events in, bytes to send and transitions out.

mod client;
mod component;

use std::fmt;

use crate::error::{Error, Kind};
use crate::model::{BareJid, Jid};

use super::ns;
use super::settings::LinkSettings;
use super::stream::{StreamError, StreamEvent};

use client::ClientLogin;
use component::ComponentLogin;

/// What the machine wants next.
#[derive(PartialEq, Eq)]
pub(super) enum LoginStep {
    /// These bytes sent; nothing if empty.
    Send(String),
    /// A new parser, then these bytes sent.
    Restart(String),
    /// A TLS handshake and a new parser, then [`Login::secured`].
    StartTls,
    /// We are in, under this address; these bytes are to be sent.
    Ready(Jid, String),
}

/// Without the bytes: they may prove who we are.
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

/// A result that may be the end of a link.
pub(super) type LinkResult<T> = Result<T, LinkError>;

/// Why a link is no more.
#[derive(Debug)]
pub(super) enum LinkError {
    /// Another connection of this component is there.
    AlreadyConnected,
    /// Everything else.
    Failed(Error),
}

impl From<Error> for LinkError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<LinkError> for Error {
    fn from(broken: LinkError) -> Self {
        match broken {
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
    /// Of a component.
    Component(ComponentLogin),
    /// Of a client.
    Client(Box<ClientLogin>),
}

impl Login {
    /// A log-in that has not begun.
    pub fn new(settings: &LinkSettings) -> Self {
        match settings {
            LinkSettings::Component(settings) => Self::Component(ComponentLogin::new(settings)),
            LinkSettings::Client(settings) => Self::Client(Box::new(ClientLogin::new(settings))),
        }
    }

    /// The namespace of the stream's stanzas.
    pub fn content(&self) -> &'static str {
        match self {
            Self::Component(_) => ns::COMPONENT,
            Self::Client(_) => ns::CLIENT,
        }
    }

    /// What to send once the connection is there.
    pub fn open(&self) -> String {
        match self {
            Self::Component(component) => component.open(),
            Self::Client(client) => client.open(),
        }
    }

    /// What to send once TLS is established.
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

    /// What the server owes us now, for the message after a time-out.
    pub fn awaited(&self) -> &'static str {
        match self {
            Self::Component(component) => component.awaited(),
            Self::Client(client) => client.awaited(),
        }
    }
}

/// The start tag that opens our stream. A domain holds nothing that XML would take for its own.
fn stream_header(content: &str, to: &BareJid, version: &str) -> String {
    let (to, stream) = (to.domain(), ns::STREAM);
    format!("<stream:stream xmlns='{content}' xmlns:stream='{stream}' to='{to}'{version}>")
}

/// A stream error as the operator reads it.
pub(super) fn stream_error(kind: Kind, hint: &'static str, error: &StreamError) -> Error {
    let StreamError { condition, text } = error;
    let cause = if text.is_empty() { condition.clone() } else { format!("{condition} ({text})") };
    Error::caused(kind, hint, cause)
}

/// What no server says at this point.
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
