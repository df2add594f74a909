//! Addresses of media: `CHANNEL/ID`, or the URL that a server gave. Without I/O.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use media_server::limits;
use media_server::model::Channel;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

/// The characters that a path segment encodes: all but unreserved characters, sub-delims, `:` and `@` (RFC 3986 section 3.3).
const SEGMENT: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'/')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// The root of a server's HTTP interface, without a slash at its end: https, or http on loopback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(String);

/// A media.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where it is, if a URL was given.
    pub endpoint: Option<Endpoint>,
    /// The channel.
    pub channel: Channel,
    /// The id, or `avatar`.
    pub id: String,
}

/// Where http without TLS may lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlainHttp {
    /// Nowhere: a server elsewhere must not have requests sent to other programs on this machine.
    Never,
    /// To loopback addresses.
    Loopback,
}

impl Endpoint {
    /// The endpoint that a server tells.
    pub fn told(text: &str, plain: PlainHttp) -> Result<Self, String> {
        check_url(text, plain)?;
        if text.contains(['?', '#']) {
            return Err(format!("{text} has a query or a fragment"));
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }

    /// The URL of a path of these segments.
    pub fn url(&self, segments: &[&str]) -> String {
        let encoded = segments.iter().map(|segment| format!("/{}", utf8_percent_encode(segment, SEGMENT)));
        encoded.fold(self.0.clone(), |url, segment| url + &segment)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Endpoint {
    type Err = String;

    /// The endpoint that the user names.
    fn from_str(text: &str) -> Result<Self, String> {
        Self::told(text, PlainHttp::Loopback)
    }
}

impl Target {
    /// The URL of the media at this endpoint.
    pub fn url(&self, endpoint: &Endpoint) -> String {
        endpoint.url(&[self.channel.as_str(), &self.id])
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.endpoint {
            Some(endpoint) => f.write_str(&self.url(endpoint)),
            None => write!(f, "{}/{}", self.channel, self.id),
        }
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text} is neither CHANNEL/ID nor the URL of a media");
        let is_url = text.contains("://");
        let path = if is_url { text.split(['?', '#']).next().unwrap_or_default() } else { text };
        let (rest, id) = path.rsplit_once('/').ok_or_else(wrong)?;
        let (endpoint, channel) = match is_url {
            true => rest
                .rsplit_once('/')
                .map(|(endpoint, channel)| (Some(endpoint), channel))
                .ok_or_else(wrong)?,
            false => (None, rest),
        };
        let decoded = |segment: &str| match is_url {
            true => percent_decode_str(segment).decode_utf8().map(Cow::into_owned).map_err(|_| wrong()),
            false => Ok(segment.to_owned()),
        };
        let (channel, id) = (decoded(channel)?, decoded(id)?);
        let is_id = |id: &str| {
            (1..=limits::CLIENT_ID_BYTES).contains(&id.len())
                && !matches!(id, "." | "..")
                && id.chars().all(|c| c.is_ascii_graphic() && c != '/')
        };
        let channel = channel.parse().map_err(|_| wrong())?;
        if !is_id(&id) {
            return Err(wrong());
        }
        Ok(Self { endpoint: endpoint.map(str::parse).transpose()?, channel, id })
    }
}

/// Checks that a URL can be requested: https, or http where that may lead.
pub fn check_url(url: &str, plain: PlainHttp) -> Result<(), String> {
    let uri: ureq::http::Uri = url.parse().map_err(|_| format!("{url} is not a URL"))?;
    let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| format!("{url} is not a URL"))?;
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(format!("{url} has a user name before its host"));
    }
    match uri.scheme_str() {
        Some("https") => Ok(()),
        Some("http") if is_loopback(host) => match plain {
            PlainHttp::Loopback => Ok(()),
            PlainHttp::Never => Err(format!("{url} is on this machine, but the server that names it is not")),
        },
        Some("http") => Err(format!("{url} is not https: anybody on the way could read and change it")),
        _ => Err(format!("{url} is not an https URL")),
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let address = bare.parse::<std::net::IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_media_is_named_by_its_path_or_its_url() {
        for (text, expected) in [
            ("room@example.com/abc", Some("room@example.com/abc")),
            ("room@example.com/avatar", Some("room@example.com/avatar")),
            (
                "https://m.example.com/room@example.com/abc",
                Some("https://m.example.com/room@example.com/abc"),
            ),
            (
                "https://m.example.com/a/b/room%40example.com/a%62c?x=1",
                Some("https://m.example.com/a/b/room@example.com/abc"),
            ),
            (
                "http://127.0.0.1:8080/room@example.com/abc",
                Some("http://127.0.0.1:8080/room@example.com/abc"),
            ),
            ("http://[::1]:80/room@example.com/abc", Some("http://[::1]:80/room@example.com/abc")),
            ("http://m.example.com/room@example.com/abc", None),
            ("ftp://m.example.com/room@example.com/abc", None),
            ("https://user@m.example.com/room@example.com/abc", None),
            ("https://m.example.com/abc", None),
            ("room@example.com", None),
            ("room@example.com/", None),
            ("room@example.com/..", None),
            ("https://m.example.com/room@example.com/..%2f..", None),
            ("https://m.example.com/room@example.com/a%0db", None),
            ("example.com/abc", None),
            ("room@example.com/a b", None),
            ("", None),
        ] {
            let target = text.parse::<Target>().ok().map(|target| target.to_string());
            assert_eq!(target.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn plain_http_is_for_loopback() {
        for (url, good) in [
            ("https://example.com", true),
            ("http://localhost:8080/x", true),
            ("http://127.9.9.9", true),
            ("http://127.0.0.1.example.com", false),
            ("http://128.0.0.1", false),
            ("http://localhost@example.com", false),
            ("//example.com", false),
            ("example.com", false),
        ] {
            assert_eq!(check_url(url, PlainHttp::Loopback).is_ok(), good, "{url}");
        }
        assert!("https://example.com/?x".parse::<Endpoint>().is_err());
    }

    #[test]
    fn a_server_elsewhere_leads_to_no_program_on_this_machine() {
        for (url, good) in [
            ("https://example.com", true),
            // Another program would need a certificate for this name.
            ("https://localhost", true),
            ("http://localhost:8500/v1/agent/leave", false),
            ("http://127.0.0.1:9200", false),
            ("http://[::1]", false),
            ("http://example.com", false),
        ] {
            assert_eq!(check_url(url, PlainHttp::Never).is_ok(), good, "{url}");
            assert_eq!(Endpoint::told(url, PlainHttp::Never).is_ok(), good, "{url}");
        }
    }

    #[test]
    fn segments_are_encoded() {
        let endpoint: Endpoint = "https://example.com/base/".parse().unwrap();
        assert_eq!(
            endpoint.url(&["room@example.com", "ä /?"]),
            "https://example.com/base/room@example.com/%C3%A4%20%2F%3F"
        );
    }
}
