//! Media for the tests of page and feed, hostile ones too.

use crate::clock::Timestamp;
use crate::model::{Description, Media};

pub const CHANNEL: &str = "room@example.com";

/// A photo with all texts.
pub fn media() -> Media {
    Media {
        id: "A".parse().unwrap(),
        channel: CHANNEL.parse().unwrap(),
        author: "alice@example.com".to_owned(),
        description: Description {
            file_name: Some("photo.jpg".to_owned()),
            title: Some("A title".to_owned()),
            description: Some("A description".to_owned()),
        },
        mime_type: "image/jpeg".to_owned(),
        uploaded: Timestamp::from_micros(1_390_500_000_000_000),
        last_updated: Timestamp::from_micros(1_390_500_001_500_000),
        extension: Some("jpg".to_owned()),
        sha1: "bc46".to_owned(),
        sha256: None,
        size: 60892,
        length: Some(4000),
        height: Some(300),
        width: Some(400),
    }
}

pub mod hostile {
    use super::{Description, Media};

    /// Texts that try to end what they stand in.
    pub const TEXTS: &[&str] = &[
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "' onmouseover='alert(1)",
        "</title></textarea></style></script><svg onload=alert(1)>",
        "javascript:alert(1)",
        "]]><x/>",
        "<!--",
        "-->",
        "<![CDATA[",
        "<?xml version='1.0'?>",
        "<!ENTITY x SYSTEM 'file:///etc/passwd'>&x;",
        "&lt;script&gt;&#0;&#x3c;",
        "`=/",
        "\u{1}\u{b}\u{7f}\u{85}\u{fffe}\u{1ffff}",
        "\u{2028}\u{2029}\u{202e}gpj.exe",
        "a\r\nSet-Cookie: b=c\r\n\r\n",
        " \t\n",
        "",
    ];

    /// A media that says this everywhere.
    pub fn media(text: &str) -> Media {
        let said = || Some(text.to_owned());
        Media {
            author: text.to_owned(),
            description: Description { file_name: said(), title: said(), description: said() },
            mime_type: text.to_owned(),
            extension: said(),
            sha1: text.to_owned(),
            ..super::media()
        }
    }

    /// Asserts that the document has the same markup as one with harmless texts: not one tag or attribute more.
    #[track_caller]
    pub fn assert_parts(document: &str, harmless: &str, text: &str) {
        let is_blank = text.trim().is_empty();
        let count = |document: &str, what: char| document.matches(what).count();
        for what in ['<', '>', '"', '\''] {
            let (found, expected) = (count(document, what), count(harmless, what));
            assert!(found == expected || (is_blank && found < expected), "{what} for {text:?}: {document}");
        }
        let odd = |c: char| c.is_control() && c != '\n';
        assert!(!document.contains(odd) && !document.contains('\u{fffe}'), "{text:?}: {document}");
    }
}
