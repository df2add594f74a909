//! The slots of XMPP servers that let this one keep their files: how a PUT proves that it is allowed. No I/O.
//!
//! Prosody's `mod_http_file_share` sends a JSON Web Token (RFC 7519); `mod_http_upload_external` and ejabberd an
//! HMAC-SHA-256 in the query. The HMAC is compared, in constant time, before anything that it covers is looked at.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::settings::{External, Protocol};
use crate::clock::Timestamp;
use crate::model::{BareJid, Refusal, UploadId};
use crate::{hex, media_type};

/// The path of a foreign slot: what is below `/external/`, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignPath(String);

impl ForeignPath {
    /// The path of these decoded segments; `None` if it is not the path of a file.
    pub fn of(segments: &[String]) -> Option<Self> {
        let path = segments.join("/");
        let is_file = segments.last().is_some_and(|name| !name.is_empty());
        (is_file && !path.contains(char::is_control)).then_some(Self(path))
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last segment.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// The id of the upload at this path.
    pub fn id(&self) -> UploadId {
        let hash = Sha256::digest(self.0.as_bytes());
        UploadId::external(hex::encode(&hash))
    }
}

/// The proof in a PUT to a foreign slot.
#[derive(Clone, Copy, Debug)]
pub struct Proof<'a> {
    /// The field `Authorization`.
    pub authorization: Option<&'a str>,
    /// The parameter `v2`.
    pub v2: Option<&'a str>,
    /// The parameter `v`.
    pub v: Option<&'a str>,
    /// The field `Content-Type`.
    pub content_type: Option<&'a str>,
}

/// The upload that a foreign slot allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ForeignTerms {
    /// The user who may send the file, if the proof names one.
    pub owner: Option<BareJid>,
    /// The file's type.
    pub mime_type: Option<String>,
    /// How long it is kept.
    pub keeps: Keeps,
}

/// How long a file of a foreign slot is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keeps {
    /// For ever.
    Always,
    /// Until this time.
    Until(Timestamp),
    /// As a message.
    AsMessage,
}

/// Checks the proof of a PUT of `size` bytes, and returns the upload that it allows.
pub(super) fn verify(
    external: &External,
    path: &ForeignPath,
    size: u64,
    proof: Proof<'_>,
    now: Timestamp,
) -> Result<ForeignTerms, Refusal> {
    let secret = external.secret.expose().as_bytes();
    let mime_type = proof.content_type;
    let (found, signed) = match external.protocol {
        Protocol::Jwt => return token(secret, path, size, bearer(proof.authorization), now),
        Protocol::V => (proof.v, format!("{} {size}", path.0)),
        Protocol::V2 => {
            let mime_type = mime_type.unwrap_or(media_type::OCTET_STREAM);
            (proof.v2, format!("{}\0{size}\0{mime_type}", path.0))
        }
    };
    let found = found.and_then(hex::decode).ok_or(Refusal::BadSlot)?;
    mac(secret, signed.as_bytes()).verify_slice(&found).map_err(|_| Refusal::BadSlot)?;
    let mime_type = mime_type.map(str::to_owned);
    Ok(ForeignTerms { owner: None, mime_type, keeps: Keeps::AsMessage })
}

fn mac(secret: &[u8], signed: &[u8]) -> Hmac<Sha256> {
    // An HMAC takes keys of any length.
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap_or_else(|_| unreachable!());
    mac.update(signed);
    mac
}

fn bearer(authorization: Option<&str>) -> Option<&str> {
    let (scheme, token) = authorization?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The JSON Web Token of Prosody: `slot`, `exp`, `sub`, `filesize`, and perhaps `filetype` and `expires`.
fn token(
    secret: &[u8],
    path: &ForeignPath,
    size: u64,
    token: Option<&str>,
    now: Timestamp,
) -> Result<ForeignTerms, Refusal> {
    let claims = token.and_then(|token| claims(secret, token)).ok_or(Refusal::BadSlot)?;
    let seconds = |name: &str| claims.get(name).and_then(Value::as_f64);
    let (slot, name) = path.0.split_once('/').ok_or(Refusal::BadSlot)?;
    let is_slot = claims.get("slot").and_then(Value::as_str) == Some(slot);
    if !is_slot || name.contains('/') {
        return Err(Refusal::BadSlot);
    }
    if time(seconds("exp").ok_or(Refusal::BadSlot)?) <= now {
        return Err(Refusal::SlotEnded);
    }
    if claims.get("filesize").and_then(Value::as_u64).ok_or(Refusal::BadSlot)? != size {
        return Err(Refusal::OtherSize);
    }
    let owner = claims.get("sub").and_then(Value::as_str).and_then(|sub| sub.parse().ok());
    let keeps = match claims.get("expires") {
        None | Some(Value::Null) => Keeps::Always,
        Some(_) => Keeps::Until(time(seconds("expires").ok_or(Refusal::BadSlot)?)),
    };
    Ok(ForeignTerms {
        owner: Some(owner.ok_or(Refusal::BadSlot)?),
        mime_type: claims.get("filetype").and_then(Value::as_str).map(str::to_owned),
        keeps,
    })
}

/// The claims of a token that is signed by HS256 and nothing else.
fn claims(secret: &[u8], token: &str) -> Option<Value> {
    let (signed, signature) = token.rsplit_once('.')?;
    let (header, payload) = signed.split_once('.')?;
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    mac(secret, signed.as_bytes()).verify_slice(&signature).ok()?;
    let json = |part: &str| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(part).ok()?).ok();
    let header = json(header)?;
    // An extension that must be understood (RFC 7515 section 4.1.11) is not.
    if header.get("alg").and_then(Value::as_str) != Some("HS256") || header.get("crit").is_some() {
        return None;
    }
    json(payload)
}

/// A date in seconds since 1970, which JSON may write with a fraction.
fn time(seconds: f64) -> Timestamp {
    // A number that is too large becomes the last there is.
    Timestamp::from_micros((seconds * 1_000_000.0) as i64)
}

#[cfg(test)]
#[path = "external_tests.rs"]
mod tests;
