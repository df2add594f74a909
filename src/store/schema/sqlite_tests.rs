use std::os::unix::fs::PermissionsExt;

use super::super::super::{Metadata, Sqlite, Store, UsageKind, lock};
use super::*;
use crate::model::{Channel, Page};
use crate::testing::Scratch;

/// A database of version 3, as the program of that version made it, with rows of every table.
struct Old {
    scratch: Scratch,
    path: PathBuf,
}

const ROWS: &str = "
    INSERT INTO medias (id, fileName, entityId, author, title, mimeType, uploadedDate, lastUpdatedDate, fileExtension,
        shaChecksum, fileSize, height, width) VALUES
        ('a', 'a.jpg', 'room@example.org', 'alice@example.org', 'Süden', 'image/jpeg', 1390500000123456, 7, 'jpg', 'bc46',
            60892, 312, 400),
        ('b', NULL, 'other@example.org', 'alice@example.org', NULL, 'x', 1, -2, NULL, 's', -5, NULL, NULL);
    INSERT INTO previews (id, mediaId, mimeType, height, width, fileSize, shaChecksum, lastUsed)
        VALUES ('p', 'a', 'image/png', 50, 60, 7, 's', 9);
    INSERT INTO avatars (mediaId, entityId) VALUES ('a', 'room@example.org')";

impl Old {
    fn new() -> Self {
        let scratch = Scratch::new();
        let path = scratch.join("metadata.sqlite");
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch(&format!("PRAGMA journal_mode = WAL; {BASE}; {ROWS}")).unwrap();
        for (channel, id, size) in [("room@example.org", "a", 60892), ("other@example.org", "b", 0)] {
            std::fs::create_dir(scratch.join(channel)).unwrap();
            File::create(scratch.join(channel).join(id)).unwrap().set_len(size).unwrap();
        }
        Self { scratch, path }
    }

    fn schema(&self) -> SqliteSchema<'_> {
        SqliteSchema::new(&self.path)
    }

    fn identity(&self) -> Identity {
        identity(self.scratch.path())
    }

    fn upgrade(&self) -> Result<Upgraded> {
        self.schema().upgrade(&self.identity(), None)
    }

    fn copy(&self) -> PathBuf {
        self.scratch.join("metadata.sqlite.before-3")
    }

    /// The names of all files beside the database, but for the folders of channels.
    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.scratch.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| !name.ends_with("-wal") && !name.ends_with("-shm") && !name.contains('@'));
        names.sort();
        names
    }
}

fn identity(root: &Path) -> Identity {
    Identity::new(root, "the database".to_owned())
}

/// All rows of the tables that version 3 has, as text, without the column that came later.
fn dump(path: &Path) -> String {
    let connection = Connection::open(path).unwrap();
    let mut text = String::new();
    for table in ["medias", "previews", "avatars"] {
        let mut statement = connection.prepare(&format!("SELECT * FROM {table} ORDER BY id")).unwrap();
        let columns = statement.column_names();
        let columns: Vec<usize> = (0..columns.len()).filter(|at| columns[*at] != "sha256").collect();
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next().unwrap() {
            let values = columns.iter().map(|at| format!("{:?} ", row.get_ref(*at).unwrap()));
            text += &(format!("{table}: ") + &values.collect::<String>() + "\n");
        }
    }
    text
}

#[test]
fn an_older_database_is_upgraded_with_its_rows_unchanged_and_a_copy() {
    let old = Old::new();
    let before = dump(&old.path);
    assert_eq!(old.schema().version().unwrap(), Some(3));
    let refused = old.schema().set_up().unwrap_err().to_string();
    assert!(refused.contains("upgrade-schema"), "{refused}");
    let upgraded = old.upgrade().unwrap();
    assert_eq!((upgraded.from, upgraded.copy), (Some(3), Some(old.copy())));
    let state = old.schema().state().unwrap();
    assert!(upgraded.tied.is_some() && state.id == upgraded.tied);
    assert_eq!(old.identity().compare(&state).unwrap(), Match::Same);
    assert_eq!(old.upgrade().unwrap(), Upgraded { from: Some(CURRENT), copy: None, tied: None });
    assert_eq!((dump(&old.path), dump(&old.copy())), (before.clone(), before));
    assert_eq!(SqliteSchema::new(&old.copy()).version().unwrap(), Some(3));
    assert_eq!(std::fs::metadata(old.copy()).unwrap().permissions().mode() & 0o777, 0o600);
    let store = Store::new(Sqlite::new(&old.path, false));
    for kind in UsageKind::ALL {
        assert_eq!(store.wrong_usage(kind).unwrap(), []);
    }
    let channel: Channel = "room@example.org".parse().unwrap();
    let avatar = store.avatar(&channel).unwrap().unwrap();
    assert_eq!(store.delete(&channel, &avatar.id).unwrap().unwrap().previews.len(), 1);
    let page = Page { max: 9, after: None, before: None };
    assert!(store.list(&channel, &page).unwrap().entries.is_empty());
}

