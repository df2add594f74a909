//! A line of an export: a JSON object. Pure text, no I/O.
//!
//! Dates are microseconds since 1970 in UTC, as both databases have them, so that nothing is lost.

use serde::{Deserialize, Serialize};

use super::values;
use crate::clock::Timestamp;
use crate::store::{StoredRow, UsageSum};

/// The version of the format. An import reads no other.
const FORMAT: u32 = 1;

/// A line of an export, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// A row.
    Row(Box<StoredRow>),
    /// The end.
    End {
        /// How many lines come before.
        records: u64,
    },
}

/// A line as it is written. The order of the members is that of the text.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "record", rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum Record {
    Store {
        format: u32,
        id: Option<String>,
    },
    Media {
        id: String,
        channel: String,
        author: String,
        name: Option<String>,
        title: Option<String>,
        description: Option<String>,
        #[serde(rename = "type")]
        mime_type: String,
        uploaded: i64,
        updated: i64,
        extension: Option<String>,
        sha1: String,
        sha256: Option<String>,
        size: u64,
        length: Option<u64>,
        height: Option<u32>,
        width: Option<u32>,
    },
    Preview {
        id: String,
        media: String,
        height: u32,
        width: u32,
        #[serde(rename = "type")]
        mime_type: String,
        size: u64,
        sha1: String,
        used: i64,
    },
    Avatar {
        channel: String,
        media: String,
    },
    Upload {
        id: String,
        path: Option<String>,
        file: String,
        owner: Option<String>,
        name: String,
        #[serde(rename = "type")]
        mime_type: String,
        size: u64,
        sha256: String,
        purpose: String,
        created: i64,
        expires: Option<i64>,
        slot_ends: Option<i64>,
    },
    Emptied {
        id: String,
        purpose: String,
        created: i64,
        slot_ends: Option<i64>,
    },
    Block {
        jid: String,
        since: i64,
        by: String,
    },
    Usage {
        kind: String,
        name: String,
        files: u64,
        bytes: u64,
    },
    End {
        records: u64,
    },
}

/// The place of a line in the order of an export: its table, and its key there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place(u8, String, String);

impl Place {
    pub(super) fn is_first(&self) -> bool {
        self.0 == 0
    }
}

impl Line {
    pub(super) fn place(&self) -> Place {
        let Self::Row(row) = self else { return Place(u8::MAX, String::new(), String::new()) };
        let (table, key, more) = match &**row {
            StoredRow::Store(_) => (0, "", ""),
            StoredRow::Media(media) => (1, media.id.as_str(), ""),
            StoredRow::Preview(_, preview) => (2, preview.id.as_str(), ""),
            StoredRow::Avatar(channel, _) => (3, channel.as_str(), ""),
            StoredRow::Upload(upload) => (4, upload.id.as_str(), ""),
            StoredRow::Emptied(upload) => (4, upload.id.as_str(), ""),
            StoredRow::Block(block) => (5, block.jid.as_str(), ""),
            StoredRow::Sum(UsageSum { kind, name, .. }) => (6, kind.name(), name.as_str()),
        };
        Place(table, key.to_owned(), more.to_owned())
    }
}

/// Parses a line, each value as one of a client's would be. The error says what is wrong, and shows the value.
pub fn parse(text: &str) -> Result<Line, String> {
    let record: Record = serde_json::from_str(text).map_err(|cause| told(&cause))?;
    match record {
        Record::End { records } => Ok(Line::End { records }),
        Record::Store { format, .. } if format != FORMAT => {
            Err(format!("the export has format {format}, but this program supports only format {FORMAT}"))
        }
        record => values::row(record).map(|row| Line::Row(Box::new(row))),
    }
}

/// The fault of the JSON. A line knows its own number; serde_json's is always 1.
fn told(cause: &serde_json::Error) -> String {
    let text = cause.to_string();
    match text.split_once(" at line ") {
        Some((text, _)) => format!("{text} (character {})", cause.column()),
        None => text,
    }
}

/// The line of a row.
pub fn write(row: &StoredRow) -> String {
    text(&record(row))
}

/// The last line of an export with so many lines before.
pub(super) fn write_end(records: u64) -> String {
    text(&Record::End { records })
}

fn text(record: &Record) -> String {
    // Texts and numbers can always be written.
    serde_json::to_string(record).unwrap_or_default()
}

fn record(row: &StoredRow) -> Record {
    match row.clone() {
        StoredRow::Store(id) => Record::Store { format: FORMAT, id: id.map(|id| id.to_string()) },
        StoredRow::Media(media) => Record::Media {
            id: media.id.to_string(),
            channel: media.channel.to_string(),
            author: media.author,
            name: media.description.file_name,
            title: media.description.title,
            description: media.description.description,
            mime_type: media.mime_type,
            uploaded: media.uploaded.as_micros(),
            updated: media.last_updated.as_micros(),
            extension: media.extension,
            sha1: media.sha1,
            sha256: media.sha256,
            size: media.size,
            length: media.length,
            height: media.height,
            width: media.width,
        },
        StoredRow::Preview(media, preview) => Record::Preview {
            id: preview.id.to_string(),
            media: media.to_string(),
            height: preview.height,
            width: preview.width,
            mime_type: preview.mime_type,
            size: preview.size,
            sha1: preview.sha1,
            used: preview.last_used.as_micros(),
        },
        StoredRow::Avatar(channel, media) => {
            Record::Avatar { channel: channel.to_string(), media: media.to_string() }
        }
        StoredRow::Upload(upload) => Record::Upload {
            id: upload.id.as_str().to_owned(),
            path: upload.path,
            file: upload.file.to_string(),
            owner: upload.owner,
            name: upload.file_name,
            mime_type: upload.mime_type,
            size: upload.size,
            sha256: upload.sha256,
            purpose: upload.purpose.name().to_owned(),
            created: upload.created.as_micros(),
            expires: upload.expires.map(Timestamp::as_micros),
            slot_ends: upload.slot_ends.map(Timestamp::as_micros),
        },
        StoredRow::Emptied(upload) => Record::Emptied {
            id: upload.id.as_str().to_owned(),
            purpose: upload.purpose.name().to_owned(),
            created: upload.created.as_micros(),
            slot_ends: upload.slot_ends.map(Timestamp::as_micros),
        },
        StoredRow::Block(block) => Record::Block {
            jid: block.jid.to_string(),
            since: block.since.as_micros(),
            by: block.by.to_string(),
        },
        StoredRow::Sum(UsageSum { kind, name, files, bytes }) => {
            Record::Usage { kind: kind.name().to_owned(), name, files, bytes }
        }
    }
}
