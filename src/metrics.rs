//! Counters: atomics that all threads use. Counting never waits and never allocates. The names that `/metrics` shows are
//! in `admin/exposition.rs`.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds `more`.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// The sum.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The upper bounds of a histogram's buckets. One more bucket is for longer durations.
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

/// A distribution of durations.
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

    /// For each of [`BOUNDS`], how many durations it bounds; last, how many there are.
    pub fn cumulated(&self) -> [u64; BOUNDS.len() + 1] {
        let mut sum = 0;
        std::array::from_fn(|bucket| {
            sum += self.buckets[bucket].get();
            sum
        })
    }

    /// The sum of the durations.
    pub fn total(&self) -> Duration {
        Duration::from_nanos(self.nanoseconds.get())
    }
}

/// The routes by which requests are counted. A closed set: clients can't add label values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Route {
    /// List a channel's media.
    List,
    /// Upload.
    Upload,
    /// Set the avatar.
    SetAvatar,
    /// Download a file or its preview.
    Download,
    /// Read metadata.
    Metadata,
    /// Change title, description or file name.
    Update,
    /// Delete.
    Delete,
    /// Get a ticket.
    Ticket,
    /// Send a file by slot.
    PutUpload,
    /// Fetch a file that was sent by slot.
    GetUpload,
    /// The style, the script and the icon of the page.
    PageFile,
    /// `OPTIONS`, with CORS.
    Options,
    /// No route: malformed or unknown requests, and those refused before routing.
    #[default]
    None,
}

impl Route {
    /// Every route, in the order of their numbers.
    pub const ALL: [Self; 13] = [
        Self::List,
        Self::Upload,
        Self::SetAvatar,
        Self::Download,
        Self::Metadata,
        Self::Update,
        Self::Delete,
        Self::Ticket,
        Self::PutUpload,
        Self::GetUpload,
        Self::PageFile,
        Self::Options,
        Self::None,
    ];

    /// The value of the label `route`.
    pub fn name(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Upload => "upload",
            Self::SetAvatar => "set_avatar",
            Self::Download => "download",
            Self::Metadata => "metadata",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Ticket => "ticket",
            Self::PutUpload => "put_upload",
            Self::GetUpload => "get_upload",
            Self::PageFile => "page_file",
            Self::Options => "options",
            Self::None => "none",
        }
    }
}

/// Answered requests, by route.
#[derive(Default)]
pub struct Requests {
    routes: [Answered; Route::ALL.len()],
}

impl Requests {
    /// Those of this route.
    pub fn of(&self, route: Route) -> &Answered {
        &self.routes[route as usize]
    }
}

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Requests")
    }
}

/// Answered requests of one route.
#[derive(Debug, Default)]
pub struct Answered {
    statuses: Statuses,
    /// Durations from the last byte of the head to the end of the response, without the time parked.
    pub served: Histogram,
    /// How long parked requests were parked.
    pub parked: Histogram,
    /// Bytes read of request bodies.
    pub received: Counter,
    /// Bytes sent of response bodies.
    pub sent: Counter,
}

impl Answered {
    /// Counts a response of this status.
    pub fn count(&self, status: u16) {
        if let Some(counter) =
            usize::from(status).checked_sub(FIRST_STATUS).and_then(|at| self.statuses.0.get(at))
        {
            counter.increment();
        }
    }

    /// The statuses of the responses, and how often each was sent.
    pub fn statuses(&self) -> impl Iterator<Item = (u16, u64)> {
        let counts = (FIRST_STATUS..).zip(&self.statuses.0).map(|(status, counter)| (status, counter.get()));
        counts
            .filter(|(_, count)| *count > 0)
            .filter_map(|(status, count)| Some((status.try_into().ok()?, count)))
    }
}

/// The lowest status (RFC 9110 section 15).
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
    fn a_bound_belongs_to_its_bucket() {
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
    fn each_route_has_its_own_number_and_name() {
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
