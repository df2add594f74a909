//! The values of a line, parsed as those of a client are: nothing comes into a database that a request could not bring. What
//! older servers took is taken, too, where it does no harm: long texts, names with folders, an uploader with a resource.

use super::line::Record;
use crate::clock::Timestamp;
use crate::limits;
use crate::media_type;
use crate::model::{
    BareJid, Channel, Description, Jid, Media, MediaId, Preview, Purpose, UploadFile, UploadId, Uploaded,
};
use crate::store::{Block, EmptiedUpload, StoredRow, UsageKind, UsageSum};
use crate::uploads::{ForeignPath, is_slot_name};

/// A value, or what is wrong with it.
type Parsed<T> = Result<T, String>;

/// Bytes of the largest file: more than any disk has.
const SIZE_MAX: u64 = 1 << 50;
/// The first and the last moment that can be written as RFC 3339: the years 0001 to 9999.
const DATES: std::ops::RangeInclusive<i64> = -62_135_596_800_000_000..=253_402_300_799_999_999;
/// Characters of a value that an error shows.
const SHOWN: usize = 60;

/// The row of a record.
pub(super) fn row(record: Record) -> Parsed<StoredRow> {
    match record {
        Record::Store { id, .. } => {
            let parsed = |id: String| id.parse().map_err(|()| wrong("id", &id, "the id of a store"));
            Ok(StoredRow::Store(id.map(parsed).transpose()?))
        }
        record @ Record::Media { .. } => media(record),
        record @ Record::Preview { .. } => preview(record),
        Record::Avatar { channel, media } => {
            Ok(StoredRow::Avatar(channel_of("channel", &channel)?, media_id("media", &media)?))
        }
        record @ Record::Upload { .. } => upload(record),
        Record::Emptied { id, purpose, created, slot_ends } => Ok(StoredRow::Emptied(EmptiedUpload {
            id: upload_id(&id)?,
            purpose: purpose_of(&purpose)?,
            created: date("created", created)?,
            slot_ends: slot_ends.map(|time| date("slot_ends", time)).transpose()?,
        })),
        Record::Block { jid, since, by } => Ok(StoredRow::Block(Block {
            jid: bare("jid", &jid)?,
            since: date("since", since)?,
            by: bare("by", &by)?,
        })),
        Record::Usage { kind, name, files, bytes } => Ok(StoredRow::Sum(UsageSum {
            kind: UsageKind::from_name(&kind).ok_or_else(|| wrong("kind", &kind, "the kind of a sum"))?,
            name: text("name", name, limits::FIELD_BYTES)?,
            files: size("files", files)?,
            bytes: size("bytes", bytes)?,
        })),
        Record::End { .. } => Err("it is no row".to_owned()),
    }
}

fn media(record: Record) -> Parsed<StoredRow> {
    let Record::Media { id, channel, author, name, title, description, mime_type, .. } = record.clone()
    else {
        return Err("it is no media".to_owned());
    };
    let Record::Media {
        uploaded, updated, extension, sha1, sha256, size: bytes, length, height, width, ..
    } = record
    else {
        return Err("it is no media".to_owned());
    };
    let long = |member, value: Option<String>| {
        value.map(|value| text(member, value, limits::FIELD_BYTES)).transpose()
    };
    if author.parse::<Jid>().is_err() {
        return Err(wrong("author", &author, "an XMPP address"));
    }
    Ok(StoredRow::Media(Box::new(Media {
        id: media_id("id", &id)?,
        channel: channel_of("channel", &channel)?,
        author,
        description: Description {
            file_name: long("name", name)?,
            title: long("title", title)?,
            description: long("description", description)?,
        },
        mime_type: type_of(mime_type)?,
        uploaded: date("uploaded", uploaded)?,
        last_updated: date("updated", updated)?,
        extension: extension.map(|value| text("extension", value, limits::FILE_NAME_BYTES)).transpose()?,
        // The original left out zeros at the beginning.
        sha1: hex("sha1", sha1, 0..=40)?,
        sha256: sha256.map(|value| hex("sha256", value, 64..=64)).transpose()?,
        size: size("size", bytes)?,
        length: length.map(|value| number("length", value, i64::MAX.unsigned_abs())).transpose()?,
        height: height.map(|value| side("height", value)).transpose()?,
        width: width.map(|value| side("width", value)).transpose()?,
    })))
}

fn preview(record: Record) -> Parsed<StoredRow> {
    let Record::Preview { id, media, height, width, mime_type, size: bytes, sha1, used } = record else {
        return Err("it is no preview".to_owned());
    };
    let preview = Preview {
        id: media_id("id", &id)?,
        height: side("height", height)?,
        width: side("width", width)?,
        mime_type: type_of(mime_type)?,
        size: size("size", bytes)?,
        sha1: hex("sha1", sha1, 0..=40)?,
        last_used: date("used", used)?,
    };
    Ok(StoredRow::Preview(media_id("media", &media)?, preview))
}

