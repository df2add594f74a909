//! The page and the feed of a channel as programs get them: which one, with which fields, and with whose texts.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::private_channels::impatient;
use crate::site::{Site, photo, unique};
use crate::support::child::run;
use crate::support::http::{Answer, Request};
use crate::support::prosody::DOMAIN;
use crate::support::python::python;
use crate::support::scratch::Scratch;

const HTML: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
const ATOM: &str = "application/atom+xml";

fn page(url: &str) -> Answer {
    Request::get(url).header("Accept", HTML).send()
}

#[test]
fn each_client_gets_the_representation_that_it_wants() {
    let site = Site::shared();
    let (user, channel) = site.public_channel();
    site.upload(&user, &channel);
    let url = site.url(&channel);
    let java = "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2";
    for (accept, user_agent, expected) in [
        ("*/*", "curl/8", "application/json; charset=UTF-8"),
        ("application/json", "x", "application/json; charset=UTF-8"),
        (HTML, "Mozilla/5.0", "text/html; charset=utf-8"),
        ("text/html, */*", "x", "application/json; charset=UTF-8"),
        (java, "Java/1.8.0_201", "application/json; charset=UTF-8"),
        (java, "Mozilla/5.0", "text/html; charset=utf-8"),
        (ATOM, "x", "application/atom+xml; charset=utf-8"),
    ] {
        for method in ["GET", "HEAD"] {
            let request =
                Request::new(method, &url).header("Accept", accept).header("User-Agent", user_agent);
            let answer = request.send().expect(200);
            assert_eq!(answer.header("content-type"), Some(expected), "{method} {accept}");
            assert_eq!(answer.header("cache-control"), Some("no-cache"), "{method} {accept}");
            assert_eq!(answer.header("etag"), None);
            assert_eq!(answer.header("vary"), Some("Origin, Accept"), "{method} {accept}");
        }
    }
    let feed = Request::get(&url).query("format=atom").header("Accept", HTML).send().expect(200);
    assert!(feed.header("content-type").is_some_and(|kind| kind.starts_with(ATOM)));
}

#[test]
fn a_page_runs_no_script_but_its_own() {
    let site = Site::shared();
    let user = site.user();
    let channel = site.channel("open", &[(user.bare(), "publisher")]);
    site.upload(&user, &channel);
    let [one, other] = [(); 2].map(|()| page(&site.url(&channel)).expect(200));
    let policy = one.header("content-security-policy").expect("a page has a policy").to_owned();
    let nonce = policy.split("'nonce-").nth(1).and_then(|rest| rest.split('\'').next()).expect("a nonce");
    assert!(nonce.len() >= 22 && one.text().matches(&format!("nonce=\"{nonce}\"")).count() == 2, "{policy}");
    assert!(!other.text().contains(nonce), "each page has a nonce of its own");
    for part in ["default-src 'none'", "base-uri 'none'", "frame-ancestors 'none'", "connect-src 'self'"] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains("script-src 'self'"), "{policy}");
    assert_eq!(one.header("referrer-policy"), Some("no-referrer"));
    assert_eq!(one.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(one.header("x-robots-tag"), Some("noindex"));
    assert!(!one.text().contains(user.bare()), "a page names its channel and nobody else");
}

