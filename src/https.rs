//! TLS for the HTTP requests that we send by ureq: OpenSSL by native-tls, as everywhere here. All of it runs on
//! the thread that sends the request.

use std::fmt;
use std::io::{Read, Write};
use std::sync::{Arc, OnceLock};

use native_tls::{Certificate, HandshakeError, TlsConnector, TlsStream};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport, TransportAdapter,
};

use crate::error::{Error, Kind};

/// The trusted authorities. Those of the system are read once.
pub struct Authorities {
    extra: Vec<Certificate>,
    /// The trusted authorities in words, for an error.
    words: &'static str,
    connector: OnceLock<Result<TlsConnector, String>>,
}

impl Authorities {
    /// The authorities of the system and these; `words` follow "an authority" in errors.
    pub fn new(extra: Vec<Certificate>, words: &'static str) -> Self {
        Self { extra, words, connector: OnceLock::new() }
    }

    /// A connector that trusts these authorities. The first call reads them; others wait for it.
    pub fn connector(&self) -> Result<&TlsConnector, TlsTrouble> {
        let make = || {
            let mut builder = TlsConnector::builder();
            for authority in &self.extra {
                builder.add_root_certificate(authority.clone());
            }
            builder.build().map_err(|error| error.to_string())
        };
        self.connector.get_or_init(make).as_ref().map_err(|error| TlsTrouble(error.clone()))
    }

    fn failed_handshake<S>(&self, host: &str, error: HandshakeError<S>) -> ureq::Error {
        let words = self.words;
        let what = format!("TLS with {host} failed; its certificate must come from an authority {words}");
        let told = match error {
            HandshakeError::Failure(error) => Error::tls(Kind::Unavailable, what, &error),
            HandshakeError::WouldBlock(_) => Error::new(Kind::Unavailable, what),
        };
        ureq::Error::Other(TlsTrouble(told.to_string()).into())
    }
}

/// Puts TLS on a connection to an https URL.
pub struct Tls(Arc<Authorities>);

impl Tls {
    /// Connections to servers whose certificates come from these authorities.
    pub fn new(authorities: Arc<Authorities>) -> Self {
        Self(authorities)
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

/// The reason why there is no TLS connection, in words.
#[derive(Debug)]
pub struct TlsTrouble(String);

impl fmt::Display for TlsTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TlsTrouble {}

impl<In: Transport> Connector<In> for Tls {
    type Out = Either<In, TlsConnection>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        let Some(transport) = chained else { return Ok(None) };
        if !details.needs_tls() {
            return Ok(Some(Either::A(transport)));
        }
        let host = details.uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let connector = self.0.connector().map_err(|error| ureq::Error::Other(error.into()))?;
        let mut adapter = TransportAdapter::new(transport.boxed(), Arc::clone(&details.current_time));
        adapter.set_timeout(details.timeout);
        let stream =
            connector.connect(host, adapter).map_err(|error| self.0.failed_handshake(host, error))?;
        let (input, output) = (details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(Some(Either::B(TlsConnection { buffers: LazyBuffers::new(input, output), stream })))
    }
}

/// A connection under TLS.
pub struct TlsConnection {
    buffers: LazyBuffers,
    stream: TlsStream<TransportAdapter>,
}

impl fmt::Debug for TlsConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsConnection")
    }
}

impl Transport for TlsConnection {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.get_mut().set_timeout(timeout);
        Ok(self.stream.write_all(&self.buffers.output()[..amount])?)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.stream.get_mut().set_timeout(timeout);
        let count = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(count);
        Ok(count > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.get_mut().get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}
