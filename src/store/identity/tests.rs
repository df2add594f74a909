use std::fs::File;

use rusqlite::Connection;

use super::super::{Sqlite, SqliteSchema, Store};
use super::*;
use crate::testing::Scratch;

/// A storage root and an embedded database outside of it.
struct Bench {
    scratch: Scratch,
    store: Store<Sqlite>,
}

impl Bench {
    fn new() -> Self {
        let scratch = Scratch::new();
        fs::create_dir(scratch.join("root")).unwrap();
        let path = scratch.join("metadata.sqlite");
        SqliteSchema::new(&path).set_up().unwrap();
        let store = Store::new(Sqlite::new(&path, false));
        Self { scratch, store }
    }

    fn root(&self) -> PathBuf {
        self.scratch.join("root")
    }

    fn sql(&self, sql: &str) {
        self.connection().execute_batch(sql).unwrap();
    }

    fn connection(&self) -> Connection {
        Connection::open(self.scratch.join("metadata.sqlite")).unwrap()
    }

    fn identity(&self) -> Identity {
        Identity::new(&self.root(), "the database".to_owned())
    }

    fn mark(&self, id: &StoreId) {
        RootLock::take(&self.root()).unwrap().mark(id).unwrap();
    }

    /// Rows of media of 7 bytes, and the files of the first of them.
    fn fill(&self, rows: usize, files: usize) {
        for number in 0..rows {
            self.sql(&format!(
                "INSERT INTO medias (id, entityId, author, mimeType, uploadedDate, lastUpdatedDate, shaChecksum, fileSize)
                 VALUES ('m{number}', 'Room@Example.org', 'a', 'b', 0, 0, 'c', 7)"
            ));
        }
        (0..files).for_each(|number| self.file("Room@Example.org", &format!("m{number}"), 7));
    }

    fn file(&self, channel: &str, name: &str, size: u64) {
        fs::create_dir_all(self.root().join(channel)).unwrap();
        File::create(self.root().join(channel).join(name)).unwrap().set_len(size).unwrap();
    }

    fn adopt(&self) -> Result<Option<StoreId>> {
        self.identity().adopt(&mut &self.connection())
    }
}

/// The id of this letter.
fn id(letter: &str) -> StoreId {
    letter.repeat(limits::MEDIA_ID_NEW).parse().unwrap()
}

#[test]
fn ids_are_as_long_as_those_of_media() {
    assert_ne!(StoreId::random(), StoreId::random());
    let id = StoreId::random();
    assert_eq!(id.as_str().parse(), Ok(id));
    for text in ["", "a", "aaaaaaaaaaaaaaaaaaa-", "aaaaaaaaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaaaaaa\n"] {
        assert_eq!(text.parse::<StoreId>(), Err(()), "{text:?}");
    }
}

/// Every combination of ids and contents of both halves.
#[test]
fn a_root_and_a_database_go_together_if_their_ids_match_or_both_are_new() {
    let (a, b) = (Some(id("a")), Some(id("b")));
    let room = Some("room@example.org".to_owned());
    for (root_id, channel, database_id, has_media, expected) in [
        (&a, &None, &a, false, "same"),
        (&a, &None, &a, true, "same"),
        (&a, &room, &a, false, "same"),
        (&a, &room, &a, true, "same"),
        (&a, &None, &b, false, "ids"),
        (&a, &None, &b, true, "ids"),
        (&a, &room, &b, false, "ids"),
        (&a, &room, &b, true, "ids"),
        (&None, &None, &None, false, "new"),
        (&a, &None, &None, false, "new a"),
        (&None, &None, &b, false, "new b"),
        (&None, &room, &None, true, "untied"),
        (&a, &room, &None, true, "untied"),
        (&None, &room, &b, true, "untied"),
        (&None, &None, &None, true, "root"),
        (&a, &None, &None, true, "root"),
        (&None, &None, &b, true, "root"),
        (&None, &room, &None, false, "database"),
        (&a, &room, &None, false, "database"),
        (&None, &room, &b, false, "database"),
    ] {
        let root = PlaceState { is_there: true, id: root_id.clone(), channel: channel.clone() };
        let database = DatabaseState { version: Some(5), id: database_id.clone(), has_media };
        let found = match compare(&root, &database) {
            Ok(Match::Same) => "same",
            Ok(Match::New(new)) if new == id("a") => "new a",
            Ok(Match::New(new)) if new == id("b") => "new b",
            Ok(Match::New(_)) => "new",
            Ok(Match::Untied) => "untied",
            Err(Mismatch::Ids(..)) => "ids",
            Err(Mismatch::RootEmpty | Mismatch::RootMissing) => "root",
            Err(Mismatch::DatabaseEmpty(_)) => "database",
        };
        assert_eq!(found, expected, "{root:?} {database:?}");
    }
}

#[test]
fn dot_files_and_empty_folders_are_no_media() {
    let bench = Bench::new();
    let root = bench.root();
    for folder in ["lost+found", "room@example.org", ".lost", ".lost/2026-11-26"] {
        fs::create_dir(root.join(folder)).unwrap();
    }
    for file in [".store", ".upload-x@y", ".lost/x", "lost+found/x@y", "metadata.sqlite", "notes@home"] {
        fs::write(root.join(file), "").unwrap();
    }
    let empty = PlaceState { is_there: true, id: None, channel: None };
    assert_eq!(DirectoryPlace::new(&root).look().unwrap(), empty);
    assert_eq!(DirectoryPlace::new(&root.join("missing")).look().unwrap(), PlaceState::default());
    fs::write(root.join("room@example.org/id"), "").unwrap();
    assert_eq!(DirectoryPlace::new(&root).look().unwrap().channel.as_deref(), Some("room@example.org"));
    let error = DirectoryPlace::new(&root.join("metadata.sqlite")).look().unwrap_err().to_string();
    assert!(error.contains("media.storage.root"), "{error}");
}

