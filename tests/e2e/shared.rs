//! Two nodes with one PostgreSQL and one storage directory: media.storage.shared.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use media_server::uploads::Slot;

use crate::schema::succeed;
use crate::support::granter::Granter;
use crate::support::http::{Raw, Request};
use crate::support::scratch::Scratch;
use crate::support::server::{Server, Xmpp, program};
use crate::support::{free_port, postgres, wait_for};
use crate::uploads::put;

/// How late a node may see what another one has done.
const SEEN: Duration = Duration::from_secs(2);

/// A directory and a database for several nodes. What they serve here needs no XMPP.
struct Bench {
    root: Scratch,
    database: String,
    url: String,
}

impl Bench {
    fn new() -> Self {
        let server = postgres::shared();
        let database = server.new_database();
        let url = server.jdbc_url(&database);
        succeed(&url, &["setup-schema"]);
        Self { root: Scratch::new(), database, url }
    }

    /// Starts a node of this name.
    fn node(&self, name: &str) -> Server {
        let xmpp = Xmpp { client_port: free_port(), component_port: free_port() };
        let root = self.root.path().display().to_string();
        let settings = [
            ("node.name", name),
            ("media.storage.shared", "true"),
            ("media.storage.root", &root),
            ("media.todisk.threshold", "10"),
            ("jdbc.db.url", &self.url),
            ("upload.enabled", "true"),
            ("http.endpoint", "http://127.0.0.1"),
        ];
        Server::start(xmpp, &settings)
    }

    /// The files of uploads that are under way.
    fn under_way(&self) -> Vec<String> {
        let entries = fs::read_dir(self.root.path()).expect("the directory is there").flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with(".upload-")).collect()
    }
}

fn granter(node: &Server) -> Granter {
    Granter::new(&node.configuration(), &url(node, ""))
}

fn url(node: &Server, path: &str) -> String {
    format!("http://127.0.0.1:{}{path}", node.port())
}

/// The address of a file at another node.
fn at(node: &Server, slot: &Slot) -> String {
    url(node, path(&slot.get_url))
}

fn path(url: &str) -> &str {
    let host = url.find("://").expect("it is whole") + 3;
    &url[host + url[host..].find('/').expect("it has a path")..]
}

fn run(node: &Server, arguments: &[&str]) -> (i32, String) {
    let file = node.configuration().display().to_string();
    program(&[&["-c", file.as_str()], arguments].concat())
}

/// Begins an upload whose last byte does not come yet.
fn begin(node: &Server, slot: &Slot, bytes: &[u8]) -> Raw {
    let mut raw = Raw::connect(node.port());
    let (path, length) = (path(&slot.put_url), bytes.len() + 1);
    raw.send(format!("PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n")).send(bytes);
    raw
}

#[test]
fn a_file_that_comes_through_one_node_is_served_and_deleted_through_the_other() {
    let bench = Bench::new();
    let (one, other) = (bench.node("one"), bench.node("other"));
    let slot = granter(&one).slot("a.txt", 5, "text/plain");
    put(&slot.put_url, b"hello", &[]).expect(201);
    for node in [&one, &other] {
        assert_eq!(Request::get(&at(node, &slot)).send().expect(200).body, b"hello");
    }
    let (status, printed) = run(&other, &["delete", "--user", "alice@example.org", "--yes"]);
    assert_eq!(status, 0, "{printed}");
    let deleted = Instant::now();
    for node in [&one, &other] {
        wait_for("the file to be gone", || {
            (Request::get(&at(node, &slot)).send().status == 404).then_some(())
        });
    }
    assert!(deleted.elapsed() < SEEN, "{:?}", deleted.elapsed());
    // A slot of one node is a slot of all.
    let slot = granter(&one).slot("b.txt", 5, "text/plain");
    let elsewhere = url(&other, path(&slot.put_url));
    put(&elsewhere, b"hello", &[]).expect(201);
    assert_eq!(Request::get(&slot.get_url).send().expect(200).body, b"hello");
}

