//! The keys and values that were written, matched with the table of settings.

use std::collections::BTreeMap;
use std::path::Path;

use log::Level;

use super::Entry;
use super::nearest::nearest;
use super::settings::{
    self, Change, DefaultValue, MISSPELT, RETIRED, Retired, SETTINGS, Setting, TypedSetting,
};
use super::types::ValueType;
use crate::error::{Error, Kind, Result};

/// A configuration as it was written.
#[derive(Clone, Debug)]
pub struct Source {
    /// The absolute path of the file, or the name of the table.
    pub name: String,
    /// Its entries in order.
    pub entries: Vec<Entry>,
}

impl Source {
    /// The file; nothing if it was read from a table.
    pub fn file(&self) -> Option<&Path> {
        Some(Path::new(&self.name)).filter(|path| path.is_absolute())
    }
}

/// Something that the operator should know and that is not an error. It is logged once there is a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// How important it is.
    pub level: Level,
    /// A sentence that names the place.
    pub text: String,
    /// Whether it is about a key that is not known: an error where the configuration is checked strictly.
    pub unknown_key: bool,
}

/// Every key that was set, with its last value; checked.
pub(super) struct Values<'a> {
    name: &'a str,
    given: BTreeMap<&'static str, Given<'a>>,
    notes: Vec<Note>,
    problems: Vec<String>,
}

struct Note {
    /// The setting that is probably meant.
    about: Option<&'static str>,
    notice: Notice,
}

#[derive(Clone, Copy)]
struct Given<'a> {
    value: &'a str,
    line: Option<usize>,
}

impl<'a> Values<'a> {
    /// Matches entries with settings. The error names everything that is wrong or missing at once. It includes the
    /// notices about missing keys, which may be present but mistyped.
    pub(super) fn read(source: &'a Source) -> Result<Self> {
        let mut values = Self::matched(source);
        values.check();
        if values.problems.is_empty() {
            return Ok(values);
        }
        let missing = |about: &&'static str| !values.given.contains_key(about);
        let hints = values.notes.iter().filter(|note| note.about.as_ref().is_some_and(missing));
        values.problems.extend(hints.map(|note| note.notice.text.clone()));
        Err(Error::new(Kind::Config, values.problems.join("; ")))
    }

    /// Matches entries with settings without checking the values.
    pub(super) fn matched(source: &'a Source) -> Self {
        let mut values =
            Self { name: &source.name, given: BTreeMap::new(), notes: Vec::new(), problems: Vec::new() };
        for entry in &source.entries {
            values.take(entry);
        }
        values.split_subdomain();
        values
    }

    /// The value of a setting, or its fixed default.
    pub(super) fn get<T: ValueType>(&self, setting: &TypedSetting<T>) -> Result<Option<T::Value>> {
        let Some(text) = self.text(setting.key).or(setting.default.text()) else { return Ok(None) };
        setting.value_type.parse(text).map(Some).map_err(|what| self.wrong(setting.key, &what))
    }

    /// The same where there must be a value.
    pub(super) fn need<T: ValueType>(&self, setting: &TypedSetting<T>) -> Result<T::Value> {
        self.get(setting)?.ok_or_else(|| self.wrong(setting.key, "missing"))
    }

