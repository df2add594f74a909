//! What STARTTLS trusts and which name it asks for.

use std::fs;
use std::path::Path;

use native_tls::{Certificate, TlsConnector};

use crate::error::{Error, Kind, Result};

use super::settings::ClientSettings;

/// Its authorities, and the name that a certificate must have.
#[derive(Clone)]
pub(super) struct Tls {
    /// Trusted besides the system's.
    authorities: Vec<Certificate>,
    /// The XMPP domain: not the host, which DNS or a setting may have made up (RFC 6120 section 13.7.2.1).
    pub domain: String,
}

impl Tls {
    /// Reads the authorities of the settings. An unreadable file is a matter of configuration.
    pub fn new(settings: &ClientSettings) -> Result<Self> {
        let authorities = settings.ca.as_deref().map(read).transpose()?.unwrap_or_default();
        Ok(Self { authorities, domain: settings.service.domain().to_owned() })
    }

    /// A connector for one handshake. Made when it is needed and not kept: the system's authorities take 50 ms to read
    /// and megabytes to hold.
    pub fn connector(&self) -> Result<TlsConnector> {
        let mut builder = TlsConnector::builder();
        for authority in &self.authorities {
            builder.add_root_certificate(authority.clone());
        }
        builder.build().map_err(|error| Error::caused(Kind::Failure, "can't set up TLS", error))
    }
}

/// The certificates of a PEM file, which must have some.
fn read(path: &Path) -> Result<Vec<Certificate>> {
    let wrong = || format!("can't read certificates from {} (xmpp.connection.tls.ca)", path.display());
    let pem = fs::read(path).map_err(|error| Error::caused(Kind::Config, wrong(), error))?;
    let certificates =
        Certificate::stack_from_pem(&pem).map_err(|error| Error::caused(Kind::Config, wrong(), error))?;
    if certificates.is_empty() {
        return Err(Error::caused(Kind::Config, wrong(), "there is none in PEM format"));
    }
    Ok(certificates)
}
