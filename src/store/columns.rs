//! The columns of table `medias`, each once: its name, its written value, and its reader.

use std::sync::LazyLock;

use super::value::{FromValue, Row, Value};
use crate::clock::Timestamp;
use crate::error::{Error, Kind, Result};
use crate::model::{Channel, Description, Media};

/// A column of table `medias` besides the two that name a media: `id` and `entityId`, its channel.
pub(super) struct Column {
    name: &'static str,
    written: fn(&Media) -> Value,
    read: fn(&mut Media, &mut Row) -> Result<()>,
}

/// The columns, in the order of every statement. A new one is added here, and in an upgrade of the schema.
#[rustfmt::skip]
pub(super) const COLUMNS: [Column; 14] = [
    Column { name: "fileName", written: |media| media.description.file_name.clone().into(), read: |media, row| put(&mut media.description.file_name, row) },
    Column { name: "author", written: |media| media.author.clone().into(), read: |media, row| put(&mut media.author, row) },
    Column { name: "title", written: |media| media.description.title.clone().into(), read: |media, row| put(&mut media.description.title, row) },
    Column { name: "description", written: |media| media.description.description.clone().into(), read: |media, row| put(&mut media.description.description, row) },
    Column { name: "mimeType", written: |media| media.mime_type.clone().into(), read: |media, row| put(&mut media.mime_type, row) },
    Column { name: "uploadedDate", written: |media| media.uploaded.into(), read: |media, row| put(&mut media.uploaded, row) },
    Column { name: "lastUpdatedDate", written: |media| media.last_updated.into(), read: |media, row| put(&mut media.last_updated, row) },
    Column { name: "fileExtension", written: |media| media.extension.clone().into(), read: |media, row| put(&mut media.extension, row) },
    Column { name: "shaChecksum", written: |media| media.sha1.clone().into(), read: |media, row| put(&mut media.sha1, row) },
    Column { name: "sha256", written: |media| media.sha256.clone().into(), read: |media, row| put(&mut media.sha256, row) },
    Column { name: "fileSize", written: |media| media.size.into(), read: |media, row| put(&mut media.size, row) },
    Column { name: "length", written: |media| media.length.into(), read: |media, row| put_if_possible(&mut media.length, row) },
    Column { name: "height", written: |media| media.height.into(), read: |media, row| put_if_possible(&mut media.height, row) },
    Column { name: "width", written: |media| media.width.into(), read: |media, row| put_if_possible(&mut media.width, row) },
];

fn put<T: FromValue>(field: &mut T, row: &mut Row) -> Result<()> {
    *field = row.next()?;
    Ok(())
}

/// A number that can't be is as good as a missing one.
fn put_if_possible<T: TryFrom<i64>>(field: &mut Option<T>, row: &mut Row) -> Result<()> {
    *field = row.next::<Option<i64>>()?.and_then(|number| number.try_into().ok());
    Ok(())
}

/// The columns of a statement that selects media: the id, then all others.
pub(super) static SELECTED: LazyLock<String> =
    LazyLock::new(|| COLUMNS.iter().fold("id".to_owned(), |list, column| list + ", " + column.name));

/// Stores a media: its columns, its id and its channel. Does nothing if the id is taken.
pub(super) static INSERT: LazyLock<String> = LazyLock::new(|| {
    let parameters: Vec<String> = (1..=COLUMNS.len() + 2).map(|number| format!("${number}")).collect();
    format!(
        "INSERT INTO medias ({}, entityId) VALUES ({}) ON CONFLICT (id) DO NOTHING",
        *SELECTED,
        parameters.join(", ")
    )
});

/// The parameters of [`INSERT`].
pub(super) fn inserted(media: &Media) -> Vec<Value> {
    let id = std::iter::once(media.id.as_str().into());
    let columns = COLUMNS.iter().map(|column| (column.written)(media));
    id.chain(columns).chain(std::iter::once(media.channel.as_str().into())).collect()
}

/// The media of a row that begins with [`SELECTED`].
pub(super) fn media(row: &mut Row, channel: &Channel) -> Result<Media> {
    let id: String = row.next()?;
    let id = id.parse().map_err(|_| Error::new(Kind::Corrupt, format!("the id {id:?} is not valid")))?;
    let long_ago = Timestamp::from_micros(0);
    let mut media = Media {
        id,
        channel: channel.clone(),
        author: String::new(),
        description: Description::default(),
        mime_type: String::new(),
        uploaded: long_ago,
        last_updated: long_ago,
        extension: None,
        sha1: String::new(),
        sha256: None,
        size: 0,
        length: None,
        height: None,
        width: None,
    };
    for column in &COLUMNS {
        (column.read)(&mut media, row)?;
    }
    Ok(media)
}
