//! The gate's settings.

use std::time::Duration;

use crate::model::{BareJid, JidError, NodeNames};

/// See the keys `media.domains`, `xmpp.reply.timeout`, `xmpp.cache.ttl`, `xmpp.confirm.*`, `xmpp.pending.*`,
/// `xmpp.lookups.*`, `xmpp.channel.nodes` and `upload.*`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The domains whose channels are served.
    pub domains: Vec<DomainRule>,
    /// How long a user has to confirm, and a service to reply.
    pub reply_timeout: Duration,
    /// How long results of lookups are cached; zero: not at all.
    pub cache_ttl: Duration,
    /// The stanza that asks a user.
    pub confirm_stanza: ConfirmStanza,
    /// How much of the client's address a prompt shows.
    pub confirm_address: ConfirmAddress,
    /// Confirmations that may be pending at one bare JID.
    pub pending_per_user: usize,
    /// Confirmations that may be pending for one client network.
    pub pending_per_address: usize,
    /// Confirmations that may be pending in all.
    pub pending_total: usize,
    /// Lookups under way that one client network may have begun.
    pub lookups_per_address: usize,
    /// Lookups under way in all.
    pub lookups_total: usize,
    /// The nodes of channels.
    pub nodes: NodeNames,
    /// The public URL of the HTTP interface, for disco#info.
    pub endpoint: Option<String>,
    /// Bytes of the largest file that the upload service accepts, for disco#info; `None` without this service.
    pub upload_size: Option<u64>,
    /// The domain of the client's account. Its channel service is looked up when the link comes up.
    pub service_name: BareJid,
}

impl Settings {
    pub(super) fn serves(&self, domain: &str) -> bool {
        self.domains.iter().any(|rule| rule.covers(domain))
    }
}

/// The stanza that asks a user to confirm a request (XEP-0070 section 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfirmStanza {
    /// A message.
    Message,
    /// An IQ to a full JID; a message if the client does not know that IQ, and to a bare JID.
    Auto,
}

/// How much of the client's address a prompt shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfirmAddress {
    /// All of it for a request that changes something, its network for one that reads.
    Full,
    /// Its network: an IPv4 /24, an IPv6 /48.
    Network,
    /// Nothing.
    None,
}

/// Domains whose channels are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DomainRule {
    /// All domains.
    Any,
    /// This domain, in prepared form, and its subdomains.
    Below(String),
}

/// Parses `*` or a domain.
impl std::str::FromStr for DomainRule {
    type Err = JidError;

    fn from_str(text: &str) -> Result<Self, JidError> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let jid: BareJid = text.parse()?;
        if jid.local().is_some() { Err(JidError) } else { Ok(Self::Below(jid.domain().to_owned())) }
    }
}

impl DomainRule {
    /// Whether this domain (in prepared form) is meant.
    pub fn covers(&self, domain: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Below(top) => domain
                .strip_suffix(top.as_str())
                .is_some_and(|below| below.is_empty() || below.ends_with('.')),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_covers_a_domain_and_its_subdomains() {
        let rule: DomainRule = "Example.COM".parse().unwrap();
        for domain in ["example.com", "topics.example.com", "a.b.example.com"] {
            assert!(rule.covers(domain), "{domain}");
        }
        for domain in ["example.org", "badexample.com", "com", "example.com.evil.tld", ""] {
            assert!(!rule.covers(domain), "{domain}");
        }
        assert!("*".parse::<DomainRule>().unwrap().covers("anything"));
    }

    #[test]
    fn a_rule_must_be_a_domain() {
        for text in ["", "alice@example.com", "example.com/x", "*.example.com", "a b"] {
            assert!(text.parse::<DomainRule>().is_err(), "{text}");
        }
    }
}
