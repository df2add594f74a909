//! Documents of an S3 store: a reply that is read and written again is the same reply, and holds no more than was sent.

#![no_main]

use libfuzzer_sys::fuzz_target;
use media_server::s3::{Fields, Reply};

fuzz_target!(|bytes: &[u8]| {
    let Some(reply) = Reply::parse(bytes) else { return };
    assert!(!reply.root.is_empty());
    let texts = reply.records.iter().flat_map(|(_, fields)| fields.iter()).chain(reply.fields.iter());
    // No entity is longer than its name but those that a document declares itself.
    let length: usize = texts.map(|(name, text)| name.len() + text.len()).sum();
    assert!(length <= bytes.len() || bytes.windows(8).any(|part| part == b"<!ENTITY"), "{reply:?}");
    let fields = |fields: &Fields| -> String {
        fields.iter().map(|(name, text)| format!("<{name}>{}</{name}>", escaped(text))).collect()
    };
    let records: String =
        reply.records.iter().map(|(name, record)| format!("<{name}>{}</{name}>", fields(record))).collect();
    let root = &reply.root;
    let written = format!("<{root}>{}{records}</{root}>", fields(&reply.fields));
    assert_eq!(Reply::parse(written.as_bytes()), Some(reply), "{written}");
});

fn escaped(text: &str) -> String {
    let escape = |c| match c {
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        '\r' => "&#13;".to_owned(),
        c => c.to_string(),
    };
    text.chars().map(escape).collect()
}
