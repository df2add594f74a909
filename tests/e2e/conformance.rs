//! The tests of the original server, one for one and named by their rows: U upload, A avatar upload, M update,
//! G download, V video, I information, W avatar download, X delete, C discovery, P channel service.

use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::previews;
use crate::site::{Site, assert_asked_once, photo, photo_bytes};
use crate::support::http::{Answer, Request};
use crate::support::media::{Made, film, picture};
use crate::support::prosody::{COMPONENT, DOMAIN};
use crate::support::scripted_peer::{Peer, Side};
use crate::support::server::Server;
use crate::support::stanza::Stanza;
use crate::support::xmpp_client::Client;

/// How a request carries its credentials.
type Sign = fn(Request, &str) -> Request;

const TITLE: &str = "Test Image";
const DESCRIPTION: &str = "My Test Image";

#[test]
fn u1_upload_multipart_image() {
    upload_multipart(Request::basic, &photo(), "image/jpeg");
}

#[test]
fn u2_upload_web_form_image() {
    upload_web_form(Request::basic, &photo(), "image/jpeg");
}

#[test]
fn u3_upload_multipart_image_param_auth() {
    upload_multipart(Request::auth, &photo(), "image/jpeg");
}

#[test]
fn u4_upload_web_form_image_param_auth() {
    upload_web_form(Request::auth, &photo(), "image/jpeg");
}

#[test]
fn u5_upload_multipart_video() {
    let video = video();
    upload_multipart(Request::basic, video.path(), "video/avi");
}

#[test]
fn u6_upload_web_form_video() {
    let video = video();
    upload_web_form(Request::basic, video.path(), "video/avi");
}

/// The original says 400; 413 is what HTTP has for it.
#[test]
fn u7_upload_web_form_too_big() {
    let site = Site::start(&[("media.sizelimit", "1")]);
    let (user, channel) = site.public_channel();
    web_form(Request::new("POST", &site.url(&channel)).basic(user.jid()), &photo(), "image/jpeg")
        .send()
        .expect(413);
    assert_nothing_stored(&site, &channel);
}

#[test]
fn u8_upload_multipart_too_big() {
    let site = Site::start(&[("media.sizelimit", "1")]);
    let (user, channel) = site.public_channel();
    site.upload_request(&channel).basic(user.jid()).send().expect(413);
    assert_nothing_stored(&site, &channel);
}

#[test]
fn a1_upload_avatar_multipart() {
    upload_avatar(Request::basic, multipart);
}

#[test]
fn a2_upload_avatar_web_form() {
    upload_avatar(Request::basic, web_form);
}

#[test]
fn a3_upload_avatar_multipart_param_auth() {
    upload_avatar(Request::auth, multipart);
}

#[test]
fn a4_upload_avatar_web_form_param_auth() {
    upload_avatar(Request::auth, web_form);
}

#[test]
fn m1_update() {
    update(Request::basic);
}

#[test]
fn m2_update_param_auth() {
    update(Request::auth);
}

#[test]
fn m3_update_avatar() {
    update_avatar(Request::basic);
}

#[test]
fn m4_update_avatar_param_auth() {
    update_avatar(Request::auth);
}

#[test]
fn g1_download_image() {
    download(Request::basic, &photo(), "image/jpeg");
}

#[test]
fn g2_download_image_param_auth() {
    download(Request::auth, &photo(), "image/jpeg");
}

#[test]
fn g3_download_preview() {
    download_preview(Request::basic, &photo(), "image/jpeg", (50, 50));
}

/// One pixel larger than the picture each way.
#[test]
fn g4_download_preview_larger_than_the_image() {
    let site = Site::shared();
    let (user, channel) = site.public_channel();
    let id = site.upload(&user, &channel);
    let request = Request::get(&site.url(&format!("{channel}/{id}"))).query("maxheight=257&maxwidth=257");
    assert_eq!(previews::size(&request.send().expect(200).body), (256, 256));
}

#[test]
fn g5_download_preview_param_auth() {
    download_preview(Request::auth, &photo(), "image/jpeg", (50, 50));
}

