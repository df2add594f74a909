use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use super::super::postgres_server::{self, Server};
use super::super::value::Row;
use super::super::{
    ChoreTable, MediaInsert, Metadata, Schema, Store, UploadInsert, UploadTable, UserData, conformance,
    file_conformance, operations, statements, upload_conformance,
};
use super::*;
use crate::model::{Media, Page, Quotas, UploadLimits};

/// A database of the shared server.
struct Bench {
    store: Store<Postgres>,
    client: Mutex<postgres::Client>,
}

impl Bench {
    fn new() -> Self {
        let server = postgres_server::shared();
        let database = server.new_database();
        let store = store(server, &database, |_| {});
        Self { store, client: Mutex::new(server.client(&database)) }
    }
}

impl conformance::Bench for Bench {
    fn store(&self) -> &dyn Metadata {
        &self.store
    }

    fn execute(&self, sql: &str) {
        self.client.lock().unwrap().batch_execute(sql).unwrap();
    }
}

conformance::suite!(Bench::new());

impl upload_conformance::UploadBench for Bench {
    fn tables(&self) -> &dyn upload_conformance::Tables {
        &self.store
    }

    fn run(&self, sql: &str) {
        self.client.lock().unwrap().batch_execute(sql).unwrap();
    }
}

upload_conformance::upload_suite!(Bench::new());

file_conformance::file_suite!(Bench::new());

impl Postgres {
    /// The engine for a new database of the shared server.
    pub(crate) fn for_test() -> Self {
        let server = postgres_server::shared();
        store(server, &server.new_database(), |_| {}).0
    }
}

fn store(server: &Server, database: &str, change: impl FnOnce(&mut PostgresSettings)) -> Store<Postgres> {
    let mut settings = PostgresSettings::for_test(server.port(), database);
    change(&mut settings);
    Schema::connect(&settings).unwrap().setup().unwrap();
    Store::new(Postgres::new(&settings).unwrap())
}

fn media(id: &str) -> Media {
    conformance::media("room@example.org", id, 1)
}

#[test]
fn a_list_is_read_from_its_index() {
    let bench = Bench::new();
    let mut client = bench.client.lock().unwrap();
    client.batch_execute("SET enable_seqscan = off; SET enable_bitmapscan = off").unwrap();
    let id = || Some("a".parse().unwrap());
    for (after, before) in [(None, None), (id(), None), (None, id()), (id(), id())] {
        let sql = statements::list("\"C\"", &Page { max: 1, after, before });
        let values = sql.replace("$1", "'room@example.org'").replace("$2", "9");
        let values = values.replace("$3", "'a'").replace("$4", "'b'");
        let plan = client.query(&format!("EXPLAIN {values}"), &[]).unwrap();
        let lines: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
        let plan = lines.join("\n");
        assert!(plan.contains("medias_listing_idx") && !plan.contains("Sort"), "{plan}");
        // The bounds, too, are looked up there: no row is read only to be left out.
        let bounds: Vec<_> = lines.iter().filter(|line| line.contains("ROW(")).collect();
        assert_eq!(bounds.is_empty(), !sql.contains("$3"), "{plan}");
        assert!(bounds.iter().all(|line| line.contains("Index Cond")), "{plan}");
    }
}

#[test]
fn connections_are_restored_after_a_restart_of_the_server() {
    let mut server = Server::start();
    let database = server.new_database();
    let store = store(&server, &database, |_| {});
    store.insert(&media("a"), false, Quotas::NONE).unwrap();
    server.kill();
    let error = store.insert(&media("b"), false, Quotas::NONE).unwrap_err();
    assert!(matches!(&error, WriteError::Failed(error) if error.kind() == Kind::Unavailable), "{error}");
    assert_eq!(store.media_rows(None, 1).unwrap_err().kind(), Kind::Unavailable);
    server.restart();
    store.insert(&media("b"), false, Quotas::NONE).unwrap();
    assert_eq!(store.list(&media("a").channel, &page()).unwrap().entries.len(), 2);
    // Connections that broke while no one looked are replaced before they are used.
    server.kill();
    server.restart();
    for _ in 0..8 {
        store.media_rows(None, 1).unwrap();
    }
}

fn page() -> Page {
    Page { max: 9, after: None, before: None }
}

