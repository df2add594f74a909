//! HTTP itself: connections, methods, addresses, and the shapes of refusals.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::site::{Site, photo, photo_bytes};
use crate::support::http::{Raw, Request, transaction};

#[test]
fn a_connection_serves_many_requests() {
    let site = Site::shared();
    let (user, channel) = site.public_channel();
    let id = site.upload(&user, &channel);
    let mut connection = Raw::connect(site.server.port());
    for path in [
        format!("/{channel}/{id}"),
        format!("/{channel}"),
        format!("/{channel}/unknown"),
        format!("/{channel}/{id}"),
    ] {
        connection.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
        let answer = connection.answer().expect("the connection is kept");
        let expected = if path.ends_with("unknown") { 404 } else { 200 };
        assert_eq!(answer.status, expected, "{path}");
    }
    connection.send(format!("HEAD /{channel}/{id} HTTP/1.1\r\nHost: x\r\n\r\n"));
    let head = connection.answer_to_head().expect("the connection is kept");
    assert_eq!(head.header("content-length"), Some(photo_bytes().len().to_string().as_str()));
    connection.send(format!("GET /{channel} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
    assert_eq!(connection.answer().expect("an answer").status, 200);
    assert!(connection.is_closed());
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let site = Site::shared();
    let (_user, channel) = site.public_channel();
    let mut connection = Raw::connect(site.server.port());
    connection.send(format!(
        "GET /{channel} HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\nGET /{channel} HTTP/1.1\r\nHost: x\r\n\r\n"
    ));
    let statuses = [(); 3].map(|()| connection.answer().expect("three answers").status);
    assert_eq!(statuses, [200, 404, 200]);
}

#[test]
fn http_1_0_is_understood() {
    let site = Site::shared();
    let (_user, channel) = site.public_channel();
    let mut connection = Raw::connect(site.server.port());
    connection.send(format!("GET /{channel} HTTP/1.0\r\n\r\n"));
    assert_eq!(connection.answer().expect("an answer").status, 200);
    assert!(connection.is_closed());
}

#[test]
fn head_is_get_without_the_body() {
    let site = Site::shared();
    let (user, channel) = site.public_channel();
    let id = site.upload(&user, &channel);
    for path in [channel.clone(), format!("{channel}/{id}"), format!("{channel}/{id}/metadata")] {
        let url = site.url(&path);
        let (get, head) =
            (Request::get(&url).send().expect(200), Request::new("HEAD", &url).send().expect(200));
        assert!(head.body.is_empty());
        for name in ["content-length", "content-type", "etag", "last-modified"] {
            assert_eq!(get.header(name), head.header(name), "{path}: {name}");
        }
    }
}

#[test]
fn other_methods_are_refused_with_those_that_would_do() {
    let site = Site::shared();
    let (_user, channel) = site.public_channel();
    for (path, method, allowed) in [
        (channel.clone(), "DELETE", "GET HEAD POST OPTIONS"),
        (channel.clone(), "PUT", "GET HEAD POST OPTIONS"),
        (format!("{channel}/x"), "PATCH", "GET HEAD POST DELETE OPTIONS"),
        (format!("{channel}/x/metadata"), "POST", "GET HEAD OPTIONS"),
    ] {
        let answer = Request::new(method, &site.url(&path)).send().expect(405);
        let allow = answer.header("allow").expect("405 has Allow").to_owned();
        for method in allowed.split(' ') {
            assert!(allow.split(',').any(|known| known.trim() == method), "{path}: {method} not in {allow}");
        }
        assert!(!allow.split(',').any(|known| known.trim() == method), "{path}: {method} in {allow}");
    }
}

#[test]
fn put_is_for_avatars() {
    let site = Site::shared();
    let (user, channel) = site.public_channel();
    let put = Request::new("PUT", &site.url(&format!("{channel}/abc"))).basic(user.jid());
    let answer = put.file(&photo(), "image/jpeg").send().expect(405);
    assert!(answer.header("allow").is_some());
}

#[test]
fn options_asks_nobody() {
    let site = Site::shared();
    let user = site.user();
    let channel = site.own_channel("whitelist", &user);
    for path in [channel.clone(), format!("{channel}/x"), format!("{channel}/x/metadata")] {
        let answer = Request::new("OPTIONS", &site.url(&path)).basic(user.jid()).send().expect(200);
        assert!(answer.header("allow").is_some(), "{path}");
    }
    assert!(user.confirms().is_empty());
}

#[test]
fn addresses_that_mean_nothing() {
    let site = Site::shared();
    let (_user, channel) = site.public_channel();
    for (path, status) in [
        (String::new(), 404),
        (format!("{channel}/a/b"), 404),
        (format!("{channel}/a/metadata/x"), 404),
        (format!("{channel}/.."), 404),
        (format!("{channel}/%2e%2e"), 404),
        (format!("{channel}/a.b"), 404),
        (format!("{channel}/{}", "x".repeat(65)), 404),
        ("..%2fetc/passwd".to_owned(), 400),
        ("nolocal.example.org".to_owned(), 400),
        ("%ff@example.org".to_owned(), 400),
        ("a@example.org%2fresource".to_owned(), 400),
    ] {
        let answer = Request::get(&site.url(&path)).send();
        assert_eq!(answer.status, status, "/{path}: {}", answer.text());
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "/{path}");
        let problem = answer.json();
        assert_eq!(problem["status"], status, "/{path}");
        for name in ["title", "detail"] {
            assert!(problem[name].as_str().is_some_and(|text| !text.is_empty()), "/{path}: {name}");
        }
    }
}

#[test]
fn an_address_may_be_escaped() {
    let site = Site::shared();
    let (_user, channel) = site.public_channel();
    Request::get(&site.url(&channel.replace('@', "%40"))).send().expect(200);
    Request::get(&site.url(&channel.to_uppercase())).send().expect(200);
}

#[test]
fn a_body_may_come_in_chunks() {
    let site = Site::shared();
    let (user, channel) = site.public_channel();
    let request = site.upload_request(&channel).basic(user.jid()).header("Transfer-Encoding", "chunked");
    let id = request.send().expect(201).member("id");
    assert!(Request::get(&site.url(&format!("{channel}/{id}"))).send().expect(200).body == photo_bytes());
}

#[test]
fn a_body_is_asked_for_only_when_it_is_wanted() {
    let site = Site::shared();
    let (user, channel) = site.public_channel();
    let stranger = site.user();
    let post = |token: &str| {
        let mut connection = Raw::connect(site.server.port());
        connection.send(format!(
            "POST /{channel} HTTP/1.1\r\nHost: x\r\n{token}Expect: 100-continue\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 32\r\n\r\n"
        ));
        connection
    };
    let token = |jid: &str| {
        let token = STANDARD.encode(format!("{jid}:{}", transaction()));
        format!("Authorization: Basic {token}\r\n")
    };
    assert_eq!(post("").answer().expect("a refusal").status, 401);
    assert_eq!(post(&token(stranger.jid())).answer().expect("a refusal").status, 403);
    let mut wanted = post(&token(user.jid()));
    assert_eq!(wanted.answer().expect("an invitation").status, 100);
    wanted.send("data=eA==&content-type=text/html");
    assert_eq!(wanted.answer().expect("an answer").status, 201);
}

#[test]
fn a_body_that_is_cut_stores_nothing() {
    let site = Site::shared();
    let (user, channel) = site.public_channel();
    let token = STANDARD.encode(format!("{}:{}", user.jid(), transaction()));
    let mut connection = Raw::connect(site.server.port());
    connection.send(format!(
        "POST /{channel} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {token}\r\n\
         Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 500\r\n\r\n\
         --b\r\nContent-Disposition: form-data; name=data\r\n\r\nhalf of"
    ));
    user.confirm(0).expect("the user is asked");
    connection.end();
    let answer = connection.final_answer();
    assert!(answer.is_none_or(|answer| answer.status == 400));
    assert_eq!(Request::get(&site.url(&channel)).send().expect(200).text(), "[]");
}

#[test]
fn bad_requests_cost_their_connection_only() {
    let site = Site::shared();
    let (_user, channel) = site.public_channel();
    let long = "x".repeat(100_000);
    let many = "A: b\r\n".repeat(10_000);
    for (what, request, statuses) in [
        (
            "huge length",
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n".to_owned(),
            [400, 400],
        ),
        (
            "large length",
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9223372036854775808\r\n\r\n".to_owned(),
            [404, 404],
        ),
        (
            "both framings",
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
                .to_owned(),
            [400, 400],
        ),
        (
            "two lengths",
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n".to_owned(),
            [400, 400],
        ),
        ("no host", format!("GET /{channel} HTTP/1.1\r\n\r\n"), [400, 400]),
        ("long line", format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n"), [414, 431]),
        ("long head", format!("GET / HTTP/1.1\r\nHost: x\r\n{many}\r\n"), [431, 431]),
        ("no HTTP", "\x16\x03\x01\x02\r\n\r\n".to_owned(), [400, 400]),
        ("other version", "GET / HTTP/3.0\r\nHost: x\r\n\r\n".to_owned(), [505, 400]),
    ] {
        let mut connection = Raw::connect(site.server.port());
        connection.try_send(request);
        if let Some(answer) = connection.answer() {
            assert!(statuses.contains(&answer.status), "{what}: {}", answer.status);
        }
        assert!(connection.is_closed(), "{what}: the connection is kept");
        Request::get(&site.url(&channel)).send().expect(200);
    }
}
