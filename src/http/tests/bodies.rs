//! Bodies: read, refused unread, cut, and asked for.

use super::*;

#[test]
fn bodies_are_read_however_they_arrive() {
    let sized = "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\n\r\nhello world";
    let chunked = "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\
                   5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nTrailer: t\r\n\r\n";
    let server = server();
    let mut peer = Peer::to(&server);
    for request in [sized, chunked] {
        for split in 1..request.len() {
            peer.send(&request[..split]).send(&request[split..]);
            assert_eq!(peer.answer().text(), "hello world", "split at {split}");
        }
    }
}

#[test]
fn a_large_body_comes_whole() {
    let server = server();
    let (_, data) = file_of(3_000_000);
    let mut peer = Peer::to(&server);
    peer.send(format!("PUT /echo HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", data.len())).send(&data);
    assert!(peer.answer().body == data);
    peer.send("PUT /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    for chunk in data.chunks(70_001) {
        peer.send(format!("{:x}\r\n", chunk.len())).send(chunk).send("\r\n");
    }
    assert!(peer.send("0\r\n\r\n").answer().body == data);
}

#[test]
fn a_truncated_body_is_incomplete() {
    for body in ["Content-Length: 5\r\n\r\nhell", "Transfer-Encoding: chunked\r\n\r\n4\r\nhell\r\n"] {
        let server = server();
        let mut peer = Peer::to(&server);
        let answer = peer.send(format!("POST /echo HTTP/1.1\r\nHost: h\r\n{body}")).end_writing().answer();
        assert_eq!((answer.status, answer.text().contains("Incomplete body")), (400, true));
    }
}

#[test]
fn a_malformed_chunk_is_refused_and_the_connection_closed() {
    let server = server();
    let mut peer = Peer::to(&server);
    peer.send("POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n");
    let answer = peer.answer();
    assert!(answer.status == 400 && answer.has("Connection: close") && peer.is_closed());
}

#[test]
fn a_body_is_asked_for_only_when_it_is_read() {
    let server = server();
    let mut peer = Peer::to(&server);
    peer.send("POST /echo HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    assert_eq!(peer.head().1, "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(peer.send("ok").answer().text(), "ok");
    peer.send("POST /refuse HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    let answer = peer.answer();
    assert!(answer.status == 403 && answer.has("Connection: close") && peer.is_closed());
}

#[test]
fn no_100_continue_is_sent_for_a_body_that_is_here_already() {
    let server = server();
    let mut peer = Peer::to(&server);
    peer.send("POST /echo HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(peer.answer().text(), "ok");
    peer.send("POST /echo HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n").send("ok");
    assert_eq!(peer.answer().text(), "ok");
}

#[test]
fn a_refused_upload_reads_its_answer() {
    let server = server();
    let mut peer = Peer::to(&server);
    peer.send("POST /refuse HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n");
    // The answer is there; a client that does not look goes on sending, and must not be reset for it.
    peer.0.get_ref().peek(&mut [0; 1]).unwrap();
    for _ in 0..100 {
        peer.send([b'x'; 10_000]);
    }
    let answer = peer.answer();
    assert!(answer.status == 403 && answer.has("Connection: close") && peer.is_closed());
    drop(peer);
    eventually("the permit is given back", || server.connections() == 0);
}

#[test]
fn a_small_body_that_is_there_is_skipped() {
    let server = server();
    let mut peer = Peer::to(&server);
    for body in ["Content-Length: 2\r\n\r\nno", "Transfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n"] {
        let answer = peer.send(format!("POST /refuse HTTP/1.1\r\nHost: h\r\n{body}")).answer();
        assert!(answer.status == 403 && !answer.has("Connection: close"));
    }
    assert_eq!(peer.get("/next").status, 200);
}

#[test]
fn a_length_beyond_all_bounds_costs_nothing() {
    let server = server();
    for (length, status) in [("18446744073709551615", 403), ("18446744073709551616", 400)] {
        let request = format!("POST /refuse HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n");
        assert_eq!(Peer::to(&server).send(request).answer().status, status);
    }
    assert_eq!(Peer::to(&server).get("/fine").status, 200);
}

#[test]
fn uploads_beyond_the_cap_are_refused_unasked() {
    let server = start(limited(Limits { uploads: 0, ..Limits::default() }), paths);
    let mut peer = Peer::to(&server);
    peer.send("POST /echo HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    let answer = peer.answer();
    assert!(answer.status == 503 && answer.has("Retry-After: 5"));
    assert_eq!(Peer::to(&server).get("/echo").status, 200);
}
