//! Tickets: one confirmation for many requests, and the rights of a ticket by its carrier.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use crate::private_channels::impatient;
use crate::site::{Site, flush, photo, photo_bytes, unique};
use crate::support::http::{Answer, Request};
use crate::support::prosody::{CHANNELS, DOMAIN};
use crate::support::server::program;
use crate::support::wait_for;
use crate::support::xmpp_client::{Client, Policy};

/// How a ticket comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carrier {
    Bearer,
    Query,
    Cookie,
}

const CARRIERS: [Carrier; 3] = [Carrier::Bearer, Carrier::Query, Carrier::Cookie];

impl Carrier {
    fn put(self, request: Request, ticket: &str) -> Request {
        match self {
            Self::Bearer => request.header("Authorization", &format!("Bearer {ticket}")),
            Self::Query => request.query(&format!("ticket={ticket}")),
            Self::Cookie => request.header("Cookie", &format!("other=1; __Secure-media={ticket}")),
        }
    }
}

/// The request with this ticket.
pub fn bearer(request: Request, ticket: &str) -> Request {
    Carrier::Bearer.put(request, ticket)
}

/// Asks for a ticket, which the user confirms.
fn asked(site: &Site, user: &Client, channel: &str, scope: &str) -> Request {
    Request::new("POST", &site.url(&format!("{channel}/ticket/{scope}"))).basic(user.jid())
}

/// A ticket, which the user confirms.
#[track_caller]
pub fn ticket(site: &Site, user: &Client, channel: &str, scope: &str) -> String {
    asked(site, user, channel, scope).send().expect(201).member("ticket")
}

/// The bytes of a ticket.
fn decoded(ticket: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(ticket).expect("a ticket is base64url")
}

/// The ticket with another byte at `place`. A character set by hand may be the one that is there.
fn with_changed_byte(ticket: &str, place: usize) -> String {
    let mut bytes = decoded(ticket);
    bytes[place] ^= 1;
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A private channel with its owner, a publisher, a member, and a media of the publisher's.
struct Gallery {
    owner: Client,
    publisher: Client,
    member: Client,
    channel: String,
    /// The address of the media.
    media: String,
}

fn gallery(site: &Site) -> Gallery {
    let [owner, publisher, member] = [(); 3].map(|()| site.user());
    let people = [(owner.bare(), "owner"), (publisher.bare(), "publisher"), (member.bare(), "member")];
    let channel = site.channel("whitelist", &people);
    let media = site.url(&format!("{channel}/{}", site.upload(&publisher, &channel)));
    Gallery { owner, publisher, member, channel, media }
}

#[test]
fn one_confirmation_opens_fifty_pictures() {
    let site = Site::shared();
    let Gallery { publisher, member, channel, .. } = gallery(site);
    let post = ticket(site, &publisher, &channel, "post");
    let before = publisher.confirms().len();
    let upload = || bearer(site.upload_request(&channel), &post).send().expect(201).member("id");
    let ids: Vec<String> = (0..50).map(|_| upload()).collect();
    flush(&publisher);
    assert_eq!(publisher.confirms().len(), before, "nobody is asked about an upload with a ticket");

    let read = ticket(site, &member, &channel, "read");
    let list = bearer(Request::get(&site.url(&channel)), &read).send().expect(200);
    assert_eq!(list.json().as_array().map(Vec::len), Some(51));
    for (number, id) in ids.iter().enumerate() {
        let request = Request::get(&site.url(&format!("{channel}/{id}")));
        let answer = CARRIERS[number % 3].put(request, &read).send().expect(200);
        assert!(answer.body == photo_bytes(), "{id}");
    }
    flush(&member);
    let asked: Vec<_> = member.confirms().into_iter().map(|confirm| (confirm.method, confirm.url)).collect();
    assert_eq!(asked, [("POST".to_owned(), site.url(&format!("{channel}/ticket/read")))]);
}

#[test]
fn a_ticket_says_what_it_is_and_is_the_same_for_a_while() {
    let site = Site::shared();
    let Gallery { member, channel, .. } = gallery(site);
    let answer = asked(site, &member, &channel, "read").send().expect(201);
    assert_eq!(answer.member("scope"), "read");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("set-cookie"), None);
    let expires = answer.member("expires");
    assert!(expires.ends_with(":00.000Z") && (expires.as_bytes()[15] - b'0').is_multiple_of(5), "{expires}");
    wait_for("two tickets within one step of the grid", || {
        let [one, other] = [(); 2].map(|()| asked(site, &member, &channel, "read").send().expect(201));
        (one.member("expires") == other.member("expires")).then(|| {
            assert_eq!(one.member("ticket"), other.member("ticket"));
        })
    });
    // In the query, or in a form.
    let body = |answer: Answer| answer.member("expires");
    let short = body(asked(site, &member, &channel, "read").query("seconds=1").send().expect(201));
    let long = body(asked(site, &member, &channel, "read").field("seconds", "100000").send().expect(201));
    assert!(short < expires && expires < long, "{short} {expires} {long}");
    let shown =
        member.confirms().last().and_then(|confirm| confirm.stanza.child("body", "jabber:client").cloned());
    let shown = shown.expect("the prompt has a body").text;
    let deed = format!("ask to read all files of {channel} for up to 60 minutes?");
    assert!(shown.contains(&deed) && shown.contains("(from 127.0.0.1)"), "{shown}");
}

