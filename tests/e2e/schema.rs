//! The schema and its commands, on both databases; the main job on PostgreSQL, and a database that goes away.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use media_server::store::CURRENT;

use crate::site::{Site, photo, photo_bytes};
use crate::support::child::run;
use crate::support::http::Request;
use crate::support::postgres;
use crate::support::scratch::Scratch;
use crate::support::server::{PROGRAM, Xmpp, program, properties};
use crate::support::wait_for;
use crate::support::xmpp_client::Policy;

/// Runs a command of the program for this database; gives its exit status and what it printed.
pub fn command(url: &str, arguments: &[&str]) -> (i32, String) {
    command_on(url, Scratch::new().path(), arguments)
}

/// The same with this storage root.
pub fn command_on(url: &str, root: &Path, arguments: &[&str]) -> (i32, String) {
    let scratch = Scratch::new();
    let file = scratch.join("mediaserver.properties");
    // Nothing listens there: these commands need no XMPP.
    let xmpp = Xmpp { client_port: 1, component_port: 1 };
    let text = properties(0, xmpp, root, &[("http.port", "8080"), ("jdbc.db.url", url)]);
    fs::write(&file, text).expect("the scratch directory takes files");
    let file = file.display().to_string();
    program(&[&["-c", file.as_str()], arguments].concat())
}

/// The files of a table whose row number i names the media `mi` of i bytes in one of seven channels.
fn add_files(root: &Path, rows: u64) {
    for number in 0..7 {
        fs::create_dir(root.join(format!("room{number}@example.org"))).expect("the storage takes folders");
    }
    for number in 1..=rows {
        let path = root.join(format!("room{}@example.org/m{number}", number % 7));
        let file = fs::File::create(path).expect("the storage takes files");
        file.set_len(number).expect("they have a length");
    }
}

#[track_caller]
pub fn succeed(url: &str, arguments: &[&str]) {
    let (status, printed) = command(url, arguments);
    assert_eq!(status, 0, "{arguments:?}: {printed}");
}

#[test]
fn the_schema_is_made_and_dropped_by_commands() {
    let server = postgres::shared();
    let database = server.new_database();
    let url = server.jdbc_url(&database);
    let (status, printed) = command(&url, &["serve"]);
    assert_eq!(status, 1, "without a schema: {printed}");
    assert!(printed.contains("setup-schema"), "it does not say what to do: {printed}");

    succeed(&url, &["setup-schema"]);
    let (status, printed) = command(&url, &["setup-schema"]);
    assert_eq!((status, printed.trim()), (0, "the tables exist and are up to date"));
    succeed(&url, &["upgrade-schema"]);
    let versions = "SELECT max(version) FROM schema_version";
    let version: i32 = server.client(&database).query_one(versions, &[]).expect("a version").get(0);
    assert!(version >= 2, "{version}");

    let (status, printed) = command(&url, &["drop-schema"]);
    assert_ne!(status, 0, "without --yes: {printed}");
    server.client(&database).query_one("SELECT count(*) FROM medias", &[]).expect("the table is still there");
    succeed(&url, &["drop-schema", "--yes"]);
    let gone = server.client(&database).query_one("SELECT count(*) FROM medias", &[]);
    assert!(gone.is_err(), "the table is still there");
}

#[test]
fn the_databases_certificate_is_verified_with_its_authority() {
    let server = postgres::Server::start();
    let certificate = server.encrypt();
    let url = server.jdbc_url(&server.new_database()).replace("127.0.0.1", "localhost");
    let url = format!("{url}&sslmode=verify-full");
    let (status, printed) = command(&url, &["setup-schema"]);
    assert_ne!(status, 0, "with an authority that nobody knows: {printed}");
    succeed(&format!("{url}&sslrootcert={}", certificate.display()), &["setup-schema"]);
}

