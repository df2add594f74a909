//! All metrics, with their names. A test compares them with the section WATCHING of the manual.

use std::time::{SystemTime, UNIX_EPOCH};

use super::health::HealthReport;
use super::text::FamilyKind::{Counter, Gauge, Histogram};
use super::text::{MetricValue, MetricsText};
use crate::access::{Counts, LinkCounts, LookupCounts};
use crate::chore::ChoreCounts;
use crate::cluster::ClusterState;
use crate::http::Activity;
use crate::media::PreviewCounts;
use crate::metrics::{Answered, Requests, Route};
use crate::store::{CacheState, Pool};
use crate::sys::Usage;
use crate::uploads::SlotCounts;

/// All values at one moment.
pub(super) struct Snapshot<'a> {
    pub version: &'static str,
    /// When the process was started.
    pub started: SystemTime,
    pub usage: Usage,
    pub server: Activity,
    pub requests: &'a Requests,
    pub gate: Counts,
    /// Metrics of several nodes.
    pub nodes: Option<ClusterState>,
    pub pool: Pool,
    /// Previews under way, and requests that wait for theirs.
    pub preview_jobs: (usize, usize),
    pub previews: &'a PreviewCounts,
    /// Metrics of the files of media and of uploads.
    pub chores: [(&'static str, &'a ChoreCounts); 2],
    pub slots: &'a SlotCounts,
    /// The cache of files that are in an S3 store.
    pub cache: Option<CacheState>,
    pub health: HealthReport,
}