#[test]
fn a_node_that_is_killed_leaves_nothing_when_it_is_back_and_harms_no_other() {
    let bench = Bench::new();
    let (mut one, other) = (bench.node("one"), bench.node("other"));
    let (bytes, slots) = ([b'x'; 5000], granter(&one));
    let (cut, whole) = (slots.slot("cut", 5001, "text/plain"), slots.slot("whole", 5001, "text/plain"));
    let _cut = begin(&one, &cut, &bytes);
    let mut going_on = begin(&other, &whole, &bytes);
    wait_for("both uploads to be on the disk", || (bench.under_way().len() == 2).then_some(()));
    one.kill();
    assert_eq!(bench.under_way().len(), 2);
    one.start_again();
    one.wait_log("removed 1 files of unfinished uploads");
    let left = bench.under_way();
    assert!(left.len() == 1 && left[0].starts_with(".upload-other-"), "{left:?}");
    going_on.send("x");
    assert_eq!(going_on.answer().expect("the other node answers").status, 201);
    assert_eq!(Request::get(&at(&one, &whole)).send().expect(200).body.len(), 5001);
    Request::get(&at(&other, &cut)).send().expect(404);
    assert_eq!(bench.under_way(), [""; 0]);
    // The slot of the upload that was cut is still good.
    let again = [&bytes[..], b"y"].concat();
    put(&url(&other, path(&cut.put_url)), &again, &[]).expect(201);
}

#[test]
fn commands_that_need_the_storage_alone_name_the_nodes_to_stop() {
    let bench = Bench::new();
    let (mut one, mut other) = (bench.node("one"), bench.node("other"));
    let export = bench.root.join("export").display().to_string();
    let (status, printed) = run(&one, &["export", &export]);
    assert_eq!(status, 0, "{printed}");
    let (status, printed) = run(&one, &["import", &export]);
    let process = |node: &Server| format!("(process {} on host ", node.pid());
    let named = |printed: &str, name: &str, node: &Server| {
        assert!(printed.contains(&format!("node {name} {}", process(node))), "{printed}");
    };
    assert_eq!(status, 1, "{printed}");
    named(&printed, "one", &one);
    named(&printed, "other", &other);
    // A server that does not know of them, and one with the name of a node.
    for (line, word) in
        [("media.storage.shared=false", "stop all nodes"), ("http.port=0", "a node named one")]
    {
        let file = changed(&one, &bench.root, line);
        let (status, printed) = program(&["-c", &file.display().to_string(), "serve"]);
        assert_eq!(status, 1, "{printed}");
        assert!(printed.contains(word), "{printed}");
    }
    let (status, printed) = run(&one, &["fsck"]);
    assert_eq!(status, 0, "it runs beside them: {printed}");
    // The database tells it, too, where each node has a storage root of its own.
    let locks = "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database \
                 WHERE locktype = 'advisory' AND mode = 'ShareLock' AND datname = current_database()";
    let mut client = postgres::shared().client(&bench.database);
    let mut serving = || client.query_one(locks, &[]).expect("an answer").get::<_, i64>(0);
    wait_for("both nodes to listen", || (serving() == 2).then_some(()));
    let (status, printed) = run(&one, &["drop-schema", "--yes"]);
    assert_eq!(status, 1, "{printed}");
    assert!(printed.contains("2 running servers"), "{printed}");
    one.stop();
    let (status, printed) = run(&one, &["import", &export]);
    assert_eq!(status, 1, "{printed}");
    named(&printed, "other", &other);
    assert!(!printed.contains("node one"), "{printed}");
    other.stop();
    let (status, printed) = run(&one, &["import", &export]);
    assert_eq!(status, 0, "{printed}");
}

/// The configuration of a node with another line.
fn changed(node: &Server, scratch: &Scratch, line: &str) -> PathBuf {
    let text = fs::read_to_string(node.configuration()).expect("it has a configuration");
    let key = line.split('=').next().expect("a split gives one part");
    let kept = text.lines().filter(|other| !other.starts_with(&format!("{key}=")));
    let text: String = kept.chain([line]).map(|line| format!("{line}\n")).collect();
    write(&scratch.join("changed.properties"), &text)
}

fn write(path: &Path, text: &str) -> PathBuf {
    fs::write(path, text).expect("the scratch directory takes files");
    path.to_owned()
}
