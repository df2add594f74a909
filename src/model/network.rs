//! Networks of IP addresses, as settings name them.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// An IPv4 or IPv6 network in CIDR notation (RFC 4632 section 3.1, RFC 4291 section 2.3), or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// IPv4 as IPv4-mapped IPv6 (RFC 4291 section 2.5.5.2), so that both are compared in one way.
    bits: u128,
    /// Length of the prefix in bits.
    length: u32,
}

/// The bits in front of a mapped IPv4 address.
const MAPPED: u32 = 96;

impl Network {
    /// Whether the address is in the network. An IPv4-mapped IPv6 address is the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        (bits(address) ^ self.bits) & mask(self.length) == 0
    }
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        Self { bits: bits(address), length: u128::BITS }
    }
}

/// The text is not a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkError;

/// Parses `address/length` or `address`. The bits behind the length must be 0: an address of a host with a length is more
/// often a mistake than meant.
impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let Some((address, length)) = text.split_once('/') else {
            return text.parse::<IpAddr>().map(Self::from).map_err(|_| NetworkError);
        };
        let address: IpAddr = address.parse().map_err(|_| NetworkError)?;
        let (front, most) = if address.is_ipv4() { (MAPPED, 32) } else { (0, u128::BITS) };
        let plain = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
        let length: u32 =
            length.parse().ok().filter(|length| plain && *length <= most).ok_or(NetworkError)?;
        let network = Self { bits: bits(address), length: front + length };
        if network.bits & !mask(network.length) == 0 { Ok(network) } else { Err(NetworkError) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = IpAddr::V6(Ipv6Addr::from_bits(self.bits)).to_canonical();
        let length = if address.is_ipv4() { self.length.saturating_sub(MAPPED) } else { self.length };
        if self.length == u128::BITS { write!(f, "{address}") } else { write!(f, "{address}/{length}") }
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(four) => four.to_ipv6_mapped().to_bits(),
        IpAddr::V6(six) => six.to_bits(),
    }
}

/// So many ones, then zeros.
fn mask(length: u32) -> u128 {
    u128::MAX.checked_shl(u128::BITS - length).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_its_addresses_and_no_others() {
        for (network, inside, outside) in [
            (
                "10.0.0.0/8",
                &["10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3"][..],
                &["11.0.0.0", "9.255.255.255", "::a00:1"][..],
            ),
            ("192.0.2.128/25", &["192.0.2.128", "192.0.2.255"], &["192.0.2.127", "192.0.3.0"]),
            ("192.0.2.1", &["192.0.2.1", "::ffff:192.0.2.1"], &["192.0.2.2", "2001:db8::1"]),
            ("0.0.0.0/0", &["0.0.0.0", "255.255.255.255"], &["::1", "2001:db8::1"]),
            ("2001:db8::/33", &["2001:db8::", "2001:db8:7fff::1"], &["2001:db8:8000::", "192.0.2.1"]),
            ("fe80::/10", &["fe80::1", "febf::1"], &["fec0::1"]),
            ("::1", &["::1"], &["::2", "127.0.0.1"]),
            ("::/0", &["::1", "192.0.2.1"], &[]),
            ("::ffff:10.0.0.0/104", &["10.1.2.3"], &["11.0.0.0"]),
        ] {
            let parsed: Network = network.parse().unwrap();
            for address in inside {
                assert!(parsed.contains(address.parse().unwrap()), "{address} is in {network}");
            }
            for address in outside {
                assert!(!parsed.contains(address.parse().unwrap()), "{address} is not in {network}");
            }
            assert_eq!(parsed.to_string().parse(), Ok(parsed), "{network}");
        }
    }

    #[test]
    fn other_texts_are_no_networks() {
        for text in [
            "",
            "/",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            "10.0.0.0/-1",
            "10.0.0.0/8/8",
            "10.0.0.1/8",
            "10/8",
            "localhost",
            "::/129",
            "2001:db8::1/32",
            "fe80::1%eth0",
            "[::1]",
            "10.0.0.0 /8",
        ] {
            assert_eq!(text.parse::<Network>(), Err(NetworkError), "{text:?}");
        }
    }
}
