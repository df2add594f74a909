//! Defects of the original that must not come back, named by their numbers in the list of its behaviour.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use crate::site::{Site, assert_asked_once, flush, photo, photo_bytes, unique};
use crate::support::http::{Answer, Raw, Request, transaction};
use crate::support::prosody::{COMPONENT, DOMAIN, ELSEWHERE};
use crate::support::scripted_peer::{Peer, Side, channel_service};
use crate::support::server::Server;
use crate::support::stanza::Stanza;
use crate::support::wait_for;
use crate::support::xmpp_client::{Client, Confirm, HTTP_AUTH, Policy};

/// A refusal that needs no timeout comes at once; the shared site's timeout is 30 s.
const AT_ONCE: Duration = Duration::from_secs(10);

#[test]
fn d1_another_account_cannot_confirm() {
    let site = Site::shared();
    let (victim, attacker) = (site.user(), site.user());
    let channel = site.own_channel("open", &victim);
    forge(site, &victim, &channel, |confirm| {
        for policy in [Policy::Echo, Policy::Minimal] {
            attacker.answer(confirm, policy).expect("the attacker is connected");
        }
        let payload = as_confirm(&confirm.id, &confirm.method, &confirm.url, HTTP_AUTH);
        attacker
            .send(&format!("<iq type='result' id='x' to='{COMPONENT}'>{payload}</iq>"))
            .expect("connected");
        attacker.answer(confirm, Policy::Deny).expect("the attacker is connected");
        flush(&attacker);
    });
}

#[test]
fn d1_another_resource_cannot_confirm_what_a_full_jid_was_asked() {
    let site = Site::shared();
    let victim = site.user();
    let channel = site.own_channel("open", &victim);
    let local = victim.bare().split('@').next().expect("a split gives one part").to_owned();
    let other = site.prosody.login(DOMAIN, &format!("{local}/other"), Policy::Ignore);
    forge(site, &victim, &channel, |confirm| {
        other.answer(confirm, Policy::Minimal).expect("the other resource is connected");
        flush(&other);
    });
}

#[test]
fn d1_a_confirmation_of_something_else_does_not_count() {
    let site = Site::shared();
    let victim = site.user();
    let channel = site.own_channel("open", &victim);
    forge(site, &victim, &channel, |Confirm { id, method, url, .. }| {
        for payload in [
            as_confirm("another", method, url, HTTP_AUTH),
            as_confirm(id, "GET", url, HTTP_AUTH),
            as_confirm(id, method, &format!("{url}/x"), HTTP_AUTH),
            as_confirm(id, method, url, "urn:example:other"),
            "<body>OK, and what is this?</body>".to_owned(),
        ] {
            let message = format!("<message to='{COMPONENT}' type='normal'>{payload}</message>");
            victim.send(&message).expect("the victim is connected");
        }
        flush(&victim);
    });
}

#[test]
fn d1_every_request_is_confirmed_on_its_own() {
    let site = Site::shared();
    let (user, channel) = site.public_channel();
    let token = STANDARD.encode(format!("{}:{}", user.jid(), transaction()));
    for _ in 0..2 {
        site.upload_request(&channel).token(&token).send().expect(201);
    }
    assert_eq!(user.confirms().len(), 2, "the same transaction id was good for two uploads");
}

#[test]
fn d2_the_confirm_request_tells_method_and_address() {
    let site = Site::shared();
    let (user, channel) = site.public_channel();
    user.set_policy(Policy::Deny);
    let path = format!("{channel}/AbC_-9");
    let token = STANDARD.encode(format!("{}:secret-transaction", user.jid()));
    let request = Request::new("DELETE", &site.url(&path)).query(&format!("x=1&auth={token}"));
    request.send().expect(403);
    assert_asked_once(&user, "DELETE", &site.url(&path));
    let stanza = &user.confirms()[0].stanza;
    assert_eq!(stanza.name, "message");
    assert_eq!(stanza.attribute("type"), "normal");
    assert_eq!(stanza.attribute("from"), COMPONENT);
    assert!(!stanza.attribute("id").is_empty(), "no stanza id: {stanza:?}");
    assert!(stanza.child("thread", "jabber:client").is_some(), "no thread: {stanza:?}");
    assert_eq!(user.confirms()[0].id, "secret-transaction");
    assert!(!site.server.log().contains("secret-transaction"), "the log holds a transaction id");
    assert!(!site.server.log().contains(&token), "the log holds credentials");
}

