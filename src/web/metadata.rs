//! `GET /{channel}/{id}/metadata`: the metadata of a media.

use super::answer::{MediaJson, json};
use crate::access::Granted;
use crate::http::Response;
use crate::model::Media;

pub(super) fn metadata(media: &Media, granted: &Granted) -> Response {
    json(200, &MediaJson::from(media), granted)
}
