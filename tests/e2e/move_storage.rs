//! The command `move-storage`: files go to another place while a server serves them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use media_server::uploads::Slot;

use crate::schema::succeed;
use crate::support::child::Guarded;
use crate::support::granter::Granter;
use crate::support::http::Request;
use crate::support::s3_proxy::{Fault, S3Proxy};
use crate::support::seaweedfs::{self, ACCESS_KEY, SECRET_KEY};
use crate::support::server::{PROGRAM, Server, Xmpp, program};
use crate::support::{free_port, postgres, wait_for};
use crate::uploads::put;

/// The default of `housekeeping.orphan.age`.
const ORPHAN_AGE: Duration = Duration::from_secs(3600);

/// A server whose files are to move. What it serves here needs no XMPP.
struct Bench {
    server: Server,
    slots: Granter,
    stored: Vec<(Slot, Vec<u8>)>,
}

impl Bench {
    /// With so many files, at most as many as a user may have unused slots.
    fn new(files: usize) -> Self {
        Self::with(files, &[])
    }

    fn with(files: usize, settings: &[(&str, &str)]) -> Self {
        let xmpp = Xmpp { client_port: free_port(), component_port: free_port() };
        let usual = [("upload.enabled", "true"), ("http.endpoint", "http://127.0.0.1")];
        let server = Server::start(xmpp, &[&usual[..], settings].concat());
        let slots = Granter::new(&server.configuration(), &format!("http://127.0.0.1:{}", server.port()));
        let mut bench = Self { server, slots, stored: Vec::new() };
        (0..files).for_each(|number| bench.store(format!("file {number}").into_bytes()));
        bench
    }

    fn store(&mut self, bytes: Vec<u8>) {
        let slot = self.slots.slot("a.txt", bytes.len(), "text/plain");
        put(&slot.put_url, &bytes, &[]).expect(201);
        self.stored.push((slot, bytes));
    }

    fn old(&self) -> PathBuf {
        self.server.storage()
    }

    fn new_place(&self) -> PathBuf {
        self.server.directory().join("new")
    }

    /// Starts the server again with another root, and with `media.storage.from` if `moving`.
    fn start_again(&mut self, moving: bool) {
        let (old, new) = (self.old().display().to_string(), self.new_place().display().to_string());
        let database = format!("jdbc:sqlite:{old}/metadata.sqlite");
        let from = if moving { old.as_str() } else { "" };
        self.start_again_with(&[
            ("media.storage.root", &new),
            ("jdbc.db.url", &database),
            ("media.storage.from", from),
        ]);
    }

    /// Starts the server again with these settings; an empty value is none.
    fn start_again_with(&mut self, settings: &[(&str, &str)]) {
        self.server.stop();
        let file = self.server.configuration();
        let text = fs::read_to_string(&file).expect("it has a configuration");
        let is_other = |line: &str| !settings.iter().any(|(key, _)| line.starts_with(&format!("{key}=")));
        let kept = text.lines().filter(|line| is_other(line)).map(|line| format!("{line}\n"));
        let set = settings.iter().filter(|(_, value)| !value.is_empty());
        let text: String = kept.chain(set.map(|(key, value)| format!("{key}={value}\n"))).collect();
        fs::write(&file, text).expect("the scratch directory takes files");
        self.server.start_again();
    }

    fn command(&self, arguments: &[&str]) -> (i32, String) {
        let file = self.server.configuration().display().to_string();
        program(&[&["-c", file.as_str()], arguments].concat())
    }

    fn check_all(&self) {
        for (slot, bytes) in &self.stored {
            assert_eq!(Request::get(&slot.get_url).send().expect(200).body, *bytes);
        }
    }
}

/// Files of uploads below a root.
fn files(root: &Path) -> Vec<PathBuf> {
    let list =
        |folder: PathBuf| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    list(root.join(".uploads")).flat_map(list).collect()
}

#[test]
fn files_move_while_they_are_served() {
    let mut bench = Bench::new(30);
    let (status, printed) = bench.command(&["move-storage"]);
    assert_eq!(status, 78, "{printed}");
    assert!(printed.contains("media.storage.from"), "{printed}");
    bench.start_again(true);
    bench.check_all();
    bench.store(b"new".to_vec());
    assert_eq!((files(&bench.old()).len(), files(&bench.new_place()).len()), (30, 1));
    let (status, printed) = bench.command(&["move-storage"]);
    assert_eq!(status, 0, "{printed}");
    assert!(printed.starts_with("30 files, "), "{printed}");
    assert_eq!(files(&bench.old()).len(), 30, "nothing is moved without --yes");
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut rounds = 0;
            while !ended.load(Ordering::SeqCst) {
                bench.check_all();
                rounds += 1;
            }
            rounds
        });
        let (status, printed) = bench.command(&["move-storage", "--yes", "--json"]);
        ended.store(true, Ordering::SeqCst);
        assert_eq!(status, 0, "{printed}");
        let told: serde_json::Value = serde_json::from_str(&printed).expect("an array");
        assert_eq!(
            (&told[0]["moved"], &told[0]["files"], &told[0]["wrong"]),
            (&true.into(), &30.into(), &0.into())
        );
        reader.join().expect("every file is served all the time");
    });
    assert_eq!((files(&bench.old()).len(), files(&bench.new_place()).len()), (0, 31));
    bench.start_again(false);
    bench.check_all();
    let (status, printed) = bench.command(&["fsck"]);
    assert_eq!(status, 0, "{printed}");
}

