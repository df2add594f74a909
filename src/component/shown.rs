//! Files as text for people: one line for each, and its address. Pure functions.

use crate::clock::Timestamp;
use crate::http::target;
use crate::limits;
use crate::model::is_invisible;
use crate::store::{FileRow, FileSum};
use crate::uploads::{encoded_name, shown_size};

/// The name of a file as one line: without control characters and those that turn the direction of a text, and cut
/// after [`limits::SHOWN_CHARS`] characters. Users name files, and others are shown the names.
pub(super) fn name(row: &FileRow) -> String {
    let stored = row.file_name.as_deref().unwrap_or_default();
    let visible = |c: &char| !is_invisible(*c);
    let text: String = stored.chars().filter(visible).take(limits::SHOWN_CHARS + 1).collect();
    let text = text.trim();
    match text.char_indices().nth(limits::SHOWN_CHARS) {
        Some((end, _)) => format!("{}...", text[..end].trim_end()),
        None if text.is_empty() => "a file without a name".to_owned(),
        None => text.to_owned(),
    }
}

/// A file: its name, its channel, its size and its dates.
pub(super) fn line(row: &FileRow) -> String {
    let channel = row.channel.as_deref().map(|channel| format!(" in {}", cut(channel))).unwrap_or_default();
    let until = row.expires.map(|time| format!(", kept until {}", date(time))).unwrap_or_default();
    format!("{}{channel}, {}, {}{until}", name(row), shown_size(row.size), date(row.created))
}

/// A text that others chose, of no more than [`limits::SHOWN_CHARS`] characters.
pub(super) fn cut(text: &str) -> String {
    match text.char_indices().nth(limits::SHOWN_CHARS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// The day, as `2014-01-23`.
pub(super) fn date(time: Timestamp) -> String {
    let text = time.to_string();
    text.split('T').next().unwrap_or_default().to_owned()
}

/// Files and their bytes.
pub(super) fn sum(sum: FileSum) -> String {
    format!("{}, {}", count(sum.files), shown_size(sum.bytes))
}

/// So many files, with the noun.
pub(super) fn count(files: u64) -> String {
    if files == 1 { "1 file".to_owned() } else { format!("{files} files") }
}

/// The path of a file's URL.
pub fn path(row: &FileRow) -> String {
    match (&row.channel, &row.path) {
        (Some(channel), _) => format!("/{}/{}", target::segment(channel), row.id),
        (None, Some(path)) => {
            let segments: Vec<_> = path.split('/').map(encoded_name).collect();
            format!("/external/{}", segments.join("/"))
        }
        (None, None) => {
            let name = row.file_name.as_deref().filter(|name| !name.is_empty()).unwrap_or("file");
            format!("/upload/{}/{}", row.id, encoded_name(name))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FileKind;

    fn row(name: Option<&str>) -> FileRow {
        FileRow {
            kind: FileKind::Upload,
            id: "x".repeat(24),
            channel: None,
            owner: Some("alice@example.org".to_owned()),
            file_name: name.map(str::to_owned),
            mime_type: "image/jpeg".to_owned(),
            size: 1_572_864,
            created: Timestamp::from_micros(1_390_500_000_123_999),
            purpose: Some("message".to_owned()),
            path: None,
            expires: None,
        }
    }

    #[test]
    fn a_file_is_one_line() {
        assert_eq!(line(&row(Some("a b.jpg"))), "a b.jpg, 1.5 MiB, 2014-01-23");
        let expires = Some(Timestamp::from_micros(1_400_000_000_000_000));
        assert_eq!(
            line(&FileRow { expires, ..row(Some("a")) }),
            "a, 1.5 MiB, 2014-01-23, kept until 2014-05-13"
        );
        let channel = Some("room@example.org".to_owned());
        let media = FileRow { kind: FileKind::Media, channel, purpose: None, ..row(None) };
        assert_eq!(line(&media), "a file without a name in room@example.org, 1.5 MiB, 2014-01-23");
    }

    #[test]
    fn no_name_turns_a_line_or_begins_another() {
        for (stored, shown) in [
            ("gpj.\u{202e}exe", "gpj.exe"),
            ("a\n2. b.jpg", "a2. b.jpg"),
            ("a\r\u{85}\u{2028}\u{2029}b", "ab"),
            ("\u{2066}a\u{2069}\u{200f}\u{61c}\u{feff}\u{200b}", "a"),
            (" \t ", "a file without a name"),
            ("", "a file without a name"),
            ("\u{5e9}\u{5dc}\u{5d5}\u{5dd}.jpg", "\u{5e9}\u{5dc}\u{5d5}\u{5dd}.jpg"),
            ("\0", "a file without a name"),
        ] {
            assert_eq!(name(&row(Some(stored))), shown, "{stored:?}");
        }
        let long = name(&row(Some(&"é".repeat(65_536))));
        assert_eq!(long, format!("{}...", "é".repeat(64)));
        assert_eq!(name(&row(Some(&"é".repeat(64)))), "é".repeat(64));
    }

    #[test]
    fn counts_have_their_noun() {
        assert_eq!(sum(FileSum { files: 0, bytes: 0 }), "0 files, 0 bytes");
        assert_eq!(sum(FileSum { files: 1, bytes: 1024 }), "1 file, 1 KiB");
    }

    #[test]
    fn paths_lead_to_the_three_places_of_files() {
        let upload = row(Some("ü b?.jpg"));
        let external = FileRow { path: Some("x y/ü#.jpg".to_owned()), ..upload.clone() };
        let media = FileRow {
            kind: FileKind::Media,
            id: "id".to_owned(),
            channel: Some("a/b@example.org".to_owned()),
            ..upload.clone()
        };
        assert_eq!(path(&upload), format!("/upload/{}/%C3%BC%20b%3F.jpg", upload.id));
        assert_eq!(path(&row(None)), format!("/upload/{}/file", upload.id));
        assert_eq!(path(&external), "/external/x%20y/%C3%BC%23.jpg");
        assert_eq!(path(&media), "/a%2Fb@example.org/id");
    }
}
