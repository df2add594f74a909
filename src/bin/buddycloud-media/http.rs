//! HTTP requests: one connection pool for all threads, TLS by the system's authorities and the user's.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use media_server::https::{Authorities, Tls, TlsTrouble};
use media_server::limits;
use native_tls::{Certificate, TlsConnector};
use ureq::http::{self, Response};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{Connector, TcpConnector};
use ureq::{Agent, Body, SendBody, Timeout};

use crate::exit::{Exit, Failure, Result};

/// The client of all requests; cheap to clone.
#[derive(Clone)]
pub struct Http {
    agent: Agent,
    authorities: Arc<Authorities>,
}

/// A request but for its body.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: &'static str,
    /// The URL.
    pub url: String,
    /// The header fields.
    pub fields: Vec<(&'static str, String)>,
}

/// The body of a request.
pub enum Payload<'a> {
    /// None.
    Nothing,
    /// These bytes.
    Bytes(&'a [u8]),
    /// So many bytes of a reader, which fails where it has fewer.
    Reader(&'a mut dyn Read, u64),
}

/// Why there is no response.
#[derive(Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The connection was made and lost; another attempt may succeed.
    Lost(String),
    /// No connection can be made.
    Unreachable(String),
    /// The server's certificate is not trusted, or it speaks no TLS.
    Tls(String),
    /// The reply is not HTTP, or the request can't be sent.
    Fatal(String),
}

impl Http {
    /// A client that trusts these authorities, too.
    pub fn new(ca: Option<&Path>) -> Result<Self> {
        let extra = ca.map(read_authorities).transpose()?.unwrap_or_default();
        let authorities = Arc::new(Authorities::new(extra, "that the system or tls.ca trusts"));
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .user_agent(concat!("buddycloud-media/", env!("CARGO_PKG_VERSION")))
            .max_idle_connections_per_host(limits::CLIENT_UPLOADS)
            .input_buffer_size(limits::CLIENT_READ_BYTES)
            .output_buffer_size(limits::CLIENT_READ_BYTES)
            .timeout_connect(Some(limits::CLIENT_CONNECT_TIME))
            .timeout_await_100(Some(limits::CLIENT_HTTP_TIME))
            .timeout_per_read(Some(limits::CLIENT_HTTP_TIME))
            .timeout_per_write(Some(limits::CLIENT_HTTP_TIME))
            .build();
        let connector = TcpConnector::default().chain(Tls::new(Arc::clone(&authorities)));
        let agent = Agent::with_parts(config, connector, DefaultResolver::default());
        Ok(Self { agent, authorities })
    }

    /// Reads the system's authorities on a thread of its own. That takes as long as a log-in.
    pub fn warm_up(&self) {
        let authorities = Arc::clone(&self.authorities);
        let read = move || drop(authorities.connector().map(|_| ()));
        // Without the thread, the first connection does it, which also reports an error.
        let _ = thread::Builder::new().name("tls".to_owned()).spawn(read);
    }

    /// The connector of these requests, for a connection of another protocol; `None` if there is an error. Waits until the
    /// authorities are read.
    pub fn tls(&self) -> Option<TlsConnector> {
        self.authorities.connector().ok().cloned()
    }

    /// Sends a request, and reads the head of its response, whatever its status.
    pub fn send(
        &self,
        request: &Request,
        payload: Payload<'_>,
    ) -> std::result::Result<Response<Body>, Trouble> {
        let mut builder = http::Request::builder().method(request.method).uri(&request.url);
        for (name, value) in &request.fields {
            builder = builder.header(*name, value);
        }
        let wrong = |error: http::Error| Trouble::Fatal(format!("the request can't be sent: {error}"));
        let sent = match payload {
            Payload::Nothing => self.agent.run(builder.body(()).map_err(wrong)?),
            Payload::Bytes(bytes) => self.agent.run(builder.body(bytes).map_err(wrong)?),
            Payload::Reader(reader, length) => {
                let builder = builder.header("Content-Length", length);
                self.agent.run(builder.body(SendBody::from_reader(reader)).map_err(wrong)?)
            }
        };
        sent.map_err(|error| Trouble::of(&error))
    }
}

impl Trouble {
    /// The failure that it is if no other attempt is made.
    pub fn into_failure(self) -> Failure {
        match self {
            Self::Lost(text) | Self::Unreachable(text) | Self::Fatal(text) => {
                Failure::new(Exit::NoService, text)
            }
            Self::Tls(text) => Failure::new(Exit::Tls, text),
        }
    }

    fn of(error: &ureq::Error) -> Self {
        use io::ErrorKind::{
            AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkDown, NetworkUnreachable,
        };
        match error {
            ureq::Error::Io(error) => Self::of_io(error),
            ureq::Error::Timeout(Timeout::Connect | Timeout::Resolve) => {
                Self::Unreachable("the HTTP server can't be reached in time".to_owned())
            }
            ureq::Error::Timeout(_) => Self::Lost("the HTTP server stopped sending".to_owned()),
            ureq::Error::HostNotFound => {
                Self::Unreachable("the HTTP server's name is not in the DNS".to_owned())
            }
            ureq::Error::ConnectionFailed => Self::Unreachable("the HTTP server can't be reached".to_owned()),
            ureq::Error::BodyStalled => Self::Lost("the connection was lost".to_owned()),
            ureq::Error::Other(other) if other.is::<TlsTrouble>() => Self::Tls(other.to_string()),
            other => Self::Fatal(format!("the HTTP request failed: {other}")),
        }
        .unreachable_if(matches!(error, ureq::Error::Io(error) if matches!(
            error.kind(),
            AddrNotAvailable | ConnectionRefused | HostUnreachable | NetworkDown | NetworkUnreachable
        )))
    }

    /// The trouble of an I/O error of a connection.
    pub fn of_io(error: &io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>()) {
            Some(inner) => Self::of(inner),
            None => Self::Lost(format!("the connection was lost: {error}")),
        }
    }

    fn unreachable_if(self, unreachable: bool) -> Self {
        match self {
            Self::Lost(text) if unreachable => {
                let cause = text.rsplit(": ").next().unwrap_or_default();
                Self::Unreachable(format!("the HTTP server can't be reached: {cause}"))
            }
            other => other,
        }
    }
}

/// Reads the certificates of a PEM file.
fn read_authorities(path: &Path) -> Result<Vec<Certificate>> {
    let wrong = |why: String| {
        Failure::new(Exit::Config, format!("can't read certificates from {} (tls.ca): {why}", path.display()))
    };
    let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let certificates = Certificate::stack_from_pem(&pem).map_err(|error| wrong(error.to_string()))?;
    if certificates.is_empty() {
        return Err(wrong("it holds no certificate in PEM format".to_owned()));
    }
    Ok(certificates)
}