#[test]
fn d2_the_address_begins_with_the_endpoint_where_there_is_one() {
    let site = Site::start(&[("http.endpoint", "https://media.example.org/api")]);
    let (user, channel) = site.public_channel();
    site.upload(&user, &channel);
    assert_asked_once(&user, "POST", &format!("https://media.example.org/api/{channel}"));
}

#[test]
fn d3_a_media_is_found_in_its_own_channel_only() {
    let site = Site::shared();
    let (alice, hers) = site.public_channel();
    let (bob, his) = site.public_channel();
    let id = site.upload(&alice, &hers);
    let (wrong, right) = (site.url(&format!("{his}/{id}")), site.url(&format!("{hers}/{id}")));
    Request::get(&wrong).send().expect(404);
    Request::get(&format!("{wrong}/metadata")).send().expect(404);
    Request::new("POST", &wrong).basic(bob.jid()).field("title", "Bob was here").send().expect(404);
    Request::new("DELETE", &wrong).basic(bob.jid()).send().expect(404);
    assert_eq!(Request::get(&format!("{right}/metadata")).send().expect(200).member("title"), "A title");
    Request::get(&right).send().expect(200);
}

#[test]
fn d4_the_uploader_may_change_and_delete_with_any_resource() {
    let site = Site::shared();
    let uploader = site.user();
    let channel = site.channel("open", &[(uploader.bare(), "publisher")]);
    let url = site.url(&format!("{channel}/{}", site.upload(&uploader, &channel)));
    let local = uploader.bare().split('@').next().expect("a split gives one part").to_owned();
    let elsewhere = site.prosody.login(DOMAIN, &format!("{local}/phone"), Policy::Minimal);
    Request::new("POST", &url).basic(elsewhere.jid()).field("title", "Mine").send().expect(200);
    Request::new("DELETE", &url).basic(uploader.bare()).send().expect(200);
}

#[test]
fn d4_another_publisher_may_not() {
    let site = Site::shared();
    let (uploader, other) = (site.user(), site.user());
    let channel = site.channel("open", &[(uploader.bare(), "publisher"), (other.bare(), "publisher")]);
    let url = site.url(&format!("{channel}/{}", site.upload(&uploader, &channel)));
    Request::new("POST", &url).basic(other.jid()).field("title", "Mine").send().expect(403);
    Request::new("DELETE", &url).basic(other.jid()).send().expect(403);
    Request::get(&url).send().expect(200);
}

#[test]
fn d5_active_content_does_not_run_in_the_sites_origin() {
    let site = Site::shared();
    let (user, channel) = site.public_channel();
    for (mime_type, disposition) in [
        ("text/html", "attachment"),
        ("image/svg+xml", "attachment"),
        ("application/xhtml+xml", "attachment"),
        ("text/javascript", "attachment"),
        ("image/jpeg", "inline"),
        ("video/mp4", "inline"),
        ("application/pdf", "inline"),
    ] {
        let form = Request::new("POST", &site.url(&channel)).basic(user.jid()).file(&photo(), mime_type);
        let id = form.part("filename=page.html").send().expect(201).member("id");
        let answer = Request::get(&site.url(&format!("{channel}/{id}"))).send().expect(200);
        assert_eq!(answer.header("content-type"), Some(mime_type));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{mime_type}");
        let policy = answer.header("content-security-policy").unwrap_or_default();
        assert!(policy.contains("default-src 'none'"), "{mime_type}: {policy}");
        // Browsers show no PDF in a sandbox.
        assert_eq!(policy.contains("sandbox"), mime_type != "application/pdf", "{mime_type}: {policy}");
        let told = answer.header("content-disposition").unwrap_or_default();
        assert!(told.starts_with(disposition), "{mime_type}: {told}");
        assert!(told.contains("page.html"), "{mime_type}: {told}");
    }
}

