//! A site of the original taken over: its database, as its own SQL files made it, and its file tree.

use std::fs;

use crate::schema::command_on;
use crate::site::{Site, photo_bytes};
use crate::support::http::Request;
use crate::support::postgres;
use crate::support::prosody::{CHANNELS, DOMAIN, Prosody};
use crate::support::scratch::Scratch;
use crate::support::xmpp_client::Policy;

const BASE: &str = include_str!("../../sql/base.sql");
const UPGRADES: [&str; 2] =
    [include_str!("../../sql/upgrade-1.sql"), include_str!("../../sql/upgrade-2.sql")];

/// Rows as the original wrote them: no length of a picture, no extension, dates by the database, a preview, the name of a
/// channel as a client wrote it.
const ROWS: &str = "
    INSERT INTO medias (id, fileName, entityId, author, title, description, mimeType, fileExtension, shaChecksum,
                        fileSize, length, height, width)
    VALUES ('lETuJi8rPE4IfQrygN6r', 'testimage.jpg', 'room@example.org', 'old@example.org', 'A title', NULL,
            'image/jpeg', 'jpg', '804fff61d466431e0379bdb32f16d0a89410068a', $SIZE, NULL, 256, 256);
    INSERT INTO medias (id, fileName, entityId, author, title, description, mimeType, fileExtension, shaChecksum,
                        fileSize, length, height, width, uploadedDate, lastUpdatedDate)
    VALUES ('aVaTaR00000000000000', NULL, 'room@example.org', 'Old@Example.org', '', '', 'image/jpeg', $NONE,
            '804fff61d466431e0379bdb32f16d0a89410068a', $SIZE, NULL, NULL, NULL,
            '2014-01-23 18:00:00.123', '2014-01-23 18:00:00.123');
    INSERT INTO medias (id, entityId, author, mimeType, fileExtension, shaChecksum, fileSize)
    VALUES ('lEgAcY00000000000000', 'Room@Example.org', 'old@example.org', 'image/jpeg', 'jpg', 'bc46', $SIZE);
    INSERT INTO avatars (mediaId, entityId) VALUES ('aVaTaR00000000000000', 'room@example.org');
    INSERT INTO previews (id, shaChecksum, mediaId, fileSize, height, width, mimeType)
    VALUES ('pReViEw0000000000000', NULL, 'lETuJi8rPE4IfQrygN6r', 3, 50, 50, 'image/jpeg');
";

#[test]
fn every_version_of_a_database_is_taken_over() {
    for version in 0..=UPGRADES.len() {
        take_over(version);
    }
}

fn take_over(version: usize) {
    let server = postgres::shared();
    let database = server.new_database();
    let url = server.jdbc_url(&database);
    let mut client = server.client(&database);
    for sql in [&[BASE], &UPGRADES[..version]].concat() {
        client.batch_execute(sql).expect("the original's schema");
    }
    // Without upgrade 1, an extension was needed.
    let none = if version == 0 { "''" } else { "NULL" };
    let rows = ROWS.replace("$SIZE", &photo_bytes().len().to_string()).replace("$NONE", none);
    client.batch_execute(&rows).expect("the original's rows");

    let scratch = Scratch::new();
    let root = scratch.join("media");
    fs::create_dir(&root).expect("the scratch directory takes folders");
    let (status, printed) = command_on(&url, &root, &["serve"]);
    assert!(status == 1 && printed.contains("upgrade-schema"), "version {version}: {status} {printed}");
    // Without the files that belong to it, or with others, it stays as it is.
    let (status, printed) = command_on(&url, &root, &["upgrade-schema"]);
    assert!(status == 78 && printed.contains("media.storage.root"), "version {version}: {status} {printed}");
    let folder = root.join("room@example.org");
    fs::create_dir(&folder).expect("the storage takes directories");
    fs::write(folder.join("else"), "else").expect("the storage takes files");
    let (status, printed) = command_on(&url, &root, &["upgrade-schema"]);
    assert!(status == 78 && printed.contains("0 have their file"), "version {version}: {status} {printed}");
    fs::remove_file(folder.join("else")).expect("it is there");
    let has_version = client.query_one("SELECT to_regclass('usage') IS NULL", &[]).expect("an answer");
    assert!(has_version.get::<_, bool>(0), "a refused upgrade has begun");

    for id in ["lETuJi8rPE4IfQrygN6r", "aVaTaR00000000000000"] {
        fs::write(folder.join(id), photo_bytes()).expect("the storage takes files");
    }
    fs::write(folder.join("pReViEw0000000000000"), "old").expect("the storage takes files");
    fs::create_dir(root.join("Room@Example.org")).expect("the storage takes directories");
    fs::write(root.join("Room@Example.org/lEgAcY00000000000000"), photo_bytes()).expect("it takes files");
    let (status, printed) = command_on(&url, &root, &["upgrade-schema"]);
    assert!(status == 0 && printed.contains("belong together"), "version {version}: {status} {printed}");

    let prosody = Prosody::start();
    let old = prosody.login(DOMAIN, "old", Policy::Echo);
    let admin = prosody.login(DOMAIN, "admin", Policy::Ignore);
    admin.create_channel(CHANNELS, "room@example.org", "open", &[]).expect("a channel");
    let storage = root.display().to_string();
    let site = Site::start_on(prosody, &[("jdbc.db.url", &url), ("media.storage.root", &storage)]);

    let room = site.url("room@example.org");
    let list = Request::get(&room).send().expect(200).json();
    let ids: Vec<_> = list.as_array().into_iter().flatten().map(|media| media["id"].as_str()).collect();
    assert_eq!(ids, [Some("lETuJi8rPE4IfQrygN6r"), Some("aVaTaR00000000000000")], "version {version}");
    assert_eq!(list[1]["uploadedDate"], "2014-01-23T18:00:00.123Z");
    assert!(list[1].get("height").is_none());
    let media = format!("{room}/lETuJi8rPE4IfQrygN6r");
    for file in [&media, &format!("{room}/avatar")] {
        assert!(
            Request::get(file).send().expect(200).body == photo_bytes(),
            "version {version}: other bytes"
        );
    }
    // Its uploader may change and delete it, its preview goes with it.
    let media = || Request::new("DELETE", &media).basic(old.jid());
    media().send().expect(200);
    media().send().expect(403);
    assert!(!folder.join("lETuJi8rPE4IfQrygN6r").exists() && !folder.join("pReViEw0000000000000").exists());
    Request::new("DELETE", &format!("{room}/avatar")).basic(old.jid()).send().expect(200);
}