#[test]
fn a_server_that_stands_still_does_not_hold_us() {
    let server = Server::start();
    let database = server.new_database();
    let patience = Duration::from_millis(300);
    let store = store(&server, &database, |settings| settings.socket_timeout = Some(patience));
    let mut connection = store.0.connection().unwrap();
    server.freeze();
    let started = Instant::now();
    let answer = connection.run(patience, |connection| connection.client.simple_query("SELECT 1").is_ok());
    assert_eq!(answer, None);
    assert!(started.elapsed() < 10 * patience);
    drop(connection);
    assert_eq!(store.media_rows(None, 1).unwrap_err().kind(), Kind::Unavailable);
    assert!(started.elapsed() < 2 * limits::DATABASE_WAIT, "{:?}", started.elapsed());
    server.thaw();
    store.media_rows(None, 1).unwrap();
}

/// A proxy before a server. It takes the connections with these numbers, and never answers them.
fn silent_proxy(server: u16, silent: Range<usize>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let mut held = Vec::new();
        for (number, client) in listener.incoming().flatten().enumerate() {
            if silent.contains(&number) {
                held.push(client);
                continue;
            }
            let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { continue };
            let copies = (client.try_clone().unwrap(), server.try_clone().unwrap());
            for (mut from, mut to) in [copies, (server, client)] {
                thread::spawn(move || {
                    let _ = io::copy(&mut from, &mut to);
                    // The other direction may have ended first.
                    let _ = to.shutdown(Shutdown::Both);
                });
            }
        }
    });
    port
}

#[test]
fn connections_that_a_proxy_takes_and_never_answers_are_given_up() {
    let mut server = Server::start();
    let database = server.new_database();
    store(&server, &database, |_| {});
    let mut settings = PostgresSettings::for_test(silent_proxy(server.port(), 2..8), &database);
    settings.connect_timeout = Some(Duration::from_millis(300));
    let store = Store::new(Postgres::new(&settings).unwrap());
    // This takes two connections: one is compared with the other.
    store.media_rows(None, 1).unwrap();
    server.kill();
    server.restart();
    let begun = Instant::now();
    while store.media_rows(None, 1).is_err() {
        assert!(begun.elapsed() < 10 * limits::DATABASE_WAIT, "the pool makes no connection");
    }

    settings.hosts[0].1 = silent_proxy(server.port(), 0..1);
    let store = Store::new(Postgres::new(&settings).unwrap());
    let begun = Instant::now();
    assert_eq!(store.media_rows(None, 1).unwrap_err().kind(), Kind::Unavailable);
    assert!(begun.elapsed() < limits::DATABASE_WAIT, "{:?}", begun.elapsed());
    store.media_rows(None, 1).unwrap();
}

#[test]
fn certificates_are_looked_at_as_the_mode_says() {
    let server = Server::start();
    let connect = |host: &str, ssl, root: Option<&std::path::PathBuf>| {
        let mut settings = PostgresSettings::for_test(server.port(), "postgres");
        settings.hosts[0].0 = host.into();
        (settings.ssl, settings.ssl_root) = (ssl, root.cloned());
        let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        let mut client = settings.config().connect(settings.tls().unwrap()).map_err(fault)?;
        client.query_one(sql, &[]).map(|row| row.get::<_, bool>(0)).map_err(fault)
    };
    assert!(!connect("127.0.0.1", SslMode::Prefer, None).unwrap());
    assert_eq!(connect("127.0.0.1", SslMode::Require, None).unwrap_err().kind(), Kind::Failure);
    let root = server.encrypt();
    let root = Some(&root);
    assert!(!connect("127.0.0.1", SslMode::Disable, None).unwrap());
    assert!(connect("127.0.0.1", SslMode::Prefer, None).unwrap());
    assert!(connect("127.0.0.1", SslMode::Require, None).unwrap());
    assert!(connect("127.0.0.1", SslMode::Require, root).unwrap());
    assert!(connect("127.0.0.1", SslMode::VerifyCa, None).is_err());
    assert!(connect("127.0.0.1", SslMode::VerifyCa, root).unwrap());
    assert!(connect("127.0.0.1", SslMode::VerifyFull, root).is_err());
    assert!(connect("localhost", SslMode::VerifyFull, root).unwrap());
    assert!(connect("localhost", SslMode::VerifyFull, None).is_err());
}

