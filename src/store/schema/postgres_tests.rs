use std::fs::File;
use std::path::Path;
use std::time::SystemTime;

use super::super::super::postgres_server::{self, Server};
use super::super::super::{Match, Metadata, Postgres, Store, lock};
use super::*;
use crate::clock::Timestamp;
use crate::model::{Channel, MediaId, Page};

struct Scratch {
    root: crate::testing::Scratch,
    server: &'static Server,
    database: String,
    settings: PostgresSettings,
}

impl Scratch {
    fn new() -> Self {
        let server = postgres_server::shared();
        let database = server.new_database();
        let settings = PostgresSettings::for_test(server.port(), &database);
        Self { root: crate::testing::Scratch::new(), server, database, settings }
    }

    fn execute(&self, sql: &str) {
        self.server.client(&self.database).batch_execute(sql).unwrap();
    }

    fn schema(&self) -> Schema {
        Schema::connect(&self.settings).unwrap()
    }

    fn identity(&self) -> Identity {
        Identity::new(self.root.path(), "the database".to_owned())
    }

    /// The files of [`ROWS`].
    fn add_files(&self) {
        std::fs::create_dir(self.root.join("room@example.org")).unwrap();
        for (id, size) in [("lETuJi8rPE4IfQrygN6r", 60892), ("dated", 1)] {
            let file = File::create(self.root.join("room@example.org").join(id)).unwrap();
            file.set_len(size).unwrap();
        }
    }
}

/// Rows as the original wrote them: dates by the database's default, or in its own zone.
const ROWS: &str = "
    INSERT INTO medias (id, entityId, author, mimeType, fileExtension, shaChecksum, fileSize)
    VALUES ('lETuJi8rPE4IfQrygN6r', 'room@example.org', 'alice@example.org', 'image/jpeg', 'jpg', 'bc46', 60892);
    INSERT INTO medias (id, entityId, author, mimeType, fileExtension, shaChecksum, fileSize, uploadedDate,
        lastUpdatedDate, title)
    VALUES ('dated', 'room@example.org', 'alice@example.org', 'image/jpeg', 'jpg', 'bc46', 1,
        '2014-01-23 18:00:00.123456', NULL, 'Süden');
    INSERT INTO previews (id, mediaId, mimeType) VALUES ('p1', 'dated', 'image/jpeg');
    INSERT INTO avatars (mediaId, entityId) VALUES ('dated', 'room@example.org')";

#[test]
fn every_older_schema_is_brought_up_to_date_with_its_rows() {
    for from in 0..=CURRENT {
        let scratch = Scratch::new();
        scratch.execute(BASE);
        scratch.execute(ROWS);
        scratch.add_files();
        for sql in &UPGRADES[..usize::try_from(from).unwrap()] {
            scratch.execute(sql);
        }
        let mut schema = scratch.schema();
        assert_eq!(schema.version().unwrap(), Some(from));
        if from < CURRENT {
            let error = verify(schema.version().unwrap()).unwrap_err().to_string();
            assert!(error.contains("upgrade-schema"), "{error}");
        }
        let upgraded = schema.upgrade(&scratch.identity()).unwrap();
        assert_eq!(upgraded.from, Some(from));
        let state = operations::store_state(&mut schema.connection).unwrap();
        assert!(upgraded.tied.is_some() && state.id == upgraded.tied);
        assert_eq!(scratch.identity().compare(&state).unwrap(), Match::Same);
        let again = schema.upgrade(&scratch.identity()).unwrap();
        assert_eq!(again, Upgraded { from: Some(CURRENT), copy: None, tied: None });
        verify(schema.version().unwrap()).unwrap();
        check_rows(&scratch);
    }
}

fn check_rows(scratch: &Scratch) {
    let store = Store::new(Postgres::new(&scratch.settings).unwrap());
    let channel: Channel = "room@example.org".parse().unwrap();
    let dated: MediaId = "dated".parse().unwrap();
    let page = Page { max: 9, after: Some(dated.clone()), before: None };
    let newer = store.list(&channel, &page).unwrap().entries;
    assert_eq!(newer[0].id.as_str(), "lETuJi8rPE4IfQrygN6r");
    let age = SystemTime::now().duration_since(newer[0].uploaded.into()).unwrap_or_default();
    assert!(age.as_secs() < 600, "{age:?}");
    let avatar = store.avatar(&channel).unwrap().unwrap();
    assert_eq!(avatar.uploaded, Timestamp::from_micros(1_390_500_000_123_456));
    assert_eq!(avatar.last_updated, avatar.uploaded);
    let mut client = scratch.server.client(&scratch.database);
    let row = client.query_one("SELECT SUM(textSize)::BIGINT FROM medias", &[]).unwrap();
    assert_eq!(row.get::<_, i64>(0), 6, "the texts that were there already");
    let error = client.execute("DELETE FROM medias WHERE id = 'dated'", &[]).unwrap_err();
    assert_eq!(error.code().unwrap().code(), "23503");
    assert_eq!(store.delete(&channel, &dated).unwrap().unwrap().previews.len(), 1);
}

#[test]
fn an_upgrade_beside_other_files_changes_nothing() {
    for from in 0..=CURRENT {
        let scratch = Scratch::new();
        scratch.execute(BASE);
        scratch.execute(ROWS);
        scratch.add_files();
        std::fs::write(scratch.root.join("room@example.org/dated"), "else").unwrap();
        for sql in &UPGRADES[..usize::try_from(from).unwrap()] {
            scratch.execute(sql);
        }
        let mut schema = scratch.schema();
        let error = schema.upgrade(&scratch.identity()).unwrap_err();
        assert_eq!(error.kind(), Kind::Config, "{error}");
        assert!(error.to_string().contains("jdbc.db.url"), "{error}");
        assert_eq!(schema.version().unwrap(), Some(from));
        assert_eq!(operations::store_state(&mut schema.connection).unwrap().id, None);
        assert_eq!(lock::mark(scratch.root.path()).unwrap(), None);
    }
}