#[test]
fn the_main_job_is_done_on_postgresql() {
    let server = postgres::shared();
    let url = server.jdbc_url(&server.new_database());
    succeed(&url, &["setup-schema"]);
    let mut site = Site::start(&[("jdbc.db.url", &url)]);
    let (user, channel) = site.public_channel();
    let id = site.upload(&user, &channel);
    site.server.kill();
    site.server.start_again();
    site.wait_ready(&channel);
    let media = site.url(&format!("{channel}/{id}"));
    assert!(Request::get(&media).send().expect(200).body == photo_bytes(), "other bytes came down");
    let update = Request::new("POST", &media).basic(user.jid()).field("title", "Größer").send().expect(200);
    assert_eq!(Request::get(&format!("{media}/metadata")).send().expect(200).json(), update.json());
    let avatar = site.url(&format!("{channel}/avatar"));
    for _ in 0..2 {
        Request::new("PUT", &avatar).basic(user.jid()).file(&photo(), "image/jpeg").send().expect(201);
    }
    let list = Request::get(&site.url(&channel)).send().expect(200).json();
    assert_eq!(list.as_array().map(Vec::len), Some(3));
    Request::new("DELETE", &avatar).basic(user.jid()).send().expect(200);
    Request::new("DELETE", &media).basic(user.jid()).send().expect(200);
    Request::get(&media).send().expect(404);
}

#[test]
fn a_lost_database_is_told_and_found_again() {
    let mut server = postgres::Server::start();
    let url = server.jdbc_url(&server.new_database());
    succeed(&url, &["setup-schema"]);
    let site = Site::start(&[("jdbc.db.url", &url)]);
    let (user, channel) = site.public_channel();
    let media = site.url(&format!("{channel}/{}", site.upload(&user, &channel)));
    server.kill();
    let refused = Request::get(&media).send().expect(503);
    assert!(refused.took < Duration::from_secs(20), "{:?}", refused.took);
    assert!(refused.header("retry-after").is_some());
    site.upload_request(&channel).basic(user.jid()).send().expect(503);
    server.restart();
    wait_for("the database", || (Request::get(&media).send().status == 200).then_some(()));
    site.upload(&user, &channel);
    let list = Request::get(&site.url(&channel)).send().expect(200).json();
    assert_eq!(list.as_array().map(Vec::len), Some(2), "the refused upload left a row");
}

#[test]
fn a_frozen_database_holds_nobody_for_ever_and_leaves_nothing_behind() {
    let server = postgres::Server::start();
    let url = server.jdbc_url(&server.new_database());
    succeed(&url, &["setup-schema"]);
    let site = Site::start(&[("jdbc.db.url", &url), ("http.threads", "3")]);
    let (user, channel) = site.public_channel();
    let id = site.upload(&user, &channel);
    let media = site.url(&format!("{channel}/{id}"));
    user.set_policy(Policy::Ignore);
    let upload = site.upload_request(&channel).basic(user.jid()).send_apart();
    let upload_asked = user.confirm(1).expect("the user is asked");
    let deletion = Request::new("DELETE", &media).basic(user.jid()).send_apart();
    let deletion_asked = user.confirm(2).expect("the user is asked");
    server.freeze();
    for asked in [&upload_asked, &deletion_asked] {
        user.answer(asked, Policy::Echo).expect("the user is connected");
    }
    let reads: Vec<_> = (0..6).map(|_| Request::get(&media).send_apart()).collect();
    for waiting in [upload, deletion].into_iter().chain(reads) {
        let answer = waiting.join().expect("an answer").expect(503);
        assert!(answer.took < Duration::from_secs(50), "{:?}", answer.took);
    }
    server.thaw();
    wait_for("the database", || (Request::get(&media).send().status == 200).then_some(()));
    let list = Request::get(&site.url(&channel)).send().expect(200).json();
    assert_eq!(list.as_array().map(Vec::len), Some(1));
    let files = fs::read_dir(site.server.storage().join(&channel)).expect("the channel's folder");
    assert_eq!(files.count(), 1, "the upload left a file");
}

