//! Media types: which are valid, which belong to which file names and contents, and which are safe to show.

pub(crate) mod parameters;
mod sniff;

use crate::limits;
use crate::model::Refusal;

pub use self::sniff::{Content, Format, Kind, Outline, sniff, tag_end};

/// The type of bytes without a known type.
pub const OCTET_STREAM: &str = "application/octet-stream";

/// A media type as it is stored and sent again: the text without the white space around it. It must be
/// `type/subtype`, parameters allowed (RFC 9110 section 8.3.1), in visible ASCII and spaces.
pub fn parse(text: &str) -> Result<String, Refusal> {
    let text = text.trim();
    let (essence, mut parameters) = parameters::split(text);
    let valid = text.len() <= limits::MIME_TYPE_BYTES
        && text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
        && essence.split_once('/').is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype))
        && parameters.all(|parameter| parameter.is_ok_and(|(name, _)| is_token(name)));
    if valid { Ok(text.to_owned()) } else { Err(Refusal::BadMimeType) }
}

/// The type without its parameters, in lower case.
pub fn essence(mime_type: &str) -> String {
    parameters::split(mime_type).0.to_ascii_lowercase()
}

/// The usual extension of a type, in lower case and without a dot; none if it has none or is not known.
pub fn extension_for(mime_type: &str) -> Option<&'static str> {
    let essence = essence(mime_type);
    let row = SHOWN.iter().chain(SAVED).find(|(known, _)| *known == essence);
    row.and_then(|(_, extensions)| extensions.split(' ').find(|extension| !extension.is_empty()))
}

/// The type of files with this extension, in any case and without a dot.
pub fn type_for(extension: &str) -> Option<&'static str> {
    let extension = extension.to_ascii_lowercase();
    let known = |extensions: &str| extensions.split(' ').any(|known| known == extension);
    let row = SHOWN.iter().chain(SAVED).find(|(_, extensions)| !extension.is_empty() && known(extensions));
    row.map(|(mime_type, _)| *mime_type)
}

/// Whether a type says nothing of what bytes are: that of bytes as such, a wildcard, or no type at all. Programs send
/// these for every file.
pub fn says_nothing(mime_type: &str) -> bool {
    let essence = essence(mime_type);
    let unknown = [OCTET_STREAM, "binary/octet-stream", "application/x-unknown", "application/unknown"];
    unknown.contains(&essence.as_str()) || essence.contains('*') || parse(mime_type).is_err()
}

/// The type with `charset=utf-8`, if it is one of text that names no character set and the text, which begins with
/// `first`, is in UTF-8. `whole` says that this is the whole text.
pub fn with_charset(mime_type: &str, first: &[u8], whole: bool) -> String {
    let (essence, parameters) = parameters::split(mime_type);
    let is_text = essence.len() > 5 && essence.as_bytes()[..5].eq_ignore_ascii_case(b"text/");
    let named = !matches!(parameters.get("charset"), Ok(None));
    if is_text && !named && is_utf8(first, whole) {
        format!("{}; charset=utf-8", mime_type.trim_end_matches([' ', ';']))
    } else {
        mime_type.to_owned()
    }
}

/// Whether a text is in UTF-8; of one that goes on the last character may be cut.
fn is_utf8(first: &[u8], whole: bool) -> bool {
    match str::from_utf8(first) {
        Ok(text) => !text.contains('\0'),
        Err(error) => !whole && error.error_len().is_none(),
    }
}

/// Whether a browser may show a file of this type in place: pictures made of pixels, sound, films, plain
/// text and PDF. Types that can hold scripts are never shown, nor are unknown types.
pub fn is_inline_safe(mime_type: &str) -> bool {
    let essence = essence(mime_type);
    SHOWN.iter().any(|(known, _)| *known == essence)
}

/// Whether files of this type may have previews: pictures, but for those whose sizes alone are read, and films.
pub fn may_have_preview(mime_type: &str) -> bool {
    match essence(mime_type).split_once('/') {
        Some(("image", subtype)) => !matches!(subtype, "svg+xml" | "jxl"),
        Some((kind, _)) => kind == "video",
        None => false,
    }
}

/// RFC 9110 section 5.6.2.
fn is_token(text: &str) -> bool {
    let other = |byte| b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || other(byte))
}

/// A type and its extensions, the usual one first. The first row with an extension has it: rows without one,
/// or further down, are other names of a type.
type Row = (&'static str, &'static str);

