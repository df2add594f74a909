//! SCRAM (RFC 5802, RFC 7677) without channel binding: both sides prove that they know the password. Without I/O.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

use crate::error::{Error, Kind, Result};
use crate::limits;

use crate::secret::Secret;

/// `gs2-header` (RFC 5802 section 7): the client does not support channel binding.
const GS2_HEADER: &str = "n,,";

/// The hash function of the mechanism.
#[derive(Clone, Copy)]
pub(super) enum Hash {
    Sha1,
    Sha256,
    Sha512,
}

impl Hash {
    fn digest(self, data: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha1 => Sha1::digest(data).to_vec(),
            Self::Sha256 => Sha256::digest(data).to_vec(),
            Self::Sha512 => Sha512::digest(data).to_vec(),
        }
    }

    fn hmac(self, key: &[u8], data: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha1 => mac::<Hmac<Sha1>>(key, data).finalize().into_bytes().to_vec(),
            Self::Sha256 => mac::<Hmac<Sha256>>(key, data).finalize().into_bytes().to_vec(),
            Self::Sha512 => mac::<Hmac<Sha512>>(key, data).finalize().into_bytes().to_vec(),
        }
    }

    /// Whether this is the HMAC, compared in constant time.
    fn verify_hmac(self, key: &[u8], data: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Sha1 => mac::<Hmac<Sha1>>(key, data).verify_slice(signature),
            Self::Sha256 => mac::<Hmac<Sha256>>(key, data).verify_slice(signature),
            Self::Sha512 => mac::<Hmac<Sha512>>(key, data).verify_slice(signature),
        }
        .is_ok()
    }

    /// `Hi` of RFC 5802 section 2.2.
    fn stretch(self, password: &Secret, salt: &[u8], iterations: u32) -> Vec<u8> {
        let password = password.expose().as_bytes();
        let mut key = vec![0; self.digest(&[]).len()];
        match self {
            Self::Sha1 => pbkdf2::pbkdf2_hmac::<Sha1>(password, salt, iterations, &mut key),
            Self::Sha256 => pbkdf2::pbkdf2_hmac::<Sha256>(password, salt, iterations, &mut key),
            Self::Sha512 => pbkdf2::pbkdf2_hmac::<Sha512>(password, salt, iterations, &mut key),
        }
        key
    }
}

fn mac<M: Mac + KeyInit>(key: &[u8], data: &[u8]) -> M {
    <M as KeyInit>::new_from_slice(key).expect("an HMAC takes keys of any length").chain_update(data)
}

/// The client's side of one authentication.
pub(super) struct Scram {
    hash: Hash,
    password: Secret,
    nonce: String,
    /// `client-first-message-bare`.
    first: String,
    stage: ScramStage,
}

enum ScramStage {
    /// The client's first message was sent.
    First,
    /// The proof was sent; the server's signature must follow.
    Final { server_key: Vec<u8>, auth_message: String },
    /// The server's signature was right.
    Verified,
}

impl Scram {
    /// An authentication as this prepared user name. The nonce is of printable characters without a comma.
    pub fn new(hash: Hash, user: &str, password: Secret, nonce: String) -> Self {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        let first = format!("n={user},r={nonce}");
        Self { hash, password, nonce, first, stage: ScramStage::First }
    }

    /// `client-first-message`.
    pub fn client_first(&self) -> String {
        format!("{GS2_HEADER}{}", self.first)
    }

    /// The response to `server-first-message`, or to `server-final-message` if the server sends it as a challenge.
    pub fn challenge(&mut self, message: &str) -> Result<String> {
        match &self.stage {
            ScramStage::First => self.server_first(message),
            ScramStage::Final { .. } => self.server_final(message).map(|()| String::new()),
            ScramStage::Verified => Err(wrong("it sent a challenge after its signature")),
        }
    }