#[test]
fn d6_a_user_is_not_flooded() {
    let site = Site::shared();
    let victim = site.user();
    let channel = site.own_channel("whitelist", &victim);
    victim.set_policy(Policy::Ignore);
    let url = site.url(&channel);
    let from = |address: &str| Request::get(&url).with(&["--interface", address]);
    let addresses = ["127.0.0.2", "127.0.0.2", "127.0.0.2", "127.0.0.3", "127.0.0.3", "127.0.0.4"];
    let waiting: Vec<_> =
        addresses.iter().map(|address| from(address).basic(victim.jid()).send_apart()).collect();
    victim.confirm(5).expect("six are asked, two places are kept for networks that the user knows");
    for jid in [victim.jid(), victim.bare(), &format!("{}/elsewhere", victim.bare())] {
        for address in ["127.0.0.2", "127.0.0.5"] {
            let refused = from(address).basic(jid).send().expect(429);
            assert!(refused.header("retry-after").is_some(), "{jid}");
        }
    }
    flush(&victim);
    assert_eq!(victim.confirms().len(), 6, "a stanza was sent beyond the limit");
    for confirm in victim.confirms() {
        victim.answer(&confirm, Policy::Minimal).expect("the victim is connected");
    }
    for request in waiting {
        request.join().expect("curl gets an answer").expect(200);
    }
    victim.set_policy(Policy::Echo);
    Request::get(&url).basic(victim.jid()).send().expect(200);
}

#[test]
fn d7_strangers_store_nothing() {
    let site = Site::shared();
    let stranger = site.prosody.login(ELSEWHERE, &unique("stranger"), Policy::Echo);
    site.upload_request(stranger.bare()).basic(stranger.jid()).send().expect(404);
    flush(&stranger);
    assert!(stranger.confirms().is_empty(), "a stranger was asked");
    assert!(!site.server.storage().join(stranger.bare()).exists());
}

#[test]
fn d8_strangers_trigger_no_discovery() {
    let peer = Peer::start(|_, stanza| channel_service(stanza, "open", &[]));
    let server = Server::start(peer.xmpp(), &[]);
    let url = |path: &str| format!("http://127.0.0.1:{}/{path}", server.port());
    wait_for("both links", || Request::get(&url("a@example.org")).send().status.eq(&200).then_some(()));
    Request::get(&url("x@evil.test/y")).send().expect(404);
    Request::get(&url("x@notexample.org/y")).send().expect(404);
    Request::get(&url("x@evil.test/y")).basic("x@evil.test/r").send().expect(404);
    Request::get(&url("b@example.org")).send().expect(200);
    let own = |stanza: &Stanza| stanza.attribute("to").is_empty() || stanza.attribute("to").ends_with(DOMAIN);
    for side in [Side::Client, Side::Component] {
        for stanza in peer.seen(side) {
            assert!(own(&stanza), "{stanza:?}");
            assert!(!stanza.attribute("to").contains("notexample"), "{stanza:?}");
        }
    }
}

#[test]
fn d11_the_limit_is_on_the_data_and_is_exact() {
    let site = Site::start(&[("media.sizelimit", "1000")]);
    let (user, channel) = site.public_channel();
    for (size, status) in [(1000, 201), (1001, 413)] {
        let file = site.server.directory().join("data");
        std::fs::write(&file, vec![b'x'; size]).expect("the scratch directory takes files");
        let form = |request: Request| request.file(&file, "text/plain");
        form(Request::new("POST", &site.url(&channel)).basic(user.jid())).send().expect(status);
        let chunked = Request::new("POST", &site.url(&channel)).basic(user.jid());
        form(chunked.header("Transfer-Encoding", "chunked")).send().expect(status);
        let encoded = STANDARD.encode(vec![b'x'; size]);
        let web_form = Request::new("POST", &site.url(&channel)).basic(user.jid()).field("data", &encoded);
        web_form.field("content-type", "text/plain").send().expect(status);
    }
}

#[test]
fn d11_what_is_too_large_is_refused_before_it_is_sent() {
    let site = Site::start(&[("media.sizelimit", "1000")]);
    let (user, channel) = site.public_channel();
    for expect in ["", "Expect: 100-continue\r\n"] {
        let token = STANDARD.encode(format!("{}:{}", user.jid(), transaction()));
        let mut connection = Raw::connect(site.server.port());
        connection.send(format!(
            "POST /{channel} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {token}\r\n{expect}\
             Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 50000000\r\n\r\n"
        ));
        let answer = connection.answer().expect("an answer without the body");
        assert_eq!(answer.status, 413, "with {expect:?}");
    }
}

