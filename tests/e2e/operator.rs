//! The operator's commands about stored files, beside a running server, on both databases.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use media_server::uploads::{Purpose, SlotRequest};
use rusqlite::types::ValueRef;
use serde_json::Value;

use crate::site::{Site, photo, photo_bytes, xmpp_of};
use crate::support::child::{Guarded, run};
use crate::support::http::Request;
use crate::support::media::file;
use crate::support::postgres;
use crate::support::prosody::Prosody;
use crate::support::scratch::Scratch;
use crate::support::server::{PROGRAM, program, properties};
use crate::support::wait_for;
use crate::support::xmpp_client::Client;

const UPLOADS: [(&str, &str); 2] = [("upload.enabled", "true"), ("http.endpoint", "http://127.0.0.1:@PORT@")];

/// A site whose metadata is in one of the two databases.
struct Stage {
    site: Site,
    /// The name of a PostgreSQL database; else it is the embedded one.
    database: Option<String>,
}

impl Stage {
    /// One on each database.
    fn both() -> [Self; 2] {
        [Self { site: Site::start(&UPLOADS), database: None }, Self::on_postgres()]
    }

    fn on_postgres() -> Self {
        let (prosody, scratch) = (Prosody::start(), Scratch::new());
        let (database, url) = new_database();
        let settings = [&UPLOADS[..], &[("jdbc.db.url", &url)]].concat();
        let text = properties(0, xmpp_of(&prosody), scratch.path(), &settings);
        let path = scratch.join("mediaserver.properties");
        fs::write(&path, text).expect("the scratch directory takes files");
        succeeds(&path, &["setup-schema"]);
        Self { site: Site::start_on(prosody, &settings), database: Some(database) }
    }

    fn configuration(&self) -> PathBuf {
        self.site.server.configuration()
    }

    fn succeeds(&self, arguments: &[&str]) -> String {
        succeeds(&self.configuration(), arguments)
    }

    fn json(&self, arguments: &[&str]) -> Vec<Value> {
        json(&self.configuration(), arguments)
    }

    /// The ids that a command prints.
    fn ids(&self, arguments: &[&str]) -> BTreeSet<String> {
        self.json(arguments).iter().map(|object| object["id"].as_str().expect("a text").to_owned()).collect()
    }

    fn sql(&self, sql: &str) {
        match &self.database {
            Some(name) => postgres::shared().client(name).batch_execute(sql).expect("a superuser may"),
            None => self.site.metadata(sql),
        }
    }

    /// Every row of every table, as text.
    fn dump(&self) -> Vec<String> {
        match &self.database {
            Some(name) => dump_of_postgres(name),
            None => dump_of_sqlite(&self.site.server.storage().join("metadata.sqlite")),
        }
    }

    /// Sends a file of a user by slot; its id and its address.
    fn send(&self, user: &Client, name: &str, bytes: &[u8], purpose: Purpose) -> (String, String) {
        let request = SlotRequest {
            owner: user.bare().parse().expect("it is an address"),
            name: name.to_owned(),
            size: bytes.len() as u64,
            content_type: Some("text/plain".to_owned()),
            purpose: Some(purpose),
            expire_before: None,
        };
        let slot = self.site.slots().ask(request).expect("there is a slot");
        let sent = file(name, bytes);
        let data = format!("@{}", sent.path().display());
        Request::new("PUT", &slot.put_url).with(&["--data-binary", &data]).send().expect(201);
        let id = slot.get_url.rsplit('/').nth(1).expect("the id comes before the name").to_owned();
        (id, slot.get_url)
    }

    /// Sets the date of a file to 1970.
    fn make_old(&self, table: &str, column: &str, id: &str) {
        let date = if self.database.is_some() { "TIMESTAMP 'epoch'" } else { "0" };
        self.sql(&format!("UPDATE {table} SET {column} = {date} WHERE id = '{id}'"));
    }
}

fn new_database() -> (String, String) {
    let server = postgres::shared();
    let name = server.new_database();
    let url = server.jdbc_url(&name);
    (name, url)
}

fn command(configuration: &Path, arguments: &[&str]) -> (i32, String) {
    let file = configuration.display().to_string();
    program(&[&["-c", file.as_str()], arguments].concat())
}

#[track_caller]
fn succeeds(configuration: &Path, arguments: &[&str]) -> String {
    let (status, printed) = command(configuration, arguments);
    assert_eq!(status, 0, "{arguments:?}: {printed}");
    printed
}

#[track_caller]
fn fails(configuration: &Path, arguments: &[&str], status: i32, expected: &str) {
    let (found, printed) = command(configuration, arguments);
    assert!(found == status && printed.contains(expected), "{arguments:?}: {found}: {printed}");
}

/// The objects that a command prints with `--json`.
#[track_caller]
fn json(configuration: &Path, arguments: &[&str]) -> Vec<Value> {
    let printed = succeeds(configuration, &[arguments, &["--json"]].concat());
    serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {printed}"))
}