#[test]
fn texts_and_dates_that_are_odd_are_no_failure() {
    let server = postgres::shared();
    let database = server.new_database();
    let url = server.jdbc_url(&database);
    succeed(&url, &["setup-schema"]);
    let site = Site::start(&[("jdbc.db.url", &url)]);
    let (user, channel) = site.public_channel();
    let ids: Vec<String> = (0..4).map(|_| site.upload(&user, &channel)).collect();
    let media = site.url(&format!("{channel}/{}", ids[0]));
    Request::new("POST", &media).basic(user.jid()).with(&["-d", "title=a%00b"]).send().expect(400);
    let mut client = server.client(&database);
    for (id, date) in ids.iter().zip(["infinity", "-infinity", "20000-01-01", "4000-01-01 BC"]) {
        let set = format!("UPDATE medias SET lastUpdatedDate = '{date}', mimeType = '' WHERE id = '{id}'");
        client.batch_execute(&set).expect("the row is there");
        let media = site.url(&format!("{channel}/{id}"));
        Request::get(&media).send().expect(200);
        Request::get(&format!("{media}/metadata")).send().expect(200);
    }
    let list = Request::get(&site.url(&channel)).send().expect(200).json();
    assert_eq!(list.as_array().map(Vec::len), Some(4));
}

/// The storage root of a site on the embedded database, and its configuration.
struct Embedded {
    scratch: Scratch,
}

impl Embedded {
    /// With no database yet.
    fn new() -> Self {
        let embedded = Self { scratch: Scratch::new() };
        fs::create_dir(embedded.root()).expect("the scratch directory takes folders");
        let xmpp = Xmpp { client_port: 1, component_port: 1 };
        let text = properties(0, xmpp, &embedded.root(), &[("http.port", "8080")]);
        fs::write(embedded.configuration(), text).expect("the scratch directory takes files");
        embedded
    }

    /// With a database as the program of version 3 made it.
    fn old() -> Self {
        let embedded = Self::new();
        let connection = embedded.connection();
        let schema = include_str!("../../sql/sqlite-3.sql");
        let rows = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
            INSERT INTO medias (id, entityId, author, title, mimeType, uploadedDate, lastUpdatedDate, shaChecksum, fileSize)
            SELECT 'm' || i, 'room' || (i % 7) || '@example.org', 'a' || (i % 5), 'title', 'x/y', i, i, 's', i FROM n;
            INSERT INTO avatars (mediaId, entityId) VALUES ('m1', 'room1@example.org');
            INSERT INTO previews (id, mediaId, mimeType, height, width) VALUES ('p', 'm1', 'x/y', 1, 2)";
        connection.execute_batch(&format!("PRAGMA journal_mode = WAL; {schema}; {rows}")).expect("version 3");
        add_files(&embedded.root(), 3000);
        embedded
    }

    fn root(&self) -> PathBuf {
        self.scratch.join("media")
    }

    fn configuration(&self) -> PathBuf {
        self.scratch.join("mediaserver.properties")
    }

    fn database(&self) -> PathBuf {
        self.root().join("metadata.sqlite")
    }

    fn connection(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.database()).expect("the database can be opened")
    }

    fn command(&self, command: &str) -> (i32, String) {
        program(&["-c", &self.configuration().display().to_string(), command])
    }

    /// The same under strace with these options.
    fn traced(&self, options: &str, command: &str) -> (i32, String) {
        let configuration = self.configuration().display().to_string();
        let mut line = vec!["strace", "-f", "-qq", "-o", "/dev/null"];
        line.extend(options.split(' '));
        line.extend([PROGRAM, "-c", configuration.as_str(), command]);
        run(&line)
    }

    fn version(&self) -> i32 {
        let sql = "SELECT max(version) FROM schema_version";
        self.connection().query_row(sql, [], |row| row.get(0)).expect("a version")
    }

    /// All that version 3 knows, of this database file.
    fn rows(path: &Path) -> String {
        let connection = rusqlite::Connection::open(path).expect("the database can be opened");
        let check: String =
            connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("it is checked");
        assert_eq!(check, "ok");
        let sql = "SELECT group_concat(id || entityId || author || title || uploadedDate || fileSize || textSize) ||
                (SELECT group_concat(id || mediaId || entityId) FROM avatars) ||
                (SELECT group_concat(id || mediaId || height) FROM previews)
            FROM (SELECT * FROM medias ORDER BY id)";
        connection.query_row(sql, [], |row| row.get(0)).expect("the rows are there")
    }

    /// The content of the root without the folders of channels.
    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.root()).expect("the storage can be read").flatten();
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.retain(|name| !name.ends_with("-wal") && !name.ends_with("-shm") && !name.contains('@'));
        names.sort();
        names
    }
}

