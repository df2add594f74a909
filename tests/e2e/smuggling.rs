//! Ambiguous requests: request smuggling, path traversal, values that break out of their field.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::site::Site;
use crate::support::http::{Answer, Raw, Request, transaction};

/// Statuses of all answers on a new connection to these bytes, until it is closed or `most` have come.
fn statuses(site: &Site, bytes: impl AsRef<[u8]>, most: usize) -> Vec<u16> {
    let mut connection = Raw::connect(site.server.port());
    connection.try_send(bytes);
    connection.end();
    (0..most).map_while(|_| connection.final_answer()).map(|answer| answer.status).collect()
}

/// A request that nobody must answer with 200: it is hidden in another one.
fn hidden(channel: &str) -> String {
    format!("GET /{channel} HTTP/1.1\r\nHost: x\r\n\r\n")
}

#[test]
fn the_hidden_request_would_be_answered() {
    let site = Site::shared();
    let (_user, channel) = site.public_channel();
    assert_eq!(statuses(site, hidden(&channel).repeat(2), 3), [200, 200]);
}

#[test]
fn heads_that_frame_their_body_in_two_ways_end_the_connection() {
    let site = Site::shared();
    let (_user, channel) = site.public_channel();
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5\r\ncontent-length: 0",
        "Content-Length: 5, 5",
        "Content-Length: +5",
        "Content-Length: -1",
        "Content-Length: abc",
        "Content-Length: 0x5",
        "Content-Length: 5 0",
        "Content-Length:",
        "Content-Length: \u{661}",
        "Content-Length: 18446744073709551616",
        "Content-Length : 5",
        "Content-Length\t: 5",
        "Content-Length:\t5",
        "Content-Length: 5\t",
        "Content-Length",
        " Content-Length: 5",
        "X: y\r\n Content-Length: 5",
        "Content-Length: 5\r\n\t0",
        "Content-Length: 5\rX: y",
        "Content-Length: 5\nX: y",
        "Content-Length: 5\0",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: chunked;x",
        "Transfer-Encoding:\u{b}chunked",
        "Transfer-Encoding\u{b}: chunked",
        "Transfer-Encoding:\tchunked",
        "Transfer-Encoding: chunked \t",
        "Transfer-Encoding:",
        "Transfer-Encoding : chunked",
        "Transfer_Encoding chunked",
        "Host: y",
    ] {
        for end in ["0\r\n\r\n", "", "hello"] {
            let head = format!("POST /{channel} HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n");
            let found = statuses(site, head + end + &hidden(&channel), 3);
            assert_eq!(found, [400], "{fields:?}");
        }
    }
    let old = format!("POST /{channel} HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    assert_eq!(statuses(site, old + &hidden(&channel), 3), [400]);
}

#[test]
fn malformed_request_lines_end_the_connection() {
    let site = Site::shared();
    let (_user, channel) = site.public_channel();
    for line in [
        "GET  / HTTP/1.1",
        "GET /\tHTTP/1.1",
        "GET / HTTP/1.1 ",
        " GET / HTTP/1.1",
        "GET / HTTP/1.1\r",
        "GET / http/1.1",
        "GET / HTTP/1.10",
        "GET /",
        "GET",
        "GET / x HTTP/1.1",
        "G(T / HTTP/1.1",
        "GET x HTTP/1.1",
        "GET * HTTP/1.1",
        "GET /#x HTTP/1.1",
        "GET /\u{e9} HTTP/1.1",
        "GET /\0 HTTP/1.1",
        "GET http:// HTTP/1.1",
        "GET http://a@b/ HTTP/1.1",
        "GET http://a b/ HTTP/1.1",
        "GET ftp://x/ HTTP/1.1",
        "CONNECT x:80 HTTP/1.1",
        "PRI * HTTP/2.0",
    ] {
        let found = statuses(site, format!("{line}\r\nHost: x\r\n\r\n{}", hidden(&channel)), 3);
        assert!(matches!(found[..], [400 | 505]), "{line:?}: {found:?}");
    }
    let bare = format!("GET /{channel} HTTP/1.1\nHost: x\n\n");
    assert_eq!(statuses(site, bare + &hidden(&channel), 3), [400]);
}

