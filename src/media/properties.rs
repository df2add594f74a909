//! What is found out about a media before it is stored, and what is done to avatars.

use super::Library;
use crate::error::Result;
use crate::preview::Properties;
use crate::store::Sealed;

impl Library {
    /// The properties of an upload. What can't be had in time is left out.
    pub(super) fn properties(&self, sealed: &Sealed) -> Result<Properties> {
        let (file, studio) = (sealed.open()?, self.studio());
        if !studio.needs_child(&file) {
            return Ok(studio.properties(&file));
        }
        match self.jobs.begin_upload(studio.deadline()) {
            Ok(_job) => Ok(studio.properties(&file)),
            Err(refusal) => {
                log::info!("an upload is stored without its properties: {refusal}");
                Ok(Properties::default())
            }
        }
    }

    /// The square in the middle of a picture that is not square; everything else as it is.
    pub(super) fn squared(&self, sealed: Sealed) -> Result<Sealed> {
        let (file, studio) = (sealed.open()?, self.studio());
        if !studio.is_oblong(&file) {
            return Ok(sealed);
        }
        let job = self.jobs.begin_upload(studio.deadline());
        match job.and_then(|_job| studio.square(&file)) {
            Ok(bytes) => self.seal(&bytes),
            Err(refusal) => {
                log::info!("an avatar is stored as it is, not made square: {refusal}");
                Ok(sealed)
            }
        }
    }
}