#[test]
fn the_embedded_database_has_the_same_commands() {
    let site = Embedded::new();
    let (status, printed) = site.command("fsck");
    assert!(status == 1 && printed.contains("setup-schema"), "{printed}");
    assert!(!site.database().exists(), "a command that only looks has made a database");
    let (_, printed) = site.command("check");
    assert!(printed.contains("database: ok: ") && printed.contains("does not exist yet"), "{printed}");
    let (status, printed) = site.command("setup-schema");
    assert_eq!((status, printed.trim()), (0, "the schema is set up"));
    let (status, printed) = site.command("setup-schema");
    assert_eq!((status, printed.trim()), (0, "the tables exist and are up to date"));
    let (status, printed) = site.command("upgrade-schema");
    assert!(status == 0 && printed.contains("already"), "{printed}");
    let (_, printed) = site.command("check");
    assert!(printed.contains("with the required schema"), "{printed}");
}

#[test]
fn an_old_embedded_database_is_refused_until_it_is_upgraded() {
    let site = Embedded::old();
    let before = Embedded::rows(&site.database());
    for command in ["check", "fsck", "setup-schema"] {
        let (status, printed) = site.command(command);
        assert!(status == 1 && printed.contains("upgrade-schema"), "{command}: {status} {printed}");
        assert_eq!(site.version(), 3);
    }
    let (status, printed) = site.command("upgrade-schema");
    let copy = site.root().join("metadata.sqlite.before-3");
    assert!(status == 0 && printed.contains(&copy.display().to_string()), "{printed}");
    assert_eq!((site.version(), Embedded::rows(&site.database())), (CURRENT, before.clone()));
    assert_eq!(Embedded::rows(&copy), before);
    let mode = fs::metadata(&copy).expect("the copy is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (_, printed) = site.command("fsck");
    assert!(!printed.contains("usage of"), "a sum is wrong: {printed}");
}

#[test]
fn a_newer_schema_is_refused_by_every_command() {
    let site = Embedded::old();
    site.connection().execute_batch("INSERT INTO schema_version (version) VALUES (99)").expect("a row");
    for command in ["serve", "check", "fsck", "setup-schema", "upgrade-schema"] {
        let (status, printed) = site.command(command);
        assert!(status == 1 && printed.contains("newer program"), "{command}: {status} {printed}");
    }
}

/// Versions that the embedded database never had: `check` tells them, too.
#[test]
fn a_version_that_no_program_made_is_refused_by_every_command() {
    for version in [0, 1, 2] {
        let site = Embedded::old();
        let set = format!("UPDATE schema_version SET version = {version}");
        site.connection().execute_batch(&set).expect("the row is there");
        for command in ["serve", "check", "fsck", "setup-schema", "upgrade-schema"] {
            let (status, printed) = site.command(command);
            assert_eq!(status, 1, "{command}: {printed}");
            assert!(printed.contains(&format!("version {version} of the ")), "{command}: {printed}");
        }
        assert_eq!(site.version(), version);
    }
}

#[test]
fn an_upgrade_may_be_killed_at_any_call() {
    let (mut kills, site) = (0, Embedded::old());
    let before = Embedded::rows(&site.database());
    let original = site.scratch.join("original");
    fs::copy(site.database(), &original).expect("a copy");
    for call in ["pwrite64", "fsync", "fdatasync", "rename", "ftruncate", "unlink"] {
        // Of the many writes some, and each of the others.
        let step = if call == "pwrite64" { 37 } else { 1 };
        for number in (1..).step_by(step) {
            for name in site.files() {
                fs::remove_file(site.root().join(name)).expect("a file of the last round");
            }
            fs::copy(&original, site.database()).expect("the database as it was");
            let kill = format!("-e trace={call} -e inject={call}:signal=KILL:when={number}");
            let (status, _) = site.traced(&kill, "upgrade-schema");
            let version = site.version();
            assert!([3, CURRENT].contains(&version), "{version}");
            assert_eq!(Embedded::rows(&site.database()), before, "{call} {number}");
            let copy = site.root().join("metadata.sqlite.before-3");
            assert!(version == 3 || copy.exists(), "{call} {number}: no copy");
            if copy.exists() {
                assert_eq!(Embedded::rows(&copy), before, "{call} {number}");
            }
            if status == 0 {
                break;
            }
            kills += 1;
            let (status, printed) = site.command("upgrade-schema");
            assert_eq!((status, site.version()), (0, CURRENT), "{call} {number}: {printed}");
            assert_eq!(Embedded::rows(&site.database()), before, "{call} {number}");
        }
    }
    assert!(kills > 10, "only {kills} kills");
}

#[test]
fn a_full_disk_leaves_the_embedded_database_as_it_was() {
    let site = Embedded::old();
    let before = Embedded::rows(&site.database());
    let mut refused = 0;
    for first in [1, 2, 20, 60, 120] {
        let full = format!("-e trace=pwrite64 -e inject=pwrite64:error=ENOSPC:when={first}+");
        let (status, printed) = site.traced(&full, "upgrade-schema");
        assert_eq!(status, 78, "{first}: {printed}");
        assert!(printed.contains(" bytes in its directory"), "{printed}");
        assert_eq!((site.version(), Embedded::rows(&site.database())), (3, before.clone()));
        assert!(!site.files().iter().any(|name| name.ends_with(".part")), "{:?}", site.files());
        refused += 1;
    }
    assert_eq!(refused, 5);
    let (status, printed) = site.command("upgrade-schema");
    assert_eq!((status, site.version()), (0, CURRENT), "{printed}");
}

/// On a disk of its own, where this user may mount one; elsewhere the faults above have to do.
#[test]
fn an_upgrade_without_room_is_not_begun() {
    const SCRIPT: &str = r#"folder=$0; saved=$1; shift
        cp "$folder/metadata.sqlite" "$saved" && mount -t tmpfs -o size=4m none "$folder" || exit 99
        cp "$saved" "$folder/metadata.sqlite"; head -c 2600000 /dev/zero >"$folder/ballast"
        "$@"; status=$?
        ls -a "$folder"; cp "$folder/metadata.sqlite" "$saved"; rm "$folder/ballast"
        "$@" || exit 98
        exit $status"#;
    let site = Embedded::old();
    let connection = site.connection();
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).expect("a whole file");
    drop(connection);
    let before = Embedded::rows(&site.database());
    let size = fs::metadata(site.database()).expect("the database is there").len();
    assert!((400_000..800_000).contains(&size), "{size} bytes");
    // A folder of its own for the database: the files of the media stay where they are.
    let (folder, saved) = (site.scratch.join("database"), site.scratch.join("saved"));
    fs::create_dir(&folder).expect("the scratch directory takes folders");
    let database = folder.join("metadata.sqlite");
    fs::rename(site.database(), &database).expect("the database can be moved");
    let text = fs::read_to_string(site.configuration()).expect("the configuration is there");
    let text = format!("{text}jdbc.db.url=jdbc:sqlite:{}\n", database.display());
    fs::write(site.configuration(), text).expect("the scratch directory takes files");
    let (folder, configuration) = (folder.display().to_string(), site.configuration().display().to_string());
    let upgrade = |flags| {
        let saved = saved.display().to_string();
        let shell = ["unshare", flags, "sh", "-c", SCRIPT, &folder, &saved];
        run(&[&shell[..], &[PROGRAM, "-c", &configuration, "upgrade-schema"]].concat())
    };
    let mounts = |flags: &&str| run(&["unshare", flags, "sh", "-c", "mount -t tmpfs none /mnt"]).0 == 0;
    let Some(flags) = ["-m", "-rm"].into_iter().find(mounts) else { return };
    let (status, printed) = upgrade(flags);
    assert_eq!(status, 78, "{printed}");
    assert!(printed.contains(&format!("needs {} bytes", 4 * size)), "{printed}");
    assert!(printed.contains("bytes are free") && !printed.contains(".part"), "{printed}");
    assert_eq!(Embedded::rows(&saved), before);
    let upgraded = format!("upgraded from version 3 to {CURRENT}");
    assert!(printed.contains(&upgraded), "with room: {printed}");
}

