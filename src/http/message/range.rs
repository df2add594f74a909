//! Range requests (RFC 9110 section 14): one range of bytes.

use std::ops::Range;

use super::conditional::Validators;
use crate::model::Method;

/// Which part of a representation a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All of it: 200.
    Whole,
    /// These bytes, at least one: 206.
    Part(Range<u64>),
    /// No bytes of the representation: 416.
    Unsatisfiable,
}

/// Selects the part of a representation of `size` bytes that `Range` and `If-Range` ask for. A field that is
/// not one valid range of bytes is ignored, and so is every range of a method other than GET (section 14.2).
pub fn evaluate<'h>(
    validators: &Validators,
    header: impl Fn(&str) -> Option<&'h str>,
    method: Method,
    size: u64,
) -> Outcome {
    let range = header("Range").filter(|_| method == Method::Get).and_then(parse);
    let current = header("If-Range").is_none_or(|if_range| validators.is_named_by(if_range));
    match range {
        Some(range) if current => range.within(size),
        _ => Outcome::Whole,
    }
}

/// The value of `Content-Range` for a part, which must not be empty.
pub fn content_range(part: &Range<u64>, size: u64) -> String {
    format!("bytes {}-{}/{size}", part.start, part.end.saturating_sub(1))
}

/// The value of `Content-Range` in a 416.
pub fn unsatisfied_range(size: u64) -> String {
    format!("bytes */{size}")
}

/// A valid range; positions beyond `u64` count as its largest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spec {
    From(u64),
    FromTo(u64, u64),
    Last(u64),
}

impl Spec {
    fn within(self, size: u64) -> Outcome {
        let part = match self {
            Self::From(first) => first..size,
            Self::FromTo(first, last) => first..size.min(last.saturating_add(1)),
            Self::Last(0) => return Outcome::Unsatisfiable,
            // Satisfiable, but Content-Range cannot describe an empty part.
            Self::Last(_) if size == 0 => return Outcome::Whole,
            Self::Last(count) => size.saturating_sub(count)..size,
        };
        if part.is_empty() { Outcome::Unsatisfiable } else { Outcome::Part(part) }
    }
}

fn parse(field: &str) -> Option<Spec> {
    let (unit, set) = field.trim().split_once('=')?;
    // A list may have empty elements (RFC 9110 section 5.6.1).
    let mut ranges =
        set.split(',').map(|range| range.trim_matches([' ', '\t'])).filter(|range| !range.is_empty());
    let (range, None) = (ranges.next()?, ranges.next()) else { return None };
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    match range.split_once('-')? {
        ("", count) => Some(Spec::Last(number(count)?)),
        (first, "") => Some(Spec::From(number(first)?)),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(Spec::FromTo(first, last))
        }
    }
}

fn number(digits: &str) -> Option<u64> {
    let valid = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    // All characters are digits, so parsing fails only if the number is too large.
    valid.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::Outcome::{Part, Unsatisfiable, Whole};
    use super::*;
    use crate::clock::Timestamp;

    fn outcome(
        method: Method,
        range: Option<&'static str>,
        if_range: Option<&'static str>,
        size: u64,
    ) -> Outcome {
        let validators = Validators::new("abc", Timestamp::from_micros(1_390_500_000_999_999));
        let header = |name: &str| match name {
            "Range" => range,
            "If-Range" => if_range,
            _ => None,
        };
        evaluate(&validators, header, method, size)
    }

    #[test]
    fn one_range_is_selected() {
        for (range, expected) in [
            ("bytes=0-0", Part(0..1)),
            ("bytes=0-", Part(0..10)),
            ("bytes=3-5", Part(3..6)),
            ("bytes=9-", Part(9..10)),
            ("bytes=9-9", Part(9..10)),
            ("bytes=5-99", Part(5..10)),
            ("bytes=-1", Part(9..10)),
            ("bytes=-10", Part(0..10)),
            ("bytes=-11", Part(0..10)),
            ("BYTES=0-1", Part(0..2)),
            (" bytes=0-1 ", Part(0..2)),
            ("bytes= 0-1 ,", Part(0..2)),
            ("bytes=,\t0-1", Part(0..2)),
            ("bytes=0-18446744073709551615", Part(0..10)),
            ("bytes=0-99999999999999999999999", Part(0..10)),
            ("bytes=-99999999999999999999999", Part(0..10)),
            ("bytes=000000000000000000000000001-1", Part(1..2)),
            ("bytes=10-", Unsatisfiable),
            ("bytes=10-10", Unsatisfiable),
            ("bytes=18446744073709551615-", Unsatisfiable),
            ("bytes=99999999999999999999999-99999999999999999999999", Unsatisfiable),
            ("bytes=-0", Unsatisfiable),
        ] {
            assert_eq!(outcome(Method::Get, Some(range), None, 10), expected, "{range}");
        }
    }

    #[test]
    fn anything_but_one_byte_range_is_ignored() {
        for range in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=,",
            "bytes=5-3",
            "bytes=a-b",
            "bytes=1",
            "bytes=+1-2",
            "bytes=1-+2",
            "bytes=--1",
            "bytes=1-2-3",
            "bytes=0-1,3-4",
            "bytes=0-1,0-1",
            "bytes=0 - 1",
            "bytes =0-1",
            "items=0-1",
            "bytes:0-1",
            "bytes=0x1-2",
            "bytes=1.0-2",
            "bytes=٣-",
        ] {
            assert_eq!(outcome(Method::Get, Some(range), None, 10), Whole, "{range}");
        }
        assert_eq!(outcome(Method::Get, None, None, 10), Whole);
        for method in [Method::Head, Method::Post] {
            assert_eq!(outcome(method, Some("bytes=0-1"), None, 10), Whole);
        }
    }

    #[test]
    fn an_empty_file_has_no_ranges() {
        for (range, expected) in [
            ("bytes=0-", Unsatisfiable),
            ("bytes=0-0", Unsatisfiable),
            ("bytes=-0", Unsatisfiable),
            ("bytes=-1", Whole),
        ] {
            assert_eq!(outcome(Method::Get, Some(range), None, 0), expected, "{range}");
        }
    }

    #[test]
    fn the_largest_file_has_a_last_byte() {
        let last = u64::MAX - 1..u64::MAX;
        assert_eq!(outcome(Method::Get, Some("bytes=-1"), None, u64::MAX), Part(last.clone()));
        assert_eq!(outcome(Method::Get, Some("bytes=18446744073709551614-"), None, u64::MAX), Part(last));
    }

    #[test]
    fn if_range_must_match_the_current_representation() {
        for (if_range, honoured) in [
            ("\"abc\"", true),
            (" \"abc\" ", true),
            ("W/\"abc\"", false),
            ("\"x\"", false),
            ("abc", false),
            ("*", false),
            ("", false),
            ("Thu, 23 Jan 2014 18:00:00 GMT", true),
            ("Thu, 23 Jan 2014 17:59:59 GMT", false),
            ("Thu, 23 Jan 2014 18:00:01 GMT", false),
        ] {
            let expected = if honoured { Part(0..2) } else { Whole };
            assert_eq!(outcome(Method::Get, Some("bytes=0-1"), Some(if_range), 10), expected, "{if_range}");
            let expected = if honoured { Unsatisfiable } else { Whole };
            assert_eq!(outcome(Method::Get, Some("bytes=10-"), Some(if_range), 10), expected, "{if_range}");
        }
    }

    #[test]
    fn content_ranges_are_written() {
        assert_eq!(content_range(&(3..6), 10), "bytes 3-5/10");
        assert_eq!(unsatisfied_range(0), "bytes */0");
    }
}
