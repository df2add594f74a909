//! HTTPS: the acceptor made of a PKCS#12 file, and clear words about files that can't be read.

use native_tls::{Identity, Protocol, TlsAcceptor};

use crate::error::{Error, Kind, Result};
use crate::http::settings::Pkcs12;

/// The first bytes of a Java key store.
const JKS: [u8; 4] = [0xfe, 0xed, 0xfe, 0xed];
/// The start of a label in a PEM file.
const PEM: &[u8] = b"-----BEGIN ";
/// The object identifier 1.2.840.113549.1.12.1 in DER, whose arcs 1 to 6 name encryptions with a password.
const PKCS12_ENCRYPTION: [u8; 11] = [0x06, 0x0a, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x01];
/// Of those, the ones that OpenSSL 3 no longer does: RC4 (128, 40 bits) and RC2 (128, 40 bits).
const LEGACY: [u8; 4] = [1, 2, 5, 6];

/// An acceptor of TLS 1.2 and later with this certificate and key.
pub fn acceptor(pkcs12: &Pkcs12) -> Result<TlsAcceptor> {
    let identity = Identity::from_pkcs12(&pkcs12.bytes, pkcs12.password.expose())
        .map_err(|error| Error::tls(Kind::Config, complaint(&pkcs12.bytes), &error))?;
    TlsAcceptor::builder(identity).min_protocol_version(Some(Protocol::Tlsv12)).build().map_err(|error| {
        Error::tls(Kind::Config, "https.keystore.path: TLS can't use its certificate and key", &error)
    })
}

impl Pkcs12 {
    /// Fails if HTTPS can't be served with it; the text says what to do.
    pub fn check(&self) -> Result<()> {
        acceptor(self).map(drop)
    }
}

/// Says why a file could not be read, and which command mends it.
fn complaint(bytes: &[u8]) -> &'static str {
    if bytes.starts_with(&JKS) {
        "https.keystore.path is a Java key store; convert it with `keytool -importkeystore -srckeystore OLD.jks \
         -destkeystore NEW.p12 -deststoretype PKCS12`"
    } else if is_pem(bytes) {
        "https.keystore.path is a PEM file, and a PKCS#12 file is needed; make one with `openssl pkcs12 -export -in \
         fullchain.pem -inkey privkey.pem -out NEW.p12`"
    } else if is_legacy(bytes) {
        "https.keystore.path is encrypted with RC2 or RC4, which OpenSSL 3 refuses; convert it with `openssl pkcs12 -legacy \
         -in OLD.p12 -nodes -out all.pem && openssl pkcs12 -export -in all.pem -out NEW.p12 && rm all.pem`"
    } else {
        "https.keystore.path can't be read as PKCS#12 (DER), or https.keystore.password is wrong"
    }
}

/// Whether it looks like PEM (RFC 7468), perhaps after a text.
fn is_pem(bytes: &[u8]) -> bool {
    bytes.windows(PEM.len()).any(|window| window == PEM)
}

fn is_legacy(bytes: &[u8]) -> bool {
    let length = PKCS12_ENCRYPTION.len();
    bytes
        .windows(length + 1)
        .any(|window| window[..length] == PKCS12_ENCRYPTION && LEGACY.contains(&window[length]))
}

#[cfg(test)]
pub mod tests {
    use std::process::{Command, Stdio};
    use std::sync::OnceLock;

    use super::*;
    use crate::secret::Secret;
    use crate::testing::Scratch;

    /// A self-signed certificate for `localhost`, made once by openssl(1).
    pub(in crate::http) fn self_signed() -> Pkcs12 {
        static MADE: OnceLock<Vec<u8>> = OnceLock::new();
        let bytes = MADE.get_or_init(|| made(&[]).expect("openssl(1) makes a PKCS#12 file")).clone();
        Pkcs12 { bytes, password: Secret::new("secret") }
    }

    fn made(options: &[&str]) -> Option<Vec<u8>> {
        let scratch = Scratch::new();
        let openssl = |arguments: &[&str]| {
            let mut command = Command::new("openssl");
            command.current_dir(scratch.path()).args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        };
        let request =
            "req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=localhost";
        let export = "pkcs12 -export -inkey key.pem -in cert.pem -out all.p12 -passout pass:secret";
        let export: Vec<&str> = export.split(' ').chain(options.iter().copied()).collect();
        let fine = openssl(&request.split(' ').collect::<Vec<_>>()) && openssl(&export);
        std::fs::read(scratch.join("all.p12")).ok().filter(|_| fine)
    }

    fn error_of(bytes: Vec<u8>, password: &str) -> String {
        let error = acceptor(&Pkcs12 { bytes, password: Secret::new(password) }).map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), Kind::Config);
        error.to_string()
    }

    #[test]
    fn a_modern_file_is_taken_and_a_wrong_password_told() {
        let good = self_signed();
        acceptor(&good).map(|_| ()).unwrap();
        assert!(error_of(good.bytes, "hunter2").contains("https.keystore.password is wrong"));
    }

    #[test]
    fn other_files_are_named_with_the_command_that_converts_them() {
        assert!(error_of(b"\xfe\xed\xfe\xed\0\0\0\x02".to_vec(), "x").contains("keytool -importkeystore"));
        let pem = b"some text\n-----BEGIN CERTIFICATE-----".to_vec();
        assert!(error_of(pem, "x").contains("openssl pkcs12 -export"));
        let other = error_of(b"else".to_vec(), "x");
        assert!(other.contains("can't be read as PKCS#12") && !other.contains("error:"), "{other}");
        // Not every OpenSSL can still write what it can't read.
        if let Some(legacy) = made(&["-legacy"]) {
            assert!(error_of(legacy, "secret").contains("openssl pkcs12 -legacy"));
        }
        let marked = [&PKCS12_ENCRYPTION[..], &[6]].concat();
        assert!(is_legacy(&marked) && !is_legacy(&PKCS12_ENCRYPTION));
    }
}