fn upload(record: Record) -> Parsed<StoredRow> {
    let Record::Upload { id, path, file, owner, name, mime_type, size: bytes, .. } = record.clone() else {
        return Err("it is no upload".to_owned());
    };
    let Record::Upload { sha256, purpose, created, expires, slot_ends, .. } = record else {
        return Err("it is no upload".to_owned());
    };
    let id = match &path {
        Some(path) => foreign_id(&id, path, &name)?,
        None => own_id(&id, &name)?,
    };
    Ok(StoredRow::Upload(Box::new(Uploaded {
        id,
        path,
        file: file.parse::<UploadFile>().map_err(|_| wrong("file", &file, "the name of an upload's file"))?,
        owner: owner.map(|owner| bare("owner", &owner).map(|jid| jid.to_string())).transpose()?,
        file_name: name,
        mime_type: type_of(mime_type)?,
        size: size("size", bytes)?,
        sha256: hex("sha256", sha256, 64..=64)?,
        purpose: purpose_of(&purpose)?,
        created: date("created", created)?,
        expires: expires.map(|time| date("expires", time)).transpose()?,
        slot_ends: slot_ends.map(|time| date("slot_ends", time)).transpose()?,
    })))
}

/// The id of an upload by a slot of ours.
fn own_id(id: &str, name: &str) -> Parsed<UploadId> {
    if !is_slot_name(name) {
        return Err(wrong("name", name, "the file name of a slot"));
    }
    id.parse().map_err(|_| wrong("id", id, "the id of an upload"))
}

/// The id of an upload to a slot of the XMPP server: the hash of its path.
fn foreign_id(id: &str, path: &str, name: &str) -> Parsed<UploadId> {
    let segments: Vec<String> = path.split('/').map(str::to_owned).collect();
    let parsed = ForeignPath::of(&segments).ok_or_else(|| wrong("path", path, "the path of a slot"))?;
    if parsed.id().as_str() != id {
        return Err(wrong("id", id, "the hash of the path"));
    }
    if parsed.file_name() != name {
        return Err(wrong("name", name, "the last part of the path"));
    }
    Ok(parsed.id())
}

fn media_id(member: &str, value: &str) -> Parsed<MediaId> {
    value.parse().map_err(|_| wrong(member, value, "the id of a media or a preview"))
}

fn upload_id(value: &str) -> Parsed<UploadId> {
    UploadId::stored(value).map_err(|_| wrong("id", value, "the id of an upload"))
}

/// A channel by its prepared name, as its directory has it.
fn channel_of(member: &str, value: &str) -> Parsed<Channel> {
    let parsed = value.parse::<Channel>().ok().filter(|channel| channel.as_str() == value);
    parsed.ok_or_else(|| wrong(member, value, "a channel's address in its prepared form"))
}

fn bare(member: &str, value: &str) -> Parsed<BareJid> {
    let parsed = value.parse::<BareJid>().ok().filter(|jid| jid.as_str() == value);
    parsed.ok_or_else(|| wrong(member, value, "a bare JID in its prepared form"))
}

fn type_of(value: String) -> Parsed<String> {
    match media_type::parse(&value) {
        Ok(parsed) if parsed == value => Ok(value),
        _ => Err(wrong("type", &value, "a media type")),
    }
}

fn purpose_of(value: &str) -> Parsed<Purpose> {
    Purpose::from_name(value).ok_or_else(|| wrong("purpose", value, "a purpose"))
}

fn date(member: &str, micros: i64) -> Parsed<Timestamp> {
    if DATES.contains(&micros) {
        return Ok(Timestamp::from_micros(micros));
    }
    Err(wrong(member, &micros.to_string(), "a date of the years 1 to 9999 in microseconds"))
}

fn size(member: &str, value: u64) -> Parsed<u64> {
    number(member, value, SIZE_MAX)
}

/// Height or width in pixels, as the databases hold it.
fn side(member: &str, value: u32) -> Parsed<u32> {
    number(member, value.into(), i32::MAX.unsigned_abs().into()).map(|_| value)
}

fn number(member: &str, value: u64, max: u64) -> Parsed<u64> {
    if value <= max { Ok(value) } else { Err(wrong(member, &value.to_string(), &format!("at most {max}"))) }
}

/// A text that both databases hold: without NUL.
fn text(member: &str, value: String, max: usize) -> Parsed<String> {
    if value.len() > max {
        return Err(wrong(member, &value, &format!("a text of at most {max} bytes")));
    }
    if value.contains('\0') { Err(wrong(member, &value, "a text without NUL")) } else { Ok(value) }
}

fn hex(member: &str, value: String, length: std::ops::RangeInclusive<usize>) -> Parsed<String> {
    let is_hex = value.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    if is_hex && length.contains(&value.len()) {
        return Ok(value);
    }
    let digits = length.end();
    Err(wrong(member, &value, &format!("a hash of {digits} lower-case hexadecimal digits")))
}

fn wrong(member: &str, value: &str, wanted: &str) -> String {
    let mut shown: String = value.chars().take(SHOWN).collect();
    if shown.len() < value.len() {
        shown += "...";
    }
    format!("{member}: {shown:?} is not {wanted}")
}