#[test]
fn d11_an_update_without_an_announced_length_has_an_end() {
    let site = Site::start(&[("media.sizelimit", "10000")]);
    let (user, channel) = site.public_channel();
    let url = site.url(&format!("{channel}/{}", site.upload(&user, &channel)));
    let chunked = |bytes: usize| {
        let data = "x".repeat(bytes);
        let request = Request::new("POST", &url).basic(user.jid()).header("Transfer-Encoding", "chunked");
        request.part("title=New").part(&format!("data={data}")).send()
    };
    chunked(10_001).expect(413);
    chunked(10_000).expect(200);
}

#[test]
fn d13_an_upload_whose_metadata_is_not_stored_has_failed() {
    let site = Site::shared();
    let (user, channel) = site.public_channel();
    let trigger = format!(
        "CREATE TRIGGER refuse BEFORE INSERT ON medias WHEN NEW.entityId = '{channel}' BEGIN \
         SELECT RAISE(ABORT, 'refused'); END"
    );
    site.metadata(&trigger);
    site.upload_request(&channel).basic(user.jid()).send().expect(500);
    let left = std::fs::read_dir(site.stored(&channel, "")).map_or(0, Iterator::count);
    assert_eq!(left, 0, "a file without a row is left");
    site.metadata("DROP TRIGGER refuse");
    site.upload(&user, &channel);
}

#[test]
fn d14_an_avatar_can_be_deleted_by_its_id() {
    let site = Site::shared();
    let (user, channel) = site.public_channel();
    let avatar = site.url(&format!("{channel}/avatar"));
    let put =
        || Request::new("PUT", &avatar).basic(user.jid()).file(&photo(), "image/jpeg").send().expect(201);
    let id = put().member("id");
    Request::new("DELETE", &site.url(&format!("{channel}/{id}"))).basic(user.jid()).send().expect(200);
    Request::get(&avatar).send().expect(404);
    Request::get(&format!("{avatar}/metadata")).send().expect(404);
    assert!(!site.stored(&channel, &id).exists());
    put();
    Request::get(&avatar).send().expect(200);
}

#[test]
fn d16_first_avatars_at_the_same_time_are_all_kept() {
    let site = Site::shared();
    let (user, channel) = site.public_channel();
    let avatar = site.url(&format!("{channel}/avatar"));
    let put = |address: &str| {
        let request = Request::new("PUT", &avatar).with(&["--interface", address]).basic(user.jid());
        request.file(&photo(), "image/jpeg").send_apart()
    };
    // One network has three of a user's prompts.
    let waiting: Vec<_> = (0..6).map(|number| put(["127.0.0.1", "127.0.0.2"][number % 2])).collect();
    let answers = waiting.into_iter().map(|answer| answer.join().expect("curl gets an answer").expect(201));
    let ids: BTreeSet<String> = answers.map(|answer| answer.member("id")).collect();
    assert_eq!(ids.len(), 6);
    let list = Request::get(&site.url(&channel)).send().expect(200);
    assert_eq!(listed(&list).into_iter().collect::<BTreeSet<_>>(), ids);
    let current = Request::get(&format!("{avatar}/metadata")).send().expect(200).member("id");
    assert!(ids.contains(&current), "{current}");
    Request::get(&avatar).send().expect(200);
}

#[test]
fn d18_missing_media_and_paths_are_not_found() {
    let site = Site::shared();
    let (user, channel) = site.public_channel();
    for path in [format!("{channel}/unknown"), format!("{channel}/avatar")] {
        let url = site.url(&path);
        Request::get(&url).send().expect(404);
        Request::get(&format!("{url}/metadata")).send().expect(404);
        Request::new("DELETE", &url).basic(user.jid()).send().expect(404);
        let update = Request::new("POST", &url).basic(user.jid()).field("title", "x").send().expect(404);
        assert_eq!(update.header("content-type"), Some("application/problem+json"), "{path}");
    }
}