#[test]
fn a_request_without_a_chance_is_refused_before_anybody_is_asked() {
    let site = Site::shared();
    let Gallery { member, channel, .. } = gallery(site);
    let request = || asked(site, &member, &channel, "read");
    for query in ["seconds=0", "seconds=-1", "seconds=", "seconds=x", "cookie=1"] {
        request().query(query).send().expect(400);
    }
    request().field("seconds", "0").send().expect(400);
    request().field("x", &"y".repeat(1100)).send().expect(413);
    request().with(&["-H", "Transfer-Encoding: chunked"]).field("x", &"y".repeat(1100)).send().expect(413);
    request().header("Content-Type", "application/json").with(&["-d", "{}"]).send().expect(415);
    Request::new("POST", &site.url(&format!("{channel}/ticket/read"))).send().expect(401);
    Request::get(&site.url(&format!("{channel}/ticket/read"))).basic(member.jid()).send().expect(405);
    Request::new("POST", &site.url(&format!("{channel}/ticket/write")))
        .basic(member.jid())
        .send()
        .expect(404);
    flush(&member);
    assert!(member.confirms().is_empty());
}

#[test]
fn only_those_who_may_do_it_get_a_ticket() {
    let site = impatient();
    let Gallery { publisher, member, channel, .. } = gallery(site);
    let stranger = site.user();
    let refused = [(&member, "post"), (&stranger, "read"), (&stranger, "post")];
    let refused = refused.map(|(user, scope)| asked(site, user, &channel, scope).send_apart());
    for one in refused {
        one.join().expect("an answer").expect(403);
    }
    ticket(site, &member, &channel, "read");
    ticket(site, &publisher, &channel, "post");
    let (owner, open) = site.public_channel();
    ticket(site, &stranger, &open, "read");
    assert_eq!(asked(site, &stranger, &open, "post").send().expect(403).member("title"), "Not allowed");
    ticket(site, &owner, &open, "post");
    member.set_policy(Policy::Deny);
    asked(site, &member, &channel, "read").send().expect(403);
}

/// The table of rights, by scope and carrier of a ticket.
#[test]
fn a_ticket_does_what_its_scope_and_its_carrier_allow() {
    let site = Site::shared();
    let Gallery { owner, publisher, channel, media, .. } = gallery(site);
    let foreign = site.url(&format!("{channel}/{}", site.upload(&owner, &channel)));
    let (read, post) =
        (ticket(site, &publisher, &channel, "read"), ticket(site, &publisher, &channel, "post"));
    let before = publisher.confirms().len();
    let list = site.url(&channel);
    let metadata = format!("{media}/metadata");
    for carrier in CARRIERS {
        for scope in [&read, &post] {
            for url in [&list, &media, &metadata] {
                carrier.put(Request::get(url), scope).send().expect(200);
                carrier.put(Request::new("HEAD", url), scope).send().expect(200);
            }
            let may_write = carrier == Carrier::Bearer && scope == &post;
            let expect = |status: u16| if may_write { status } else { 403 };
            let own = site.upload(&publisher, &channel);
            let own = site.url(&format!("{channel}/{own}"));
            let put = |request: Request| carrier.put(request, scope).send();
            put(site.upload_request(&channel)).expect(expect(201));
            put(Request::new("POST", &own).field("title", "Better")).expect(expect(200));
            put(Request::new("DELETE", &own)).expect(expect(200));
            // Never: what others uploaded, avatars, tickets.
            put(Request::new("POST", &foreign).field("title", "Mine")).expect(403);
            put(Request::new("DELETE", &foreign)).expect(403);
            let avatar = site.url(&format!("{channel}/avatar"));
            put(Request::new("PUT", &avatar).file(&photo(), "image/jpeg")).expect(403);
            put(Request::new("POST", &avatar).field("title", "x")).expect(403);
            put(Request::new("DELETE", &avatar)).expect(403);
            put(Request::new("POST", &site.url(&format!("{channel}/ticket/read")))).expect(403);
        }
    }
    flush(&publisher);
    // Six uploads were confirmed above, to have something to delete.
    assert_eq!(publisher.confirms().len(), before + 6);
}

