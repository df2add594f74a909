//! The files of a user: media of channels and uploads by slot, under one name for both.

use std::fmt;
use std::str::FromStr;

use super::{Channel, MediaId, UploadId};

/// The table that a file has its row in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileKind {
    /// A media of a channel.
    Media,
    /// An upload by slot (XEP-0363).
    Upload,
}

impl FileKind {
    /// Its name: `media` or `upload`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Media => "media",
            Self::Upload => "upload",
        }
    }
}

/// The key of one file of either kind. As text it is `upload/<id>` or `<channel>/<id>`; a channel has an `@`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum FileKey {
    /// A media of a channel.
    Media(Channel, MediaId),
    /// An upload by slot.
    Upload(UploadId),
}

/// The text names no file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileKeyError;

const UPLOAD: &str = "upload";

/// The whole id, which gives access to an upload: for the owner, not for logs.
impl fmt::Display for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Media(channel, id) => write!(f, "{channel}/{id}"),
            Self::Upload(id) => write!(f, "{UPLOAD}/{}", id.as_str()),
        }
    }
}

impl FromStr for FileKey {
    type Err = FileKeyError;

    fn from_str(text: &str) -> Result<Self, FileKeyError> {
        let (folder, id) = text.split_once('/').ok_or(FileKeyError)?;
        if folder == UPLOAD {
            return UploadId::stored(id).map(Self::Upload).map_err(|_| FileKeyError);
        }
        match (folder.parse(), id.parse()) {
            (Ok(channel), Ok(id)) => Ok(Self::Media(channel, id)),
            _ => Err(FileKeyError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_they_are_written() {
        let keys = [
            FileKey::Media("room@example.org".parse().unwrap(), MediaId::random()),
            FileKey::Upload(UploadId::random()),
            FileKey::Upload(UploadId::external("0".repeat(64))),
        ];
        for key in keys {
            assert_eq!(key.to_string().parse(), Ok(key));
        }
    }

    #[test]
    fn other_texts_name_no_file() {
        let long = "x".repeat(70_000);
        for text in [
            "",
            "/",
            "upload",
            "upload/",
            "upload/../x",
            "upload/short",
            "room@example.org",
            "example.org/id",
            "room@example.org/",
            "room@example.org/a/b",
            "room@example.org/../b",
            "room@example.org/\u{202e}",
            &long,
        ] {
            assert_eq!(text.parse::<FileKey>(), Err(FileKeyError), "{text:.40}");
        }
    }
}
