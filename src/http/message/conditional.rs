//! Conditional requests (RFC 9110 section 13): validators, and whether a request is to be carried out.

use std::time::SystemTime;

use crate::clock::Timestamp;
use crate::model::Method;

/// The values by which a client recognises the representation that it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validators {
    etag: String,
    last_modified: SystemTime,
}

impl Validators {
    /// A strong entity tag with this text, which has no quote in it, and a date at whole seconds.
    pub fn new(tag: &str, last_modified: Timestamp) -> Self {
        Self { etag: format!("\"{tag}\""), last_modified: last_modified.to_http_seconds() }
    }

    /// The value of `ETag`.
    pub fn etag(&self) -> &str {
        &self.etag
    }

    /// The value of `Last-Modified`.
    pub fn last_modified(&self) -> String {
        httpdate::fmt_http_date(self.last_modified)
    }

    /// Whether `If-Range` names exactly this representation (RFC 9110 section 13.1.5).
    pub(in crate::http) fn is_named_by(&self, if_range: &str) -> bool {
        if_range.trim() == self.etag || date(if_range) == Some(self.last_modified)
    }
}

/// The result of the conditions of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Carry it out.
    Proceed,
    /// Respond with 304: the client has it already.
    NotModified,
    /// Respond with 412.
    PreconditionFailed,
}

/// Evaluates the conditions of a request in the order of RFC 9110 section 13.2.2, against a representation
/// that exists. `fields` gives the lines of a header; a list may have several. Invalid dates and invalid list elements are
/// ignored.
pub fn evaluate<'h>(
    validators: &Validators,
    fields: impl Fn(&str) -> Vec<&'h str>,
    method: Method,
) -> Outcome {
    let reads = matches!(method, Method::Get | Method::Head);
    let unmodified_since =
        |name| Some(validators.last_modified <= fields(name).first().copied().and_then(date)?);
    let named =
        |lists: &[&str], comparison| lists.iter().any(|list| matches(list, &validators.etag, comparison));
    let holds = match fields("If-Match").as_slice() {
        [] => unmodified_since("If-Unmodified-Since").unwrap_or(true),
        lists => named(lists, Comparison::Strong),
    };
    if !holds {
        return Outcome::PreconditionFailed;
    }
    let known = match fields("If-None-Match").as_slice() {
        [] => reads && unmodified_since("If-Modified-Since").unwrap_or(false),
        lists => named(lists, Comparison::Weak),
    };
    match (known, reads) {
        (false, _) => Outcome::Proceed,
        (true, true) => Outcome::NotModified,
        (true, false) => Outcome::PreconditionFailed,
    }
}

/// How entity tags are compared (RFC 9110 section 8.8.3.2).
#[derive(Clone, Copy, PartialEq)]
enum Comparison {
    Strong,
    Weak,
}

/// Whether the list is `*` or names this tag.
fn matches(list: &str, etag: &str, comparison: Comparison) -> bool {
    if list.trim() == "*" {
        return true;
    }
    let mut rest = list;
    loop {
        rest = rest.trim_start_matches([',', ' ', '\t']);
        if rest.is_empty() {
            return false;
        }
        let opaque = rest.strip_prefix("W/");
        let length = tag_length(opaque.unwrap_or(rest));
        let (element, behind) = opaque.unwrap_or(rest).split_at(length);
        let comparable = comparison == Comparison::Weak || opaque.is_none();
        let alone = behind.trim_start().is_empty() || behind.trim_start().starts_with(',');
        if comparable && alone && element == etag {
            return true;
        }
        rest = behind.find(',').map_or("", |comma| &behind[comma..]);
    }
}

/// Bytes of the quoted tag that `text` begins with; a comma may stand in it. 0 if there is none.
fn tag_length(text: &str) -> usize {
    let end = text.strip_prefix('"').and_then(|tag| tag.find('"'));
    end.map_or(0, |end| end + 2)
}

fn date(text: &str) -> Option<SystemTime> {
    httpdate::parse_http_date(text.trim()).ok()
}

#[cfg(test)]
mod tests {
    use super::Outcome::{NotModified, PreconditionFailed, Proceed};
    use super::*;

    const DATE: &str = "Thu, 23 Jan 2014 18:00:00 GMT";
    const BEFORE: &str = "Thu, 23 Jan 2014 17:59:59 GMT";
    const AFTER: &str = "Thu, 23 Jan 2014 18:00:01 GMT";

    fn validators() -> Validators {
        Validators::new("abc,d", Timestamp::from_micros(1_390_500_000_999_999))
    }

