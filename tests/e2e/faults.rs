//! Disk and database fail under the server, which says so, keeps what it promised, and goes on afterwards.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::crash::{check, mend, on_postgresql, site};
use crate::ledger::{Deed, FAILED_WAKES, FAILURES, Ledger, files};
use crate::schema::succeed;
use crate::site::Site;
use crate::support::child::run;
use crate::support::http::Request;
use crate::support::random::Random;
use crate::support::server::PROGRAM;
use crate::support::{postgres, soak, wait_for};

/// What a worker asks of the kernel, and how that may fail.
const FAULTS: [(&str, &[&str]); 9] = [
    ("openat", &["EMFILE", "EIO", "ENOSPC"]),
    ("mkdirat", &["ENOSPC", "EIO"]),
    ("write", &["ENOSPC", "EDQUOT", "EIO", "EINTR"]),
    ("pwrite64", &["ENOSPC", "EDQUOT", "EIO"]),
    ("fsync", &["EIO", "ENOSPC"]),
    ("renameat2", &["EIO", "ENOSPC"]),
    ("unlinkat", &["EIO"]),
    ("sendto", &["ECONNRESET", "EINTR"]),
    ("recvfrom", &["EINTR"]),
];
/// Above every time limit of the server's dealings with a database.
const BOUNDED: Duration = Duration::from_secs(55);

#[test]
fn random_faults_lose_nothing_for_a_while() {
    survive_faults(&[], Duration::from_secs(3));
}

#[test]
fn random_faults_lose_nothing_on_postgresql_for_a_while() {
    on_postgresql(|settings| survive_faults(settings, Duration::from_secs(1)));
}

fn survive_faults(settings: &[(&str, &str)], moment: Duration) {
    let seed = soak::seed();
    let (mut site, mut random) = (site(settings), Random::new(seed));
    let mut ledgers = [Ledger::new(&site, seed)];
    let end = Instant::now() + soak::time(moment);
    while Instant::now() < end {
        let (call, errors) = random.pick(&FAULTS).expect("there are some");
        let error = random.pick(errors).expect("there are some");
        ledgers[0].excuse(if call == "write" { FAILED_WAKES } else { FAILURES });
        let (first, step) = (1 + random.below(6), 1 + random.below(8));
        let fault = format!("-e trace={call} -e inject={call}:error={error}:when={first}+{step}");
        let trace = site.server.trace(&fault, &["http-worker"]);
        for _ in 0..8 {
            // What fails is looked at later.
            let _ = ledgers[0].act(&site);
        }
        site.server.kill();
        let calls = std::fs::read_to_string(trace).expect("strace has written");
        soak::count("faults injected", u64::try_from(calls.matches("(INJECTED)").count()).expect("a few"));
        check(&mut site, &mut ledgers, random.below(2) == 0);
    }
}

#[test]
fn a_full_disk_refuses_uploads_and_serves_stored_files() {
    let mut site = site(&[]);
    site.server.stop();
    let flags = ["-m", "-rm"]
        .into_iter()
        .find(|flags| run(&["unshare", flags, "sh", "-c", "mount -t tmpfs none /mnt"]).0 == 0);
    match flags {
        Some(flags) => fill_a_disk(&mut site, flags),
        // Where nothing may be mounted, strace says that the disk is full.
        None => pretend_a_full_disk(&mut site),
    }
}

