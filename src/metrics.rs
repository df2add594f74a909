//! What is counted while the server works: plain atomics in fields of fixed names. Counting never waits and never
//! allocates; what a number is called outside is told where it is printed.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Counts so many.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// How many were counted.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The longest durations of a histogram's buckets; there is one more for what is longer.
pub const BOUNDS: [Duration; 13] = {
    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }
    [
        ms(1),
        ms(5),
        ms(10),
        ms(25),
        ms(50),
        ms(100),
        ms(250),
        ms(500),
        ms(1000),
        ms(2500),
        ms(10_000),
        ms(30_000),
        ms(60_000),
    ]
};

/// How long something took, each time.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Counter; BOUNDS.len() + 1],
    /// 64 bits hold 584 years.
    nanoseconds: Counter,
}

impl Histogram {
    /// Counts one duration.
    pub fn observe(&self, took: Duration) {
        self.buckets[BOUNDS.partition_point(|bound| *bound < took)].increment();
        self.nanoseconds.add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    /// How many took no longer than each of [`BOUNDS`], and last how many there were at all.
    pub fn cumulated(&self) -> [u64; BOUNDS.len() + 1] {
        let mut sum = 0;
        std::array::from_fn(|bucket| {
            sum += self.buckets[bucket].get();
            sum
        })
    }

    /// How long all of them took together.
    pub fn total(&self) -> Duration {
        Duration::from_nanos(self.nanoseconds.get())
    }
}

/// What a request led to. A closed set: nothing that a client writes makes another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Route {
    /// The list of a channel's media.
    List,
    /// A new media.
    Upload,
    /// A new avatar.
    SetAvatar,
    /// The bytes of a media or of its preview.
    Download,
    /// What is known of a media.
    Metadata,
    /// Other words about a media.
    Update,
    /// The end of a media.
    Delete,
    /// The methods of an address, and CORS.
    Options,
    /// None of these: what is malformed or unknown, or was refused before it was looked at.
    #[default]
    None,
}

impl Route {
    /// Every route, in the order of their numbers.
    pub const ALL: [Self; 9] = [
        Self::List,
        Self::Upload,
        Self::SetAvatar,
        Self::Download,
        Self::Metadata,
        Self::Update,
        Self::Delete,
        Self::Options,
        Self::None,
    ];

    /// Its name for those who watch.
    pub fn name(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Upload => "upload",
            Self::SetAvatar => "set_avatar",
            Self::Download => "download",
            Self::Metadata => "metadata",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Options => "options",
            Self::None => "none",
        }
    }
}

/// The requests that were answered, by route.
#[derive(Default)]
pub struct Requests {
    routes: [Answered; Route::ALL.len()],
}

impl Requests {
    /// Those of one route.
    pub fn of(&self, route: Route) -> &Answered {
        &self.routes[route as usize]
    }
}

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Requests")
    }
}

/// The requests of one route that were answered.
#[derive(Debug, Default)]
pub struct Answered {
    statuses: Statuses,
    /// From the last byte of the head to the end of the answer, without the time parked.
    pub served: Histogram,
    /// How long those that were parked were so.
    pub parked: Histogram,
    /// Bytes of their bodies that were read.
    pub received: Counter,
    /// Bytes of the answers' bodies.
    pub sent: Counter,
}

impl Answered {
    /// Counts an answer of this status.
    pub fn count(&self, status: u16) {
        if let Some(counter) =
            usize::from(status).checked_sub(FIRST_STATUS).and_then(|at| self.statuses.0.get(at))
        {
            counter.increment();
        }
    }

    /// Each status that was answered with, and how often.
    pub fn statuses(&self) -> impl Iterator<Item = (u16, u64)> {
        let counts = (FIRST_STATUS..).zip(&self.statuses.0).map(|(status, counter)| (status, counter.get()));
        counts
            .filter(|(_, count)| *count > 0)
            .filter_map(|(status, count)| Some((status.try_into().ok()?, count)))
    }
}

/// The lowest status there is (RFC 9110 section 15).
const FIRST_STATUS: usize = 100;

/// A counter for each status.
#[derive(Debug)]
struct Statuses([Counter; 500]);

impl Default for Statuses {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Counter::default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_what_takes_as_long_as_its_bound() {
        let histogram = Histogram::default();
        for milliseconds in [0, 1, 2, 60_000, 60_001] {
            histogram.observe(Duration::from_millis(milliseconds));
        }
        let cumulated = histogram.cumulated();
        assert_eq!(cumulated[..2], [2, 3]);
        assert_eq!(cumulated[cumulated.len() - 3..], [3, 4, 5]);
        assert_eq!(histogram.total(), Duration::from_millis(120_004));
        assert!(BOUNDS.is_sorted());
    }

    #[test]
    fn routes_have_numbers_and_names_of_their_own() {
        let mut names: Vec<_> = Route::ALL.iter().map(|route| route.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Route::ALL.len());
        for (number, route) in Route::ALL.into_iter().enumerate() {
            assert_eq!(route as usize, number);
        }
    }

    #[test]
    fn statuses_are_counted_by_route() {
        let requests = Requests::default();
        for status in [404, 200, 404, 599, 100, 99, 600] {
            requests.of(Route::List).count(status);
        }
        let counted: Vec<_> = requests.of(Route::List).statuses().collect();
        assert_eq!(counted, [(100, 1), (200, 1), (404, 2), (599, 1)]);
        assert_eq!(requests.of(Route::Upload).statuses().count(), 0);
    }
}
