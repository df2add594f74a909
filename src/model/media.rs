//! Stored files and their metadata.

use std::fmt;
use std::str::FromStr;

use super::Channel;
use crate::clock::Timestamp;
use crate::limits;

/// The id of a media file within its channel: `[A-Za-z0-9_-]{1,64}`. It is safe as a path component.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MediaId(String);

impl MediaId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A new id: [`limits::MEDIA_ID_NEW`] letters and digits from the kernel's random numbers.
    ///
    /// # Panics
    /// If the kernel gives no random numbers. Then the request fails, and the daemon goes on.
    pub fn random() -> Self {
        Self(letters(limits::MEDIA_ID_NEW))
    }
}

/// Random letters and digits, all equally likely.
///
/// # Panics
/// If the kernel gives no random numbers.
pub(super) fn letters(count: usize) -> String {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut text = String::with_capacity(count);
    let mut random = [0; 48];
    while text.len() < count {
        getrandom::fill(&mut random).expect("the kernel gives random numbers");
        // Bytes from 248 on would make the first letters more likely than the last.
        let fair = random.iter().filter(|byte| **byte < 248);
        let letters = fair.map(|byte| char::from(ALPHABET[usize::from(byte % 62)]));
        let missing = count - text.len();
        text.extend(letters.take(missing));
    }
    text
}

/// The text is not a media id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaIdError;

impl FromStr for MediaId {
    type Err = MediaIdError;

    fn from_str(text: &str) -> Result<Self, MediaIdError> {
        let valid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        let length = 1..=limits::MEDIA_ID_CHARS;
        if length.contains(&text.len()) && text.bytes().all(valid) {
            Ok(Self(text.to_owned()))
        } else {
            Err(MediaIdError)
        }
    }
}

impl fmt::Display for MediaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The texts that an uploader gives. In an update, a field that is `None` is not changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// The file name.
    pub file_name: Option<String>,
    /// A title.
    pub title: Option<String>,
    /// A description.
    pub description: Option<String>,
}

/// A stored media file: a row of table `medias`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    /// Its id in the channel.
    pub id: MediaId,
    /// Its channel (`entityId`).
    pub channel: Channel,
    /// The uploader's bare JID, as stored; rows of the original server may hold any text.
    pub author: String,
    /// The uploader's texts.
    pub description: Description,
    /// Its media type, as served.
    pub mime_type: String,
    /// When it was uploaded.
    pub uploaded: Timestamp,
    /// When it was uploaded or its description last changed.
    pub last_updated: Timestamp,
    /// The extension of its file name, or the usual one of its type; without the dot.
    pub extension: Option<String>,
    /// The SHA-1 of its bytes, in lower-case hexadecimal.
    pub sha1: String,
    /// The SHA-256 of its bytes, in lower-case hexadecimal; unknown of what was uploaded before schema 8.
    pub sha256: Option<String>,
    /// Its size in bytes.
    pub size: u64,
    /// Its playing time in milliseconds.
    pub length: Option<u64>,
    /// Its height in pixels.
    pub height: Option<u32>,
    /// Its width in pixels.
    pub width: Option<u32>,
}

impl Description {
    /// The size of the texts in bytes.
    pub fn size(&self) -> u64 {
        let texts = [&self.file_name, &self.title, &self.description];
        texts.into_iter().flatten().map(|text| text.len() as u64).sum()
    }
}

impl Media {
    /// The bytes that count for quotas: file, texts, and [`limits::MEDIA_COST`].
    pub fn cost(&self) -> u64 {
        limits::MEDIA_COST.saturating_add(self.size).saturating_add(self.description.size())
    }
}

/// A stored preview: a row of table `previews`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preview {
    /// The name of its file, in the channel's directory.
    pub id: MediaId,
    /// The height of the requested box, in pixels.
    pub height: u32,
    /// The width of the requested box, in pixels.
    pub width: u32,
    /// Its media type.
    pub mime_type: String,
    /// Its size in bytes.
    pub size: u64,
    /// The SHA-1 of its bytes, in lower-case hexadecimal.
    pub sha1: String,
    /// When it was last requested, roughly.
    pub last_used: Timestamp,
}

/// A page of a channel's list. Lists are sorted newest first, then by descending id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// At most this many entries.
    pub max: usize,
    /// Only entries newer than this one; no entries if the channel has no such media.
    pub after: Option<MediaId>,
    /// Only entries older than this one; no entries if the channel has no such media.
    pub before: Option<MediaId>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cost_is_file_texts_and_a_constant() {
        let texts = [Some("é".to_owned()), None, Some("abc".to_owned())];
        let [file_name, title, description] = texts;
        let media = Media {
            id: MediaId::random(),
            channel: "room@example.org".parse().unwrap(),
            author: "alice@example.org".into(),
            description: Description { file_name, title, description },
            mime_type: "text/plain".into(),
            uploaded: Timestamp::from_micros(0),
            last_updated: Timestamp::from_micros(0),
            extension: None,
            sha1: String::new(),
            sha256: None,
            size: 10,
            length: None,
            height: None,
            width: None,
        };
        assert_eq!(media.cost(), limits::MEDIA_COST + 10 + 5);
        assert_eq!(Media { size: u64::MAX, ..media }.cost(), u64::MAX);
    }

    #[test]
    fn ids_hold_no_characters_with_a_meaning_in_paths() {
        for good in ["a", "lETuJi8rPE4IfQrygN6r", "A_b-9", &"x".repeat(64)] {
            assert!(good.parse::<MediaId>().is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a.b", "é", "a b", "a\0", &"x".repeat(65)] {
            assert!(bad.parse::<MediaId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn new_ids_are_valid_and_differ() {
        let ids: std::collections::HashSet<_> = (0..1000).map(|_| MediaId::random()).collect();
        assert_eq!(ids.len(), 1000);
        for id in ids {
            assert_eq!(id.as_str().len(), limits::MEDIA_ID_NEW);
            assert_eq!(id.as_str().parse(), Ok(id.clone()));
        }
    }
}