#[test]
fn an_owner_changes_only_their_own_by_a_ticket() {
    let site = Site::shared();
    let Gallery { owner, channel, media, .. } = gallery(site);
    let post = ticket(site, &owner, &channel, "post");
    let answer = bearer(Request::new("DELETE", &media), &post).send().expect(403);
    assert_eq!(answer.member("title"), "Not by this ticket");
    bearer(Request::new("DELETE", &site.url(&format!("{channel}/missing"))), &post).send().expect(404);
    Request::new("DELETE", &media).basic(owner.jid()).send().expect(200);
}

/// The table of headers, by carrier and status.
#[test]
fn every_response_to_a_ticket_is_confined() {
    let site = Site::shared();
    let Gallery { member, channel, media, .. } = gallery(site);
    let good = ticket(site, &member, &channel, "read");
    let other = gallery(site);
    let elsewhere = ticket(site, &other.member, &other.channel, "read");
    let tag = bearer(Request::get(&media), &good).send().expect(200).header("etag").map(str::to_owned);
    let tag = tag.expect("media have tags");
    let (list, missing) = (site.url(&channel), site.url(&format!("{channel}/missing")));
    let (_, open) = site.public_channel();
    let get = || Request::get(&media);
    let tampered = with_changed_byte(&good, decoded(&good).len() - 1);
    for carrier in CARRIERS {
        for (status, request, ticket) in [
            (200, get(), &good),
            (200, Request::get(&list), &good),
            (200, Request::get(&format!("{media}/metadata")), &good),
            (200, Request::get(&format!("{media}?maxwidth=50")), &good),
            (200, Request::get(&site.url(&open)), &elsewhere),
            (200, Request::new("OPTIONS", &media), &good),
            (206, get().header("Range", "bytes=0-9"), &good),
            (304, get().header("If-None-Match", &tag), &good),
            (400, Request::get(&format!("{list}?max=-1")), &good),
            (400, Request::get(&site.url("nobody")), &good),
            (401, get(), &tampered),
            (401, Request::new("DELETE", &media), &tampered),
            (403, get(), &elsewhere),
            (403, Request::new("DELETE", &media), &good),
            (404, Request::get(&missing), &good),
            (404, Request::get(&site.url("")), &good),
            (404, Request::get(&site.url(&format!("upload/{}/a.txt", "a".repeat(24)))), &good),
            (405, Request::new("PUT", &media), &good),
            (412, get().header("If-Match", "\"x\""), &good),
            (416, get().header("Range", "bytes=99999999-"), &good),
        ] {
            let request = request.header("Origin", "https://page.example");
            let answer = carrier.put(request, ticket).send().expect(status);
            let case = format!("{carrier:?} {status} {:?}", answer.headers);
            let cache = if status < 400 { "private, no-cache" } else { "no-store" };
            assert_eq!(answer.header("cache-control"), Some(cache), "{case}");
            let vary: Vec<_> = answer.headers.iter().filter(|(name, _)| name == "vary").collect();
            assert_eq!(vary.len(), 1, "{case}");
            let vary = answer.header("vary").expect("it was counted");
            assert!(vary.starts_with("Authorization, Cookie, Origin"), "{case}");
            assert_eq!(answer.header("access-control-allow-credentials"), None, "{case}");
            assert_eq!(answer.header("referrer-policy"), Some("no-referrer"), "{case}");
            let policy = answer.header("cross-origin-resource-policy");
            assert_eq!(policy == Some("same-site"), carrier == Carrier::Cookie, "{case}");
            let challenge = answer.header("www-authenticate");
            assert_eq!(challenge.is_some(), status == 401, "{case}");
            assert!(challenge.is_none_or(|challenge| challenge.starts_with("Bearer ")), "{case}");
        }
    }
    // Without a ticket nothing has changed.
    let plain = get().basic(member.jid()).header("Origin", "https://page.example").send().expect(200);
    assert_eq!(plain.header("access-control-allow-credentials"), Some("true"));
    assert_eq!(plain.header("vary"), Some("Origin"));
}