#[test]
fn of_previews_of_one_size_an_upgrade_leaves_one() {
    let scratch = Scratch::new();
    for sql in [BASE, ROWS, UPGRADES[0], UPGRADES[1]] {
        scratch.execute(sql);
    }
    scratch.execute(
        "INSERT INTO previews (id, mediaId, mimeType, height, width) VALUES
            ('c', 'dated', 'image/png', 50, 60), ('a', 'dated', 'image/png', 50, 60),
            ('b', 'dated', 'image/png', 50, 60), ('turned', 'dated', 'image/png', 60, 50),
            ('other', 'lETuJi8rPE4IfQrygN6r', 'image/png', 50, 60),
            ('unmeasured', 'dated', 'image/png', NULL, NULL)",
    );
    scratch.add_files();
    scratch.schema().upgrade(&scratch.identity()).unwrap();
    verify(scratch.schema().version().unwrap()).unwrap();
    let store = Store::new(Postgres::new(&scratch.settings).unwrap());
    let rows = store.preview_rows(None, 9).unwrap();
    let ids: Vec<_> = rows.iter().map(|row| row.id.as_str()).collect();
    assert_eq!(ids, ["a", "other", "p1", "turned", "unmeasured"]);
}

#[test]
fn an_upgrade_by_hand_that_was_made_already_changes_nothing() {
    let scratch = Scratch::new();
    scratch.schema().setup().unwrap();
    let mut client = scratch.server.client(&scratch.database);
    for sql in UPGRADES {
        assert!(client.batch_execute(sql).is_err());
        client.batch_execute("ROLLBACK").unwrap();
    }
    let mut schema = scratch.schema();
    verify(schema.version().unwrap()).unwrap();
    assert!(schema.run(BASE).is_err());
    verify(schema.version().unwrap()).unwrap();
}

#[test]
fn a_schema_is_set_up_once_and_dropped_whole() {
    let scratch = Scratch::new();
    let mut schema = scratch.schema();
    let error = verify(schema.version().unwrap()).unwrap_err().to_string();
    assert!(error.contains("setup-schema"), "{error}");
    assert!(schema.upgrade(&scratch.identity()).is_err());
    assert!(schema.setup().unwrap());
    verify(schema.version().unwrap()).unwrap();
    assert!(!schema.setup().unwrap(), "it is there already");
    scratch.execute(r#"INSERT INTO "configuration" ("key", "value") VALUES ('http.port', '1')"#);
    schema.drop().unwrap();
    assert_eq!(schema.version().unwrap(), None);
    schema.drop().unwrap();
    schema.setup().unwrap();
    assert_eq!(schema.configuration().unwrap().len(), 1);
}

#[test]
fn a_newer_schema_is_refused() {
    let scratch = Scratch::new();
    let mut schema = scratch.schema();
    schema.setup().unwrap();
    scratch.execute("INSERT INTO schema_version (version) VALUES (99)");
    let refused =
        [verify(schema.version().unwrap()).unwrap_err(), schema.upgrade(&scratch.identity()).unwrap_err()];
    for error in refused {
        assert!(error.to_string().contains("newer program"), "{error}");
    }
}

#[test]
fn the_newest_of_a_repeated_key_comes_last() {
    let scratch = Scratch::new();
    let mut schema = scratch.schema();
    assert!(schema.configuration().is_err());
    schema.setup().unwrap();
    scratch.execute(
        r#"INSERT INTO "configuration" VALUES ('a', 'new', '2020-01-01'), ('a', 'old', '2019-01-01'),
           ('b', 'undated', NULL)"#,
    );
    let pairs = schema.configuration().unwrap();
    let text: Vec<String> = pairs.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(text, ["b=undated", "a=old", "a=new"]);
}

#[test]
fn another_schema_of_the_database_is_used_where_it_is_named() {
    let mut scratch = Scratch::new();
    scratch.execute("CREATE SCHEMA media_tables");
    scratch.settings.schema = Some("media_tables".into());
    scratch.schema().setup().unwrap();
    Store::new(Postgres::new(&scratch.settings).unwrap()).media_rows(None, 1).unwrap();
    scratch.settings.schema = None;
    assert_eq!(scratch.schema().version().unwrap(), None);
}

#[test]
fn a_database_that_every_role_may_connect_to_is_named() {
    let scratch = Scratch::new();
    assert_eq!(scratch.schema().open_to_public().unwrap().as_deref(), Some(scratch.database.as_str()));
    scratch.execute(&format!("REVOKE CONNECT ON DATABASE {} FROM PUBLIC", scratch.database));
    assert_eq!(scratch.schema().open_to_public().unwrap(), None);
}

#[test]
fn a_refused_log_in_is_told_from_a_server_that_is_not_there() {
    let mut scratch = Scratch::new();
    scratch.settings.database = Some("nothing".into());
    assert_eq!(Schema::connect(&scratch.settings).err().unwrap().kind(), Kind::Failure);
    scratch.settings.hosts = vec![("127.0.0.1".into(), 1)];
    assert_eq!(Schema::connect(&scratch.settings).err().unwrap().kind(), Kind::Unavailable);
}

#[test]
fn every_file_in_sql_is_named_in_its_readme() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("sql");
    let readme = std::fs::read_to_string(folder.join("README")).unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(name == "README" || readme.contains(&name), "{name}");
    }
}
