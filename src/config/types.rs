//! The types of settings: the syntax of a value, its parsed form and its range.

use std::fmt::Display;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::{Database, units};
use crate::limits;
use crate::model::BareJid;
use crate::secret::Secret;
use crate::xmpp::Security;

/// The type of a setting's values.
pub(super) trait ValueType {
    /// The type of the parsed value.
    type Value: PartialEq;

    /// Parses a text without blanks around it. The error is a phrase that shows nothing but numbers of the text.
    fn parse(&self, text: &str) -> Result<Self::Value, String>;

    /// The type with its range, in words for the manual and for errors.
    fn describe(&self) -> String;

    /// Whether an empty value counts as a value; otherwise the key counts as not set.
    fn accepts_empty(&self) -> bool {
        false
    }
}

/// The words of `xmpp.connection.securitymode`.
pub(super) const SECURITY: &[(&str, Security)] =
    &[("disabled", Security::Disabled), ("enabled", Security::Enabled), ("required", Security::Required)];

/// Formats of key files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeystoreFormat {
    /// The only supported type.
    Pkcs12,
    /// The original server's. It is accepted as a word, so that advice can be given where HTTPS is enabled.
    Jks,
}

/// A whole number in decimal digits.
pub(super) struct Number<T> {
    pub(super) min: T,
    pub(super) max: T,
}

impl<T: FromStr + PartialOrd + Display + Copy> ValueType for Number<T> {
    type Value = T;

    fn parse(&self, text: &str) -> Result<T, String> {
        // `parse` alone would take a sign.
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|number| digits && (self.min..=self.max).contains(number));
        number.ok_or_else(|| format!("{} is not a {}", shown(text), self.describe()))
    }

    fn describe(&self) -> String {
        format!("number from {} to {}", self.min, self.max)
    }
}

/// A number of bytes, with or without a unit.
pub(super) struct Size<T> {
    pub(super) min: T,
    pub(super) max: T,
}

impl<T: TryFrom<u64> + TryInto<u64> + PartialOrd + Copy> ValueType for Size<T> {
    type Value = T;

    fn parse(&self, text: &str) -> Result<T, String> {
        let size = units::size(text).and_then(|bytes| T::try_from(bytes).ok());
        let size = size.filter(|size| (self.min..=self.max).contains(size));
        size.ok_or_else(|| {
            format!("{} is not a {}, such as 100M (plain numbers are bytes)", shown(text), self.range())
        })
    }

    fn describe(&self) -> String {
        format!("{}; plain numbers are bytes", self.range())
    }
}

impl<T: TryInto<u64> + Copy> Size<T> {
    fn range(&self) -> String {
        let shown = |bytes: T| bytes.try_into().map_or_else(|_| String::new(), units::show_size);
        format!("size from {} to {}", shown(self.min), shown(self.max))
    }
}

/// A time in whole milliseconds, with or without a unit.
pub(super) struct Time {
    min: Duration,
    max: Duration,
    /// The unit of a plain number, and its name.
    plain: Duration,
    name: &'static str,
}

impl Time {
    /// A time whose plain numbers are seconds, as the limits are.
    pub(super) const fn seconds(min: u64, max: u64) -> Self {
        let (min, max) = (Duration::from_secs(min), Duration::from_secs(max));
        Self { min, max, plain: Duration::from_secs(1), name: "seconds" }
    }

    /// A time whose plain numbers are milliseconds, as the limits are.
    pub(super) const fn milliseconds(min: u64, max: u64) -> Self {
        let (min, max) = (Duration::from_millis(min), Duration::from_millis(max));
        Self { min, max, plain: Duration::from_millis(1), name: "milliseconds" }
    }

    fn range(&self) -> String {
        format!("time from {} to {}", units::show_time(self.min), units::show_time(self.max))
    }
}

impl ValueType for Time {
    type Value = Duration;

    fn parse(&self, text: &str) -> Result<Duration, String> {
        let time = units::time(text, self.plain).filter(|time| (self.min..=self.max).contains(time));
        time.ok_or_else(|| {
            let Self { name, .. } = self;
            format!("{} is not a {}, such as 30s (plain numbers are {name})", shown(text), self.range())
        })
    }

    fn describe(&self) -> String {
        format!("{}; plain numbers are {}", self.range(), self.name)
    }
}

/// A value as an error shows it, if it looks like a number. Anything else could be a password in the wrong line.
fn shown(text: &str) -> String {
    const LONGEST: usize = 24;
    let number = text.trim_start_matches(['-', '+', '.']).starts_with(|c: char| c.is_ascii_digit());
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b" .,_+-".contains(&byte));
    if number && plain && text.len() <= LONGEST { format!("{text:?}") } else { "the value".to_owned() }
}

