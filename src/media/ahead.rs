//! Previews that are made right after an upload, so that no visitor of the channel's page waits for them. A thread of its own
//! makes them, one after the other, each in its turn among those that visitors ask for. A preview that it can't make, or that a
//! restart loses, is made for the first visitor.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock, Weak};
use std::thread;

use super::Library;
use crate::error::{Error, Result};
use crate::limits;
use crate::media_type;
use crate::model::Media;
use crate::preview::Bounds;

/// The box of the previews of the page.
const BOX: Bounds = Bounds { height: limits::PAGE_PREVIEW_SIDE, width: limits::PAGE_PREVIEW_SIDE };

/// The way of new media to the thread.
pub(super) struct Ahead {
    /// There once the thread runs.
    sender: OnceLock<SyncSender<Media>>,
    wanted: AtomicBool,
}

impl Ahead {
    pub(super) fn new(wanted: bool) -> Self {
        Self { sender: OnceLock::new(), wanted: AtomicBool::new(wanted) }
    }

    /// Whether previews are made ahead from now on.
    pub(super) fn set_wanted(&self, wanted: bool) {
        self.wanted.store(wanted, Ordering::Relaxed);
    }

    /// Has a preview of a new media made soon, if it may have one and not too many others wait.
    pub(super) fn uploaded(&self, media: &Media) {
        let may_have = media_type::may_have_preview(&media.mime_type);
        let Some(sender) = self.sender.get() else { return };
        if may_have && self.wanted.load(Ordering::Relaxed) && sender.try_send(media.clone()).is_err() {
            log::debug!("{}/{}: its preview will be made at the first request", media.channel, media.id);
        }
    }
}

impl Library {
    /// Starts the thread. It ends with the library.
    pub fn start_previews_ahead(self: &Arc<Self>) -> Result<()> {
        let (sender, uploaded) = sync_channel(limits::PREVIEWS_AHEAD);
        // A second thread would have nothing to do.
        if self.ahead.sender.set(sender).is_err() {
            return Ok(());
        }
        let library = Arc::downgrade(self);
        let thread = thread::Builder::new().name("preview".to_owned()).stack_size(limits::WORKER_STACK);
        let started = thread.spawn(move || make_previews(&library, &uploaded));
        started.map(drop).map_err(|cause| Error::io("can't start the thread preview", cause))
    }

    /// Tries again where the queue is full.
    fn preview_ahead(&self, media: &Media) {
        for _ in 0..limits::PREVIEW_AHEAD_TRIES {
            match self.preview(media, BOX, None) {
                Err(refusal) if refusal.row().status == 503 => thread::sleep(limits::PREVIEW_AHEAD_PAUSE),
                Err(refusal) => {
                    return log::debug!("{}/{} has no preview: {refusal}", media.channel, media.id);
                }
                Ok(_) => return,
            }
        }
    }
}

fn make_previews(library: &Weak<Library>, uploaded: &Receiver<Media>) {
    while let Ok(media) = uploaded.recv() {
        let Some(library) = library.upgrade() else { return };
        library.preview_ahead(&media);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::time::{Duration, Instant};

    use image::{DynamicImage, ImageFormat};

    use super::super::New;
    use super::super::testing::{Bench, new};
    use super::*;

    fn picture() -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        DynamicImage::new_luma8(30, 20).write_to(&mut bytes, ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    fn add(bench: &Bench, mime_type: &str) -> Media {
        let new = New { mime_type: mime_type.into(), ..new(false) };
        bench.library.add(bench.sealed(picture()), new).unwrap()
    }

    #[test]
    fn a_picture_has_its_preview_before_anybody_asks() {
        let bench = Bench::new();
        bench.library.start_previews_ahead().unwrap();
        bench.library.start_previews_ahead().unwrap();
        let text = add(&bench, "text/plain");
        let media = add(&bench, "image/png");
        let stored = |media: &Media| bench.library.metadata().unwrap().preview(&media.id, 20, 30).unwrap();
        let start = Instant::now();
        while stored(&media).is_none() {
            assert!(start.elapsed() < Duration::from_secs(30), "{:?}", bench.files());
            thread::yield_now();
        }
        assert!(stored(&text).is_none());
        assert_eq!(bench.files().len(), 3, "two media and one preview");
    }

    #[test]
    fn without_the_thread_or_the_setting_nothing_is_made() {
        let bench = Bench::new();
        add(&bench, "image/png");
        bench.library.start_previews_ahead().unwrap();
        bench.library.ahead.set_wanted(false);
        add(&bench, "image/png");
        bench.library.ahead.set_wanted(true);
        let last = add(&bench, "image/png");
        let start = Instant::now();
        let stored = || bench.library.metadata().unwrap().preview(&last.id, 20, 30).unwrap();
        while stored().is_none() {
            assert!(start.elapsed() < Duration::from_secs(30));
            thread::yield_now();
        }
        assert_eq!(bench.files().len(), 4, "three media and one preview");
    }
}
