//! `/healthz`: the state of each part that the server needs.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Serialize;

use super::probe::{HealthProbe, ProbeResult};
use crate::access::{Counts, LinkCounts};
use crate::cluster::ClusterState;
use crate::http::Response;
use crate::limits;
use crate::media::Library;

/// The parts that must be tried to know whether they work.
pub(super) struct Health {
    database: Arc<HealthProbe<()>>,
    storage: Arc<HealthProbe<()>>,
    space: Arc<HealthProbe<u64>>,
}

/// The state of all parts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct HealthReport {
    /// Whether all parts work.
    ok: bool,
    parts: PartsHealth,
    /// Problems that operators should know about although all parts work.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<&'static str>,
}

/// Any user may make a channel like that, so it says nothing about the server's parts.
const RIGHTS_REFUSED: &str = "a channel service refuses this server's account the list of a channel's affiliations; the log names both";

/// See [`limits::CLUSTER_UNHELD`].
const UNHELD: &str = "no node is known to hold the stream";

/// Changes by other nodes are known a little later, and that is all.
const NOT_LISTENING: &str = "no notices of other nodes come in, so this node reads the tables each second";

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct PartsHealth {
    xmpp_component: PartHealth,
    xmpp_client: PartHealth,
    database: PartHealth,
    storage: PartHealth,
    free_space: PartHealth,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct PartHealth {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Cow<'static, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    /// The node that holds the component's stream, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    holder: Option<String>,
}

impl Health {
    /// Probes for this library.
    pub fn new(library: &Arc<Library>) -> Self {
        let of = || Arc::clone(library);
        let (metadata, files, space) = (of(), of(), of());
        Self {
            database: HealthProbe::new("the database", move || metadata.try_metadata()),
            storage: HealthProbe::new("the storage", move || files.try_storage()),
            space: HealthProbe::new("reading the free space", move || space.free_space()),
        }
    }

    /// The state of all parts, in bounded time. The parts are tried at the same time.
    pub fn report(&self, counts: &Counts, nodes: Option<&ClusterState>) -> HealthReport {
        self.database.begin();
        self.storage.begin();
        self.space.begin();
        let (database, storage) = (self.database.finding(), self.storage.finding());
        HealthReport::new(counts, nodes, database, storage, self.space.finding())
    }
}

impl HealthReport {
    pub(super) fn new(
        counts: &Counts,
        nodes: Option<&ClusterState>,
        database: ProbeResult<()>,
        storage: ProbeResult<()>,
        space: ProbeResult<u64>,
    ) -> Self {
        let parts = PartsHealth {
            xmpp_component: PartHealth::of_component(&counts.component, nodes),
            xmpp_client: PartHealth::of_link(&counts.client),
            database: PartHealth::of(database),
            storage: PartHealth::of(storage),
            free_space: PartHealth { bytes: space.ok(), ..PartHealth::of(space.map(drop)) },
        };
        let refused = counts.rights_refused.last.is_some_and(|at| at.elapsed() < limits::RIGHTS_REFUSED);
        let is_deaf = nodes.is_some_and(|nodes| !nodes.is_listening);
        let notes = [(refused, RIGHTS_REFUSED), (is_deaf, NOT_LISTENING)];
        let notes = notes.into_iter().filter_map(|(applies, note)| applies.then_some(note)).collect();
        Self { ok: parts.named().iter().all(|(_, part)| part.ok), parts, notes }
    }

    /// The response of `/healthz`.
    pub fn response(&self) -> Response {
        Response::json(if self.ok { 200 } else { 503 }, self)
    }

    /// Each part's name, and whether it works.
    pub fn parts(&self) -> [(&'static str, bool); 5] {
        self.parts.named().map(|(name, part)| (name, part.ok))
    }

    /// Bytes that may still be stored, if they could be read.
    pub fn free_space(&self) -> Option<u64> {
        self.parts.free_space.bytes
    }
}

impl PartsHealth {
    fn named(&self) -> [(&'static str, &PartHealth); 5] {
        [
            ("xmpp_component", &self.xmpp_component),
            ("xmpp_client", &self.xmpp_client),
            ("database", &self.database),
            ("storage", &self.storage),
            ("free_space", &self.free_space),
        ]
    }
}

impl PartHealth {
    fn of(finding: ProbeResult<()>) -> Self {
        Self { ok: finding.is_ok(), reason: finding.err().map(Cow::Borrowed), bytes: None, holder: None }
    }

    /// Only one of several nodes holds the stream; on the others the part is ok if any node does.
    fn of_component(link: &LinkCounts, nodes: Option<&ClusterState>) -> Self {
        match nodes {
            None => Self::of_link(link),
            Some(nodes) if nodes.is_holder => Self { holder: nodes.holder.clone(), ..Self::of_link(link) },
            Some(nodes) => {
                let finding = if nodes.unheld < limits::CLUSTER_UNHELD { Ok(()) } else { Err(UNHELD) };
                Self { holder: nodes.holder.clone(), ..Self::of(finding) }
            }
        }
    }

    fn of_link(link: &LinkCounts) -> Self {
        let reason = link.failure.as_ref().map(|failure| Cow::Owned(format!("not connected: {failure}")));
        let reason = (!link.up).then(|| reason.unwrap_or(Cow::Borrowed("not connected yet")));
        Self { ok: link.up, reason, bytes: None, holder: None }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::access::RightsRefused;

    fn counts(component: bool, client: bool) -> Counts {
        let link = |up| LinkCounts { up, logins: 1, failure: None };
        Counts { component: link(component), client: link(client), ..Counts::default() }
    }

    #[test]
    fn one_broken_part_makes_it_503() {
        let whole = HealthReport::new(&counts(true, true), None, Ok(()), Ok(()), Ok(5));
        assert_eq!((whole.response().status(), whole.free_space()), (200, Some(5)));
        for (broken, part) in [
            (HealthReport::new(&counts(false, true), None, Ok(()), Ok(()), Ok(5)), "xmpp_component"),
            (HealthReport::new(&counts(true, false), None, Ok(()), Ok(()), Ok(5)), "xmpp_client"),
            (HealthReport::new(&counts(true, true), None, Err("x"), Ok(()), Ok(5)), "database"),
            (HealthReport::new(&counts(true, true), None, Ok(()), Err("x"), Ok(5)), "storage"),
            (HealthReport::new(&counts(true, true), None, Ok(()), Ok(()), Err("x")), "free_space"),
        ] {
            assert_eq!(broken.response().status(), 503, "{part}");
            let wrong: Vec<_> = broken.parts().into_iter().filter(|(_, ok)| !ok).collect();
            assert_eq!(wrong, [(part, false)]);
        }
    }

    #[test]
    fn a_service_that_refuses_rights_is_noted_for_a_while_and_breaks_nothing() {
        for (age, notes) in [(Duration::ZERO, 1), (limits::RIGHTS_REFUSED, 0)] {
            let last = Instant::now().checked_sub(age);
            let refused = Counts { rights_refused: RightsRefused { count: 1, last }, ..counts(true, true) };
            let report = HealthReport::new(&refused, None, Ok(()), Ok(()), Ok(5));
            let json = serde_json::to_value(&report).unwrap();
            assert_eq!(json.get("notes").and_then(|notes| notes.as_array()).map_or(0, Vec::len), notes);
            assert_eq!(report.response().status(), 200);
        }
    }

    fn nodes() -> ClusterState {
        ClusterState {
            node: "a".to_owned(),
            holder: Some("b".to_owned()),
            is_holder: false,
            beat_age: Some(Duration::from_secs(1)),
            unheld: Duration::from_secs(1),
            takeovers: 0,
            is_listening: true,
        }
    }

    #[test]
    fn a_node_without_the_stream_is_healthy_while_another_one_has_it() {
        let report = |up, nodes: &ClusterState| {
            let report = HealthReport::new(&counts(up, true), Some(nodes), Ok(()), Ok(()), Ok(5));
            (report.response().status(), serde_json::to_value(&report).unwrap())
        };
        let (status, json) = report(false, &nodes());
        assert_eq!((status, &json["parts"]["xmpp_component"]["holder"]), (200, &"b".into()));
        let unheld = ClusterState { holder: None, unheld: limits::CLUSTER_UNHELD, ..nodes() };
        let (status, json) = report(false, &unheld);
        assert_eq!((status, &json["parts"]["xmpp_component"]["reason"]), (503, &UNHELD.into()));
        let holder = ClusterState { holder: Some("a".to_owned()), is_holder: true, ..nodes() };
        assert_eq!((report(true, &holder).0, report(false, &holder).0), (200, 503));
        let (status, json) = report(false, &ClusterState { is_listening: false, ..nodes() });
        assert_eq!((status, &json["notes"]), (200, &serde_json::json!([NOT_LISTENING])));
    }

    #[test]
    fn a_broken_part_has_a_reason_in_the_json() {
        let mut counts = counts(false, false);
        counts.client.failure = Some("not-authorized".to_owned());
        let report = HealthReport::new(&counts, None, Ok(()), Err("no space is left"), Ok(5));
        let json = serde_json::to_value(report).unwrap();
        let expected = serde_json::json!({ "ok": false, "parts": {
            "xmpp_component": { "ok": false, "reason": "not connected yet" },
            "xmpp_client": { "ok": false, "reason": "not connected: not-authorized" },
            "database": { "ok": true },
            "storage": { "ok": false, "reason": "no space is left" },
            "free_space": { "ok": true, "bytes": 5 },
        } });
        assert_eq!(json, expected);
    }
}
