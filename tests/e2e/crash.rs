//! The server is killed again and again, at random and before each call that changes the disk, and keeps what it
//! promised.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::ledger::{Deed, Ledger, files};
use crate::schema::succeed;
use crate::site::Site;
use crate::support::postgres;
use crate::support::random::Random;
use crate::support::server::program;
use crate::support::soak;
use crate::support::wait_for;

/// Clients at a time.
const CLIENTS: u64 = 3;
/// Bytes of an upload that are held in memory: some of the uploads are larger, some smaller.
const THRESHOLD: &str = "4096";
/// An upload that goes to a file before it ends.
const UPLOAD: Deed = Deed::Upload(9000);
/// A file by slot that goes to the disk before it ends.
const SLOT: Deed = Deed::Slot(9000);
/// What a worker does on its way to a promise: each of these changes what a crash leaves.
const MARKED: [&str; 6] = ["write", "fsync", "mkdirat", "renameat2", "unlinkat", "sendto"];
/// What else it does there.
const OTHERS: [&str; 4] = ["openat", "pwrite64", "fdatasync", "ftruncate"];
/// More than the age at which `fsck` takes a file for left over.
const LONG: Duration = Duration::from_secs(2 * 3600);

#[test]
fn kills_at_random_lose_nothing_for_a_while() {
    survive_kills(&[]);
}

#[test]
fn kills_at_random_lose_nothing_on_postgresql_for_a_while() {
    on_postgresql(survive_kills);
}

#[test]
fn kills_at_each_step_lose_nothing_for_a_while() {
    let moment = Duration::from_secs(3600);
    survive_steps(&[], "http-worker", moment, &MARKED, &OTHERS);
}

#[test]
fn kills_at_each_step_lose_nothing_on_postgresql_for_a_while() {
    // The connection's thread sends the statements and the commit. A second connection would have one of its own.
    let moment = Duration::from_secs(2);
    on_postgresql(|settings| {
        let settings = [settings, &[("jdbc.pool.size", "1")]].concat();
        survive_steps(&settings, "postgres", moment, &["sendto"], &["recvfrom"]);
    });
}

/// With a new database of the shared PostgreSQL.
pub fn on_postgresql(test: impl FnOnce(&[(&str, &str)])) {
    let server = postgres::shared();
    let url = server.jdbc_url(&server.new_database());
    succeed(&url, &["setup-schema"]);
    test(&[("jdbc.db.url", &url)]);
}

/// A site where most uploads go to a file, with as few workers as can be.
pub fn site(settings: &[(&str, &str)]) -> Site {
    let own = [
        ("media.todisk.threshold", THRESHOLD),
        ("http.threads", "3"),
        ("upload.enabled", "true"),
        ("http.endpoint", "http://127.0.0.1"),
    ];
    Site::start(&[&own[..], settings].concat())
}

fn survive_kills(settings: &[(&str, &str)]) {
    let seed = soak::seed();
    let mut site = site(settings);
    let mut random = Random::new(seed);
    let mut ledgers: Vec<Ledger> =
        (1..=CLIENTS).map(|number| Ledger::new(&site, seed ^ number << 32)).collect();
    let end = Instant::now() + soak::time(Duration::from_secs(2));
    while Instant::now() < end {
        work_until_killed(&mut site, &mut ledgers, Duration::from_millis(random.below(700)));
        check(&mut site, &mut ledgers, random.below(2) == 0);
    }
}

/// All clients do what they do, and in the middle of it the server is killed.
fn work_until_killed(site: &mut Site, ledgers: &mut [Ledger], moment: Duration) {
    let killed = AtomicBool::new(false);
    thread::scope(|scope| {
        let (site, killed) = (&*site, &killed);
        for ledger in ledgers {
            scope.spawn(move || {
                while !killed.load(Ordering::SeqCst) {
                    // What fails is looked at later.
                    let _ = ledger.act(site);
                }
            });
        }
        // Not a wait for anything: it is the moment that is random.
        thread::sleep(moment);
        site.server.signal("KILL");
        killed.store(true, Ordering::SeqCst);
    });
    site.server.wait();
    soak::count("kills at random survived", 1);
}

/// Kills the server before calls of this thread, one after the other, while a client does something: before the
/// marked ones for this long in `make check`, before all of them in `make soak`.
fn survive_steps(
    settings: &[(&str, &str)],
    thread: &str,
    moment: Duration,
    marked: &[&str],
    others: &[&str],
) {
    let seed = soak::seed();
    let mut site = site(settings);
    let mut ledgers = [Ledger::new(&site, seed)];
    let (calls, deeds) = if soak::is_soak() {
        ([marked, others].concat(), vec![UPLOAD, SLOT, Deed::Delete, Deed::Avatar(100), Deed::Update])
    } else {
        (marked.to_vec(), vec![UPLOAD, SLOT, Deed::Delete])
    };
    let mut steps = Vec::new();
    for deed in deeds {
        for (call, count) in calls_of(&mut site, &mut ledgers, deed, thread, &calls) {
            steps.extend((1..=count).map(|number| (deed, call.clone(), number)));
        }
    }
    Random::new(seed).shuffle(&mut steps);
    let end = Instant::now() + soak::time(moment);
    for (deed, call, number) in steps {
        if Instant::now() < end {
            let step = format!("-e trace={call} -e inject={call}:signal=KILL:when={number}");
            kill_at(&mut site, &mut ledgers, deed, thread, &step);
        }
    }
}

