//! Previews: found where they are stored, or made, once each.

use std::io::Write;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Library;
use super::library::{ORPHAN, REMOVAL};
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::model::{Media, MediaId, Preview, Refusal};
use crate::preview::{Bounds, Rendered};
use crate::remote::NotFetched;
use crate::store::{PreviewInsert, Published, Sealed, StoredFile, WriteError, storage_error};

/// The key of a preview job: never two at a time for the same key.
pub(super) type Key = (MediaId, Bounds);

/// A stored preview, and its bytes.
pub type Found = (Arc<Preview>, StoredFile);

/// Where a preview came from.
pub(super) enum Origin {
    Stored,
    Made,
}

impl Library {
    /// The preview of a media that fits into these bounds. It is made at the first call; later calls give the same bytes.
    /// `network` is the client's, whose requests have their turn.
    pub fn preview(
        &self,
        media: &Media,
        asked: Bounds,
        network: Option<IpAddr>,
    ) -> std::result::Result<Found, Refusal> {
        let outcome = self.recall_or_find(media, asked, network);
        self.preview_counts.count(&outcome);
        outcome.map(|(found, _)| found)
    }

    /// Whether [`Library::preview`] would need no query, and make nothing.
    pub fn knows_preview(&self, media: &Media, asked: Bounds) -> bool {
        let kept = self.rows.preview(Instant::now(), &(media.id.clone(), asked));
        kept.is_some_and(|preview| self.is_fresh(&preview))
    }

    fn recall_or_find(
        &self,
        media: &Media,
        asked: Bounds,
        network: Option<IpAddr>,
    ) -> std::result::Result<(Found, Origin), Refusal> {
        let key = (media.id.clone(), asked);
        if let Some(found) = self.kept_preview(media, &key)? {
            return Ok((found, Origin::Stored));
        }
        let (found, origin) = self.find_or_make(media, asked, network)?;
        self.rows.keep_preview(Instant::now(), key, &found.0);
        Ok((found, origin))
    }

    /// The recent result for the same request, unless its use must be noted.
    fn kept_preview(&self, media: &Media, key: &Key) -> Result<Option<Found>> {
        let kept = self.rows.preview(Instant::now(), key);
        let Some(preview) = kept.filter(|preview| self.is_fresh(preview)) else { return Ok(None) };
        let file = self.files.get(&media.channel, &preview.id, preview.size)?;
        if file.is_none() {
            self.rows.forget_preview(key);
        }
        Ok(file.map(|file| (preview, file)))
    }

    fn find_or_make(
        &self,
        media: &Media,
        asked: Bounds,
        network: Option<IpAddr>,
    ) -> std::result::Result<(Found, Origin), Refusal> {
        if is_within(asked, media)
            && let Some(found) = self.stored_preview(media, asked)?
        {
            return Ok((found, Origin::Stored));
        }
        let source = self.bytes(media)?.ok_or(Refusal::NoSuchMedia)?;
        let (studio, deadline) = (self.studio(), Instant::now() + limits::PREVIEW_FETCH_TIME);
        let beginning = source.beginning(deadline).map_err(|error| late_or(error, deadline))?;
        let size = studio.picture_size(&beginning).or_else(|| media.width.zip(media.height));
        let bounds = asked.clamp(size.unwrap_or((limits::FILM_SIDE, limits::FILM_SIDE)));
        if let Some(found) = self.stored_preview(media, bounds)? {
            return Ok((found, Origin::Stored));
        }
        match studio.check(&beginning) {
            // Later bytes of the file may tell more of it.
            Err(Refusal::Undecodable) if source.size() > limits::BLOCK_BYTES => {}
            checked => checked?,
        }
        if source.is_copied() {
            studio.check_fetch(&beginning, source.size())?;
        }
        self.make(media, bounds, network, (&source, deadline))
    }

    /// Makes a preview, unless the request that held the place before has made it. A file is fetched before the place of a
    /// decoder is taken; the deadline is for that.
    fn make(
        &self,
        media: &Media,
        bounds: Bounds,
        network: Option<IpAddr>,
        (source, deadline): (&StoredFile, Instant),
    ) -> std::result::Result<(Found, Origin), Refusal> {
        // Where none can be stored, none is made.
        self.metadata()?;
        let (key, studio) = ((media.id.clone(), bounds), self.studio());
        let _fetch = match source.is_copied() {
            true => Some(self.fetches.begin(key.clone(), network, studio.deadline())?),
            false => None,
        };
        if source.is_copied()
            && let Some(found) = self.stored_preview(media, bounds)?
        {
            return Ok((found, Origin::Stored));
        }
        let whole = source.whole_by(Some(deadline)).map_err(|error| late_or(error, deadline))?;
        let _job = self.jobs.begin(key, network, studio.deadline())?;
        if let Some(found) = self.stored_preview(media, bounds)? {
            return Ok((found, Origin::Stored));
        }
        let rendered = studio.render(&whole, bounds)?;
        Ok((self.keep_preview(media, bounds, &rendered)?, Origin::Made))
    }