    fn outcome(method: Method, headers: &[(&str, &'static str)]) -> Outcome {
        let fields = |name: &str| {
            let named = headers.iter().filter(|(known, _)| *known == name);
            named.map(|(_, value)| *value).collect()
        };
        evaluate(&validators(), fields, method)
    }

    #[test]
    fn validators_are_shown() {
        assert_eq!(validators().etag(), "\"abc,d\"");
        assert_eq!(validators().last_modified(), DATE);
    }

    #[test]
    fn tags_are_compared_as_each_header_asks() {
        for (list, strong, weak) in [
            ("*", true, true),
            (" * ", true, true),
            ("\"abc,d\"", true, true),
            ("W/\"abc,d\"", false, true),
            ("\"x\", \"abc,d\"", true, true),
            (",,\t\"x\",W/\"y\" ,\"abc,d\" ,", true, true),
            ("garbage, \"abc,d\"", true, true),
            ("\"x\"y, \"abc,d\"", true, true),
            ("\"x\",W/\"abc,d\"", false, true),
            ("\"abc,d\"x", false, false),
            ("abc,d", false, false),
            ("\"abc", false, false),
            ("\"abc,d", false, false),
            ("w/\"abc,d\"", false, false),
            ("\"ABC,D\"", false, false),
            ("\"abc\",\"d\"", false, false),
            ("*, \"x\"", false, false),
            ("W/", false, false),
            ("é\"", false, false),
            ("", false, false),
        ] {
            let list: &'static str = list;
            let if_match = if strong { Proceed } else { PreconditionFailed };
            assert_eq!(outcome(Method::Post, &[("If-Match", list)]), if_match, "{list}");
            let if_none_match = if weak { NotModified } else { Proceed };
            assert_eq!(outcome(Method::Get, &[("If-None-Match", list)]), if_none_match, "{list}");
            let if_none_match = if weak { PreconditionFailed } else { Proceed };
            assert_eq!(outcome(Method::Put, &[("If-None-Match", list)]), if_none_match, "{list}");
        }
    }

    #[test]
    fn dates_are_compared_at_whole_seconds() {
        for (date, unmodified, modified) in [
            (BEFORE, PreconditionFailed, Proceed),
            (DATE, Proceed, NotModified),
            (AFTER, Proceed, NotModified),
            ("Thursday, 23-Jan-14 18:00:00 GMT", Proceed, NotModified),
            ("Thu Jan 23 18:00:00 2014", Proceed, NotModified),
            ("yesterday", Proceed, Proceed),
            ("", Proceed, Proceed),
        ] {
            assert_eq!(outcome(Method::Get, &[("If-Unmodified-Since", date)]), unmodified, "{date}");
            assert_eq!(outcome(Method::Delete, &[("If-Unmodified-Since", date)]), unmodified, "{date}");
            assert_eq!(outcome(Method::Head, &[("If-Modified-Since", date)]), modified, "{date}");
            assert_eq!(outcome(Method::Post, &[("If-Modified-Since", date)]), Proceed, "{date}");
        }
    }

    #[test]
    fn tags_outrank_dates() {
        let get = |headers: &[(&str, &'static str)]| outcome(Method::Get, headers);
        assert_eq!(get(&[]), Proceed);
        assert_eq!(get(&[("If-Match", "\"abc,d\""), ("If-Unmodified-Since", BEFORE)]), Proceed);
        assert_eq!(get(&[("If-Match", "\"x\""), ("If-Unmodified-Since", AFTER)]), PreconditionFailed);
        assert_eq!(get(&[("If-None-Match", "\"x\""), ("If-Modified-Since", AFTER)]), Proceed);
        assert_eq!(get(&[("If-None-Match", "\"abc,d\""), ("If-Modified-Since", BEFORE)]), NotModified);
        assert_eq!(get(&[("If-Match", "\"x\""), ("If-None-Match", "\"abc,d\"")]), PreconditionFailed);
        assert_eq!(get(&[("If-Match", "*"), ("If-None-Match", "*")]), NotModified);
    }

    #[test]
    fn a_list_may_have_several_lines() {
        let get = |headers: &[(&str, &'static str)]| outcome(Method::Get, headers);
        assert_eq!(get(&[("If-None-Match", "\"x\""), ("If-None-Match", "\"abc,d\"")]), NotModified);
        assert_eq!(get(&[("If-Match", "\"x\""), ("If-Match", "\"abc,d\"")]), Proceed);
        assert_eq!(get(&[("If-Match", "\"x\""), ("If-Match", "\"y\"")]), PreconditionFailed);
    }
}
