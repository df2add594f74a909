//! Settings that are lists.

use std::net::{IpAddr, SocketAddr};

use super::types::ValueType;
use crate::access::DomainRule;
use crate::http::cors::Cors;
use crate::model::{BareJid, Network};
use crate::uploads::JidRule;

/// The addresses that the server listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Bind {
    /// Every address of the machine, IPv4 and (where the system has it) IPv6.
    All,
    /// These; at least one.
    Addresses(Vec<IpAddr>),
}

/// IP addresses.
pub(super) struct Addresses;

impl ValueType for Addresses {
    type Value = Vec<IpAddr>;

    fn parse(&self, text: &str) -> Result<Vec<IpAddr>, String> {
        let address = |text: &str| text.parse().map(|address: IpAddr| address.to_canonical());
        words(text).map(address).collect::<Result<_, _>>().map_err(|_| format!("not a {}", self.describe()))
    }

    fn describe(&self) -> String {
        "list of IP addresses".to_owned()
    }
}

/// IP addresses and networks of them.
pub(super) struct Networks;

impl ValueType for Networks {
    type Value = Vec<Network>;

    fn parse(&self, text: &str) -> Result<Vec<Network>, String> {
        words(text)
            .map(str::parse)
            .collect::<Result<_, _>>()
            .map_err(|_| format!("not a {}", self.describe()))
    }

    fn describe(&self) -> String {
        "list of IP addresses and networks such as 10.0.0.0/8 or 2001:db8::/32".to_owned()
    }
}

/// IP addresses with ports.
pub(super) struct SocketAddresses;

impl ValueType for SocketAddresses {
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

impl ValueType for BindAddresses {
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

impl ValueType for OriginList {
    type Value = Cors;

    fn parse(&self, text: &str) -> Result<Cors, String> {
        if text == "*" {
            return Ok(Cors::Any);
        }
        let origins = words(text).map(origin).collect::<Option<_>>().map(Cors::new);
        origins.ok_or_else(|| format!("not a {}", self.describe()))
    }

    fn describe(&self) -> String {
        "list of origins such as https://example.com, * or nothing".to_owned()
    }

    fn accepts_empty(&self) -> bool {
        true
    }
}

/// Domains or `*`.
pub(super) struct DomainList;

impl ValueType for DomainList {
    type Value = Vec<DomainRule>;

    fn parse(&self, text: &str) -> Result<Vec<DomainRule>, String> {
        let rules = words(text).map(str::parse).collect::<Result<Vec<DomainRule>, _>>().unwrap_or_default();
        // `*` stands alone.
        if rules.is_empty() || (rules.len() > 1 && rules.contains(&DomainRule::Any)) {
            return Err(format!("not a {}", self.describe()));
        }
        Ok(rules)
    }

    fn describe(&self) -> String {
        "list of domain names, or *".to_owned()
    }
}

/// Users and domains.
pub(super) struct JidList;

impl ValueType for JidList {
    type Value = Vec<JidRule>;

    fn parse(&self, text: &str) -> Result<Vec<JidRule>, String> {
        words(text)
            .map(str::parse)
            .collect::<Result<_, _>>()
            .map_err(|_| format!("not a {}", self.describe()))
    }

    fn describe(&self) -> String {
        "list of domains, *.domains and bare JIDs".to_owned()
    }
}

/// Users.
pub(super) struct BareJids;

impl ValueType for BareJids {
    type Value = Vec<BareJid>;

    fn parse(&self, text: &str) -> Result<Vec<BareJid>, String> {
        let user = |text: &str| text.parse().ok().filter(|jid: &BareJid| jid.local().is_some());
        words(text).map(user).collect::<Option<_>>().ok_or_else(|| format!("not a {}", self.describe()))
    }

    fn describe(&self) -> String {
        "list of bare JIDs".to_owned()
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
    use super::super::types::check;
    use super::*;

    #[test]
    fn lists() {
        check(
            &Addresses,
            &[("", "[]"), (" , ", "[]"), ("10.0.0.1,::1 ::ffff:1.2.3.4", "[10.0.0.1, ::1, 1.2.3.4]")],
        );
        check(&Addresses, &[("10.0.0.0/8", "-"), ("localhost", "-"), ("10.0.0.1;::1", "-")]);
        let address = |text: &str| format!("[{:?}]", text.parse::<Network>().unwrap());
        check(
            &Networks,
            &[
                ("", "[]"),
                ("10.0.0.0/8", &address("10.0.0.0/8")),
                ("::ffff:1.2.3.4", &address("1.2.3.4")),
                ("10.0.0.1/8", "-"),
                ("10.0.0.0/8;::1", "-"),
            ],
        );
        assert_eq!(Networks.parse("10.0.0.0/8, ::1").map(|networks| networks.len()), Ok(2));
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
            &[("*", "Any"), ("", "Off"), ("HTTPS://A.example", "Listed([\"https://a.example\"])")],
        );
        check(&OriginList, &[("http://a:1, http://b", "Listed([\"http://a:1\", \"http://b\"])")]);
        check(
            &OriginList,
            &[("a.example", "-"), ("https://a/", "-"), ("https://*.a", "-"), ("null", "-"), ("http://", "-")],
        );
        check(
            &JidList,
            &[
                ("", "[]"),
                (
                    "Example.com, *.example.com alice@example.com",
                    "[Domain(\"example.com\"), Below(\"example.com\"), User(alice@example.com)]",
                ),
                ("*", "-"),
                ("alice@example.com/phone", "-"),
                ("a.b !c", "-"),
            ],
        );
        check(
            &BareJids,
            &[
                ("", "[]"),
                ("Alice@Example.com, bob@example.com", "[alice@example.com, bob@example.com]"),
                ("alice@example.com/phone", "-"),
                ("example.com", "-"),
                ("*", "-"),
                ("alice@example.com @", "-"),
            ],
        );
        check(
            &DomainList,
            &[
                ("*", "[Any]"),
                ("a.b C.d", "[Below(\"a.b\"), Below(\"c.d\")]"),
                ("", "-"),
                ("a@b", "-"),
                ("*.a", "-"),
                ("* a", "-"),
            ],
        );
    }
}
