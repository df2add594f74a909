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
    media: Cache<MediaId, Kept>,
    avatars: Cache<Channel, Kept>,
    /// By the bounds of the request, which may be larger than the picture.
    previews: Cache<Key, Arc<Preview>>,
    /// The number of calls of [`Rows::forget`].
    changes: u64,
}

/// A row, and when it was read: a time before the database was asked.
#[derive(Clone, Debug)]
struct Kept {
    row: Arc<Media>,
    read: Instant,
}

/// The state of a row in the cache.
#[derive(Clone, Debug)]
pub(super) enum Known {
    /// The row as it was less than [`limits::ROW_TTL`] ago.
    Fresh(Arc<Media>),
    /// The row as it was before that. It is read again; it is served for [`limits::ROW_GRACE`] if that is not possible.
    Old(Arc<Media>, Reading),
    /// Nothing.
    Unknown(Reading),
}

/// A permit to keep a row. It is taken before the row is read, so that a row that changes meanwhile is not kept, and a row
/// that another process changes meanwhile is not taken for a newer one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    changes: u64,
    taken: Instant,
}

impl Rows {
    pub fn new() -> Self {
        let (media, avatars) = (Cache::new(limits::ROWS), Cache::new(limits::ROWS));
        Self(Mutex::new(State { media, avatars, previews: Cache::new(limits::ROWS), changes: 0 }))
    }

    /// The row of this name, and the permit for [`Rows::keep`] unless it is fresh.
    pub fn get(&self, now: Instant, channel: &Channel, name: &Name) -> Known {
        let state = self.lock();
        let kept = match name {
            Name::Id(id) => state.media.get(now, id).filter(|kept| kept.row.channel == *channel),
            Name::Avatar => state.avatars.get(now, channel),
        };
        let reading = Reading { changes: state.changes, taken: now };
        match kept {
            Some(kept) if now.saturating_duration_since(kept.read) < limits::ROW_TTL => {
                Known::Fresh(Arc::clone(&kept.row))
            }
            Some(kept) => Known::Old(Arc::clone(&kept.row), reading),
            None => Known::Unknown(reading),
        }
    }

