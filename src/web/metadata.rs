//! `GET /{channel}/{id}/metadata`: the metadata of a media, in JSON, or as XMPP clients publish it.

use super::answer::{MediaJson, changing, json};
use super::{Web, sharing};
use crate::access::Granted;
use crate::http::{Exchange, Response};
use crate::media::Name;
use crate::model::Media;

impl Web {
    pub(super) fn metadata(
        &self,
        exchange: &Exchange,
        media: &Media,
        name: &Name,
        granted: &Granted,
    ) -> Response {
        let response = if sharing::is_wanted(&exchange.headers("Accept")) {
            let last = match name {
                Name::Avatar => "avatar",
                Name::Id(id) => id.as_str(),
            };
            let document = sharing::document(media, &self.location(&media.channel, last));
            let response = Response::bytes(200, sharing::XML, document);
            changing(response.header("X-Content-Type-Options", "nosniff"), granted)
        } else {
            let shown = match name {
                Name::Avatar => MediaJson::of_avatar(media),
                Name::Id(_) => MediaJson::from(media),
            };
            json(200, &shown, granted)
        };
        response.header("Vary", "Accept")
    }
}
