//! How the values of settings are written, and what they become.

use std::fmt::Display;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::Database;
use crate::model::BareJid;
use crate::secret::Secret;

/// Parses the values of a setting.
pub(super) trait Format {
    /// What the text becomes.
    type Value;

    /// Parses a text without blanks around it. The error is a phrase that doesn't repeat the text.
    fn parse(&self, text: &str) -> Result<Self::Value, String>;

    /// What must be written, with its range: a phrase for the manual and for errors.
    fn describe(&self) -> String;

    /// Whether an empty value is a value; else it counts as not set.
    fn takes_nothing(&self) -> bool {
        false
    }
}

/// When the connection to the XMPP server is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecurityMode {
    /// Never.
    Disabled,
    /// If the server offers it.
    Enabled,
    /// Always, or there is no connection.
    Required,
}

impl SecurityMode {
    /// The words of the setting.
    pub(super) const WORDS: &[(&str, Self)] =
        &[("disabled", Self::Disabled), ("enabled", Self::Enabled), ("required", Self::Required)];
}

/// Formats of key files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keystore {
    /// The one that is read.
    Pkcs12,
    /// The original's: read as a word, so that advice can be given when HTTPS is wanted.
    Jks,
}

/// A whole number in decimal digits.
pub(super) struct Number<T> {
    pub(super) min: T,
    pub(super) max: T,
}

impl<T: FromStr + PartialOrd + Display + Copy> Format for Number<T> {
    type Value = T;

    fn parse(&self, text: &str) -> Result<T, String> {
        // `parse` alone would take a sign.
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|number| digits && (self.min..=self.max).contains(number));
        number.ok_or_else(|| format!("not a {}", self.describe()))
    }

    fn describe(&self) -> String {
        format!("number from {} to {}", self.min, self.max)
    }
}

/// A time in whole units.
pub(super) struct Span {
    unit: Duration,
    name: &'static str,
    number: Number<u32>,
}

impl Span {
    pub(super) const fn seconds(min: u32, max: u32) -> Self {
        Self { unit: Duration::from_secs(1), name: "seconds", number: Number { min, max } }
    }

    pub(super) const fn milliseconds(min: u32, max: u32) -> Self {
        Self { unit: Duration::from_millis(1), name: "milliseconds", number: Number { min, max } }
    }
}

impl Format for Span {
    type Value = Duration;

    fn parse(&self, text: &str) -> Result<Duration, String> {
        let number = self.number.parse(text).map_err(|_| format!("not a {}", self.describe()))?;
        Ok(self.unit * number)
    }

    fn describe(&self) -> String {
        format!("number of {} from {} to {}", self.name, self.number.min, self.number.max)
    }
}