#[test]
fn d18_forms_that_are_wrong_are_told_so() {
    let site = Site::shared();
    let (user, channel) = site.public_channel();
    let post = || Request::new("POST", &site.url(&channel)).basic(user.jid());
    let form = || post().field("content-type", "text/plain");
    for (what, status, request) in [
        ("bad base64", 400, form().field("data", "*not base64*")),
        ("bad length", 400, form().field("data", "eA==").field("content-length", "many")),
        ("no data", 400, form().field("title", "x")),
        ("empty body", 400, post()),
        ("no data part", 400, post().part("title=x")),
        ("JSON", 415, post().header("Content-Type", "application/json").with(&["--data", "{}"])),
        ("gzip", 415, form().field("data", "eA==").header("Content-Encoding", "gzip")),
        ("no boundary", 400, post().header("Content-Type", "multipart/form-data").with(&["--data", "x"])),
    ] {
        let answer = request.send();
        assert_eq!(answer.status, status, "{what}: {}", answer.text());
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{what}");
        assert_eq!(answer.member("status"), status.to_string(), "{what}");
    }
    assert_eq!(Request::get(&site.url(&channel)).send().expect(200).text(), "[]");
}

#[test]
fn d18_credentials_that_are_wrong_are_told_so() {
    let site = Site::shared();
    let (_user, channel) = site.public_channel();
    let post = || site.upload_request(&channel);
    for (what, request) in [
        ("none", post()),
        ("no base64", post().token("!!!")),
        ("no colon", post().token(&STANDARD.encode("alice"))),
        ("no transaction", post().token(&STANDARD.encode("alice@example.org:"))),
        ("no JID", post().token(&STANDARD.encode("@:t"))),
        ("another scheme", post().header("Authorization", "Digest abc")),
        ("empty parameter", post().query("auth=")),
        ("bad parameter", post().query("auth=!!!")),
    ] {
        let answer = request.send();
        assert_eq!(answer.status, 401, "{what}: {}", answer.text());
        assert_eq!(answer.header("www-authenticate"), Some("Basic realm=\"xmpp\""), "{what}");
    }
}

#[test]
fn d18_a_parameter_outranks_the_header() {
    let site = Site::shared();
    let (user, channel) = site.public_channel();
    let password = STANDARD.encode("someone@example.org:their-password");
    site.upload_request(&channel).token(&password).auth(user.jid()).send().expect(201);
    let good = STANDARD.encode(format!("{}:{}", user.jid(), transaction()));
    site.upload_request(&channel).token(&good).query("auth=!!!").send().expect(401);
}

#[test]
fn d19_every_base64_is_understood() {
    let site = Site::shared();
    let (user, channel) = site.public_channel();
    let credentials = |number: u32| format!("{}:>>>>>>?????? {number}", user.jid());
    let standard = STANDARD.encode(credentials(1));
    assert!(standard.contains('+') && standard.contains('/'), "{standard}");
    let first_only = standard.replacen('+', "-", 1).replacen('/', "_", 1);
    let safe = URL_SAFE_NO_PAD.encode(credentials(2));
    for token in [&standard, &first_only, &safe] {
        site.upload_request(&channel).token(token).send().expect(201);
        let escaped = token.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        site.upload_request(&channel).query(&format!("auth={escaped}")).send().expect(201);
    }
    assert_eq!(user.confirms()[0].id, ">>>>>>?????? 1");
}

#[test]
fn d19_text_is_utf_8() {
    let site = Site::shared();
    let user = site.prosody.login(DOMAIN, &unique("jürgen"), Policy::Echo);
    let channel = site.own_channel("open", &user);
    let path = channel.replace('ü', "%C3%BC");
    let title = "Größe 日本 😀";
    let form = Request::new("POST", &site.url(&path)).basic(user.jid()).file(&photo(), "image/jpeg");
    let answer = form.part(&format!("title={title}")).part("filename=Straße.jpg").send().expect(201);
    assert_eq!(answer.member("title"), title);
    assert_eq!(answer.member("fileName"), "Straße.jpg");
    assert_eq!(answer.member("author"), user.bare());
    let url = site.url(&format!("{path}/{}", answer.member("id")));
    let update = Request::new("POST", &url).auth(user.jid()).field("title", "Noch größer").send().expect(200);
    assert_eq!(update.member("title"), "Noch größer");
    let read = Request::get(&url).send().expect(200);
    let told = read.header("content-disposition").unwrap_or_default().to_owned();
    assert!(told.contains("filename*=UTF-8''Stra%C3%9Fe.jpg"), "{told}");
}