/// How often a thread of this name makes each of these calls while this is done, since the start.
fn calls_of(
    site: &mut Site,
    ledgers: &mut [Ledger; 1],
    deed: Deed,
    thread: &str,
    calls: &[&str],
) -> BTreeMap<String, u32> {
    let log = site.server.trace(&format!("-e trace={}", calls.join(",")), &[thread]);
    ledgers[0].perform(site, deed).expect("nothing hinders it");
    site.server.kill();
    let text = fs::read_to_string(log).expect("strace has written");
    let mut counts = BTreeMap::new();
    for line in text.lines() {
        // With the thread's number before it if there are several.
        let name = line.split('(').next().and_then(|before| before.split(' ').next_back());
        if let Some(name) = name.filter(|name| calls.contains(name)) {
            *counts.entry(name.to_owned()).or_default() += 1;
        }
    }
    assert!(!counts.is_empty(), "{deed:?} made no call: {text}");
    check(site, ledgers, false);
    counts
}

fn kill_at(site: &mut Site, ledgers: &mut [Ledger; 1], deed: Deed, thread: &str, step: &str) {
    site.server.trace(step, &[thread]);
    if ledgers[0].perform(site, deed).is_ok() {
        // Another thread made some of the calls, or the call comes after the response.
        site.server.try_signal("KILL");
    } else {
        soak::count("kills at a step survived", 1);
    }
    site.server.wait();
    check(site, ledgers, true);
}

/// Brings the server back, and looks whether every promise is kept. What the crash left is mended by `fsck` before the start
/// if `mend_first`, and else by the housekeeper after it, so that nothing is left for `fsck`.
pub fn check(site: &mut Site, ledgers: &mut [Ledger], mend_first: bool) {
    for ledger in &*ledgers {
        ledger.audit_files(site);
    }
    if mend_first {
        mend(site);
    } else {
        age_files(&site.server.storage());
    }
    let walks = walks(site);
    site.server.start_again();
    site.wait_ready(ledgers[0].channel());
    let left: Vec<_> = files(site.server.storage()).into_iter().filter(|file| is_temporary(file)).collect();
    assert!(left.is_empty(), "the start left {left:?}");
    for ledger in &mut *ledgers {
        ledger.audit(site);
    }
    wait_for("the walk after the crash", || (self::walks(site) > walks).then_some(()));
    ledgers.iter().for_each(|ledger| ledger.audit_store(site));
    if !mend_first {
        assert_eq!(mend(site), 0, "the housekeeper left something");
    }
}

/// How often the housekeeper has walked the store to the end.
fn walks(site: &Site) -> usize {
    let count = |what: &str| site.server.log().matches(what).count();
    count("walked the store: ").min(count("walked the uploads: "))
}

fn is_temporary(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".upload-"))
}

/// Nothing is found but files that no row names, which a repair sets aside; how many.
pub fn mend(site: &Site) -> usize {
    age_files(&site.server.storage());
    let configuration = site.server.configuration().display().to_string();
    let (status, printed) = program(&["-c", &configuration, "fsck", "--repair"]);
    assert_eq!(status, 0, "{printed}");
    let findings: Vec<&str> = printed.lines().filter(|line| line.contains(": ")).collect();
    let mended = findings.len();
    for finding in findings {
        let is_orphan = finding.contains(": a file without a row; moved to .lost/");
        let is_temporary = finding.ends_with(": the file of an unfinished upload; removed");
        assert!(is_orphan || is_temporary, "{finding}");
        soak::count("orphans mended", 1);
    }
    let (status, printed) = program(&["-c", &configuration, "fsck"]);
    assert_eq!((status, printed.trim()), (0, "files and metadata agree"));
    mended
}

/// Makes all files of media and uploads as old as those that count as left over.
fn age_files(storage: &Path) {
    for folder in fs::read_dir(storage).expect("the storage can be read").flatten() {
        files(folder.path()).iter().for_each(|file| age(file));
    }
    for folder in fs::read_dir(storage.join(".uploads")).into_iter().flatten().flatten() {
        files(folder.path()).iter().for_each(|file| age(file));
    }
    files(storage.to_owned()).iter().filter(|file| is_temporary(file)).for_each(|file| age(file));
}

fn age(file: &Path) {
    let file = File::open(file).expect("the file is there");
    file.set_modified(SystemTime::now() - LONG).expect("its date can be set");
}
