//! SASL authentication (RFC 6120 section 6) by SCRAM or PLAIN. Without I/O.

mod scram;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::error::{Error, Kind, Result};

use crate::secret::Secret;
use scram::{Hash, Scram};

/// A supported mechanism, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mechanism {
    /// RFC 5802 with SHA-512 (XEP-0438).
    ScramSha512,
    /// RFC 7677.
    ScramSha256,
    /// RFC 5802.
    ScramSha1,
    /// RFC 4616: the password itself.
    Plain,
}

impl Mechanism {
    /// All of them, best first.
    pub const ALL: [Self; 4] = [Self::ScramSha512, Self::ScramSha256, Self::ScramSha1, Self::Plain];

    /// Those of the offered mechanisms that can be used, best first; `PLAIN` only if the password may be sent.
    pub fn usable(offered: &[&str], plain_allowed: bool) -> Vec<Self> {
        let all = Self::ALL.into_iter().filter(|mechanism| *mechanism != Self::Plain || plain_allowed);
        all.filter(|mechanism| offered.contains(&mechanism.name())).collect()
    }

    /// The name in the IANA registry.
    pub fn name(self) -> &'static str {
        match self {
            Self::ScramSha512 => "SCRAM-SHA-512",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha1 => "SCRAM-SHA-1",
            Self::Plain => "PLAIN",
        }
    }
}

/// One authentication. Its inputs and outputs are base64, as on the stream.
pub(super) struct Authentication {
    mechanism: Mechanism,
    proof: Proof,
}

enum Proof {
    Plain { user: String, password: Secret },
    Scram(Box<Scram>),
}

impl Authentication {
    /// An authentication as this user. Fails if SASLprep (RFC 4013) forbids a character of user name or password, or if
    /// the kernel gives no random bytes.
    pub fn new(mechanism: Mechanism, user: &str, password: &Secret) -> Result<Self> {
        let user = prepared(user, "the XMPP user name")?;
        let password = Secret::new(prepared(password.expose(), "the XMPP password")?);
        let hash = match mechanism {
            Mechanism::Plain => return Ok(Self { mechanism, proof: Proof::Plain { user, password } }),
            Mechanism::ScramSha1 => Hash::Sha1,
            Mechanism::ScramSha256 => Hash::Sha256,
            Mechanism::ScramSha512 => Hash::Sha512,
        };
        let scram = Scram::new(hash, &user, password, nonce()?);
        Ok(Self { mechanism, proof: Proof::Scram(Box::new(scram)) })
    }

    /// The mechanism's name.
    pub fn name(&self) -> &'static str {
        self.mechanism.name()
    }

    /// The initial response.
    pub fn initial(&self) -> String {
        STANDARD.encode(match &self.proof {
            Proof::Plain { user, password } => format!("\0{user}\0{}", password.expose()),
            Proof::Scram(scram) => scram.client_first(),
        })
    }

    /// The response to a challenge.
    pub fn challenge(&mut self, data: &str) -> Result<String> {
        match &mut self.proof {
            Proof::Plain { .. } => {
                Err(Error::new(Kind::Corrupt, "the XMPP server sends a challenge after SASL PLAIN"))
            }
            Proof::Scram(scram) => scram.challenge(&decoded(data)?).map(|response| STANDARD.encode(response)),
        }
    }

    /// Takes `<success/>`. Fails if the mechanism is SCRAM and the server has not proved that it knows the password.
    pub fn success(&mut self, data: &str) -> Result<()> {
        match &mut self.proof {
            Proof::Plain { .. } => Ok(()),
            Proof::Scram(scram) => scram.success(&decoded(data)?),
        }
    }
}

/// Strict base64; `=` stands for no bytes (RFC 6120 section 6.4.2).
fn decoded(data: &str) -> Result<String> {
    let bytes = if data == "=" { Ok(Vec::new()) } else { STANDARD.decode(data) };
    bytes
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| Error::new(Kind::Corrupt, "the XMPP server's SASL data is not valid base64 of UTF-8"))
}

fn prepared(text: &str, what: &str) -> Result<String> {
    match stringprep::saslprep(text) {
        Ok(prepared) if !prepared.is_empty() => Ok(prepared.into_owned()),
        _ => Err(Error::new(Kind::Config, format!("{what} is empty or holds characters that SASL forbids"))),
    }
}

/// 144 random bits, in characters that need no escape.
fn nonce() -> Result<String> {
    let mut bytes = [0; 18];
    getrandom::fill(&mut bytes).map_err(|error| Error::caused(Kind::Failure, "can't make a nonce", error))?;
    Ok(STANDARD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mechanisms_are_tried_strongest_first() {
        use Mechanism::{Plain, ScramSha1, ScramSha256, ScramSha512};
        for (offered, plain_allowed, usable) in [
            (
                &["PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-512", "SCRAM-SHA-256"][..],
                true,
                &[ScramSha512, ScramSha256, ScramSha1, Plain][..],
            ),
            (&["PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256"], false, &[ScramSha256, ScramSha1]),
            (&["PLAIN", "X-OAUTH2", "SCRAM-SHA-1"], true, &[ScramSha1, Plain]),
            (&["PLAIN"], true, &[Plain]),
            (&["PLAIN"], false, &[]),
            (&["SCRAM-SHA-256-PLUS", "DIGEST-MD5", "scram-sha-1"], true, &[]),
        ] {
            assert_eq!(Mechanism::usable(offered, plain_allowed), usable, "{offered:?}");
        }
    }

    #[test]
    fn plain_sends_user_and_password() {
        let mut exchange = Authentication::new(Mechanism::Plain, "user", &Secret::new("pass")).unwrap();
        assert_eq!(STANDARD.decode(exchange.initial()).unwrap(), b"\0user\0pass");
        assert!(exchange.challenge("").is_err());
        assert!(exchange.success("").is_ok());
    }

    #[test]
    fn names_and_passwords_are_prepared() {
        let exchange = Authentication::new(Mechanism::Plain, "I\u{ad}X", &Secret::new("\u{aa}")).unwrap();
        assert_eq!(STANDARD.decode(exchange.initial()).unwrap(), b"\0IX\0a");
        for bad in ["", "\u{7}", "\u{627}1"] {
            let refused = Authentication::new(Mechanism::Plain, "user", &Secret::new(bad));
            assert_eq!(refused.err().map(|error| error.kind()), Some(Kind::Config), "{bad:?}");
        }
    }

    #[test]
    fn base64_is_strict() {
        assert_eq!(decoded("=").unwrap(), "");
        assert_eq!(decoded("").unwrap(), "");
        assert_eq!(decoded("cj0x").unwrap(), "r=1");
        for bad in ["cj0x\n", "cj\n0x", " cj0x", "cj0", "cj0x=", "cj-_", "/w==", "=="] {
            assert!(decoded(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn nonces_differ_and_need_no_escape() {
        let exchange = || Authentication::new(Mechanism::ScramSha1, "u", &Secret::new("p")).unwrap();
        assert_ne!(exchange().initial(), exchange().initial());
        assert!(!nonce().unwrap().contains(','));
    }
}