#[test]
fn a_pool_without_a_free_connection_is_not_waited_for_without_end() {
    let server = postgres_server::shared();
    let store = store(server, &server.new_database(), |settings| settings.pool_size = 1);
    let held = store.0.connection().unwrap();
    let started = Instant::now();
    assert_eq!(store.media_rows(None, 1).unwrap_err().kind(), Kind::Unavailable);
    assert!(started.elapsed() < 2 * limits::DATABASE_WAIT);
    drop(held);
    store.media_rows(None, 1).unwrap();
}

#[test]
fn a_lock_that_stays_is_not_waited_for_without_end() {
    let bench = Bench::new();
    bench.store.insert(&media("a"), false, Quotas::NONE).unwrap();
    let mut client = bench.client.lock().unwrap();
    client.batch_execute("BEGIN; LOCK TABLE medias IN ACCESS EXCLUSIVE MODE").unwrap();
    let error = bench.store.media(&media("a").channel, &media("a").id).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.to_string().contains("55P03"), "{error}");
    client.batch_execute("ROLLBACK").unwrap();
    bench.store.media(&media("a").channel, &media("a").id).unwrap().unwrap();
}

/// With any other isolation a sum would be of what there was before its lock was waited for.
#[test]
fn a_quota_is_kept_whatever_isolation_the_database_prefers() {
    let server = postgres_server::shared();
    let database = server.new_database();
    let mut client = server.client(&database);
    let preference = "SET default_transaction_isolation = 'repeatable read'";
    client.batch_execute(&format!("ALTER DATABASE \"{database}\" {preference}")).unwrap();
    let store = store(server, &database, |_| {});
    conformance::quotas::concurrent_inserts_keep_a_quota(&Bench { store, client: Mutex::new(client) });
}

#[test]
fn a_second_attempt_finds_what_the_first_one_stored() {
    let bench = Bench::new();
    let first = media("a");
    let mut connection = bench.store.0.connection().unwrap();
    let copy = first.clone();
    // The commit happens, and no one hears of it.
    let unheard = connection.run(Duration::ZERO, move |connection| {
        connection.transact(|session| operations::insert(session, &copy, true, Quotas::NONE)).is_ok()
    });
    assert_eq!(unheard, None);
    drop(connection);
    bench.store.insert(&first, true, Quotas::NONE).unwrap();
    assert_eq!(bench.store.avatar(&first.channel).unwrap(), Some(first));
}

#[test]
fn a_job_that_panics_costs_its_connection_only() {
    let bench = Bench::new();
    let mut connection = bench.store.0.connection().unwrap();
    let answer: Option<()> = connection.run(Duration::from_secs(9), |_| panic!("on purpose"));
    assert_eq!(answer, None);
    drop(connection);
    bench.store.media_rows(None, 1).unwrap();
}

#[test]
fn a_statement_is_prepared_once_for_each_connection() {
    let bench = Bench::new();
    let mut connection = bench.store.0.connection().unwrap();
    let count = connection.run(Duration::from_secs(9), |connection| {
        connection.prepare(&statements::MEDIA).unwrap();
        connection.prepare(&statements::MEDIA).unwrap();
        let count = connection.client.query_one("SELECT COUNT(*) FROM pg_prepared_statements", &[]).unwrap();
        count.get::<_, i64>(0)
    });
    // That one counts itself.
    assert_eq!(count, Some(2));
}

#[test]
fn dates_without_end_are_listed() {
    let bench = Bench::new();
    for (id, date) in [("a", "infinity"), ("b", "-infinity")] {
        bench.store.insert(&media(id), false, Quotas::NONE).unwrap();
        let sql = format!("UPDATE medias SET lastUpdatedDate = '{date}' WHERE id = '{id}'");
        bench.client.lock().unwrap().batch_execute(&sql).unwrap();
    }
    let listed = bench.store.list(&media("a").channel, &page()).unwrap().entries;
    let micros: Vec<i64> = listed.iter().map(|media| media.last_updated.as_micros()).collect();
    assert!(micros.len() == 2 && micros[0] > i64::MAX / 2 && micros[1] < i64::MIN / 2, "{micros:?}");
}