/// One of several words, in any case.
pub(super) struct Choice<T: 'static>(pub(super) &'static [(&'static str, T)]);

impl<T: Copy + PartialEq> ValueType for Choice<T> {
    type Value = T;

    fn parse(&self, text: &str) -> Result<T, String> {
        let chosen = self.0.iter().find(|(word, _)| word.eq_ignore_ascii_case(text));
        chosen.map(|(_, value)| *value).ok_or_else(|| format!("not {}", self.describe()))
    }

    fn describe(&self) -> String {
        let words: Vec<_> = self.0.iter().map(|(word, _)| *word).collect();
        match words.split_last() {
            Some((last, [])) => (*last).to_owned(),
            Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
            None => String::new(),
        }
    }
}

/// True or false.
pub(super) struct Boolean;

impl ValueType for Boolean {
    type Value = bool;

    fn parse(&self, text: &str) -> Result<bool, String> {
        match text.to_ascii_lowercase().as_str() {
            "true" | "on" | "yes" => Ok(true),
            "false" | "off" | "no" => Ok(false),
            _ => Err(format!("not {}", self.describe())),
        }
    }

    fn describe(&self) -> String {
        "true or false".to_owned()
    }
}

/// A format of key files.
pub(super) struct KeystoreType;

impl ValueType for KeystoreType {
    type Value = KeystoreFormat;

    fn parse(&self, text: &str) -> Result<KeystoreFormat, String> {
        match text.to_ascii_uppercase().as_str() {
            "PKCS12" => Ok(KeystoreFormat::Pkcs12),
            // COMPAT: "JSK" stands in configurations of the original.
            "JKS" | "JSK" => Ok(KeystoreFormat::Jks),
            _ => Err(format!("not {}", self.describe())),
        }
    }

    fn describe(&self) -> String {
        "PKCS12".to_owned()
    }
}

/// A text in one line.
pub(super) struct Text;

impl ValueType for Text {
    type Value = String;

    fn parse(&self, text: &str) -> Result<String, String> {
        if text.contains(char::is_control) {
            return Err("a text with control characters".to_owned());
        }
        Ok(text.to_owned())
    }

    fn describe(&self) -> String {
        "text".to_owned()
    }
}

/// A password.
pub(super) struct Password;

impl ValueType for Password {
    type Value = Secret;

    fn parse(&self, text: &str) -> Result<Secret, String> {
        Ok(Secret::new(text))
    }

    fn describe(&self) -> String {
        "text".to_owned()
    }
}

/// A secret that signs what goes over the net, so it must be long.
pub(super) struct LongSecret {
    /// Bytes.
    pub(super) min: usize,
}

impl ValueType for LongSecret {
    type Value = Secret;

    fn parse(&self, text: &str) -> Result<Secret, String> {
        if text.len() < self.min { Err(format!("not a {}", self.describe())) } else { Ok(Secret::new(text)) }
    }

    fn describe(&self) -> String {
        format!("text of at least {} bytes", self.min)
    }

    /// An empty secret is refused: everybody knows it.
    fn accepts_empty(&self) -> bool {
        true
    }
}

/// A value that may be left out, but not be empty.
pub(super) struct NotEmpty<T>(pub(super) T);

impl<T: ValueType> ValueType for NotEmpty<T> {
    type Value = T::Value;

    fn parse(&self, text: &str) -> Result<T::Value, String> {
        self.0.parse(text)
    }

    fn describe(&self) -> String {
        self.0.describe()
    }

    fn accepts_empty(&self) -> bool {
        true
    }
}

/// A path in the file system.
pub(super) struct FilePath;

impl ValueType for FilePath {
    type Value = PathBuf;

    fn parse(&self, text: &str) -> Result<PathBuf, String> {
        if text.contains('\0') { Err("a path with a NUL".to_owned()) } else { Ok(text.into()) }
    }

    fn describe(&self) -> String {
        "path".to_owned()
    }
}

/// The name of a node.
pub(super) struct NodeName;

impl ValueType for NodeName {
    type Value = String;

    fn parse(&self, text: &str) -> Result<String, String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
        let is_name = !text.is_empty() && text.len() <= limits::NODE_NAME_CHARS && text.chars().all(plain);
        if is_name { Ok(text.to_owned()) } else { Err(format!("not a {}", self.describe())) }
    }

    fn describe(&self) -> String {
        format!("name of up to {} letters, digits, dots and dashes", limits::NODE_NAME_CHARS)
    }
}

/// Where files were before they moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OldStorage {
    /// The bucket of `media.storage.s3.bucket`.
    Bucket,
    /// This directory.
    Directory(PathBuf),
}

