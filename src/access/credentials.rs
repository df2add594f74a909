//! Credentials of a request: base64 of `JID:transaction-id` (XEP-0070 section 4.2), from the parameter
//! `auth` or from a header `Authorization: Basic`.

use std::fmt;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::limits;
use crate::model::{Jid, Refusal};

/// The address that claims to send a request, and the transaction id by which its user recognises the request.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Credentials {
    jid: Jid,
    transaction: String,
}

impl Credentials {
    /// The address to ask, full or bare, with a local part.
    pub fn jid(&self) -> &Jid {
        &self.jid
    }

    /// The transaction id, only for the prompt.
    pub(super) fn transaction(&self) -> &str {
        &self.transaction
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({}, transaction hidden)", self.jid)
    }
}

/// Reads the credentials of a request from its query parameter `auth` (percent-decoded). Only without that parameter are
/// they read from the header `Authorization`: buddycloud's API server sends `auth` beside its users' own header, which
/// holds their passwords and must not be looked at.
///
/// # Errors
/// [`Refusal::NoCredentials`] without both, [`Refusal::BadCredentials`] if the credentials are not valid.
pub fn from_request(auth: Option<&str>, authorization: Option<&str>) -> Result<Credentials, Refusal> {
    let credentials = match (auth, authorization) {
        // A raw "+" of the standard alphabet was decoded to a space on its way through the query.
        (Some(token), _) => decode(&token.replace(' ', "+")),
        (None, Some(header)) => basic(header).and_then(decode),
        (None, None) => return Err(Refusal::NoCredentials),
    };
    credentials.ok_or(Refusal::BadCredentials)
}

/// The token of a header value `Basic TOKEN` (RFC 7617), with the scheme in any case.
fn basic(header: &str) -> Option<&str> {
    let (scheme, token) = header.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("Basic").then(|| token.trim_start())
}

