//! XMPP addresses (RFC 6122), in prepared form: equal addresses are equal byte for byte.

use std::fmt;
use std::str::FromStr;

use super::preparation::{self, Profile, domain_to_ascii, prepare};
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

    /// The domain part as the DNS and certificates have it (RFC 7622 section 3.2.1). `None` if a label is too long.
    pub fn ascii_domain(&self) -> Option<String> {
        domain_to_ascii(self.domain())
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
    let prepared = within_limits(local, |local| prepare(local, Profile::Local))?;
    let forbidden = |c: char| c.is_control() || c.is_whitespace() || LOCAL_FORBIDDEN.contains(&c);
    if prepared.contains(forbidden) { Err(JidError) } else { Ok(prepared) }
}

/// A domain name, or an IPv6 address in brackets.
fn prepare_domain(domain: &str) -> Result<String, JidError> {
    let domain = domain.strip_suffix('.').unwrap_or(domain);
    if let Some(address) = domain.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        address.parse::<std::net::Ipv6Addr>().map_err(|_| JidError)?;
        return Ok(domain.to_ascii_lowercase());
    }
    within_limits(domain, preparation::prepare_domain)
}

fn prepare_resource(resource: &str) -> Result<String, JidError> {
    let prepared = within_limits(resource, |resource| prepare(resource, Profile::Resource))?;
    if prepared.contains(char::is_control) { Err(JidError) } else { Ok(prepared) }
}

/// Prepares a part that is not too long and does not become so.
fn within_limits(part: &str, prepare: impl FnOnce(&str) -> Option<String>) -> Result<String, JidError> {
    let fits = |part: &str| (1..=limits::JID_PART_BYTES).contains(&part.len());
    let prepared = fits(part).then(|| prepare(part)).flatten();
    prepared.filter(|prepared| fits(prepared)).ok_or(JidError)
}

/// A host's name as the DNS and certificates have it. `None` if it can't be one.
pub fn ascii_host(host: &str) -> Option<String> {
    if host.is_ascii() { Some(host.to_owned()) } else { domain_to_ascii(&preparation::prepare_domain(host)?) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

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
        assert_eq!(jid("a@[2001:DB8::1]").as_deref(), Some("a@[2001:db8::1]"));
        assert_eq!(jid("🤷@example.org/🤷").as_deref(), Some("🤷@example.org/🤷"));
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
        for text in ["\u{3f9}@c", "a@\u{3f9}.c", "a@b.\u{3f9}", "a@b/\u{3f9}", "a@b/🤷\u{3f9}"] {
            assert_eq!(jid(text), None, "{text}");
        }
        assert_eq!(jid("\u{3a3}@c").as_deref(), Some("\u{3c3}@c"));
    }

    #[test]
    fn both_forms_of_a_domain_are_one_address() {
        for text in [
            "room@bücher.example",
            "Room@BÜCHER.example",
            "room@xn--bcher-kva.example",
            "room@XN--BCHER-KVA.example.",
        ] {
            let channel: Channel = text.parse().unwrap();
            assert_eq!(channel.as_str(), "room@bücher.example", "{text}");
            assert_eq!(channel.jid().ascii_domain().as_deref(), Some("xn--bcher-kva.example"));
        }
        assert_eq!(ascii_host("Bücher.example").as_deref(), Some("xn--bcher-kva.example"));
        assert_eq!(ascii_host("::1").as_deref(), Some("::1"));
    }

    /// As the fuzz target `jid`, for texts of characters that have caused trouble.
    #[test]
    fn random_addresses_are_read_back_as_they_are_shown() {
        let alphabet: Vec<char> = "aAéÉßſİı\u{3f9}\u{1e9e}🤷\u{fe0f}\u{200d}\u{301}\u{1dca}\u{327}\u{2066}\u{e0061}ﬁ\u{2126}\u{1f100}ש\u{1e900}\
             .。．@/-_x n1\u{0}\u{a0}\u{ad}\u{30fb}परक्ष"
            .chars()
            .collect();
        let mut random = Random::new(14);
        let mut valid = 0;
        for round in 0..30_000 {
            let length = random.below(12);
            let mut text: String = (0..length).map(|_| random.pick(&alphabet)).collect();
            if round % 3 == 0 {
                text.insert_str(random.below(2) * text.len(), "xn--");
            }
            let text = if round % 2 == 0 { format!("a@{text}/{text}") } else { format!("{text}@b.c") };
            let Ok(jid) = text.parse::<Jid>() else { continue };
            valid += 1;
            let shown = jid.to_string();
            assert_eq!(shown.parse().as_ref(), Ok(&jid), "{text:?} became {shown:?}");
            if let Some(ascii) = jid.bare().ascii_domain() {
                let named: BareJid = ascii.parse().unwrap();
                assert_eq!(named.as_str(), jid.bare().domain(), "{ascii}");
            }
        }
        assert!(valid > 1000, "{valid}");
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
    }
}
