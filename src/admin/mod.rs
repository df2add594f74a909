//! The admin interface: `/metrics` and `/healthz`, on a listener of its own, never on the public one. Served by that
//! listener's worker thread.

mod exposition;
#[cfg(test)]
#[path = "../../tests/support/exposition.rs"]
mod exposition_parser;
mod health;
mod probe;
mod text;

use std::sync::Arc;
use std::time::SystemTime;

use crate::access::SharedGate;
use crate::cluster::{ClusterState, ClusterStatus};
use crate::http::{Exchange, Monitor, Response, Service};
use crate::media::Library;
use crate::model::{Method, Refusal};
use crate::store::BlockCache;
use crate::sys::Usage;
use crate::uploads::UploadService;

use exposition::Snapshot;
use health::Health;

/// The methods of both routes.
const METHODS: &str = "GET, HEAD";

/// The service of `admin.bind`. `P` is what is parked at the gate.
pub struct Admin<P: Send> {
    gate: Arc<SharedGate<P>>,
    library: Arc<Library>,
    uploads: Arc<UploadService>,
    nodes: Option<Arc<ClusterStatus>>,
    cache: Option<BlockCache>,
    server: Monitor,
    health: Health,
    started: SystemTime,
}

impl<P: Send> Admin<P> {
    /// Reports on these parts of a process that was started at `started`. A single node has no `nodes`, and files in a
    /// directory no `cache`.
    pub fn new(
        gate: Arc<SharedGate<P>>,
        library: Arc<Library>,
        uploads: Arc<UploadService>,
        nodes: Option<Arc<ClusterStatus>>,
        cache: Option<BlockCache>,
        server: Monitor,
        started: SystemTime,
    ) -> Self {
        let health = Health::new(&library);
        Self { gate, library, uploads, nodes, cache, server, health, started }
    }

    fn metrics(&self) -> Response {
        let (gate, nodes) = (self.gate.counts(), self.nodes());
        let snapshot = Snapshot {
            version: env!("CARGO_PKG_VERSION"),
            started: self.started,
            usage: Usage::now(),
            server: self.server.activity(),
            requests: self.server.requests(),
            health: self.health.report(&gate, nodes.as_ref()),
            gate,
            nodes,
            pool: self.library.pool(),
            preview_jobs: self.library.preview_jobs(),
            previews: self.library.preview_counts(),
            chores: [("media", self.library.chore_counts()), ("upload", self.uploads.chore_counts())],
            slots: self.uploads.slot_counts(),
            cache: self.cache.as_ref().map(BlockCache::state),
        };
        Response::bytes(200, text::CONTENT_TYPE, snapshot.text())
    }

    fn nodes(&self) -> Option<ClusterState> {
        self.nodes.as_ref().map(|nodes| nodes.state())
    }

    fn response(&self, method: Method, path: &str) -> Response {
        if !matches!(path, "/metrics" | "/healthz") {
            return Response::refusal(Refusal::NoSuchRoute);
        }
        if !matches!(method, Method::Get | Method::Head) {
            return Response::refusal(Refusal::MethodNotAllowed).header("Allow", METHODS);
        }
        let response = match path {
            "/metrics" => self.metrics(),
            _ => self.health.report(&self.gate.counts(), self.nodes().as_ref()).response(),
        };
        response.header("Cache-Control", "no-store")
    }
}

impl<P: Send + 'static> Service for Admin<P> {
    fn serve(self: Arc<Self>, exchange: Exchange) {
        // The parts that are tried out may hang.
        exchange.leave_turn(move |exchange| {
            let response = self.response(exchange.method(), exchange.path());
            exchange.answer(response);
        });
    }
}
