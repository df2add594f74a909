//! The trusted authorities and the expected name of a TLS connection to the XMPP server.

use std::fs;
use std::path::Path;

use native_tls::{Certificate, TlsConnector};

use crate::error::{Error, Kind, Result};

use super::settings::{ClientSettings, Security, SettingNames};

/// How a server's certificate is checked.
#[derive(Clone)]
pub(super) struct Tls {
    /// Trusted in addition to the system's.
    authorities: Vec<Certificate>,
    /// What a handshake after STARTTLS uses instead of a connector of its own.
    shared: Option<TlsConnector>,
    /// The name that the certificate must have: the XMPP domain, not the host, which DNS or a setting may have given
    /// (RFC 6120 section 13.7.2.1), in its ASCII form.
    pub domain: String,
    /// How error messages name the settings.
    pub names: SettingNames,
    /// Whether the connection begins with TLS: the server may serve other protocols at the same port.
    direct: bool,
}

/// The protocol that a connection speaks that begins with TLS (XEP-0368 section 4).
const ALPN: &str = "xmpp-client";

impl Tls {
    /// Reads the file of authorities. If that fails, the error is [`Kind::Config`].
    pub fn new(settings: &ClientSettings) -> Result<Self> {
        let names = settings.names;
        let authorities =
            settings.ca.as_deref().map(|path| read(path, names)).transpose()?.unwrap_or_default();
        let no_name = || {
            let service = names.service;
            let what = format!("{service} can't be in a certificate: one of its labels is too long");
            Error::new(Kind::Config, what)
        };
        let domain = settings.service.ascii_domain().ok_or_else(no_name)?;
        let direct = settings.security == Security::Direct;
        // It asks for no protocol.
        let shared = settings.connector.clone().filter(|_| !direct);
        Ok(Self { authorities, shared, domain, names, direct })
    }

    /// A connector for one handshake: the shared one, or a new one. A new one is not kept: the system's authorities take
    /// megabytes of memory. Making it takes 50 ms.
    pub fn connector(&self) -> Result<TlsConnector> {
        if let Some(shared) = &self.shared {
            return Ok(shared.clone());
        }
        let mut builder = TlsConnector::builder();
        for authority in &self.authorities {
            builder.add_root_certificate(authority.clone());
        }
        if self.direct {
            builder.request_alpns(&[ALPN]);
        }
        builder.build().map_err(|error| Error::tls(Kind::Failure, "can't set up TLS", &error))
    }
}

/// The certificates of a PEM file. A file without certificates is an error.
fn read(path: &Path, names: SettingNames) -> Result<Vec<Certificate>> {
    let wrong = || format!("can't read certificates from {} ({})", path.display(), names.ca);
    let pem = fs::read(path).map_err(|error| Error::caused(Kind::Config, wrong(), error))?;
    let certificates =
        Certificate::stack_from_pem(&pem).map_err(|error| Error::tls(Kind::Config, wrong(), &error))?;
    if certificates.is_empty() {
        return Err(Error::caused(Kind::Config, wrong(), "it holds no certificate in PEM format"));
    }
    Ok(certificates)
}