/// Of a slot, of an external one without an owner, and one that is gone.
const UPLOADS: &str = "
    INSERT INTO uploads (id, path, file, owner, fileName, mimeType, fileSize, sha256, purpose, created, expires, slotEnds)
    VALUES ('one', NULL, 'aaaaaaaaaaaaaaaaaaaaaaaa', 'alice@example.org', 'ü.jpg', 'image/jpeg', 10, 's', 'message',
            1700000000000000, 1800000000000000, 1700000300000000),
        ('two', 'x/y.jpg', 'aabbbbbbbbbbbbbbbbbbbbbb', NULL, 'y.jpg', 'image/jpeg', 7, 's', 'permanent', 5, NULL, NULL),
        ('gone', NULL, NULL, NULL, NULL, NULL, 0, NULL, 'message', 6, NULL, 9)";

#[test]
fn uploads_of_every_older_version_stay_with_their_sums() {
    let rows = |connection: &Connection| -> Vec<String> {
        let mut statement = connection.prepare("SELECT * FROM uploads ORDER BY rowid").unwrap();
        let columns = statement.column_count();
        let rows = statement.query_map([], |row| {
            Ok((0..columns).map(|at| format!("{:?} ", row.get_ref(at).unwrap())).collect())
        });
        rows.unwrap().collect::<rusqlite::Result<_>>().unwrap()
    };
    for version in 6..CURRENT {
        let old = Old::new();
        let connection = Connection::open(&old.path).unwrap();
        let steps = usize::try_from(version - FIRST).unwrap();
        connection.execute_batch(&UPGRADES[..steps].concat()).unwrap();
        connection.execute_batch(UPLOADS).unwrap();
        let before = rows(&connection);
        assert_eq!(before.len(), 3);
        drop(connection);
        assert_eq!(old.upgrade().unwrap().from, Some(version));
        let connection = Connection::open(&old.path).unwrap();
        assert_eq!(rows(&connection), before, "{version}");
        let store = Store::new(Sqlite::new(&old.path, false));
        let assert_sums_are_right = || {
            for kind in UsageKind::ALL {
                assert_eq!(store.wrong_usage(kind).unwrap(), [], "{version} {kind:?}");
            }
        };
        assert_sums_are_right();
        connection
            .execute("UPDATE uploads SET fileSize = 20, owner = 'bob@example.org' WHERE id = 'one'", [])
            .unwrap();
        assert_sums_are_right();
        connection.execute("DELETE FROM uploads", []).unwrap();
        assert_sums_are_right();
    }
}

#[test]
fn an_upgraded_database_has_the_schema_of_a_new_one() {
    let (old, new) = (Old::new(), Scratch::new());
    old.upgrade().unwrap();
    let path = new.join("metadata.sqlite");
    assert!(SqliteSchema::new(&path).set_up().unwrap());
    let schema = |path: &Path| -> Vec<(String, Option<String>)> {
        let connection = Connection::open(path).unwrap();
        let mut statement = connection.prepare("SELECT name, sql FROM sqlite_schema ORDER BY name").unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.collect::<rusqlite::Result<_>>().unwrap()
    };
    assert_eq!(schema(&old.path), schema(&path));
}

#[test]
fn another_process_that_upgrades_is_left_alone() {
    let old = Old::new();
    let lock = RootLock::take(old.scratch.path()).unwrap();
    let error = old.upgrade().unwrap_err().to_string();
    assert!(error.contains("is in use by process"), "{error}");
    assert_eq!(old.schema().version().unwrap(), Some(3));
    drop(lock);
    old.upgrade().unwrap();
}

#[test]
fn a_copy_that_an_earlier_attempt_began_is_begun_again() {
    let old = Old::new();
    std::fs::write(old.scratch.join("metadata.sqlite.before-3.part"), "half a copy").unwrap();
    std::fs::write(old.copy(), "a copy of an earlier attempt").unwrap();
    assert!(old.upgrade().unwrap().from == Some(3));
    assert_eq!(dump(&old.copy()), dump(&old.path));
    assert_eq!(old.names(), [".store", "metadata.sqlite", "metadata.sqlite.before-3"]);
}

