use std::os::unix::fs::PermissionsExt;

use rusqlite::{Connection, TransactionBehavior};

use super::super::schema::SqliteSchema;
use super::super::{
    FileFilter, FilePlace, MediaInsert, Metadata, Store, conformance, content_table, file_conformance,
    file_table, statements, upload_conformance, upload_operations,
};
use super::write::write_all;
use super::*;
use crate::clock::Timestamp;
use crate::model::{FileKind, Media, MediaId, Page, Quota, Quotas};
use crate::testing::Scratch;

/// A database in a directory that goes away with it.
struct Bench {
    store: Store<Sqlite>,
    scratch: Scratch,
}

impl Bench {
    fn new() -> Self {
        let scratch = Scratch::new();
        let path = scratch.join("metadata.sqlite");
        assert!(SqliteSchema::new(&path).set_up().unwrap());
        Self { store: Store::new(Sqlite::new(&path, true)), scratch }
    }

    fn path(&self) -> PathBuf {
        self.scratch.join("metadata.sqlite")
    }

    fn connection(&self) -> PooledConnection<Manager> {
        self.store.0.connection().unwrap()
    }

    fn execute(&self, sql: &str) {
        let connection = self.connection();
        connection
            .execute_batch(&format!("PRAGMA foreign_keys = OFF; {sql}; PRAGMA foreign_keys = ON"))
            .unwrap();
    }
}

impl conformance::Bench for Bench {
    fn store(&self) -> &dyn Metadata {
        &self.store
    }

    fn execute(&self, sql: &str) {
        Bench::execute(self, sql);
    }
}

conformance::suite!(Bench::new());

impl upload_conformance::UploadBench for Bench {
    fn tables(&self) -> &dyn upload_conformance::Tables {
        &self.store
    }

    fn run(&self, sql: &str) {
        Bench::execute(self, sql);
    }
}

upload_conformance::upload_suite!(Bench::new());

file_conformance::file_suite!(Bench::new());

/// How SQLite reads what a statement asks for.
fn plan(connection: &Connection, sql: &str) -> String {
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let mut rows = statement.raw_query();
    let mut plan = String::new();
    while let Some(row) = rows.next().unwrap() {
        plan += &(row.get::<_, String>(3).unwrap() + "; ");
    }
    plan
}

/// However many files a user has, a page of them is read from the index and not sorted.
#[test]
fn every_page_of_the_files_of_a_user_is_a_range_of_an_index() {
    let bench = Bench::new();
    let connection = bench.connection();
    let filter = FileFilter::of(&"alice@example.org".parse().unwrap());
    let place = |kind| FilePlace { created: Timestamp::from_micros(1), kind, id: "x".to_owned() };
    let kinds = [FileKind::Media, FileKind::Upload];
    for (kind, index) in kinds.into_iter().zip(["medias_author_newest_idx", "uploads_owner_newest_idx"]) {
        for after in [None, Some(place(FileKind::Media)), Some(place(FileKind::Upload))] {
            let sql = file_table::statement(kind, &filter, after.as_ref());
            let plan = plan(&connection, &sql);
            assert!(plan.contains(index) && !plan.contains("TEMP B-TREE"), "{sql}: {plan}");
        }
    }
}

/// However many uploads others have, those of one user are read from the index, oldest first.
#[test]
fn the_oldest_uploads_of_a_user_are_a_range_of_an_index() {
    let bench = Bench::new();
    for sql in [upload_operations::OLDEST, upload_operations::EXPIRING_OF] {
        let plan = plan(&bench.connection(), sql);
        let (inner, outer) = plan.split_once("SCAN oldest").unwrap_or((&plan, ""));
        assert!(inner.contains("uploads_owner_newest_idx (owner=?)"), "{sql}: {plan}");
        assert!(!inner.contains("TEMP B-TREE"), "{sql}: {plan}");
        assert_eq!(outer.is_empty(), sql == upload_operations::OLDEST, "{plan}");
    }
}

/// However many uploads there are, the row of a file is found by its index.
#[test]
fn the_row_of_a_file_is_found_by_an_index() {
    let bench = Bench::new();
    for sql in [upload_operations::REMOVALS, upload_operations::IS_NAMED, content_table::UPLOAD_CONTENT] {
        let plan = plan(&bench.connection(), sql);
        assert!(plan.contains("SEARCH uploads USING INDEX uploads_file_idx (<expr>=?)"), "{sql}: {plan}");
    }
}

/// `.cargo/config.toml` asks for it.
#[test]
fn savepoints_write_no_temporary_files() {
    let asked = "SELECT sqlite_compileoption_used('STMTJRNL_SPILL=-1')";
    assert!(Bench::new().connection().query_row(asked, [], |row| row.get::<_, bool>(0)).unwrap());
}

/// However long a list is and wherever its page begins, the page is read from the index and not sorted.
#[test]
fn every_page_of_a_list_is_a_range_of_the_index() {
    let bench = Bench::new();
    let connection = bench.connection();
    let id = || Some(MediaId::random());
    for (after, before, bounded) in
        [(None, None, ""), (id(), None, "lastUpdatedDate>?"), (None, id(), "lastUpdatedDate<?")]
    {
        let sql = statements::list("BINARY", &Page { max: 50, after, before });
        let plan = plan(&connection, &sql);
        assert!(plan.starts_with("SEARCH medias USING INDEX medias_listing_idx (entityId=?"), "{plan}");
        assert!(plan.contains(bounded) && !plan.contains("TEMP B-TREE"), "{plan}");
    }
}

