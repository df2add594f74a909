//! Files in an S3 store: SeaweedFS, behind a proxy that plays the faults of stores and of the network.

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::schema::succeed;
use crate::site::{Site, photo_bytes, show_on_panic, xmpp_of};
use crate::support::http::Request;
use crate::support::s3_proxy::{Fault, S3Proxy};
use crate::support::scratch::Scratch;
use crate::support::seaweedfs::{ACCESS_KEY, SECRET_KEY, shared};
use crate::support::server::{Server, Xmpp, program, properties};
use crate::support::xmpp_client::Client;
use crate::support::{free_port, postgres, wait_for};
use crate::watching;

/// How long a request to the store may make no progress, in milliseconds.
const TIMEOUT: &str = "1000";
/// The time within which a site works again after its store is back.
const BACK: Duration = Duration::from_secs(20);

/// A bucket behind a proxy, and a database.
pub struct Store {
    bucket: String,
    /// The way to the store.
    pub proxy: S3Proxy,
    endpoint: String,
    database: String,
}

impl Store {
    fn new() -> Self {
        let (proxy, server) = (S3Proxy::start(shared().port()), postgres::shared());
        let database = server.jdbc_url(&server.new_database());
        succeed(&database, &["setup-schema"]);
        Self { bucket: shared().new_bucket(), endpoint: proxy.endpoint(), proxy, database }
    }

    /// The settings of a site, and these.
    fn settings<'a>(&'a self, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let own = [
            ("jdbc.db.url", self.database.as_str()),
            ("media.storage.s3.endpoint", &self.endpoint),
            ("media.storage.s3.bucket", &self.bucket),
            ("media.storage.s3.access.key", ACCESS_KEY),
            ("media.storage.s3.secret.key", SECRET_KEY),
            ("media.storage.s3.timeout", TIMEOUT),
            ("upload.enabled", "true"),
            ("http.endpoint", "http://127.0.0.1"),
            ("housekeeping.interval", "1"),
        ];
        let kept = own.into_iter().filter(|(key, _)| !more.iter().any(|(other, _)| other == key));
        kept.chain(more.iter().copied()).collect()
    }

    /// The keys of the objects of a channel.
    fn keys(&self, channel: &str) -> Vec<String> {
        let keys = shared().keys(&self.bucket).into_iter();
        keys.filter(|key| key.starts_with(&format!("{channel}/"))).collect()
    }
}

/// A site and its store.
pub struct Bench {
    /// Its store.
    pub store: Store,
    /// The site itself.
    pub site: Site,
}

impl Bench {
    /// A site with these settings and a bucket of its own.
    pub fn start(settings: &[(&str, &str)]) -> Self {
        let store = Store::new();
        let site = Site::start(&store.settings(settings));
        Self { store, site }
    }

    /// The site that the tests share; each has channels of its own, and plays faults at their objects only.
    fn shared() -> &'static Self {
        static BENCH: OnceLock<Bench> = OnceLock::new();
        BENCH.get_or_init(|| {
            let bench = Self::start(&[]);
            show_on_panic(bench.site.server.directory().join("stderr"));
            bench
        })
    }

    fn play(&self, fault: Fault, method: &'static str, channel: &str, times: usize) {
        self.store.proxy.play(fault, method, &channel.replace('@', "%40"), times);
    }

    fn try_upload(&self, user: &Client, channel: &str) -> u16 {
        self.site.upload_request(channel).basic(user.jid()).send().status
    }

    /// The address of a media.
    pub fn url(&self, channel: &str, id: &str) -> String {
        self.site.url(&format!("{channel}/{id}"))
    }

    /// The files in the storage root, except its mark.
    fn local_files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.site.server.storage()).expect("the storage can be read").flatten();
        let paths = entries.map(|entry| entry.path());
        paths.filter(|path| path.is_file() && !path.ends_with(".store")).collect()
    }

    /// Fails if the log contains the secret key or the like.
    fn assert_discreet(&self) {
        let log = self.site.server.log();
        assert!(!log.contains(SECRET_KEY) && !log.contains("X-Amz-Signature"), "{log}");
    }
}