    /// Gives the settings that can't change now the values of the running configuration, set or not. Returns the keys
    /// of those that differ, in the table's order.
    pub(super) fn keep_running(&mut self, running: &Values<'a>) -> Vec<&'static str> {
        let differs = |key: &str| {
            let setting = SETTINGS.iter().find(|setting| setting.key == key);
            setting.is_some_and(|setting| !(setting.same)(running.text(key), self.text(key)))
        };
        let waits = |setting: &&Setting| match setting.change {
            Change::Reload => false,
            Change::ReloadWith(key) => differs(key),
            Change::Restart => true,
        };
        let waiting: Vec<&'static str> = SETTINGS.iter().filter(waits).map(|setting| setting.key).collect();
        let changed = waiting.iter().copied().filter(|key| differs(key)).collect();
        for key in waiting {
            match running.given.get(key) {
                Some(given) => self.given.insert(key, *given),
                None => self.given.remove(key),
            };
        }
        changed
    }

    /// The values as entries, from which the same values can be read again.
    pub(super) fn to_source(&self) -> Source {
        let entry = |(key, given): (&&str, &Given<'_>)| Entry {
            key: (*key).to_owned(),
            value: given.value.to_owned(),
            line: given.line,
        };
        Source { name: self.name.to_owned(), entries: self.given.iter().map(entry).collect() }
    }

    /// The text that was written for a key of the table.
    pub(super) fn text(&self, key: &str) -> Option<&'a str> {
        self.given.get(key).map(|given| given.value)
    }

    /// An error about a key that names the place where it is set.
    pub(super) fn wrong(&self, key: &str, what: &str) -> Error {
        let line = self.given.get(key).and_then(|given| given.line);
        Error::new(Kind::Config, self.at(line, key, what))
    }

    /// The notices for the operator.
    pub(super) fn into_notices(self) -> Vec<Notice> {
        self.notes.into_iter().map(|note| note.notice).collect()
    }

    fn at(&self, line: Option<usize>, key: &str, what: &str) -> String {
        let name = self.name;
        match line {
            Some(line) => format!("{name}:{line}: {key}: {what}"),
            None => format!("{name}: {key}: {what}"),
        }
    }

    fn note(&mut self, about: Option<&'static str>, level: Level, text: String) {
        self.notes.push(Note { about, notice: Notice { level, text, unknown_key: false } });
    }

    /// Adds one entry.
    fn take(&mut self, entry: &'a Entry) {
        let mut key = entry.key.as_str();
        if key == settings::HTTP_DOWNLOADS_MAX.key {
            let text = self.at(entry.line, key, "has no effect any more: a slow download holds no thread");
            self.note(None, Level::Warn, text);
        }
        if let Some((old, meant)) = MISSPELT.iter().find(|(old, _)| *old == key) {
            let text = self.at(entry.line, old, &format!("an old spelling of {meant}"));
            self.note(Some(meant), Level::Warn, text);
            // The right spelling has precedence, wherever it stands.
            if self.given.contains_key(meant) {
                return;
            }
            key = meant;
        }
        let given = Given { value: &entry.value, line: entry.line };
        if let Some(setting) = SETTINGS.iter().find(|setting| setting.key == key) {
            self.set(setting, given);
        } else if let Some(retired) = RETIRED.iter().find(|retired| retired.key == key) {
            self.retire(retired, given);
        } else {
            self.unknown(key, given);
        }
    }

    /// A later value replaces an earlier one.
    fn set(&mut self, setting: &'static Setting, given: Given<'a>) {
        let counts = !given.value.is_empty() || (setting.accepts_empty)();
        let before =
            if counts { self.given.insert(setting.key, given) } else { self.given.remove(setting.key) };
        if let Some(before) = before {
            let earlier = before.line.map_or("the earlier value".to_owned(), |line| format!("line {line}"));
            let text = self.at(given.line, setting.key, &format!("set again: {earlier} is ignored"));
            self.note(Some(setting.key), Level::Warn, text);
        }
    }

    fn retire(&mut self, retired: &Retired, given: Given<'a>) {
        match (retired.judge)(given.value) {
            Ok(None) => {}
            Ok(Some(what)) => {
                let text = self.at(given.line, retired.key, what);
                self.note(None, Level::Info, text);
            }
            Err(what) => self.problems.push(self.at(given.line, retired.key, what)),
        }
    }