#[test]
fn every_file_is_for_the_servers_user_alone() {
    let bench = Bench::new();
    bench.store.insert(&conformance::media("room@example.org", "a", 1), false, Quotas::NONE).unwrap();
    let mut names = Vec::new();
    for entry in std::fs::read_dir(bench.scratch.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
        names.push(entry.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(names, ["metadata.sqlite", "metadata.sqlite-shm", "metadata.sqlite-wal"]);
}

/// Runs these writes as if they had waited together.
fn together(bench: &Bench, writes: &[Write]) -> Vec<std::result::Result<(), WriteError>> {
    write_all(&mut bench.connection(), writes)
}

/// A write that stores a media, and where its result will be.
fn insert(id: &str, size: u64, quotas: Quotas) -> (Write, std::sync::Arc<write::Slot<MediaInsert>>) {
    let media = Media { size, ..conformance::media("room@example.org", id, 1) };
    Pending::queued(move |session: &mut dyn Session| {
        super::super::operations::insert(session, &media, false, quotas)
    })
}

fn ids(bench: &Bench) -> Vec<String> {
    bench.store.media_rows(None, 100).unwrap().into_iter().map(|row| row.id).collect()
}

#[test]
fn writes_that_share_a_transaction_have_their_own_results() {
    let bench = Bench::new();
    let quotas = Quotas { channel: Some(10 * (limits::MEDIA_COST + 30)), user: None };
    let fails = Pending::queued(|session: &mut dyn Session| {
        session.execute("DELETE FROM medias", &[])?;
        session.execute("INSERT INTO nothing VALUES (1)", &[])?;
        Ok(Change::Commit(()))
    });
    let panics = Pending::queued(|session: &mut dyn Session| -> Result<Change<()>> {
        session.execute("DELETE FROM medias", &[])?;
        panic!("as the test wants")
    });
    let [first, full, last] =
        [insert("a", 1, quotas), insert("b", quotas.channel.unwrap(), quotas), insert("c", 1, quotas)];
    let writes = [&first.0, &full.0, &fails.0, &panics.0, &last.0].map(std::sync::Arc::clone);
    let written: Vec<bool> = together(&bench, &writes).iter().map(std::result::Result::is_ok).collect();
    assert_eq!(written, [true, true, false, false, true]);
    let results = [first.1, full.1, last.1].map(|slot| slot.take().unwrap());
    assert_eq!(results, [MediaInsert::Stored, MediaInsert::OverQuota(Quota::Channel), MediaInsert::Stored]);
    assert_eq!(ids(&bench), ["a", "c"]);
}

/// The second write ends the transaction that it shares, as a full disk may.
#[test]
fn writes_run_again_alone_after_a_transaction_that_failed() {
    let bench = Bench::new();
    let runs = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let counted = std::sync::Arc::clone(&runs);
    let ends = Pending::queued(move |session: &mut dyn Session| {
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        session.execute(
            "INSERT INTO medias (id, entityId, author, mimeType, uploadedDate, lastUpdatedDate, shaChecksum, \
             fileSize) VALUES ('x', 'c', 'a', 'm', 1, 1, 's', 1)",
            &[],
        )?;
        session.execute(
            "INSERT OR ROLLBACK INTO medias (id, entityId, author, mimeType, uploadedDate, lastUpdatedDate, \
             shaChecksum, fileSize) VALUES ('x', 'c', 'a', 'm', 1, 1, 's', 1)",
            &[],
        )?;
        Ok(Change::Commit(()))
    });
    let [first, last] = [insert("a", 1, Quotas::NONE), insert("c", 1, Quotas::NONE)];
    let writes = [&first.0, &ends.0, &last.0].map(std::sync::Arc::clone);
    let written: Vec<bool> = together(&bench, &writes).iter().map(std::result::Result::is_ok).collect();
    assert_eq!(written, [true, false, true]);
    assert_eq!(runs.load(std::sync::atomic::Ordering::Relaxed), 2, "with the others, and alone");
    assert_eq!(ids(&bench), ["a", "c"]);
    assert!(bench.store.wrong_usage(super::super::UsageKind::Total).unwrap().is_empty());
}

#[test]
fn stored_media_are_there_when_the_database_is_opened_again() {
    let bench = Bench::new();
    let media = conformance::media("room@example.org", "a", 1);
    bench.store.insert(&media, true, Quotas::NONE).unwrap();
    let again = Store::new(Sqlite::new(&bench.path(), false));
    assert_eq!(again.avatar(&media.channel).unwrap(), Some(media));
}

#[test]
fn a_lasting_lock_is_waited_for_with_a_limit() {
    let bench = Bench::new();
    let mut holder = bench.connection();
    let held = holder.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
    let started = std::time::Instant::now();
    let error =
        bench.store.insert(&conformance::media("room@example.org", "a", 1), false, Quotas::NONE).unwrap_err();
    assert!(started.elapsed() < 2 * limits::DATABASE_LOCK);
    assert!(matches!(&error, WriteError::Failed(error) if error.kind() == Kind::Unavailable), "{error}");
    drop(held);
}

#[test]
fn a_quota_is_decided_without_reading_the_media() {
    let bench = Bench::new();
    let connection = bench.connection();
    let plan = format!("EXPLAIN QUERY PLAN {}", statements::USAGE);
    let plan: String = connection.query_row(&plan, ["channel", "any"], |row| row.get(3)).unwrap();
    assert_eq!(plan, "SEARCH usage USING PRIMARY KEY (kind=? AND name=?)");
}
