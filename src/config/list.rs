//! Settings that are lists.

use std::net::{IpAddr, SocketAddr};

use super::format::{Domain, Format};
use crate::model::BareJid;

/// The addresses that are listened on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bind {
    /// Every address of the machine, IPv4 and (where there is any) IPv6.
    All,
    /// These, at least one.
    Addresses(Vec<IpAddr>),
}

/// The origins whose pages may use the answers (CORS).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// Every one.
    Any,
    /// These, in lower case as browsers send them; an empty list switches CORS off.
    Listed(Vec<String>),
}

/// The domains whose channels are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Domains {
    /// Every one.
    Any,
    /// These and their subdomains.
    Listed(Vec<BareJid>),
}

/// IP addresses.
pub(super) struct Addresses;

impl Format for Addresses {
    type Value = Vec<IpAddr>;

    fn parse(&self, text: &str) -> Result<Vec<IpAddr>, String> {
        let address = |text: &str| text.parse().map(|address: IpAddr| address.to_canonical());
        words(text).map(address).collect::<Result<_, _>>().map_err(|_| format!("not a {}", self.describe()))
    }

    fn describe(&self) -> String {
        "list of IP addresses".to_owned()
    }
}

/// IP addresses with ports.
pub(super) struct SocketAddresses;

impl Format for SocketAddresses {
    type Value = Vec<SocketAddr>;

    fn parse(&self, text: &str) -> Result<Vec<SocketAddr>, String> {
        words(text)
            .map(str::parse)
            .collect::<Result<_, _>>()
            .map_err(|_| format!("not a {}", self.describe()))
    }

    fn describe(&self) -> String {
        "list of IP addresses with ports such as 127.0.0.1:9100 or [::1]:9100".to_owned()
    }
}

/// IP addresses or `*`.
pub(super) struct BindAddresses;

impl Format for BindAddresses {
    type Value = Bind;

    fn parse(&self, text: &str) -> Result<Bind, String> {
        match Addresses.parse(text) {
            _ if text == "*" => Ok(Bind::All),
            Ok(addresses) if !addresses.is_empty() => Ok(Bind::Addresses(addresses)),
            _ => Err(format!("not a {}", self.describe())),
        }
    }

    fn describe(&self) -> String {
        "list of IP addresses, or *".to_owned()
    }
}

/// Origins, `*`, or nothing.
pub(super) struct OriginList;

impl Format for OriginList {
    type Value = Origins;

    fn parse(&self, text: &str) -> Result<Origins, String> {
        if text == "*" {
            return Ok(Origins::Any);
        }
        let origins = words(text).map(origin).collect::<Option<_>>().map(Origins::Listed);
        origins.ok_or_else(|| format!("not a {}", self.describe()))
    }

    fn describe(&self) -> String {
        "list of origins such as https://example.com, * or nothing".to_owned()
    }

    fn takes_nothing(&self) -> bool {
        true
    }
}

/// Domains or `*`.
pub(super) struct DomainList;

impl Format for DomainList {
    type Value = Domains;

    fn parse(&self, text: &str) -> Result<Domains, String> {
        if text == "*" {
            return Ok(Domains::Any);
        }
        let domains = words(text).map(|word| Domain.parse(word)).collect::<Result<Vec<_>, _>>();
        match domains {
            Ok(domains) if !domains.is_empty() => Ok(Domains::Listed(domains)),
            _ => Err(format!("not a {}", self.describe())),
        }
    }

    fn describe(&self) -> String {
        "list of domain names, or *".to_owned()
    }
}

/// The items of a list: separated by commas or blanks.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c == ',' || c.is_whitespace()).filter(|word| !word.is_empty())
}

/// `scheme://host[:port]` (RFC 6454 section 6.2), in lower case.
fn origin(text: &str) -> Option<String> {
    let (scheme, host) = text.split_once("://")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._[]:".contains(c);
    let scheme_known = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    (scheme_known && !host.is_empty() && host.chars().all(plain)).then(|| text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::super::format::check;
    use super::*;

    #[test]
    fn lists() {
        check(
            &Addresses,
            &[("", "[]"), (" , ", "[]"), ("10.0.0.1,::1 ::ffff:1.2.3.4", "[10.0.0.1, ::1, 1.2.3.4]")],
        );
        check(&Addresses, &[("10.0.0.0/8", "-"), ("localhost", "-"), ("10.0.0.1;::1", "-")]);
        check(
            &SocketAddresses,
            &[
                ("127.0.0.1:1, [::1]:2", "[127.0.0.1:1, [::1]:2]"),
                ("::1", "-"),
                ("*:1", "-"),
                ("1.2.3.4", "-"),
            ],
        );
        check(&BindAddresses, &[("*", "All"), ("::1", "Addresses([::1])"), (",", "-"), ("* ::1", "-")]);
        check(
            &OriginList,
            &[("*", "Any"), ("", "Listed([])"), ("HTTPS://A.example", "Listed([\"https://a.example\"])")],
        );
        check(&OriginList, &[("http://a:1, http://b", "Listed([\"http://a:1\", \"http://b\"])")]);
        check(
            &OriginList,
            &[("a.example", "-"), ("https://a/", "-"), ("https://*.a", "-"), ("null", "-"), ("http://", "-")],
        );
        check(
            &DomainList,
            &[("*", "Any"), ("a.b C.d,e", "Listed([a.b, c.d, e])"), ("", "-"), ("a@b", "-"), ("*.a", "-")],
        );
    }
}
