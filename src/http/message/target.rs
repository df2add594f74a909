//! The parts of a request target: segments of its path, parameters of its query.

use std::net::IpAddr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::fields;
use crate::model::Refusal;

/// The parts of a request target (RFC 9112 section 3.2).
pub(in crate::http) struct Target<'a> {
    pub authority: Option<&'a str>,
    pub path: &'a str,
    pub query: Option<&'a str>,
}

/// Takes a request target apart.
pub(in crate::http) fn parse<'a>(method: &str, text: &'a str) -> Result<Target<'a>, Refusal> {
    // Clients never send a fragment; and only ASCII may go into logs and into the addresses that users are shown.
    if !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return Err(Refusal::MalformedRequest);
    }
    if text == "*" && method == "OPTIONS" {
        return Ok(Target { authority: None, path: text, query: None });
    }
    let (authority, local) = match after_scheme(text) {
        Some(rest) => {
            let (authority, local) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
            (Some(authority), local)
        }
        None => (None, text),
    };
    let (path, query) = match local.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (local, None),
    };
    let rooted = path.starts_with('/') || (authority.is_some() && path.is_empty());
    if !rooted || authority.is_some_and(|authority| !fields::is_authority(authority.as_bytes())) {
        return Err(Refusal::MalformedRequest);
    }
    Ok(Target { authority, path, query })
}

fn after_scheme(target: &str) -> Option<&str> {
    ["http://", "https://"].iter().find_map(|scheme| {
        let head = target.get(..scheme.len())?;
        head.eq_ignore_ascii_case(scheme).then(|| &target[scheme.len()..])
    })
}

/// The segments of a raw path, each percent-decoded once. A decoded `/` stays within its segment; empty
/// segments stay empty, so that `/a/` has two.
pub fn segments(path: &str) -> Result<Vec<String>, Refusal> {
    path.strip_prefix('/').unwrap_or(path).split('/').map(decode).collect()
}

/// The value of the first parameter of this name in a raw query; empty if it has no `=`. A `+` is a space.
/// Invalid percent-encoding stays as it is, and invalid UTF-8 is replaced (U+FFFD).
pub fn parameter(query: Option<&str>, name: &str) -> Option<String> {
    let pairs = query?.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.filter(|(key, _)| decode_leniently(key) == name).map(|(_, value)| decode_leniently(value)).next()
}

/// A text as one segment of a path: characters that RFC 3986 does not allow there are percent-encoded.
pub fn segment(text: &str) -> String {
    const ALLOWED: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~')
        .remove(b'!')
        .remove(b'$')
        .remove(b'\'')
        .remove(b'(')
        .remove(b')')
        .remove(b'*')
        .remove(b'+')
        .remove(b',')
        .remove(b';')
        .remove(b'=')
        .remove(b':')
        .remove(b'@');
    utf8_percent_encode(text, ALLOWED).to_string()
}

/// Whether a URL leads to this machine: to `localhost` or a loopback address.
pub fn is_loopback(url: &str) -> bool {
    let authority = url.split_once("://").and_then(|(_, rest)| rest.split('/').next()).unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next(),
        None => authority.split(':').next(),
    };
    let host = host.unwrap_or_default();
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

fn decode(segment: &str) -> Result<String, Refusal> {
    let mut escapes = segment.split('%').skip(1);
    let valid = |escape: &str| escape.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
    if !escapes.all(valid) {
        return Err(Refusal::BadPath);
    }
    let decoded = percent_decode_str(segment).decode_utf8().map_err(|_| Refusal::BadPath)?;
    Ok(decoded.into_owned())
}

fn decode_leniently(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_segments_decode_to_the_same_text() {
        assert_eq!(segment("é.ö@bücher.example/#?%"), "%C3%A9.%C3%B6@b%C3%BCcher.example%2F%23%3F%25");
        for text in ["room@example.com", "é/..@x", "a b+c&d"] {
            assert_eq!(segments(&format!("/{}", segment(text))).unwrap(), [text]);
        }
    }

    #[test]
    fn urls_of_this_machine_are_known() {
        for (url, expected) in [
            ("http://localhost", true),
            ("http://localhost:8080/media", true),
            ("http://127.0.0.1:1", true),
            ("https://[::1]:8443/x", true),
            ("http://127.0.0.1.example.com", false),
            ("http://localhost.example.com", false),
            ("http://[::2]", false),
            ("http://media.example.com/127.0.0.1", false),
            ("http://", false),
            ("localhost", false),
        ] {
            assert_eq!(is_loopback(url), expected, "{url}");
        }
    }

    #[test]
    fn paths_are_decoded_once() {
        for (path, expected) in [
            ("/", vec![""]),
            ("", vec![""]),
            ("*", vec!["*"]),
            ("/user@example.com/avatar", vec!["user@example.com", "avatar"]),
            ("/user%40example.com", vec!["user@example.com"]),
            ("/a/", vec!["a", ""]),
            ("//a", vec!["", "a"]),
            ("/a%2Fb%2f..", vec!["a/b/.."]),
            ("/a%252Fb", vec!["a%2Fb"]),
            ("/a+b/%2e%2E", vec!["a+b", ".."]),
            ("/%C3%A9%00é", vec!["é\0é"]),
        ] {
            let expected = Ok(expected.into_iter().map(str::to_owned).collect());
            assert_eq!(segments(path), expected, "{path}");
        }
    }

    #[test]
    fn bad_escapes_in_a_path_are_refused() {
        for path in
            ["/%", "/a%4", "/%zz", "/%4g", "/%%41", "/%C3", "/%FF", "/a%/41", "/%+1", "/%é", "/%ED%A0%80"]
        {
            assert_eq!(segments(path), Err(Refusal::BadPath), "{path}");
        }
    }

    #[test]
    fn the_first_parameter_of_a_name_counts() {
        let query = "auth=a%2Bb+c&max=1&max=2&empty=&bare&%61fter=x%zz%&bad=%ff&_=14";
        let get = |name| parameter(Some(query), name);
        assert_eq!(get("auth").as_deref(), Some("a+b c"));
        assert_eq!(get("max").as_deref(), Some("1"));
        assert_eq!(get("empty").as_deref(), Some(""));
        assert_eq!(get("bare").as_deref(), Some(""));
        assert_eq!(get("after").as_deref(), Some("x%zz%"));
        assert_eq!(get("bad").as_deref(), Some("\u{FFFD}"));
        assert_eq!(get("Max"), None);
        assert_eq!(parameter(None, "max"), None);
        assert_eq!(parameter(Some(""), "max"), None);
        assert_eq!(parameter(Some("a=b=c&&"), "a").as_deref(), Some("b=c"));
    }
}