    fn unknown(&mut self, key: &str, given: Given<'a>) {
        let meant = nearest(key, SETTINGS.iter().map(|setting| setting.key));
        let hint = meant.map_or(String::new(), |known| format!("; did you mean {known}?"));
        let text = self.at(given.line, &key.escape_debug().to_string(), &format!("unknown{hint}"));
        self.notes
            .push(Note { about: meant, notice: Notice { level: Level::Warn, text, unknown_key: true } });
    }

    /// Without a servername, a subdomain with dots is both, as in the original: split at the first.
    fn split_subdomain(&mut self) {
        let (subdomain, servername) =
            (settings::XMPP_COMPONENT_SUBDOMAIN.key, settings::XMPP_COMPONENT_SERVERNAME.key);
        if self.given.contains_key(servername) {
            return;
        }
        let Some(Given { value, line }) = self.given.get(subdomain).copied() else { return };
        if let Some((first, rest)) = value.split_once('.') {
            self.given.insert(subdomain, Given { value: first, line });
            self.given.insert(servername, Given { value: rest, line });
        }
    }

    /// Collects wrong values and missing keys.
    fn check(&mut self) {
        let https = self.get(&settings::HTTPS_ENABLED).ok().flatten() == Some(true);
        let mut missing = Vec::new();
        for setting in SETTINGS {
            match (self.given.get(setting.key), setting.default) {
                (Some(given), _) => {
                    let wrong = (setting.check)(given.value).err();
                    let wrong = wrong.map(|what| self.at(given.line, setting.key, &what));
                    self.problems.extend(wrong);
                }
                (None, DefaultValue::Mandatory) => missing.push(setting.key),
                (None, DefaultValue::MandatoryForHttps) if https => missing.push(setting.key),
                (None, _) => {}
            }
        }
        if !missing.is_empty() {
            self.problems.insert(0, format!("{}: missing: {}", self.name, missing.join(", ")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::properties;
    use super::*;

    /// Every mandatory setting.
    const LEAST: &str = "xmpp.component.host=h\nxmpp.component.port=1\nxmpp.component.subdomain=m\n\
        xmpp.component.servername=s\nxmpp.component.secretkey=k\nxmpp.connection.username=u\n\
        xmpp.connection.password=p\nxmpp.connection.port=2\nxmpp.connection.servicename=s\n\
        media.storage.root=/r\n";

    fn source(text: &str) -> Source {
        Source { name: "f".to_owned(), entries: properties::parse("f", text.as_bytes()).unwrap() }
    }

    fn refused(text: &str) -> String {
        let source = source(text);
        let error = Values::read(&source).err().unwrap();
        assert_eq!(error.kind(), Kind::Config);
        error.to_string()
    }

    /// The notices about lines in front of the mandatory settings.
    fn notices(text: &str) -> Vec<String> {
        let source = source(&format!("{text}\n{LEAST}"));
        let notices = Values::read(&source).unwrap().into_notices();
        notices.iter().map(|notice| format!("{} {}", notice.level, notice.text)).collect()
    }

    #[test]
    fn all_missing_keys_are_named_at_once() {
        assert_eq!(
            refused(""),
            "f: missing: xmpp.component.host, xmpp.component.port, xmpp.component.subdomain, \
             xmpp.component.servername, xmpp.component.secretkey, xmpp.connection.username, \
             xmpp.connection.password, xmpp.connection.port, xmpp.connection.servicename, media.storage.root"
        );
        assert_eq!(
            refused(&format!("{LEAST}https.enabled=TRUE\nxmpp.component.port=\n")),
            "f: missing: https.port, https.keystore.path, https.keystore.password, xmpp.component.port; \
             f:12: xmpp.component.port: set again: line 2 is ignored"
        );
        assert!(notices("https.enabled=false").is_empty());
    }

    #[test]
    fn all_wrong_values_are_named_at_once_with_their_lines() {
        let text = format!("http.port=80a\n{LEAST}xmpp.cache.ttl=-1\nmail.to=x\nxmpp.component.prt=1\n");
        assert_eq!(
            refused(&text),
            "f:1: http.port: \"80a\" is not a number from 0 to 65535; f:12: xmpp.cache.ttl: \"-1\" is not a time \
             from 0s to 1d, such as 30s (plain numbers are seconds)"
        );
        let missing = LEAST.replace("media.storage.root", "media.storage.rot");
        assert_eq!(
            refused(&missing),
            "f: missing: media.storage.root; \
             f:10: media.storage.rot: unknown; did you mean media.storage.root?"
        );
    }

    #[test]
    fn notices_for_the_operator() {
        let table: &[(&str, &[&str])] = &[
            ("", &[]),
            ("htp.port=1", &["WARN f:1: htp.port: unknown; did you mean http.port?"]),
            ("mail.to=1", &["WARN f:1: mail.to: unknown"]),
            ("a\\nb=1", &["WARN f:1: a\\nb: unknown"]),
            ("http.port=1\nhttp.port=2", &["WARN f:2: http.port: set again: line 1 is ignored"]),
            ("https.keystore=/k", &["WARN f:1: https.keystore: an old spelling of https.keystore.path"]),
            ("http.test.port=9", &["WARN f:1: http.test.port: an old spelling of http.tests.port"]),
            ("http.tests.port=9", &[]),
            ("jdbc.driver.class=org.postgresql.Driver", &[]),
            (
                "jdbc.driver.class=org.hsqldb.jdbcDriver",
                &["INFO f:1: jdbc.driver.class: not used: jdbc.db.url alone chooses the database"],
            ),
            (
                "https.key.password=x",
                &["INFO f:1: https.key.password: not used: a PKCS#12 file has one password, \
                   https.keystore.password"],
            ),
            ("xmpp.connection.saslenabled=True", &[]),
        ];
        for (text, expected) in table {
            assert_eq!(notices(text), *expected, "{text}");
        }
        assert_eq!(
            refused(&format!("{LEAST}xmpp.connection.saslenabled=false")),
            "f:11: xmpp.connection.saslenabled: log-in without SASL (XEP-0078) is obsolete and not \
             supported; remove the line"
        );
    }

    #[test]
    fn later_values_and_right_spellings_have_precedence() {
        let table = [
            ("http.port=1\nhttp.port=2", "http.port", Some("2")),
            ("http.port=1\nhttp.port=", "http.port", None),
            ("http.cors.origins=", "http.cors.origins", Some("")),
            ("https.keystore=/a", "https.keystore.path", Some("/a")),
            ("https.keystore=/a\nhttps.keystore.path=/b", "https.keystore.path", Some("/b")),
            ("https.keystore.path=/b\nhttps.keystore=/a", "https.keystore.path", Some("/b")),
        ];
        for (text, key, expected) in table {
            assert_eq!(Values::matched(&source(text)).text(key), expected, "{text}");
        }
    }

    #[test]
    fn a_dotted_subdomain_is_split_where_there_is_no_servername() {
        let table = [
            ("xmpp.component.subdomain=media.a.b", Some("media"), Some("a.b")),
            ("xmpp.component.subdomain=media", Some("media"), None),
            ("xmpp.component.subdomain=media.a\nxmpp.component.servername=b", Some("media.a"), Some("b")),
            ("xmpp.component.subdomain=media.a\nxmpp.component.servername=", Some("media"), Some("a")),
        ];
        for (text, subdomain, servername) in table {
            let source = source(text);
            let values = Values::matched(&source);
            assert_eq!(values.text("xmpp.component.subdomain"), subdomain, "{text}");
            assert_eq!(values.text("xmpp.component.servername"), servername, "{text}");
        }
    }

    #[test]
    fn no_error_shows_a_value_that_may_be_a_password() {
        let mut text = String::new();
        for setting in SETTINGS {
            text.push_str(&format!("{}=\\u0000hunter2 hunter2\n", setting.key));
        }
        assert!(!refused(&text).contains("hunter2"));
    }
}
