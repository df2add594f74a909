//! What is found out about a media before it is stored, and what is done to avatars.

use super::Library;
use crate::error::Result;
use crate::model::Refusal;
use crate::preview::{Format, Properties};
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

    /// What is stored of a file that is to be an avatar, and its format: a square without metadata.
    pub(super) fn as_avatar(&self, sealed: &Sealed) -> std::result::Result<(Sealed, Format), Refusal> {
        let (file, studio) = (sealed.open()?, self.studio());
        let _job = self.jobs.begin_upload(studio.deadline())?;
        let made = studio.avatar(&file).map_err(|refusal| match refusal {
            Refusal::Undecodable => Refusal::NoAvatar,
            refusal => refusal,
        })?;
        Ok((self.seal(&made.bytes)?, made.format))
    }
}
