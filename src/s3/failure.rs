//! Why a request to the store failed, whether another attempt may succeed, and what the operator can do.

use std::io;
use std::time::{Duration, SystemTime};

use ureq::Timeout;

use super::settings::Settings;
use crate::error::{Error, Kind};
use crate::https::TlsTrouble;
use crate::limits;

/// Why a request failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// There is no response, or not all of it.
    Transport {
        /// The reason.
        text: String,
        /// Whether another attempt may succeed.
        may_pass: bool,
    },
    /// The store refuses the request.
    Refused(Box<Refused>),
    /// The response is not that of an S3 store, or does not prove that the request was carried out.
    Wrong(String),
    /// The failure is on our side.
    Own(Error),
}

/// A response that refuses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Refused {
    /// The status.
    pub status: u16,
    /// The error code of S3; empty if the response has none.
    pub code: String,
    /// The message of the store.
    pub message: String,
    /// The region that the store names.
    pub region: String,
    /// How far our clock is ahead of the clock of the store, in seconds.
    pub ahead: i64,
}

/// A difference between two clocks that every store accepts, in seconds.
const CLOCKS_DIFFER: i64 = 240;

impl Failure {
    pub fn of(error: &ureq::Error, timeout: Duration) -> Self {
        let transport = |text: String| Self::Transport { text, may_pass: true };
        match error {
            ureq::Error::Io(error) => Self::of_io(error, timeout),
            ureq::Error::Timeout(Timeout::Connect | Timeout::Resolve) => {
                transport("it can't be reached in time".to_owned())
            }
            // Another attempt would take as long.
            ureq::Error::Timeout(Timeout::Global) => Self::Transport { text: too_slow(), may_pass: false },
            ureq::Error::Timeout(_) => {
                transport(format!("nothing moved for {} ms (media.storage.s3.timeout)", timeout.as_millis()))
            }
            ureq::Error::HostNotFound => transport(
                "its host name is not in the DNS: check media.storage.s3.endpoint and the name servers"
                    .to_owned(),
            ),
            ureq::Error::ConnectionFailed => transport("it can't be reached".to_owned()),
            ureq::Error::Other(other) if other.is::<TlsTrouble>() => {
                Self::Transport { text: other.to_string(), may_pass: false }
            }
            other => transport(format!("it does not answer in HTTP as it should: {other}")),
        }
    }

    /// The failure of an I/O error of a connection.
    pub fn of_io(error: &io::Error, timeout: Duration) -> Self {
        use io::ErrorKind::{
            AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkDown, NetworkUnreachable,
        };
        let text = match error.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>()) {
            Some(inner) => return Self::of(inner, timeout),
            // The standard library has no kind for the errors of getaddrinfo(3).
            None if error.to_string().starts_with("failed to lookup address information") => {
                return Self::of(&ureq::Error::HostNotFound, timeout);
            }
            None if matches!(
                error.kind(),
                AddrNotAvailable | ConnectionRefused | HostUnreachable | NetworkDown | NetworkUnreachable
            ) =>
            {
                format!("it can't be reached: {error}")
            }
            None => format!("the connection was lost: {error}"),
        };
        Self::Transport { text, may_pass: true }
    }

    /// Whether another attempt may succeed.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Transport { may_pass, .. } => *may_pass,
            Self::Refused(refused) => refused.may_pass(),
            Self::Wrong(_) => true,
            Self::Own(_) => false,
        }
    }

    /// Whether the store refuses with this code.
    pub fn is(&self, code: &str) -> bool {
        matches!(self, Self::Refused(refused) if refused.code == code)
    }

    /// The error for the operator. `doing` names the step that failed.
    pub fn into_error(self, doing: &str, settings: &Settings) -> Error {
        let store = format!("the S3 store {}, bucket {}: {doing}", settings.endpoint, settings.bucket);
        match self {
            Self::Own(error) => error,
            Self::Transport { text, .. } | Self::Wrong(text) => {
                Error::new(Kind::Unavailable, format!("{store}: {text}"))
            }
            Self::Refused(refused) => {
                let kind = if refused.is_full() { Kind::Full } else { Kind::Unavailable };
                Error::new(kind, format!("{store}: {}", refused.words(settings)))
            }
        }
    }
}