#[test]
fn the_files_of_the_page_are_kept_by_browsers() {
    let site = Site::shared();
    let (_, channel) = site.public_channel();
    let text = page(&site.url(&channel)).expect(200).text();
    for (name, kind) in [
        ("page.css", "text/css; charset=utf-8"),
        ("page.js", "text/javascript; charset=utf-8"),
        ("icon.svg", "image/svg+xml"),
    ] {
        let link = text.split(&format!("\"./-/{name}")).nth(1).and_then(|rest| rest.split('"').next());
        let url = site.url(&format!("-/{name}{}", link.expect("the page links to it")));
        let file = Request::get(&url).send().expect(200);
        assert_eq!(file.header("content-type"), Some(kind));
        assert_eq!(file.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(file.header("cache-control"), Some("public, max-age=86400"));
        let tag = file.header("etag").expect("it has a tag").to_owned();
        Request::get(&url).header("If-None-Match", &tag).send().expect(304);
        Request::new("POST", &url).with(&["-d", "x"]).send().expect(405);
    }
    Request::get(&site.url("-/other")).send().expect(404);
}

#[test]
fn nothing_becomes_a_service_worker() {
    let site = Site::shared();
    let (user, channel) = site.public_channel();
    let id = site.upload(&user, &channel);
    for path in [format!("{channel}/{id}"), channel, "-/page.js".to_owned()] {
        Request::get(&site.url(&path)).header("Service-Worker", "script").send().expect(403);
    }
}

#[test]
fn private_and_missing_channels_have_the_same_page() {
    let site = impatient();
    let user = site.user();
    let private = site.channel("whitelist", &[(user.bare(), "owner")]);
    site.upload(&user, &private);
    let empty = site.channel("whitelist", &[(user.bare(), "owner")]);
    let missing = format!("{}@{DOMAIN}", unique("missing"));
    let shown = |channel: &str| {
        let answer = page(&site.url(channel)).expect(200);
        assert_eq!(answer.header("www-authenticate"), None, "a browser would ask for a password");
        assert_eq!(answer.header("cache-control"), Some("no-cache"));
        let text = answer.text();
        let nonce = text.split("nonce=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a nonce");
        let local = channel.split('@').next().expect("a split gives one part");
        text.replace(nonce, "N").replace(local, "C")
    };
    let text = shown(&private);
    assert!(text.contains("data-testid=\"sign-in\"") && !text.contains("data-testid=\"item\""), "{text}");
    assert_eq!([shown(&empty), shown(&missing)], [text.clone(), text]);
    for channel in [&private, &empty, &missing] {
        Request::get(&site.url(channel)).header("Accept", ATOM).send().expect(401);
    }
    let signed =
        Request::get(&site.url(&private)).header("Accept", HTML).basic(user.jid()).send().expect(200);
    assert!(signed.text().contains("data-testid=\"item\""), "{}", signed.text());
    assert_eq!(signed.header("cache-control"), Some("private, no-cache"));
}

#[test]
fn a_private_feed_is_read_by_bearer_only_and_a_page_by_each_ticket() {
    let site = Site::shared();
    let user = site.user();
    let channel = site.own_channel("whitelist", &user);
    site.upload(&user, &channel);
    let url = site.url(&channel);
    let asked = Request::new("POST", &format!("{url}/ticket/read")).basic(user.jid());
    let ticket = asked.send().expect(201).member("ticket");
    let get = |accept: &str, carrier: usize, ticket: &str| {
        let request = Request::get(&url).header("Accept", accept);
        match carrier {
            0 => request.header("Authorization", &format!("Bearer {ticket}")),
            1 => request.query(&format!("ticket={ticket}")),
            _ => request.header("Cookie", &format!("__Secure-media={ticket}")),
        }
        .send()
    };
    for (carrier, status) in [(0, 200), (1, 401), (2, 401)] {
        let feed = get(ATOM, carrier, &ticket).expect(status);
        let challenge = (status == 401).then_some("Bearer realm=\"xmpp\"");
        assert_eq!(feed.header("www-authenticate"), challenge);
        let shown = get(HTML, carrier, &ticket).expect(200);
        assert!(shown.text().contains("data-testid=\"item\"") && !shown.text().contains(&ticket));
        assert_eq!(shown.header("cache-control"), Some("private, no-cache"));
        let ended = get(HTML, carrier, "ended").expect(200);
        assert!(ended.text().contains("data-testid=\"sign-in\""), "{}", ended.text());
        assert_eq!(ended.header("www-authenticate"), None);
    }
}

/// The address of a page stays in the browser's history, in bookmarks and in what people copy.
#[test]
fn a_ticket_in_the_address_of_a_page_becomes_a_cookie() {
    let site = Site::start(&[("http.endpoint", "https://media.example.org/files")]);
    let (user, (_, open)) = (site.user(), site.public_channel());
    let channel = site.own_channel("whitelist", &user);
    let id = site.upload(&user, &channel);
    let url = site.url(&channel);
    let ticket = |scope: &str| {
        let asked = Request::new("POST", &format!("{url}/ticket/{scope}")).basic(user.jid());
        asked.send().expect(201).member("ticket")
    };
    let read = ticket("read");
    for (ticket, query, location) in
        [(read.clone(), "", format!("./{channel}")), (ticket("post"), "&max=4", format!("./{channel}?max=4"))]
    {
        let asked = Request::get(&url).header("Accept", HTML).query(&format!("ticket={ticket}{query}"));
        let led = asked.send().expect(303);
        assert_eq!(led.header("location"), Some(&*location));
        assert_eq!(led.header("cache-control"), Some("private, no-cache"));
        let cookie = led.header("set-cookie").expect("the page needs a cookie");
        let value = cookie.strip_prefix("__Secure-media=").and_then(|rest| rest.split(';').next());
        assert_eq!(value, Some(&*read), "the cookie only reads");
        assert!(cookie.contains(&format!("; Path=/files/{channel}; ")), "{cookie}");
        let cookie = format!("__Secure-media={read}");
        let shown = Request::get(&url).header("Accept", HTML).header("Cookie", &cookie).send().expect(200);
        assert!(shown.text().contains("data-testid=\"item\""), "{}", shown.text());
        Request::get(&format!("{url}/{id}")).header("Cookie", &cookie).send().expect(200);
    }
    let ended = Request::get(&url).header("Accept", HTML).query("ticket=ended").send().expect(200);
    assert!(ended.text().contains("data-testid=\"sign-in\"") && ended.header("set-cookie").is_none());
    // Nobody has looked whether this ticket counts, because the channel is public.
    page(&site.url(&open)).expect(200);
    let asked = Request::get(&site.url(&open)).header("Accept", HTML).query("ticket=any");
    let led = asked.send().expect(303);
    assert_eq!((led.header("location"), led.header("set-cookie")), (Some(&*format!("./{open}")), None));
    // Programs keep their addresses.
    Request::get(&url).query(&format!("ticket={read}")).send().expect(200);
}

#[test]
fn a_refusal_is_a_page_for_people() {
    let site = Site::shared();
    let answer = page(&site.url("room@elsewhere.test")).expect(404);
    assert!(answer.text().contains("<h2>Not found</h2>"), "{}", answer.text());
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let answer = page(&site.url(&format!("{}?max=-1", site.public_channel().1))).expect(400);
    assert!(answer.text().contains("max must be 0 or more."), "{}", answer.text());
}

#[test]
fn pages_link_to_older_ones() {
    let site = Site::shared();
    let (user, channel) = site.public_channel();
    let ids: Vec<_> = (0..5).map(|_| site.upload(&user, &channel)).collect();
    let (mut query, mut seen) = (Some("?max=2".to_owned()), Vec::new());
    while let Some(now) = query {
        let text = page(&site.url(&format!("{channel}{now}"))).expect(200).text();
        seen.extend(
            text.split("data-id=\"").skip(1).map(|rest| rest.split('"').next().unwrap_or("").to_owned()),
        );
        let next = text.split("rel=\"next\" href=\"").nth(1).and_then(|rest| rest.split('"').next());
        query = next.map(|next| next.replace("&amp;", "&"));
    }
    assert!(seen.iter().rev().eq(&ids), "{seen:?} {ids:?}");
}

#[test]
fn search_engines_are_let_in_by_a_setting() {
    let site = Site::start(&[("page.indexed", "true")]);
    let (_, channel) = site.public_channel();
    for accept in [HTML, ATOM] {
        let answer = Request::get(&site.url(&channel)).header("Accept", accept).send().expect(200);
        assert_eq!(answer.header("x-robots-tag"), None, "{accept}");
    }
}

/// Texts that try to end what they stand in, as a form can send them.
const HOSTILE: &[&str] = &[
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "' onmouseover='alert(1)",
    "</title></textarea></style></script><svg onload=alert(1)>",
    "]]><x/>",
    "<!-- &lt;x&gt; &x; -->",
    "<?xml version='1.0'?><!DOCTYPE x>",
    "\u{202e}gpj.exe \u{2028} \u{1}\u{b}\u{fffe}",
    "a\u{7f}b 🤷 é",
];

#[test]
fn hostile_texts_reach_nobody_as_markup() {
    let site = Site::shared();
    let (user, channel) = site.public_channel();
    for text in HOSTILE {
        let upload = site.upload_request(&channel).basic(user.jid());
        let names = ["title", "description", "filename"];
        names
            .into_iter()
            .fold(upload, |upload, name| upload.with(&["--form-string", &format!("{name}={text}")]))
            .send()
            .expect(201);
    }
    let url = site.url(&channel);
    let listed = Request::get(&url).send().expect(200).json();
    let titles: Vec<_> =
        listed.as_array().expect("a list").iter().map(|media| media["title"].clone()).collect();
    let sent: Vec<_> = HOSTILE.iter().rev().map(|text| Value::from(*text)).collect();
    assert_eq!(titles, sent, "JSON says what was sent");

    let html = page(&url).expect(200).text();
    for bad in
        ["<script>", "<img src=x", "onload=alert(1)>", "<x/>", "<svg", "' onmouseover", "<!--", "<?xml"]
    {
        assert!(!html.contains(bad), "{bad} is in {html}");
    }
    let feed = Request::get(&url).query("format=atom").send().expect(200);
    let scratch = Scratch::new();
    let read = read(&scratch, &feed, &url);
    let titles: Vec<_> =
        read["entries"].as_array().expect("a list").iter().map(|entry| entry["title"].clone()).collect();
    let allowed =
        |text: &&str| Value::from(text.replace(['\u{1}', '\u{b}', '\u{fffe}', '\u{7f}'], "\u{fffd}"));
    assert_eq!(titles, HOSTILE.iter().rev().map(allowed).collect::<Vec<_>>(), "{read}");
}

#[test]
fn feed_readers_take_the_feed() {
    let site = Site::shared();
    let (user, channel) = site.public_channel();
    let ids: Vec<_> = (0..3)
        .map(|number| site.upload_titled(&user, &channel, &format!("N {number}")).member("id"))
        .collect();
    let url = site.url(&channel);
    let (scratch, bytes) = (Scratch::new(), fs::metadata(photo()).expect("the fixture").len());
    let (mut address, mut found) = (format!("{url}?format=atom&max=2"), Vec::new());
    for _ in 0..2 {
        let feed = Request::get(&address).header("Host", "evil.example").send().expect(200);
        assert!(!feed.text().contains("evil.example"), "{}", feed.text());
        let read = read(&scratch, &feed, &address);
        assert_eq!((&read["version"], &read["title"]), (&"atom10".into(), &channel.clone().into()));
        for entry in read["entries"].as_array().expect("a list") {
            let enclosure = &entry["enclosures"][0];
            let id = entry["id"].as_str().and_then(|id| id.rsplit('/').next()).expect("an id").to_owned();
            assert_eq!(enclosure[0], format!("{url}/{id}"));
            assert_eq!((&enclosure[1], &enclosure[2]), (&"image/jpeg".into(), &bytes.to_string().into()));
            found.push(id);
        }
        address = read["next"][0].as_str().unwrap_or_default().to_owned();
    }
    assert!(address.is_empty() && found.iter().rev().eq(&ids), "{found:?} {ids:?}");
}

#[test]
fn a_feed_behind_an_endpoint_begins_its_links_with_it() {
    let site = Site::start(&[("http.endpoint", "https://media.example.com/files/")]);
    let (user, channel) = site.public_channel();
    let id = site.upload(&user, &channel);
    let feed = Request::get(&site.url(&channel)).header("Accept", ATOM).send().expect(200);
    let read = read(&Scratch::new(), &feed, "https://media.example.com/x");
    assert_eq!(
        read["entries"][0]["enclosures"][0][0],
        format!("https://media.example.com/files/{channel}/{id}")
    );
    assert_eq!(read["self"][0], format!("https://media.example.com/files/{channel}?format=atom&max=30"));
    let html = page(&site.url(&channel)).expect(200).text();
    assert!(!html.contains("127.0.0.1") && html.contains(&format!("href=\"./{channel}/{id}\"")), "{html}");
}

/// The entries that feedparser finds in this feed, after xmllint has found nothing wrong with it.
fn read(scratch: &Scratch, feed: &Answer, address: &str) -> Value {
    let file = scratch.join("feed.xml");
    fs::write(&file, &feed.body).expect("the scratch directory takes files");
    let file = file.display().to_string();
    let (status, printed) = run(&["xmllint", "--noout", "--nonet", &file]);
    assert_eq!((status, printed.as_str()), (0, ""), "{}", feed.text());
    let script =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/read_feed.py").display().to_string();
    let (status, printed) = run(&[&python(), &script, &file, address]);
    assert_eq!(status, 0, "{printed}");
    let read: Value = serde_json::from_str(&printed).unwrap_or_else(|_| panic!("{printed}"));
    assert_eq!(read["bozo"], "", "{read}");
    read
}