    fn stored_preview(&self, media: &Media, bounds: Bounds) -> Result<Option<Found>> {
        let metadata = self.metadata_to_read()?;
        let Some(preview) = metadata.preview(&media.id, bounds.height, bounds.width)? else {
            return Ok(None);
        };
        let Some(file) = self.files.get(&media.channel, &preview.id, preview.size)? else {
            log::warn!(
                "{}/{}: the file of a preview is gone; the preview is made again",
                media.channel,
                preview.id
            );
            self.metadata()?.delete_preview(preview.id.as_str())?;
            return Ok(None);
        };
        self.note_use(&preview);
        Ok(Some((Arc::new(preview), file)))
    }

    /// Stores that a preview is used, unless that was stored recently, or the library can only be read. A failure delays no
    /// request.
    fn note_use(&self, preview: &Preview) {
        let Ok(metadata) = self.metadata() else { return };
        if !self.is_fresh(preview)
            && let Err(error) = metadata.use_preview(&preview.id, self.clock.now())
        {
            log::warn!("the use of the preview {} is not noted: {error}", preview.id);
        }
    }

    /// Whether the use of a preview was noted a short while ago.
    fn is_fresh(&self, preview: &Preview) -> bool {
        let age = self.clock.now().as_micros().saturating_sub(preview.last_used.as_micros());
        Duration::from_micros(u64::try_from(age).unwrap_or_default()) <= limits::PREVIEW_USED
    }

    /// Stores a preview as a media is stored: file first, then row.
    fn keep_preview(
        &self,
        media: &Media,
        bounds: Bounds,
        rendered: &Rendered,
    ) -> std::result::Result<Found, Refusal> {
        let sealed = self.seal(&rendered.bytes)?;
        let preview = Preview {
            id: MediaId::random(),
            height: bounds.height,
            width: bounds.width,
            mime_type: rendered.format.mime_type().to_owned(),
            size: sealed.size(),
            sha1: sealed.digest().to_owned(),
            last_used: self.clock.now(),
        };
        self.publish_preview(sealed, media, &preview)?;
        // It may be gone again: then there are more requests for previews of this media than may be kept.
        self.stored_preview(media, bounds)?.ok_or(Refusal::TooManyPreviews)
    }

    fn publish_preview(
        &self,
        sealed: Sealed,
        media: &Media,
        preview: &Preview,
    ) -> std::result::Result<(), Refusal> {
        let metadata = self.metadata()?;
        if let Published::Taken(_) = self.files.put(sealed, &media.channel, &preview.id)? {
            return Err(Error::new(Kind::Corrupt, format!("{} exists already", preview.id)).into());
        }
        let inserted = metadata.insert_preview(media, preview, self.preview_count.load(Ordering::Relaxed));
        match inserted {
            Ok(PreviewInsert::Stored(evicted)) => {
                for id in &evicted {
                    self.remove_file(&media.channel, id, REMOVAL);
                }
                return Ok(());
            }
            // It may have its row: the file stays, for a walk of the store to find.
            Err(WriteError::Unknown(error)) => return Err(error.into()),
            _ => self.remove_file(&media.channel, &preview.id, ORPHAN),
        }
        match inserted {
            Ok(PreviewInsert::NoMedia) => Err(Refusal::NoSuchMedia),
            Err(error) => Err(Error::from(error).into()),
            Ok(_) => Ok(()),
        }
    }

    /// Brings bytes of our own to the disk.
    pub(super) fn seal(&self, bytes: &[u8]) -> Result<Sealed> {
        let mut upload = self.uploads.begin(u64::MAX, 0);
        upload
            .write_all(bytes)
            .map_err(|cause| storage_error("can't store what was made of a media", cause))?;
        upload.seal()
    }
}

/// The refusal of a file that was not fetched, which may be so because there was no time left.
fn late_or(error: NotFetched, deadline: Instant) -> Refusal {
    match error {
        NotFetched::Failed if Instant::now() >= deadline => Refusal::PreviewTooSlow,
        error => error.into(),
    }
}

/// Whether bounds need no clamping, as far as the row tells. It may have the sides of a picture that is shown turned:
/// rows of the original do.
fn is_within(bounds: Bounds, media: &Media) -> bool {
    let sides = media.width.zip(media.height);
    sides.is_some_and(|(width, height)| bounds.width.max(bounds.height) <= width.min(height))
}

#[cfg(test)]
mod tests;
