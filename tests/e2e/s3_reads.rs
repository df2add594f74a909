//! How files of an S3 store are read: in blocks, through the disk cache, or by the store itself.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::s3::Bench;
use crate::site::unique;
use crate::support::exposition::value;
use crate::support::http::Request;
use crate::support::media_client::MediaClient;
use crate::support::s3_proxy::Fault;
use crate::support::scratch::Scratch;
use crate::support::server::program;
use crate::support::{free_port, wait_for};
use crate::watching;

/// Bytes of a block.
const BLOCK: usize = 8 * 1024 * 1024;

/// Bytes that differ from place to place.
fn bytes(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at ^ (at >> 8) ^ (at >> 16)).to_le_bytes()[0]).collect()
}

/// A channel with a media of these bytes: its path.
fn upload(bench: &Bench, content: &[u8], name: &str, mime_type: &str) -> String {
    let (user, channel) = bench.site.public_channel();
    let scratch = Scratch::new();
    let file = scratch.join(name);
    fs::write(&file, content).expect("the scratch directory takes files");
    let request = Request::new("POST", &bench.site.url(&channel)).file(&file, mime_type).basic(user.jid());
    let id = request.send().expect(201).member("id");
    format!("{channel}/{id}")
}

/// Requests for the bytes of this media that have come to the store.
fn fetched(bench: &Bench, path: &str) -> usize {
    let path = path.replace('@', "%40");
    let is_it = |line: &&String| line.starts_with("GET ") && line.contains(&path);
    bench.store.proxy.requests().iter().filter(is_it).count()
}

fn blocks(bench: &Bench) -> Vec<PathBuf> {
    let entries = fs::read_dir(bench.site.server.storage().join(".blocks")).expect("the cache is there");
    let paths = entries.map(|entry| entry.expect("it can be read").path());
    paths.filter(|path| !path.ends_with("boot")).collect()
}

#[test]
fn a_file_is_fetched_once_in_blocks_and_then_read_from_the_disk() {
    let mut bench = Bench::start(&[("media.storage.s3.timeout", "20s"), watching::ANY]);
    let content = bytes(2 * BLOCK + 70_003);
    let path = upload(&bench, &content, "data.bin", "application/octet-stream");
    let url = bench.site.url(&path);
    assert_eq!(Request::new("HEAD", &url).send().expect(200).header("content-length"), Some("16847219"));
    assert_eq!(fetched(&bench, &path), 0, "a head takes no bytes");
    for (first, last) in [(BLOCK - 5, BLOCK + 4), (2 * BLOCK - 1, 2 * BLOCK - 1), (0, 0)] {
        let part = Request::get(&url).header("Range", &format!("bytes={first}-{last}")).send().expect(206);
        assert!(part.body == content[first..=last], "{first}-{last}");
    }
    let whole = Request::get(&url).send().expect(200);
    assert!(whole.body == content);
    assert_eq!(fetched(&bench, &path), 3, "each block once");
    let families = watching::scrape(&bench.site.server);
    let count = |sample: &str| value(&families, &format!("mediaserver_cache_{sample}")).expect("it is there");
    for (sample, expected) in
        [("fetched_bytes_total", content.len()), ("bytes", content.len()), ("failures_total", 0)]
    {
        assert_eq!(count(sample), expected as f64, "{sample}");
    }
    let reads = ["miss", "hit"].map(|outcome| count(&format!("reads_total{{outcome={outcome}}}")));
    assert!(reads[0] >= 1.0 && reads[0] + reads[1] == 7.0, "the blocks of all responses: {reads:?}");

    bench.site.server.stop();
    bench.site.server.start_again();
    wait_for("the site", || (Request::new("HEAD", &url).try_send().ok()?.status == 200).then_some(()));
    bench.store.proxy.go_down();
    let again = Request::get(&url).send().expect(200);
    assert!(again.body == content && blocks(&bench).len() == 3);
    let tag = again.header("etag").expect("an entity tag").to_owned();
    Request::get(&url).header("If-None-Match", &tag).send().expect(304);
    bench.store.proxy.heal();
    assert_eq!(fetched(&bench, &path), 3, "they outlive a restart");
}