/// A directory or `s3`.
pub(super) struct OldPlace;

impl ValueType for OldPlace {
    type Value = OldStorage;

    fn parse(&self, text: &str) -> Result<OldStorage, String> {
        if text == "s3" { Ok(OldStorage::Bucket) } else { FilePath.parse(text).map(OldStorage::Directory) }
    }

    fn describe(&self) -> String {
        "path, or s3".to_owned()
    }
}

/// A host's name or address.
pub(super) struct Host;

impl ValueType for Host {
    type Value = String;

    fn parse(&self, text: &str) -> Result<String, String> {
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        let name = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
        if bare.parse::<Ipv6Addr>().is_ok() || (!text.is_empty() && text.chars().all(name)) {
            return Ok(bare.to_owned());
        }
        Err(format!("not a {}", self.describe()))
    }

    fn describe(&self) -> String {
        "host name or address".to_owned()
    }
}

/// An XMPP domain.
pub(super) struct Domain;

impl ValueType for Domain {
    type Value = BareJid;

    fn parse(&self, text: &str) -> Result<BareJid, String> {
        let domain = text.parse::<BareJid>().ok().filter(|jid| jid.local().is_none());
        domain.ok_or_else(|| format!("not a {}", self.describe()))
    }

    fn describe(&self) -> String {
        "domain name".to_owned()
    }
}

/// The URL under which clients reach the server, kept as it is written.
pub(super) struct Endpoint;

impl ValueType for Endpoint {
    type Value = String;

    fn parse(&self, text: &str) -> Result<String, String> {
        let rest = text.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https"));
        let foreign = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '?' | '#');
        match rest {
            Some((_, rest)) if !rest.is_empty() && !rest.contains(foreign) => Ok(text.to_owned()),
            _ => Err(format!("not an {}", self.describe())),
        }
    }

    fn describe(&self) -> String {
        "http:// or https:// URL without query".to_owned()
    }
}

/// The name of a bucket. Stores differ in what they take; none takes other characters.
pub(super) struct BucketName;

impl ValueType for BucketName {
    type Value = String;

    fn parse(&self, text: &str) -> Result<String, String> {
        let valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        if matches!(text, "." | "..") || !text.bytes().all(valid) {
            return Err(format!("not a {}", self.describe()));
        }
        Ok(text.to_owned())
    }

    fn describe(&self) -> String {
        "name of letters, digits, dots, hyphens and underscores".to_owned()
    }
}

/// A database's JDBC URL.
pub(super) struct Jdbc;

impl ValueType for Jdbc {
    type Value = Database;

    fn parse(&self, text: &str) -> Result<Database, String> {
        text.parse().map_err(|error: crate::error::Error| error.to_string())
    }

    fn describe(&self) -> String {
        "JDBC URL".to_owned()
    }
}