#[test]
fn media_are_objects_that_come_and_go() {
    let bench = Bench::shared();
    let (user, channel) = bench.site.public_channel();
    let (id, bytes) = (bench.site.upload(&user, &channel), photo_bytes());
    let url = bench.url(&channel, &id);
    assert_eq!(bench.store.keys(&channel), [format!("{channel}/{id}")]);
    assert_eq!(shared().get(&bench.store.bucket, &format!("{channel}/{id}")).as_ref(), Some(&bytes));
    assert!(!bench.site.server.storage().join(&channel).exists());
    let whole = Request::get(&url).send().expect(200);
    assert!(whole.body == bytes);
    let head = Request::get(&url).with(&["-I"]).send().expect(200);
    assert_eq!(head.header("content-length"), Some(bytes.len().to_string().as_str()));
    for (range, expected) in [("0-0", 0..1), ("100-4999", 100..5000), ("-10", bytes.len() - 10..bytes.len())]
    {
        let part = Request::get(&url).header("Range", &format!("bytes={range}")).send().expect(206);
        assert!(part.body == bytes[expected], "{range}");
    }
    Request::get(&format!("{url}?maxheight=50")).send().expect(200);
    let preview = Request::get(&format!("{url}?maxheight=50")).send().expect(200);
    assert_eq!(bench.store.keys(&channel).len(), 2, "the preview is an object, too");
    assert!(preview.body.starts_with(&[0xff, 0xd8]) && preview.body.len() < bytes.len());

    let avatar = Request::new("PUT", &bench.site.url(&format!("{channel}/avatar")));
    let avatar = avatar.file(&crate::site::photo(), "image/jpeg").basic(user.jid()).send();
    assert!(matches!(avatar.status, 200 | 201), "{}", avatar.text());
    assert!(!Request::get(&bench.site.url(&format!("{channel}/avatar"))).send().expect(200).body.is_empty());

    Request::new("DELETE", &url).basic(user.jid()).send().expect(200);
    Request::get(&url).send().expect(404);
    let left = bench.store.keys(&channel);
    assert!(!left.iter().any(|key| key.contains(&id)), "{left:?}");
    bench.assert_discreet();
}

#[test]
fn files_by_slot_are_objects() {
    let bench = Bench::shared();
    let slots = bench.site.slots();
    let slot = slots.slot("a.txt", 4, "text/plain");
    let path = |url: &str| format!("/{}", url.splitn(4, '/').nth(3).expect("a URL has a path"));
    let address = |url: &str| bench.site.url(path(url).trim_start_matches('/'));
    let file = Scratch::new();
    fs::write(file.join("a.txt"), "four").expect("the scratch directory takes files");
    let put = Request::get(&address(&slot.put_url)).with(&["-T", &file.join("a.txt").display().to_string()]);
    put.send().expect(201);
    assert_eq!(Request::get(&address(&slot.get_url)).send().expect(200).body, b"four");
    let keys = shared().keys(&bench.store.bucket);
    assert!(keys.iter().any(|key| key.starts_with("uploads/")), "{keys:?}");
}

/// Network faults that last for all attempts.
#[test]
fn no_fault_on_the_way_to_the_store_is_answered_201() {
    survive(&[
        (Fault::FailMidBody, 4, "can't store"),
        (Fault::CutRequest, 4, "the connection was lost"),
        (Fault::CutResponse, 4, "the connection was lost"),
        (Fault::Shorten, 4, "can't store"),
        (Fault::Damage, 4, "can't store"),
        (Fault::NoTag, 4, "has no ETag"),
        (Fault::Stall, 4, "nothing moved for 1000 ms (media.storage.s3.timeout)"),
    ]);
}

/// Refusals of the store. A refusal that can't pass is not tried again.
#[test]
fn no_refusal_of_the_store_is_answered_201() {
    survive(&[
        (Fault::Refuse(500, "InternalError"), 4, "its own log says why"),
        (Fault::Refuse(503, "SlowDown"), 4, "wants fewer requests"),
        (Fault::Skew, 1, "by NTP"),
        (Fault::Refuse(403, "InvalidAccessKeyId"), 1, "check media.storage.s3.access.key"),
        (Fault::Refuse(403, "AccessDenied"), 1, "the key may not do this"),
        (Fault::Refuse(404, "NoSuchBucket"), 1, "make it, or correct media.storage.s3.bucket"),
    ]);
}

