//! `GET /{channel}/{id}/metadata`: what is known of a media.

use super::Web;
use super::answer::{MediaJson, json};
use crate::access::Granted;
use crate::http::Response;
use crate::media::Name;
use crate::model::{Channel, Refusal};

impl Web {
    pub(super) fn metadata(
        &self,
        channel: &Channel,
        name: &Name,
        granted: &Granted,
    ) -> Result<Response, Refusal> {
        let media = self.library.find_to_read(channel, name)?.ok_or(Refusal::NoSuchMedia)?;
        Ok(json(200, &MediaJson::from(&*media), granted))
    }
}