/// Some clients translate only the first character that the base64 alphabets differ in, so one token may hold both
/// alphabets. Padding may be missing.
fn decode(token: &str) -> Option<Credentials> {
    const EITHER_PADDING: GeneralPurpose = GeneralPurpose::new(
        &alphabet::STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    if token.len() > limits::TOKEN_BYTES {
        return None;
    }
    let standard = token.replace('-', "+").replace('_', "/");
    let text = String::from_utf8(EITHER_PADDING.decode(standard).ok()?).ok()?;
    // Resources may hold colons, transaction ids may not.
    let (jid, transaction) = text.rsplit_once(':')?;
    let jid: Jid = jid.parse().ok()?;
    (jid.bare().local().is_some() && is_transaction_id(transaction))
        .then(|| Credentials { jid, transaction: transaction.to_owned() })
}

/// Without characters that XML can't hold: they would come back changed.
fn is_transaction_id(text: &str) -> bool {
    let unfit = |c: char| c.is_control() || matches!(c, '\u{FFFE}' | '\u{FFFF}');
    (1..=limits::TRANSACTION_ID_BYTES).contains(&text.len()) && !text.contains(unfit)
}

#[cfg(test)]
mod tests {
    use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};

    use super::*;

    fn read(auth: Option<&str>, header: Option<&str>) -> Result<(String, String), Refusal> {
        from_request(auth, header).map(|found| (found.jid().to_string(), found.transaction().to_owned()))
    }

    fn found(jid: &str, transaction: &str) -> Result<(String, String), Refusal> {
        Ok((jid.to_owned(), transaction.to_owned()))
    }

    /// A plain text whose base64 has both characters in which the alphabets differ, twice each.
    const TANGLED: &str = "alice@example.com/~~~???>>>?:o~~?>>";

    #[test]
    fn parameter_and_header_take_both_alphabets_with_and_without_padding() {
        let standard = BASE64_STANDARD.encode(TANGLED);
        let mixed = standard.replacen('+', "-", 1).replacen('/', "_", 1);
        assert!(mixed.contains('+') && mixed.contains('/'), "{mixed} must mix the alphabets");
        let bare = BASE64_URL_SAFE_NO_PAD.encode(TANGLED);
        assert!(standard.ends_with('=') && !bare.ends_with('='));
        for token in [&standard, &mixed, &bare] {
            let expected = found("alice@example.com/~~~???>>>?", "o~~?>>");
            assert_eq!(read(Some(token), None), expected, "{token}");
            assert_eq!(read(None, Some(&format!("Basic {token}"))), expected, "{token}");
        }
    }

    #[test]
    fn a_plus_that_became_a_space_is_read_in_the_parameter_only() {
        let token = BASE64_STANDARD.encode(TANGLED).replace('+', " ");
        assert!(token.contains(' '));
        assert_eq!(read(Some(&token), None), found("alice@example.com/~~~???>>>?", "o~~?>>"));
        assert_eq!(read(None, Some(&format!("Basic {token}"))), Err(Refusal::BadCredentials));
    }

    #[test]
    fn the_documented_example_is_read() {
        let token = BASE64_STANDARD.encode("media-user@example.com/media-resource:a7374jnjlalasdf82");
        for scheme in ["Basic", "basic", "BASIC"] {
            let header = format!("{scheme}  {token} ");
            let expected = found("media-user@example.com/media-resource", "a7374jnjlalasdf82");
            assert_eq!(read(None, Some(&header)), expected, "{header}");
        }
    }

    #[test]
    fn the_jid_ends_at_the_last_colon_and_is_prepared() {
        let token = BASE64_STANDARD.encode("ÉMILE@Example.COM/http://x:tid é");
        assert_eq!(read(Some(&token), None), found("émile@example.com/http://x", "tid é"));
    }

    #[test]
    fn the_header_is_not_read_beside_the_parameter_even_an_invalid_one() {
        let header = format!("Basic {}", BASE64_STANDARD.encode("alice@example.com:t"));
        for garbage in ["", "%", "===", "undefined"] {
            assert_eq!(read(Some(garbage), Some(&header)), Err(Refusal::BadCredentials), "{garbage}");
        }
        assert_eq!(read(None, Some(&header)), found("alice@example.com", "t"));
        assert_eq!(read(None, None), Err(Refusal::NoCredentials));
    }

    #[test]
    fn credentials_without_user_or_transaction_id_are_refused() {
        let long = format!("alice@example.com:{}", "t".repeat(limits::TRANSACTION_ID_BYTES + 1));
        for text in [
            "",
            ":",
            "alice@example.com",
            "alice@example.com:",
            ":t",
            "example.com:t",
            "a b@c:t",
            "@c:t",
            "alice@example.com/:t",
            "alice@example.com:t\n",
            "alice@example.com:t\u{FFFE}",
            "alice@example.com:t\u{85}",
            &long,
        ] {
            let token = BASE64_STANDARD.encode(text);
            assert_eq!(read(Some(&token), None), Err(Refusal::BadCredentials), "{text:?}");
        }
        let longest = format!("alice@example.com:{}", "t".repeat(limits::TRANSACTION_ID_BYTES));
        assert!(read(Some(&BASE64_STANDARD.encode(longest)), None).is_ok());
        let latin = BASE64_STANDARD.encode(b"\xe9mile@example.com:t");
        assert_eq!(read(Some(&latin), None), Err(Refusal::BadCredentials));
        let endless = "QUFB".repeat(limits::TOKEN_BYTES / 4 + 1);
        assert_eq!(read(Some(&endless), None), Err(Refusal::BadCredentials));
    }

    #[test]
    fn other_schemes_are_not_credentials() {
        let token = BASE64_STANDARD.encode("alice@example.com:t");
        for header in [token.clone(), "Basic".to_owned(), format!("Bearer {token}"), format!("Basic{token}")]
        {
            assert_eq!(read(None, Some(&header)), Err(Refusal::BadCredentials), "{header}");
        }
    }

    #[test]
    fn debug_hides_the_transaction_id() {
        let token = BASE64_STANDARD.encode("alice@example.com:sesame");
        let shown = format!("{:?}", from_request(Some(&token), None));
        assert!(shown.contains("alice@example.com") && !shown.contains("sesame"), "{shown}");
    }
}
