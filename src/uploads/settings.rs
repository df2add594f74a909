//! The settings of uploads by slot.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::model::{BareJid, JidError, Purpose, UploadLimits};
use crate::secret::Secret;

/// See the keys `upload.*`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `upload.enabled`: whether slots are granted and their PUTs are accepted. Stored files are served in any case.
    pub enabled: bool,
    /// `http.endpoint` without a slash at its end: what the URLs of a slot begin with.
    pub endpoint: String,
    /// `upload.sizelimit`, in bytes. [`Settings::max_size`] is what is announced and taken.
    pub size_limit: u64,
    /// `upload.keep.*`
    pub keep: Keep,
    /// `upload.allow`: the users and domains that have slots.
    pub allow: Vec<JidRule>,
    /// `upload.deny`: the users and domains that have none, even if `allow` covers them.
    pub deny: Vec<JidRule>,
    /// `upload.quota.*`
    pub quotas: UploadQuotas,
    /// `upload.quota.makes.room`: whether the oldest message uploads of a user go when a new one needs their room.
    pub makes_room: bool,
    /// `upload.purpose.prefixes`: whether `chat_`, `post_` and `story_` before a name stand for a purpose.
    pub purpose_prefixes: bool,
    /// `upload.external.*`: the XMPP server whose slots are served, too.
    pub external: Option<External>,
    /// `media.todisk.threshold`: bytes of a body that are held in memory before they go to a file.
    pub to_disk_threshold: usize,
    /// `cache.max.age`: how long caches may keep a file, unless it expires before.
    pub cache_max_age: Duration,
}

/// An encrypted file is 16 bytes longer than the file (XEP-0454), and some clients take only files that are smaller than
/// the announced size.
const SLACK: u64 = 17;

impl Settings {
    /// Bytes of the largest file that is taken, as it is announced (XEP-0363 section 4).
    pub fn max_size(&self) -> u64 {
        self.size_limit.saturating_add(SLACK)
    }
}

/// How long uploads are kept, counted from their slot; `None`: for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// `upload.keep.message`
    pub message: Option<Duration>,
    /// `upload.keep.profile`
    pub profile: Option<Duration>,
    /// `upload.keep.ephemeral`
    pub ephemeral: Option<Duration>,
    /// `upload.keep.permanent`
    pub permanent: Option<Duration>,
}

impl Keep {
    /// The setting of this purpose.
    pub fn of(self, purpose: Purpose) -> Option<Duration> {
        match purpose {
            Purpose::Message => self.message,
            Purpose::Profile => self.profile,
            Purpose::Ephemeral => self.ephemeral,
            Purpose::Permanent => self.permanent,
        }
    }
}

/// How many bytes uploads may take together; `None`: unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UploadQuotas {
    /// `upload.quota.user`: the files of a user.
    pub user: Option<u64>,
    /// `upload.quota.day`: the files that a user uploaded within 24 hours.
    pub day: Option<u64>,
    /// `upload.quota.message`: the files of a user with this purpose.
    pub message: Option<u64>,
    /// `upload.quota.profile`
    pub profile: Option<u64>,
    /// `upload.quota.ephemeral`
    pub ephemeral: Option<u64>,
    /// `upload.quota.permanent`
    pub permanent: Option<u64>,
    /// `upload.quota.all`: all files of all users.
    pub all: Option<u64>,
}

impl UploadQuotas {
    /// The quotas of an upload of this purpose; of an unknown owner only `all` counts.
    pub fn limits(self, purpose: Purpose, owner_known: bool) -> UploadLimits {
        let of_purpose = match purpose {
            Purpose::Message => self.message,
            Purpose::Profile => self.profile,
            Purpose::Ephemeral => self.ephemeral,
            Purpose::Permanent => self.permanent,
        };
        let known = |quota: Option<u64>| quota.filter(|_| owner_known);
        UploadLimits {
            user: known(self.user),
            day: known(self.day),
            purpose: known(of_purpose),
            all: self.all,
        }
    }
}

/// An entry of `upload.allow` or `upload.deny`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JidRule {
    /// `example.com`: all users of exactly this domain, and the domain itself.
    Domain(String),
    /// `*.example.com`: all users of the domains below this one.
    Below(String),
    /// `alice@example.com`: this user.
    User(BareJid),
}

impl JidRule {
    /// Whether the rule names this address.
    pub fn covers(&self, jid: &BareJid) -> bool {
        match self {
            Self::Domain(domain) => jid.domain() == domain,
            Self::Below(top) => jid.domain().strip_suffix(top.as_str()).is_some_and(|sub| sub.ends_with('.')),
            Self::User(user) => jid == user,
        }
    }
}

impl FromStr for JidRule {
    type Err = JidError;

    fn from_str(text: &str) -> Result<Self, JidError> {
        let below = text.strip_prefix("*.");
        let jid: BareJid = below.unwrap_or(text).parse()?;
        match (below, jid.local()) {
            (Some(_), None) => Ok(Self::Below(jid.domain().to_owned())),
            (Some(_), Some(_)) => Err(JidError),
            (None, None) => Ok(Self::Domain(jid.domain().to_owned())),
            (None, Some(_)) => Ok(Self::User(jid)),
        }
    }
}

impl fmt::Display for JidRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Domain(domain) => f.write_str(domain),
            Self::Below(top) => write!(f, "*.{top}"),
            Self::User(user) => user.fmt(f),
        }
    }
}

/// An XMPP server that hands out slots of its own, whose files are kept here.
#[derive(Clone, Debug)]
pub struct External {
    /// `upload.external.secret`: at least 16 bytes.
    pub secret: Secret,
    /// `upload.external.protocol`
    pub protocol: Protocol,
}

/// How that server proves that a PUT is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `jwt`: a JSON Web Token of Prosody's `mod_http_file_share`.
    Jwt,
    /// `v2`: an HMAC of path, size and type, of `mod_http_upload_external`.
    V2,
    /// `v`: an HMAC of path and size, of the same module and of ejabberd.
    V,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_names_a_domain_those_below_it_or_a_user() {
        for (rule, covered, others) in [
            ("Example.com", "example.com alice@example.com", "a.example.com example.org"),
            ("*.example.com", "alice@a.example.com b.a.example.com", "alice@example.com badexample.com"),
            ("alice@example.com", "alice@example.com", "bob@example.com example.com"),
        ] {
            let rule: JidRule = rule.parse().unwrap();
            let covers = |jid: &str| rule.covers(&jid.parse().unwrap());
            assert!(covered.split(' ').all(covers), "{rule}");
            assert!(!others.split(' ').any(covers), "{rule}");
        }
        for text in ["", "*", "*.", "*.a@example.com", "a@*.b", "a/b", "a@b/c", "**.a"] {
            assert!(text.parse::<JidRule>().is_err(), "{text}");
        }
    }
}