#[test]
fn nodes_that_share_a_storage_root_cannot_share_its_cache() {
    let bench = Bench::start(&[("node.name", "first"), ("media.storage.shared", "true")]);
    let first = fs::read_to_string(bench.site.server.configuration()).expect("the configuration is there");
    let line = |key: &str| {
        let line = first.lines().find(|line| line.split('=').next().is_some_and(|name| name.trim() == key));
        line.expect("it is set").to_owned()
    };
    let second = first
        .replace(&line("node.name"), "node.name = second")
        .replace(&line("http.port"), &format!("http.port = {}", free_port()));
    let scratch = Scratch::new();
    let file = scratch.join("second.properties");
    fs::write(&file, second).expect("the scratch directory takes files");
    let (status, printed) = program(&["-c", &file.display().to_string(), "serve"]);
    assert_eq!(status, 78, "{printed}");
    assert!(printed.contains("each node needs a media.storage.root of its own"), "{printed}");
}

#[test]
fn a_block_that_cannot_be_fetched_is_refused_or_cuts_the_response() {
    let bench = Bench::start(&[]);
    let content = bytes(BLOCK + 1000);
    let path = upload(&bench, &content, "data.bin", "application/octet-stream");
    let url = bench.site.url(&path);
    Request::get(&url).header("Range", "bytes=0-0").send().expect(206);
    let key = path.replace('@', "%40");
    bench.store.proxy.play(Fault::Refuse(503, "SlowDown"), "GET", &key, 1000);
    let cut = Request::get(&url).send();
    assert_eq!((cut.status, cut.header("content-length")), (200, Some("8389608")));
    assert!(cut.body == content[..BLOCK], "{} bytes", cut.body.len());
    let refused = Request::get(&url).header("Range", &format!("bytes={BLOCK}-")).send().expect(503);
    assert!(refused.header("retry-after").is_some() && refused.header("content-range").is_none());
    bench.site.server.wait_log("can't be fetched from byte 8388608 on");
    bench.store.proxy.heal();
    assert!(Request::get(&url).send().expect(200).body == content);
    bench.site.server.wait_log("blocks are fetched again");
}

#[test]
fn a_store_that_breaks_off_cuts_the_response_that_has_begun() {
    let bench = Bench::start(&[]);
    let content = bytes(BLOCK / 2);
    let path = upload(&bench, &content, "data.bin", "application/octet-stream");
    let (url, key) = (bench.site.url(&path), path.replace('@', "%40"));
    for next in [Fault::CutResponse, Fault::OtherLength] {
        bench.store.proxy.play(Fault::CutResponse, "GET", &key, 1);
        bench.store.proxy.play(next, "GET", &key, 1000);
        let cut = Request::get(&url).send();
        let (length, come) = (content.len().to_string(), cut.body.len());
        assert_eq!((cut.status, cut.header("content-length")), (200, Some(length.as_str())));
        assert!(content.starts_with(&cut.body) && come > 0 && come < content.len(), "{next:?}: {come}");
        wait_for("the end of the fetch", || blocks(&bench).is_empty().then_some(()));
        bench.store.proxy.heal();
    }
    bench.site.server.wait_log("can't be fetched from byte 0 on");
    assert!(Request::get(&url).send().expect(200).body == content);
}

