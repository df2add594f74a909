//! Heads, versions, kept connections, and what one bad request costs.

use super::*;

#[test]
fn a_connection_is_kept_for_the_next_request() {
    let server = server();
    let mut peer = Peer::to(&server);
    for path in ["/a", "/b"] {
        let answer = peer.get(path);
        assert_eq!((answer.status, answer.text()), (200, path));
        assert!(answer.has("Server: buddycloud media server") && !answer.head.contains("Connection:"));
    }
    assert_eq!(server.connections(), 1);
}

#[test]
fn a_head_may_come_byte_by_byte() {
    let server = server();
    let mut peer = Peer::to(&server);
    for byte in b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n" {
        peer.send([*byte]);
    }
    assert_eq!(peer.answer().text(), "/slow");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = start(settings(), paths);
    let mut peer = Peer::to(&server);
    let all: String = (0..50).map(|n| format!("GET /{n} HTTP/1.1\r\nHost: h\r\n\r\n")).collect();
    peer.send(all);
    for n in 0..50 {
        assert_eq!(peer.answer().text(), format!("/{n}"));
    }
}

#[test]
fn a_body_does_not_swallow_the_request_behind_it() {
    let server = server();
    let mut peer = Peer::to(&server);
    peer.send("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\none\r\n");
    peer.send("POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\n\r\n");
    peer.send("GET /three HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(
        [peer.answer(), peer.answer(), peer.answer()].each_ref().map(Answer::text),
        ["one", "two", "/three"]
    );
}

#[test]
fn head_has_the_length_and_no_body() {
    let server = server();
    let mut peer = Peer::to(&server);
    let (status, _, length) = peer.send("HEAD /four HTTP/1.1\r\nHost: h\r\n\r\n").head();
    assert_eq!((status, length), (200, 5));
    assert_eq!(peer.get("/next").text(), "/next");
}

#[test]
fn http_1_0_closes_unless_asked_not_to() {
    let server = server();
    let mut peer = Peer::to(&server);
    let kept = peer.send("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").answer();
    assert!(kept.has("Connection: keep-alive"));
    let last = peer.send("GET /b HTTP/1.0\r\n\r\n").answer();
    assert!(last.has("Connection: close") && peer.is_closed());
}

#[test]
fn connection_close_closes_the_connection() {
    let server = server();
    let mut peer = Peer::to(&server);
    let answer = peer.send("GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").answer();
    assert!(answer.has("Connection: close") && peer.is_closed());
    eventually("the permit is given back", || server.connections() == 0);
}

#[test]
fn a_client_that_ended_its_half_is_answered() {
    let server = server();
    let mut peer = Peer::to(&server);
    let answer = peer.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n").end_writing().answer();
    assert_eq!(answer.text(), "/a");
    assert!(peer.is_closed());
}

#[test]
fn a_refused_request_gets_a_response_and_its_connection_is_closed() {
    let long = "a".repeat(20_000);
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\nHost: h\n\n".to_owned(), 400),
        (
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
                .to_owned(),
            400,
        ),
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +5\r\n\r\n".to_owned(), 400),
        ("POST / HTTP/1.1\r\nHost: h\r\nExpect: tea\r\n\r\n".to_owned(), 417),
        ("PRI * HTTP/2.0\r\n\r\n".to_owned(), 505),
        (format!("GET /{long} HTTP/1.1\r\nHost: h\r\n\r\n"), 414),
        (format!("GET / HTTP/1.1\r\nHost: h\r\nX: {long}\r\n\r\n"), 431),
    ] {
        let server = server();
        let mut peer = Peer::to(&server);
        let answer = peer.send(request).answer();
        assert_eq!(answer.status, status);
        assert!(answer.has("Connection: close") && answer.has("Content-Type: application/problem+json"));
        assert!(peer.is_closed());
    }
}

#[test]
fn a_panic_costs_one_request() {
    let server = server();
    for path in ["/panic", "/forget"] {
        let mut peer = Peer::to(&server);
        let answer = peer.get(path);
        assert_eq!(answer.status, 500);
        assert!(answer.has("Connection: close") && peer.is_closed());
    }
    assert_eq!(Peer::to(&server).get("/fine").status, 200);
    eventually("the permits are given back", || server.connections() == 0);
}

#[test]
fn an_exchange_tells_what_was_asked() {
    let seen = |settings: Settings, request: &str| {
        let server = start(settings, |exchange| {
            let seen = format!(
                "{:?} {} {:?} {:?} {} {:?} {:?} {:?}",
                exchange.method(),
                exchange.path(),
                exchange.query(),
                exchange.header("x-a"),
                exchange.scheme(),
                exchange.host(),
                exchange.client().limited,
                exchange.body_length()
            );
            exchange.answer(Response::bytes(200, "text/plain", seen.into_bytes()));
        });
        Peer::to(&server).send(request).answer().text().to_owned()
    };
    let request = "DELETE http://a:1/p%20?q HTTP/1.1\r\nHost: b\r\nX-A: 1\r\nX-A: 2\r\n\r\n";
    let expected = "Delete /p%20 Some(\"q\") Some(\"1\") http Some(\"a:1\") true None";
    assert_eq!(seen(settings(), request), expected);
    let trusted = Settings { trusted_proxies: vec!["127.0.0.0/8".parse().unwrap()], ..settings() };
    let expected = "Other / None None http None false Sized(0)";
    assert_eq!(seen(trusted, "PURGE / HTTP/1.0\r\nContent-Length: 0\r\n\r\n"), expected);
}