#[test]
fn a_write_that_hides_a_failed_statement_is_not_committed() {
    let bench = Bench::new();
    let written = bench.store.0.write(|session| {
        let _ = session.execute("INSERT INTO nothing VALUES (1)", &[]);
        Ok(Change::Commit(()))
    });
    assert!(matches!(written, Err(WriteError::Failed(_))), "{written:?}");
    bench.store.media_rows(None, 1).unwrap();
}

/// A proxy before a server, and what clients have sent through it.
fn listening_proxy(server: u16) -> (u16, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, sent) = (listener.local_addr().unwrap().port(), Arc::<Mutex<Vec<u8>>>::default());
    let all = Arc::clone(&sent);
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut server = TcpStream::connect(("127.0.0.1", server)).unwrap();
            let (mut to, mut from) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            thread::spawn(move || io::copy(&mut from, &mut to));
            let all = Arc::clone(&all);
            thread::spawn(move || {
                let mut block = [0; 4096];
                while let Ok(count @ 1..) = client.read(&mut block) {
                    all.lock().unwrap().extend_from_slice(&block[..count]);
                    if server.write_all(&block[..count]).is_err() {
                        break;
                    }
                }
            });
        }
    });
    (port, sent)
}

#[test]
fn a_row_without_a_quota_is_stored_by_one_statement() {
    let server = postgres_server::shared();
    let (port, sent) = listening_proxy(server.port());
    let store = store(server, &server.new_database(), |settings| settings.hosts[0].1 = port);
    // The first connections are compared with each other.
    store.media_rows(None, 1).unwrap();
    let begins = |insert: &dyn Fn()| {
        sent.lock().unwrap().clear();
        insert();
        String::from_utf8_lossy(&sent.lock().unwrap()).matches("BEGIN").count()
    };
    let quota = Quotas { channel: Some(1 << 40), ..Quotas::NONE };
    let insert = |id: &str, avatar, quotas| {
        assert_eq!(store.insert(&media(id), avatar, quotas).unwrap(), MediaInsert::Stored);
    };
    assert_eq!(begins(&|| insert("a", false, Quotas::NONE)), 0);
    assert_eq!(begins(&|| insert("b", true, Quotas::NONE)), 1);
    assert_eq!(begins(&|| insert("c", false, quota)), 1);
    let insert = |limits| {
        let inserted = store.insert_upload(&upload_conformance::upload(), limits).unwrap();
        assert_eq!(inserted, UploadInsert::Stored);
    };
    assert_eq!(begins(&|| insert(UploadLimits::default())), 0);
    assert_eq!(begins(&|| insert(UploadLimits { all: Some(1 << 40), ..UploadLimits::default() })), 1);
}

/// A deletion whose reply was lost runs again, and its files can be removed.
#[test]
fn a_second_attempt_knows_what_the_first_one_deleted() {
    let bench = Bench::new();
    let media = media("a");
    bench.store.insert(&media, false, Quotas::NONE).unwrap();
    bench
        .client
        .lock()
        .unwrap()
        .batch_execute("INSERT INTO previews (id, mediaId, mimeType) VALUES ('p', 'a', 'x')")
        .unwrap();
    let runs = std::sync::atomic::AtomicU32::new(0);
    let earlier = Mutex::new(None);
    let (id, channel) = (media.id.clone(), media.channel.clone());
    let operation = Arc::new(move |connection: &mut Connection| {
        runs.fetch_add(1, Ordering::Relaxed);
        connection.transact(|session| operations::delete_once(session, &channel, &id, &earlier))
    });
    bench.store.0.attempt(Arc::clone(&operation)).unwrap().unwrap();
    let again = bench.store.0.attempt(operation).unwrap().unwrap();
    assert_eq!(again.previews.len(), 1);
}

#[test]
fn a_quota_is_decided_without_reading_the_media() {
    let bench = Bench::new();
    let mut client = bench.client.lock().unwrap();
    let sql = statements::USAGE.replace("$1", "'channel'").replace("$2", "'any'");
    client.batch_execute("SET enable_seqscan = off").unwrap();
    let plan = client.query(&format!("EXPLAIN {sql}"), &[]).unwrap();
    let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
    assert!(plan.iter().any(|line| line.contains("usage_pkey")), "{plan:?}");
}

