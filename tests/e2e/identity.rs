//! An operator's mistake loses nothing: files and metadata that don't belong together are refused, one server at a time
//! serves a storage, and a repair moves files and does not delete them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::schema::succeed;
use crate::site::{Site, xmpp_of};
use crate::support::free_port;
use crate::support::http::{Raw, Request, transaction};
use crate::support::postgres;
use crate::support::scratch::Scratch;
use crate::support::server::{Server, program, properties};
use crate::support::wait_for;
use crate::watching::NO_XMPP;

/// Media that each site has, of 5 bytes, older than what `fsck` leaves alone.
const MEDIA: usize = 21;
const LONG: Duration = Duration::from_secs(2 * 3600);

/// The allowed effect of a command on files and rows.
const COMMANDS: [&[&str]; 5] =
    [&["serve"], &["check"], &["fsck"], &["fsck", "--repair"], &["fsck", "--repair", "--force"]];

/// A stopped site that has served, with media and a preview, and no XMPP server.
struct Stopped {
    scratch: Scratch,
    /// The name of its PostgreSQL database; else it has an SQLite file.
    database: Option<String>,
    /// The SQLite file.
    file: PathBuf,
}

impl Stopped {
    fn on_sqlite(channel: &str) -> Self {
        Self::beside("media/metadata.sqlite", channel)
    }

    /// With the SQLite file at this place.
    fn beside(file: &str, channel: &str) -> Self {
        let scratch = Scratch::new();
        let file = scratch.join(file);
        Self { scratch, database: None, file }.filled(channel)
    }

    fn on_postgresql(channel: &str) -> Self {
        let server = postgres::shared();
        let database = server.new_database();
        succeed(&server.jdbc_url(&database), &["setup-schema"]);
        let scratch = Scratch::new();
        let file = scratch.join("media/metadata.sqlite");
        Self { scratch, database: Some(database), file }.filled(channel)
    }

    fn root(&self) -> PathBuf {
        self.scratch.join("media")
    }

    fn url(&self) -> String {
        match &self.database {
            Some(database) => postgres::shared().jdbc_url(database),
            None => format!("jdbc:sqlite:{}", self.file.display()),
        }
    }

    /// Serves once, so that the site has its id, and then gets its media.
    fn filled(self, channel: &str) -> Self {
        let root = self.root().display().to_string();
        let settings = [("jdbc.db.url", self.url()), ("media.storage.root", root)];
        let settings = settings.each_ref().map(|(key, value)| (*key, value.as_str()));
        let mut server = Server::start(NO_XMPP, &settings);
        server.wait_log("listening on");
        server.stop();
        let sql = |id: &str| {
            format!(
                "INSERT INTO medias (id, entityId, author, mimeType, {}shaChecksum, fileSize)
                 VALUES ('{id}', '{channel}', 'a@example.org', 'x/y', {}'s', 5);",
                if self.database.is_some() { "" } else { "uploadedDate, lastUpdatedDate, " },
                if self.database.is_some() { "" } else { "0, 0, " },
            )
        };
        let ids: Vec<String> = (0..MEDIA).map(|number| format!("m{number}")).collect();
        let rows: String = ids.iter().map(|id| sql(id)).collect();
        self.execute(
            &(rows + "INSERT INTO previews (id, mediaId, mimeType) VALUES ('preview', 'm0', 'image/png')"),
        );
        fs::create_dir_all(self.root().join(channel)).expect("the storage takes folders");
        for id in ids.iter().map(String::as_str).chain(["preview"]) {
            write_aged(&self.root().join(channel).join(id));
        }
        self
    }

    fn execute(&self, sql: &str) {
        match &self.database {
            Some(database) => {
                postgres::shared().client(database).batch_execute(sql).expect("the database takes it");
            }
            None => self.connection().execute_batch(sql).expect("the database takes it"),
        }
    }

    fn connection(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(&self.file).expect("the database can be opened")
    }

    /// Rows of media and of previews.
    fn rows(&self) -> (i64, i64) {
        let count = |table: &str| -> i64 {
            let sql = format!("SELECT COUNT(*) FROM {table}");
            match &self.database {
                Some(database) => {
                    let row = postgres::shared().client(database).query_one(&sql, &[]);
                    row.expect("the table is there").get(0)
                }
                None => self.connection().query_row(&sql, [], |row| row.get(0)).expect("the table is there"),
            }
        };
        (count("medias"), count("previews"))
    }