/// A server with so many files in a directory and rows in PostgreSQL.
fn bench_on_postgres(files: usize) -> Bench {
    let server = postgres::shared();
    let url = server.jdbc_url(&server.new_database());
    succeed(&url, &["setup-schema"]);
    Bench::with(files, &[("jdbc.db.url", &url)])
}

/// The settings of files in this bucket, or on their way there or from there.
fn in_bucket<'a>(endpoint: &'a str, bucket: &'a str, from: &'a str) -> [(&'a str, &'a str); 5] {
    [
        ("media.storage.s3.endpoint", endpoint),
        ("media.storage.s3.bucket", bucket),
        ("media.storage.s3.access.key", ACCESS_KEY),
        ("media.storage.s3.secret.key", SECRET_KEY),
        ("media.storage.from", from),
    ]
}

/// How many files of uploads a bucket has.
fn objects(bucket: &str) -> usize {
    let keys = seaweedfs::shared().keys(bucket).into_iter();
    keys.filter(|key| key.starts_with("uploads/") && !key.ends_with('/')).count()
}

#[test]
fn files_move_to_a_bucket_and_back() {
    let mut bench = bench_on_postgres(12);
    let (bucket, endpoint) = (seaweedfs::shared().new_bucket(), seaweedfs::shared().endpoint());
    let root = bench.old().display().to_string();
    let store = |from| in_bucket(&endpoint, &bucket, from);
    let objects = || objects(&bucket);
    let moves = |bench: &Bench| {
        let (status, printed) = bench.command(&["move-storage", "--yes"]);
        assert_eq!(status, 0, "{printed}");
        bench.check_all();
    };
    // There.
    bench.start_again_with(&store(&root));
    bench.check_all();
    bench.store(b"new".to_vec());
    assert_eq!((files(&bench.old()).len(), objects()), (12, 1));
    moves(&bench);
    assert_eq!((files(&bench.old()).len(), objects()), (0, 13));
    bench.start_again_with(&store(""));
    bench.check_all();
    // And back.
    bench.start_again_with(&store("s3"));
    bench.check_all();
    bench.store(b"newer".to_vec());
    assert_eq!((files(&bench.old()).len(), objects()), (1, 13));
    moves(&bench);
    assert_eq!((files(&bench.old()).len(), objects()), (14, 0));
    bench.start_again_with(&store("").map(|(key, _)| (key, "")));
    bench.check_all();
    let (status, printed) = bench.command(&["fsck"]);
    assert_eq!(status, 0, "{printed}");
}

#[test]
fn a_second_move_is_refused_while_one_runs() {
    let mut bench = bench_on_postgres(1);
    let (bucket, proxy) = (seaweedfs::shared().new_bucket(), S3Proxy::start(seaweedfs::shared().port()));
    let (endpoint, root) = (proxy.endpoint(), bench.old().display().to_string());
    bench.start_again_with(&in_bucket(&endpoint, &bucket, &root));
    proxy.play(Fault::Stall, "PUT ", "/uploads/", 1);
    let file = bench.server.configuration().display().to_string();
    let command = [PROGRAM, "-c", &file, "move-storage", "--yes"];
    let mut first = Guarded::start(&command, &[], &bench.server.directory().join("moved"));
    let is_put = |line: &String| line.starts_with("PUT ") && line.contains("/uploads/");
    wait_for("the first command to store the file", || proxy.requests().iter().any(is_put).then_some(()));
    let (status, printed) = bench.command(&["move-storage", "--yes"]);
    assert_eq!(status, 1, "{printed}");
    assert!(printed.contains("another move-storage runs"), "{printed}");
    let (status, printed) = bench.command(&["move-storage"]);
    assert_eq!(status, 0, "it only counts: {printed}");
    first.try_signal("KILL");
    first.wait();
    wait_for("the move", || (bench.command(&["move-storage", "--yes"]).0 == 0).then_some(()));
    assert_eq!((files(&bench.old()).len(), objects(&bucket)), (0, 1));
    bench.check_all();
}

#[test]
fn a_move_that_fails_removes_no_object() {
    let mut bench = bench_on_postgres(1);
    let (bucket, proxy) = (seaweedfs::shared().new_bucket(), S3Proxy::start(seaweedfs::shared().port()));
    let (endpoint, root) = (proxy.endpoint(), bench.old().display().to_string());
    bench.start_again_with(&in_bucket(&endpoint, &bucket, &root));
    // The store has the object, and the command does not know it.
    proxy.play(Fault::CutResponse, "PUT ", "/uploads/", usize::MAX);
    let (status, printed) = bench.command(&["move-storage", "--yes"]);
    assert_ne!(status, 0, "{printed}");
    assert_eq!((files(&bench.old()).len(), objects(&bucket)), (1, 1));
    let removals = |line: &&String| line.starts_with("DELETE ") && line.contains("/uploads/");
    assert_eq!(proxy.requests().iter().find(removals), None);
    bench.check_all();
    proxy.heal();
    let (status, printed) = bench.command(&["move-storage", "--yes"]);
    assert_eq!(status, 0, "{printed}");
    assert!(printed.contains("1 other was there before"), "{printed}");
    assert_eq!((files(&bench.old()).len(), objects(&bucket)), (0, 1));
    bench.check_all();
}

