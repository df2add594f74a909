//! What STARTTLS trusts and which name it asks for.

use std::fs;

use native_tls::{Certificate, TlsConnector};

use crate::error::{Error, Kind, Result};

use super::settings::ClientSettings;

/// A connector with its authorities, and the name that a certificate must have.
#[derive(Clone)]
pub(super) struct Tls {
    /// Trusts the system's authorities and those of the settings.
    pub connector: TlsConnector,
    /// The XMPP domain: not the host, which DNS or a setting may have made up (RFC 6120 section 13.7.2.1).
    pub domain: String,
}

impl Tls {
    /// Reads the authorities. An unreadable file is a matter of configuration.
    pub fn new(settings: &ClientSettings) -> Result<Self> {
        let mut builder = TlsConnector::builder();
        if let Some(path) = &settings.ca {
            let wrong =
                || format!("can't read certificates from {} (xmpp.connection.tls.ca)", path.display());
            let pem = fs::read(path).map_err(|error| Error::caused(Kind::Config, wrong(), error))?;
            let certificates = Certificate::stack_from_pem(&pem)
                .map_err(|error| Error::caused(Kind::Config, wrong(), error))?;
            if certificates.is_empty() {
                return Err(Error::caused(Kind::Config, wrong(), "there is none in PEM format"));
            }
            for certificate in certificates {
                builder.add_root_certificate(certificate);
            }
        }
        let connector =
            builder.build().map_err(|error| Error::caused(Kind::Failure, "can't set up TLS", error))?;
        Ok(Self { connector, domain: settings.service.domain().to_owned() })
    }
}