fn dump_of_sqlite(path: &Path) -> Vec<String> {
    let connection = rusqlite::Connection::open(path).expect("the database is there");
    let rows = |sql: &str| -> Vec<String> {
        let mut statement = connection.prepare(sql).expect("the statement is right");
        let columns = statement.column_count();
        let text = |row: &rusqlite::Row<'_>| {
            let value = |at| match row.get_ref(at).expect("there is such a column") {
                ValueRef::Text(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                other => format!("{other:?}"),
            };
            Ok((0..columns).map(value).collect::<Vec<_>>().join("|"))
        };
        let found = statement.query_map([], text).expect("the database answers");
        found.map(|row| row.expect("a row can be read")).collect()
    };
    let mut names = connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").expect("right");
    let names: Vec<String> =
        names.query_map([], |row| row.get(0)).expect("an answer").map(|name| name.expect("a name")).collect();
    let of = |name: &String| {
        rows(&format!("SELECT * FROM {name}"))
            .into_iter()
            .map(move |row| format!("{name}: {row}"))
            .collect::<Vec<_>>()
    };
    let mut dump: Vec<String> = names.iter().flat_map(of).collect();
    dump.sort();
    dump
}

fn dump_of_postgres(database: &str) -> Vec<String> {
    let mut client = postgres::shared().client(database);
    let tables = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' AND table_type = 'BASE TABLE'";
    let names: Vec<String> =
        client.query(tables, &[]).expect("an answer").iter().map(|row| row.get(0)).collect();
    let mut dump = Vec::new();
    for name in names {
        let rows = client.query(&format!("SELECT CAST(t AS TEXT) FROM {name} AS t"), &[]).expect("an answer");
        dump.extend(rows.iter().map(|row| format!("{name}: {}", row.get::<_, String>(0))));
    }
    dump.sort();
    dump
}

/// Every file below a folder, by its path.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        }
        found.push(path);
    }
    found
}

/// The user or channel of an object that `usage` prints, and its numbers.
fn numbers(object: &Value) -> [u64; 4] {
    ["media_files", "media_bytes", "upload_files", "upload_bytes"]
        .map(|member| object[member].as_u64().unwrap_or_else(|| panic!("{member} is no number: {object}")))
}