#[test]
fn g6_file_without_its_row_is_not_found() {
    let site = Site::shared();
    let (user, channel) = site.public_channel();
    let id = site.upload(&user, &channel);
    let file = site.stored(&channel, &id);
    Request::new("DELETE", &site.url(&format!("{channel}/{id}"))).basic(user.jid()).send().expect(200);
    fs::create_dir_all(file.parent().expect("a media is in a folder")).expect("the storage takes folders");
    fs::write(&file, photo_bytes()).expect("the storage takes files");
    Request::get(&site.url(&format!("{channel}/{id}"))).send().expect(404);
}

#[test]
fn v1_download_video() {
    let video = video();
    download(Request::basic, video.path(), "video/avi");
}

#[test]
fn v2_download_video_param_auth() {
    let video = video();
    download(Request::auth, video.path(), "video/avi");
}

#[test]
fn v3_download_video_preview() {
    download_preview(Request::basic, video().path(), "video/avi", (50, 33));
}

#[test]
fn v4_download_video_preview_param_auth() {
    download_preview(Request::auth, video().path(), "video/avi", (50, 33));
}

#[test]
fn i1_metadata() {
    metadata(Request::basic);
}

#[test]
fn i2_metadata_param_auth() {
    metadata(Request::auth);
}

#[test]
fn i3_list() {
    list(Request::basic);
}

#[test]
fn i4_list_param_auth() {
    list(Request::auth);
}

#[test]
fn i5_list_max() {
    let site = Site::shared();
    let (user, channel) = site.public_channel();
    site.upload(&user, &channel);
    let newest = site.upload(&user, &channel);
    let list = Request::get(&site.url(&channel)).query("max=1").send().expect(200);
    assert_eq!(ids(&list), [newest]);
}

#[test]
fn i6_list_after() {
    let site = Site::shared();
    let (user, channel) = site.public_channel();
    let first = site.upload(&user, &channel);
    let second = site.upload(&user, &channel);
    let list = Request::get(&site.url(&channel)).query(&format!("max=1&after={first}")).send().expect(200);
    assert_eq!(ids(&list), [second]);
}

#[test]
fn w1_download_avatar() {
    download_avatar(|request, _| request);
}

#[test]
fn w2_download_avatar_param_auth() {
    download_avatar(Request::auth);
}

#[test]
fn w3_download_avatar_preview() {
    download_avatar_preview(|request, _| request);
}

#[test]
fn w4_download_avatar_preview_param_auth() {
    download_avatar_preview(|request, jid| request.auth(jid).basic(jid));
}

#[test]
fn x1_delete() {
    delete(Request::basic);
}

#[test]
fn x2_delete_param_auth() {
    delete(Request::auth);
}

#[test]
fn x3_delete_avatar() {
    delete_avatar(Request::basic);
}

#[test]
fn x4_delete_avatar_param_auth() {
    delete_avatar(Request::auth);
}

#[test]
fn c1_disco_without_endpoint() {
    let info = disco(Site::shared());
    assert_eq!(info.all("x"), Vec::<&Stanza>::new());
}

#[test]
fn c2_disco_with_endpoint() {
    let endpoint = "https://api.example.org/media_proxy";
    let site = Site::start(&[("http.endpoint", endpoint)]);
    let info = disco(&site);
    let fields: Vec<_> =
        info.all("field").into_iter().map(|field| (field.attribute("var"), value(field))).collect();
    assert_eq!(fields, [("FORM_TYPE", "http://buddycloud.org/v1/api"), ("endpoint", endpoint)]);
    assert_eq!(site.admin.discover(DOMAIN), Ok((COMPONENT.to_owned(), endpoint.to_owned())));
}

#[test]
fn p1_discovery_is_attempted_on_connection() {
    let peer = Peer::start(|_, _| Vec::new());
    let _server = Server::start(peer.xmpp(), &[]);
    peer.wait_stanza(Side::Client, "disco#items to the domain", |stanza| {
        let items = stanza.child("query", "http://jabber.org/protocol/disco#items");
        items.is_some() && stanza.attribute("to") == DOMAIN
    });
}

fn upload_multipart(sign: Sign, file: &Path, mime_type: &str) {
    upload(sign, multipart, file, mime_type);
}

fn upload_web_form(sign: Sign, file: &Path, mime_type: &str) {
    upload(sign, web_form, file, mime_type);
}