#[test]
fn d20_an_update_tells_its_date() {
    let site = Site::shared();
    let (user, channel) = site.public_channel();
    let upload = site.upload_titled(&user, &channel, "Old");
    assert_eq!(upload.member("lastUpdatedDate"), upload.member("uploadedDate"));
    let url = site.url(&format!("{channel}/{}", upload.member("id")));
    let update = Request::new("POST", &url).basic(user.jid()).field("title", "New").send().expect(200);
    assert!(update.member("lastUpdatedDate") > upload.member("lastUpdatedDate"), "{}", update.text());
    assert_eq!(update.member("uploadedDate"), upload.member("uploadedDate"));
    assert_eq!(Request::get(&format!("{url}/metadata")).send().expect(200).json(), update.json());
}

#[test]
fn d23_lists_can_be_walked_both_ways() {
    let site = Site::shared();
    let (user, channel) = site.public_channel();
    let [a, b, c] = [(); 3].map(|()| site.upload(&user, &channel));
    let list = |query: &str| Request::get(&site.url(&channel)).query(query).send().expect(200);
    assert_eq!(listed(&list(&format!("after={a}"))), [c.clone(), b.clone()]);
    assert_eq!(listed(&list(&format!("before={c}"))), [b.clone(), a.clone()]);
    assert_eq!(list("after=unknown").text(), "[]");
    assert_eq!(list("max=0").text(), "[]");
    assert_eq!(listed(&list("max=garbage&_=1408")).len(), 3);
    Request::get(&site.url(&channel)).query("max=-1").send().expect(400);

    let page = list("max=2");
    assert_eq!(listed(&page), [c, b]);
    let link = page.header("link").expect("there is more");
    let next = list(&next_query(link));
    assert_eq!(listed(&next), [a]);
    assert_eq!(next.header("link"), None);
}

#[test]
fn d23_a_list_is_walked_to_its_end_whatever_the_dates() {
    let site = Site::shared();
    let (user, channel) = site.public_channel();
    let mut ids = [(); 5].map(|()| site.upload(&user, &channel));
    site.metadata(&format!("UPDATE medias SET lastUpdatedDate = 1000000 WHERE entityId = '{channel}'"));
    ids.sort_by(|one, other| other.cmp(one));
    let mut pages = Vec::new();
    let mut query = "max=2".to_owned();
    loop {
        let page = Request::get(&site.url(&channel)).query(&query).send().expect(200);
        pages.push(listed(&page));
        match page.header("link") {
            Some(link) => query = next_query(link),
            None => break,
        }
    }
    assert_eq!(pages, [&ids[..2], &ids[2..4], &ids[4..]]);
}

#[test]
fn d24_parts_of_a_media() {
    let site = Site::shared();
    let (user, channel) = site.public_channel();
    let url = site.url(&format!("{channel}/{}", site.upload(&user, &channel)));
    let bytes = photo_bytes();
    let size = bytes.len();
    let whole = Request::get(&url).send().expect(200);
    assert_eq!(whole.header("accept-ranges"), Some("bytes"));
    let tag = whole.header("etag").expect("a media has a tag").to_owned();
    let range = |range: &str| Request::get(&url).header("Range", range);
    for (asked, first, last) in [
        ("bytes=0-9", 0, 9),
        ("bytes=100-", 100, size - 1),
        ("bytes=-10", size - 10, size - 1),
        ("bytes=0-99999999", 0, size - 1),
        ("bytes=-99999999", 0, size - 1),
    ] {
        let part = range(asked).send().expect(206);
        assert!(part.body == bytes[first..=last], "{asked}");
        assert_eq!(part.header("content-range"), Some(format!("bytes {first}-{last}/{size}").as_str()));
    }
    for beyond in [format!("bytes={size}-"), "bytes=-0".to_owned()] {
        let refused = range(&beyond).send().expect(416);
        assert_eq!(refused.header("content-range"), Some(format!("bytes */{size}").as_str()), "{beyond}");
    }
    for ignored in ["bytes=9-0", "bytes=x-y", "lines=1-2", "bytes=0-1,5-6"] {
        assert_eq!(range(ignored).send().expect(200).body.len(), size, "{ignored}");
    }
    range("bytes=0-9").header("If-Range", &tag).send().expect(206);
    range("bytes=0-9").header("If-Range", "\"other\"").send().expect(200);
}

