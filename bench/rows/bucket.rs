//! Files in a bucket of an S3 store, compared with files in a directory and with the store alone: the store is on the same
//! machine, or behind a line of 1 Gbit/s.

use crate::http::Load;
use crate::options::Options;
use crate::report::{Goal, Report};
use crate::rounds::{Side, alternate};
use crate::site::{PUBLIC, Site, file, new_database};
use crate::support::postgres::Server as Postgres;
use crate::support::relay::Relay;
use crate::support::scratch::Scratch;
use crate::support::seaweedfs::{ACCESS_KEY, SECRET_KEY, Store, address};
use crate::uploads::{ToStore, ToUs, crowd};

/// Bytes of a small file, which is in the cache.
const SMALL: usize = 10 * 1024;
/// Bytes of a file that is not in the cache, and the number of such files: more than the cache has room for.
const COLD: usize = 1 << 20;
const COLD_FILES: usize = 192;
/// Bytes per second of a line between machines.
const LINE: u64 = 125_000_000;
/// The smallest cache that can be set.
const CACHE: &str = "128M";
/// Bytes of a large upload.
const LARGE: u64 = 8 << 20;
/// Clients that download at a time.
const READERS: usize = 32;

/// Downloads of cached files and of others, and uploads.
pub fn files(options: &Options, report: &mut Report) {
    let (postgres, store) = (Postgres::start(), Store::start());
    let (far, near) = (OnBucket::start(&postgres, &store, store.port()), on_directory(&postgres));
    warm(options, report, [&far.site, &near]);
    cold(options, report, &far, "GET 1 MiB, not cached", Goal::None);
    let line = Relay::listen();
    line.relay_to(store.port());
    line.limit_line(LINE);
    let behind_line = OnBucket::start(&postgres, &store, line.port());
    cold(options, report, &behind_line, "behind 1 Gbit/s: GET 1 MiB, not cached", Goal::AtLeast(0.7));
    uploads(options, report, &far.site, (&store, &far.bucket));
}

/// A node with files in a bucket.
struct OnBucket {
    site: Site,
    bucket: String,
    /// The port by which it reaches the store.
    port: u16,
}

impl OnBucket {
    fn start(postgres: &Postgres, store: &Store, port: u16) -> Self {
        let (bucket, database) = (store.new_bucket(), new_database(postgres));
        let site = Site::start(&[
            ("jdbc.db.url", &database),
            ("media.storage.s3.endpoint", &format!("http://127.0.0.1:{port}")),
            ("media.storage.s3.bucket", &bucket),
            ("media.storage.s3.access.key", ACCESS_KEY),
            ("media.storage.s3.secret.key", SECRET_KEY),
            ("media.storage.s3.cache.bytes", CACHE),
        ]);
        Self { site, bucket, port }
    }
}

fn on_directory(postgres: &Postgres) -> Site {
    Site::start(&[("jdbc.db.url", &new_database(postgres))])
}

fn warm(options: &Options, report: &mut Report, sites: [&Site; 2]) {
    let scratch = Scratch::new();
    let small = file(&scratch, "small.jpg", SMALL);
    let load = |site: &Site| {
        let path = site.upload(PUBLIC, &small, "image/jpeg");
        get(site.server.port(), vec![path], READERS, SMALL)
    };
    let mut loads = sites.map(load);
    let names = ["node on a bucket", "node on a directory"];
    let sides = sites
        .iter()
        .zip(names)
        .zip(&mut loads)
        .map(|((site, name), load)| Side::new(name, site.server.pid(), move |time| load.responses(time)));
    let sides = alternate(options.time, sides.collect());
    report.rate("GET 10 KiB, cached", "/s", &sides[0], &sides[1], Goal::AtLeast(0.95));
    report.p99("GET 10 KiB, cached", &sides[0], &sides[1], Goal::None);
}

fn cold(options: &Options, report: &mut Report, node: &OnBucket, what: &str, goal: Goal) {
    let scratch = Scratch::new();
    let large = file(&scratch, "large.jpg", COLD);
    let paths: Vec<String> =
        (0..COLD_FILES).map(|_| node.site.upload(PUBLIC, &large, "image/jpeg")).collect();
    let addresses = paths.iter().map(|path| address(node.port, &node.bucket, &path[1..])).collect();
    for count in [1, 8] {
        let mut ours = get(node.site.server.port(), paths.clone(), count, COLD);
        let mut theirs = get(node.port, Vec::clone(&addresses), count, COLD);
        let sides = vec![
            Side::new("node on a bucket", node.site.server.pid(), |time| ours.responses(time)),
            Side {
                name: "the store itself",
                servers: Vec::new(),
                run: Box::new(|time| theirs.responses(time)),
            },
        ];
        let sides = alternate(options.time, sides);
        let case = format!("{what}, {count} at a time");
        report.rate(&case, "/s", &sides[0], &sides[1], goal);
        report.p99(&case, &sides[0], &sides[1], Goal::None);
    }
}

fn uploads(options: &Options, report: &mut Report, site: &Site, (store, bucket): (&Store, &str)) {
    for count in [1, 8] {
        let mut ours = ToUs::several(count, site.server.port(), PUBLIC, site.user.jid());
        let mut theirs = ToStore::several(count, store, bucket);
        let sides = vec![
            Side::new("node on a bucket", site.server.pid(), |time| crowd(&mut ours, LARGE, time)),
            Side {
                name: "the store itself",
                servers: Vec::new(),
                run: Box::new(|time| crowd(&mut theirs, LARGE, time)),
            },
        ];
        let sides = alternate(options.time, sides);
        let case = format!("upload 8 MiB, {count} at a time");
        report.rate(&case, "/s", &sides[0], &sides[1], Goal::AtLeast(0.7));
        report.p99(&case, &sides[0], &sides[1], Goal::None);
    }
}

/// Downloads of these paths in turn. The address of a store has its signature for the host that it is sent to.
fn get(port: u16, paths: Vec<String>, connections: usize, length: usize) -> Load {
    let mut paths = paths.into_iter().cycle();
    let request = move |request: &mut Vec<u8>| {
        let path = paths.next().expect("a cycle has no end");
        request
            .extend_from_slice(format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n").as_bytes());
    };
    Load { ports: vec![port], connections, status: 200, length: length as u64, request: Box::new(request) }
}