    /// Runs a command with this root and these lines of the configuration.
    fn command_with(&self, root: &Path, database: &str, arguments: &[&str]) -> (i32, String) {
        let configuration = self.scratch.join("mediaserver.properties");
        let port = free_port();
        let text = properties(port, NO_XMPP, root, &[]) + database + "\n";
        fs::write(&configuration, text).expect("the scratch directory takes files");
        program(&[&["-c", &configuration.display().to_string()], arguments].concat())
    }

    fn command(&self, arguments: &[&str]) -> (i32, String) {
        self.command_with(&self.root(), &format!("jdbc.db.url={}", self.url()), arguments)
    }

    /// Asserts that every command refuses this root and database and names these words, and that nothing is changed.
    #[track_caller]
    fn assert_refused(&self, root: &Path, database: &str, words: &[&str]) {
        let before = (files(self.scratch.path()), self.database.as_ref().map(|_| self.rows()));
        for command in COMMANDS {
            let (status, printed) = self.command_with(root, database, command);
            assert_eq!(status, 78, "{command:?}: {printed}");
            for word in words {
                assert!(printed.contains(word), "{word} is not in what {command:?} says: {printed}");
            }
            let after = (files(self.scratch.path()), self.database.as_ref().map(|_| self.rows()));
            assert_eq!(after, before, "{command:?} has changed something: {printed}");
        }
    }

    /// Asserts that the site serves as it is.
    #[track_caller]
    fn assert_whole(&self) {
        assert_eq!(self.rows(), (21, 1));
        let (status, printed) = self.command(&["fsck"]);
        assert_eq!((status, printed.trim()), (0, "files and metadata agree"));
    }
}

fn write_aged(path: &Path) {
    fs::write(path, "bytes").expect("the storage takes files");
    let file = File::options().write(true).open(path).expect("it was just written");
    file.set_modified(SystemTime::now() - LONG).expect("files have dates");
}

/// All files below a folder, with their bytes, but for what a command may write: the configuration, and what SQLite keeps
/// beside its file.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() {
            found.insert(path.clone(), Vec::new());
            found.extend(files(&path));
        } else if !["-wal", "-shm", ".properties"].iter().any(|end| name.ends_with(end)) {
            found.insert(path.clone(), fs::read(&path).expect("a file can be read"));
        }
    }
    found
}

const ROOT_WORDS: [&str; 2] = ["media.storage.root", "mounted"];

#[test]
fn a_mistyped_key_that_leads_to_another_database_is_refused() {
    let site = Stopped::on_postgresql("room@example.org");
    let root = site.root();
    let words = [
        "jdbc.db.ulr: unknown; did you mean jdbc.db.url?",
        &root.display().to_string(),
        "holds no media",
        "room@example.org",
    ];
    site.assert_refused(&root, &format!("jdbc.db.ulr={}", site.url()), &words);
    assert!(!root.join("metadata.sqlite").exists());
    site.assert_whole();
}

#[test]
fn an_empty_database_beside_files_is_refused() {
    let site = Stopped::on_postgresql("room@example.org");
    let server = postgres::shared();
    let empty = server.jdbc_url(&server.new_database());
    let line = format!("jdbc.db.url={empty}");
    let words = ["jdbc.db.url", "holds no media"];
    let before = files(&site.root());
    for command in COMMANDS {
        let (status, printed) = site.command_with(&site.root(), &line, command);
        // Of several failures a check tells the first: that of the schema.
        let expected = if command == ["check"] { 1 } else { 78 };
        assert_eq!(status, expected, "{command:?}: {printed}");
        assert!(words.iter().all(|word| printed.contains(word)), "{command:?}: {printed}");
    }
    assert_eq!(files(&site.root()), before);
    succeed(&empty, &["setup-schema"]);
    site.assert_refused(&site.root(), &line, &words);
    site.assert_whole();
}