#[test]
fn d24_conditions() {
    let site = Site::shared();
    let (user, channel) = site.public_channel();
    let upload = site.upload_titled(&user, &channel, "x");
    let url = site.url(&format!("{channel}/{}", upload.member("id")));
    let whole = Request::get(&url).send().expect(200);
    let tag = format!("\"{}\"", upload.member("shaChecksum"));
    assert_eq!(whole.header("etag"), Some(tag.as_str()));
    let modified = whole.header("last-modified").expect("a media has a date").to_owned();
    let caching = whole.header("cache-control").expect("a media may be cached").to_owned();
    assert!(caching.contains("max-age=86400"), "{caching}");
    for (name, value, status) in [
        ("If-None-Match", tag.as_str(), 304),
        ("If-None-Match", "*", 304),
        ("If-None-Match", "\"other\"", 200),
        ("If-Modified-Since", modified.as_str(), 304),
        ("If-Modified-Since", "Thu, 01 Jan 2015 00:00:00 GMT", 200),
        ("If-Match", tag.as_str(), 200),
        ("If-Match", "\"other\"", 412),
        ("If-Unmodified-Since", "Thu, 01 Jan 2015 00:00:00 GMT", 412),
    ] {
        let answer = Request::get(&url).header(name, value).send();
        assert_eq!(answer.status, status, "{name}: {value}");
        if status == 304 {
            assert!(answer.body.is_empty());
            assert_eq!(answer.header("etag"), Some(tag.as_str()));
        }
    }
    // What a client has stays right when our file is lost; who has nothing is told.
    std::fs::remove_file(site.server.storage().join(format!("{channel}/{}", upload.member("id"))))
        .expect("the file is there");
    Request::get(&url).header("If-None-Match", &tag).send().expect(304);
    Request::get(&url).send().expect(404);
}

#[test]
fn d25_browsers_may_read_answers() {
    let site = Site::shared();
    let (user, channel) = site.public_channel();
    let id = site.upload(&user, &channel);
    let origin = "https://social.example.com";
    for (method, path) in [
        ("GET", channel.clone()),
        ("GET", format!("{channel}/{id}")),
        ("GET", format!("{channel}/unknown")),
        ("DELETE", format!("{channel}/{id}")),
        ("OPTIONS", channel.clone()),
    ] {
        let answer = Request::new(method, &site.url(&path)).header("Origin", origin).send();
        let allowed = answer.header("access-control-allow-origin");
        assert!(
            matches!(allowed, Some(value) if value == "*" || value == origin),
            "{method} {path}: {allowed:?}"
        );
        if allowed == Some(origin) {
            let vary = answer.header("vary").unwrap_or_default().to_ascii_lowercase();
            assert!(vary.contains("origin"), "{method} {path}: {vary}");
        }
    }
    let preflight = Request::new("OPTIONS", &site.url(&channel)).header("Origin", origin);
    let answer = preflight.header("Access-Control-Request-Method", "PUT").send().expect(200);
    for method in ["GET", "POST", "PUT", "DELETE"] {
        assert!(
            answer.header("access-control-allow-methods").unwrap_or_default().contains(method),
            "{method}"
        );
    }
    for name in ["Authorization", "Content-Type", "X-Requested-With"] {
        assert!(answer.header("access-control-allow-headers").unwrap_or_default().contains(name), "{name}");
    }
    assert_eq!(answer.header("access-control-max-age"), Some("86400"));
}

