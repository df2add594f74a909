use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use rusqlite::types::Value;

use super::super::conformance;
use super::*;
use crate::testing::Scratch;

/// A database in a directory that goes away with it.
struct Bench {
    store: Arc<Sqlite>,
    scratch: Scratch,
}

impl Bench {
    fn new() -> Self {
        let scratch = Scratch::new();
        let store = Arc::new(Sqlite::open(&scratch.join("metadata.sqlite"), true).unwrap());
        Self { store, scratch }
    }

    fn path(&self) -> PathBuf {
        self.scratch.join("metadata.sqlite")
    }

    fn execute(&self, sql: &str) {
        self.store.connection().unwrap().execute_batch(sql).unwrap();
    }
}

impl conformance::Bench for Bench {
    fn store(&self) -> &dyn Metadata {
        &*self.store
    }

    fn execute(&self, sql: &str) {
        Bench::execute(self, sql);
    }
}

conformance::suite!(Bench::new());

/// However long a list is and wherever its page begins, the page is read from the index and not sorted.
#[test]
fn every_page_of_a_list_is_a_range_of_the_index() {
    let bench = Bench::new();
    let connection = bench.store.connection().unwrap();
    let id = || Some(MediaId::random());
    for (after, before, bounded) in
        [(None, None, ""), (id(), None, "lastUpdatedDate>?"), (None, id(), "lastUpdatedDate<?")]
    {
        let sql = queries::list("BINARY", &Page { max: 50, after, before });
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {}", numbered(&sql))).unwrap();
        let mut rows = statement.raw_query();
        let mut plan = String::new();
        while let Some(row) = rows.next().unwrap() {
            plan += &(row.get::<_, String>(3).unwrap() + "; ");
        }
        assert!(plan.starts_with("SEARCH medias USING INDEX medias_listing_idx (entityId=?"), "{plan}");
        assert!(plan.contains(bounded) && !plan.contains("TEMP B-TREE"), "{plan}");
    }
}

#[test]
fn what_media_take_is_summed_up_from_an_index() {
    let bench = Bench::new();
    let connection = Connection::open(bench.path()).unwrap();
    for (quota, index) in
        [(Quota::Channel, "medias_channel_size_idx"), (Quota::User, "medias_author_size_idx")]
    {
        let sql = numbered(&queries::used(quota));
        let plan = format!("EXPLAIN QUERY PLAN {sql}");
        let plan: String = connection.query_row(&plan, ["any"], |row| row.get(3)).unwrap();
        assert!(plan.contains(&format!("INDEX {index}")), "{plan}");
        assert!(reads_indexes_only(&connection, &sql));
        let heap = sql.replace("textSize", "length(title)");
        assert!(!reads_indexes_only(&connection, &heap));
    }
}

/// Whether no column is read from a table. The plan does not say so of generated columns: it is made before it
/// is known that the index has them.
fn reads_indexes_only(connection: &Connection, sql: &str) -> bool {
    let mut statement = connection.prepare(&format!("EXPLAIN {sql}")).unwrap();
    let step = |row: &Row<'_>| Ok((row.get(1)?, row.get(2)?, row.get(5)?));
    let program: Vec<(String, i64, Value)> =
        statement.query_map(["any"], step).unwrap().collect::<rusqlite::Result<_>>().unwrap();
    // The order of its keys is what an index is opened with, and a table is not.
    let is_index = |order: &Value| matches!(order, Value::Text(text) if text.starts_with("k("));
    let opened = program.iter().filter(|(code, ..)| code == "OpenRead");
    let indexes: Vec<i64> = opened.filter(|step| is_index(&step.2)).map(|step| step.1).collect();
    let mut columns = program.iter().filter(|(code, ..)| code == "Column");
    !indexes.is_empty() && columns.all(|column| indexes.contains(&column.1))
}

