//! The headers of responses with users' files: shown or saved, under which name, and kept from doing harm.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::file_name::file_name as cleaned;
use crate::media_type;

/// The characters that need no encoding in an extended value (RFC 8187 section 3.2.1).
const EXTENDED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// The value of `Content-Disposition` (RFC 6266) for a file of this type and name: shown only if the type
/// is safe to show.
pub fn content_disposition(mime_type: &str, file_name: Option<&str>) -> String {
    let kind = if media_type::is_inline_safe(mime_type) { "inline" } else { "attachment" };
    let Some(name) = file_name.and_then(cleaned) else { return kind.to_owned() };
    let plain: String = name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    if plain == name {
        return format!("{kind}; filename=\"{plain}\"");
    }
    let extended = utf8_percent_encode(&name, EXTENDED);
    format!("{kind}; filename=\"{plain}\"; filename*=UTF-8''{extended}")
}

/// Whether all browsers read this character alike in a quoted string (RFC 6266 appendix D). A cleaned name has no
/// backslash.
fn is_plain(c: char) -> bool {
    (c == ' ' || c.is_ascii_graphic()) && !matches!(c, '"' | '%')
}

/// Headers of every response with a user's file, so that the file cannot act as a page: the browser does not guess
/// another type, runs no scripts, loads nothing, and sends no referrer.
pub fn safety_headers(mime_type: &str) -> [(&'static str, &'static str); 4] {
    [
        ("X-Content-Type-Options", "nosniff"),
        ("Content-Security-Policy", content_security_policy(mime_type)),
        ("Referrer-Policy", "no-referrer"),
        ("Cross-Origin-Resource-Policy", "cross-origin"),
    ]
}

/// Browsers wrap a picture, a film or a PDF in a document of their own, which needs some style and the file
/// itself. Chromium's PDF viewer is a plug-in that does not start in a sandbox.
fn content_security_policy(mime_type: &str) -> &'static str {
    if media_type::essence(mime_type) == "application/pdf" {
        "default-src 'none'; object-src 'self'; style-src 'unsafe-inline'; frame-ancestors 'none'"
    } else {
        "sandbox; default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; \
         frame-ancestors 'none'"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_for_old_and_new_readers() {
        for (name, expected) in [
            (None, "inline"),
            (Some("a b;c='d'.png"), "inline; filename=\"a b;c='d'.png\""),
            (Some("é.png"), "inline; filename=\"_.png\"; filename*=UTF-8''%C3%A9.png"),
            (Some("50% \"x\".png"), "inline; filename=\"50_ _x_.png\"; filename*=UTF-8''50%25%20%22x%22.png"),
            (Some("a'(b)*.png"), "inline; filename=\"a'(b)*.png\""),
            (Some("é'(b)*.png"), "inline; filename=\"_'(b)*.png\"; filename*=UTF-8''%C3%A9%27%28b%29%2A.png"),
            (Some("../../x.png"), "inline; filename=\"x.png\""),
            (Some("x\r\nSet-Cookie: a=b\0.png"), "inline; filename=\"xSet-Cookie: a=b.png\""),
            (Some("\r\n"), "inline"),
            (Some(".."), "inline"),
            (Some(r"\"), "inline"),
        ] {
            assert_eq!(content_disposition("image/png", name), expected, "{name:?}");
        }
        assert_eq!(content_disposition("text/html", Some("a.html")), "attachment; filename=\"a.html\"");
        assert_eq!(content_disposition("garbage", None), "attachment");
    }

    #[test]
    fn no_name_breaks_out_of_its_quotes() {
        for c in '\0'..='\u{2100}' {
            let value = content_disposition("image/png", Some(&format!("a{c}b")));
            assert!(value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()), "{c:?}: {value}");
            assert_eq!(value.matches('"').count(), 2, "{c:?}: {value}");
            assert!(!value.contains('\\'), "{c:?}: {value}");
        }
    }

    #[test]
    fn files_have_headers_that_keep_them_from_acting() {
        for (mime_type, sandboxed) in [
            ("text/html", true),
            ("image/svg+xml", true),
            ("image/png", true),
            ("garbage", true),
            ("Application/PDF; x=y", false),
        ] {
            let headers = safety_headers(mime_type);
            let value = |wanted| headers.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value);
            let policy = value("Content-Security-Policy").unwrap();
            assert_eq!(policy.contains("sandbox"), sandboxed, "{mime_type}");
            assert!(policy.contains("default-src 'none'") && !policy.contains("script-src"), "{mime_type}");
            assert_eq!(value("X-Content-Type-Options"), Some("nosniff"));
            assert_eq!(value("Referrer-Policy"), Some("no-referrer"));
        }
    }
}