#[test]
fn a_challenge_to_a_script_makes_no_browser_ask_for_a_password() {
    let site = Site::shared();
    let Gallery { media, .. } = gallery(site);
    let get = || Request::get(&media);
    for (request, expected) in [
        (get(), "Basic realm=\"xmpp\""),
        (get().header("Sec-Fetch-Mode", "navigate"), "Basic realm=\"xmpp\""),
        (get().header("Sec-Fetch-Mode", "cors"), "Bearer realm=\"xmpp\""),
        (get().header("Sec-Fetch-Mode", "no-cors"), "Bearer realm=\"xmpp\""),
        (get().header("Sec-Fetch-Mode", "same-origin"), "Bearer realm=\"xmpp\""),
        (get().header("X-Requested-With", "XMLHttpRequest"), "Bearer realm=\"xmpp\""),
        (get().token("nonsense").header("X-Requested-With", "x"), "Bearer realm=\"xmpp\""),
        (get().query("ticket=x"), "Bearer realm=\"xmpp\", error=\"invalid_token\""),
        (bearer(get(), "x"), "Bearer realm=\"xmpp\", error=\"invalid_token\""),
    ] {
        let answer = request.send().expect(401);
        let challenges: Vec<_> =
            answer.headers.iter().filter(|(name, _)| name == "www-authenticate").collect();
        assert_eq!(challenges.len(), 1);
        assert_eq!(answer.header("www-authenticate"), Some(expected));
    }
}

#[test]
fn a_changed_ticket_is_refused_and_one_of_another_channel_too() {
    let site = Site::shared();
    let Gallery { member, channel, media, .. } = gallery(site);
    let good = ticket(site, &member, &channel, "read");
    let length = decoded(&good).len();
    // A byte of each field and of its length: version, key, epoch, expiry, scope, channel, user, HMAC.
    let channel_at = 5 + 10 + 10 + 6;
    let user_at = channel_at + 2 + channel.len();
    for place in [
        0,
        1,
        4,
        5,
        6,
        14,
        16,
        24,
        26,
        30,
        channel_at + 1,
        channel_at + 2,
        user_at + 1,
        user_at + 2,
        length - 1,
    ] {
        let changed = with_changed_byte(&good, place);
        let answer = bearer(Request::get(&media), &changed).send().expect(401);
        assert_eq!(answer.member("title"), "Ticket not valid", "byte {place}");
    }
    for text in ["", "x", &good[1..], &format!("{good}="), &format!("{good}AAAA"), &"A".repeat(4000)] {
        Carrier::Query.put(Request::get(&media), text).send().expect(401);
    }
    let other = gallery(site);
    let elsewhere = ticket(site, &other.owner, &other.channel, "post");
    let answer = bearer(Request::get(&media), &elsewhere).send().expect(403);
    assert_eq!(answer.member("detail"), "The ticket is for another channel.");
}

#[test]
fn other_credentials_outrank_a_cookie() {
    let site = Site::shared();
    let Gallery { member, channel, media, .. } = gallery(site);
    let good = ticket(site, &member, &channel, "read");
    let with_cookie = |request: Request| Carrier::Cookie.put(request, &good);
    let before = member.confirms().len();
    with_cookie(Request::get(&media)).send().expect(200);
    bearer(with_cookie(Request::get(&media)), "x").send().expect(401);
    with_cookie(Request::get(&media).query("ticket=x")).send().expect(401);
    with_cookie(Request::get(&media).token("nonsense")).send().expect(401);
    with_cookie(Request::get(&media).query("auth=x")).send().expect(401);
    flush(&member);
    assert_eq!(member.confirms().len(), before);
    with_cookie(Request::get(&media).basic(member.jid())).send().expect(200);
    member.confirm(before).expect("credentials are confirmed, whatever the cookie says");
}

