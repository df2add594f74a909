//! `DELETE /{channel}/{id}`: away with a media.

use serde::Serialize;

use super::Web;
use crate::http::{Exchange, Response};
use crate::media::Name;
use crate::model::{Channel, Refusal};

#[derive(Serialize)]
struct Deleted {
    message: &'static str,
}

impl Web {
    pub(super) fn delete(
        &self,
        exchange: &Exchange,
        channel: &Channel,
        name: &Name,
    ) -> Result<Response, Refusal> {
        let media = self.library.find(channel, name)?.ok_or(Refusal::NoSuchMedia)?;
        self.check_preconditions(exchange, &media)?;
        if self.library.delete(&media)? {
            Ok(Response::json(200, &Deleted { message: "Media deleted!" }))
        } else {
            Err(Refusal::NoSuchMedia)
        }
    }
}
