//! The client of a request, which may have come through a reverse proxy.

use std::net::{IpAddr, Ipv6Addr};

use crate::http::message::head::Head;
use crate::model::Network;

/// The client of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its address; behind a trusted proxy the one that the proxy names, or the proxy's if that can't be read.
    pub address: IpAddr,
    /// Whether limits for each address apply: not to a trusted proxy that does not say that it has a client.
    pub limited: bool,
}

impl Client {
    /// Its address as limits count it: an IPv4 address, or the IPv6 /64 that it is in.
    pub fn network(&self) -> IpAddr {
        network(self.address)
    }

    /// The last address of `X-Forwarded-For` that is not a trusted proxy, if `peer` is one; else `peer`. If that address
    /// can't be read, the request counts for the proxy: so all such requests of it are limited together.
    pub fn of(head: &Head, peer: IpAddr, trusted: &[Network]) -> Self {
        let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
        if !is_trusted(peer) {
            return Self { address: peer, limited: true };
        }
        // Our proxies write addresses. A client wrote the rest, so nothing in front of it is trusted.
        for text in
            head.raw_fields("x-forwarded-for").rev().flat_map(|value| value.rsplit(|byte| *byte == b','))
        {
            match address(text.trim_ascii()) {
                Some(address) if is_trusted(address) => {}
                found => return Self { address: found.unwrap_or(peer), limited: true },
            }
        }
        Self { address: peer, limited: false }
    }
}

/// The network that counts as one client: an IPv4 address, or the /64 that every IPv6 host has to itself.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) => IpAddr::V6(Ipv6Addr::from_bits(six.to_bits() & !u128::from(u64::MAX))),
        four => four,
    }
}

/// An address with or without port, IPv6 with or without brackets.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(text).ok()?;
    let bare = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None if text.matches(':').count() == 1 => text.split(':').next()?,
        None => text,
    };
    bare.parse().ok().map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, fields: impl AsRef<[u8]>) -> (String, bool) {
        let text = [b"GET / HTTP/1.0\r\n", fields.as_ref(), b"\r\n"].concat();
        let (head, _) = Head::read(&text).unwrap().expect("complete");
        let trusted = ["10.0.0.0/24".parse().unwrap(), "2001:db8:1::/48".parse().unwrap()];
        let client = Client::of(&head, peer.parse().unwrap(), &trusted);
        (client.address.to_string(), client.limited)
    }

    #[test]
    fn an_ipv6_network_of_64_bits_is_one_client() {
        let network = |address: &str| {
            let client = Client { address: address.parse().unwrap(), limited: true };
            client.network().to_string()
        };
        assert_eq!(network("2001:db8:0:1::1"), network("2001:db8:0:1:ffff:ffff:ffff:ffff"));
        assert_ne!(network("2001:db8:0:1::1"), network("2001:db8:0:2::1"));
        assert_eq!(network("::ffff:192.0.2.1"), "192.0.2.1");
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        let is = |peer, fields, address: &str, limited| {
            assert_eq!(client(peer, fields), (address.to_owned(), limited), "{fields}");
        };
        is("192.0.2.9", "X-Forwarded-For: 198.51.100.1\r\n", "192.0.2.9", true);
        is("10.0.0.1", "X-Forwarded-For: 198.51.100.1\r\n", "198.51.100.1", true);
        is("10.0.0.1", "X-Forwarded-For: 1.1.1.1, 198.51.100.1 , 10.0.0.2\r\n", "198.51.100.1", true);
        is("10.0.0.1", "X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2\r\n", "2.2.2.2", true);
        is("10.0.0.1", "", "10.0.0.1", false);
        is("10.0.0.1", "X-Forwarded-For: 10.0.0.2\r\n", "10.0.0.1", false);
        is("2001:db8:1::7", "X-Forwarded-For: 2.2.2.2, 2001:db8:1::8\r\n", "2.2.2.2", true);
        is("2001:db8:2::7", "X-Forwarded-For: 2.2.2.2\r\n", "2001:db8:2::7", true);
        is("10.0.0.1", "X-Forwarded-For: 198.51.100.1:4711\r\n", "198.51.100.1", true);
        is("10.0.0.1", "X-Forwarded-For: [2001:db8::1]:4711\r\n", "2001:db8::1", true);
        is("10.0.0.1", "X-Forwarded-For: ::ffff:10.0.0.2\r\n", "10.0.0.1", false);
    }

    #[test]
    fn a_client_whose_address_can_not_be_read_counts_for_the_proxy() {
        for value in [
            "unknown",
            "_hidden",
            "",
            " ",
            ",",
            "fe80::1%eth0",
            "9.9.9.8, unknown",
            "unknown, 10.0.0.2",
            "9.9.9.8,",
            "[::1",
            "1.2.3",
            "9.9.9.9 9.9.9.8",
            "\u{fffd}",
        ] {
            let found = client("10.0.0.1", format!("X-Forwarded-For: {value}\r\n"));
            assert_eq!(found, ("10.0.0.1".to_owned(), true), "{value:?}");
        }
        let found = client("10.0.0.1", b"X-Forwarded-For: 9.9.9.9, \xff\r\n");
        assert_eq!(found, ("10.0.0.1".to_owned(), true));
    }
}