#[test]
fn usage_and_list_show_stored_files() {
    let bytes = photo_bytes().len() as u64 + "A title".len() as u64 + "photo.jpg".len() as u64;
    for stage in Stage::both() {
        let site = &stage.site;
        let (alice, bob) = (site.user(), site.user());
        let own = site.own_channel("open", &alice);
        let room = site.channel("open", &[(alice.bare(), "publisher"), (bob.bare(), "publisher")]);
        let [first, second] = [(); 2].map(|()| site.upload(&alice, &own));
        let (third, fourth) = (site.upload(&alice, &room), site.upload(&bob, &room));
        let (message, url) = stage.send(&alice, "a b.txt", b"12345", Purpose::Message);
        let (permanent, _) = stage.send(&alice, "gpj.\u{202e}exe", b"1234567", Purpose::Permanent);
        let (other, _) = stage.send(&bob, "c.txt", b"1", Purpose::Message);

        let usage = stage.json(&["usage"]);
        let of = |kind: &str, id: &str| {
            let is = |object: &&Value| object["kind"] == kind && object["id"] == id;
            numbers(usage.iter().find(is).unwrap_or_else(|| panic!("no {kind} {id} in {usage:?}")))
        };
        assert_eq!(of("user", alice.bare()), [3, 3 * bytes, 2, 12]);
        assert_eq!(of("user", bob.bare()), [1, bytes, 1, 1]);
        assert_eq!(of("channel", &own), [2, 2 * bytes, 0, 0]);
        assert_eq!(of("channel", &room), [2, 2 * bytes, 0, 0]);
        assert_eq!(of("total", "total"), [4, 4 * bytes, 3, 13]);
        assert_eq!(usage.len(), 5);
        assert_eq!(usage[0]["id"], alice.bare(), "the most bytes come first");
        let single = |arguments: &[&str]| {
            let objects = stage.json(arguments);
            assert_eq!(objects.len(), 1, "{objects:?}");
            numbers(&objects[0])
        };
        assert_eq!(single(&["usage", "--user", bob.bare()]), [1, bytes, 1, 1]);
        assert_eq!(single(&["usage", "--user", "nobody@example.org"]), [0; 4]);
        assert_eq!(single(&["usage", "--channel", &room]), [2, 2 * bytes, 0, 0]);
        let printed = stage.succeeds(&["usage", "--user", alice.bare()]);
        let lines: Vec<&str> = printed.lines().collect();
        assert_eq!(lines[0], "    MEDIA       SIZE   UPLOADS       SIZE  USER");
        assert!(lines[1].starts_with("        3 ") && lines[1].ends_with(&format!("  {}", alice.bare())));

        stage.make_old("medias", "uploadedDate", &first);
        stage.make_old("uploads", "created", &permanent);
        let user = alice.bare();
        let table: [(&[&str], &[&String]); 16] = [
            (&[], &[&first, &second, &third, &fourth, &message, &permanent, &other]),
            (&["--user", user], &[&first, &second, &third, &message, &permanent]),
            (&["--user", "nobody@example.org"], &[]),
            (&["--channel", &own], &[&first, &second]),
            (&["--channel", &room, "--user", bob.bare()], &[&fourth]),
            (&["--channel", "none@example.org"], &[]),
            (&["--kind", "media"], &[&first, &second, &third, &fourth]),
            (&["--kind", "upload"], &[&message, &permanent, &other]),
            (&["--purpose", "message"], &[&message, &other]),
            (&["--purpose", "permanent", "--kind", "upload"], &[&permanent]),
            (&["--purpose", "profile"], &[]),
            (&["--older-than", "1d"], &[&first, &permanent]),
            (&["--older-than", "99999d"], &[]),
            (&["--older-than", "0s", "--kind", "upload"], &[&message, &permanent, &other]),
            (&["--older-than", "1h", "--user", user, "--kind", "upload"], &[&permanent]),
            (&["--older-than", "1h", "--channel", &room], &[]),
        ];
        for (filter, expected) in table {
            let found = stage.ids(&[&["list"], filter].concat());
            assert_eq!(found, expected.iter().map(|id| (*id).clone()).collect(), "{filter:?}");
            if !filter.is_empty() {
                let would = stage.ids(&[&["delete"], filter].concat());
                assert_eq!(would, found, "a trial tells the same: {filter:?}");
            }
        }
        assert_eq!(stage.json(&["list"]).len(), 7, "a trial deletes nothing");

        let list = stage.json(&["list", "--user", user]);
        let dates: Vec<&str> = list.iter().map(|file| file["created"].as_str().expect("a date")).collect();
        assert!(dates.is_sorted_by(|newer, older| newer >= older), "{dates:?}");
        let of = |id: &str| list.iter().find(|file| file["id"] == id).expect("it is listed").clone();
        let upload = of(&message);
        assert_eq!(format!("{}", upload["path"].as_str().expect("a text")), url[site.url("").len()..]);
        for (member, value) in [
            ("kind", "upload"),
            ("user", user),
            ("name", "a b.txt"),
            ("type", "text/plain"),
            ("purpose", "message"),
        ] {
            assert_eq!(upload[member], value);
        }
        assert!(upload["bytes"] == 5 && upload["channel"].is_null() && upload["expires"].is_string());
        let media = of(&third);
        assert!(
            media["channel"] == room
                && media["path"] == format!("{room}/{third}")
                && media["expires"].is_null()
        );

        let printed = stage.succeeds(&["list", "--user", user]);
        assert!(printed.contains("gpj.\\u{202e}exe") && !printed.contains('\u{202e}'), "{printed}");
        assert!(
            printed.contains(&format!("  message    {user}  a b.txt\n    upload/{message}/a%20b.txt\n")),
            "{printed}"
        );
        assert!(
            printed.contains(&format!("  media      {user}  photo.jpg\n    {room}/{third}\n")),
            "{printed}"
        );
        assert!(printed.lines().last().is_some_and(|line| line.starts_with("5 files, ")), "{printed}");
    }
}

#[test]
fn a_deletion_beside_a_running_server_is_seen_at_once() {
    for stage in Stage::both() {
        let site = &stage.site;
        let (alice, bob) = (site.user(), site.user());
        let room = site.channel("open", &[(alice.bare(), "publisher"), (bob.bare(), "publisher")]);
        let (gone, kept) = (site.upload(&alice, &room), site.upload(&bob, &room));
        let (message, url) = stage.send(&alice, "a.txt", b"12345", Purpose::Message);
        let preview = site.url(&format!("{room}/{gone}?maxheight=50"));
        Request::get(&preview).send().expect(200);
        Request::get(&url).send().expect(200);

        let before = (stage.dump(), files(&site.server.storage()).len());
        let printed = stage.succeeds(&["delete", "--user", alice.bare()]);
        assert!(
            printed.contains("2 files, ") && printed.contains(" would be deleted; add --yes"),
            "{printed}"
        );
        assert_eq!(
            (stage.dump(), files(&site.server.storage()).len()),
            before,
            "a trial has changed something"
        );

        let objects = stage.json(&["delete", "--user", alice.bare(), "--yes"]);
        assert!(objects.len() == 2 && objects.iter().all(|file| file["deleted"] == true), "{objects:?}");
        for url in [site.url(&format!("{room}/{gone}")), preview, url] {
            wait_for(&format!("{url} to be gone"), || {
                (Request::get(&url).send().status == 404).then_some(())
            });
        }
        assert!(Request::get(&site.url(&format!("{room}/{kept}"))).send().expect(200).body == photo_bytes());
        let list = Request::get(&site.url(&room)).send().expect(200).json();
        assert_eq!(list.as_array().map(Vec::len), Some(1), "{list}");
        let names = files(&site.server.storage());
        assert!(names.iter().any(|path| path.ends_with(&kept)));
        assert!(!names.iter().any(|path| path.ends_with(&gone)), "{names:?}");
        assert!(files(&site.server.storage().join(".uploads")).iter().all(|path| path.is_dir()));
        assert!(stage.dump().iter().all(|row| !row.starts_with("removals: ")), "its files are gone");
        let emptied =
            stage.dump().into_iter().find(|row| row.contains(&message)).expect("the slot stays used");
        assert!(!emptied.contains(alice.bare()) && !emptied.contains("a.txt"), "{emptied}");

        let printed = stage.succeeds(&["delete", "--user", alice.bare(), "--yes"]);
        assert_eq!(printed, "0 files, 0 bytes deleted\n");
        assert_eq!(stage.succeeds(&["delete", "--user", alice.bare()]), "no file would be deleted\n");
        assert!(stage.json(&["delete", "--user", alice.bare()]).is_empty());
        let configuration = stage.configuration();
        fails(&configuration, &["delete"], 2, "delete needs an option that says which files");
        fails(&configuration, &["delete", "--yes"], 2, "delete needs an option that says which files");
        fails(&configuration, &["purge", "--yes"], 2, "purge needs --user JID");
        fails(&configuration, &["list", "--older-than", "30"], 2, "a time with a unit");
        assert_eq!(stage.succeeds(&["fsck"]).trim(), "files and metadata agree");
    }
}

