//! Results of lookups, kept for a while.

use std::time::{Duration, Instant};

use super::lookup::{Lookup, LookupResult};
use crate::cache::Cache;
use crate::limits;

/// One cache for each kind of lookup: requests for invented channels can't push channel services out.
pub(super) struct Caches {
    services: Cache<Lookup, LookupResult>,
    access: Cache<Lookup, LookupResult>,
    affiliations: Cache<Lookup, LookupResult>,
}

impl Caches {
    pub fn new() -> Self {
        let cache = || Cache::new(limits::CACHE_ENTRIES);
        Self { services: cache(), access: cache(), affiliations: cache() }
    }

    pub fn get(&mut self, now: Instant, lookup: &Lookup) -> Option<LookupResult> {
        self.of(lookup).get(now, lookup).cloned()
    }

    pub fn insert(&mut self, now: Instant, lookup: &Lookup, result: LookupResult, ttl: Duration) {
        self.of(lookup).insert(now, lookup.clone(), result, ttl);
    }

    pub fn forget_expired(&mut self, now: Instant) {
        for cache in [&mut self.services, &mut self.access, &mut self.affiliations] {
            cache.forget_expired(now);
        }
    }

    fn of(&mut self, lookup: &Lookup) -> &mut Cache<Lookup, LookupResult> {
        match lookup {
            Lookup::Service(_) => &mut self.services,
            Lookup::Access(_) => &mut self.access,
            Lookup::Affiliation(..) => &mut self.affiliations,
        }
    }
}