fn upload(sign: Sign, form: fn(Request, &Path, &str) -> Request, file: &Path, mime_type: &str) {
    let site = Site::shared();
    let (user, channel) = site.public_channel();
    let url = site.url(&channel);
    let bytes = fs::read(file).expect("the fixture is there");
    let answer = form(sign(Request::new("POST", &url), user.jid()), file, mime_type).send().expect(201);
    assert_described(&answer, &user, &channel);
    assert_eq!(answer.member("mimeType"), mime_type);
    assert_eq!(answer.member("fileSize"), bytes.len().to_string());
    let (width, height) = if mime_type == "video/avi" { ("96", "64") } else { ("256", "256") };
    assert_eq!((answer.member("width").as_str(), answer.member("height").as_str()), (width, height));
    assert_eq!(answer.json()["length"].is_u64(), mime_type == "video/avi");
    assert_asked_once(&user, "POST", &url);
    let location = answer.header("location").expect("201 has a Location");
    assert!(location.ends_with(&format!("/{channel}/{}", answer.member("id"))), "{location}");
    let stored = fs::read(site.stored(&channel, &answer.member("id"))).expect("the file is in its place");
    assert!(stored == bytes, "other bytes are stored");
}

fn upload_avatar(sign: Sign, form: fn(Request, &Path, &str) -> Request) {
    let site = Site::shared();
    let (user, channel) = site.public_channel();
    let url = site.url(&format!("{channel}/avatar"));
    let answer = form(sign(Request::new("PUT", &url), user.jid()), &photo(), "image/jpeg").send().expect(201);
    assert_described(&answer, &user, &channel);
    assert_asked_once(&user, "PUT", &url);
    // The photo is square already.
    assert!(Request::get(&url).send().expect(200).body == photo_bytes(), "other bytes are stored");
    let oblong = picture("photo.jpg", 80, 60);
    let answer =
        form(sign(Request::new("PUT", &url), user.jid()), oblong.path(), "image/jpeg").send().expect(201);
    assert_described(&answer, &user, &channel);
    assert_eq!((answer.member("width"), answer.member("height")), ("60".to_owned(), "60".to_owned()));
    assert_eq!(previews::size(&Request::get(&url).send().expect(200).body), (60, 60));
}

/// As the original's: no field `content-type`, the part has it.
fn multipart(request: Request, file: &Path, mime_type: &str) -> Request {
    let name = file_name(file);
    let request = request.part(&format!("filename={name}")).part(&format!("title={TITLE}"));
    request.part(&format!("description={DESCRIPTION}")).file(file, mime_type)
}

fn web_form(request: Request, file: &Path, mime_type: &str) -> Request {
    let bytes = fs::read(file).expect("the fixture is there");
    request
        .field("filename", &file_name(file))
        .field("title", TITLE)
        .field("description", DESCRIPTION)
        .field("content-type", mime_type)
        .field("content-length", &bytes.len().to_string())
        .field("data", &STANDARD.encode(bytes))
}

fn update(sign: Sign) {
    let site = Site::shared();
    let uploader = site.user();
    let channel = site.channel("open", &[(uploader.bare(), "publisher")]);
    let id = site.upload(&uploader, &channel);
    change(site, sign, &uploader, &format!("{channel}/{id}"));
}

fn update_avatar(sign: Sign) {
    let site = Site::shared();
    let uploader = site.user();
    let channel = site.channel("open", &[(uploader.bare(), "publisher")]);
    put_avatar(site, &uploader, &channel);
    change(site, sign, &uploader, &format!("{channel}/avatar"));
}

/// As the uploader, who is asked once for it.
fn change(site: &Site, sign: Sign, uploader: &Client, path: &str) {
    let before = uploader.confirms().len();
    let request = sign(Request::new("POST", &site.url(path)), uploader.jid());
    let answer =
        request.field("title", "New title").field("description", "New description").send().expect(200);
    for answer in [answer, Request::get(&site.url(&format!("{path}/metadata"))).send().expect(200)] {
        assert_eq!(answer.member("title"), "New title");
        assert_eq!(answer.member("description"), "New description");
    }
    assert_eq!(uploader.confirms().len(), before + 1);
}