#[test]
fn a_removed_member_loses_access_and_can_regain_it() {
    let site = Site::start(&[("xmpp.cache.ttl", "2")]);
    let Gallery { publisher, channel, media, .. } = gallery(&site);
    let post = ticket(&site, &publisher, &channel, "post");
    bearer(Request::get(&media), &post).send().expect(200);
    let affiliate = |word| {
        let set = site.admin.set_affiliation(CHANNELS, &channel, publisher.bare(), word);
        set.expect("the channel service takes it");
    };
    affiliate("outcast");
    let since = Instant::now();
    wait_for("the outcast to be refused", || {
        (bearer(Request::get(&media), &post).send().status == 403).then_some(())
    });
    assert!(since.elapsed() < Duration::from_secs(4), "{:?}", since.elapsed());
    bearer(site.upload_request(&channel), &post).send().expect(403);
    bearer(Request::new("DELETE", &media), &post).send().expect(403);
    affiliate("member");
    wait_for("the member to be let in", || {
        (bearer(Request::get(&media), &post).send().status == 200).then_some(())
    });
    bearer(site.upload_request(&channel), &post).send().expect(403);
}

#[test]
fn revoked_tickets_are_refused_within_ten_seconds() {
    // Others would lose theirs.
    let site = &Site::start(&[]);
    let Gallery { member, publisher, channel, media, .. } = gallery(site);
    let config = site.server.configuration().display().to_string();
    let revoke = |whose: &[&str]| {
        let (status, printed) = program(&[&["-c", &config, "tickets", "revoke", "--json"], whose].concat());
        assert_eq!(status, 0, "{printed}");
        let id = whose.last().expect("somebody's").trim_start_matches("--");
        assert_eq!(printed, format!("[\n{{\"id\":\"{id}\",\"revoked\":true}}\n]\n"));
        Instant::now()
    };
    let [first, other] = [&member, &publisher].map(|user| ticket(site, user, &channel, "read"));
    let read = |ticket: &str| bearer(Request::get(&media), ticket).send();
    let until_refused = |ticket: &str, since: Instant| {
        wait_for("the ticket to be refused", || (read(ticket).status == 401).then_some(()));
        assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
        assert_eq!(read(ticket).member("title"), "Ticket not valid");
    };
    for ticket in [&first, &other] {
        read(ticket).expect(200);
    }
    until_refused(&first, revoke(&["--user", member.bare()]));
    read(&other).expect(200);
    let second = ticket(site, &member, &channel, "read");
    assert_ne!(first, second);
    read(&second).expect(200);

    let since = revoke(&["--all"]);
    until_refused(&second, since);
    until_refused(&other, since);
    read(&ticket(site, &member, &channel, "read")).expect(200);
}

#[test]
fn tickets_go_to_named_origins_only() {
    let site = Site::start(&[
        ("http.endpoint", "https://media.example.org/files"),
        ("http.cors.origins", "https://named.example"),
    ]);
    let Gallery { member, channel, .. } = gallery(&site);
    let request = || asked(&site, &member, &channel, "read");
    for (origin, status) in [
        ("https://media.example.org", 201),
        ("https://named.example", 201),
        ("https://evil.example", 403),
        ("http://media.example.org", 403),
        ("https://media.example.org:8443", 403),
        ("https://media.example.org.evil.example", 403),
        ("null", 403),
    ] {
        request().header("Origin", origin).send().expect(status);
    }
    request().send().expect(201);
    // The field Host counts for nothing.
    let forged = request().header("Host", "evil.example").header("Origin", "http://evil.example");
    forged.send().expect(403);
    let every = Site::shared();
    let Gallery { member, channel, .. } = gallery(every);
    let page = asked(every, &member, &channel, "read").header("Origin", "https://page.example");
    assert_eq!(page.send().expect(403).member("title"), "Not for this page");
}

