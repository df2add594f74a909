//! The XML documents of the store: lists, results and refusals. All have the same shape: fields below the root, and records
//! with fields of their own. Pure functions.

use std::collections::BTreeMap;

use xml::reader::{EventReader, XmlEvent};

/// A document of the store.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// The name of its root element.
    pub root: String,
    /// The texts of the elements below the root that have no children.
    pub fields: Fields,
    /// The elements below the root that have children, each by its name.
    pub records: Vec<(String, Fields)>,
}

/// Texts by the names of their elements; the last one of a name counts.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Fields(BTreeMap<String, String>);

impl Fields {
    /// The text of this name; empty if there is no such element.
    pub fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// All names with their texts, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, text)| (name.as_str(), text.as_str()))
    }
}

impl Reply {
    /// Reads a document; `None` if it is not XML.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut reply = Self::default();
        let (mut path, mut text, mut record) = (Vec::new(), String::new(), Fields::default());
        for event in EventReader::new(bytes) {
            match event.ok()? {
                XmlEvent::StartElement { name, .. } => {
                    path.push(name.local_name);
                    text.clear();
                }
                XmlEvent::Characters(more) | XmlEvent::CData(more) | XmlEvent::Whitespace(more) => {
                    text.push_str(&more);
                }
                XmlEvent::EndElement { .. } => {
                    let name = path.pop()?;
                    match path.len() {
                        0 if reply.root.is_empty() => reply.root = name,
                        0 => return None,
                        1 if record.0.is_empty() => {
                            reply.fields.0.insert(name, std::mem::take(&mut text));
                        }
                        1 => reply.records.push((name, std::mem::take(&mut record))),
                        2 => drop(record.0.insert(name, std::mem::take(&mut text))),
                        _ => {}
                    }
                }
                _ => {}
            }
        }
        Some(reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_records_are_read() {
        let list = br#"<?xml version="1.0" encoding="UTF-8"?>
            <ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
              <IsTruncated>true</IsTruncated><Prefix/>
              <Contents><Key>a&amp;b</Key><Size>3</Size><Owner><ID>x</ID></Owner></Contents>
              <Contents><Key>c</Key></Contents>
            </ListBucketResult>"#;
        let reply = Reply::parse(list).unwrap();
        assert_eq!((reply.root.as_str(), reply.fields.get("IsTruncated")), ("ListBucketResult", "true"));
        assert_eq!((reply.fields.get("Prefix"), reply.fields.get("Other")), ("", ""));
        let keys: Vec<_> =
            reply.records.iter().map(|(name, fields)| (name.as_str(), fields.get("Key"))).collect();
        assert_eq!(keys, [("Contents", "a&b"), ("Contents", "c")]);
        assert_eq!(reply.records[0].1.get("Size"), "3");
        let refusal = Reply::parse(b"<Error><Code>NoSuchKey</Code><Message>none</Message></Error>").unwrap();
        assert_eq!((refusal.root.as_str(), refusal.fields.get("Code")), ("Error", "NoSuchKey"));
    }

    #[test]
    fn other_texts_are_no_reply() {
        for text in ["", "OK", "<html><p></html>", "<a>", "<a></a><b></b>", "{\"a\": 1}"] {
            assert_eq!(Reply::parse(text.as_bytes()), None, "{text}");
        }
        let bomb = b"<!DOCTYPE a [<!ENTITY b \"bbbbbbbbbb\"><!ENTITY c \"&b;&b;&b;&b;&b;&b;&b;&b;\"> \
            <!ENTITY d \"&c;&c;&c;&c;&c;&c;&c;&c;\"><!ENTITY e \"&d;&d;&d;&d;&d;&d;&d;&d;\"> \
            <!ENTITY f \"&e;&e;&e;&e;&e;&e;&e;&e;\"><!ENTITY g \"&f;&f;&f;&f;&f;&f;&f;&f;\"> \
            <!ENTITY h \"&g;&g;&g;&g;&g;&g;&g;&g;\">]><a><b>&h;&h;&h;&h;&h;&h;&h;</b></a>";
        assert!(Reply::parse(bomb).is_none());
    }
}
