//! Counters and gauges.

use std::sync::mpsc;

use super::*;
use crate::metrics::Route;

#[test]
fn answers_are_counted_by_route_and_status_with_their_bytes() {
    let server = start(settings(), |mut exchange| {
        exchange.note_route(if exchange.path() == "/echo" { Route::Upload } else { Route::List });
        paths(exchange);
    });
    let monitor = server.monitor();
    let mut peer = Peer::to(&server);
    peer.get("/four");
    peer.get("/refuse");
    peer.send("HEAD /four HTTP/1.1\r\nHost: h\r\n\r\n").head();
    peer.send("POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\n\r\n")
        .answer();
    Peer::to(&server).send("nonsense\r\n\r\n").answer();
    let (list, upload) = (monitor.requests().of(Route::List), monitor.requests().of(Route::Upload));
    assert_eq!(list.statuses().collect::<Vec<_>>(), [(200, 2), (403, 1)]);
    assert_eq!(upload.statuses().collect::<Vec<_>>(), [(200, 1)]);
    assert_eq!((upload.received.get(), upload.sent.get(), list.received.get()), (3, 3, 0));
    assert_eq!(list.served.cumulated().last(), Some(&3));
    assert_eq!(list.parked.cumulated().last(), Some(&0));
    let none = monitor.requests().of(Route::None);
    // The client may have it before it is counted.
    eventually("the count of the refusal", || none.statuses().eq([(400, 1)]));
    assert_eq!(none.served.cumulated().last(), Some(&0));
}

#[test]
fn a_large_answer_is_counted_whole() {
    const BYTES: usize = 1 << 20;
    let server = start(settings(), |exchange| {
        exchange.answer(Response::bytes(200, "text/plain", vec![b'x'; BYTES]));
    });
    assert_eq!(Peer::to(&server).get("/").body.len(), BYTES);
    // Its last bytes may be here before they are counted.
    let monitor = server.monitor();
    let sent = &monitor.requests().of(Route::None).sent;
    let deadline = Instant::now() + PATIENCE;
    while sent.get() < BYTES as u64 && Instant::now() < deadline {
        std::thread::yield_now();
    }
    assert_eq!(sent.get(), BYTES as u64);
}

#[test]
fn time_parked_is_counted_apart() {
    let (park, parked) = mpsc::channel();
    let server = start(settings(), move |mut exchange| {
        exchange.note_parked();
        park.send(exchange).unwrap();
    });
    let mut peer = Peer::to(&server);
    peer.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut exchange = parked.recv_timeout(PATIENCE).unwrap();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(5) {
        std::thread::yield_now();
    }
    exchange.note_resumed();
    exchange.answer(Response::new(200));
    peer.answer();
    let monitor = server.monitor();
    let none = monitor.requests().of(Route::None);
    assert_eq!(none.parked.cumulated().last(), Some(&1));
    assert!(none.parked.total() >= Duration::from_millis(5));
    assert!(none.served.total() > Duration::ZERO);
}

#[test]
fn gauges_count_open_connections_and_requests() {
    let limits = Limits { connections: 5, connections_per_address: 5, uploads: 3, ..Limits::default() };
    let server = start(Settings { threads: 2, ..limited(limits) }, paths);
    let monitor = server.monitor();
    let mut peer = Peer::to(&server);
    peer.send("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\na");
    let _waits = Peer::to(&server);
    let expected = Activity {
        connections: (2, 5),
        idle: 1,
        uploads: (1, 3),
        half_sent: 0,
        turns: 1,
        turns_lent: 0,
        left: (1, 2),
        deferred: 0,
        resumed: 0,
    };
    let deadline = Instant::now() + PATIENCE;
    while monitor.activity() != expected && Instant::now() < deadline {
        std::thread::yield_now();
    }
    assert_eq!(monitor.activity(), expected);
    peer.send("b").answer();
}
