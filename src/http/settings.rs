//! The settings of a server.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use crate::error::{Error, Kind};
use crate::limits;
use crate::model::Network;
use crate::secret::Secret;
use crate::sys;

/// The settings of a [`super::Server`]. The clocks are settings only so that tests need not wait.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen; port 0 lets the kernel choose.
    pub listen: Vec<Listen>,
    /// Certificate and key of HTTPS; needed if one of `listen` speaks TLS.
    pub https: Option<Pkcs12>,
    /// How much may go on at a time.
    pub limits: Limits,
    /// Worker threads that wait for events and handle them, at least one. Each processor can keep one busy.
    pub turns: usize,
    /// Requests that may wait at a time for their bodies, the disk or the database, each on a thread of its own.
    pub threads: usize,
    /// Requests that may wait for such a thread.
    pub max_deferred: usize,
    /// Reverse proxies: not limited themselves, and trusted about `X-Forwarded-For`.
    pub trusted_proxies: Vec<Network>,
    /// See [`limits::HEAD_TIME`].
    pub head_time: Duration,
    /// See [`limits::TLS_HANDSHAKE_TIME`].
    pub handshake_time: Duration,
    /// See [`limits::KEEP_ALIVE_TIME`].
    pub keep_alive_time: Duration,
    /// See [`limits::LINGER_TIME`].
    pub linger_time: Duration,
    /// The clocks of bodies and responses.
    pub pace: Clocks,
    /// The level of the access log's lines.
    pub access_level: log::Level,
}

/// How much may go on at a time. The server takes other numbers while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections in all; beyond, a new one is answered 503 and closed.
    pub connections: usize,
    /// Connections from one IPv4 address or one IPv6 /64; beyond, a new one is answered 429 and closed.
    pub connections_per_address: usize,
    /// Requests a second of one such address, with a burst of what [`limits::RATE_BURST`] lets it save up; beyond,
    /// they are answered 429. 0 means unlimited.
    pub requests_per_second: u32,
    /// Requests whose bodies are read at a time.
    pub uploads: usize,
}

/// An address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Address and port.
    pub address: SocketAddr,
    /// Whether it speaks HTTPS.
    pub tls: bool,
    /// Whether the server may do without it where the system lacks its address family.
    pub optional: bool,
    /// The settings that the address comes from, in words, for error messages.
    pub keys: &'static str,
}

impl Listen {
    /// The error of a system that does not let us listen there; the text says what to do.
    pub fn refused(&self, cause: io::Error) -> Error {
        let Self { address, keys, .. } = self;
        let (kind, advice) = match cause.kind() {
            ErrorKind::AddrInUse => (Kind::Failure, "stop the program that uses it, or change"),
            ErrorKind::PermissionDenied => (
                Kind::Config,
                "ports below 1024 need a privilege: let a reverse proxy listen there, and change",
            ),
            ErrorKind::AddrNotAvailable => (Kind::Config, "this machine has no such address: change"),
            _ => (Kind::Failure, "look at"),
        };
        Error::caused(kind, format!("can't listen on {address}; {advice} {keys}"), cause)
    }

    /// Tries to listen there for a moment. An optional address that the system lacks is not an error.
    pub fn try_out(&self) -> io::Result<()> {
        match sys::listen(self.address, 1) {
            Err(error) if self.is_lacking(&error) => Ok(()),
            result => result.map(drop),
        }
    }

    /// Whether this error means that the system lacks an optional address.
    pub(super) fn is_lacking(&self, error: &io::Error) -> bool {
        self.optional && !matches!(error.kind(), ErrorKind::AddrInUse | ErrorKind::PermissionDenied)
    }
}

/// A PKCS#12 file with a certificate, its chain and its key.
#[derive(Clone)]
pub struct Pkcs12 {
    /// The file's bytes.
    pub bytes: Vec<u8>,
    /// The password it is encrypted with.
    pub password: Secret,
}

/// The clocks of a transfer. They count only time spent waiting for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clocks {
    /// See [`limits::TRANSFER_IDLE_TIME`].
    pub idle: Duration,
    /// See [`limits::TRANSFER_MIN_RATE`].
    pub min_rate: u64,
    /// See [`limits::TRANSFER_GRACE_TIME`]; afterwards the rate is looked at once in each such time.
    pub grace: Duration,
}

/// Nothing to listen on, and moderate caps.
impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            https: None,
            limits: Limits::default(),
            turns: limits::TURNS_MIN,
            threads: limits::WORKERS_MIN,
            max_deferred: limits::DEFERRED_REQUESTS,
            trusted_proxies: Vec::new(),
            head_time: limits::HEAD_TIME,
            handshake_time: limits::TLS_HANDSHAKE_TIME,
            keep_alive_time: limits::KEEP_ALIVE_TIME,
            linger_time: limits::LINGER_TIME,
            pace: Clocks::default(),
            access_level: log::Level::Info,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 4096, connections_per_address: 256, requests_per_second: 0, uploads: 32 }
    }
}

impl Default for Clocks {
    fn default() -> Self {
        Self {
            idle: limits::TRANSFER_IDLE_TIME,
            min_rate: limits::TRANSFER_MIN_RATE,
            grace: limits::TRANSFER_GRACE_TIME,
        }
    }
}

impl fmt::Debug for Pkcs12 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pkcs12({} bytes)", self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_refused_is_told_with_its_settings() {
        let listen =
            Listen { address: ([0, 0, 0, 0], 80).into(), tls: false, optional: true, keys: "http.port" };
        for (cause, kind, words) in [
            (ErrorKind::AddrInUse, Kind::Failure, "stop the program that uses it, or change http.port"),
            (ErrorKind::PermissionDenied, Kind::Config, "ports below 1024"),
            (ErrorKind::AddrNotAvailable, Kind::Config, "no such address: change http.port"),
            (ErrorKind::Other, Kind::Failure, "look at http.port"),
        ] {
            let error = listen.refused(cause.into());
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(words) && error.to_string().contains("0.0.0.0:80"), "{error}");
        }
        assert!(listen.is_lacking(&ErrorKind::AddrNotAvailable.into()));
        assert!(!listen.is_lacking(&ErrorKind::AddrInUse.into()));
    }

    #[test]
    fn no_secret_is_shown() {
        let https = Some(Pkcs12 { bytes: b"KEY".to_vec(), password: Secret::new("hunter2") });
        let shown = format!("{:?}", Settings { https, ..Settings::default() });
        assert!(shown.contains("Pkcs12(3 bytes)") && !shown.contains("hunter2") && !shown.contains("KEY"));
    }
}