/// A deletion that finds another site's storage beside the database changes nothing.
#[test]
fn delete_and_purge_refuse_a_storage_of_another_site() {
    let stage = Stage { site: Site::start(&UPLOADS), database: None };
    let (user, channel) = stage.site.public_channel();
    stage.site.upload(&user, &channel);
    let other = Scratch::new();
    fs::write(other.join(".store"), "abcdefghij0123456789\n").expect("the scratch directory takes files");
    let text = fs::read_to_string(stage.configuration()).expect("the configuration is there");
    let root = stage.site.server.storage().display().to_string();
    let text = text.replace(
        &format!("media.storage.root={root}"),
        &format!(
            "media.storage.root={}\njdbc.db.url=jdbc:sqlite:{root}/metadata.sqlite",
            other.path().display()
        ),
    );
    let path = other.join("mediaserver.properties");
    fs::write(&path, text).expect("the scratch directory takes files");
    for arguments in [&["delete", "--user", user.bare(), "--yes"], &["purge", "--user", user.bare(), "--yes"]]
    {
        fails(&path, arguments, 78, "belong to different sites");
    }
    assert_eq!(stage.json(&["list"]).len(), 1);
}

#[test]
fn a_purge_leaves_nothing_that_names_the_user() {
    for stage in Stage::both() {
        let site = &stage.site;
        let (alice, bob) = (site.user(), site.user());
        let user = alice.bare().to_owned();
        let own = site.own_channel("open", &alice);
        let room = site.channel("open", &[(&user, "publisher"), (bob.bare(), "publisher")]);
        let media = [site.upload(&alice, &own), site.upload(&alice, &room)];
        let kept = site.upload(&bob, &room);
        let avatar = Request::new("PUT", &site.url(&format!("{own}/avatar"))).basic(alice.jid());
        avatar.file(&photo(), "image/jpeg").send().expect(201);
        Request::get(&site.url(&format!("{own}/{}?maxheight=50", media[0]))).send().expect(200);
        let (_, url) = stage.send(&alice, "a.txt", b"12345", Purpose::Message);
        // A media of somebody else in the channel, one of the original server, and what was set aside.
        let row = |id: &str, channel: &str, author: &str| {
            let date = if stage.database.is_some() { "TIMESTAMP 'epoch'" } else { "0" };
            stage.sql(&format!(
                "INSERT INTO medias (id, entityId, author, mimeType, uploadedDate, lastUpdatedDate, shaChecksum, fileSize) \
                 VALUES ('{id}', '{channel}', '{author}', 'text/plain', {date}, {date}, '', 5)"
            ));
            fs::write(site.stored(channel, id), "bytes").expect("the storage takes files");
        };
        row("others", &own, "carol@example.org");
        row("original", &room, &format!("{user}/laptop"));
        let lost = site.server.storage().join(format!(".lost/2014-01-23/{user}"));
        fs::create_dir_all(&lost).expect("the storage takes folders");
        fs::write(lost.join("x"), "bytes").expect("the storage takes files");

        let before = stage.dump();
        for table in ["medias", "avatars", "uploads", "usage"] {
            let is_named = |row: &&String| row.starts_with(table) && row.contains(&user);
            assert!(before.iter().any(|row| is_named(&row)), "no row of {table} names the user");
        }
        let object = &stage.json(&["purge", "--user", &user])[0];
        let counts = ["media", "channel_media", "uploads", "previews", "avatars"]
            .map(|member| object[member].as_u64());
        assert_eq!(counts, [4, 1, 1, 1, 1].map(Some), "{object}");
        assert!(object["purged"] == false && object["id"] == *user && object["blocked"] == false, "{object}");
        let printed = stage.succeeds(&["purge", "--user", &user]);
        assert!(printed.starts_with(&format!("would remove what is stored of {user}:\n")), "{printed}");
        assert!(printed.ends_with("add --yes to remove it\n"), "{printed}");
        assert_eq!(stage.dump(), before, "a trial has changed something");

        let printed = stage.succeeds(&["purge", "--user", &user, "--yes"]);
        assert!(printed.starts_with(&format!("removed what was stored of {user}:\n")), "{printed}");
        let named: Vec<String> = stage.dump().into_iter().filter(|row| row.contains(&user)).collect();
        assert!(named.is_empty(), "{named:?}");
        for path in files(&site.server.storage()) {
            assert!(!path.to_string_lossy().contains(&user), "{}", path.display());
            let bytes = fs::read(&path).unwrap_or_default();
            let is_named = bytes.windows(user.len()).any(|window| window == user.as_bytes());
            assert!(!is_named, "{} names the user", path.display());
            assert!(!path.to_string_lossy().contains("original"), "{}", path.display());
        }
        for line in site.server.log().lines().filter(|line| line.contains(&user)) {
            // The housekeeper may be as fast as the command.
            let is_told = line.contains(" access: ") || line.contains(": removed ");
            assert!(is_told, "the manual names no such line: {line}");
        }
        for url in [
            url,
            site.url(&format!("{own}/{}", media[0])),
            site.url(&format!("{room}/{}", media[1])),
            site.url(&format!("{own}/avatar")),
        ] {
            wait_for(&format!("{url} to be gone"), || {
                (Request::get(&url).send().status == 404).then_some(())
            });
        }
        assert!(Request::get(&site.url(&format!("{room}/{kept}"))).send().expect(200).body == photo_bytes());
        assert_eq!(stage.succeeds(&["fsck"]).trim(), "files and metadata agree");
        assert_eq!(numbers(&stage.json(&["usage", "--user", &user])[0]), [0; 4]);

        // A block stays, and the user may be purged again.
        let date = if stage.database.is_some() { "TIMESTAMP 'epoch'" } else { "0" };
        stage.sql(&format!("INSERT INTO blocks (jid, since, \"by\") VALUES ('{user}', {date}, '{user}')"));
        let printed = stage.succeeds(&["purge", "--user", &user, "--yes"]);
        assert!(printed.contains("the user stays blocked"), "{printed}");
        assert!(printed.contains("1 other user keeps the block that the user set"), "{printed}");
        assert_eq!(stage.dump().iter().filter(|row| row.contains(&user)).count(), 1);

        // A file without a row may belong to an upload that has not ended.
        fs::create_dir(site.server.storage().join(&own)).expect("it was removed");
        fs::write(site.stored(&own, "young"), "bytes").expect("the storage takes files");
        fails(
            &stage.configuration(),
            &["purge", "--user", &user, "--yes"],
            1,
            "1 file stays in the directory",
        );
        assert!(site.stored(&own, "young").exists());
    }
}

