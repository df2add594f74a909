//! Measuring a media before it is stored, and preparing avatars.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::Library;
use crate::error::Result;
use crate::model::Refusal;
use crate::preview::{Format, Properties};
use crate::store::Sealed;

impl Library {
    /// The properties of an upload. Those that can't be read in time are left out.
    pub(super) fn properties(&self, sealed: &mut Sealed) -> Result<Properties> {
        let studio = self.studio();
        let known = match sealed.bytes() {
            Some(bytes) => studio.own_properties(bytes),
            None => studio.own_properties(&sealed.open()?),
        };
        if let Some(known) = known {
            return Ok(known);
        }
        let file = sealed.open()?;
        match self.jobs.begin_upload(studio.deadline()) {
            Ok(_job) => Ok(studio.properties(&file)),
            Err(refusal) => {
                log::info!("an upload is stored without its properties: {refusal}");
                Ok(Properties::default())
            }
        }
    }

    /// The stored form of a new avatar, and its format: a square without metadata.
    pub(super) fn as_avatar(&self, mut sealed: Sealed) -> std::result::Result<(Sealed, Format), Refusal> {
        let (file, studio) = (sealed.open()?, self.studio());
        let _job = self.jobs.begin_upload(studio.deadline())?;
        let made = studio.avatar(&file).map_err(|refusal| match refusal {
            Refusal::Undecodable => Refusal::NoAvatar,
            refusal => refusal,
        })?;
        let unchanged = sealed.size() == made.bytes.len() as u64 && holds(&file, &made.bytes);
        let sealed = if unchanged { sealed } else { self.seal(&made.bytes)? };
        Ok((sealed, made.format))
    }
}

/// Whether a file holds these bytes and may hold more.
fn holds(file: &File, bytes: &[u8]) -> bool {
    let mut block = vec![0; COMPARED];
    bytes.chunks(COMPARED).enumerate().all(|(number, part)| {
        let block = &mut block[..part.len()];
        file.read_exact_at(block, (number * COMPARED) as u64).is_ok() && *block == *part
    })
}

/// Bytes that are compared at a time.
const COMPARED: usize = 64 * 1024;
