//! What the gate is told when it is built.

use std::time::Duration;

use crate::model::{BareJid, JidError};

/// The gate's settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The domains whose channels are served.
    pub domains: Vec<DomainRule>,
    /// How long a user has to confirm, and any party to answer a question.
    pub reply_timeout: Duration,
    /// How long what a channel service said is believed; zero: not beyond the lookup itself.
    pub cache_ttl: Duration,
    /// Confirmations that may be pending at one bare JID.
    pub pending_per_user: usize,
    /// Confirmations that may be pending for one network address.
    pub pending_per_address: usize,
    /// Confirmations that may be pending in all.
    pub pending_total: usize,
    /// Lookups under way that one network address may have begun.
    pub lookups_per_address: usize,
    /// Lookups under way in all.
    pub lookups_total: usize,
    /// Where this server's HTTP interface is found from outside, to be told in disco#info.
    pub endpoint: Option<String>,
    /// The domain of the client's account; its channel service is looked for as soon as the link is up.
    pub service_name: BareJid,
}

impl Settings {
    pub(super) fn serves(&self, domain: &str) -> bool {
        self.domains.iter().any(|rule| rule.covers(domain))
    }
}

/// Domains whose channels are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DomainRule {
    /// All there are.
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
    fn a_rule_covers_a_domain_and_what_is_below_it() {
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
    fn what_is_no_domain_is_no_rule() {
        for text in ["", "alice@example.com", "example.com/x", "*.example.com", "a b"] {
            assert!(text.parse::<DomainRule>().is_err(), "{text}");
        }
    }
}