/// A site's content that has something of everything. Gives the ids of a media and its channel.
fn fill(stage: &Stage) -> (String, String) {
    let site = &stage.site;
    let (alice, channel) = site.public_channel();
    let id = site.upload(&alice, &channel);
    let avatar = Request::new("PUT", &site.url(&format!("{channel}/avatar"))).basic(alice.jid());
    avatar.file(&photo(), "image/jpeg").send().expect(201);
    site.upload_titled(&alice, &channel, "Ein \u{7f}schöner\t\"Titel\" 😀 \\ & <b>");
    Request::get(&site.url(&format!("{channel}/{id}?maxheight=50"))).send().expect(200);
    stage.send(&alice, "a b.txt", b"12345", Purpose::Message);
    stage.send(&alice, "c.txt", b"1", Purpose::Profile);
    let (_, gone) = stage.send(&alice, "gone.txt", b"12", Purpose::Permanent);
    stage.succeeds(&["delete", "--purpose", "permanent", "--yes"]);
    wait_for("the upload to be gone", || (Request::get(&gone).send().status == 404).then_some(()));
    let date =
        if stage.database.is_some() { "TIMESTAMP '2014-01-23 18:00:00.123456'" } else { "1390500000123456" };
    stage.sql(&format!(
        "INSERT INTO blocks (jid, since, \"by\") VALUES ('eve@example.org', {date}, 'admin@example.org')"
    ));
    (channel, id)
}

/// A configuration like another, with its database elsewhere.
fn elsewhere(configuration: &Path, scratch: &Scratch, name: &str, url: &str) -> PathBuf {
    let text = fs::read_to_string(configuration).expect("the configuration is there");
    let kept: String = text
        .lines()
        .filter(|line| !line.starts_with("jdbc.db.url="))
        .map(|line| format!("{line}\n"))
        .collect();
    let path = scratch.join(name);
    fs::write(&path, format!("{kept}jdbc.db.url={url}\n")).expect("the scratch directory takes files");
    path
}