/// Types that are shown in place.
const SHOWN: &[Row] = &[
    ("image/jpeg", "jpg jpeg jpe jfif"),
    ("image/png", "png"),
    ("image/gif", "gif"),
    ("image/webp", "webp"),
    ("image/bmp", "bmp dib"),
    ("image/tiff", "tiff tif"),
    ("image/avif", "avif avifs"),
    ("image/heic", "heic heics"),
    ("image/heif", "heif heifs"),
    ("image/jpg", "jpg"),
    ("image/pjpeg", "jpg"),
    ("image/x-ms-bmp", "bmp"),
    ("audio/mpeg", "mp3 mp2 mpga"),
    ("audio/mp4", "m4a m4b"),
    ("audio/aac", "aac"),
    ("audio/ogg", "ogg oga spx"),
    ("audio/opus", "opus"),
    ("audio/flac", "flac"),
    ("audio/x-wav", "wav"),
    ("audio/webm", "weba"),
    ("audio/x-aiff", "aiff aif aifc"),
    ("audio/basic", "au snd"),
    ("audio/midi", "mid midi"),
    ("audio/amr", "amr"),
    ("audio/x-ms-wma", "wma"),
    ("audio/mp3", "mp3"),
    ("audio/x-m4a", "m4a"),
    ("audio/wav", "wav"),
    ("audio/wave", "wav"),
    ("audio/vnd.wave", "wav"),
    ("audio/x-flac", "flac"),
    ("video/mp4", "mp4 mp4v"),
    ("video/webm", "webm"),
    ("video/ogg", "ogv"),
    ("video/quicktime", "mov qt"),
    ("video/mpeg", "mpeg mpg mpe"),
    ("video/x-msvideo", "avi"),
    ("video/x-matroska", "mkv"),
    ("video/x-m4v", "m4v"),
    ("video/x-flv", "flv"),
    ("video/x-ms-wmv", "wmv"),
    ("video/3gpp", "3gp"),
    ("video/3gpp2", "3g2"),
    ("video/mp2t", "m2ts mts"),
    ("video/avi", "avi"),
    ("video/msvideo", "avi"),
    ("text/plain", "txt text log"),
    ("application/pdf", "pdf"),
];

/// Types that are saved.
const SAVED: &[Row] = &[
    (OCTET_STREAM, ""),
    ("image/svg+xml", "svg"),
    ("image/x-icon", "ico"),
    ("image/vnd.microsoft.icon", "ico"),
    ("image/vnd.adobe.photoshop", "psd"),
    ("image/jxl", "jxl"),
    ("text/html", "html htm"),
    ("application/xhtml+xml", "xhtml"),
    ("application/xml", "xml xsl"),
    ("text/xml", "xml"),
    ("text/css", "css"),
    ("text/csv", "csv"),
    ("text/calendar", "ics"),
    ("text/vcard", "vcf"),
    ("text/markdown", "md"),
    ("text/javascript", "js mjs"),
    ("application/javascript", "js"),
    ("application/json", "json"),
    ("application/rtf", "rtf"),
    ("application/postscript", "ps eps ai"),
    ("application/zip", "zip"),
    ("application/gzip", "gz"),
    ("application/x-gzip", "gz"),
    ("application/x-bzip2", "bz2"),
    ("application/x-xz", "xz"),
    ("application/zstd", "zst"),
    ("application/x-tar", "tar"),
    ("application/x-7z-compressed", "7z"),
    ("application/vnd.rar", "rar"),
    ("application/java-archive", "jar"),
    ("application/vnd.android.package-archive", "apk"),
    ("application/epub+zip", "epub"),
    ("application/msword", "doc"),
    ("application/vnd.ms-excel", "xls"),
    ("application/vnd.ms-powerpoint", "ppt"),
    ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", "docx"),
    ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "xlsx"),
    ("application/vnd.openxmlformats-officedocument.presentationml.presentation", "pptx"),
    ("application/vnd.oasis.opendocument.text", "odt"),
    ("application/vnd.oasis.opendocument.spreadsheet", "ods"),
    ("application/vnd.oasis.opendocument.presentation", "odp"),
    ("application/x-shockwave-flash", "swf"),
    ("application/ogg", "ogx"),
    ("font/woff", "woff"),
    ("font/woff2", "woff2"),
    ("font/ttf", "ttf"),
    ("font/otf", "otf"),
];

#[cfg(test)]
mod tests;