/// Each fault meets this many attempts: the client gets an error, the log says what to do, nothing is left, and the next
/// upload succeeds. Needs a site of its own, whose log omits no line.
fn survive(faults: &[(Fault, usize, &str)]) {
    let bench = Bench::start(&[]);
    for (fault, attempts, told) in faults {
        let (user, channel) = bench.site.public_channel();
        bench.play(*fault, "PUT", &channel, *attempts);
        assert_eq!(bench.try_upload(&user, &channel), 503, "{fault:?}");
        let line = wait_for("a line of the log", || {
            let log = bench.site.server.log();
            let is_it = |line: &&str| line.contains(&channel) && line.contains("the S3 store");
            log.lines().find(is_it).map(str::to_owned)
        });
        assert!(line.contains(told), "{fault:?}: {line}");
        assert_eq!(bench.store.keys(&channel), [""; 0], "{fault:?}");
        let listed = Request::get(&bench.site.url(&channel)).send().expect(200);
        assert_eq!(listed.json().as_array().map(Vec::len), Some(0), "{fault:?}");
        let id = bench.site.upload(&user, &channel);
        assert!(Request::get(&bench.url(&channel, &id)).send().expect(200).body == photo_bytes());
    }
    bench.assert_discreet();
    assert!(bench.local_files().is_empty(), "{:?}", bench.local_files());
}

#[test]
fn a_fault_that_passes_is_not_seen_by_anybody() {
    let bench = Bench::shared();
    for fault in [
        Fault::FailMidBody,
        Fault::CutRequest,
        Fault::CutResponse,
        Fault::Shorten,
        Fault::Damage,
        Fault::NoTag,
        Fault::Refuse(503, "SlowDown"),
    ] {
        let (user, channel) = bench.site.public_channel();
        bench.play(fault, "PUT", &channel, 2);
        let id = bench.site.upload(&user, &channel);
        for fault in [fault, Fault::OtherLength, Fault::Trickle] {
            bench.play(fault, "GET", &channel, 1);
        }
        assert!(
            Request::get(&bench.url(&channel, &id)).send().expect(200).body == photo_bytes(),
            "{fault:?}"
        );
    }
}

#[test]
fn bytes_that_can_not_be_read_are_never_made_up() {
    let bench = Bench::shared();
    for fault in [Fault::OtherLength, Fault::CutResponse, Fault::Refuse(500, "InternalError")] {
        let (user, channel) = bench.site.public_channel();
        let id = bench.site.upload(&user, &channel);
        bench.play(fault, "GET", &channel, 1000);
        let response = Request::get(&bench.url(&channel, &id)).try_send();
        if let Ok(response) = response {
            assert!(
                response.status >= 500 && response.body != photo_bytes(),
                "{fault:?}: {}",
                response.status
            );
        }
    }
}

#[test]
fn a_store_that_goes_away_comes_back_without_a_hand() {
    let bench = Bench::start(&[]);
    let (user, channel) = bench.site.public_channel();
    let id = bench.site.upload(&user, &channel);
    bench.store.proxy.go_down();
    assert_eq!(bench.try_upload(&user, &channel), 503);
    bench.site.server.wait_log("the S3 store");
    // Requests that need no file still work.
    Request::get(&bench.site.url(&channel)).send().expect(200);
    bench.store.proxy.heal();
    let begun = Instant::now();
    let again = bench.site.upload(&user, &channel);
    for id in [&id, &again] {
        Request::get(&bench.url(&channel, id)).send().expect(200);
    }
    assert!(begun.elapsed() < BACK);

    let Bench { store, mut site } = bench;
    site.server.stop();
    store.proxy.go_down();
    site.server.start_again();
    let url = site.url(&format!("{channel}/{id}"));
    wait_for("a response", || (Request::get(&url).try_send().ok()?.status == 503).then_some(()));
    store.proxy.heal();
    let begun = Instant::now();
    wait_for("the site", || (Request::get(&url).try_send().ok()?.status == 200).then_some(()));
    assert!(begun.elapsed() < BACK);
    assert!(Request::get(&url).send().expect(200).body == photo_bytes());
    site.server.stop();
    let configuration = site.server.configuration().display().to_string();
    let (status, printed) = program(&["-c", &configuration, "fsck"]);
    assert_eq!(status, 0, "{printed}");
    // A file that no row names is found there, too.
    shared().put(&store.bucket, &format!("{channel}/orphan"), b"bytes");
    let (_, printed) = program(&["-c", &configuration, "fsck"]);
    assert!(!printed.contains(SECRET_KEY), "{printed}");
}

