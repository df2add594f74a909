//! `GET /{channel}/{id}/metadata`: what is known of a media.

use super::answer::{MediaJson, json};
use crate::access::Granted;
use crate::http::Response;
use crate::model::Media;

pub(super) fn metadata(media: &Media, granted: &Granted) -> Response {
    json(200, &MediaJson::from(media), granted)
}
