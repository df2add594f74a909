//! Operators' input: properties, database URLs, sizes and times. It is not hostile, but it must never cause a panic,
//! an overflow, or a message that shows a password.

#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use media_server::config::{self, Config, Database, units};

const PASSWORD: &str = "Xq7Zu9Pw3Kv";

fuzz_target!(|bytes: &[u8]| {
    match config::parse("f", bytes) {
        Ok(entries) => {
            assert!(entries.iter().all(|entry| !entry.key.is_empty() && entry.line.is_some()));
            assert!(entries.windows(2).all(|pair| pair[0].line < pair[1].line));
            let written: String = entries
                .iter()
                .map(|entry| format!("{}={}\n", escaped(&entry.key), escaped(&entry.value)))
                .collect();
            let again = config::parse("f", written.as_bytes()).expect("what is escaped is valid");
            let pairs = |entries: &[config::Entry]| -> Vec<(String, String)> {
                entries.iter().map(|entry| (entry.key.clone(), entry.value.clone())).collect()
            };
            assert_eq!(pairs(&again), pairs(&entries));
            let source = config::Source { name: "f".to_owned(), entries };
            let _ = Config::read(&source);
        }
        Err(error) => assert!(error.to_string().starts_with("f:"), "{error}"),
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    check_url(text);
    check_url(&format!("jdbc:postgresql:{text}"));
    check_units(text);
});

fn check_url(url: &str) {
    match url.parse::<Database>() {
        Ok(database) => {
            let _ = format!("{database} {database:?}");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    // A password in the place where it belongs, with whatever stands around it.
    let (address, query) = url.split_once('?').unwrap_or((url, ""));
    for secret in
        [format!("{address}?password={PASSWORD}&{query}"), format!("{address}?{query}&password={PASSWORD}")]
    {
        let message = match secret.parse::<Database>() {
            Ok(database) => format!("{database} {database:?}"),
            Err(error) => error.to_string(),
        };
        assert!(!message.contains(PASSWORD), "{message}");
    }
}

/// Sizes and times are those of a reader that has numbers without end.
fn check_units(text: &str) {
    let sizes = [("", 1), ("k", 1 << 10), ("m", 1 << 20), ("g", 1 << 30), ("t", 1 << 40)];
    assert_eq!(units::size(text).map(u128::from), amount(&text.to_ascii_lowercase(), &sizes), "{text:?}");
    for plain in [1, 1000] {
        let times = [("", plain), ("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
        let time = units::time(text, Duration::from_millis(plain as u64));
        assert_eq!(time.map(|time| time.as_millis()), amount(text, &times), "{text:?}");
    }
    // A configuration with this value is accepted or refused, and keeps to the limits of its settings.
    for key in ["media.sizelimit", "media.quota.user", "xmpp.reply.timeout", "cache.max.age", "http.threads"]
    {
        let entry = config::Entry { key: key.to_owned(), value: text.to_owned(), line: Some(1) };
        let _ = Config::read(&config::Source { name: "f".to_owned(), entries: vec![entry] });
    }
}

/// The number in front of one of these units, multiplied, if number and product fit into 64 bits.
fn amount(text: &str, units: &[(&str, u128)]) -> Option<u128> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (_, factor) = units.iter().find(|(unit, _)| *unit == &text[digits..])?;
    let significant = text[..digits].trim_start_matches('0');
    if digits == 0 || significant.len() > 20 {
        return None;
    }
    let number = significant.bytes().fold(0, |number, digit| number * 10 + u128::from(digit - b'0'));
    let fits = |number: &u128| *number <= u128::from(u64::MAX);
    Some(number).filter(fits).map(|number| number * factor).filter(fits)
}

fn escaped(text: &str) -> String {
    text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect()
}