#[test]
fn a_step_that_fails_leaves_the_database_as_it_was() {
    let old = Old::new();
    Connection::open(&old.path).unwrap().execute_batch("CREATE TABLE usage (other TEXT)").unwrap();
    let before = dump(&old.path);
    old.upgrade().unwrap_err();
    assert_eq!((old.schema().version().unwrap(), dump(&old.path)), (Some(3), before));
}

#[test]
fn versions_that_no_program_upgrades_are_refused_in_words() {
    let newer = CURRENT + 1;
    for (version, word) in
        [(0, "is not known"), (2, "is not known"), (newer, "newer program"), (99, "newer program")]
    {
        let old = Old::new();
        let set = format!("UPDATE schema_version SET version = {version}");
        Connection::open(&old.path).unwrap().execute_batch(&set).unwrap();
        for error in [old.upgrade().unwrap_err(), old.upgrade().unwrap_err()] {
            assert!(error.to_string().contains(word), "{version}: {error}");
        }
        assert_eq!(old.schema().version().unwrap(), Some(version));
        assert!(!old.copy().exists());
        old.schema().set_up().unwrap_err();
    }
}

#[test]
fn a_missing_database_is_made_by_one_of_many_processes() {
    let scratch = Scratch::new();
    let path = scratch.join("metadata.sqlite");
    let schema = || SqliteSchema::new(&path);
    let upgrade = || schema().upgrade(&identity(scratch.path()), None).unwrap();
    assert_eq!(schema().version().unwrap(), None);
    assert!(!path.exists(), "a look makes nothing");
    let made = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(upgrade)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(made.iter().filter(|upgraded| upgraded.from.is_none()).count(), 1, "{made:?}");
    assert!(!schema().set_up().unwrap());
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_file_that_is_no_database_is_refused_and_kept() {
    let scratch = Scratch::new();
    let path = scratch.join("text");
    std::fs::write(&path, "no database, but longer than the head of one would be".repeat(10)).unwrap();
    let schema = SqliteSchema::new(&path);
    let upgraded = schema.upgrade(&identity(scratch.path()), None);
    for error in [schema.version().unwrap_err(), upgraded.unwrap_err(), schema.set_up().unwrap_err()] {
        assert_eq!(error.kind(), Kind::Corrupt, "{error}");
    }
    assert!(std::fs::read(&path).unwrap().starts_with(b"no database"));
    let missing = scratch.join("missing/metadata.sqlite");
    let error = SqliteSchema::new(&missing).set_up().unwrap_err();
    assert!(error.to_string().contains("missing"), "{error}");
}

/// An upgrade whose files are elsewhere, of another size, or for the most part missing.
#[test]
fn an_upgrade_beside_other_files_changes_nothing() {
    for damage in ["none", "one", "size"] {
        let old = Old::new();
        let before = dump(&old.path);
        match damage {
            "none" => {
                std::fs::remove_dir_all(old.scratch.join("room@example.org")).unwrap();
                std::fs::remove_dir_all(old.scratch.join("other@example.org")).unwrap();
            }
            "one" => std::fs::remove_file(old.scratch.join("room@example.org/a")).unwrap(),
            _ => std::fs::write(old.scratch.join("room@example.org/a"), "else").unwrap(),
        }
        let error = old.upgrade().unwrap_err();
        assert_eq!(error.kind(), Kind::Config, "{damage}: {error}");
        assert!(error.to_string().contains("media.storage.root"), "{damage}: {error}");
        assert_eq!((old.schema().version().unwrap(), dump(&old.path)), (Some(3), before), "{damage}");
        assert!(!old.copy().exists(), "{damage}");
        assert_eq!(lock::mark(old.scratch.path()).unwrap(), None, "{damage}");
    }
}

#[test]
fn an_upgrade_that_was_cut_off_gives_the_id_that_the_root_has() {
    let old = Old::new();
    let id = StoreId::random();
    RootLock::take(old.scratch.path()).unwrap().mark(&id).unwrap();
    assert_eq!(old.upgrade().unwrap().tied, Some(id.clone()));
    // The database of a backup, from before the upgrade.
    std::fs::rename(old.copy(), &old.path).unwrap();
    for name in ["metadata.sqlite-wal", "metadata.sqlite-shm"] {
        let _ = std::fs::remove_file(old.scratch.join(name));
    }
    assert_eq!(old.upgrade().unwrap().tied, Some(id));
}