#[test]
fn a_move_that_is_killed_goes_on_and_loses_nothing() {
    let mut bench = Bench::new(40);
    bench.start_again(true);
    let file = bench.server.configuration().display().to_string();
    let command = [PROGRAM, "-c", &file, "move-storage", "--yes"];
    for moved in [5, 20] {
        let mut running = Guarded::start(&command, &[], &bench.server.directory().join("moved"));
        wait_for("some files to be moved", || (files(&bench.new_place()).len() >= moved).then_some(()));
        running.try_signal("KILL");
        running.wait();
        bench.check_all();
        // A server that starts leaves the temporary files of the command alone.
        bench.start_again(true);
    }
    let (status, printed) = bench.command(&["move-storage", "--yes"]);
    assert_eq!(status, 0, "{printed}");
    assert_eq!((files(&bench.old()).len(), files(&bench.new_place()).len()), (0, 40));
    bench.check_all();
}

/// The command may be killed after it has copied a file, and before it finds that a server has deleted the file meanwhile.
#[test]
fn the_copy_of_a_deleted_file_that_a_killed_move_leaves_is_moved_to_lost_by_a_walk() {
    let mut bench = Bench::new(3);
    bench.start_again(true);
    for is_moving in [true, false] {
        if !is_moving {
            let (status, printed) = bench.command(&["move-storage", "--yes"]);
            assert_eq!(status, 0, "{printed}");
            bench.start_again(false);
        }
        let copies = [".uploads/aa/aaaaaaaaaaaaaaaaaaaaaaaa", "room@example.org/deleted1"];
        let copies = copies.map(|copy| bench.new_place().join(copy));
        for copy in &copies {
            fs::create_dir_all(copy.parent().expect("it has a folder")).expect("a folder can be made");
            fs::write(copy, "deleted").expect("a file can be written");
            let file = fs::File::options().append(true).open(copy).expect("it is there");
            file.set_modified(SystemTime::now() - 2 * ORPHAN_AGE).expect("a file has a date");
        }
        // The next walk need not be waited for: one follows a crash.
        bench.server.kill();
        bench.server.start_again();
        wait_for("the copies to be moved", || (!copies.iter().any(|copy| copy.exists())).then_some(()));
        bench.server.wait_log("moved the file aaaaaaaaaaaaaaaaaaaaaaaa of an upload to");
        bench.check_all();
    }
}

#[test]
fn a_file_that_is_not_what_its_row_says_stays_and_is_named() {
    let mut bench = Bench::new(3);
    let damaged = files(&bench.old()).remove(0);
    fs::write(&damaged, "file X").expect("it is there");
    bench.start_again(true);
    let (status, printed) = bench.command(&["move-storage", "--yes"]);
    assert_eq!(status, 1, "{printed}");
    let name = damaged.file_name().expect("it has a name").to_string_lossy();
    assert!(printed.contains(&format!("{name} stays: it is not what its row says")), "{printed}");
    assert_eq!((files(&bench.old()), files(&bench.new_place()).len()), (vec![damaged], 2));
}

#[test]
fn files_that_are_deleted_in_mid_move_are_in_neither_place() {
    let mut bench = Bench::new(5);
    bench.start_again(true);
    let (status, printed) = bench.command(&["delete", "--user", "alice@example.org", "--yes"]);
    assert_eq!(status, 0, "{printed}");
    assert_eq!((files(&bench.old()).len(), files(&bench.new_place()).len()), (0, 0));
    for (slot, _) in &bench.stored {
        wait_for("the file to be gone", || (Request::get(&slot.get_url).send().status == 404).then_some(()));
    }
}

#[test]
fn a_storage_of_another_site_is_no_place_to_move_from() {
    let mut bench = Bench::new(1);
    let other = Bench::new(1);
    bench.start_again(true);
    bench.server.stop();
    let file = bench.server.configuration();
    let text = fs::read_to_string(&file).expect("it has a configuration");
    let own = format!("media.storage.from={}\n", bench.old().display());
    for wrong in [other.old(), bench.server.directory().join("missing")] {
        assert!(text.contains(&own), "{text}");
        let text = text.replace(&own, &format!("media.storage.from={}\n", wrong.display()));
        fs::write(&file, text).expect("the scratch directory takes files");
        for command in ["serve", "move-storage"] {
            let (status, printed) = bench.command(&[command]);
            assert_eq!(status, 78, "{printed}");
            assert!(printed.contains("media.storage.from"), "{printed}");
        }
    }
    assert_eq!(files(&bench.old()).len(), 1);
}