#[test]
fn an_empty_storage_beside_a_database_with_media_is_refused() {
    for site in [Stopped::on_postgresql("room@example.org"), Stopped::beside("db.sqlite", "room@example.org")]
    {
        let (root, away) = (site.root(), site.scratch.join("away"));
        fs::rename(&root, &away).expect("the storage can be moved");
        fs::create_dir(&root).expect("the scratch directory takes folders");
        let line = format!("jdbc.db.url={}", site.url());
        site.assert_refused(&root, &line, &[&ROOT_WORDS[..], &["holds none"]].concat());
        // A new file system has such folders of its own; they are no media.
        for name in ["lost+found", ".Trash-0"] {
            fs::create_dir(root.join(name)).expect("the storage takes folders");
        }
        site.assert_refused(&root, &line, &ROOT_WORDS);
        fs::remove_dir_all(&root).expect("it is there");
        fs::rename(&away, &root).expect("the storage can be moved back");
        site.assert_whole();
    }
}

#[test]
fn a_misspelt_storage_is_refused_and_not_made() {
    for site in [Stopped::on_postgresql("room@example.org"), Stopped::beside("db.sqlite", "room@example.org")]
    {
        let wrong = site.scratch.join("medai");
        let line = format!("jdbc.db.url={}", site.url());
        let words = [&wrong.display().to_string(), "does not exist", "media.storage.root"];
        site.assert_refused(&wrong, &line, &words);
        assert!(!wrong.exists());
        site.assert_whole();
    }
}

#[test]
fn the_storage_of_another_site_is_refused() {
    let other = Stopped::on_sqlite("other@example.org");
    for site in [Stopped::on_postgresql("room@example.org"), Stopped::beside("db.sqlite", "room@example.org")]
    {
        let before = files(&other.root());
        let line = format!("jdbc.db.url={}", site.url());
        site.assert_refused(&other.root(), &line, &["different sites", "jdbc.db.url", "media.storage.root"]);
        assert_eq!(files(&other.root()), before);
        // Without its mark it may be the site's own, so far as anybody can tell without comparing; but it isn't.
        let mark = fs::read(other.root().join(".store")).expect("the mark is there");
        fs::remove_file(other.root().join(".store")).expect("the mark is there");
        let unmarked = files(&other.root());
        site.assert_refused(&other.root(), &line, &["no file .store", "jdbc.db.url", "media.storage.root"]);
        let (status, printed) = site.command_with(&other.root(), &line, &["upgrade-schema"]);
        assert_eq!(status, 78, "{printed}");
        assert!(printed.contains("of 21 media of the database that were looked at, 0 have"), "{printed}");
        assert_eq!(files(&other.root()), unmarked);
        fs::write(other.root().join(".store"), mark).expect("the storage takes files");
        site.assert_whole();
    }
    other.assert_whole();
}

#[test]
fn a_lost_embedded_database_is_told_and_its_files_stay() {
    let site = Stopped::on_sqlite("room@example.org");
    let saved = site.scratch.join("saved");
    fs::rename(&site.file, &saved).expect("the database can be moved");
    let line = format!("jdbc.db.url={}", site.url());
    let words = ["holds no media", "restore it from a backup", "room@example.org"];
    site.assert_refused(&site.root(), &line, &words);
    let (status, printed) = site.command(&["upgrade-schema"]);
    assert_eq!(status, 78, "{printed}");
    assert!(!site.file.exists(), "a database was made");
    // A new one in its place holds nothing either.
    let (status, printed) = site.command(&["setup-schema"]);
    assert_eq!(status, 0, "{printed}");
    site.assert_refused(&site.root(), &line, &words);
    fs::rename(&saved, &site.file).expect("the database can be moved back");
    site.assert_whole();
}

#[test]
fn a_storage_that_lost_its_mark_gets_it_back_if_the_files_fit() {
    for site in [Stopped::on_postgresql("room@example.org"), Stopped::on_sqlite("room@example.org")] {
        let mark = || {
            let text = fs::read_to_string(site.root().join(".store")).expect("the mark is there");
            text.lines().next().expect("it has a line").to_owned()
        };
        let before = mark();
        fs::remove_file(site.root().join(".store")).expect("the mark is there");
        let line = format!("jdbc.db.url={}", site.url());
        site.assert_refused(&site.root(), &line, &["no file .store", "upgrade-schema"]);
        let (status, printed) = site.command(&["upgrade-schema"]);
        assert!(status == 0 && printed.contains("belong together"), "{printed}");
        assert_eq!(mark(), before);
        let (_, printed) = site.command(&["check"]);
        assert!(
            printed.contains(&format!("identity: ok: storage and database belong together (id {before})")),
            "{printed}"
        );
        site.assert_whole();
    }
}