/// One of several words, in any case.
pub(super) struct Choice<T: 'static>(pub(super) &'static [(&'static str, T)]);

impl<T: Copy> Format for Choice<T> {
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

/// Yes or no.
pub(super) struct Switch;

impl Format for Switch {
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

impl Format for KeystoreType {
    type Value = Keystore;

    fn parse(&self, text: &str) -> Result<Keystore, String> {
        match text.to_ascii_uppercase().as_str() {
            "PKCS12" => Ok(Keystore::Pkcs12),
            // COMPAT: "JSK" stands in configurations of the original.
            "JKS" | "JSK" => Ok(Keystore::Jks),
            _ => Err(format!("not {}", self.describe())),
        }
    }

    fn describe(&self) -> String {
        "PKCS12".to_owned()
    }
}

/// A text in one line.
pub(super) struct Text;

impl Format for Text {
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

impl Format for Password {
    type Value = Secret;

    fn parse(&self, text: &str) -> Result<Secret, String> {
        Ok(Secret::new(text))
    }

    fn describe(&self) -> String {
        "text".to_owned()
    }
}

/// A path in the file system.
pub(super) struct Path;

impl Format for Path {
    type Value = PathBuf;

    fn parse(&self, text: &str) -> Result<PathBuf, String> {
        if text.contains('\0') { Err("a path with a NUL".to_owned()) } else { Ok(text.into()) }
    }

    fn describe(&self) -> String {
        "path".to_owned()
    }
}

/// A host's name or address.
pub(super) struct Host;

impl Format for Host {
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

impl Format for Domain {
    type Value = BareJid;

    fn parse(&self, text: &str) -> Result<BareJid, String> {
        let domain = text.parse::<BareJid>().ok().filter(|jid| jid.local().is_none());
        domain.ok_or_else(|| format!("not a {}", self.describe()))
    }

    fn describe(&self) -> String {
        "domain name".to_owned()
    }
}

/// The address under which clients reach the server: kept as it is written.
pub(super) struct Endpoint;

impl Format for Endpoint {
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

/// A database's JDBC URL.
pub(super) struct Jdbc;

impl Format for Jdbc {
    type Value = Database;

    fn parse(&self, text: &str) -> Result<Database, String> {
        text.parse().map_err(|error: crate::error::Error| error.to_string())
    }

    fn describe(&self) -> String {
        "JDBC URL".to_owned()
    }
}

/// Each text with what it becomes, shown by `Debug`; `-` is an error.
#[cfg(test)]
pub(super) fn check<F: Format>(format: &F, table: &[(&str, &str)])
where
    F::Value: std::fmt::Debug,
{
    for (text, expected) in table {
        let shown = format.parse(text).map_or_else(|_| "-".to_owned(), |value| format!("{value:?}"));
        assert_eq!(shown, *expected, "{text:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times() {
        let number = Number { min: 2_u16, max: 1024 };
        check(
            &number,
            &[("2", "2"), ("1024", "1024"), ("007", "7"), ("1", "-"), ("1025", "-"), ("65538", "-")],
        );
        check(
            &number,
            &[("+5", "-"), ("-5", "-"), ("", "-"), ("5 ", "-"), ("5k", "-"), ("0x5", "-"), ("٥", "-")],
        );
        assert_eq!(number.parse("1").unwrap_err(), "not a number from 2 to 1024");
        let most = Number { min: 1, max: i64::MAX };
        check(&most, &[("9223372036854775807", "9223372036854775807"), ("9223372036854775808", "-")]);
        check(&Span::seconds(0, 60), &[("0", "0ns"), ("60", "60s"), ("61", "-"), ("1s", "-")]);
        check(&Span::milliseconds(1, 5000), &[("1", "1ms"), ("5000", "5s"), ("0", "-")]);
        assert_eq!(Span::seconds(0, 60).parse("x").unwrap_err(), "not a number of seconds from 0 to 60");
    }

    #[test]
    fn words_and_texts() {
        let choice = Choice(&[("on", true), ("off", false), ("auto", true)]);
        check(&choice, &[("on", "true"), ("OFF", "false"), ("", "-"), ("onn", "-")]);
        assert_eq!(choice.parse("x").unwrap_err(), "not on, off or auto");
        assert_eq!(Choice(&[("PKCS12", ())]).describe(), "PKCS12");
        check(
            &Switch,
            &[("true", "true"), ("On", "true"), ("yes", "true"), ("FALSE", "false"), ("off", "false")],
        );
        check(&Switch, &[("no", "false"), ("1", "-"), ("", "-")]);
        check(&KeystoreType, &[("pkcs12", "Pkcs12"), ("JKS", "Jks"), ("JSK", "Jks"), ("PEM", "-")]);
        check(&Text, &[("a b", "\"a b\""), ("a\nb", "-"), ("a\0", "-")]);
        check(&Password, &[("a\nb", "[secret]")]);
        check(&Path, &[("/a b/c", "\"/a b/c\""), ("a\0b", "-")]);
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
        check(&Endpoint, &[("https://a/b/", "\"https://a/b/\""), ("http://a:1", "\"http://a:1\"")]);
        check(
            &Endpoint,
            &[("a/b", "-"), ("ftp://a", "-"), ("http://", "-"), ("http://a b", "-"), ("http://a?b", "-")],
        );
    }
}
