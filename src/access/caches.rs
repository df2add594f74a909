//! What lookups have found, kept for a while.

use std::time::Instant;

use super::query::{Answer, Query};
use crate::cache::Cache;
use crate::limits;

/// One cache for each kind of query, so that strangers who make up channels can't push services out.
pub(super) struct Caches {
    services: Cache<Query, Answer>,
    access: Cache<Query, Answer>,
    affiliations: Cache<Query, Answer>,
}

impl Caches {
    pub fn new() -> Self {
        let cache = || Cache::new(limits::CACHE_ENTRIES);
        Self { services: cache(), access: cache(), affiliations: cache() }
    }

    pub fn of(&mut self, query: &Query) -> &mut Cache<Query, Answer> {
        match query {
            Query::Service(_) => &mut self.services,
            Query::Access(_) => &mut self.access,
            Query::Affiliation(..) => &mut self.affiliations,
        }
    }

    pub fn get(&mut self, now: Instant, query: &Query) -> Option<Answer> {
        self.of(query).get(now, query).cloned()
    }
}