impl Snapshot<'_> {
    /// The text that Prometheus reads.
    pub fn text(&self) -> Vec<u8> {
        let mut text = MetricsText::default();
        self.requests(&mut text);
        self.transfers(&mut text);
        self.workers(&mut text);
        self.confirmations(&mut text);
        self.links(&mut text);
        self.nodes(&mut text);
        self.lookups(&mut text);
        self.previews(&mut text);
        self.slots(&mut text);
        self.chores(&mut text);
        self.storage(&mut text);
        self.cache(&mut text);
        self.process(&mut text);
        text.into_bytes()
    }

    fn requests(&self, text: &mut MetricsText) {
        let mut answered = text.family(
            "mediaserver_http_requests_total",
            Counter,
            "Requests answered, by route and status.",
        );
        for route in Route::ALL {
            for (status, count) in self.requests.of(route).statuses() {
                answered.sample(&[("route", route.name()), ("status", &status.to_string())], count);
            }
        }
        let mut durations = text.family(
            "mediaserver_http_request_duration_seconds",
            Histogram,
            "Time from the end of a request's head to the end of its response, without the time parked.",
        );
        for route in Route::ALL {
            durations.histogram(&[("route", route.name())], &self.requests.of(route).served);
        }
        let mut parked = text.family(
            "mediaserver_http_request_parked_seconds",
            Histogram,
            "How long requests waited for a confirmation or a channel service.",
        );
        for route in Route::ALL {
            parked.histogram(&[("route", route.name())], &self.requests.of(route).parked);
        }
    }

    fn transfers(&self, text: &mut MetricsText) {
        let mut by_route = |name, help, count: fn(&Answered) -> u64| {
            let mut family = text.family(name, Counter, help);
            for route in Route::ALL {
                family.sample(&[("route", route.name())], count(self.requests.of(route)));
            }
        };
        by_route(
            "mediaserver_http_request_body_bytes_total",
            "Bytes of request bodies read, counted when the response begins.",
            |answered| answered.received.get(),
        );
        by_route(
            "mediaserver_http_response_body_bytes_total",
            "Bytes of response bodies sent, counted at the end of the response.",
            |answered| answered.sent.get(),
        );
        let server = &self.server;
        let (open, idle) = (server.connections.0, server.idle);
        let mut connections =
            text.family("mediaserver_http_connections", Gauge, "Open connections, idle or active.");
        connections.sample(&[("state", "idle")], idle.min(open));
        connections.sample(&[("state", "active")], open.saturating_sub(idle));
        gauges(
            text,
            [
                (
                    "mediaserver_http_connections_limit",
                    "Maximum number of open connections.",
                    server.connections.1,
                ),
                ("mediaserver_http_uploads", "Requests whose bodies are being read.", server.uploads.0),
                ("mediaserver_http_uploads_limit", "Uploads that are taken at a time.", server.uploads.1),
                (
                    "mediaserver_http_responses_half_sent",
                    "Responses that wait for a slow client.",
                    server.half_sent,
                ),
                (
                    "mediaserver_http_downloads",
                    "Old name of mediaserver_http_responses_half_sent; it will be removed.",
                    server.half_sent,
                ),
                (
                    "mediaserver_http_downloads_limit",
                    "Old name of mediaserver_http_connections_limit; it will be removed.",
                    server.connections.1,
                ),
            ],
        );
    }

    fn workers(&self, text: &mut MetricsText) {
        let server = &self.server;
        let (left, max) = server.left;
        gauges(
            text,
            [
                (
                    "mediaserver_http_turns",
                    "Threads that wait for network events and handle them, including lent ones.",
                    server.turns,
                ),
                (
                    "mediaserver_http_turns_lent",
                    "Such threads that were added because all others are stuck.",
                    server.turns_lent,
                ),
                (
                    "mediaserver_http_requests_left",
                    "Requests that have a worker thread of their own, because they may wait.",
                    left,
                ),
                (
                    "mediaserver_http_requests_left_limit",
                    "Maximum number of such requests: http.threads.",
                    max,
                ),
                (
                    "mediaserver_http_requests_deferred",
                    "Requests that wait for a worker thread.",
                    server.deferred,
                ),
                (
                    "mediaserver_http_requests_resumed",
                    "Requests that the gate has decided and that wait for a thread.",
                    server.resumed,
                ),
                (
                    "mediaserver_workers",
                    "http.threads, under the name of older versions; it will be removed.",
                    max,
                ),
                (
                    "mediaserver_workers_busy",
                    "Old name of mediaserver_http_requests_left; it will be removed.",
                    left,
                ),
                (
                    "mediaserver_workers_queue",
                    "Old metric: deferred and resumed requests together; it will be removed.",
                    server.deferred + server.resumed,
                ),
            ],
        );
    }

    fn confirmations(&self, text: &mut MetricsText) {
        let gate = &self.gate;
        gauges(
            text,
            [
                (
                    "mediaserver_requests_parked",
                    "Requests that wait for a confirmation or a channel service.",
                    gate.parked,
                ),
                ("mediaserver_confirmations_pending", "Confirmations that requests wait for.", gate.pending),
                (
                    "mediaserver_confirmations_handed_over",
                    "Requests whose users are asked by the node that holds the stream.",
                    gate.handed_over,
                ),
            ],
        );
        let mut outcomes =
            text.family("mediaserver_confirmations_total", Counter, "Confirmations, by outcome.");
        let done = &gate.confirmations;
        for (outcome, count) in [
            ("confirmed", done.confirmed),
            ("denied", done.denied),
            ("timeout", done.late),
            ("limited", done.limited),
            ("abandoned", done.abandoned),
        ] {
            outcomes.sample(&[("outcome", outcome)], count);
        }
    }

    fn links(&self, text: &mut MetricsText) {
        let links = [("component", &self.gate.component), ("client", &self.gate.client)];
        let mut up = text.family("mediaserver_xmpp_up", Gauge, "Whether the XMPP link is logged in.");
        for (link, LinkCounts { up: is_up, .. }) in links {
            up.sample(&[("link", link)], *is_up);
        }
        let mut reconnects = text.family(
            "mediaserver_xmpp_reconnects_total",
            Counter,
            "How often the XMPP link logged in again after a failure.",
        );
        for (link, LinkCounts { logins, .. }) in links {
            reconnects.sample(&[("link", link)], logins.saturating_sub(1));
        }
    }

    /// A single node has the names without values.
    fn nodes(&self, text: &mut MetricsText) {
        let nodes = self.nodes.as_ref();
        let mut single = |name, kind, help, value: Option<MetricValue>| {
            let mut family = text.family(name, kind, help);
            if let Some(value) = value {
                family.value(value);
            }
        };
        single(
            "mediaserver_stream_holder",
            Gauge,
            "Whether this node holds the component's stream.",
            nodes.map(|nodes| nodes.is_holder.into()),
        );
        single(
            "mediaserver_stream_takeovers_total",
            Counter,
            "How often this node took the component's stream.",
            nodes.map(|nodes| nodes.takeovers.into()),
        );
        single(
            "mediaserver_stream_beat_age_seconds",
            Gauge,
            "Age of the last beat of the node that holds the stream.",
            nodes.and_then(|nodes| nodes.beat_age).map(|age| age.as_secs_f64().into()),
        );
        single(
            "mediaserver_notices_up",
            Gauge,
            "Whether this node receives the notices of other nodes.",
            nodes.map(|nodes| nodes.is_listening.into()),
        );
    }

    fn lookups(&self, text: &mut MetricsText) {
        let lookups = self.gate.lookups;
        let kinds =
            [("service", lookups.service), ("access", lookups.access), ("affiliation", lookups.affiliation)];
        let mut by_kind = |name, help, count: fn(&LookupCounts) -> u64| {
            let mut family = text.family(name, Counter, help);
            for (kind, counts) in &kinds {
                family.sample(&[("kind", kind)], count(counts));
            }
        };
        by_kind("mediaserver_lookups_total", "Queries to channel services, by kind.", |counts| counts.asked);
        by_kind("mediaserver_lookup_failures_total", "Queries without a reply.", |counts| counts.failed);
        by_kind("mediaserver_lookup_cache_hits_total", "Lookups that the cache answered.", |counts| {
            counts.cached
        });
        let help = "Lists of affiliations that a channel service refused to the server's account.";
        let mut refused = text.family("mediaserver_lookups_refused_total", Counter, help);
        refused.sample(&[], self.gate.rights_refused.count);
    }

    fn previews(&self, text: &mut MetricsText) {
        let (running, waiting) = self.preview_jobs;
        gauges(
            text,
            [
                ("mediaserver_previews_running", "Previews being made, and uploads being measured.", running),
                ("mediaserver_previews_queue", "Requests that wait for a preview to be made.", waiting),
            ],
        );
        let mut previews =
            text.family("mediaserver_previews_total", Counter, "Requests for previews, by outcome.");
        let counts = self.previews;
        for (outcome, count) in [
            ("made", &counts.made),
            ("stored", &counts.stored),
            ("refused", &counts.refused),
            ("failed", &counts.failed),
        ] {
            previews.sample(&[("outcome", outcome)], count.get());
        }
    }

    fn slots(&self, text: &mut MetricsText) {
        let help = "Requests for upload slots that were decided, by outcome.";
        let mut slots = text.family("mediaserver_slots_total", Counter, help);
        for (outcome, count) in self.slots.outcomes() {
            slots.sample(&[("outcome", outcome)], count);
        }
    }

    fn chores(&self, text: &mut MetricsText) {
        let mut by_kind = |name, kind, help, value: fn(&ChoreCounts) -> u64| {
            let mut family = text.family(name, kind, help);
            for (files, counts) in self.chores {
                family.sample(&[("kind", files)], value(counts));
            }
        };
        by_kind(
            "mediaserver_removals_total",
            Counter,
            "Files that the housekeeper removed: leftovers of deleted media, and uploads.",
            |counts| counts.removed.get(),
        );
        by_kind(
            "mediaserver_removals_failed",
            Gauge,
            "Files that the housekeeper could not remove in its last round.",
            ChoreCounts::failed,
        );
        by_kind(
            "mediaserver_lost_files_total",
            Counter,
            "Files without metadata that were moved to .lost.",
            |counts| counts.lost.get(),
        );
    }

    fn storage(&self, text: &mut MetricsText) {
        let mut free = text.family("mediaserver_storage_free_bytes", Gauge, "Free bytes of the storage.");
        if let Some(bytes) = self.health.free_space() {
            free.value(bytes);
        }
        let Pool { open, idle, max: most } = self.pool;
        let mut connections =
            text.family("mediaserver_database_connections", Gauge, "Connections to the database.");
        connections.sample(&[("state", "idle")], idle);
        connections.sample(&[("state", "used")], open.saturating_sub(idle));
        let help = "Maximum number of connections to the database.";
        text.family("mediaserver_database_connections_limit", Gauge, help).value(most);
        let mut health = text.family("mediaserver_healthy", Gauge, "Whether /healthz reports a part as ok.");
        for (part, ok) in self.health.parts() {
            health.sample(&[("part", part)], ok);
        }
    }

    /// Without an S3 store there are the names without values.
    fn cache(&self, text: &mut MetricsText) {
        let mut reads = text.family(
            "mediaserver_cache_reads_total",
            Counter,
            "Blocks of files in the S3 store that readers needed, by whether the cache had them.",
        );
        if let Some(cache) = &self.cache {
            reads.sample(&[("outcome", "hit")], cache.hits);
            reads.sample(&[("outcome", "miss")], cache.misses);
        }
        let mut single = |name, kind, help, value: fn(&CacheState) -> u64| {
            let mut family = text.family(name, kind, help);
            if let Some(cache) = &self.cache {
                family.value(value(cache));
            }
        };
        single(
            "mediaserver_cache_failures_total",
            Counter,
            "Blocks that could not be fetched from the S3 store.",
            |cache| cache.failed,
        );
        single(
            "mediaserver_cache_fetched_bytes_total",
            Counter,
            "Bytes of blocks that the S3 store has sent.",
            |cache| cache.fetched_bytes,
        );
        single(
            "mediaserver_cache_bytes",
            Gauge,
            "Bytes that the cache takes, including blocks that are being fetched.",
            |cache| cache.bytes,
        );
        single(
            "mediaserver_cache_bytes_limit",
            Gauge,
            "Maximum of them: media.storage.s3.cache.bytes.",
            |cache| cache.max_bytes,
        );
    }

    /// The metrics of the process, named as Prometheus's client libraries name them.
    fn process(&self, text: &mut MetricsText) {
        let help = "1, with the version that runs.";
        text.family("mediaserver_build_info", Gauge, help).sample(&[("version", self.version)], 1_u64);
        let started = self.started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let help = "Start of the process, in seconds since 1970.";
        text.family("process_start_time_seconds", Gauge, help).value(started);
        let cpu = self.usage.cpu.as_secs_f64();
        text.family("process_cpu_seconds_total", Counter, "Processor time spent.").value(cpu);
        let usage = &self.usage;
        for (name, help, value) in [
            ("process_resident_memory_bytes", "Memory in RAM.", usage.resident),
            ("process_virtual_memory_bytes", "Address space.", usage.virtual_memory),
            ("process_open_fds", "Open file descriptors.", usage.open_files),
            ("process_max_fds", "Maximum number of open file descriptors.", usage.most_files),
        ] {
            let mut family = text.family(name, Gauge, help);
            if let Some(value) = value {
                family.value(value);
            }
        }
    }
}

