//! Hostile HTTP clients, and hostile rows of old databases.

use std::time::Duration;

use rusqlite::{Connection, params};

use crate::site::{Site, photo, photo_bytes};
use crate::support::http::{Answer, Raw, Request};
use crate::support::prosody::{PASSWORD, SECRET};
use crate::support::xmpp_client::Policy;

#[test]
fn a_text_with_nul_is_a_bad_form() {
    let site = Site::shared();
    let (user, channel) = site.public_channel();
    let media = site.url(&format!("{channel}/{}", site.upload(&user, &channel)));
    for field in ["title", "description", "filename"] {
        let update = Request::new("POST", &media).basic(user.jid());
        update.with(&["-d", &format!("{field}=a%00b")]).send().expect(400);
    }
    let body = "--b\r\nContent-Disposition: form-data; name=\"title\"\r\n\r\na\0b\r\n\
                --b\r\nContent-Disposition: form-data; name=\"data\"\r\n\r\nx\r\n--b--\r\n";
    let file = site.server.directory().join("nul-form");
    std::fs::write(&file, body).expect("the scratch directory takes files");
    let upload = Request::new("POST", &site.url(&channel)).basic(user.jid());
    let upload = upload.header("Content-Type", "multipart/form-data; boundary=b");
    upload.with(&["--data-binary", &format!("@{}", file.display())]).send().expect(400);
}

#[test]
fn an_update_keeps_no_path_in_a_file_name() {
    let site = Site::shared();
    let (user, channel) = site.public_channel();
    let media = site.url(&format!("{channel}/{}", site.upload(&user, &channel)));
    let rename = |name: &str| {
        let request = Request::new("POST", &media).basic(user.jid()).field("filename", name);
        request.send().expect(200).member("fileName")
    };
    assert_eq!(rename("../../etc/passwd"), "passwd");
    assert_eq!(rename("C:\\x\\gpj\u{1b}[2J.exe"), "gpj[2J.exe");
    assert_eq!(rename(&"n".repeat(1000)).len(), 255);
    assert_eq!(rename(""), "");
}

#[test]
fn an_avatar_that_was_replaced_meanwhile_is_not_deleted() {
    let site = Site::shared();
    let (owner, publisher) = (site.user(), site.user());
    let affiliations = [(owner.bare(), "owner"), (publisher.bare(), "publisher")];
    let channel = site.channel("open", &affiliations);
    let avatar = site.url(&format!("{channel}/avatar"));
    let put = |user: &str| {
        Request::new("PUT", &avatar).basic(user).file(&photo(), "image/jpeg").send().expect(201).member("id")
    };
    let own = put(publisher.jid());
    publisher.set_policy(Policy::Ignore);
    let deletion = Request::new("DELETE", &avatar).basic(publisher.jid()).send_apart();
    let asked = publisher.confirm(1).expect("the publisher is asked");
    let new = put(owner.jid());
    assert_ne!(own, new);
    publisher.answer(&asked, Policy::Echo).expect("the publisher is connected");
    deletion.join().expect("an answer").expect(412);
    Request::get(&site.url(&format!("{channel}/{new}"))).send().expect(200);
    Request::get(&site.url(&format!("{channel}/{own}"))).send().expect(200);
}

#[test]
fn a_domain_that_is_not_served_is_404_before_any_other_error() {
    let site = Site::shared();
    let user = site.user();
    let stranger = site.url("someone@elsewhere.example");
    for request in [
        Request::new("POST", &stranger).header("Content-Type", "image/jpeg").with(&["-d", "x"]),
        Request::new("POST", &stranger),
        Request::new("PUT", &format!("{stranger}/avatar")),
        Request::new("DELETE", &format!("{stranger}/x")),
        Request::get(&format!("{stranger}/avatar")),
    ] {
        request.basic(user.jid()).send().expect(404);
    }
    assert_eq!(user.confirms().len(), 0, "nobody is asked");
    let upload = Request::new("POST", &site.url(user.bare())).header("Content-Type", "image/jpeg");
    upload.with(&["-d", "x"]).send().expect(401);
}

#[test]
fn a_list_of_tags_may_have_several_lines() {
    let site = Site::shared();
    let (user, channel) = site.public_channel();
    let media = site.url(&format!("{channel}/{}", site.upload(&user, &channel)));
    let answer = Request::get(&media).send().expect(200);
    let etag = answer.header("etag").expect("an entity tag");
    let get = |name: &str| Request::get(&media).header(name, "\"other\"").header(name, etag).send();
    get("If-None-Match").expect(304);
    get("If-Match").expect(200);
}

