//! Files in a bucket of an S3 store on the same machine, compared with files in a directory and with the store alone.

use crate::http::Load;
use crate::options::Options;
use crate::report::{Goal, Report};
use crate::rounds::{Side, alternate};
use crate::site::{PUBLIC, Site, file, set_up_schema};
use crate::support::postgres::Server as Postgres;
use crate::support::scratch::Scratch;
use crate::support::seaweedfs::{ACCESS_KEY, SECRET_KEY, Store};
use crate::uploads::{ToStore, ToUs, crowd};

/// Bytes of a small file, which is in the cache.
const SMALL: usize = 10 * 1024;
/// Bytes of a file that is not in the cache, and the number of such files: more than the cache has room for.
const COLD: usize = 1 << 20;
const COLD_FILES: usize = 192;
/// The smallest cache that can be set.
const CACHE: &str = "128M";
/// Bytes of a large upload.
const LARGE: u64 = 8 << 20;
/// Clients that download at a time.
const READERS: usize = 32;

/// Downloads of cached files and of others, and uploads.
pub fn files(options: &Options, report: &mut Report) {
    let (postgres, store) = (Postgres::start(), Store::start());
    let bucket = store.new_bucket();
    let databases = [(); 2].map(|()| postgres.jdbc_url(&postgres.new_database()));
    databases.iter().for_each(|url| set_up_schema(url));
    let endpoint = store.endpoint();
    let far = Site::start(&[
        ("jdbc.db.url", &databases[0]),
        ("media.storage.s3.endpoint", &endpoint),
        ("media.storage.s3.bucket", &bucket),
        ("media.storage.s3.access.key", ACCESS_KEY),
        ("media.storage.s3.secret.key", SECRET_KEY),
        ("media.storage.s3.cache.bytes", CACHE),
    ]);
    let near = Site::start(&[("jdbc.db.url", &databases[1])]);
    warm(options, report, [&far, &near]);
    cold(options, report, &far, (&store, &bucket));
    uploads(options, report, &far, (&store, &bucket));
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

fn cold(options: &Options, report: &mut Report, site: &Site, (store, bucket): (&Store, &str)) {
    let scratch = Scratch::new();
    let large = file(&scratch, "large.jpg", COLD);
    let paths: Vec<String> = (0..COLD_FILES).map(|_| site.upload(PUBLIC, &large, "image/jpeg")).collect();
    let addresses = paths.iter().map(|path| store.address(bucket, &path[1..])).collect();
    for count in [1, 8] {
        let mut ours = get(site.server.port(), paths.clone(), count, COLD);
        let mut theirs = get(store.port(), Vec::clone(&addresses), count, COLD);
        let sides = vec![
            Side::new("node on a bucket", site.server.pid(), |time| ours.responses(time)),
            Side {
                name: "the store itself",
                servers: Vec::new(),
                run: Box::new(|time| theirs.responses(time)),
            },
        ];
        let sides = alternate(options.time, sides);
        let case = format!("GET 1 MiB, not cached, {count} at a time");
        report.rate(&case, "/s", &sides[0], &sides[1], Goal::AtLeast(0.7));
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
