//! Advice for the operator who moves from the original server: settings whose meaning has changed.

use super::keystore::convert;
use super::settings::{
    HTTPS_ENABLED, HTTPS_KEYSTORE_PATH, HTTPS_KEYSTORE_TYPE, LOGGING_FILE, LOGGING_LEVEL, MEDIA_DOMAINS,
    XMPP_CONNECTION_SECURITYMODE, XMPP_CONNECTION_TLS_CA,
};
use super::settings::{MISSPELT, RETIRED};
use super::values::{Source, Values};

/// One sentence for each setting that has another meaning than in the original server. It also works for a
/// configuration that is refused. Unknown keys are not included: reading the configuration reports them.
pub fn moving_advice(source: &Source) -> Vec<String> {
    let values = Values::matched(source);
    let lines = source.entries.iter().filter_map(|entry| {
        let what = about_key(&entry.key)?;
        let place = entry.line.map_or(String::new(), |line| format!(":{line}"));
        Some(format!("{}{place}: {}: {what}", source.name, entry.key))
    });
    lines.chain(about_values(&values)).collect()
}

/// Advice about a key that was renamed or has no effect any more.
fn about_key(key: &str) -> Option<String> {
    if let Some((_, meant)) = MISSPELT.iter().find(|(old, _)| *old == key) {
        return Some(format!("the key is {meant} now; the old one still works"));
    }
    RETIRED.iter().any(|retired| retired.key == key).then(|| "has no effect any more; remove it".to_owned())
}

/// Advice about settings whose meaning has changed, set or not.
fn about_values(values: &Values<'_>) -> Vec<String> {
    let says = |key: &str, word: &str| values.text(key).is_some_and(|text| text.eq_ignore_ascii_case(word));
    let mut advice = Vec::new();
    if says(HTTPS_ENABLED.key, "true") {
        advice.extend(about_keystore(values));
    }
    if !says(XMPP_CONNECTION_SECURITYMODE.key, "disabled")
        && values.text(XMPP_CONNECTION_TLS_CA.key).is_none()
    {
        advice.push(
            "xmpp.connection.securitymode: with STARTTLS the XMPP server's certificate is verified now; if the system \
             does not trust it, name its authority in xmpp.connection.tls.ca"
                .to_owned(),
        );
    }
    if values.text(MEDIA_DOMAINS.key).is_none() {
        advice.push(
            "media.domains: only channels of the component's server name and its subdomains are served; name the \
             domains, or * for every one as before"
                .to_owned(),
        );
    }
    if values.text(LOGGING_FILE.key).is_none() && values.text(LOGGING_LEVEL.key).is_none() {
        advice.push("logback.xml is not read: see logging.file and logging.level".to_owned());
    }
    advice
}

fn about_keystore(values: &Values<'_>) -> Option<String> {
    let path = values.text(HTTPS_KEYSTORE_PATH.key)?;
    let kind = values.text(HTTPS_KEYSTORE_TYPE.key).unwrap_or_default();
    let java = ["JKS", "JSK"].iter().any(|word| kind.eq_ignore_ascii_case(word)) || path.ends_with(".jks");
    java.then(|| format!("https.keystore.path: {}", convert(path.as_ref())))
}

#[cfg(test)]
mod tests {
    use super::super::properties;
    use super::*;

    fn advice(text: &str) -> Vec<String> {
        let entries = properties::parse("f", text.as_bytes()).unwrap();
        moving_advice(&Source { name: "f".to_owned(), entries })
    }

    #[test]
    fn every_key_that_changed_is_named_with_its_line() {
        for key in MISSPELT.iter().map(|(old, _)| *old).chain(RETIRED.iter().map(|retired| retired.key)) {
            let told = advice(&format!("# The original's\n{key}=x\n"));
            assert!(told[0].starts_with(&format!("f:2: {key}: ")), "{told:?}");
        }
        assert!(!advice("http.port=8080\n").iter().any(|line| line.starts_with("f:")));
    }

    #[test]
    fn a_java_keystore_comes_with_its_conversion() {
        for text in [
            "https.keystore=/k.jks\n",
            "https.keystore.path=/k\nhttps.keystore.type=jks\n",
            "https.keystore=/k.jks\nhttps.keystore.type=JSK\n",
        ] {
            let line = "keytool -importkeystore -srckeystore /k";
            assert!(
                advice(&format!("https.enabled=true\n{text}")).iter().any(|told| told.contains(line)),
                "{text}"
            );
            assert!(!advice(text).iter().any(|told| told.contains(line)), "HTTPS is not served: {text}");
        }
        assert!(!advice("https.enabled=true\nhttps.keystore=/k.p12\n").concat().contains("keytool"));
    }

    #[test]
    fn there_is_no_advice_about_settings_that_are_set() {
        let words = ["xmpp.connection.tls.ca", "media.domains", "logback.xml"];
        let told = advice("").concat();
        assert!(words.iter().all(|word| told.contains(word)), "{told}");
        let settled = "xmpp.connection.securitymode=disabled\nmedia.domains=*\nlogging.level=info\n";
        assert_eq!(advice(settled), Vec::<String>::new());
    }
}
