//! The report about an exchange when its response has ended: its access line and the counters.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::access_line::AccessLine;
use crate::http::runtime::shared::Shared;
use crate::metrics::{Requests, Route};
use crate::model::Method;

/// The facts that are logged and counted when a response has ended.
pub struct Outcome<'a> {
    pub client: IpAddr,
    pub user: Option<Cow<'a, str>>,
    pub claimed: Option<Cow<'a, str>>,
    pub refused: Option<&'static str>,
    pub method: Method,
    pub path: Cow<'a, str>,
    pub status: u16,
    pub since: Instant,
    pub route: Route,
    pub received: u64,
    pub parked: Option<Duration>,
}

impl Outcome<'_> {
    /// The same without borrowing from the exchange.
    pub fn into_owned(self) -> Outcome<'static> {
        Outcome {
            user: self.user.map(|user| Cow::Owned(user.into_owned())),
            claimed: self.claimed.map(|claimed| Cow::Owned(claimed.into_owned())),
            path: Cow::Owned(self.path.into_owned()),
            ..self
        }
    }

    /// Logs and counts a response of which so many bytes of the body went out.
    pub fn end(&self, shared: &Shared, bytes: u64) {
        self.count(&shared.requests, bytes);
        AccessLine {
            client: self.client,
            user: self.user.as_deref(),
            claimed: self.claimed.as_deref(),
            outcome: self.refused,
            method: self.method.name(),
            path: &self.path,
            status: self.status,
            bytes,
            since: self.since,
        }
        .log(shared.settings.access_level);
    }

    fn count(&self, requests: &Requests, bytes: u64) {
        let answered = requests.of(self.route);
        answered.count(self.status);
        answered.received.add(self.received);
        answered.sent.add(bytes);
        if let Some(parked) = self.parked {
            answered.parked.observe(parked);
        }
        answered.served.observe(self.since.elapsed().saturating_sub(self.parked.unwrap_or_default()));
    }
}
