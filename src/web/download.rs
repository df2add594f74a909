//! `GET /{channel}/{id}`: the bytes of a media, whole or in part (RFC 9110 sections 13 and 14).

use std::ops::Range;
use std::sync::Arc;

use super::Web;
use crate::access::Granted;
use crate::http::conditional::{self, Validators};
use crate::http::{Exchange, Response, disposition, range, target};
use crate::media::Name;
use crate::model::{Media, Method, Preview, Refusal};
use crate::preview::Bounds;
use crate::store::{Presented, StoredFile};
use crate::{limits, media_type};

impl Web {
    pub(super) fn download(
        &self,
        exchange: &Exchange,
        media: &Media,
        name: &Name,
        granted: &Granted,
    ) -> Result<Response, Refusal> {
        let (content, stored) = match preview_bounds(exchange.query())? {
            Some(bounds) => {
                let (preview, stored) =
                    self.library.preview(media, bounds, Some(exchange.client().network()))?;
                (Content::of_preview(media, &preview), Some(stored))
            }
            None => (Content::of_media(media), None),
        };
        let response = match precondition(exchange, &content.validators) {
            conditional::Outcome::PreconditionFailed => return Err(Refusal::PreconditionFailed),
            // The row is enough: the client has the bytes of this SHA-1, even if our file is gone. A client without them
            // learns that the file is gone.
            conditional::Outcome::NotModified => Response::new(304),
            conditional::Outcome::Proceed => match self.led_away(exchange, media, name, granted) {
                Some(response) => return Ok(response),
                None => content.answer(exchange, self.opened(media, stored)?),
            },
        };
        Ok(response
            .header("ETag", content.validators.etag().to_owned())
            .header("Last-Modified", content.validators.last_modified())
            .header("Cache-Control", self.cache_control(name, granted)))
    }

    /// Whether a download of this media needs no preview that must be looked up or made, and no text that must be fetched.
    pub(super) fn is_ready(&self, media: &Media, exchange: &Exchange) -> bool {
        match preview_bounds(exchange.query()) {
            Ok(Some(bounds)) => self.library.knows_preview(media, bounds),
            Ok(None) => !is_text(&media.mime_type) || self.library.begins_here(media),
            Err(_) => true,
        }
    }

    /// The redirect of the client to the store, if the operator has set it. Only for a whole file that browsers save and do
    /// not show: the store does not send the fields that keep a file from acting as a page.
    fn led_away(
        &self,
        exchange: &Exchange,
        media: &Media,
        name: &Name,
        granted: &Granted,
    ) -> Option<Response> {
        let is_open = matches!((name, granted), (Name::Id(_), Granted::Public));
        if !(self.library.is_far() && is_open && asks_for_whole(exchange)) {
            return None;
        }
        let disposition =
            disposition::content_disposition(&media.mime_type, media.description.file_name.as_deref());
        if !disposition.starts_with("attachment") {
            return None;
        }
        let presented =
            Presented { content_type: &plain_type(&media.mime_type), content_disposition: &disposition };
        let address = self.library.direct_address(media, &presented)?;
        Some(Response::new(302).header("Location", address).header("Cache-Control", "no-store"))
    }

    /// The file that is to be sent: a preview's, or that of the media.
    fn opened(&self, media: &Media, preview: Option<StoredFile>) -> Result<StoredFile, Refusal> {
        match preview {
            Some(stored) => Ok(stored),
            None => self.library.bytes(media)?.ok_or(Refusal::NoSuchMedia),
        }
    }

    /// The preconditions of an update or a delete.
    pub(super) fn check_preconditions(&self, exchange: &Exchange, media: &Media) -> Result<(), Refusal> {
        match precondition(exchange, &validators(media)) {
            conditional::Outcome::Proceed => Ok(()),
            _ => Err(Refusal::PreconditionFailed),
        }
    }

    fn cache_control(&self, name: &Name, granted: &Granted) -> String {
        let longest = match name {
            // The bytes of an id never change, those of an avatar do.
            Name::Id(_) => self.settings().cache_max_age,
            Name::Avatar => self.settings().cache_max_age.min(limits::AVATAR_MAX_AGE),
        };
        match granted {
            Granted::Public => format!("public, max-age={}", longest.as_secs()),
            Granted::Owned(_) => "private, no-cache".to_owned(),
        }
    }
}

/// The entity tag is the SHA-1 of the bytes, or the id where an old row has no valid SHA-1.
fn validators(media: &Media) -> Validators {
    let is_sha1 = media.sha1.len() == 40 && media.sha1.bytes().all(|byte| byte.is_ascii_hexdigit());
    let tag = if is_sha1 { &media.sha1 } else { media.id.as_str() };
    Validators::new(tag, media.last_updated)
}

fn precondition(exchange: &Exchange, validators: &Validators) -> conditional::Outcome {
    conditional::evaluate(validators, |name| exchange.headers(name), exchange.method())
}

/// The content of a response: a media, or a preview of it.
struct Content {
    validators: Validators,
    mime_type: String,
    file_name: Option<String>,
}

impl Content {
    fn of_media(media: &Media) -> Self {
        Self {
            validators: validators(media),
            mime_type: media.mime_type.clone(),
            file_name: media.description.file_name.clone(),
        }
    }

    /// A preview never changes, whatever its media's description does.
    fn of_preview(media: &Media, preview: &Preview) -> Self {
        let file_name = media.description.file_name.as_deref();
        Self {
            validators: Validators::new(&preview.sha1, media.uploaded),
            file_name: file_name.map(|name| name_for(name, &preview.mime_type)),
            mime_type: preview.mime_type.clone(),
        }
    }

