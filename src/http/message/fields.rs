//! The fields of a head that frame the message and steer the connection (RFC 9112, RFC 9110 sections 7.2 and 10.1.1).

use std::net::Ipv6Addr;

use httparse::Header;

use super::chunked::BodyLength;
use super::version::Version;
use crate::model::Refusal;

/// The combined meaning of these fields.
pub(in crate::http) struct Digest<'a> {
    pub length: BodyLength,
    pub host: Option<&'a str>,
    pub keep_alive: bool,
    pub expects_continue: bool,
}

pub(in crate::http) fn digest<'a>(headers: &[Header<'a>], version: Version) -> Result<Digest<'a>, Refusal> {
    Ok(Digest {
        length: length(headers, version)?,
        host: host(headers, version)?,
        keep_alive: keep_alive(headers, version),
        expects_continue: expects_continue(headers, version)?,
    })
}

/// Whether this field says where a request ends, or for which host it is.
pub(in crate::http) fn is_framing(name: &str) -> bool {
    ["content-length", "transfer-encoding", "host"].iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// Whether this is `host[:port]`: letters, digits, `.`, `-` and `_`, or an IPv6 address in brackets. Stricter than
/// RFC 3986, because it becomes part of an address that users are shown before they press "yes".
pub(in crate::http) fn is_authority(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else { return false };
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let Some((address, port)) = rest.split_once(']') else { return false };
            if address.parse::<Ipv6Addr>().is_err() {
                return false;
            }
            return port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        }
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let named = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    !host.is_empty() && host.len() <= 255 && host.bytes().all(named) && port.is_none_or(is_port)
}

fn is_port(text: &str) -> bool {
    is_number(text.as_bytes()) && text.parse::<u16>().is_ok()
}

/// `parse` alone would take `+5`.
fn is_number(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

fn named<'a>(headers: &[Header<'a>], name: &str) -> impl Iterator<Item = &'a [u8]> {
    headers
        .iter()
        .filter(move |field| field.name.eq_ignore_ascii_case(name))
        .map(|field| field.value.trim_ascii())
}

/// The only value of a field; `None` if there is no such field, an error if there are several.
fn only<'a>(headers: &[Header<'a>], name: &str) -> Result<Option<&'a [u8]>, ()> {
    let mut values = named(headers, name);
    let first = values.next();
    if values.next().is_some() { Err(()) } else { Ok(first) }
}

/// RFC 9112 section 6.3, without its leniencies: framing that two parsers could read in two ways is refused.
fn length(headers: &[Header<'_>], version: Version) -> Result<BodyLength, Refusal> {
    let once = |name| only(headers, name).map_err(|()| Refusal::AmbiguousFraming);
    match (once("content-length")?, once("transfer-encoding")?) {
        (None, None) => Ok(BodyLength::None),
        (Some(length), None) if is_number(length) => std::str::from_utf8(length)
            .ok()
            .and_then(|digits| digits.parse().ok())
            .map(BodyLength::Sized)
            .ok_or(Refusal::AmbiguousFraming),
        (None, Some(coding)) if version == Version::Http11 && coding.eq_ignore_ascii_case(b"chunked") => {
            Ok(BodyLength::Chunked)
        }
        _ => Err(Refusal::AmbiguousFraming),
    }
}

fn host<'a>(headers: &[Header<'a>], version: Version) -> Result<Option<&'a str>, Refusal> {
    match only(headers, "host") {
        Ok(None) if version == Version::Http10 => Ok(None),
        Ok(Some(host)) if is_authority(host) => {
            std::str::from_utf8(host).map(Some).map_err(|_| Refusal::MissingHost)
        }
        _ => Err(Refusal::MissingHost),
    }
}