#[test]
fn a_repair_refuses_to_remove_much_beside_a_running_server_too() {
    let site = Site::start(&[]);
    let (_, channel) = site.public_channel();
    let folder = site.server.storage().join(&channel);
    fs::create_dir_all(&folder).expect("the storage takes folders");
    let configuration = site.server.configuration().display().to_string();
    let fsck = |options: &[&str]| program(&[&["-c", &configuration, "fsck"], options].concat());
    let rows: String = (0..MEDIA)
        .map(|number| {
            write_aged(&folder.join(format!("m{number}")));
            format!(
                "INSERT INTO medias (id, entityId, author, mimeType, uploadedDate, lastUpdatedDate, shaChecksum, fileSize)
                 VALUES ('m{number}', '{channel}', 'a', 'x/y', 0, 0, 's', 5);"
            )
        })
        .collect();
    site.metadata(&rows);
    assert_eq!(fsck(&[]).1.trim(), "files and metadata agree");
    let listed = || Request::get(&site.url(&channel)).send().expect(200).json().as_array().map(Vec::len);
    let kept = || files(&site.server.storage()).keys().filter(|path| path.starts_with(&folder)).count() - 1;

    // Everything but the mark is gone: rows without files.
    let away = site.server.directory().join("away");
    fs::rename(&folder, &away).expect("the folder can be moved");
    for options in [&[][..], &["--repair"]] {
        let (status, printed) = fsck(options);
        assert_eq!(status, 1, "{printed}");
        for word in ["21 of 21 rows have no file", "media.storage.root", "mounted", "--force"] {
            assert!(printed.contains(word), "{word} is not in: {printed}");
        }
        assert_eq!(printed.contains("would delete the row"), options.is_empty(), "{printed}");
        assert_eq!(listed(), Some(MEDIA));
    }
    fs::rename(&away, &folder).expect("the folder can be moved back");

    // Rows are gone: files without rows.
    site.metadata("DELETE FROM medias WHERE id <> 'm0'");
    for options in [&[][..], &["--repair"]] {
        let (status, printed) = fsck(options);
        assert_eq!(status, 1, "{printed}");
        for word in ["20 of 21 files have no row", "jdbc.db.url", "--force"] {
            assert!(printed.contains(word), "{word} is not in: {printed}");
        }
        assert_eq!(printed.contains("would move it to .lost"), options.is_empty(), "{printed}");
        assert_eq!(kept(), MEDIA);
    }
    // By force they move, and all bytes are kept.
    let (status, printed) = fsck(&["--repair", "--force"]);
    assert_eq!(status, 0, "{printed}");
    assert!(printed.contains("20 problems repaired, 0 left"), "{printed}");
    assert_eq!((kept(), listed()), (1, Some(1)));
    for line in printed.lines().filter(|line| line.contains("moved to .lost/")) {
        let (_, path) = line.split_once("moved to ").expect("it says where");
        assert_eq!(fs::read(site.server.storage().join(path)).expect("it is there"), b"bytes");
    }
    assert_eq!(fsck(&[]).1.trim(), "files and metadata agree");
}

/// Everything is deleted beside a running server, the mark with it, as where a file system is mounted over it.
#[test]
fn a_storage_that_vanishes_under_a_running_server_costs_no_row() {
    let server = postgres::shared();
    let database = server.new_database();
    succeed(&server.jdbc_url(&database), &["setup-schema"]);
    let site = Site::start(&[("jdbc.db.url", &server.jdbc_url(&database))]);
    let (user, channel) = site.public_channel();
    site.upload(&user, &channel);
    for name in [channel.as_str(), ".store"] {
        let path = site.server.storage().join(name);
        fs::rename(&path, site.server.directory().join(name)).expect("it can be moved");
    }
    let configuration = site.server.configuration().display().to_string();
    for options in [&["fsck"][..], &["fsck", "--repair", "--force"], &["check"]] {
        let (status, printed) = program(&[&["-c", configuration.as_str()], options].concat());
        assert_eq!(status, 78, "{printed}");
        assert!(ROOT_WORDS.iter().all(|word| printed.contains(word)), "{printed}");
    }
    for name in [channel.as_str(), ".store"] {
        let path = site.server.storage().join(name);
        fs::rename(site.server.directory().join(name), &path).expect("it can be moved back");
    }
    let (status, printed) = program(&["-c", &configuration, "fsck"]);
    assert_eq!((status, printed.trim()), (0, "files and metadata agree"));
}

