//! The file with the certificate and key of HTTPS.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Kind, Result};
use crate::http::Pkcs12;
use crate::secret::Secret;

/// Where the certificate and the key of HTTPS are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keystore {
    /// `https.keystore.path`, a PKCS#12 file.
    pub path: PathBuf,
    /// `https.keystore.password`
    pub password: Secret,
}

impl Keystore {
    /// Reads the file. The error is of [`Kind::Config`] and names the key.
    pub fn read(&self) -> Result<Pkcs12> {
        let bytes = fs::read(&self.path).map_err(|cause| {
            let doing = format!("can't read the keystore {} (https.keystore.path)", self.path.display());
            Error::caused(Kind::Config, doing, cause)
        })?;
        Ok(Pkcs12 { bytes, password: self.password.clone() })
    }
}

/// How a Java keystore is converted into one that can be read: advice for the operator.
pub(super) fn convert(keystore: &Path) -> String {
    let (from, to) = (keystore.display(), keystore.with_extension("p12"));
    let to = to.display();
    format!(
        "Java keystores are not supported; convert it: keytool -importkeystore -srckeystore {from} \
         -srcstoretype JKS -destkeystore {to} -deststoretype PKCS12, then set https.keystore.path={to} and \
         https.keystore.type=PKCS12"
    )
}