#[test]
fn uploads_to_one_channel_do_not_wait_for_one_another() {
    let bench = Bench::new();
    let mut client = bench.client.lock().unwrap();
    bench.store.insert(&media("a"), false, Quotas::NONE).unwrap();
    // An upload whose transaction has not ended.
    let columns = "entityId, author, mimeType, fileExtension, shaChecksum, fileSize";
    let other = format!("INSERT INTO medias (id, {columns}) SELECT 'b', {columns} FROM medias");
    client.batch_execute(&format!("BEGIN; {other}")).unwrap();
    let stored = bench.store.insert(&media("c"), false, Quotas::NONE);
    client.batch_execute("ROLLBACK").unwrap();
    stored.unwrap();
}

#[test]
fn one_node_at_a_time_has_a_chore() {
    let bench = Bench::new();
    let claim = |chore, node, seconds| bench.store.claim(chore, node, Duration::from_secs(seconds)).unwrap();
    let pass = |seconds: u32| {
        let sql = format!("UPDATE chores SET begun = begun - INTERVAL '{seconds} seconds'");
        bench.client.lock().unwrap().batch_execute(&sql).unwrap();
    };
    assert!(claim("walk", "a", 100) && claim("other", "b", 100));
    assert!(claim("walk", "a", 100), "a repeated claim holds");
    assert!(!claim("walk", "b", 100));
    assert!(claim("walk", "b", 0) && !claim("walk", "a", 100), "it counts as begun");
    pass(99);
    assert!(!claim("walk", "a", 100) && !claim("walk", "b", 100));
    pass(1);
    assert!(claim("walk", "a", 100) && !claim("walk", "b", 100));
}

#[test]
fn prompts_of_a_user_are_deleted_whatever_client_was_asked() {
    let bench = Bench::new();
    let mut client = bench.client.lock().unwrap();
    let asked =
        ["alice@example.org", "alice@example.org/phone", "alice@example.org0", "alice@example.or", "bob@b/c"];
    let sql = "INSERT INTO prompts (node, asked, stanza_id, thread, form, \"transaction\", method, url, deed, origin, \
               shown, ends_by_bounce, deadline) VALUES ('a', $1, $1, '', 'iq', '', 'GET', '', '', false, true, true, now())";
    for jid in asked {
        client.execute(sql, &[&jid]).unwrap();
    }
    bench.store.delete_user_prompts(&"alice@example.org".parse().unwrap()).unwrap();
    let left = client.query("SELECT asked FROM prompts ORDER BY id", &[]).unwrap();
    let left: Vec<&str> = left.iter().map(|row| row.get(0)).collect();
    assert_eq!(left, asked[2..]);
}

#[test]
fn uploads_within_a_quota_wait_for_one_another() {
    let bench = Bench::new();
    let mut client = bench.client.lock().unwrap();
    let held = "SELECT 1 FROM (SELECT pg_advisory_xact_lock(hashtextextended('channel room@example.org', 0))) AS held";
    client.batch_execute(&format!("BEGIN; {held}")).unwrap();
    let quotas = Quotas { channel: Some(1 << 30), user: None };
    thread::scope(|scope| {
        let stored = scope.spawn(|| bench.store.insert(&media("a"), false, quotas));
        let waiting = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
        while client.query_opt(waiting, &[]).unwrap().is_none() {
            assert!(!stored.is_finished(), "it did not wait");
        }
        client.batch_execute("ROLLBACK").unwrap();
        stored.join().unwrap().unwrap();
    });
}

#[test]
fn rows_that_are_wanted_no_more_leave_a_connection_that_can_be_used() {
    let bench = Bench::new();
    let read = |session: &mut dyn Session| {
        let mut seen = 0;
        let stopped = session.each("SELECT generate_series(1, 100000)", &[], &mut |_| {
            seen += 1;
            if seen < 3 { Ok(()) } else { Err(Error::new(Kind::Failure, "enough")) }
        });
        assert_eq!(stopped.unwrap_err().to_string(), "enough");
        let row = session.row("SELECT CAST(7 AS BIGINT)", &[])?;
        Ok((seen, row.map_or(Ok(0), Row::single::<i64>)?))
    };
    assert_eq!(bench.store.0.read(read).unwrap(), (3, 7));
}