#[test]
fn an_export_goes_to_the_other_database_and_back_without_a_change() {
    let mut stage = Stage { site: Site::start(&UPLOADS), database: None };
    let (channel, id) = fill(&stage);
    let scratch = Scratch::new();
    let [first, second, third] = ["first", "second", "third"].map(|name| scratch.join(name));
    let path = |path: &Path| path.display().to_string();

    let printed = stage.succeeds(&["export", &path(&first)]);
    assert!(
        printed.starts_with("3 media, 1 preview, 1 avatar, 2 uploads, 1 block\nexported to "),
        "{printed}"
    );
    assert_eq!(fs::metadata(&first).expect("it is there").permissions().mode() & 0o777, 0o600);
    let exported = fs::read_to_string(&first).expect("it is text");
    for secret in ["secret", "removal", "slot\""] {
        assert!(!exported.contains(secret), "{secret} is in the export");
    }
    fails(&stage.configuration(), &["export", &path(&first)], 1, "exists already: name a new file");
    assert_eq!(fs::read_to_string(&first).expect("it is text"), exported);
    let store =
        fs::read_to_string(stage.site.server.storage().join(".store")).expect("the storage is marked");
    assert!(exported.starts_with(&format!(
        "{{\"record\":\"store\",\"format\":1,\"id\":\"{}\"",
        store.lines().next().expect("an id")
    )));

    let (database, url) = new_database();
    let on_postgres = elsewhere(&stage.configuration(), &scratch, "postgres.properties", &url);
    fails(&on_postgres, &["import", &path(&first)], 1, "setup-schema");
    succeeds(&on_postgres, &["setup-schema"]);
    fails(&on_postgres, &["import", &path(&first)], 1, "is in use by process");
    stage.site.server.stop();
    let original = stage.dump();
    let printed = succeeds(&on_postgres, &["import", &path(&first)]);
    assert!(
        printed.starts_with("3 media, 1 preview, 1 avatar, 2 uploads, 1 block\nimported from "),
        "{printed}"
    );
    fails(&on_postgres, &["import", &path(&first)], 1, "the database is not empty: table medias has rows");
    let object = &json(&on_postgres, &["export", &path(&second)])[0];
    assert!(object["media"] == 3 && object["emptied"] == 1 && object["id"] == path(&second), "{object}");
    assert_eq!(fs::read_to_string(&second).expect("it is text"), exported);
    assert_eq!(succeeds(&on_postgres, &["fsck"]).trim(), "files and metadata agree");

    let file = scratch.join("new.sqlite");
    let on_sqlite = elsewhere(
        &stage.configuration(),
        &scratch,
        "sqlite.properties",
        &format!("jdbc:sqlite:{}", file.display()),
    );
    succeeds(&on_sqlite, &["setup-schema"]);
    succeeds(&on_sqlite, &["import", &path(&second)]);
    succeeds(&on_sqlite, &["export", &path(&third)]);
    assert_eq!(fs::read_to_string(&third).expect("it is text"), exported);
    // Keys of tokens and the dates of the schema are made anew, and so are the numbers of avatars.
    let kept = |dump: Vec<String>| -> Vec<String> {
        let is_made = |row: &String| {
            ["secrets: ", "schema_version: ", "avatars: ", "sqlite_sequence: "]
                .iter()
                .any(|table| row.starts_with(table))
        };
        dump.into_iter().filter(|row| !is_made(row)).collect()
    };
    assert_eq!(kept(dump_of_sqlite(&file)), kept(original));
    assert_eq!(dump_of_postgres(&database).iter().filter(|row| row.starts_with("medias: ")).count(), 3);

    // The server goes on with the other database.
    fs::copy(&on_postgres, stage.configuration()).expect("the scratch directory takes files");
    stage.site.server.start_again();
    stage.site.wait_ready(&channel);
    assert!(
        Request::get(&stage.site.url(&format!("{channel}/{id}"))).send().expect(200).body == photo_bytes()
    );
}

/// A configuration without a database, with an empty storage and no XMPP server.
fn empty_site(scratch: &Scratch) -> PathBuf {
    let root = scratch.join("media");
    fs::create_dir(&root).expect("the scratch directory takes folders");
    let xmpp = crate::support::server::Xmpp { client_port: 1, component_port: 2 };
    let base = scratch.join("base.properties");
    fs::write(&base, properties(0, xmpp, &root, &[])).expect("the scratch directory takes files");
    base
}

