//! `DELETE /{channel}/{id}`: deletes a media.

use serde::Serialize;

use super::Web;
use crate::http::{Exchange, Response};
use crate::model::{Media, Refusal};

#[derive(Serialize)]
struct Deleted {
    message: &'static str,
}

impl Web {
    pub(super) fn delete(&self, exchange: &Exchange, media: &Media) -> Result<Response, Refusal> {
        self.check_preconditions(exchange, media)?;
        if self.library.delete(media)? {
            Ok(Response::json(200, &Deleted { message: "Media deleted!" }))
        } else {
            Err(Refusal::NoSuchMedia)
        }
    }
}