/// The requests since the first `before` ones that change the bucket.
fn changes(store: &Store, before: usize) -> Vec<String> {
    let is_change = |line: &String| !line.starts_with("GET ") && !line.starts_with("HEAD ");
    store.proxy.requests().into_iter().skip(before).filter(is_change).collect()
}

/// Cached files are served meanwhile. The bucket is not changed before it was compared with the database.
#[test]
fn a_server_starts_without_its_store() {
    let bench = Bench::start(&[watching::ANY]);
    let (user, channel) = bench.site.public_channel();
    let [cached, other] = [(); 2].map(|()| bench.site.upload(&user, &channel));
    let address = |id: &str| format!("{channel}/{id}");
    Request::get(&bench.site.url(&address(&cached))).send().expect(200);
    let Bench { store, mut site } = bench;
    site.server.stop();
    store.proxy.go_down();
    let before = store.proxy.requests().len();
    site.server.start_again();
    let get = |site: &Site, id: &str| Request::get(&site.url(&address(id))).try_send();
    wait_for("the cached file", || (get(&site, &cached).ok()?.status == 200).then_some(()));
    assert!(get(&site, &cached).expect("a response").body == photo_bytes());
    site.server.wait_log("the server serves what is cached, and answers 503 to other requests");
    let listed = Request::get(&site.url(&channel)).send().expect(200);
    assert_eq!(listed.json().as_array().map(Vec::len), Some(2));
    let refused = get(&site, &other).expect("a response").expect(503);
    assert!(refused.header("retry-after").is_some());
    site.upload_request(&channel).basic(user.jid()).send().expect(503);
    Request::new("DELETE", &site.url(&address(&cached))).basic(user.jid()).send().expect(503);
    let health = Request::get(&watching::admin_url(&site.server, "healthz")).send().expect(503);
    for (part, ok) in [("storage", false), ("database", true)] {
        assert_eq!(health.json()["parts"][part]["ok"], ok, "{}", health.text());
    }
    assert_eq!(changes(&store, before), [""; 0]);
    store.proxy.heal();
    let begun = Instant::now();
    wait_for("the other file", || (get(&site, &other).ok()?.status == 200).then_some(()));
    wait_for("an upload", || {
        (site.upload_request(&channel).basic(user.jid()).send().status == 201).then_some(())
    });
    assert!(begun.elapsed() < BACK);
    site.server.wait_log("the store of the files is reached, and is that of the database");
}

#[test]
fn a_store_that_comes_back_as_another_one_ends_the_server_and_is_not_touched() {
    let bench = Bench::start(&[]);
    let (user, channel) = bench.site.public_channel();
    bench.site.upload(&user, &channel);
    let Bench { store, mut site } = bench;
    site.server.stop();
    store.proxy.go_down();
    shared().put(&store.bucket, ".store", b"abcdefghijklmnopqrst\n");
    shared().put(&store.bucket, ".lost/2020-01-01/room@example.org/id", b"bytes");
    let (before, keys) = (store.proxy.requests().len(), shared().keys(&store.bucket));
    site.server.start_again();
    site.server.wait_log("the server serves what is cached, and answers 503 to other requests");
    store.proxy.heal();
    assert_eq!(site.server.wait(), 78, "{}", site.server.log());
    assert!(site.server.log().contains("belong to different sites"), "{}", site.server.log());
    assert_eq!(changes(&store, before), [""; 0]);
    assert_eq!(shared().keys(&store.bucket), keys);
}

#[test]
fn no_upload_in_parts_is_left_behind() {
    let bench = Bench::start(&[("media.sizelimit", "200M"), ("media.storage.s3.timeout", "20s")]);
    let (user, channel) = bench.site.public_channel();
    let scratch = Scratch::new();
    let large = fs::File::create(scratch.join("large")).expect("the scratch directory takes files");
    large.set_len(65 * 1024 * 1024).expect("it takes large ones");
    let upload = || {
        let request = Request::new("POST", &bench.site.url(&channel));
        request.file(&scratch.join("large"), "application/octet-stream").basic(user.jid()).send()
    };
    // The second part fails, and so does the attempt to abort.
    bench.store.proxy.play(Fault::Refuse(403, "AccessDenied"), "PUT", "partNumber=2&", 1);
    bench.store.proxy.play(Fault::Refuse(403, "AccessDenied"), "DELETE", "uploadId=", 1);
    upload().expect(503);
    bench.site.server.wait_log("can't store part 2");
    wait_for("the sweep", || shared().unfinished(&bench.store.bucket).is_empty().then_some(()));
    bench.site.server.wait_log("which never ended");
    assert_eq!(bench.store.keys(&channel), [""; 0]);
    let id = upload().expect(201).member("id");
    let head = Request::get(&bench.url(&channel, &id)).with(&["-I"]).send().expect(200);
    assert_eq!(head.header("content-length"), Some("68157440"));
    let tail = Request::get(&bench.url(&channel, &id)).header("Range", "bytes=-1").send().expect(206);
    assert_eq!(tail.body, [0]);
    assert_eq!(shared().unfinished(&bench.store.bucket), [""; 0]);
}

