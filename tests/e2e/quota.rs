//! Quotas: `media.quota.channel` and `media.quota.user`.

use std::fs;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::schema::succeed;
use crate::site::{Site, unique};
use crate::support::http::{Answer, Raw, Request, transaction};
use crate::support::media::file;
use crate::support::postgres;
use crate::support::prosody::DOMAIN;
use crate::support::xmpp_client::{Client, Policy};

/// Bytes that each media takes of a quota besides those of its file and its texts; the manual says so.
const MEDIA_COST: usize = 4096;

/// A quota with room for this many media, and this many bytes in them.
fn room(media: usize, bytes: usize) -> String {
    (media * MEDIA_COST + bytes).to_string()
}

/// An upload of this many bytes, sent at once.
fn upload(site: &Site, user: &Client, channel: &str, size: usize) -> Answer {
    request(&site.url(channel), user, size).send()
}

fn request(url: &str, user: &Client, size: usize) -> Request {
    let data = "x".repeat(size);
    Request::new("POST", url).part(&format!("data={data};type=text/plain")).basic(user.jid())
}

/// Asserts that an upload was refused for this quota.
#[track_caller]
fn assert_full(answer: Answer, whose: &str) {
    let answer = answer.expect(507);
    assert_eq!(answer.member("title"), "Quota reached");
    assert!(answer.member("detail").contains(whose), "{}", answer.text());
}

/// The files that the server keeps of a channel, and those of uploads that are under way.
fn files(site: &Site, channel: &str) -> usize {
    let count = |folder| fs::read_dir(folder).into_iter().flatten().count();
    let temporary = fs::read_dir(site.server.storage()).expect("the storage is there");
    let temporary = temporary.filter(|entry| {
        entry.as_ref().is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with(".upload-"))
    });
    count(site.server.storage().join(channel)) + temporary.count()
}

/// A PNG of so many bytes that is square and has no metadata, so that it is stored as it comes.
fn square(size: usize) -> Vec<u8> {
    let chunk = |name: &[u8], data: &[u8]| {
        [&u32::try_from(data.len()).expect("it is small").to_be_bytes()[..], name, data, &[0; 4]].concat()
    };
    let header = chunk(b"IHDR", &[0, 0, 0, 1, 0, 0, 0, 1, 8, 0, 0, 0, 0]);
    let pixels = chunk(b"IDAT", &vec![0; size - 57]);
    [&b"\x89PNG\r\n\x1A\n"[..], &header, &pixels, b"\0\0\0\0IEND\xAE\x42\x60\x82"].concat()
}

#[test]
fn a_channel_is_full_until_something_is_deleted() {
    let site = Site::start(&[("media.quota.channel", &room(2, 1000))]);
    let (user, channel) = site.public_channel();
    let first = upload(&site, &user, &channel, 600).expect(201).member("id");
    assert_full(upload(&site, &user, &channel, MEDIA_COST + 401), "channel's media");
    let avatar = site.url(&format!("{channel}/avatar"));
    let set_avatar = |size: usize| {
        // Its name counts, too.
        let made = file("a.png", &square(size - "a.png".len()));
        Request::new("PUT", &avatar).file(made.path(), "image/png").basic(user.jid()).send()
    };
    assert_full(set_avatar(MEDIA_COST + 401), "channel's media");
    assert_eq!(files(&site, &channel), 1);
    set_avatar(400).expect(201);
    assert_full(upload(&site, &user, &channel, 1), "channel's media");
    let (other, elsewhere) = site.public_channel();
    upload(&site, &other, &elsewhere, MEDIA_COST + 1000).expect(201);

    let url = site.url(&format!("{channel}/{first}"));
    Request::new("DELETE", &url).basic(user.jid()).send().expect(200);
    // The avatar that is replaced stays a media of the channel, and counts.
    set_avatar(600).expect(201);
    assert_full(upload(&site, &user, &channel, 1), "channel's media");
    assert_eq!(files(&site, &channel), 2);
}

#[test]
fn a_user_is_full_in_all_channels() {
    let site = Site::start(&[("media.quota.user", &room(2, 1000))]);
    let [(alice, first), (bob, second)] = [site.public_channel(), site.public_channel()];
    let shared = site.channel("open", &[(alice.bare(), "publisher"), (bob.bare(), "publisher")]);
    upload(&site, &alice, &first, 600).expect(201);
    assert_full(upload(&site, &alice, &shared, MEDIA_COST + 401), "your media");
    upload(&site, &alice, &shared, 400).expect(201);
    upload(&site, &bob, &shared, MEDIA_COST + 1000).expect(201);
    assert_full(upload(&site, &bob, &second, 1), "your media");
}

#[test]
fn a_race_for_the_last_room_has_as_many_winners_as_fit() {
    let site = Site::start(&[("media.quota.channel", &room(3, 3500)), ("xmpp.pending.per.user.max", "64")]);
    let (user, channel) = site.public_channel();
    let url = site.url(&channel);
    race(&[user], |_| url.clone());
    assert_eq!(files(&site, &channel), 3);
}