#[test]
fn media_are_stored_together_as_if_one_after_the_other() {
    let bench = Bench::new();
    let media = |id, size| Media { size, ..conformance::media("room@example.org", id, 1) };
    let quotas = Quotas { channel: Some(10 * (limits::MEDIA_COST + 10)), user: None };
    let insert = |media| Insert { media, avatar: false, quotas };
    let mut connection = bench.store.connection().unwrap();
    let mut stored = |media: Vec<Media>| -> Vec<Option<MediaInsert>> {
        let inserts: Vec<_> = media.into_iter().map(insert).collect();
        insert_all(&mut connection, &inserts).into_iter().map(Inserted::ok).collect()
    };
    let full = media("b", quotas.channel.unwrap());
    let outcomes = stored(vec![media("a", 1), full, media("c", 1)]);
    let stored_both = [MediaInsert::Stored, MediaInsert::OverQuota(Quota::Channel), MediaInsert::Stored];
    assert_eq!(outcomes, stored_both.map(Some));
    let other = Media { author: "else@example.org".to_owned(), ..media("a", 1) };
    let outcomes = stored(vec![media("d", 1), other, media("c", 1), media("e", 1)]);
    let taken_once = [Some(()), None, Some(()), Some(())];
    assert_eq!(outcomes.iter().map(|one| one.as_ref().map(|_| ())).collect::<Vec<_>>(), taken_once);
    let ids: Vec<_> = bench.store.media_rows(None, 10).unwrap().into_iter().map(|row| row.id).collect();
    assert_eq!(ids, ["a", "c", "d", "e"]);
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

#[test]
fn what_was_stored_is_there_when_it_is_opened_again() {
    let bench = Bench::new();
    let media = conformance::media("room@example.org", "a", 1);
    bench.store.insert(&media, true, Quotas::NONE).unwrap();
    let again = Sqlite::open(&bench.path(), false).unwrap();
    assert_eq!(again.avatar(&media.channel).unwrap(), Some(media));
}

#[test]
fn two_processes_may_set_it_up_at_once() {
    let bench = Bench::new();
    let path = bench.scratch.join("other.sqlite");
    std::thread::scope(|scope| {
        let openings: Vec<_> = (0..4).map(|_| scope.spawn(|| Sqlite::open(&path, true))).collect();
        for opening in openings {
            opening.join().unwrap().unwrap().media_rows(None, 1).unwrap();
        }
    });
}

#[test]
fn a_schema_of_a_later_program_is_refused() {
    let bench = Bench::new();
    bench.execute("INSERT INTO schema_version (version) VALUES (9)");
    let error = Sqlite::open(&bench.path(), true).err().unwrap().to_string();
    assert!(error.contains("too old"), "{error}");
}

#[test]
fn a_file_that_is_no_database_is_refused_and_kept() {
    let bench = Bench::new();
    let path = bench.scratch.join("text");
    std::fs::write(&path, "no database, but longer than the head of one would be".repeat(10)).unwrap();
    assert_eq!(Sqlite::open(&path, true).err().unwrap().kind(), Kind::Corrupt);
    assert!(std::fs::read(&path).unwrap().starts_with(b"no database"));
    let missing = Sqlite::open(&bench.scratch.join("missing/metadata.sqlite"), true).err().unwrap();
    assert!(missing.to_string().contains("missing"), "{missing}");
}

#[test]
fn a_lock_that_stays_is_not_waited_for_without_end() {
    let bench = Bench::new();
    let mut holder = bench.store.connection().unwrap();
    let held = holder.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
    let started = std::time::Instant::now();
    let error =
        bench.store.insert(&conformance::media("room@example.org", "a", 1), false, Quotas::NONE).unwrap_err();
    assert!(started.elapsed() < 2 * limits::DATABASE_LOCK);
    assert!(matches!(&error, InsertError::Failed(error) if error.kind() == Kind::Unavailable), "{error}");
    drop(held);
}