/// The names of the original's files are compared as they are stored.
#[test]
fn a_legacy_name_keeps_its_row_its_file_and_its_preview() {
    let site = Stopped::on_sqlite("Room@Example.Test");
    let before = files(&site.root());
    for options in [&["fsck"][..], &["fsck", "--repair"], &["fsck", "--repair"]] {
        let (status, printed) = site.command(options);
        assert_eq!(status, 1, "{printed}");
        assert!(printed.contains("they mean the channel room@example.test"), "{printed}");
        assert!(printed.contains("can't be repaired automatically"), "{printed}");
        assert!(!printed.contains("without a file"), "{printed}");
        assert_eq!(site.rows(), (21, 1));
    }
    assert_eq!(files(&site.root()), before);
}

#[test]
fn a_new_site_gets_its_id_at_the_first_start() {
    let scratch = Scratch::new();
    let root = scratch.join("new/media");
    let configuration = scratch.join("mediaserver.properties");
    fs::write(&configuration, properties(free_port(), NO_XMPP, &root, &[])).expect("it takes files");
    let (_, printed) = program(&["-c", &configuration.display().to_string(), "check"]);
    assert!(printed.contains("identity: ok: storage and database hold nothing yet"), "{printed}");
    assert!(!root.exists(), "a check has made the storage");
    let root_text = root.display().to_string();
    let mut server = Server::start(NO_XMPP, &[("media.storage.root", &root_text)]);
    server.wait_log("listening on");
    let mark = || fs::read_to_string(root.join(".store")).expect("the storage is marked");
    let (id, holder) =
        mark().split_once('\n').map(|(id, rest)| (id.to_owned(), rest.to_owned())).expect("two lines");
    assert!(id.len() == 20 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{id}");
    assert!(holder.starts_with(&format!("process {} on host ", server.pid())), "{holder}");
    let connection = rusqlite::Connection::open(root.join("metadata.sqlite")).expect("the database is there");
    let in_database: String =
        connection.query_row("SELECT id FROM store", [], |row| row.get(0)).expect("an id");
    assert_eq!(in_database, id);
    server.stop();
    server.start_again();
    assert!(mark().starts_with(&format!("{id}\n")), "the id has changed");
}

/// The head of an upload of so many bytes, and the first of them.
fn begin_upload(site: &Site, channel: &str, jid: &str, size: usize) -> (Raw, Vec<u8>) {
    let head = "--B\r\nContent-Disposition: form-data; name=\"data\"\r\n\r\n";
    let body = [head.as_bytes(), &vec![b'x'; size], b"\r\n--B--\r\n"].concat();
    let token = STANDARD.encode(format!("{jid}:{}", transaction()));
    let mut raw = Raw::connect(site.server.port());
    raw.send(format!(
        "POST /{channel} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {token}\r\n\
         Content-Type: multipart/form-data; boundary=B\r\nContent-Length: {}\r\n\r\n",
        body.len()
    ));
    raw.send(&body[..size / 2]);
    (raw, body[size / 2..].to_vec())
}

fn temporaries(root: &Path) -> usize {
    let names = fs::read_dir(root).expect("the storage can be read").flatten().map(|entry| entry.file_name());
    names.filter(|name| name.to_string_lossy().starts_with(".upload-")).count()
}

/// The same configuration started twice, and a second server with ports of its own.
#[test]
fn a_second_server_of_a_storage_ends_before_it_touches_anything() {
    let site = Site::start(&[("media.todisk.threshold", "1")]);
    let (user, channel) = site.public_channel();
    let (mut upload, rest) = begin_upload(&site, &channel, user.jid(), 8 << 20);
    wait_for("the upload's file", || (temporaries(&site.server.storage()) == 1).then_some(()));

    let same = site.server.configuration();
    let own = site.server.directory().join("own.properties");
    let text = properties(free_port(), xmpp_of(&site.prosody), &site.server.storage(), &[]);
    fs::write(&own, text.replace("xmpp.component.subdomain=media", "xmpp.component.subdomain=other"))
        .expect("it takes files");
    for configuration in [same, own] {
        let (status, printed) = program(&["-c", &configuration.display().to_string(), "serve"]);
        assert_eq!(status, 1, "{printed}");
        let holder = format!("is in use by process {} on host ", site.server.pid());
        assert!(printed.contains(&holder), "{printed}");
        assert!(printed.contains(&site.server.storage().display().to_string()), "{printed}");
        assert!(!printed.contains("removed") && temporaries(&site.server.storage()) == 1, "{printed}");
    }
    // A command that has nothing to upgrade needs no lock.
    let configuration = site.server.configuration().display().to_string();
    let (status, printed) = program(&["-c", &configuration, "upgrade-schema"]);
    assert!(status == 0 && printed.contains("already"), "{printed}");
    upload.send(rest);
    assert_eq!(upload.final_answer().expect("an answer").status, 201);
    let list = Request::get(&site.url(&channel)).send().expect(200).json();
    assert_eq!(list.as_array().map(Vec::len), Some(1));
}

/// A port that is taken ends the start before anything is cleaned up.
#[test]
fn leftovers_of_uploads_are_removed_after_the_port_is_bound() {
    let site = Stopped::on_sqlite("room@example.org");
    write_aged(&site.root().join(".upload-x"));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let port = taken.local_addr().expect("a bound socket has an address").port();
    let configuration = site.scratch.join("mediaserver.properties");
    let lines = properties(port, NO_XMPP, &site.root(), &[("http.bind", "127.0.0.1")]);
    fs::write(&configuration, lines).expect("the scratch directory takes files");
    let (status, printed) = program(&["-c", &configuration.display().to_string(), "serve"]);
    assert!(status != 0 && printed.contains("can't listen on"), "{printed}");
    assert_eq!(temporaries(&site.root()), 1, "{printed}");
    let root = site.root().display().to_string();
    let server = Server::start(NO_XMPP, &[("media.storage.root", &root)]);
    server.wait_log("removed 1 files of unfinished uploads");
    assert_eq!(temporaries(&site.root()), 0);
}

/// A database that is reached late is compared then, too.
#[test]
fn a_database_that_comes_back_and_is_the_wrong_one_ends_the_server() {
    let mut database = postgres::Server::start();
    let url = database.jdbc_url(&database.new_database());
    succeed(&url, &["setup-schema"]);
    database.kill();
    let scratch = Scratch::new();
    let root = scratch.join("media");
    let root_text = root.display().to_string();
    let configuration = scratch.join("mediaserver.properties");
    let settings = [("jdbc.db.url", url.as_str())];
    fs::write(&configuration, properties(free_port(), NO_XMPP, &root, &settings)).expect("it takes files");
    let (status, printed) = program(&["-c", &configuration.display().to_string(), "serve"]);
    assert_eq!(status, 1, "{printed}");
    assert!(printed.contains("not known whether this is a new site") && !root.exists(), "{printed}");

    fs::create_dir_all(root.join("room@example.org")).expect("the scratch directory takes folders");
    write_aged(&root.join("room@example.org/id"));
    write_aged(&root.join(".upload-x"));
    let settings = [("jdbc.db.url", url.as_str()), ("media.storage.root", root_text.as_str())];
    let mut server = Server::start(NO_XMPP, &settings);
    server.wait_log("the server answers 503 until the database can be used");
    database.restart();
    assert_eq!(server.wait(), 78, "{}", server.log());
    assert!(server.log().contains("holds no media"), "{}", server.log());
    assert!(root.join("room@example.org/id").exists() && temporaries(&root) == 1);
}

/// The lock ends with its process, and a stale name in the file hinders nobody.
#[test]
fn a_killed_server_leaves_no_lock() {
    let mut server = Server::start(NO_XMPP, &[]);
    for _ in 0..3 {
        server.kill();
        server.start_again();
    }
    server.wait_log("listening on");
    let mark = fs::read_to_string(server.storage().join(".store")).expect("the storage is marked");
    assert!(mark.contains(&format!("process {} on host ", server.pid())), "{mark}");
}