#[test]
fn d26_a_lost_xmpp_server_is_told_at_once_and_found_again() {
    let mut site = Site::start(&[("xmpp.cache.ttl", "0")]);
    let (user, channel) = site.public_channel();
    let id = site.upload(&user, &channel);
    let avatar = site.url(&format!("{channel}/avatar"));
    Request::new("PUT", &avatar).basic(user.jid()).file(&photo(), "image/jpeg").send().expect(201);
    let url = site.url(&format!("{channel}/{id}"));
    site.prosody.stop();
    wait_for("the server to notice", || (Request::get(&url).send().status == 503).then_some(()));
    let refused = Request::get(&url).send().expect(503);
    assert!(refused.took < AT_ONCE, "{:?}", refused.took);
    assert!(refused.header("retry-after").is_some());
    let refused = site.upload_request(&channel).basic(user.jid()).send().expect(503);
    assert!(refused.took < AT_ONCE, "{:?}", refused.took);
    Request::get(&avatar).send().expect(200);

    site.prosody.start_again();
    site.wait_ready(&channel);
    let local = user.bare().split('@').next().expect("a split gives one part").to_owned();
    let user = site.prosody.login(DOMAIN, &local, Policy::Echo);
    wait_for("an upload", || {
        let answer = site.upload_request(&channel).basic(user.jid()).send();
        (answer.status == 201).then_some(())
    });
}

#[test]
fn d29_the_component_answers_what_it_says_it_does() {
    let site = Site::shared();
    let ask = |payload: &str| site.admin.ask("get", COMPONENT, payload).expect("the component answers");
    let items = ask("<query xmlns='http://jabber.org/protocol/disco#items'/>");
    assert_eq!(items.attribute("type"), "result");
    assert_eq!(items.all("item"), Vec::<&Stanza>::new());
    assert_eq!(ask("<ping xmlns='urn:xmpp:ping'/>").attribute("type"), "result");
    let last = ask("<query xmlns='jabber:iq:last'/>");
    let seconds: u64 = last.all("query")[0].attribute("seconds").parse().expect("a number of seconds");
    assert!(seconds < 3600, "{seconds}");
    let time = ask("<time xmlns='urn:xmpp:time'/>");
    assert_eq!(time.all("tzo")[0].text, "+00:00");
    let (_, now) = crate::support::child::run(&["date", "-u", "+%Y-%m-%dT%H"]);
    let utc = &time.all("utc")[0].text;
    let (_, then) = crate::support::child::run(&["date", "-u", "-d", utc, "+%s"]);
    let (_, seconds) = crate::support::child::run(&["date", "-u", "+%s"]);
    let [then, seconds] =
        [then, seconds].map(|text| text.trim().parse::<i64>().expect("date prints seconds"));
    assert!(utc.ends_with('Z') && (seconds - then).abs() < 60, "{utc} at {now}");
    let unknown = ask("<query xmlns='urn:example:unknown'/>");
    assert_eq!(unknown.attribute("type"), "error");
}

/// Uploads as the victim; while that waits for the victim, `attack` is made, after which the victim denies.
/// The attack must not have changed anything.
#[track_caller]
fn forge(site: &Site, victim: &Client, channel: &str, attack: impl FnOnce(&Confirm)) {
    victim.set_policy(Policy::Ignore);
    let upload = site.upload_request(channel).basic(victim.jid()).send_apart();
    let confirm = victim.confirm(0).expect("the victim is asked");
    attack(&confirm);
    assert!(!upload.is_finished(), "the attack was taken for an answer");
    victim.answer(&confirm, Policy::Deny).expect("the victim is connected");
    let answer = upload.join().expect("curl gets an answer").expect(403);
    assert!(answer.took < AT_ONCE, "a denial is answered at once, not after {:?}", answer.took);
    assert_eq!(Request::get(&site.url(channel)).send().expect(200).text(), "[]");
}

fn as_confirm(id: &str, method: &str, url: &str, namespace: &str) -> String {
    format!("<confirm xmlns='{namespace}' id='{id}' method='{method}' url='{url}'/>")
}

/// The query of the page that a `Link` field leads to.
fn next_query(link: &str) -> String {
    let (target, relation) = link.split_once('>').expect("a link is in angle brackets");
    assert!(relation.contains("rel=\"next\""), "{link}");
    target.split_once('?').expect("the next page has a query").1.to_owned()
}

fn listed(list: &Answer) -> Vec<String> {
    let list = list.json();
    let entries = list.as_array().expect("a list is an array").iter();
    entries.map(|entry| entry["id"].as_str().expect("an id is a string").to_owned()).collect()
}
