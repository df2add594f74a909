//! A cache of rows that were read lately, so that media that are asked for again and again don't cost a query each time. Any
//! thread that serves HTTP uses it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::Name;
use super::preview::Key;
use crate::cache::Cache;
use crate::limits;
use crate::model::{Channel, Media, MediaId, Preview};

/// The cached rows. A change by this process is seen at once: it calls [`Rows::forget`] before its response is sent. A row
/// that another process changes in the same database may be the old one for [`limits::ROW_TTL`].
#[derive(Debug)]
pub(super) struct Rows(Mutex<State>);

#[derive(Debug)]
struct State {
    media: Cache<MediaId, Arc<Media>>,
    avatars: Cache<Channel, Arc<Media>>,
    /// By the bounds of the request, which may be larger than the picture.
    previews: Cache<Key, Arc<Preview>>,
    /// The number of calls of [`Rows::forget`].
    changes: u64,
}

/// A permit to keep a row. It is taken before the row is read, so that a row that changes meanwhile is not kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading(u64);

impl Rows {
    pub fn new() -> Self {
        let (media, avatars) = (Cache::new(limits::ROWS), Cache::new(limits::ROWS));
        Self(Mutex::new(State { media, avatars, previews: Cache::new(limits::ROWS), changes: 0 }))
    }

    /// The row of this name, or the permit for [`Rows::keep`] once the row is read.
    pub fn get(&self, now: Instant, channel: &Channel, name: &Name) -> Result<Arc<Media>, Reading> {
        let state = self.lock();
        let kept = match name {
            Name::Id(id) => state.media.get(now, id).filter(|row| row.channel == *channel),
            Name::Avatar => state.avatars.get(now, channel),
        };
        kept.cloned().ok_or(Reading(state.changes))
    }

    /// Keeps a row for a while, unless something changed since it was about to be read.
    pub fn keep(&self, now: Instant, reading: Reading, name: &Name, row: &Arc<Media>) {
        let mut state = self.lock();
        let bytes = row.description.size() + row.author.len() as u64;
        if state.changes != reading.0 || bytes > limits::ROW_BYTES as u64 {
            return;
        }
        let kept = Arc::clone(row);
        match name {
            Name::Id(id) => state.media.insert(now, id.clone(), kept, limits::ROW_TTL),
            Name::Avatar => state.avatars.insert(now, row.channel.clone(), kept, limits::ROW_TTL),
        }
    }

    /// Forgets a media, and the channel's avatar, which may be the one.
    pub fn forget(&self, channel: &Channel, id: &MediaId) {
        let mut state = self.lock();
        state.changes += 1;
        state.media.remove(id);
        state.avatars.remove(channel);
    }

    /// The preview that this request got lately. Nothing of its row changes but the date of its last use. When the row is
    /// deleted, so is the file; the reader that finds no file forgets the row.
    pub fn preview(&self, now: Instant, key: &Key) -> Option<Arc<Preview>> {
        self.lock().previews.get(now, key).cloned()
    }

    /// Keeps the preview that a request got for a while.
    pub fn keep_preview(&self, now: Instant, key: Key, row: &Arc<Preview>) {
        self.lock().previews.insert(now, key, Arc::clone(row), limits::ROW_TTL);
    }

    /// Forgets the preview that a request got.
    pub fn forget_preview(&self, key: &Key) {
        self.lock().previews.remove(key);
    }

    /// A panic leaves no row half written.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::testing::{Bench, channel};
    use super::*;

    fn media() -> Arc<Media> {
        Arc::new(Bench::new().add("bytes"))
    }

    fn named(row: &Media) -> Name {
        Name::Id(row.id.clone())
    }

    /// What is kept of a row that is read now.
    fn read(rows: &Rows, now: Instant, name: &Name, row: &Arc<Media>) -> Option<Arc<Media>> {
        rows.keep(now, rows.get(now, &row.channel, name).unwrap_err(), name, row);
        rows.get(now, &row.channel, name).ok()
    }

    #[test]
    fn a_row_is_kept_for_its_time_and_for_its_channel() {
        let (rows, row, now) = (Rows::new(), media(), Instant::now());
        for name in [named(&row), Name::Avatar] {
            assert_eq!(read(&rows, now, &name, &row).as_ref(), Some(&row));
            let last = now + limits::ROW_TTL - Duration::from_nanos(1);
            assert!(rows.get(last, &channel(), &name).is_ok());
            assert!(rows.get(now + limits::ROW_TTL, &channel(), &name).is_err());
            assert!(rows.get(now, &"other@example.org".parse().unwrap(), &name).is_err());
        }
    }

    #[test]
    fn a_row_that_changes_while_it_is_read_is_not_kept() {
        let (rows, row, now) = (Rows::new(), media(), Instant::now());
        for name in [named(&row), Name::Avatar] {
            assert!(read(&rows, now, &name, &row).is_some());
            rows.forget(&row.channel, &row.id);
            let reading = rows.get(now, &row.channel, &name).unwrap_err();
            rows.forget(&row.channel, &row.id);
            rows.keep(now, reading, &name, &row);
            assert!(rows.get(now, &row.channel, &name).is_err(), "the row was read before it changed");
        }
    }

    #[test]
    fn long_rows_are_not_kept() {
        let (rows, row, now) = (Rows::new(), media(), Instant::now());
        let mut long = Media::clone(&row);
        long.description.title = Some("x".repeat(limits::ROW_BYTES + 1));
        assert!(read(&rows, now, &named(&row), &Arc::new(long)).is_none());
    }
}