#[test]
fn a_client_that_takes_nothing_delays_no_block() {
    let bench = Bench::start(&[]);
    let content = bytes(BLOCK);
    let path = upload(&bench, &content, "data.bin", "application/octet-stream");
    let url = bench.site.url(&path);
    let mut slow = TcpStream::connect(("127.0.0.1", bench.site.server.port())).expect("the server listens");
    let request = format!("GET /{path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    slow.write_all(request.as_bytes()).expect("the server takes the request");
    wait_for("the block", || {
        let is_kept = |path: &PathBuf| !path.to_string_lossy().contains("fetching-");
        blocks(&bench).first().is_some_and(is_kept).then_some(())
    });
    bench.store.proxy.go_down();
    assert!(Request::get(&url).send().expect(200).body == content);
    let mut response = Vec::new();
    slow.read_to_end(&mut response).expect("the server sends it");
    assert!(response.ends_with(&content), "{} bytes", response.len());
}

/// A store that sends a byte now and then: no timeout of a connection ends that.
#[test]
fn a_store_that_is_too_slow_ends_requests_clearly() {
    let bench = Bench::start(&[]);
    let content = bytes(BLOCK + 1000);
    let (small, large) = (
        upload(&bench, &content[..1000], "small.bin", "application/octet-stream"),
        upload(&bench, &content, "large.bin", "application/octet-stream"),
    );
    Request::get(&bench.site.url(&large)).header("Range", "bytes=0-0").send().expect(206);
    for path in [&small, &large] {
        bench.store.proxy.play(Fault::Drip, "GET", &path.replace('@', "%40"), 1000);
    }
    let begun = Instant::now();
    let refused = Request::get(&bench.site.url(&small)).send().expect(503);
    assert!(refused.header("retry-after").is_some() && refused.header("content-disposition").is_none());
    bench.site.server.wait_log("it is too slow: a request may take 3 times media.storage.s3.timeout");
    let cut = Request::get(&bench.site.url(&large)).send();
    assert!(cut.status == 200 && cut.body == content[..BLOCK], "{} bytes", cut.body.len());
    assert!(begun.elapsed() < Duration::from_secs(40), "{:?}", begun.elapsed());
    bench.store.proxy.heal();
    for (path, length) in [(&small, 1000), (&large, content.len())] {
        assert!(Request::get(&bench.site.url(path)).send().expect(200).body == content[..length]);
    }
}

#[test]
fn the_blocks_of_a_deleted_media_go_and_texts_keep_their_character_set() {
    let bench = Bench::start(&[]);
    let (user, channel) = bench.site.public_channel();
    let scratch = Scratch::new();
    let file = scratch.join(unique("text"));
    fs::write(&file, "žluťoučký kůň").expect("the scratch directory takes files");
    let request = Request::new("POST", &bench.site.url(&channel)).file(&file, "text/plain").basic(user.jid());
    let url = bench.url(&channel, &request.send().expect(201).member("id"));
    for _ in 0..2 {
        let text = Request::get(&url).send().expect(200);
        assert_eq!(text.header("content-type"), Some("text/plain; charset=utf-8"));
        assert_eq!(text.text(), "žluťoučký kůň");
    }
    assert_eq!(blocks(&bench).len(), 1);
    Request::new("DELETE", &url).basic(user.jid()).send().expect(200);
    Request::get(&url).send().expect(404);
    assert!(blocks(&bench).is_empty());
}

#[test]
fn large_downloads_of_open_channels_may_be_led_to_the_store() {
    let bench = Bench::start(&[("media.storage.s3.redirect", "1M")]);
    let content = bytes(1024 * 1024);
    let path = upload(&bench, &content, "data.bin", "application/octet-stream");
    let url = bench.site.url(&path);
    let led = Request::get(&url).send().expect(302);
    assert_eq!(led.header("cache-control"), Some("no-store"));
    let address = led.header("location").expect("an address").to_owned();
    assert!(address.contains("X-Amz-Expires=60"), "{address}");
    let direct = Request::get(&address).send().expect(200);
    assert!(direct.body == content);
    assert_eq!(direct.header("content-disposition"), Some("attachment; filename=\"data.bin\""));
    assert_eq!(direct.header("content-type"), Some("application/octet-stream"));
    let client = MediaClient::bare();
    client.does(&["get", &url]);
    assert!(client.read("data.bin") == content, "the client follows");
    Request::new("HEAD", &url).send().expect(200);
    assert!(Request::get(&url).header("Range", "bytes=1-2").send().expect(206).body == content[1..3]);
    let tag = Request::new("HEAD", &url).send().header("etag").expect("an entity tag").to_owned();
    Request::get(&url).header("If-None-Match", &tag).send().expect(304);
    for (content, name, mime_type) in
        [(&content[1..], "small.bin", "application/octet-stream"), (&content[..], "shown.mp4", "video/mp4")]
    {
        let url = bench.site.url(&upload(&bench, content, name, mime_type));
        assert!(Request::get(&url).send().expect(200).body == content, "{name}");
    }
}
