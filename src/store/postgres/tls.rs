//! TLS to PostgreSQL, set up when a server takes it. OpenSSL reads all of the system's authorities for that, which takes
//! longer than everything else at the start, and most databases near by have no TLS.

use std::future::{self, Future};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use native_tls::{Certificate, TlsConnector};
use postgres::Socket;
use postgres::tls::{MakeTlsConnect, TlsConnect};
use postgres_native_tls::TlsStream;

/// Which certificates are accepted.
#[derive(Clone)]
pub(in crate::store) struct Tls(Arc<Inner>);

struct Inner {
    /// An authority besides those of the system.
    root: Option<Certificate>,
    /// Whether an authority that we know must have signed the certificate.
    signed: bool,
    /// Whether it must be for the host.
    named: bool,
    connector: OnceLock<TlsConnector>,
}

impl Tls {
    pub(super) fn new(root: Option<Certificate>, signed: bool, named: bool) -> Self {
        Self(Arc::new(Inner { root, signed, named, connector: OnceLock::new() }))
    }

    fn connector(&self) -> native_tls::Result<TlsConnector> {
        if let Some(connector) = self.0.connector.get() {
            return Ok(connector.clone());
        }
        let mut tls = TlsConnector::builder();
        if let Some(root) = &self.0.root {
            tls.add_root_certificate(root.clone());
        }
        tls.danger_accept_invalid_certs(!self.0.signed);
        tls.disable_built_in_roots(!self.0.signed);
        tls.danger_accept_invalid_hostnames(!self.0.named);
        let connector = tls.build()?;
        Ok(self.0.connector.get_or_init(|| connector).clone())
    }
}

impl MakeTlsConnect<Socket> for Tls {
    type Stream = TlsStream<Socket>;
    type TlsConnect = TlsTo;
    type Error = native_tls::Error;

    fn make_tls_connect(&mut self, domain: &str) -> native_tls::Result<TlsTo> {
        Ok(TlsTo { tls: self.clone(), domain: domain.to_owned() })
    }
}

/// TLS to one host, which is asked first whether it takes TLS.
pub(in crate::store) struct TlsTo {
    tls: Tls,
    domain: String,
}

impl TlsConnect<Socket> for TlsTo {
    type Stream = TlsStream<Socket>;
    type Error = native_tls::Error;
    type Future = Pin<Box<dyn Future<Output = native_tls::Result<TlsStream<Socket>>> + Send>>;

    fn connect(self, stream: Socket) -> Self::Future {
        match self.tls.connector() {
            Ok(connector) => postgres_native_tls::TlsConnector::new(connector, &self.domain).connect(stream),
            Err(error) => Box::pin(future::ready(Err(error))),
        }
    }
}