impl Refused {
    /// Reads the clock of the store from the `Date` of its response.
    pub fn compare_clocks(&mut self, date: Option<&str>) {
        let store = date.and_then(|date| httpdate::parse_http_date(date).ok());
        self.ahead = store.map_or(0, |store| seconds_between(store, SystemTime::now()));
    }

    fn may_pass(&self) -> bool {
        // A broken line damages the bytes, and the store then refuses them by their checksum.
        let damaged = ["BadDigest", "IncompleteBody", "RequestTimeout", "XAmzContentChecksumMismatch"];
        let busy = ["SlowDown", "OperationAborted", "InternalError", "ServiceUnavailable", "Throttling"];
        // Some stores answer 499 to a request that broke off.
        matches!(self.status, 408 | 429 | 499 | 500 | 502 | 503 | 504)
            || damaged.iter().chain(&busy).any(|code| self.code == *code)
    }

    fn is_full(&self) -> bool {
        self.status == 507
            || ["XMinioStorageFull", "QuotaExceeded", "InsufficientStorage"]
                .iter()
                .any(|code| self.code == *code)
    }

    fn words(&self, settings: &Settings) -> String {
        let told = match (self.code.as_str(), self.message.trim()) {
            ("", _) => format!("status {}", self.status),
            (code, "") => format!("status {}, {code}", self.status),
            (code, message) => format!("status {}, {code}: {}", self.status, shortened(message)),
        };
        match self.advice(settings) {
            Some(advice) => format!("{advice} ({told})"),
            None => format!("the store refuses it ({told})"),
        }
    }

    fn advice(&self, settings: &Settings) -> Option<String> {
        let expired = self.message.to_ascii_lowercase().contains("expired");
        if self.code == "RequestTimeTooSkewed"
            || (self.status == 403 && (expired || self.ahead.abs() > CLOCKS_DIFFER))
        {
            let differ = match self.ahead {
                0 => "this machine's clock and that of the store differ".to_owned(),
                ahead if ahead > 0 => format!("this machine's clock is {ahead} s ahead of that of the store"),
                behind => format!("this machine's clock is {} s behind that of the store", behind.abs()),
            };
            return Some(format!("{differ}: set it, by NTP for instance"));
        }
        let advice = match self.code.as_str() {
            "NoSuchBucket" => format!(
                "there is no bucket {}: make it, or correct media.storage.s3.bucket",
                settings.bucket
            ),
            "InvalidAccessKeyId" => {
                "the store does not know the key: check media.storage.s3.access.key".to_owned()
            }
            "SignatureDoesNotMatch" => {
                "the signature is wrong: check media.storage.s3.secret.key and media.storage.s3.region".to_owned()
            }
            "AuthorizationHeaderMalformed" | "AuthorizationQueryParametersError" | "IllegalLocationConstraintException" => {
                let region = if self.region.is_empty() { String::new() } else { format!(" (the store names {})", self.region) };
                format!("the request is signed for another region: check media.storage.s3.region{region}")
            }
            "AccessDenied" | "AllAccessDisabled" | "AccountProblem" => {
                "the key may not do this: check that the bucket is there, and that the key has the rights to get, put and \
                 delete objects, to list the bucket, and to list and abort multipart uploads"
                    .to_owned()
            }
            "SlowDown" | "ServiceUnavailable" | "Throttling" => {
                "the store is overloaded and wants fewer requests".to_owned()
            }
            "PermanentRedirect" | "TemporaryRedirect" => {
                "the bucket is at another address: check media.storage.s3.endpoint and media.storage.s3.region".to_owned()
            }
            _ if matches!(self.status, 301 | 302 | 307 | 308) => {
                "a redirect is not followed: check media.storage.s3.endpoint".to_owned()
            }
            _ if self.is_full() => "the store has no room left".to_owned(),
            _ if self.status >= 500 => "the store fails; its own log says why".to_owned(),
            _ if self.code.is_empty() => {
                "this is no S3 store: check media.storage.s3.endpoint".to_owned()
            }
            _ => return None,
        };
        Some(advice)
    }
}