/// Gauges without labels.
fn gauges<const N: usize>(text: &mut MetricsText, rows: [(&'static str, &str, usize); N]) {
    for (name, help, value) in rows {
        text.family(name, Gauge, help).value(value);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::exposition_parser::{parse, value};
    use super::*;

    #[test]
    fn every_metric_is_in_the_exposition() {
        let (requests, previews) = (Requests::default(), PreviewCounts::default());
        let download = requests.of(Route::Download);
        download.count(206);
        download.sent.add(1000);
        download.parked.observe(Duration::from_secs(2));
        previews.stored.add(3);
        let chores = [ChoreCounts::default(), ChoreCounts::default()];
        chores[0].removed.add(8);
        chores[1].lost.add(9);
        let mut gate = Counts { parked: 5, pending: 4, handed_over: 1, ..Counts::default() };
        gate.client = LinkCounts { up: true, logins: 3, failure: None };
        gate.confirmations.late = 6;
        gate.lookups.access.cached = 7;
        let snapshot = Snapshot {
            version: "1.2.3",
            started: UNIX_EPOCH + Duration::from_millis(1500),
            usage: Usage { cpu: Duration::from_millis(250), open_files: Some(9), ..Usage::default() },
            server: Activity { connections: (10, 20), idle: 4, left: (2, 8), ..Activity::default() },
            requests: &requests,
            health: HealthReport::new(&gate, None, Ok(()), Err("x"), Ok(11)),
            gate,
            nodes: Some(ClusterState {
                node: "a".to_owned(),
                holder: Some("a".to_owned()),
                is_holder: true,
                beat_age: Some(Duration::from_millis(1500)),
                unheld: Duration::ZERO,
                takeovers: 3,
                is_listening: false,
            }),
            pool: Pool { open: 5, idle: 3, max: 8 },
            preview_jobs: (1, 2),
            previews: &previews,
            chores: [("media", &chores[0]), ("upload", &chores[1])],
            slots: &SlotCounts::default(),
            cache: Some(CacheState {
                hits: 5,
                misses: 4,
                failed: 1,
                fetched_bytes: 3000,
                bytes: 2000,
                max_bytes: 9000,
            }),
        };
        let families = parse(std::str::from_utf8(&snapshot.text()).unwrap()).unwrap();
        for (sample, expected) in [
            ("mediaserver_http_requests_total{route=download,status=206}", 1.0),
            ("mediaserver_http_response_body_bytes_total{route=download}", 1000.0),
            ("mediaserver_http_request_parked_seconds_sum{route=download}", 2.0),
            ("mediaserver_http_connections{state=active}", 6.0),
            ("mediaserver_http_connections_limit", 20.0),
            ("mediaserver_workers_busy", 2.0),
            ("mediaserver_requests_parked", 5.0),
            ("mediaserver_confirmations_pending", 4.0),
            ("mediaserver_confirmations_handed_over", 1.0),
            ("mediaserver_confirmations_total{outcome=timeout}", 6.0),
            ("mediaserver_removals_total{kind=media}", 8.0),
            ("mediaserver_removals_failed{kind=upload}", 0.0),
            ("mediaserver_lost_files_total{kind=upload}", 9.0),
            ("mediaserver_slots_total{outcome=granted}", 0.0),
            ("mediaserver_xmpp_up{link=component}", 0.0),
            ("mediaserver_xmpp_up{link=client}", 1.0),
            ("mediaserver_xmpp_reconnects_total{link=component}", 0.0),
            ("mediaserver_xmpp_reconnects_total{link=client}", 2.0),
            ("mediaserver_stream_holder", 1.0),
            ("mediaserver_stream_takeovers_total", 3.0),
            ("mediaserver_stream_beat_age_seconds", 1.5),
            ("mediaserver_notices_up", 0.0),
            ("mediaserver_lookup_cache_hits_total{kind=access}", 7.0),
            ("mediaserver_previews_total{outcome=stored}", 3.0),
            ("mediaserver_previews_queue", 2.0),
            ("mediaserver_storage_free_bytes", 11.0),
            ("mediaserver_database_connections{state=used}", 2.0),
            ("mediaserver_healthy{part=storage}", 0.0),
            ("mediaserver_healthy{part=database}", 1.0),
            ("mediaserver_cache_reads_total{outcome=hit}", 5.0),
            ("mediaserver_cache_reads_total{outcome=miss}", 4.0),
            ("mediaserver_cache_failures_total", 1.0),
            ("mediaserver_cache_fetched_bytes_total", 3000.0),
            ("mediaserver_cache_bytes", 2000.0),
            ("mediaserver_cache_bytes_limit", 9000.0),
            ("mediaserver_build_info{version=1.2.3}", 1.0),
            ("process_start_time_seconds", 1.5),
            ("process_cpu_seconds_total", 0.25),
            ("process_open_fds", 9.0),
        ] {
            assert_eq!(value(&families, sample), Some(expected), "{sample}");
        }
        assert_eq!(value(&families, "process_max_fds"), None);
        let text = Snapshot { cache: None, ..snapshot }.text();
        assert!(!String::from_utf8(text).unwrap().contains("\nmediaserver_cache_"), "without an S3 store");
    }
}