/// Refused requests whose body holds a request: it is body, and what follows it is answered or the connection ends.
#[test]
fn a_body_is_never_a_request() {
    let site = Site::shared();
    let (_user, channel) = site.public_channel();
    let hidden = hidden(&channel);
    let (length, size) = (format!("Content-Length: {}", hidden.len()), hidden.len());
    let chunked = "Transfer-Encoding: chunked";
    for (fields, body) in [
        (length.as_str(), hidden.clone()),
        (chunked, format!("{size:x}\r\n{hidden}\r\n0\r\n\r\n")),
        (chunked, format!("000{size:X};a=\"b\"\r\n{hidden}\r\n0;c\r\nX: y\r\n\r\n")),
        (chunked, "0\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned()),
    ] {
        for (method, path, refusal) in [("POST", channel.as_str(), 401), ("GET", "", 404), ("PUT", "x", 400)]
        {
            let request = format!("{method} /{path} HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n{body}");
            let found = statuses(site, request + "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 4);
            let (first, next) = found.split_first().expect("an answer");
            assert!(matches!(next, [] | [404]), "{method} {fields} {body:?}: {found:?}");
            assert!(*first == refusal || *first == 405 || *first == 404, "{method} {fields}: {found:?}");
        }
    }
}

#[test]
fn malformed_chunks_end_the_connection() {
    let site = Site::shared();
    let (_user, channel) = site.public_channel();
    for chunks in [
        "5\nhello\n0\n\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "\r\n0\r\n\r\n",
        "g\r\n\r\n",
        ";a\r\n\r\n",
        "10000000000000000\r\nx",
        "ffffffffffffffff\r\nx",
        "0\r\nX: y\n\r\n",
        "0\r\n\n",
        "0;\n\r\n\r\n",
        "0;a\rb\r\n\r\n",
    ] {
        let head = format!("POST /{channel} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
        let found = statuses(site, head + chunks + &hidden(&channel), 3);
        assert_eq!(found, [401], "{chunks:?}");
    }
}

#[test]
fn no_path_leads_out_of_its_channel() {
    let site = Site::shared();
    let (user, channel) = site.public_channel();
    let id = site.upload(&user, &channel);
    for path in [
        "/../etc/passwd".to_owned(),
        "/..".to_owned(),
        format!("//{channel}"),
        format!("/./{channel}"),
        format!("/{channel}/"),
        format!("/{channel}//{id}"),
        format!("/{channel}/./{id}"),
        format!("/{channel}/{id}/"),
        format!("/{channel}/../{channel}/{id}"),
        format!("/{channel}/..%2f{channel}%2f{id}"),
        format!("/{channel}%2f{id}"),
        format!("/{channel}/%2e%2e"),
        format!("/{channel}/%252e%252e"),
        format!("/{channel}/%c0%ae%c0%ae"),
        format!("/{channel}/..;/{id}"),
        format!("/{channel};x/{id}"),
        format!("/{channel}/{id};x"),
        format!("/{channel}/{id}%00"),
        format!("/{channel}%00/{id}"),
        format!("/{channel}/{id}%0d%0aX:%20y"),
        format!("/{channel}/..\\{id}"),
        format!("/{channel}/%5c..%5c{id}"),
        format!("/{channel}/{id}%"),
        format!("/{channel}/{id}%2"),
        format!("/{channel}/%u002e"),
        format!("/{channel}/metadata.sqlite"),
        "/%ff%fe@example.org/x".to_owned(),
        "/..%40example.org/../x".to_owned(),
        "/a@example.org%2f..%2f..%2fetc/passwd".to_owned(),
    ] {
        let found = statuses(site, format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"), 2);
        assert!(matches!(found[..], [400 | 404]), "{path}: {found:?}");
    }
    let other = format!("GET http://elsewhere.example/{channel}/{id} HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(statuses(site, other, 1), [200]);
}

const BREAKOUT: &str = "a\r\nSet-Cookie: b=c\r\n\r\n<script>\u{2028}\u{85}\";x=y";

#[test]
fn what_users_write_stays_in_its_place() {
    let site = Site::shared();
    let (user, channel) = site.public_channel();
    let url = site.url(&channel);
    let upload = |fields: &[(&str, &str)]| -> Answer {
        let request = Request::new("POST", &url).basic(user.jid()).field("data", "QUJD");
        fields.iter().fold(request, |request, (name, value)| request.field(name, value)).send()
    };
    let known = upload(&[("filename", BREAKOUT), ("title", BREAKOUT), ("description", BREAKOUT)]).expect(201);
    assert_eq!(known.member("title"), BREAKOUT);
    let id = known.member("id");
    let got = Request::get(&site.url(&format!("{channel}/{id}"))).send().expect(200);
    for answer in [&known, &got, &Request::get(&url).send().expect(200)] {
        assert_eq!(answer.header("set-cookie"), None);
    }
    assert_eq!(got.body, b"ABC");
    assert_eq!(
        got.header("content-disposition"),
        Some(
            "inline; filename=\"aSet-Cookie: b=c<script>__;x=y\"; \
             filename*=UTF-8''aSet-Cookie%3A%20b%3Dc%3Cscript%3E%E2%80%A8%22%3Bx%3Dy"
        )
    );
    for mime_type in ["text/html\r\nX: y", "text/html, x", "é/é", "text/\u{1}"] {
        upload(&[("content-type", mime_type)]).expect(400);
    }
}

#[test]
fn fields_are_echoed_whole_or_not_at_all() {
    let site = Site::shared();
    let (_user, channel) = site.public_channel();
    for host in ["a b", "a\"b", "<b>", "a/b", "a@b", "a%0d%0ab", "a\\b", "a,b", "[::1", "x:99999", ""] {
        let request = format!("GET /{channel} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(statuses(site, request, 2), [400], "{host}");
    }
    for origin in ["https://a.example", "a%0d%0aX: y", "\"<>'\\", "a\tb", "null", "NULL", "\u{e9}"] {
        let mut connection = Raw::connect(site.server.port());
        connection.send(format!("GET /{channel} HTTP/1.1\r\nHost: x\r\nOrigin: {origin}\r\n\r\n"));
        let answer = connection.answer().expect("an answer").expect(200);
        let allowed = answer.header("access-control-allow-origin").expect("all are allowed");
        assert!(allowed == origin || allowed == "*", "{origin:?}: {allowed:?}");
        assert_eq!(answer.header("x"), None, "{origin:?}");
    }
}

#[test]
fn numbers_without_end_do_no_harm() {
    let site = Site::shared();
    let (user, channel) = site.public_channel();
    let id = site.upload(&user, &channel);
    let huge = "9".repeat(400);
    for (path, field, status) in [
        (format!("{channel}?max={huge}"), String::new(), 200),
        (format!("{channel}?max=-{huge}"), String::new(), 200),
        (format!("{channel}?max=-1"), String::new(), 400),
        (format!("{channel}?after={huge}"), String::new(), 200),
        (format!("{channel}/{id}"), format!("Range: bytes={huge}-\r\n"), 416),
        (format!("{channel}/{id}"), format!("Range: bytes=0-{huge}\r\n"), 206),
        (format!("{channel}/{id}"), format!("Range: bytes=-{huge}\r\n"), 206),
        (format!("{channel}/{id}"), format!("Range: bytes={}\r\n", "0-0,".repeat(2000)), 200),
        (format!("{channel}/{id}"), format!("If-Modified-Since: Thu, 01 Jan {huge} 00:00:00 GMT\r\n"), 200),
        (format!("{channel}/{id}"), format!("If-None-Match: {}\r\n", "\"x\",".repeat(2000)), 200),
    ] {
        let request = format!("GET /{path} HTTP/1.1\r\nHost: x\r\n{field}\r\n");
        assert_eq!(statuses(site, &request, 2), [status], "{}", &request[..request.len().min(200)]);
    }
    let token = || STANDARD.encode(format!("{}:{}", user.jid(), transaction()));
    for (fields, body) in [
        (format!("Content-Length: {}", u64::MAX), "x"),
        (format!("Content-Length: {}", i64::MAX), "x"),
        ("Transfer-Encoding: chunked".to_owned(), "ffffffffffffffff\r\ndata=QUJD"),
        ("Transfer-Encoding: chunked".to_owned(), "7fffffffffffffff;\r\ndata=QUJD"),
    ] {
        let head = format!("POST /{channel} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {}\r\n", token());
        let found = statuses(site, format!("{head}{fields}\r\n\r\n{body}"), 2);
        assert!(matches!(found[..], [] | [400 | 413]), "{fields}: {found:?}");
    }
    Request::get(&site.url(&channel)).send().expect(200);
}

#[test]
fn bytes_that_are_not_utf_8_are_refused_or_ignored() {
    let site = Site::shared();
    let (user, channel) = site.public_channel();
    let post = |fields: &[u8], body: &[u8]| {
        let head = format!("POST /{channel} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n", body.len());
        statuses(site, [head.as_bytes(), fields, b"\r\n\r\n", body].concat(), 2)
    };
    assert_eq!(post(b"Authorization: Basic \xff\xfe", b""), [401]);
    let latin = STANDARD.encode(b"\xe9mile@example.org:t");
    assert_eq!(post(format!("Authorization: Basic {latin}").as_bytes(), b""), [401]);
    let found = statuses(site, format!("GET /{channel}?max=%ff&auth=%ff%fe HTTP/1.1\r\nHost: x\r\n\r\n"), 2);
    assert_eq!(found, [200]);
    for body in ["title=%ff&data=QUJD", "%ff=x&data=QUJD", "title=%u00e9&data=QUJD"] {
        let request = Request::new("POST", &site.url(&channel)).basic(user.jid());
        request.with(&["--data-raw", body]).send().expect(400);
    }
    let part = b"--b\r\nContent-Disposition: form-data; name=title\r\n\r\n\xff\r\n--b--\r\n";
    let token = STANDARD.encode(format!("{}:{}", user.jid(), transaction()));
    let fields = format!("Authorization: Basic {token}\r\nContent-Type: multipart/form-data; boundary=b");
    assert_eq!(post(fields.as_bytes(), part), [400]);
    assert_eq!(Request::get(&site.url(&channel)).send().expect(200).text(), "[]");
}