/// `check` with these settings.
fn check(settings: &[(&str, &str)], options: &[&str]) -> (i32, String) {
    let scratch = Scratch::new();
    let file = scratch.join("mediaserver.properties");
    let xmpp = Xmpp { client_port: 1, component_port: 1 };
    let port = free_port();
    fs::write(&file, properties(port, xmpp, &scratch.join("media"), settings)).expect("a file");
    program(&[&["-c", &file.display().to_string(), "check"], options].concat())
}

#[test]
fn a_check_tries_the_bucket_and_says_what_to_do() {
    let store = Store::new();
    let (_, printed) = check(&store.settings(&[]), &[]);
    for part in ["bucket: ok: the bucket media", "identity: ok: "] {
        assert!(printed.contains(part), "{part} is not in: {printed}");
    }
    assert_eq!(shared().keys(&store.bucket), [""; 0], "a check leaves nothing");
    let (_, printed) = check(&store.settings(&[]), &["--local"]);
    assert!(printed.contains("is not tried"), "{printed}");
    for (key, value, told) in [
        ("media.storage.s3.bucket", "missing-bucket", "check that the bucket is there"),
        ("media.storage.s3.access.key", "AKIAOTHER", "check media.storage.s3.access.key"),
        ("media.storage.s3.secret.key", "another-secret", "check media.storage.s3.secret.key"),
        ("media.storage.s3.endpoint", "http://nowhere.invalid", "not in the DNS"),
        ("media.storage.s3.endpoint", "http://127.0.0.1:1", "can't be reached"),
    ] {
        let (status, printed) = check(&store.settings(&[(key, value)]), &[]);
        assert_ne!(status, 0, "{printed}");
        let line = printed.lines().find(|line| line.starts_with("bucket: FAILED: "));
        assert!(line.is_some_and(|line| line.contains(told)), "{key}={value}: {printed}");
        assert!(!printed.contains(SECRET_KEY) && !printed.contains("another-secret"), "{printed}");
    }
    let (status, printed) = check(&store.settings(&[("jdbc.db.url", "jdbc:sqlite:/tmp/no.sqlite")]), &[]);
    assert_eq!(status, 78, "{printed}");
    assert!(printed.contains("need their metadata in PostgreSQL"), "{printed}");
}

#[test]
fn a_bucket_of_another_site_is_refused() {
    let bench = Bench::start(&[]);
    let mark = shared().get(&bench.store.bucket, ".store").expect("the bucket is marked");
    assert_eq!(mark.len(), 21, "{mark:?}");
    let other = Store::new();
    let settings = other.settings(&[("media.storage.s3.bucket", &bench.store.bucket)]);
    for key in ["uploads/ab/file", "room@example.org/id"] {
        shared().put(&bench.store.bucket, key, b"bytes");
        let (_, printed) = check(&settings, &[]);
        let line = printed.lines().find(|line| line.starts_with("identity: FAILED: "));
        assert!(line.is_some_and(|line| line.contains("media.storage.s3.bucket")), "{key}: {printed}");
    }
    drop(Server::start(xmpp_of(&bench.site.prosody), &other.settings(&[])));
    let configuration = Scratch::new();
    let file = configuration.join("mediaserver.properties");
    let text = properties(free_port(), xmpp_of(&bench.site.prosody), &configuration.join("media"), &settings);
    fs::write(&file, text).expect("the scratch directory takes files");
    let (status, printed) = program(&["-c", &file.display().to_string(), "serve"]);
    assert_eq!(status, 78, "{printed}");
}
