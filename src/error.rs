//! The one error type: the step that failed, the causes, and who has to act.

use std::borrow::Cow;
use std::fmt;

/// A result that fails with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// The kind of an error, which says who must act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The configuration must change: exit status 78.
    Config,
    /// The database or the XMPP server can't be reached now; a later attempt may succeed.
    Unavailable,
    /// No space or quota is left in the storage.
    Full,
    /// No descriptors or memory are left; fewer connections or higher limits would help.
    Exhausted,
    /// A text holds a character that the database can't hold: its encoding is not UTF-8.
    Untranslatable,
    /// Data on disk, in the database or from a peer is not valid.
    Corrupt,
    /// Any other failure: of the operating system, or a bug.
    Failure,
}

/// An error for the operator. Its text goes to the log and to the terminal, never to a client.
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    doing: Cow<'static, str>,
    cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error without a cause; `what` is a sentence without a full stop.
    pub fn new(kind: Kind, what: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner { kind, doing: what.into(), cause: None }))
    }

    /// An error with a cause; `doing` names the step that failed.
    pub fn caused(
        kind: Kind,
        doing: impl Into<Cow<'static, str>>,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self(Box::new(Inner { kind, doing: doing.into(), cause: Some(cause.into()) }))
    }

    /// An I/O error of the step `doing`, classified by its error number.
    pub fn io(doing: impl Into<Cow<'static, str>>, cause: std::io::Error) -> Self {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        let kind = match cause.kind() {
            StorageFull | QuotaExceeded => Kind::Full,
            _ => Kind::Failure,
        };
        Self::caused(kind, doing, cause)
    }

    /// An error whose cause may be one of OpenSSL, which tells a chain of errors with lines of its source. The reasons
    /// stay; the whole chain goes to the log at level debug.
    pub fn tls(
        kind: Kind,
        doing: impl Into<Cow<'static, str>>,
        cause: &(dyn std::error::Error + 'static),
    ) -> Self {
        let (doing, chain) = (doing.into(), chain(cause));
        match reasons(&chain) {
            Some(reasons) => {
                log::debug!("{doing}: {chain}");
                Self::caused(kind, doing, reasons)
            }
            None => Self::caused(kind, doing, chain),
        }
    }

    /// The kind, which says who must act.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.doing)?;
        match &self.0.cause {
            Some(cause) => write!(f, ": {}", chain(&**cause)),
            None => Ok(()),
        }
    }
}

/// An error and its causes, as one text. Some errors tell their cause themselves; it is not told twice.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// The reasons in a text of OpenSSL's errors, each of which is `error:CODE:library:function:reason:file:line:data`; and
/// what follows in parentheses: the result of a certificate's verification. `None` for other texts.
fn reasons(text: &str) -> Option<String> {
    let (before, errors) = text.split_once("error:").filter(|(_, rest)| begins_with_code(rest))?;
    let mut told: Vec<String> = Vec::new();
    for error in errors.split(", error:") {
        let fields: Vec<&str> = error.splitn(7, ':').collect();
        let [_, _, _, reason, _, line, data] = fields[..] else { return None };
        line.parse::<u32>().ok()?;
        let data = data.trim().trim_end_matches(',');
        let verified = if data.starts_with('(') && data.ends_with(')') { data } else { "" };
        let reason = format!("{reason} {verified}").trim().to_owned();
        if !told.contains(&reason) {
            told.push(reason);
        }
    }
    Some(format!("{before}{}", told.join(", ")))
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)
    }
}

impl std::error::Error for Error {}

/// Whether a text begins with the code of an error of OpenSSL.
fn begins_with_code(text: &str) -> bool {
    let code = text.split(':').next().unwrap_or_default();
    !code.is_empty() && code.chars().all(|c| c.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_names_the_step_and_every_cause() {
        let inner = Error::new(Kind::Corrupt, "the row has no id");
        let outer = Error::caused(Kind::Failure, "can't list the channel", inner);
        assert_eq!(outer.to_string(), "can't list the channel: the row has no id");
    }

    #[test]
    fn openssl_is_told_by_its_reasons() {
        let table = [
            (
                "error:0680007B:asn1 encoding routines:ASN1_get_object:header too long:../crypto/asn1.c:105:",
                "header too long",
            ),
            (
                "error:0A000086:SSL routines:tls_post:certificate verify failed:../ssl/statem.c:1889: (self-signed certificate)",
                "certificate verify failed (self-signed certificate)",
            ),
            (
                "error:11800071:PKCS12 routines:PKCS12_parse:mac verify failure:../p12.c:67:, \
                 error:11800071:PKCS12 routines:PKCS12_parse:mac verify failure:../p12.c:67:",
                "mac verify failure",
            ),
            (
                "error:0308010C:digital envelope routines:f:unsupported:../evp_fetch.c:349:Global default library \
                 context, Algorithm (RC2-40-CBC : 0), Properties ()",
                "unsupported",
            ),
            (
                "error:0680009B:asn1 encoding routines:ASN1_get_object:too long:../asn1_lib.c:95:, \
                 error:0688010A:asn1 encoding routines:embed:nested asn1 error:../tasn_dec.c:375:Type=PKCS12",
                "too long, nested asn1 error",
            ),
            ("TLS failed: error:1:l:f:bad:x.c:1:", "TLS failed: bad"),
        ];
        for (chain, reasons) in table {
            let error = Error::tls(Kind::Config, "it failed", &std::io::Error::other(chain));
            assert_eq!(error.to_string(), format!("it failed: {reasons}"));
        }
        for other in ["Connection refused", "error: no", "error:a:b:c:d:e:f:g"] {
            assert_eq!(
                Error::tls(Kind::Config, "it failed", &std::io::Error::other(other)).to_string(),
                format!("it failed: {other}")
            );
        }
    }

    #[test]
    fn a_full_disk_has_a_kind_of_its_own() {
        let full = rustix::io::Errno::NOSPC.into();
        assert_eq!(Error::io("can't write", full).kind(), Kind::Full);
        let quota = rustix::io::Errno::DQUOT.into();
        assert_eq!(Error::io("can't write", quota).kind(), Kind::Full);
        let io = rustix::io::Errno::IO.into();
        assert_eq!(Error::io("can't write", io).kind(), Kind::Failure);
    }
}