#[test]
fn an_upgrade_of_postgresql_may_be_killed_at_any_call() {
    let server = postgres::shared();
    let database = server.new_database();
    let mut client = server.client(&database);
    let rows = "INSERT INTO medias (id, entityId, author, title, mimeType, shaChecksum, fileSize)
        SELECT 'm' || i, 'room' || i % 7 || '@example.org', 'a' || i % 5, 'title', 'x/y', 's', i
        FROM generate_series(1, 3000) AS i;
        INSERT INTO avatars (mediaId, entityId) VALUES ('m1', 'room1@example.org')";
    for sql in [
        include_str!("../../sql/base.sql"),
        include_str!("../../sql/upgrade-1.sql"),
        include_str!("../../sql/upgrade-2.sql"),
        include_str!("../../sql/upgrade-3.sql"),
        rows,
    ] {
        client.batch_execute(sql).expect("version 3");
    }
    let mut look = move || -> (i32, String) {
        let version = client.query_one("SELECT max(version) FROM schema_version", &[]).expect("a version");
        let sql =
            "SELECT md5(string_agg(CAST(to_jsonb(medias) - 'sha256' AS TEXT), ' ' ORDER BY id)) FROM medias";
        (version.get(0), client.query_one(sql, &[]).expect("the rows").get(0))
    };
    let (_, before) = look();
    let url = server.jdbc_url(&database);
    let scratch = Scratch::new();
    let file = scratch.join("mediaserver.properties");
    let xmpp = Xmpp { client_port: 1, component_port: 1 };
    let root = scratch.join("media");
    fs::create_dir(&root).expect("the scratch directory takes folders");
    add_files(&root, 3000);
    let text = properties(0, xmpp, &root, &[("http.port", "8080"), ("jdbc.db.url", &url)]);
    fs::write(&file, text).expect("the scratch directory takes files");
    let file = file.display().to_string();
    for (kills, number) in (1..).enumerate() {
        let kill = format!("inject=sendto,recvfrom:signal=KILL:when={number}");
        let line = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=sendto,recvfrom", "-e", &kill];
        let (status, _) = run(&[&line[..], &[PROGRAM, "-c", &file, "upgrade-schema"]].concat());
        let (version, rows) = look();
        assert!((3..=CURRENT).contains(&version) && rows == before, "{number}: version {version}");
        if version == CURRENT {
            assert!(kills > 3, "only {kills} kills, and status {status}");
            break;
        }
    }
    let (status, printed) = program(&["-c", &file, "upgrade-schema"]);
    assert_eq!(status, 0, "{printed}");
    let (status, printed) = program(&["-c", &file, "fsck"]);
    assert_eq!((status, printed.trim()), (0, "files and metadata agree"));
}

#[test]
fn a_running_server_ends_where_it_finds_a_newer_schema() {
    let mut site = Site::start(&[]);
    let (user, channel) = site.public_channel();
    site.upload(&user, &channel);
    let database = site.server.storage().join("metadata.sqlite");
    let connection = rusqlite::Connection::open(database).expect("the database can be opened");
    connection.execute_batch("INSERT INTO schema_version (version) VALUES (99)").expect("a row");
    assert_eq!(site.server.wait(), 1);
    assert!(site.server.log().contains("newer program"), "{}", site.server.log());
}