#[test]
fn two_servers_on_one_database_keep_a_quota_together() {
    let url = postgres::shared().jdbc_url(&postgres::shared().new_database());
    succeed(&url, &["setup-schema"]);
    let quota = room(3, 3500);
    let settings = [
        ("jdbc.db.url", url.as_str()),
        ("media.quota.user", quota.as_str()),
        ("xmpp.pending.per.user.max", "64"),
    ];
    let sites = [(); 2].map(|()| Site::start(&settings));
    let name = unique("user");
    let users = [0, 1].map(|at: usize| sites[at].prosody.login(DOMAIN, &name, Policy::Echo));
    let channels = [0, 1].map(|at| sites[at].url(&sites[at].own_channel("open", &users[at])));
    race(&users, |at| channels[at % 2].clone());
    let stored: usize = sites.iter().map(|site| files(site, users[0].bare())).sum();
    assert_eq!(stored, 3);
}

/// Sends 16 uploads of 1000 bytes at once, and asserts that there was room for three.
fn race(users: &[Client], url: impl Fn(usize) -> String) {
    let user = |at| &users[at % users.len()];
    let uploads: Vec<_> = (0..16).map(|at| request(&url(at), user(at), 1000).send_apart()).collect();
    let mut stored = 0;
    for upload in uploads {
        let answer = upload.join().expect("an answer");
        if answer.status == 201 {
            stored += 1;
        } else {
            assert_full(answer, "media");
        }
    }
    assert_eq!(stored, 3);
}

#[test]
fn an_upload_that_can_not_fit_is_refused_unread() {
    let site = Site::start(&[("media.quota.channel", &room(1, 1000))]);
    let (user, channel) = site.public_channel();
    // curl waits for 100 Continue, and is refused instead: it sends no byte of the file.
    let file = site.server.directory().join("large");
    fs::write(&file, vec![b'x'; 2_000_000]).expect("the scratch directory takes files");
    let upload = Request::new("POST", &site.url(&channel)).file(&file, "text/plain").basic(user.jid());
    let sent = upload.with(&[
        "-H",
        "Expect: 100-continue",
        "--expect100-timeout",
        "60",
        "-w",
        "%{stderr}%{size_upload}",
    ]);
    assert_full(sent.send(), "channel's media");

    // A full one is refused whatever the length, and before the client is asked for a body.
    self::upload(&site, &user, &channel, 1000).expect(201);
    let token = STANDARD.encode(format!("{}:{}", user.jid(), transaction()));
    let mut raw = Raw::connect(site.server.port());
    raw.send(format!(
        "POST /{channel} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {token}\r\nExpect: 100-continue\r\n\
         Content-Type: multipart/form-data; boundary=B\r\nContent-Length: 100\r\n\r\n"
    ));
    let answer = raw.answer().expect("an answer before the body");
    assert_full(answer, "channel's media");
}

/// Bytes of the longest title.
const TITLE: usize = 1024;
/// Bytes of the longest description.
const DESCRIPTION: usize = 16 * 1024;

/// A request with a title and a description of full length, and these parts besides.
fn with_long_texts(site: &Site, request: Request, user: &Client) -> Request {
    let part = |name: &str, length: usize| {
        let file = site.server.directory().join(name);
        fs::write(&file, "x".repeat(length)).expect("the scratch directory takes files");
        format!("{name}=<{}", file.display())
    };
    request.part(&part("title", TITLE)).part(&part("description", DESCRIPTION)).basic(user.jid())
}

#[test]
fn files_of_no_bytes_with_long_texts_have_an_end() {
    let site = Site::start(&[("media.quota.channel", "100000")]);
    let (user, channel) = site.public_channel();
    let upload = || {
        let request = Request::new("POST", &site.url(&channel)).part("data=;type=text/plain");
        with_long_texts(&site, request, &user).send()
    };
    // Each takes its texts and 4096 bytes besides.
    let each = TITLE + DESCRIPTION + 4096;
    for _ in 0..100_000 / each {
        assert_eq!(upload().expect(201).member("fileSize"), "0");
    }
    assert_full(upload(), "channel's media");
    assert_eq!(files(&site, &channel), 100_000 / each);
    let empty = || Request::new("POST", &site.url(&channel)).part("data=;type=text/plain").basic(user.jid());
    let stored = std::iter::repeat_with(|| empty().send()).take_while(|answer| answer.status == 201).count();
    assert_eq!(stored, 100_000 % each / 4096);
    assert_full(empty().send(), "channel's media");
}

#[test]
fn an_update_that_grows_beyond_a_quota_changes_nothing() {
    let site = Site::start(&[("media.quota.channel", &room(1, 18_000)), ("media.quota.user", "1000000")]);
    let (user, channel) = site.public_channel();
    let id = upload(&site, &user, &channel, 1000).expect(201).member("id");
    let url = site.url(&format!("{channel}/{id}"));
    let update = |title: &str| Request::new("POST", &url).field("title", title).basic(user.jid()).send();
    let metadata = || Request::get(&format!("{url}/metadata")).send().expect(200).json();
    update("a title").expect(200);
    let before = metadata();
    assert_full(with_long_texts(&site, Request::new("POST", &url), &user).send(), "channel's media");
    assert_eq!(metadata(), before);
    update("").expect(200);
    let most = Request::new("POST", &url).field("description", &"x".repeat(DESCRIPTION)).basic(user.jid());
    most.send().expect(200);
    assert_full(update(&"x".repeat(TITLE)), "channel's media");
    assert_eq!(metadata()["title"], "");
}
