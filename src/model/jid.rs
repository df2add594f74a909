//! XMPP addresses (RFC 6122), in prepared form: equal addresses are equal byte for byte.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use crate::limits;

/// The text is not a JID, or not a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JidError;

impl fmt::Display for JidError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an XMPP address")
    }
}

impl std::error::Error for JidError {}

/// `[local@]domain`, prepared by nodeprep and nameprep.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BareJid {
    text: String,
    /// Bytes before the `@`; 0 where there is no local part.
    local: usize,
}

impl BareJid {
    /// The local part.
    pub fn local(&self) -> Option<&str> {
        (self.local > 0).then(|| &self.text[..self.local])
    }

    /// The domain part.
    pub fn domain(&self) -> &str {
        if self.local > 0 { &self.text[self.local + 1..] } else { &self.text }
    }

    /// The whole address.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    fn from_parts(local: Option<&str>, domain: &str) -> Result<Self, JidError> {
        let domain = prepare_domain(domain)?;
        let Some(local) = local else {
            return Ok(Self { text: domain, local: 0 });
        };
        let local = prepare_local(local)?;
        Ok(Self { text: format!("{local}@{domain}"), local: local.len() })
    }
}

/// Parses a bare JID; one with a resource is an error.
impl FromStr for BareJid {
    type Err = JidError;

    fn from_str(text: &str) -> Result<Self, JidError> {
        let jid: Jid = text.parse()?;
        if jid.resource.is_some() { Err(JidError) } else { Ok(jid.bare) }
    }
}

impl fmt::Display for BareJid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for BareJid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// `[local@]domain[/resource]`, prepared; the resource by resourceprep, case kept.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Jid {
    bare: BareJid,
    resource: Option<String>,
}

impl Jid {
    /// The address without its resource.
    pub fn bare(&self) -> &BareJid {
        &self.bare
    }

    /// The address without its resource.
    pub fn into_bare(self) -> BareJid {
        self.bare
    }

    /// The resource part.
    pub fn resource(&self) -> Option<&str> {
        self.resource.as_deref()
    }
}

/// Splits at the first `/`, then at the first `@` before it (RFC 7622 section 3.2).
impl FromStr for Jid {
    type Err = JidError;

    fn from_str(text: &str) -> Result<Self, JidError> {
        let (bare, resource) = match text.split_once('/') {
            Some((bare, resource)) => (bare, Some(prepare_resource(resource)?)),
            None => (text, None),
        };
        let (local, domain) = match bare.split_once('@') {
            Some((local, domain)) => (Some(local), domain),
            None => (None, bare),
        };
        Ok(Self { bare: BareJid::from_parts(local, domain)?, resource })
    }
}

impl From<BareJid> for Jid {
    fn from(bare: BareJid) -> Self {
        Self { bare, resource: None }
    }
}

impl fmt::Display for Jid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.resource {
            Some(resource) => write!(f, "{}/{resource}", self.bare),
            None => self.bare.fmt(f),
        }
    }
}

impl fmt::Debug for Jid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A channel: a bare JID with a local part, short enough for a directory name. It is safe as one path component: it
/// holds an `@`, so it is neither `.` nor `..`, and it holds neither `/` nor control characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Channel(BareJid);

impl Channel {
    /// The channel's address.
    pub fn jid(&self) -> &BareJid {
        &self.0
    }

    /// The domain whose channel service knows the channel.
    pub fn domain(&self) -> &str {
        self.0.domain()
    }

    /// The address as text: the path segment, the directory name, the `entityId`.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The pubsub node of the channel's posts. Its affiliations and access model are the channel's.
    pub fn node(&self) -> String {
        format!("/user/{}/posts", self.0)
    }
}

impl TryFrom<BareJid> for Channel {
    type Error = JidError;

    fn try_from(jid: BareJid) -> Result<Self, JidError> {
        if jid.local().is_none() || jid.as_str().len() > limits::CHANNEL_BYTES {
            return Err(JidError);
        }
        Ok(Self(jid))
    }
}

impl FromStr for Channel {
    type Err = JidError;

