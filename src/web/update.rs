//! `POST /{channel}/{id}`: changes what is said of a media.

use super::Web;
use super::answer::MediaJson;
use super::upload::{description, refusal};
use crate::http::{Exchange, Response, form};
use crate::model::{Media, Refusal};

impl Web {
    pub(super) fn update(&self, exchange: &mut Exchange, media: &Media) -> Result<Response, Refusal> {
        self.check_preconditions(exchange, media)?;
        let content_type = exchange.header("Content-Type").map(str::to_owned);
        let form = form::read(content_type.as_deref(), &mut exchange.body()?, &mut std::io::sink())
            .map_err(refusal)?;
        let media = self.library.update(media, &description(&form))?.ok_or(Refusal::NoSuchMedia)?;
        Ok(Response::json(200, &MediaJson::from(&media)).header("Cache-Control", "private, no-cache"))
    }
}
