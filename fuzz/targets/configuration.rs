//! What operators write: properties and database URLs. Not hostile, but it must never end in a panic, nor a password in
//! a message.

#![no_main]

use libfuzzer_sys::fuzz_target;
use media_server::config::{self, Config, Database};

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
    let Ok(url) = std::str::from_utf8(bytes) else { return };
    check_url(url);
    check_url(&format!("jdbc:postgresql:{url}"));
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

fn escaped(text: &str) -> String {
    text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect()
}