    /// The whole or the part that is asked for.
    fn answer(&self, exchange: &Exchange, stored: StoredFile) -> Response {
        let mime_type = served_type(&self.mime_type, &stored);
        match range_of(exchange, &self.validators, stored) {
            Ok(response) => described(response, &mime_type, self.file_name.as_deref()),
            Err(range) => Response::refusal(Refusal::RangeNotSatisfiable).header("Content-Range", range),
        }
    }
}

/// The whole file or the range that is asked for. For a range that is not in the file the error is the `Content-Range` of
/// the refusal.
pub(super) fn range_of(
    exchange: &Exchange,
    validators: &Validators,
    stored: StoredFile,
) -> Result<Response, String> {
    let size = stored.size();
    match range::evaluate(validators, |name| exchange.header(name), exchange.method(), size) {
        range::Outcome::Whole => Ok(part_of(stored, 200, 0..size)),
        range::Outcome::Part(part) => {
            let field = range::content_range(&part, size);
            Ok(part_of(stored, 206, part).header("Content-Range", field))
        }
        range::Outcome::Unsatisfiable => Err(range::unsatisfied_range(size)),
    }
}

fn part_of(stored: StoredFile, status: u16, part: Range<u64>) -> Response {
    match stored {
        StoredFile::Local(file, _) => Response::file(status, file, part),
        StoredFile::Blocks(blocks) => Response::remote(status, Arc::new(blocks), part),
    }
}

/// A file name for content of this type: with the type's extension, unless it has one of them already.
fn name_for(name: &str, mime_type: &str) -> String {
    let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    match media_type::extension_for(mime_type) {
        Some(usual) if media_type::type_for(extension) != Some(mime_type) => format!("{stem}.{usual}"),
        _ => name.to_owned(),
    }
}

/// The type that is sent: the one stored, with the character set of a text in UTF-8.
fn served_type(mime_type: &str, stored: &StoredFile) -> String {
    let mime_type = plain_type(mime_type);
    if !is_text(&mime_type) {
        return mime_type;
    }
    let mut first = vec![0; limits::TEXT_BYTES];
    match stored.read_first(&mut first) {
        Ok(length) => media_type::with_charset(&mime_type, &first[..length], length < first.len()),
        // Where the file can't be read at all, its bytes are refused.
        Err(_) => mime_type,
    }
}

/// Whether a request wants all bytes of the media itself.
fn asks_for_whole(exchange: &Exchange) -> bool {
    exchange.method() == Method::Get
        && exchange.header("Range").is_none()
        && preview_bounds(exchange.query()) == Ok(None)
}

/// The type that is stored, if it is one: the original took any text for a type.
fn plain_type(mime_type: &str) -> String {
    media_type::parse(mime_type).unwrap_or_else(|_| media_type::OCTET_STREAM.to_owned())
}

/// Whether this is the type of a text, whose character set is told by its first bytes.
fn is_text(mime_type: &str) -> bool {
    mime_type.get(..5).is_some_and(|kind| kind.eq_ignore_ascii_case("text/"))
}

/// Adds the fields that describe the bytes, and those that restrict browsers.
pub(super) fn described(response: Response, mime_type: &str, file_name: Option<&str>) -> Response {
    let response = response
        .header("Content-Disposition", disposition::content_disposition(mime_type, file_name))
        .header("Accept-Ranges", "bytes");
    disposition::safety_headers(mime_type)
        .into_iter()
        .fold(response, |response, (name, value)| response.header(name, value))
        .header("Content-Type", mime_type.to_owned())
}

/// The bounds that a preview must fit into; one side alone counts for both. A value that is not a number is ignored.
fn preview_bounds(query: Option<&str>) -> Result<Option<Bounds>, Refusal> {
    let side = |name| target::parameter(query, name).and_then(|text| text.parse::<i64>().ok());
    let (height, width) = match (side("maxheight"), side("maxwidth")) {
        (None, None) => return Ok(None),
        (Some(height), Some(width)) => (height, width),
        (Some(side), None) | (None, Some(side)) => (side, side),
    };
    if height < 1 || width < 1 {
        return Err(Refusal::BadPreviewSize);
    }
    let clamp = |side: i64| u32::try_from(side).unwrap_or(u32::MAX);
    Ok(Some(Bounds { height: clamp(height), width: clamp(width) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_side_counts_for_both_and_garbage_for_nothing() {
        let parsed = |query| {
            preview_bounds(Some(query)).map(|bounds| bounds.map(|Bounds { height, width }| (height, width)))
        };
        assert_eq!(parsed("maxheight=50&maxwidth=60"), Ok(Some((50, 60))));
        assert_eq!(parsed("maxwidth=600"), Ok(Some((600, 600))));
        assert_eq!(parsed("maxheight=undefined&maxwidth=undefined"), Ok(None));
        assert_eq!(parsed("maxheight=undefined&maxwidth=9"), Ok(Some((9, 9))));
        assert_eq!(parsed("1408&_=1"), Ok(None));
        assert_eq!(parsed("maxheight=0"), Err(Refusal::BadPreviewSize));
        assert_eq!(parsed("maxheight=5&maxwidth=-1"), Err(Refusal::BadPreviewSize));
        assert_eq!(parsed("maxwidth=99999999999"), Ok(Some((u32::MAX, u32::MAX))));
    }

    #[test]
    fn a_preview_is_named_by_its_type() {
        for (name, mime_type, expected) in [
            ("a.JPEG", "image/jpeg", "a.JPEG"),
            ("a.avi", "image/jpeg", "a.jpg"),
            ("a.b.webp", "image/png", "a.b.png"),
            ("a", "image/png", "a.png"),
        ] {
            assert_eq!(name_for(name, mime_type), expected);
        }
    }
}