    fn from_str(text: &str) -> Result<Self, JidError> {
        text.parse::<BareJid>()?.try_into()
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Characters that RFC 6122 appendix A.5 forbids in a local part, besides spaces and control characters.
const LOCAL_FORBIDDEN: &[char] = &['"', '&', '\'', '/', ':', '<', '>', '@'];

fn prepare_local(local: &str) -> Result<String, JidError> {
    let prepared = prepare(local, stringprep::nodeprep)?;
    let forbidden = |c: char| c.is_control() || c.is_whitespace() || LOCAL_FORBIDDEN.contains(&c);
    if prepared.contains(forbidden) { Err(JidError) } else { Ok(prepared) }
}

/// A domain is labels of letters, digits, hyphens and underscores, of any script, or an IP address. So it holds no
/// character with a meaning in paths, headers or XML.
fn prepare_domain(domain: &str) -> Result<String, JidError> {
    let domain = domain.strip_suffix('.').unwrap_or(domain);
    let prepared = prepare(domain, stringprep::nameprep)?;
    if let Some(address) = prepared.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        address.parse::<std::net::Ipv6Addr>().map_err(|_| JidError)?;
        return Ok(prepared);
    }
    let label =
        |label: &str| !label.is_empty() && label.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_');
    if prepared.split('.').all(label) { Ok(prepared) } else { Err(JidError) }
}

fn prepare_resource(resource: &str) -> Result<String, JidError> {
    let prepared = prepare(resource, stringprep::resourceprep)?;
    if prepared.contains(char::is_control) { Err(JidError) } else { Ok(prepared) }
}

/// Prepares a part by a profile. Fails if a second preparation would change the result, which would give another
/// address at each reading. That happens because the tables are of Unicode 3.2: newer letters become letters that the
/// profile changes (U+03F9 becomes U+03A3).
fn prepare(
    part: &str,
    profile: fn(&str) -> Result<Cow<'_, str>, stringprep::Error>,
) -> Result<String, JidError> {
    within_limits(part)?;
    let prepared = profile(part).map_err(|_| JidError)?;
    within_limits(&prepared)?;
    let again = profile(&prepared).map_err(|_| JidError)?;
    if again == prepared { Ok(prepared.into_owned()) } else { Err(JidError) }
}

fn within_limits(part: &str) -> Result<(), JidError> {
    if part.is_empty() || part.len() > limits::JID_PART_BYTES { Err(JidError) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jid(text: &str) -> Option<String> {
        text.parse::<Jid>().ok().map(|jid| jid.to_string())
    }

    #[test]
    fn addresses_are_prepared() {
        assert_eq!(jid("Alice@Example.COM/Phone").as_deref(), Some("alice@example.com/Phone"));
        assert_eq!(jid("example.com.").as_deref(), Some("example.com"));
        assert_eq!(jid("ÉMILE@BÜCHER.example").as_deref(), Some("émile@bücher.example"));
        assert_eq!(jid("a@b/c/d@e").as_deref(), Some("a@b/c/d@e"));
        assert_eq!(jid("a@[::1]").as_deref(), Some("a@[::1]"));
    }

    #[test]
    fn invalid_addresses_are_refused() {
        let long = "a".repeat(1024);
        for text in [
            "", "@", "a@", "@b", "a@b@c", "a b@c", "a\u{0}@c", "a@b/", "a/b@", "a:b@c", "a@b c", "a@..",
            "a@b..c", "a@b\n", "\"a\"@b", "a&b@c", "a<b@c", "a@b:80", "..@", "a@b%2f", "a@[::1", "a@[x]",
            &long,
        ] {
            let parsed = jid(text);
            // A resource may hold an "@"; "a/b@" is then domain "a" with resource "b@".
            assert!(parsed.is_none() || text == "a/b@", "{text:?} became {parsed:?}");
        }
    }

    #[test]
    fn addresses_that_a_second_preparation_changes_are_refused() {
        for text in ["\u{3f9}@c", "a@\u{3f9}.c", "a@b.\u{3f9}"] {
            assert_eq!(jid(text), None, "{text}");
        }
        assert_eq!(jid("\u{3a3}@c").as_deref(), Some("\u{3c3}@c"));
    }

    #[test]
    fn a_bare_jid_has_parts() {
        let bare: BareJid = "alice@example.com".parse().unwrap();
        assert_eq!((bare.local(), bare.domain()), (Some("alice"), "example.com"));
        let domain: BareJid = "example.com".parse().unwrap();
        assert_eq!((domain.local(), domain.domain()), (None, "example.com"));
        assert!("alice@example.com/x".parse::<BareJid>().is_err());
    }

    #[test]
    fn a_channel_is_a_safe_path_component() {
        assert!("example.com".parse::<Channel>().is_err());
        assert!("..@x/../..".parse::<Channel>().is_err());
        assert!(format!("{}@example.com", "a".repeat(250)).parse::<Channel>().is_err());
        let channel: Channel = "..@example.com".parse().unwrap();
        assert_eq!(channel.as_str(), "..@example.com");
        assert_eq!(channel.node(), "/user/..@example.com/posts");
    }
}
