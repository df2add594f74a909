//! The client of a request, which may have come through a front web server.

use std::net::{IpAddr, Ipv6Addr};

use crate::http::message::head::Head;

/// The client of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its address; behind a trusted proxy the one that the proxy names.
    pub address: IpAddr,
    /// Whether limits for each address apply: not to a trusted proxy that names no client.
    pub limited: bool,
}

impl Client {
    /// Its address as limits count it: an IPv4 address, or the IPv6 /64 that it is in.
    pub fn network(&self) -> IpAddr {
        network(self.address)
    }

    /// The last address of `X-Forwarded-For` that is no trusted proxy's, if `peer` is one; else `peer`.
    pub fn of(head: &Head, peer: IpAddr, trusted: &[IpAddr]) -> Self {
        if !trusted.contains(&peer) {
            return Self { address: peer, limited: true };
        }
        head.fields("x-forwarded-for")
            .rev()
            .flat_map(|value| value.rsplit(','))
            // Our proxies write addresses. A client wrote the rest, so nothing in front of it is trusted.
            .map_while(|text| address(text.trim()))
            .find(|address| !trusted.contains(address))
            .map_or(Self { address: peer, limited: false }, |address| Self { address, limited: true })
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
fn address(text: &str) -> Option<IpAddr> {
    let bare = match text.strip_prefix('[') {
        Some(rest) => rest.split(']').next()?,
        None if text.matches(':').count() == 1 => text.split(':').next()?,
        None => text,
    };
    bare.parse().ok().map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, fields: &str) -> (String, bool) {
        let text = format!("GET / HTTP/1.0\r\n{fields}\r\n");
        let (head, _) = Head::read(text.as_bytes()).unwrap().expect("complete");
        let trusted = ["10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()];
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
        is("10.0.0.1", "X-Forwarded-For: 1.1.1.1, unknown\r\n", "10.0.0.1", false);
        is("10.0.0.1", "X-Forwarded-For: 198.51.100.1:4711\r\n", "198.51.100.1", true);
        is("10.0.0.1", "X-Forwarded-For: [2001:db8::1]:4711\r\n", "2001:db8::1", true);
        is("10.0.0.1", "X-Forwarded-For: ::ffff:10.0.0.2\r\n", "10.0.0.1", false);
    }
}