/// RFC 9112 section 9.3.
fn keep_alive(headers: &[Header<'_>], version: Version) -> bool {
    let asked = |option: &[u8]| {
        named(headers, "connection")
            .flat_map(|value| value.split(|byte| *byte == b','))
            .any(|word| word.trim_ascii().eq_ignore_ascii_case(option))
    };
    !asked(b"close") && (version == Version::Http11 || asked(b"keep-alive"))
}

/// RFC 9110 section 10.1.1: HTTP/1.0 has no expectations.
fn expects_continue(headers: &[Header<'_>], version: Version) -> Result<bool, Refusal> {
    if version == Version::Http10 {
        return Ok(false);
    }
    let mut expected = false;
    for value in named(headers, "expect") {
        if !value.eq_ignore_ascii_case(b"100-continue") {
            return Err(Refusal::ExpectationFailed);
        }
        expected = true;
    }
    Ok(expected)
}

#[cfg(test)]
mod tests {
    use super::super::head::Head;
    use super::*;

    fn with(version: &str, fields: &str) -> Result<Head, Refusal> {
        let text = format!("POST / HTTP/{version}\r\n{fields}\r\n");
        Head::read(text.as_bytes()).map(|found| found.expect("complete").0)
    }

    fn framing(fields: &str) -> Result<BodyLength, Refusal> {
        with("1.1", &format!("Host: h\r\n{fields}")).map(|head| head.length())
    }

    #[test]
    fn a_body_has_a_length_or_chunks() {
        assert_eq!(framing(""), Ok(BodyLength::None));
        assert_eq!(framing("Content-Length: 0\r\n"), Ok(BodyLength::Sized(0)));
        assert_eq!(framing("content-length:  007 \r\n"), Ok(BodyLength::Sized(7)));
        assert_eq!(framing("Content-Length: 18446744073709551615\r\n"), Ok(BodyLength::Sized(u64::MAX)));
        assert_eq!(framing("Transfer-Encoding: Chunked \r\n"), Ok(BodyLength::Chunked));
    }

    #[test]
    fn ambiguous_framing_is_refused() {
        for fields in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            "Content-Length: 5\r\ncontent-length: 6\r\n",
            "Content-Length: 5, 5\r\n",
            "Content-Length:\t5\r\n",
            "Content-Length: 5 \t\r\n",
            "Content-Length: +5\r\n",
            "Content-Length: -5\r\n",
            "Content-Length: abc\r\n",
            "Content-Length: 0x5\r\n",
            "Content-Length: 5 5\r\n",
            "Content-Length: 5.0\r\n",
            "Content-Length:\r\n",
            "Content-Length: 18446744073709551616\r\n",
            "Content-Length: \u{661}\r\n",
            "Transfer-Encoding:\tchunked\r\n",
            "Transfer-Encoding: chunked\t\r\n",
            "Transfer-Encoding: gzip\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked, identity\r\n",
            "Transfer-Encoding: chunked;q=1\r\n",
            "Transfer-Encoding: xchunked\r\n",
            "Transfer-Encoding: \"chunked\"\r\n",
            "Transfer-Encoding:\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
        ] {
            assert_eq!(framing(fields), Err(Refusal::AmbiguousFraming), "{fields:?}");
        }
        let old = with("1.0", "Transfer-Encoding: chunked\r\n").unwrap_err();
        assert_eq!(old, Refusal::AmbiguousFraming);
    }

    #[test]
    fn one_valid_host_is_needed() {
        for host in
            ["h", "example.com", "EXAMPLE.com:8080", "127.0.0.1", "[::1]", "[2001:db8::1]:443", "a_b-c."]
        {
            let head = with("1.1", &format!("Host: {host}\r\n")).unwrap();
            assert_eq!(head.host(), Some(host));
        }
        for host in [
            "",
            "h:",
            "h:x",
            "h:65536",
            "h:+1",
            "h:1:2",
            "a b",
            "a/b",
            "a@b",
            "a?b",
            "a#b",
            "<b>",
            "a%20b",
            "[::1",
            "[x]",
            "::1",
            "[::1]x",
            "a,b",
            ":80",
            "\u{e9}.com",
        ] {
            assert_eq!(
                with("1.1", &format!("Host: {host}\r\n")).unwrap_err(),
                Refusal::MissingHost,
                "{host}"
            );
        }
        assert_eq!(with("1.1", "").unwrap_err(), Refusal::MissingHost);
        assert_eq!(with("1.1", "Host: h\r\nHost: h\r\n").unwrap_err(), Refusal::MissingHost);
        assert_eq!(with("1.0", "").unwrap().host(), None);
        assert_eq!(with("1.0", "Host: a b\r\n").unwrap_err(), Refusal::MissingHost);
    }

    #[test]
    fn the_connection_is_kept_as_the_version_says() {
        let kept = |version, value: &str| {
            with(version, &format!("Host: h\r\nConnection: {value}\r\n")).unwrap().keep_alive()
        };
        assert!(kept("1.1", "") && kept("1.1", "foo, bar") && kept("1.1", "keep-alive"));
        assert!(!kept("1.1", "close") && !kept("1.1", "foo ,\tClose") && !kept("1.1", "keep-alive, close"));
        assert!(kept("1.0", "Keep-Alive") && !kept("1.0", "") && !kept("1.0", "keep-alive, close"));
        assert!(!with("1.1", "Host: h\r\nConnection: a\r\nConnection: close\r\n").unwrap().keep_alive());
    }

    #[test]
    fn only_100_continue_can_be_expected() {
        let expects = |version, value| {
            with(version, &format!("Host: h\r\nExpect: {value}\r\n")).map(|head| head.expects_continue())
        };
        assert_eq!(expects("1.1", "100-Continue"), Ok(true));
        assert_eq!(expects("1.1", "200-ok"), Err(Refusal::ExpectationFailed));
        assert_eq!(expects("1.1", ""), Err(Refusal::ExpectationFailed));
        assert_eq!(expects("1.0", "100-continue"), Ok(false));
        assert_eq!(expects("1.0", "200-ok"), Ok(false));
    }
}