    /// Keeps a row that was read with this permit, or forgets it if there is none any more. If anything changed since the
    /// permit was taken, the row may be the one before that: then nothing is known of it, not even what was kept before.
    pub fn keep(
        &self,
        now: Instant,
        reading: Reading,
        (channel, name): (&Channel, &Name),
        row: Option<&Arc<Media>>,
    ) {
        let mut state = self.lock();
        let is_current = state.changes == reading.changes;
        let is_short =
            |row: &Media| row.description.size() + row.author.len() as u64 <= limits::ROW_BYTES as u64;
        let kept = row
            .filter(|row| is_current && is_short(row))
            .map(|row| Kept { row: Arc::clone(row), read: reading.taken });
        let time = limits::ROW_TTL + limits::ROW_GRACE;
        match (name, kept) {
            (Name::Id(id), Some(kept)) => state.media.insert(now, id.clone(), kept, time),
            (Name::Id(id), None) => state.media.remove(id),
            (Name::Avatar, Some(kept)) => state.avatars.insert(now, channel.clone(), kept, time),
            (Name::Avatar, None) => state.avatars.remove(channel),
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
        self.lock().previews.insert(now, key, Arc::clone(row), limits::ROW_TTL + limits::ROW_GRACE);
    }

    /// Forgets the preview that a request got.
    pub fn forget_preview(&self, key: &Key) {
        self.lock().previews.remove(key);
    }

    /// Forgets rows that were not used lately.
    pub fn forget_expired(&self, now: Instant) {
        let mut state = self.lock();
        state.media.forget_expired(now);
        state.avatars.forget_expired(now);
        state.previews.forget_expired(now);
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

    fn reading(known: &Known) -> Reading {
        match known {
            Known::Old(_, reading) | Known::Unknown(reading) => *reading,
            Known::Fresh(_) => panic!("it need not be read"),
        }
    }

    /// Keeps a row that is read now; what is known of it then.
    fn read(rows: &Rows, now: Instant, name: &Name, row: &Arc<Media>) -> Known {
        let reading = reading(&rows.get(now, &row.channel, name));
        rows.keep(now, reading, (&row.channel, name), Some(row));
        rows.get(now, &row.channel, name)
    }

    #[test]
    fn a_row_is_fresh_for_its_time_then_old_and_then_unknown() {
        let (rows, row, now) = (Rows::new(), media(), Instant::now());
        for name in [named(&row), Name::Avatar] {
            assert!(matches!(read(&rows, now, &name, &row), Known::Fresh(known) if known == row));
            let at = |time: Duration| rows.get(now + time, &channel(), &name);
            let end = limits::ROW_TTL + limits::ROW_GRACE;
            let tick = Duration::from_nanos(1);
            assert!(matches!(at(limits::ROW_TTL - tick), Known::Fresh(_)));
            assert!(
                matches!(at(limits::ROW_TTL), Known::Old(..)) && matches!(at(end - tick), Known::Old(..))
            );
            assert!(matches!(at(end), Known::Unknown(_)));
            let other = rows.get(now, &"other@example.org".parse().unwrap(), &name);
            assert!(matches!(other, Known::Unknown(_)));
        }
    }

    #[test]
    fn a_row_that_is_gone_is_forgotten() {
        let (rows, row, now) = (Rows::new(), media(), Instant::now());
        for name in [named(&row), Name::Avatar] {
            read(&rows, now, &name, &row);
            let later = now + limits::ROW_TTL;
            let reading = reading(&rows.get(later, &row.channel, &name));
            rows.keep(later, reading, (&row.channel, &name), None);
            assert!(matches!(rows.get(later, &row.channel, &name), Known::Unknown(_)));
        }
    }

    #[test]
    fn a_row_is_as_old_as_the_question_for_it() {
        let (rows, row, now) = (Rows::new(), media(), Instant::now());
        for name in [named(&row), Name::Avatar] {
            let reading = reading(&rows.get(now, &row.channel, &name));
            let answered = now + limits::ROW_TTL;
            rows.keep(answered, reading, (&row.channel, &name), Some(&row));
            assert!(matches!(rows.get(answered, &row.channel, &name), Known::Old(..)));
        }
    }

    #[test]
    fn a_row_that_changes_while_it_is_read_is_not_kept() {
        let (rows, row, now) = (Rows::new(), media(), Instant::now());
        for name in [named(&row), Name::Avatar] {
            assert!(matches!(read(&rows, now, &name, &row), Known::Fresh(_)));
            rows.forget(&row.channel, &row.id);
            let reading = reading(&rows.get(now, &row.channel, &name));
            rows.forget(&row.channel, &row.id);
            rows.keep(now, reading, (&row.channel, &name), Some(&row));
            assert!(
                matches!(rows.get(now, &row.channel, &name), Known::Unknown(_)),
                "read before it changed"
            );
        }
    }

    #[test]
    fn an_old_row_is_forgotten_if_another_media_changes_while_it_is_read_again() {
        let (rows, row, now) = (Rows::new(), media(), Instant::now());
        for name in [named(&row), Name::Avatar] {
            read(&rows, now, &name, &row);
            let later = now + limits::ROW_TTL;
            let reading = reading(&rows.get(later, &row.channel, &name));
            rows.forget(&"other@example.org".parse().unwrap(), &MediaId::random());
            rows.keep(later, reading, (&row.channel, &name), Some(&row));
            assert!(
                matches!(rows.get(later, &row.channel, &name), Known::Unknown(_)),
                "the database answers, so the old row is not served"
            );
        }
    }

    #[test]
    fn long_rows_are_not_kept() {
        let (rows, row, now) = (Rows::new(), media(), Instant::now());
        let mut long = Media::clone(&row);
        long.description.title = Some("x".repeat(limits::ROW_BYTES + 1));
        assert!(matches!(read(&rows, now, &named(&row), &Arc::new(long)), Known::Unknown(_)));
    }
}