#[test]
fn a_new_site_gets_one_id_once() {
    let bench = Bench::new();
    let lock = RootLock::take(&bench.root()).unwrap();
    let establish = || bench.identity().establish(&bench.store.store_state().unwrap(), &bench.store, &lock);
    bench.identity().verify(&bench.store.store_state().unwrap()).unwrap();
    assert_eq!(bench.store.store_state().unwrap().id, None, "a look gives no id");
    establish().unwrap();
    let given = bench.store.store_state().unwrap().id;
    assert!(given.is_some());
    assert_eq!(super::super::lock::mark(&bench.root()).unwrap(), given);
    establish().unwrap();
    assert_eq!(bench.store.store_state().unwrap().id, given);
    assert_eq!(bench.store.set_store_id(&id("z")).unwrap(), given.unwrap(), "an id is never replaced");
}

#[test]
fn a_site_whose_start_was_cut_off_gets_the_id_that_one_half_has() {
    for half in ["root", "database"] {
        let bench = Bench::new();
        match half {
            "root" => bench.mark(&id("k")),
            _ => assert_eq!(bench.store.set_store_id(&id("k")).unwrap(), id("k")),
        }
        let lock = RootLock::take(&bench.root()).unwrap();
        let state = bench.store.store_state().unwrap();
        bench.identity().establish(&state, &bench.store, &lock).unwrap();
        assert_eq!(bench.store.store_state().unwrap().id, Some(id("k")), "{half}");
        assert_eq!(super::super::lock::mark(&bench.root()).unwrap(), Some(id("k")), "{half}");
    }
}

#[test]
fn two_servers_that_begin_one_database_do_not_both_get_it() {
    let bench = Bench::new();
    bench.mark(&id("a"));
    let lock = RootLock::take(&bench.root()).unwrap();
    let before = bench.store.store_state().unwrap();
    bench.store.set_store_id(&id("b")).unwrap();
    let error = bench.identity().establish(&before, &bench.store, &lock).unwrap_err();
    assert_eq!(error.kind(), Kind::Config);
    assert_eq!(super::super::lock::mark(&bench.root()).unwrap(), Some(id("a")));
}

#[test]
fn a_missing_root_is_made_for_a_new_site_only() {
    let bench = Bench::new();
    let missing = bench.scratch.join("missing/root");
    let identity = Identity::new(&missing, "the database".to_owned());
    bench.fill(1, 0);
    let error = identity.make_root(&bench.store.store_state().unwrap()).unwrap_err();
    assert_eq!(error.kind(), Kind::Config);
    let text = error.to_string();
    assert!(text.contains("does not exist") && text.contains(&missing.display().to_string()), "{text}");
    assert!(!missing.exists());
    identity.make_root(&DatabaseState::default()).unwrap();
    assert!(missing.is_dir());
}

#[test]
fn nine_of_ten_media_must_have_their_file() {
    for (rows, files, fits) in
        [(1, 1, true), (9, 8, false), (10, 9, true), (10, 8, false), (40, 36, true), (40, 35, false)]
    {
        let bench = Bench::new();
        bench.fill(rows, files);
        bench.file("Room@Example.org", "else", 1);
        let adopted = bench.adopt();
        assert_eq!(adopted.is_ok(), fits, "{files} of {rows}");
        match adopted {
            Ok(id) => assert!(id.is_some()),
            Err(error) => {
                let text = error.to_string();
                assert_eq!(error.kind(), Kind::Config);
                assert!(
                    text.contains(&format!("of {rows} media")) && text.contains("Room@Example.org/m"),
                    "{text}"
                );
                assert!(text.contains("media.storage.root") && text.contains("jdbc.db.url"), "{text}");
            }
        }
        assert!(!bench.root().join(".store").exists() && bench.store.store_state().unwrap().id.is_none());
    }
}

#[test]
fn no_more_than_a_hundred_media_are_looked_at() {
    let bench = Bench::new();
    bench.fill(150, 0);
    bench.file("room@example.org", "else", 1);
    let error = bench.adopt().unwrap_err().to_string();
    assert!(error.contains("of 100 media"), "{error}");
}

#[test]
fn a_file_of_another_size_or_beyond_the_root_does_not_fit() {
    let bench = Bench::new();
    bench.fill(1, 0);
    for (channel, id) in [("..", "x"), ("room@example.org/..", "x"), ("room@example.org", "../x"), ("", "x")]
    {
        bench.file("room@example.org", "other", 7);
        File::create(bench.scratch.join("x")).unwrap().set_len(7).unwrap();
        File::create(bench.root().join("x")).unwrap().set_len(7).unwrap();
        bench.sql(&format!("UPDATE medias SET entityId = '{channel}', id = '{id}'"));
        bench.adopt().unwrap_err();
    }
    bench.sql("UPDATE medias SET entityId = 'room@example.org', id = 'm'");
    bench.file("room@example.org", "m", 6);
    bench.adopt().unwrap_err();
    bench.file("room@example.org", "m", 7);
    bench.adopt().unwrap();
}

#[test]
fn an_id_that_one_half_has_is_kept() {
    for half in ["root", "database"] {
        let bench = Bench::new();
        bench.fill(3, 3);
        match half {
            "root" => bench.mark(&id("k")),
            _ => drop(bench.store.set_store_id(&id("k")).unwrap()),
        }
        let state = bench.store.store_state().unwrap();
        let refused = bench.identity().verify(&state).unwrap_err().to_string();
        assert!(refused.contains("upgrade-schema"), "{refused}");
        assert_eq!(bench.adopt().unwrap(), Some(id("k")), "{half}");
    }
}