fn download(sign: Sign, file: &Path, mime_type: &str) {
    let site = Site::shared();
    let (owner, channel) = site.public_channel();
    let stranger = site.user();
    let form = Request::new("POST", &site.url(&channel)).basic(owner.jid()).file(file, mime_type);
    let id = form.send().expect(201).member("id");
    let request = sign(Request::get(&site.url(&format!("{channel}/{id}"))), stranger.jid());
    let answer = request.send().expect(200);
    assert!(answer.body == fs::read(file).expect("the fixture is there"), "other bytes came down");
    assert_eq!(answer.header("content-type"), Some(mime_type));
    assert!(stranger.confirms().is_empty(), "who reads a public channel was asked");
}

fn download_preview(sign: Sign, file: &Path, mime_type: &str, expected: (u32, u32)) {
    let site = Site::shared();
    let (owner, channel) = site.public_channel();
    let stranger = site.user();
    let form = Request::new("POST", &site.url(&channel)).basic(owner.jid()).file(file, mime_type);
    let id = form.send().expect(201).member("id");
    let url = site.url(&format!("{channel}/{id}"));
    let ask =
        || sign(Request::get(&url).query("maxheight=50&maxwidth=50"), stranger.jid()).send().expect(200);
    let (first, second) = (ask(), ask());
    assert_eq!((previews::size(&first.body), first.header("content-type")), (expected, Some("image/jpeg")));
    assert!(first.body == second.body, "other bytes the second time");
    assert!(stranger.confirms().is_empty(), "who reads a public channel was asked");
}

fn metadata(sign: Sign) {
    let site = Site::shared();
    let (owner, channel) = site.public_channel();
    let stranger = site.user();
    let form = Request::new("POST", &site.url(&channel)).basic(owner.jid());
    let id = multipart(form, &photo(), "image/jpeg").send().expect(201).member("id");
    let url = site.url(&format!("{channel}/{id}/metadata"));
    let answer = sign(Request::get(&url), stranger.jid()).send().expect(200);
    assert_described(&answer, &owner, &channel);
    assert_eq!(answer.member("id"), id);
    assert!(stranger.confirms().is_empty(), "who reads a public channel was asked");
}

fn list(sign: Sign) {
    let site = Site::shared();
    let (owner, channel) = site.public_channel();
    let stranger = site.user();
    let first = site.upload(&owner, &channel);
    let second = site.upload(&owner, &channel);
    let answer = sign(Request::get(&site.url(&channel)), stranger.jid()).send().expect(200);
    assert_eq!(ids(&answer), [second, first]);
    for entry in answer.json().as_array().expect("a list is an array") {
        for name in ["uploadedDate", "lastUpdatedDate"] {
            assert_date(entry[name].as_str().expect("dates are strings"));
        }
    }
    assert!(stranger.confirms().is_empty(), "who reads a public channel was asked");
}

/// Of a private channel: avatars are for all.
fn download_avatar(sign: Sign) {
    let site = Site::shared();
    let (owner, stranger) = (site.user(), site.user());
    let channel = site.own_channel("whitelist", &owner);
    put_avatar(site, &owner, &channel);
    let url = site.url(&format!("{channel}/avatar"));
    let answer = sign(Request::get(&url), stranger.jid()).send().expect(200);
    assert!(answer.body == photo_bytes(), "other bytes came down");
    Request::get(&format!("{url}/metadata")).send().expect(200);
    assert!(stranger.confirms().is_empty(), "who reads an avatar was asked");
}

/// Of a private channel, too.
fn download_avatar_preview(sign: Sign) {
    let site = Site::shared();
    let (owner, stranger) = (site.user(), site.user());
    let channel = site.own_channel("whitelist", &owner);
    put_avatar(site, &owner, &channel);
    let url = site.url(&format!("{channel}/avatar"));
    let answer =
        sign(Request::get(&url).query("maxheight=50&maxwidth=50"), stranger.jid()).send().expect(200);
    assert_eq!(previews::size(&answer.body), (50, 50));
    assert!(stranger.confirms().is_empty(), "who reads an avatar was asked");
}

fn delete(sign: Sign) {
    let site = Site::shared();
    let uploader = site.user();
    let channel = site.channel("open", &[(uploader.bare(), "publisher")]);
    let id = site.upload(&uploader, &channel);
    let url = site.url(&format!("{channel}/{id}"));
    assert!(site.stored(&channel, &id).exists());
    sign(Request::new("DELETE", &url), uploader.jid()).send().expect(200);
    assert!(!site.stored(&channel, &id).exists(), "the file is still there");
    Request::get(&url).send().expect(404);
    assert_eq!(uploader.confirms().len(), 2, "one for the upload, one for the deletion");
}