/// The server's storage becomes a disk of its own, which is full but for some files that can go.
fn fill_a_disk(site: &mut Site, flags: &str) {
    const MOUNT: &str =
        r#"mount -t tmpfs -o size=3m none "$0" && head -c 1000000 /dev/zero >"$0/ballast" && exec "$@""#;
    let storage = site.server.storage().display().to_string();
    site.server.start_again_by(&["unshare", flags, "sh", "-c", MOUNT, &storage]);
    let mut ledger = Ledger::new(site, soak::seed());
    site.wait_ready(ledger.channel());
    ledger.perform(site, Deed::Upload(100_000)).expect("there is room");
    let full = (0..40).find_map(|_| ledger.perform(site, Deed::Upload(150_000)).err());
    assert!(full.as_ref().is_some_and(|error| error.starts_with("507")), "{full:?}");
    let full = (0..40).find_map(|_| ledger.perform(site, Deed::Upload(4_000)).err());
    assert!(full.as_ref().is_some_and(|error| error.starts_with("507")), "{full:?}");
    ledger.audit(site);
    let pid = site.server.pid().to_string();
    let enter = |command: &[&str]| {
        let user: &[&str] = if flags == "-m" { &[] } else { &["-U", "--preserve-credentials"] };
        run(&[&["nsenter", "-t", &pid, "-m"], user, &["--"], command].concat())
    };
    assert_eq!(enter(&["rm", &format!("{storage}/ballast")]).0, 0);
    for deed in [Deed::Upload(150_000), Deed::Avatar(10_000), Deed::Update, Deed::Delete] {
        ledger.perform(site, deed).expect("there is room again");
    }
    ledger.audit(site);
    let configuration = site.server.configuration().display().to_string();
    let age = [
        "find",
        storage.as_str(),
        "-type",
        "f",
        "!",
        "-name",
        "metadata*",
        "-exec",
        "touch",
        "-d",
        "-2hours",
        "{}",
        ";",
    ];
    assert_eq!(enter(&age).0, 0);
    let (status, printed) = enter(&[PROGRAM, "-c", &configuration, "fsck"]);
    assert_eq!(status, 0, "the full disk left something: {printed}");
}

fn pretend_a_full_disk(site: &mut Site) {
    site.server.start_again();
    let mut ledgers = [Ledger::new(site, soak::seed())];
    let [ledger] = &mut ledgers;
    site.wait_ready(ledger.channel());
    ledger.perform(site, Deed::Upload(9_000)).expect("there is room");
    // Workers write to each other's wake-ups, too, and those must not fail: but they rename nothing else.
    site.server.trace("-e trace=renameat2 -e inject=renameat2:error=ENOSPC:when=1..2", &["http-worker"]);
    let full = ledger.perform(site, Deed::Upload(150_000)).expect_err("it is full");
    assert!(full.starts_with("507"), "{full}");
    ledger.audit(site);
    wait_for("room", || ledger.perform(site, Deed::Upload(150_000)).ok());
    ledger.audit(site);
    assert_eq!(mend(site), 0, "the full disk left something");
    site.server.kill();
}

#[test]
fn a_fault_of_the_disk_has_a_status_that_fits_and_leaves_nothing() {
    let mut site = site(&[]);
    let mut ledgers = [Ledger::new(&site, soak::seed())];
    ledgers[0].excuse(FAILURES);
    for (call, error, status) in [
        ("write", "ENOSPC", "507"),
        ("write", "EDQUOT", "507"),
        ("renameat2", "EDQUOT", "507"),
        ("openat", "EMFILE", "503"),
        ("fsync", "EIO", "500"),
        ("pwrite64", "ENOSPC", "507"),
    ] {
        let fault = format!("-e trace={call} -e inject={call}:error={error}:when=1..9");
        site.server.trace(&fault, &["http-worker"]);
        let failed = ledgers[0].perform(&site, Deed::Upload(9_000)).expect_err("it fails");
        assert!(failed.starts_with(status), "{call}, {error}: {failed}");
        let left = files(site.server.storage().join(ledgers[0].channel()));
        assert!(left.is_empty(), "{call}, {error}: {left:?}");
        site.server.kill();
        check(&mut site, &mut ledgers, false);
    }
}

