//! Cross-origin requests (Fetch standard, CORS protocol): which headers a response carries for them.

use std::borrow::Cow;

/// A response header.
pub type Header = (&'static str, Cow<'static, str>);

/// Which origins may read responses; built from a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cors {
    /// None: no headers are sent.
    Off,
    /// Every origin.
    Any,
    /// These, as browsers write them: `https://example.com`.
    Listed(Vec<String>),
}

impl Cors {
    /// Reads a list of origins. A list with `*` stands for all origins, an empty list for none.
    pub fn new(origins: Vec<String>) -> Self {
        if origins.is_empty() {
            Self::Off
        } else if origins.iter().any(|origin| origin == "*") {
            Self::Any
        } else {
            Self::Listed(origins)
        }
    }

    /// The headers of a response to OPTIONS; `origin` is the request's `Origin`. Values as in the original.
    pub fn preflight(&self, origin: Option<&str>) -> Vec<Header> {
        const ALLOWED: [(&str, &str); 3] = [
            ("Access-Control-Allow-Methods", "GET, POST, PUT, DELETE"),
            (
                "Access-Control-Allow-Headers",
                "Authorization, Content-Type, X-Requested-With, XMLHttpRequest-specific",
            ),
            ("Access-Control-Max-Age", "86400"),
        ];
        self.with(origin, &ALLOWED)
    }

    /// The headers of every other response. Refusals have them, too, so that a page can read them.
    pub fn answer(&self, origin: Option<&str>) -> Vec<Header> {
        const EXPOSED: (&str, &str) = (
            "Access-Control-Expose-Headers",
            "ETag, Location, Link, Content-Range, Content-Disposition, Retry-After",
        );
        self.with(origin, &[EXPOSED])
    }

    /// Whether this origin is named, and not only let in with all others.
    pub fn names(&self, origin: &str) -> bool {
        matches!(self, Self::Listed(_)) && self.allowed(Some(origin)).is_some()
    }

    fn with(&self, origin: Option<&str>, more: &[(&'static str, &'static str)]) -> Vec<Header> {
        if *self == Self::Off {
            return Vec::new();
        }
        // Also if the origin is not allowed: the response to another origin would differ.
        let mut headers = vec![("Vary", "Origin".into())];
        let Some(allowed) = self.allowed(origin) else { return headers };
        // Browsers refuse `*` together with credentials, and so do we. Any origin may be named, as in the original. No page
        // can act for its visitor by that: a ticket's cookie comes with requests of the same site alone, of which the web
        // layer takes those of named origins, and a page must know any other credentials that it sends. Credentials that
        // a browser remembers from its own log-in only make us ask the user about exactly that method and address.
        if allowed != "*" {
            headers.push(("Access-Control-Allow-Credentials", "true".into()));
        }
        headers.push(("Access-Control-Allow-Origin", allowed.to_owned().into()));
        headers.extend(more.iter().map(|(name, value)| (*name, Cow::Borrowed(*value))));
        headers
    }

    /// The origin that is allowed, or `*`. Every page can have the origin `null`, so it is never allowed by its name.
    fn allowed<'o>(&self, origin: Option<&'o str>) -> Option<&'o str> {
        let named = origin.filter(|origin| !origin.eq_ignore_ascii_case("null"));
        match self {
            Self::Off => None,
            Self::Any => Some(named.unwrap_or("*")),
            Self::Listed(origins) => {
                named.filter(|origin| origins.iter().any(|known| known.eq_ignore_ascii_case(origin)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: Option<&str> = Some("https://example.com");

    fn cors(origins: &[&str]) -> Cors {
        Cors::new(origins.iter().map(|origin| (*origin).to_owned()).collect())
    }

    fn value<'h>(headers: &'h [Header], name: &str) -> Option<&'h str> {
        headers.iter().find(|(known, _)| *known == name).map(|(_, value)| &**value)
    }

    /// Allowed origin and credentials, on both kinds of response.
    fn allowed(cors: &Cors, origin: Option<&str>) -> (Option<String>, bool) {
        let read = |headers: &[Header]| {
            let origin = value(headers, "Access-Control-Allow-Origin").map(str::to_owned);
            (origin, value(headers, "Access-Control-Allow-Credentials") == Some("true"))
        };
        let answer = read(&cors.answer(origin));
        assert_eq!(answer, read(&cors.preflight(origin)));
        answer
    }

    #[test]
    fn a_preflight_response_is_as_in_the_original() {
        let headers = cors(&["*"]).preflight(PAGE);
        for (name, expected) in [
            ("Access-Control-Allow-Origin", "https://example.com"),
            ("Access-Control-Allow-Methods", "GET, POST, PUT, DELETE"),
            (
                "Access-Control-Allow-Headers",
                "Authorization, Content-Type, X-Requested-With, XMLHttpRequest-specific",
            ),
            ("Access-Control-Allow-Credentials", "true"),
            ("Access-Control-Max-Age", "86400"),
            ("Vary", "Origin"),
        ] {
            assert_eq!(value(&headers, name), Some(expected));
        }
    }

    #[test]
    fn credentials_are_never_allowed_to_everyone() {
        assert_eq!(allowed(&cors(&["*"]), PAGE), (Some("https://example.com".to_owned()), true));
        for origin in [None, Some("*"), Some("null"), Some("NULL")] {
            assert_eq!(allowed(&cors(&["*"]), origin), (Some("*".to_owned()), false));
        }
    }

    #[test]
    fn only_listed_origins_are_let_in() {
        let listed = cors(&["https://other.example", "https://Example.com", "null"]);
        assert_eq!(allowed(&listed, PAGE), (Some("https://example.com".to_owned()), true));
        for origin in [
            None,
            Some("null"),
            Some("nuLl"),
            Some("*"),
            Some(""),
            Some("http://example.com"),
            Some("https://example.com:8443"),
            Some("https://example.com.evil.example"),
        ] {
            assert_eq!(allowed(&listed, origin), (None, false), "{origin:?}");
            assert_eq!(listed.answer(origin), [("Vary", "Origin".into())]);
        }
    }

    #[test]
    fn an_origin_is_named_only_by_itself() {
        let listed = cors(&["https://Example.com", "null"]);
        assert!(listed.names("https://example.com"));
        for origin in ["null", "", "https://other.example", "https://example.com.evil.example"] {
            assert!(!listed.names(origin), "{origin}");
        }
        assert!(!cors(&["*"]).names("https://example.com") && !cors(&[]).names("https://example.com"));
    }

    #[test]
    fn responses_expose_the_headers_that_pages_need() {
        let headers = cors(&["*"]).answer(None);
        let exposed = value(&headers, "Access-Control-Expose-Headers").unwrap();
        for name in ["ETag", "Location", "Link", "Content-Range", "Content-Disposition", "Retry-After"] {
            assert!(exposed.split(", ").any(|known| known == name), "{name}");
        }
        assert_eq!(value(&headers, "Access-Control-Max-Age"), None);
    }

    #[test]
    fn an_empty_setting_turns_it_off() {
        assert!(cors(&[]).preflight(PAGE).is_empty() && cors(&[]).answer(PAGE).is_empty());
    }
}