fn delete_avatar(sign: Sign) {
    let site = Site::shared();
    let (owner, channel) = site.public_channel();
    let id = put_avatar(site, &owner, &channel).member("id");
    let url = site.url(&format!("{channel}/avatar"));
    Request::get(&url).query("maxheight=20").send().expect(200);
    let folder = site.server.storage().join(&channel);
    assert_eq!(fs::read_dir(&folder).map(Iterator::count).ok(), Some(2), "the avatar and its preview");
    sign(Request::new("DELETE", &url), owner.jid()).send().expect(200);
    assert!(!site.stored(&channel, &id).exists(), "the file is still there");
    assert_eq!(fs::read_dir(&folder).map(Iterator::count).ok(), Some(0), "the preview is still there");
    Request::get(&url).send().expect(404);
    assert_eq!(owner.confirms().len(), 2, "one for the upload, one for the deletion");
}

#[track_caller]
fn put_avatar(site: &Site, user: &Client, channel: &str) -> Answer {
    let url = site.url(&format!("{channel}/avatar"));
    Request::new("PUT", &url).basic(user.jid()).file(&photo(), "image/jpeg").send().expect(201)
}

/// The answer to disco#info, whose identity and features are as the original's, each once.
fn disco(site: &Site) -> Stanza {
    let info = site.admin.ask("get", COMPONENT, "<query xmlns='http://jabber.org/protocol/disco#info'/>");
    let info = info.expect("the component answers");
    let identities: Vec<_> = info
        .all("identity")
        .into_iter()
        .map(|identity| ["category", "type", "name"].map(|name| identity.attribute(name)))
        .collect();
    assert_eq!(identities, [["component", "generic", "Media Server"]]);
    let mut features: Vec<_> =
        info.all("feature").into_iter().map(|feature| feature.attribute("var")).collect();
    features.sort_unstable();
    let expected = [
        "http://jabber.org/protocol/commands",
        "http://jabber.org/protocol/disco#info",
        "jabber:iq:last",
        "urn:xmpp:ping",
        "urn:xmpp:time",
    ];
    for feature in expected {
        assert_eq!(
            features.iter().filter(|&&known| known == feature).count(),
            1,
            "{feature} in {features:?}"
        );
    }
    info
}

fn value(field: &Stanza) -> &str {
    field.children.first().map_or("", |value| &value.text)
}

#[track_caller]
fn assert_described(answer: &Answer, author: &Client, channel: &str) {
    assert_eq!(answer.header("content-type").map(|value| value.starts_with("application/json")), Some(true));
    let name = answer.member("fileName");
    assert!(["photo.jpg", "video.avi"].contains(&name.as_str()), "{name}");
    assert_eq!(answer.member("title"), TITLE);
    assert_eq!(answer.member("description"), DESCRIPTION);
    assert_eq!(answer.member("author"), author.bare());
    assert_eq!(answer.member("entityId"), channel);
    for name in ["uploadedDate", "lastUpdatedDate"] {
        assert_date(&answer.member(name));
    }
}

/// `2014-01-23T18:00:00.123Z`.
#[track_caller]
fn assert_date(date: &str) {
    let shape: String = date.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(shape, "0000-00-00T00:00:00.000Z", "{date}");
}

fn assert_nothing_stored(site: &Site, channel: &str) {
    assert_eq!(Request::get(&site.url(channel)).send().expect(200).text(), "[]");
    let files = fs::read_dir(site.server.storage().join(channel)).map(Iterator::count).unwrap_or(0);
    assert_eq!(files, 0, "files were left");
}

fn ids(list: &Answer) -> Vec<String> {
    let list = list.json();
    let entries = list.as_array().expect("a list is an array").iter();
    entries.map(|entry| entry["id"].as_str().expect("an id is a string").to_owned()).collect()
}

fn file_name(file: &Path) -> String {
    file.file_name().expect("a fixture has a name").to_string_lossy().into_owned()
}

/// A film of 96 by 64 pixels and four seconds.
fn video() -> Made {
    film("video.avi", 96, 64)
}
