//! Log lines about lookups. A part of the gate's state machine; its only effect is the log.

use std::time::Instant;

use super::lookup::{Lookup, LookupResult, LookupValue};
use crate::cache::Cache;
use crate::limits;
use crate::model::{Jid, Refusal};

/// The channel services that the log was told of, so that it is told of changes only.
pub(super) struct Reports(Cache<String, Option<Jid>>);

impl Reports {
    pub(super) fn new() -> Self {
        Self(Cache::new(limits::CACHE_ENTRIES))
    }

    /// Logs a result. Channel services are at level info, for operators look for them: once, and again when another one
    /// is found, or after a day.
    pub(super) fn report(&mut self, now: Instant, lookup: &Lookup, result: &LookupResult) {
        match (lookup, result) {
            (Lookup::Service(domain), Ok(LookupValue::Service(found))) => self.service(now, domain, found),
            // `RefusedRights` tells that, though less often.
            (_, Err(Refusal::RightsUntold)) => {}
            (_, Ok(found)) => log::debug!("{lookup}: {found:?}"),
            (_, Err(refusal)) => log::warn!("no answer about the {lookup}: {refusal}"),
        }
    }

    fn service(&mut self, now: Instant, domain: &str, found: &Option<Jid>) {
        if !self.is_news(now, domain, found) {
            return;
        }
        match found {
            Some(jid) => log::info!("the channel service of {domain} is {jid}"),
            None => log::warn!("the channel service of {domain} was not found"),
        }
    }

    fn is_news(&mut self, now: Instant, domain: &str, found: &Option<Jid>) -> bool {
        let domain = domain.to_owned();
        if self.0.get(now, &domain) == Some(found) {
            return false;
        }
        self.0.insert(now, domain, found.clone(), limits::REPORT_REMINDER);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_service_is_news_when_it_changes() {
        let (mut reports, now) = (Reports::new(), Instant::now());
        let service: Option<Jid> = Some("channels.example.com".parse().unwrap());
        let expected = [
            ("example.com", service.clone(), true),
            ("example.com", service.clone(), false),
            ("example.org", service.clone(), true),
            ("example.com", None, true),
            ("example.com", None, false),
            ("example.com", service.clone(), true),
        ];
        for (domain, found, news) in expected {
            assert_eq!(reports.is_news(now, domain, &found), news, "{domain} {found:?}");
        }
        assert!(reports.is_news(now + limits::REPORT_REMINDER, "example.com", &service));
    }
}