    /// Takes the data of `<success/>`: the signature, unless it came as a challenge.
    pub fn success(&mut self, message: &str) -> Result<()> {
        match &self.stage {
            ScramStage::First => Err(wrong("it reported success before we sent our proof")),
            ScramStage::Final { .. } => self.server_final(message),
            ScramStage::Verified if message.is_empty() => Ok(()),
            ScramStage::Verified => Err(wrong("it sent two signatures")),
        }
    }

    fn server_first(&mut self, message: &str) -> Result<String> {
        let (nonce, salt, iterations) = server_first(message)?;
        let extension = nonce.strip_prefix(self.nonce.as_str());
        if extension.is_none_or(str::is_empty) {
            return Err(wrong("its nonce does not begin with ours"));
        }
        let salted = self.hash.stretch(&self.password, &salt, iterations);
        let without_proof = format!("c={},r={nonce}", STANDARD.encode(GS2_HEADER));
        let auth_message = format!("{},{message},{without_proof}", self.first);
        let client_key = self.hash.hmac(&salted, b"Client Key");
        let client_signature = self.hash.hmac(&self.hash.digest(&client_key), auth_message.as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(&client_signature).map(|(key, mask)| key ^ mask).collect();
        let server_key = self.hash.hmac(&salted, b"Server Key");
        self.stage = ScramStage::Final { server_key, auth_message };
        Ok(format!("{without_proof},p={}", STANDARD.encode(proof)))
    }

    fn server_final(&mut self, message: &str) -> Result<()> {
        let ScramStage::Final { server_key, auth_message } = &self.stage else {
            return Err(wrong("it sent its signature too early"));
        };
        if message.starts_with("e=") {
            return Err(wrong("it sent an error instead of its signature"));
        }
        let signature = message.strip_prefix("v=").and_then(|rest| rest.split(',').next());
        let signature = signature.and_then(|text| STANDARD.decode(text).ok());
        let signature = signature.ok_or_else(|| wrong("it reported success without its signature"))?;
        if !self.hash.verify_hmac(server_key, auth_message.as_bytes(), &signature) {
            return Err(wrong("it sent a wrong signature, so it does not know the password"));
        }
        self.stage = ScramStage::Verified;
        Ok(())
    }
}

/// Nonce, salt and iteration count of `server-first-message`.
fn server_first(message: &str) -> Result<(&str, Vec<u8>, u32)> {
    let mut fields = message.split(',');
    let mut field = |name| fields.next().and_then(|field| field.strip_prefix(name));
    let nonce = field("r=").filter(|nonce| nonce.bytes().all(|byte| byte.is_ascii_graphic()));
    let salt = field("s=").and_then(|salt| STANDARD.decode(salt).ok()).filter(|salt| !salt.is_empty());
    let digits = field("i=").filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let (Some(nonce), Some(salt), Some(digits)) = (nonce, salt, digits) else {
        return Err(wrong("its first message is not valid"));
    };
    let iterations = digits.parse().ok().filter(|count| limits::SCRAM_ITERATIONS.contains(count));
    let iterations = iterations.ok_or_else(|| wrong("its iteration count is out of range"))?;
    Ok((nonce, salt, iterations))
}

fn wrong(what: &'static str) -> Error {
    Error::caused(Kind::Corrupt, "the XMPP server violates SCRAM (RFC 5802)", what)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA1_FIRST: &str = "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096";
    const SHA256_FIRST: &str =
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    fn sha1() -> Scram {
        Scram::new(Hash::Sha1, "user", Secret::new("pencil"), "fyko+d2lbbFgONRv9qkxdawL".to_owned())
    }

    #[test]
    fn the_vector_of_rfc_5802() {
        let mut scram = sha1();
        assert_eq!(scram.client_first(), "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL");
        assert_eq!(
            scram.challenge(SHA1_FIRST).unwrap(),
            "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts="
        );
        scram.success("v=rmF9pqV8S7suAoZWja4dJRkFsKQ=").unwrap();
    }

    #[test]
    fn the_vector_of_rfc_7677() {
        let nonce = "rOprNGfwEbeRWgbNEkqO".to_owned();
        let mut scram = Scram::new(Hash::Sha256, "user", Secret::new("pencil"), nonce);
        assert_eq!(
            scram.challenge(SHA256_FIRST).unwrap(),
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        scram.success("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").unwrap();
    }

    /// No RFC has one: computed with Python's hashlib, by a program that gives the vector of RFC 7677 for SHA-256.
    #[test]
    fn a_vector_for_sha_512() {
        let nonce = "rOprNGfwEbeRWgbNEkqO".to_owned();
        let mut scram = Scram::new(Hash::Sha512, "user", Secret::new("pencil"), nonce);
        assert_eq!(
            scram.challenge(SHA256_FIRST).unwrap(),
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=gMGXRcevScNtxZ6/8lQYpGtnsNAc3mGcmNomv+xnoOMw+3R2xNJdMNnzMlTN8PPC6wdp6dybEmDYXYTxwnYPJQ=="
        );
        let signature =
            "v=ZQnYEgWQMFmmsM8aQMF0nDDCy/AgCzkwk8CmMZYcMg0vSVlKDanekLtifDSeVGT4+5ZxXnJq199RVG2rR7N7Zw==";
        scram.success(signature).unwrap();
    }

    #[test]
    fn the_server_may_send_its_signature_as_a_challenge() {
        let mut scram = sha1();
        scram.challenge(SHA1_FIRST).unwrap();
        assert_eq!(scram.challenge("v=rmF9pqV8S7suAoZWja4dJRkFsKQ=").unwrap(), "");
        assert!(scram.challenge("x").is_err());
        assert!(scram.success("v=rmF9pqV8S7suAoZWja4dJRkFsKQ=").is_err());
        scram.success("").unwrap();
    }

    #[test]
    fn success_without_the_right_signature_is_refused() {
        assert!(sha1().success("v=rmF9pqV8S7suAoZWja4dJRkFsKQ=").is_err());
        for last in
            ["", "v=", "v=AAAA", "v=rmF9pqV8S7suAoZWja4dJRkFsKU=", "x=rmF9pqV8S7suAoZWja4dJRkFsKQ=", "e=x"]
        {
            let mut scram = sha1();
            scram.challenge(SHA1_FIRST).unwrap();
            assert!(scram.success(last).is_err(), "{last:?}");
            assert!(scram.success("").is_err(), "{last:?}, then nothing");
        }
    }

    #[test]
    fn bad_challenges_are_refused() {
        let (nonce, salt) = ("r=fyko+d2lbbFgONRv9qkxdawLx", "s=QSXCR+Q6sek8bf92");
        for message in [
            "",
            &format!("{nonce},{salt},i=1"),
            &format!("{nonce},{salt},i=4095"),
            &format!("{nonce},{salt},i=1000001"),
            &format!("{nonce},{salt},i=4294967295"),
            &format!("{nonce},{salt},i=99999999999999999999"),
            &format!("{nonce},{salt},i=+4096"),
            &format!("{nonce},{salt},i="),
            &format!("{nonce},{salt}"),
            &format!("{nonce},s=,i=4096"),
            &format!("{nonce},s=%,i=4096"),
            &format!("m=x,{nonce},{salt},i=4096"),
            &format!("{nonce}é,{salt},i=4096"),
            &format!("r=fyko+d2lbbFgONRv9qkxdawL,{salt},i=4096"),
            &format!("r=other,{salt},i=4096"),
        ] {
            assert!(sha1().challenge(message).is_err(), "{message:?}");
        }
        assert!(sha1().challenge(&format!("{nonce},{salt},i=4096")).is_ok());
    }

    #[test]
    fn commas_and_equal_signs_in_names_are_escaped() {
        let scram = Scram::new(Hash::Sha1, "a,b=c", Secret::new("x"), "n".to_owned());
        assert_eq!(scram.client_first(), "n,,n=a=2Cb=3Dc,r=n");
    }
}