#[test]
fn a_bad_file_fills_no_database() {
    let scratch = Scratch::new();
    let (base, (_, url)) = (empty_site(&scratch), new_database());
    let sqlite = format!("jdbc:sqlite:{}", scratch.join("new.sqlite").display());
    let block = |jid: &str| format!("{{\"record\":\"block\",\"jid\":\"{jid}\",\"since\":0,\"by\":\"a@b\"}}");
    let store = "{\"record\":\"store\",\"format\":1,\"id\":null}";
    let end = |records| format!("{{\"record\":\"end\",\"records\":{records}}}");
    let good = [store.to_owned(), block("c@d"), block("e@f"), end(3)];
    let table = [
        (vec![good[0].clone(), good[1].clone(), "nonsense".to_owned()], "line 3: expected"),
        (
            vec![good[0].clone(), good[1].clone(), block("E@f"), end(3)],
            "line 3: jid: \"E@f\" is not a bare JID",
        ),
        (
            vec![good[0].clone(), good[1].clone(), good[2].clone()],
            "the file is incomplete: it ends after line 3",
        ),
        (vec![good[0].clone(), good[1].clone(), end(3)], "line 3: it counts 3 lines before it"),
        (vec![store.replace(":1,", ":2,")], "line 1: the export has format 2"),
    ];
    for (name, url) in [("sqlite.properties", &sqlite), ("postgres.properties", &url)] {
        let configuration = elsewhere(&base, &scratch, name, url);
        succeeds(&configuration, &["setup-schema"]);
        let file = scratch.join("bad");
        for (lines, expected) in &table {
            fs::write(&file, lines.join("\n") + "\n").expect("the scratch directory takes files");
            fails(&configuration, &["import", &file.display().to_string()], 1, expected);
        }
        fs::write(&file, good.join("\n") + "\n").expect("the scratch directory takes files");
        let object = &json(&configuration, &["import", &file.display().to_string()])[0];
        assert!(object["blocks"] == 2 && object["media"] == 0, "nothing was written before: {object}");
        fails(
            &configuration,
            &["import", &file.display().to_string()],
            1,
            "the database is not empty: table blocks",
        );

        // The storage of another site.
        fs::write(scratch.join("media/.store"), "abcdefghij0123456789\n").expect("the storage takes files");
        fs::write(&file, format!("{}\n{}\n", store.replace("null", "\"bbbbbbbbbb0123456789\""), end(1)))
            .expect("it takes files");
        let empty = scratch.join(format!("{name}.empty"));
        let again = elsewhere(&base, &scratch, name, &format!("jdbc:sqlite:{}", empty.display()));
        succeeds(&again, &["setup-schema"]);
        fails(&again, &["import", &file.display().to_string()], 78, "belong to different sites");
        fs::remove_file(scratch.join("media/.store")).expect("it was there");
    }
}

/// Lines of an export with so many blocks: a table without sums, which both databases fill fast.
fn blocks(count: usize) -> String {
    let mut text = "{\"record\":\"store\",\"format\":1,\"id\":null}\n".to_owned();
    for number in 0..count {
        text += &format!(
            "{{\"record\":\"block\",\"jid\":\"u{number:08}@b\",\"since\":{number},\"by\":\"a@b\"}}\n"
        );
    }
    text + &format!("{{\"record\":\"end\",\"records\":{}}}\n", count + 1)
}

#[test]
fn an_import_that_is_killed_leaves_an_empty_database() {
    let scratch = Scratch::new();
    let (base, (_, url)) = (empty_site(&scratch), new_database());
    let sqlite = format!("jdbc:sqlite:{}", scratch.join("new.sqlite").display());
    // The import reads a pipe to its beginning and waits there for more: a file can't be waited in.
    let (whole, file) = (blocks(20_000), scratch.join("export"));
    fs::write(&file, &whole).expect("the scratch directory takes files");
    for (name, url) in [("sqlite.properties", &sqlite), ("postgres.properties", &url)] {
        let configuration = elsewhere(&base, &scratch, name, url).display().to_string();
        succeeds(Path::new(&configuration), &["setup-schema"]);
        let path = file.display().to_string();
        let output = scratch.join("output");
        let import = Guarded::start(&[PROGRAM, "-c", &configuration, "import", &path], &[], &output);
        // It has read so much of the file that it is between two rows.
        let at = format!("/proc/{}/fdinfo", import.pid());
        wait_for("the import to be in the middle", || {
            let open = fs::read_dir(&at).ok()?.flatten();
            let is_in_middle = |text: String| {
                let position = text.lines().next()?.strip_prefix("pos:")?.trim().parse::<usize>().ok()?;
                (100_000..whole.len()).contains(&position).then_some(())
            };
            open.filter_map(|entry| fs::read_to_string(entry.path()).ok()).find_map(is_in_middle)
        });
        import.signal("KILL");
        let mut import = import;
        assert_eq!(import.wait(), 137, "it was killed");
        let object = &json(Path::new(&configuration), &["import", &path])[0];
        assert_eq!(object["blocks"], 20_000, "the database was empty");
    }
}

