//! Channel services that refuse our account the list of a channel's affiliations. Users are refused then, and only the
//! operator can correct it.

use std::time::Instant;

use super::counts::RightsRefused;
use crate::limits;
use crate::model::Jid;

/// How often that happened, and when the log told it.
#[derive(Default)]
pub(super) struct RefusedRights {
    counts: RightsRefused,
    warned: Option<Instant>,
}

impl RefusedRights {
    pub(super) fn counts(&self) -> RightsRefused {
        self.counts
    }

    /// `service` has refused the affiliations of this node to our account, `own`.
    pub(super) fn note(&mut self, now: Instant, service: &Jid, own: &Jid, node: &str) {
        self.counts.count += 1;
        self.counts.last = Some(now);
        let is_told = |at: Instant| now.saturating_duration_since(at) < limits::RIGHTS_WARNING;
        if self.warned.is_some_and(is_told) {
            return;
        }
        self.warned = Some(now);
        let own = own.bare();
        log::warn!(
            "{service} does not give {own} the affiliations of the node {node}: make {own} an owner of the node, or an \
             administrator of the service"
        );
    }
}