/// Compares the parsed form of each text, shown by `Debug`, with the expected one; `-` is an error.
#[cfg(test)]
pub(super) fn check<T: ValueType>(value_type: &T, table: &[(&str, &str)])
where
    T::Value: std::fmt::Debug,
{
    for (text, expected) in table {
        let shown = value_type.parse(text).map_or_else(|_| "-".to_owned(), |value| format!("{value:?}"));
        assert_eq!(shown, *expected, "{text:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        let number = Number { min: 2_u16, max: 1024 };
        check(
            &number,
            &[("2", "2"), ("1024", "1024"), ("007", "7"), ("1", "-"), ("1025", "-"), ("65538", "-")],
        );
        check(
            &number,
            &[("+5", "-"), ("-5", "-"), ("", "-"), ("5 ", "-"), ("5k", "-"), ("0x5", "-"), ("٥", "-")],
        );
        assert_eq!(number.parse("1").unwrap_err(), "\"1\" is not a number from 2 to 1024");
        let limit = Number { min: 1, max: i64::MAX };
        check(&limit, &[("9223372036854775807", "9223372036854775807"), ("9223372036854775808", "-")]);
    }

    #[test]
    fn sizes() {
        let size = Size { min: 1_usize, max: 1 << 30 };
        check(&size, &[("1", "1"), ("64K", "65536"), ("1G", "1073741824"), ("1073741824", "1073741824")]);
        check(&size, &[("0", "-"), ("0K", "-"), ("1073741825", "-"), ("2G", "-"), ("1.5G", "-"), ("", "-")]);
        assert_eq!(
            size.parse("100X").unwrap_err(),
            "\"100X\" is not a size from 1 to 1G, such as 100M (plain numbers are bytes)"
        );
        let quota = Size { min: 0, max: i64::MAX.unsigned_abs() };
        check(
            &quota,
            &[("8388607T", "9223370937343148032"), ("8388608T", "-"), ("9223372036854775808", "-")],
        );
        check(&Size { min: 0, max: u8::MAX }, &[("255", "255"), ("256", "-"), ("1K", "-")]);
    }

    #[test]
    fn times() {
        let seconds = Time::seconds(0, 86_400);
        check(
            &seconds,
            &[("0", "0ns"), ("60", "60s"), ("1500ms", "1.5s"), ("1d", "86400s"), ("24h", "86400s")],
        );
        check(
            &seconds,
            &[("86401", "-"), ("2d", "-"), ("86400001ms", "-"), ("1w", "-"), ("", "-"), ("-1", "-")],
        );
        let milliseconds = Time::milliseconds(1, 5000);
        check(
            &milliseconds,
            &[("1", "1ms"), ("5000", "5s"), ("5s", "5s"), ("0", "-"), ("6s", "-"), ("1m", "-")],
        );
        assert_eq!(
            seconds.parse("7w").unwrap_err(),
            "\"7w\" is not a time from 0s to 1d, such as 30s (plain numbers are seconds)"
        );
    }

    #[test]
    fn an_error_shows_only_what_looks_like_a_number() {
        for text in ["100X", "-1", "+5", "1.5G", ".5", "1 G", "99999999999999999999"] {
            assert_eq!(shown(text), format!("{text:?}"));
        }
        for text in ["hunter2", "", "1\0", "1/2", "5é", "1:2", "1111111111111111111111111"] {
            assert_eq!(shown(text), "the value");
        }
    }

    #[test]
    fn words_and_texts() {
        let choice = Choice(&[("on", true), ("off", false), ("auto", true)]);
        check(&choice, &[("on", "true"), ("OFF", "false"), ("", "-"), ("onn", "-")]);
        assert_eq!(choice.parse("x").unwrap_err(), "not on, off or auto");
        assert_eq!(Choice(&[("PKCS12", ())]).describe(), "PKCS12");
        check(
            &Boolean,
            &[("true", "true"), ("On", "true"), ("yes", "true"), ("FALSE", "false"), ("off", "false")],
        );
        check(&Boolean, &[("no", "false"), ("1", "-"), ("", "-")]);
        check(&KeystoreType, &[("pkcs12", "Pkcs12"), ("JKS", "Jks"), ("JSK", "Jks"), ("PEM", "-")]);
        check(&Text, &[("a b", "\"a b\""), ("a\nb", "-"), ("a\0", "-")]);
        check(&Password, &[("a\nb", "[secret]")]);
        let long = LongSecret { min: 16 };
        check(
            &long,
            &[("0123456789abcdef", "[secret]"), ("0123456789abcde", "-"), ("", "-"), ("ééééééé", "-")],
        );
        assert_eq!(long.parse("hunter2").unwrap_err(), "not a text of at least 16 bytes");
        check(&NotEmpty(Choice(&[("on", 1)])), &[("ON", "1"), ("", "-")]);
        assert!(long.accepts_empty() && NotEmpty(Boolean).accepts_empty());
        let (longest, longer) = ("n".repeat(63), "n".repeat(64));
        let quoted = format!("\"{longest}\"");
        check(
            &NodeName,
            &[
                ("a-1.B", "\"a-1.B\""),
                (&longest, &quoted),
                (&longer, "-"),
                ("", "-"),
                ("a b", "-"),
                ("ä", "-"),
            ],
        );
        check(&FilePath, &[("/a b/c", "\"/a b/c\""), ("a\0b", "-")]);
        check(&Jdbc, &[("jdbc:sqlite:x", "Sqlite(\"x\")"), ("x", "-")]);
    }

    #[test]
    fn hosts_domains_and_urls() {
        check(&Host, &[("xmpp.example.com", "\"xmpp.example.com\""), ("10.0.0.1", "\"10.0.0.1\"")]);
        check(
            &Host,
            &[("::1", "\"::1\""), ("[::1]", "\"::1\""), ("a b", "-"), ("a:5", "-"), ("[a]", "-"), ("", "-")],
        );
        check(
            &Domain,
            &[("Example.com", "example.com"), ("a@example.com", "-"), ("a..b", "-"), ("a/b", "-")],
        );
        check(
            &BucketName,
            &[("my-media.1_a", "\"my-media.1_a\""), ("a/b", "-"), ("..", "-"), ("a b", "-"), ("é", "-")],
        );
        check(&Endpoint, &[("https://a/b/", "\"https://a/b/\""), ("http://a:1", "\"http://a:1\"")]);
        check(
            &Endpoint,
            &[("a/b", "-"), ("ftp://a", "-"), ("http://", "-"), ("http://a b", "-"), ("http://a?b", "-")],
        );
    }
}