#[test]
fn a_cookie_is_set_for_the_channel_and_only_reads() {
    let site = Site::start(&[("http.endpoint", "https://media.example.org/files")]);
    let Gallery { publisher, channel, media, .. } = gallery(&site);
    let before = publisher.confirms().len();
    for (path, scope) in
        [(channel.clone(), "read"), (channel.replace('@', "%40"), "read"), (channel.clone(), "post")]
    {
        let request =
            Request::new("POST", &site.url(&format!("{path}/ticket/{scope}"))).basic(publisher.jid());
        let answer = request.query("cookie=1&seconds=600").send().expect(201);
        let cookie = answer.header("set-cookie").expect("a cookie was asked for").to_owned();
        let (pair, attributes) = cookie.split_once("; ").expect("it has attributes");
        let (name, value) = pair.split_once('=').expect("it has a value");
        assert_eq!(name, "__Secure-media");
        assert_eq!(value == answer.member("ticket"), scope == "read", "it holds a ticket that reads");
        let attributes: Vec<_> = attributes.split("; ").collect();
        let age = attributes.iter().find_map(|attribute| attribute.strip_prefix("Max-Age="));
        let age: u64 = age.and_then(|age| age.parse().ok()).expect("it ends with the ticket");
        assert!((590..=900).contains(&age), "{age}");
        for expected in [&*format!("Path=/files/{path}"), "Secure", "HttpOnly", "SameSite=Lax"] {
            assert!(attributes.contains(&expected), "{cookie}");
        }
        assert_eq!(attributes.len(), 5);
        Carrier::Cookie.put(Request::get(&media), value).send().expect(200);
        bearer(site.upload_request(&channel), value).send().expect(403);
    }
    assert_eq!(publisher.confirms().len(), before + 3);
    let odd = site.url(&format!("{};x@{DOMAIN}/ticket/read", unique("odd")));
    Request::new("POST", &odd).basic(publisher.jid()).query("cookie=1").send().expect(400);
}

#[test]
fn a_confirmed_head_pays_for_one_get() {
    let site = Site::shared();
    let Gallery { publisher, member, channel, media, .. } = gallery(site);
    let token = |user: &Client| STANDARD.encode(format!("{}:head1", user.jid()));
    let head = || Request::new("HEAD", &media).token(&token(&member));
    let get = |url: &str| Request::get(url).token(&token(&member));
    head().send().expect(200);
    get(&format!("{media}?maxwidth=50")).send().expect(200);
    flush(&member);
    assert_eq!(member.confirms().len(), 1, "the query does not matter");
    get(&media).send().expect(200);
    assert_eq!(member.confirms().len(), 2, "it pays once");
    head().send().expect(200);
    let other = Request::get(&media).basic(member.jid());
    other.send().expect(200);
    assert_eq!(member.confirms().len(), 4, "for the same credentials only");
    get(&format!("{media}/metadata")).send().expect(200);
    assert_eq!(member.confirms().len(), 5, "and for the same address");
    get(&media).send().expect(200);
    assert_eq!(member.confirms().len(), 5, "it is still paid for");
    let (list, before) = (site.url(&channel), publisher.confirms().len());
    Request::new("HEAD", &list).token(&token(&publisher)).send().expect(200);
    site.upload_request(&channel).token(&token(&publisher)).send().expect(201);
    flush(&publisher);
    assert_eq!(publisher.confirms().len(), before + 2, "it pays for no write");
}

#[test]
fn no_log_shows_a_ticket() {
    let settings = [("logging.level", "trace"), ("http.endpoint", "https://media.example.org")];
    let site = Site::start(&settings);
    let Gallery { publisher, channel, media, .. } = gallery(&site);
    let mut secrets = Vec::new();
    for scope in ["read", "post"] {
        let answer = asked(&site, &publisher, &channel, scope).query("cookie=1").send().expect(201);
        let cookie = answer.header("set-cookie").expect("a cookie was asked for").to_owned();
        secrets.push(cookie.split(['=', ';']).nth(1).expect("a value").to_owned());
        secrets.push(answer.member("ticket"));
    }
    for secret in secrets.clone() {
        for carrier in CARRIERS {
            for (method, url) in [
                ("GET", media.clone()),
                ("GET", site.url(&channel)),
                ("GET", site.url("nobody")),
                ("DELETE", site.url(&format!("{channel}/missing"))),
                ("OPTIONS", media.clone()),
                ("BREW", media.clone()),
            ] {
                carrier.put(Request::new(method, &url), &secret).send();
                carrier.put(Request::new(method, &url), &format!("{secret}x")).send();
            }
        }
    }
    Request::get(&site.url(&format!("{channel}/last"))).send();
    site.server.wait_log("/last ");
    let (log, xmpp) = (site.server.log(), site.prosody.log());
    assert!(log.contains("DELETE"), "{log}");
    for secret in secrets {
        // The end is the part that nobody can make up.
        let end = &secret[secret.len() - 20..];
        assert!(!log.contains(end) && !xmpp.contains(end), "a log shows a ticket");
    }
}
