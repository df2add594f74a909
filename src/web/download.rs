//! `GET /{channel}/{id}`: the bytes of a media, whole or in part (RFC 9110 sections 13 and 14).

use super::Web;
use crate::access::Granted;
use crate::http::conditional::{self, Validators};
use crate::http::{Exchange, Response, disposition, mime, range, target};
use crate::limits;
use crate::media::Name;
use crate::model::{Channel, Media, Refusal};
use crate::store::StoredFile;

impl Web {
    pub(super) fn download(
        &self,
        exchange: &Exchange,
        channel: &Channel,
        name: &Name,
        granted: &Granted,
    ) -> Result<Response, Refusal> {
        let media = self.library.find(channel, name)?.ok_or(Refusal::NoSuchMedia)?;
        if preview_box(exchange.query())?.is_some() {
            return Err(Refusal::NoPreview);
        }
        let stored = self.library.bytes(&media)?.ok_or(Refusal::NoSuchMedia)?;
        let validators = validators(&media);
        let response = match precondition(exchange, &validators) {
            conditional::Outcome::PreconditionFailed => return Err(Refusal::PreconditionFailed),
            conditional::Outcome::NotModified => Response::new(304),
            conditional::Outcome::Proceed => content(exchange, &validators, stored, &media),
        };
        Ok(response
            .header("ETag", validators.etag())
            .header("Last-Modified", validators.last_modified())
            .header("Cache-Control", self.cache_control(name, granted)))
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

/// The bytes are known by their SHA-1; where an old row has something else in its place, by their id.
fn validators(media: &Media) -> Validators {
    let is_sha1 = media.sha1.len() == 40 && media.sha1.bytes().all(|byte| byte.is_ascii_hexdigit());
    let tag = if is_sha1 { &media.sha1 } else { media.id.as_str() };
    Validators::new(tag, media.last_updated)
}

fn precondition(exchange: &Exchange, validators: &Validators) -> conditional::Outcome {
    conditional::evaluate(validators, |name| exchange.headers(name), exchange.method())
}

/// The whole or the part that is asked for.
fn content(exchange: &Exchange, validators: &Validators, stored: StoredFile, media: &Media) -> Response {
    let StoredFile { file, size } = stored;
    match range::evaluate(validators, |name| exchange.header(name), exchange.method(), size) {
        range::Outcome::Whole => described(Response::file(200, file, 0..size), media),
        range::Outcome::Part(part) => {
            let field = range::content_range(&part, size);
            described(Response::file(206, file, part), media).header("Content-Range", field)
        }
        range::Outcome::Unsatisfiable => Response::refusal(Refusal::RangeNotSatisfiable)
            .header("Content-Range", range::unsatisfied_range(size)),
    }
}

/// Adds the fields that tell what the bytes are, and browsers what not to do with them.
fn described(response: Response, media: &Media) -> Response {
    let file_name = media.description.file_name.as_deref();
    // The original took any text for a type.
    let mime_type = mime::parse(&media.mime_type).unwrap_or_else(|_| mime::OCTET_STREAM.to_owned());
    let response = response
        .header("Content-Disposition", disposition::content_disposition(&mime_type, file_name))
        .header("Accept-Ranges", "bytes");
    disposition::safety_headers(&mime_type)
        .into_iter()
        .fold(response, |response, (name, value)| response.header(name, value))
        .header("Content-Type", mime_type)
}

/// The box that a preview must fit into, height and width; one alone counts for both, garbage for nothing.
fn preview_box(query: Option<&str>) -> Result<Option<(u32, u32)>, Refusal> {
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
    Ok(Some((clamp(height), clamp(width))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_side_counts_for_both_and_garbage_for_nothing() {
        let parsed = |query| preview_box(Some(query));
        assert_eq!(parsed("maxheight=50&maxwidth=60"), Ok(Some((50, 60))));
        assert_eq!(parsed("maxwidth=600"), Ok(Some((600, 600))));
        assert_eq!(parsed("maxheight=undefined&maxwidth=undefined"), Ok(None));
        assert_eq!(parsed("maxheight=undefined&maxwidth=9"), Ok(Some((9, 9))));
        assert_eq!(parsed("1408&_=1"), Ok(None));
        assert_eq!(parsed("maxheight=0"), Err(Refusal::BadPreviewSize));
        assert_eq!(parsed("maxheight=5&maxwidth=-1"), Err(Refusal::BadPreviewSize));
        assert_eq!(parsed("maxwidth=99999999999"), Ok(Some((u32::MAX, u32::MAX))));
    }
}