#[test]
fn a_database_without_free_connections_is_waited_for() {
    let server = postgres::shared();
    let database = server.new_database();
    let url = server.jdbc_url(&database);
    succeed(&url, &["setup-schema"]);
    let mut admin = server.client(&database);
    let role = format!("limited_{database}");
    let make = format!("CREATE ROLE {role} LOGIN; GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}");
    admin.batch_execute(&make).expect("a superuser makes roles");
    let url = url.replace(&format!("user={}", postgres::USER), &format!("user={role}"));
    let site = site(&[("jdbc.db.url", &url)]);
    let mut ledger = Ledger::new(&site, soak::seed());
    ledger.perform(&site, Deed::Upload(9_000)).expect("there are connections");
    let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'");
    admin.batch_execute(&format!("ALTER ROLE {role} CONNECTION LIMIT 0; {end}")).expect("a superuser");
    let refused = ledger.perform(&site, Deed::Upload(9_000)).expect_err("there are no connections");
    assert!(refused.starts_with("503"), "{refused}");
    admin.batch_execute(&format!("ALTER ROLE {role} CONNECTION LIMIT -1")).expect("a superuser");
    wait_for("the database", || ledger.perform(&site, Deed::Upload(9_000)).ok());
    ledger.audit(&site);
    assert_eq!(mend(&site), 0, "a file is left");
}

#[test]
fn a_transaction_that_is_rolled_back_leaves_nothing() {
    let server = postgres::shared();
    let database = server.new_database();
    let url = server.jdbc_url(&database);
    succeed(&url, &["setup-schema"]);
    let site = site(&[("jdbc.db.url", &url)]);
    let mut ledger = Ledger::new(&site, soak::seed());
    ledger.perform(&site, Deed::Upload(9_000)).expect("nothing hinders it");
    let mut admin = server.client(&database);
    // serialization_failure and deadlock_detected, at the statement and at the commit.
    for code in ["40001", "40P01"] {
        for moment in ["INITIALLY IMMEDIATE", "INITIALLY DEFERRED"] {
            let fail = format!(
                "CREATE OR REPLACE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS \
                 'BEGIN RAISE EXCEPTION ''once'' USING ERRCODE = ''{code}''; END';
                 CREATE CONSTRAINT TRIGGER fail AFTER INSERT OR DELETE ON medias DEFERRABLE {moment} \
                 FOR EACH ROW EXECUTE FUNCTION fail()"
            );
            admin.batch_execute(&fail).expect("a superuser makes triggers");
            for deed in [Deed::Upload(9_000), Deed::Avatar(9_000), Deed::Delete] {
                let refused = ledger.perform(&site, deed).expect_err("it is rolled back");
                assert!(refused.starts_with("503"), "{refused}");
            }
            admin.batch_execute("DROP TRIGGER fail ON medias").expect("a superuser");
            ledger.audit(&site);
            assert_eq!(mend(&site), 0, "{code}, {moment}: a file is left");
            ledger.perform(&site, Deed::Upload(9_000)).expect("nothing hinders it");
        }
    }
}

#[test]
fn a_database_may_be_restarted_under_load_for_a_while() {
    let mut server = postgres::Server::start();
    let url = server.jdbc_url(&server.new_database());
    succeed(&url, &["setup-schema"]);
    let seed = soak::seed();
    let site = site(&[("jdbc.db.url", &url)]);
    let mut ledgers: Vec<Ledger> = (1..=3).map(|number| Ledger::new(&site, seed ^ number << 32)).collect();
    let mut random = Random::new(seed);
    let end = Instant::now() + soak::time(Duration::from_secs(1));
    while Instant::now() < end {
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            for ledger in &mut ledgers {
                let (site, done) = (&site, &done);
                scope.spawn(move || {
                    while !done.load(Ordering::SeqCst) {
                        let begun = Instant::now();
                        let _ = ledger.act(site);
                        assert!(begun.elapsed() < BOUNDED, "{:?}", begun.elapsed());
                    }
                });
            }
            // Not waits for anything: it is the moments that are random.
            thread::sleep(Duration::from_millis(random.below(300)));
            server.kill();
            thread::sleep(Duration::from_millis(random.below(300)));
            server.restart();
            done.store(true, Ordering::SeqCst);
        });
        let url = site.url(ledgers[0].channel());
        wait_for("the database", || (Request::get(&url).send().status == 200).then_some(()));
        for ledger in &mut ledgers {
            ledger.perform(&site, Deed::Upload(100)).expect("the database is back");
            ledger.audit(&site);
            ledger.audit_files(&site);
        }
        mend(&site);
        soak::count("restarts of the database survived", 1);
    }
}
