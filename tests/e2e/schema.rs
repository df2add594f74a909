//! Metadata in PostgreSQL: the schema's commands, the main job, and a database that goes away.

use std::fs;
use std::time::Duration;

use crate::site::{Site, photo, photo_bytes};
use crate::support::http::Request;
use crate::support::postgres;
use crate::support::scratch::Scratch;
use crate::support::server::{Xmpp, program, properties};
use crate::support::wait_for;
use crate::support::xmpp_client::Policy;

/// Runs a command of the program for this database; gives its exit status and what it printed.
pub fn command(url: &str, arguments: &[&str]) -> (i32, String) {
    let scratch = Scratch::new();
    let file = scratch.join("mediaserver.properties");
    // Nothing listens there: these commands need no XMPP.
    let xmpp = Xmpp { client_port: 1, component_port: 1 };
    let text = properties(0, xmpp, scratch.path(), &[("http.port", "8080"), ("jdbc.db.url", url)]);
    fs::write(&file, text).expect("the scratch directory takes files");
    let file = file.display().to_string();
    program(&[&["-c", file.as_str()], arguments].concat())
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