#[test]
fn an_export_of_any_size_takes_little_memory() {
    const ROWS: usize = 20_000;
    let scratch = Scratch::new();
    let (base, (database, url)) = (empty_site(&scratch), new_database());
    let file = scratch.join("new.sqlite");
    let columns =
        "id, entityId, author, description, mimeType, uploadedDate, lastUpdatedDate, shaChecksum, fileSize";
    let sqlite = format!(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS}) INSERT INTO medias ({columns}) \
         SELECT 'media' || i, 'room@example.org', 'alice@example.org', printf('%.*c', 1000, 'x'), 'text/plain', i, i, '', 5 FROM n"
    );
    let postgres = format!(
        "INSERT INTO medias ({columns}) SELECT 'media' || i, 'room@example.org', 'alice@example.org', repeat('x', 1000), \
         'text/plain', TIMESTAMP 'epoch', TIMESTAMP 'epoch', '', 5 FROM generate_series(1, {ROWS}) AS i"
    );
    let fill_sqlite = || {
        rusqlite::Connection::open(&file)
            .expect("it is there")
            .execute_batch(&sqlite)
            .expect("it takes rows");
    };
    let fill_postgres =
        || postgres::shared().client(&database).batch_execute(&postgres).expect("it takes rows");
    let fills: [(&str, String, &dyn Fn()); 2] = [
        ("sqlite", format!("jdbc:sqlite:{}", file.display()), &fill_sqlite),
        ("postgres", url, &fill_postgres),
    ];
    for (name, url, fill) in fills {
        let configuration = elsewhere(&base, &scratch, name, &url).display().to_string();
        succeeds(Path::new(&configuration), &["setup-schema"]);
        fill();
        let export = scratch.join(format!("{name}.json"));
        // The rows take 25 MB in the file and more in memory; the program is let have 24 MB for its data.
        let script =
            format!("ulimit -d 24576; exec '{PROGRAM}' -c '{configuration}' export '{}'", export.display());
        let (status, printed) = run(&["sh", "-c", &script]);
        assert_eq!(status, 0, "{name}: {printed}");
        assert!(printed.starts_with("20000 media, "), "{printed}");
        assert!(fs::metadata(&export).expect("it is there").len() > 25_000_000);
        fs::remove_file(export).expect("it was there");
    }
}

/// Columns of texts that name nobody: ids, names of files that we made, types, hashes and words of the server.
const NAMELESS: &[&str] = &[
    "avatars.mediaId",
    "chores.name",
    "chores.node",
    "configuration.key",
    "medias.fileExtension",
    "medias.id",
    "medias.mimeType",
    "medias.sha256",
    "medias.shaChecksum",
    "previews.id",
    "previews.mediaId",
    "previews.mimeType",
    "previews.shaChecksum",
    "prompts.decision",
    "prompts.deed",
    "prompts.form",
    "prompts.method",
    "prompts.node",
    "removals.file",
    "removals.reason",
    "schema_version.description",
    "secrets.kind",
    "secrets.secret",
    "store.id",
    "stream_holder.jid",
    "stream_holder.node",
    "uploads.file",
    "uploads.id",
    "uploads.mimeType",
    "uploads.purpose",
    "uploads.sha256",
    "usage.kind",
];

/// The columns of texts that the embedded database has.
fn text_columns_of_sqlite() -> BTreeSet<String> {
    let scratch = Scratch::new();
    let file = scratch.join("new.sqlite");
    media_server::store::SqliteSchema::new(&file).set_up().expect("the schema can be made");
    let connection = rusqlite::Connection::open(&file).expect("it was made");
    let sql = "SELECT tables.name || '.' || columns.name FROM sqlite_schema AS tables, pragma_table_info(tables.name) AS columns \
               WHERE tables.type = 'table' AND columns.type = 'TEXT'";
    let mut columns = connection.prepare(sql).expect("the statement is right");
    let columns = columns.query_map([], |row| row.get::<_, String>(0)).expect("an answer");
    columns.map(|column| column.expect("a name").to_lowercase()).collect()
}

/// The columns of texts that PostgreSQL has. It keeps their names in lower case.
fn text_columns_of_postgres() -> BTreeSet<String> {
    let scratch = Scratch::new();
    let (database, url) = new_database();
    let configuration = elsewhere(&empty_site(&scratch), &scratch, "postgres", &url);
    succeeds(&configuration, &["setup-schema"]);
    let sql = "SELECT table_name || '.' || column_name FROM information_schema.columns JOIN information_schema.tables \
               USING (table_schema, table_name) WHERE table_schema = 'public' AND table_type = 'BASE TABLE' \
               AND data_type IN ('text', 'character varying')";
    let rows = postgres::shared().client(&database).query(sql, &[]).expect("an answer");
    rows.iter().map(|row| row.get(0)).collect()
}

#[test]
fn the_manual_names_each_column_that_may_name_a_user() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("man/buddycloud-media-server-privacy.7");
    let page = fs::read_to_string(page).expect("it is in the tree");
    let items = page.lines().filter_map(|line| line.strip_prefix(".It Li "));
    let told: BTreeSet<String> = items.flat_map(|item| item.split(" , ")).map(str::to_lowercase).collect();
    let nameless: BTreeSet<String> = NAMELESS.iter().map(|column| column.to_lowercase()).collect();
    let found = &text_columns_of_sqlite() | &text_columns_of_postgres();
    for column in &found {
        let (is_told, is_nameless) = (told.contains(column), nameless.contains(column));
        assert!(is_told != is_nameless, "{column} must be on the page about privacy or in the list above");
    }
    let missing = told.union(&nameless).find(|column| !found.contains(*column));
    assert_eq!(missing, None, "the page or the list names a column that is not there");
}
