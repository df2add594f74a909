//! `/healthz`: whether each part that the server needs is in order.

use std::sync::Arc;

use serde::Serialize;

use super::probe::{Finding, Probe};
use crate::access::Counts;
use crate::http::Response;
use crate::media::Library;

/// The parts that have to be tried out.
pub(super) struct Health {
    database: Arc<Probe<()>>,
    storage: Arc<Probe<()>>,
    space: Arc<Probe<u64>>,
}

/// What is known of every part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Report {
    /// Whether all parts are in order.
    ok: bool,
    parts: Parts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Parts {
    xmpp_component: Part,
    xmpp_client: Part,
    database: Part,
    storage: Part,
    free_space: Part,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Part {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
}

impl Health {
    /// The health of this library.
    pub fn new(library: &Arc<Library>) -> Self {
        let of = || Arc::clone(library);
        let (metadata, files, space) = (of(), of(), of());
        Self {
            database: Probe::new("the database", move || metadata.try_metadata()),
            storage: Probe::new("the storage", move || files.try_storage()),
            space: Probe::new("the look for free space", move || space.free_space()),
        }
    }

    /// What is known now, in bounded time. The parts are tried out side by side.
    pub fn report(&self, counts: &Counts) -> Report {
        self.database.begin();
        self.storage.begin();
        self.space.begin();
        Report::new(counts, self.database.finding(), self.storage.finding(), self.space.finding())
    }
}

impl Report {
    pub(super) fn new(
        counts: &Counts,
        database: Finding<()>,
        storage: Finding<()>,
        space: Finding<u64>,
    ) -> Self {
        let link = |up: bool| Part::of(if up { Ok(()) } else { Err("it is not logged in") });
        let parts = Parts {
            xmpp_component: link(counts.component.up),
            xmpp_client: link(counts.client.up),
            database: Part::of(database),
            storage: Part::of(storage),
            free_space: Part { bytes: space.ok(), ..Part::of(space.map(drop)) },
        };
        Self { ok: parts.named().iter().all(|(_, part)| part.ok), parts }
    }

    /// The answer to a request for it.
    pub fn answer(&self) -> Response {
        Response::json(if self.ok { 200 } else { 503 }, self)
    }

    /// Each part's name, and whether it is in order.
    pub fn parts(&self) -> [(&'static str, bool); 5] {
        self.parts.named().map(|(name, part)| (name, part.ok))
    }

    /// Bytes that may still be stored, if they could be counted.
    pub fn free_space(&self) -> Option<u64> {
        self.parts.free_space.bytes
    }
}

impl Parts {
    fn named(&self) -> [(&'static str, Part); 5] {
        [
            ("xmpp_component", self.xmpp_component),
            ("xmpp_client", self.xmpp_client),
            ("database", self.database),
            ("storage", self.storage),
            ("free_space", self.free_space),
        ]
    }
}

impl Part {
    fn of(finding: Finding<()>) -> Self {
        Self { ok: finding.is_ok(), reason: finding.err(), bytes: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::LinkCounts;

    fn counts(component: bool, client: bool) -> Counts {
        let link = |up| LinkCounts { up, logins: 1 };
        Counts { component: link(component), client: link(client), ..Counts::default() }
    }

    #[test]
    fn all_parts_have_to_be_in_order() {
        let whole = Report::new(&counts(true, true), Ok(()), Ok(()), Ok(5));
        assert_eq!((whole.answer().status(), whole.free_space()), (200, Some(5)));
        for (broken, part) in [
            (Report::new(&counts(false, true), Ok(()), Ok(()), Ok(5)), "xmpp_component"),
            (Report::new(&counts(true, false), Ok(()), Ok(()), Ok(5)), "xmpp_client"),
            (Report::new(&counts(true, true), Err("x"), Ok(()), Ok(5)), "database"),
            (Report::new(&counts(true, true), Ok(()), Err("x"), Ok(5)), "storage"),
            (Report::new(&counts(true, true), Ok(()), Ok(()), Err("x")), "free_space"),
        ] {
            assert_eq!(broken.answer().status(), 503, "{part}");
            let wrong: Vec<_> = broken.parts().into_iter().filter(|(_, ok)| !ok).collect();
            assert_eq!(wrong, [(part, false)]);
        }
    }

    #[test]
    fn it_reads_as_json_with_a_reason_for_what_fails() {
        let report = Report::new(&counts(true, false), Ok(()), Err("no space is left"), Ok(5));
        let json = serde_json::to_value(report).unwrap();
        let expected = serde_json::json!({ "ok": false, "parts": {
            "xmpp_component": { "ok": true },
            "xmpp_client": { "ok": false, "reason": "it is not logged in" },
            "database": { "ok": true },
            "storage": { "ok": false, "reason": "no space is left" },
            "free_space": { "ok": true, "bytes": 5 },
        } });
        assert_eq!(json, expected);
    }
}
