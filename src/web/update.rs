//! `POST /{channel}/{id}`: changes file name, title and description of a media.

use std::io::{self, Write};

use super::Web;
use super::answer::MediaJson;
use super::upload::{description, refusal};
use crate::http::{Exchange, Response, form};
use crate::model::{Media, Refusal};

impl Web {
    pub(super) fn update(&self, exchange: &mut Exchange, media: &Media) -> Result<Response, Refusal> {
        self.check_preconditions(exchange, media)?;
        let content_type = exchange.header("Content-Type").map(str::to_owned);
        let mut data = Unwanted { left: self.library.size_limit() };
        let form = form::read(content_type.as_deref(), &mut exchange.body()?, &mut data).map_err(refusal)?;
        let media = self.library.update(media, &description(&form))?.ok_or(Refusal::NoSuchMedia)?;
        Ok(Response::json(200, &MediaJson::from(&media)).header("Cache-Control", "private, no-cache"))
    }
}

/// Data in the form of an update: dropped, but no more of it than an upload may have.
struct Unwanted {
    left: u64,
}

impl Write for Unwanted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.left = self.left.checked_sub(length).ok_or(Refusal::TooLarge)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unwanted_data_have_an_end() {
        let mut data = Unwanted { left: 3 };
        data.write_all(b"ab").unwrap();
        data.write_all(b"c").unwrap();
        assert_eq!(Refusal::in_io(&data.write(b"d").unwrap_err()), Some(Refusal::TooLarge));
    }
}