#[test]
fn rows_of_the_original_that_fit_no_header_are_served() {
    let site = Site::start(&[]);
    let (user, channel) = site.public_channel();
    let database = Connection::open(site.server.storage().join("metadata.sqlite")).expect("the database");
    let set = "UPDATE medias SET mimeType = ?2, fileName = ?3, shaChecksum = ?4, author = ?5, \
               lastUpdatedDate = ?6, uploadedDate = ?6, length = -1, height = -1, fileSize = -1 WHERE id = ?1";
    for (mime_type, file_name, sha1, date) in [
        ("", None, "", 0),
        ("text", Some("a\r\nX-Evil: 1"), "a\"b", -1),
        ("image/png\r\nX-Evil: 1", Some("\u{202e}gpj\0.exe"), "\r\nX-Evil: 1", i64::MAX),
        ("b\u{e9}/x", Some("../../x"), "\u{e9}", i64::MIN),
        ("text/html\0", Some(""), "x", 400_000_000_000_000_000),
    ] {
        let id = site.upload(&user, &channel);
        let row = params![id, mime_type, file_name, sha1, "no\u{0}body", date];
        database.execute(set, row).expect("the row is there");
        let media = site.url(&format!("{channel}/{id}"));
        let answer = Request::get(&media).send().expect(200);
        assert!(answer.body == photo_bytes());
        assert_eq!(answer.header("content-type"), Some("application/octet-stream"), "{mime_type:?}");
        assert_eq!(answer.header("x-evil"), None);
        let disposition = answer.header("content-disposition").expect("a disposition");
        assert!(disposition.starts_with("attachment"), "{disposition}");
        let etag = answer.header("etag").expect("an entity tag").to_owned();
        Request::get(&media).header("If-None-Match", &etag).send().expect(304);
        Request::new("HEAD", &media).send().expect(200);
        Request::get(&format!("{media}/metadata")).send().expect(200);
    }
    let listed = Request::get(&site.url(&channel)).send().expect(200).json();
    assert_eq!(listed.as_array().map(Vec::len), Some(5));
}

/// Requests whose answers nobody reads for now.
fn ask_without_reading(site: &Site, path: &str, times: usize) -> Raw {
    let mut connection = Raw::connect(site.server.port());
    connection.send(format!("GET /{path} HTTP/1.1\r\nHost: x\r\n\r\n").repeat(times));
    connection
}

#[test]
fn clients_that_do_not_read_delay_no_other_client() {
    let site = Site::start(&[("http.threads", "3")]);
    let (user, channel) = site.public_channel();
    let file = site.server.directory().join("small");
    std::fs::write(&file, vec![b'x'; 60_000]).expect("the scratch directory takes files");
    let upload = Request::new("POST", &site.url(&channel)).basic(user.jid()).file(&file, "text/plain");
    let media = format!("{channel}/{}", upload.send().expect(201).member("id"));
    // More than the kernel buffers for both ends.
    let waiting: Vec<Raw> = (0..12).map(|_| ask_without_reading(&site, &media, 300)).collect();
    for _ in 0..50 {
        let answer: Answer = Request::get(&site.url(&media)).send().expect(200);
        assert!(answer.took < Duration::from_secs(5), "{:?}", answer.took);
    }
    for mut connection in waiting {
        assert_eq!(connection.answer().expect("the answers are kept").status, 200);
    }
}

#[test]
fn no_secret_is_logged_at_any_level() {
    let site = Site::start(&[("logging.level", "trace")]);
    let (user, channel) = site.public_channel();
    let id = site.upload(&user, &channel);
    let media = site.url(&format!("{channel}/{id}"));
    let token = "c2VjcmV0LXRva2Vu";
    Request::new("DELETE", &media).query(&format!("auth={token}")).send().expect(401);
    Request::new("DELETE", &media).token(token).send().expect(401);
    let asked = user.confirms().pop().expect("the upload was confirmed");
    let log = site.server.log();
    assert!(log.contains(&id) || log.contains(&channel), "nothing is logged:\n{log}");
    for secret in [asked.id.as_str(), token, PASSWORD, SECRET] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}