fn too_slow() -> String {
    format!(
        "it is too slow: a request may take {} times media.storage.s3.timeout, and a second for each {} KiB that are \
         received or {} KiB that are sent",
        limits::S3_TIMEOUTS,
        limits::S3_RECEIVE_RATE / 1024,
        limits::S3_SEND_RATE / 1024
    )
}

/// The first words of a message, without control characters.
fn shortened(message: &str) -> String {
    const LONGEST: usize = 200;
    message.chars().take(LONGEST).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Seconds from one time to another; negative if `to` is the earlier one.
fn seconds_between(from: SystemTime, to: SystemTime) -> i64 {
    let seconds = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
    to.duration_since(from).map_or_else(|error| -seconds(error.duration()), seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn settings() -> Settings {
        Settings {
            endpoint: "https://s3.example.org".to_owned(),
            bucket: "media".to_owned(),
            region: "us-east-1".to_owned(),
            access_key: "AKIA".to_owned(),
            secret_key: Secret::new("hunter2"),
            timeout: Duration::from_secs(1),
        }
    }

    fn refused(status: u16, code: &str, message: &str) -> Refused {
        Refused { status, code: code.to_owned(), message: message.to_owned(), ..Refused::default() }
    }

    #[test]
    fn every_refusal_says_what_to_do_and_whether_to_try_again() {
        for (status, code, message, again, expected) in [
            (
                404,
                "NoSuchBucket",
                "",
                false,
                "there is no bucket media: make it, or correct media.storage.s3.bucket",
            ),
            (403, "InvalidAccessKeyId", "", false, "check media.storage.s3.access.key"),
            (403, "SignatureDoesNotMatch", "", false, "check media.storage.s3.secret.key"),
            (400, "AuthorizationHeaderMalformed", "", false, "check media.storage.s3.region"),
            (403, "AccessDenied", "no", false, "the rights to get, put and delete"),
            (403, "RequestTimeTooSkewed", "", false, "by NTP"),
            (403, "AccessDenied", "Request has expired", false, "by NTP"),
            (503, "SlowDown", "", true, "wants fewer requests"),
            (503, "", "", true, "its own log says why"),
            (500, "InternalError", "", true, "its own log says why"),
            (400, "BadDigest", "", true, "the store refuses it (status 400, BadDigest)"),
            (400, "IncompleteBody", "", true, "the store refuses it"),
            (499, "ClientDisconnected", "", true, "the store refuses it"),
            (507, "", "", false, "no room left"),
            (507, "XMinioStorageFull", "", false, "no room left"),
            (301, "PermanentRedirect", "", false, "check media.storage.s3.endpoint"),
            (302, "", "", false, "a redirect is not followed"),
            (404, "", "", false, "this is no S3 store: check media.storage.s3.endpoint"),
        ] {
            let failure = Failure::Refused(Box::new(refused(status, code, message)));
            assert_eq!(failure.may_pass(), again, "{status} {code}");
            let error = failure.into_error("can't store it", &settings());
            let kind = if status == 507 { Kind::Full } else { Kind::Unavailable };
            assert_eq!(error.kind(), kind, "{status} {code}");
            let text = error.to_string();
            assert!(text.contains(expected), "{status} {code}: {text}");
            assert!(
                text.starts_with("the S3 store https://s3.example.org, bucket media: can't store it: "),
                "{text}"
            );
            assert!(!text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn clocks_that_differ_are_told_apart_from_missing_rights() {
        let at = |ahead| Refused { ahead, ..refused(403, "AccessDenied", "no") }.words(&settings());
        assert!(at(1000).contains("1000 s ahead"));
        assert!(at(-1000).contains("1000 s behind"));
        assert!(at(60).contains("the rights to get"));
        let mut refused = Refused::default();
        refused.compare_clocks(Some("Thu, 01 Jan 2015 00:00:00 GMT"));
        assert!(refused.ahead > 300_000_000, "{refused:?}");
        refused.compare_clocks(Some("yesterday"));
        assert_eq!(refused.ahead, 0);
    }

    #[test]
    fn the_words_of_a_store_break_no_line() {
        let long = format!("a\nb{}", "c".repeat(1000));
        let words = refused(418, "Teapot", &long).words(&settings());
        assert!(words.contains("a bccc") && words.len() < 300, "{words}");
    }
}
