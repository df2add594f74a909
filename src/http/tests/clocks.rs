//! Clients that are slow, silent, or gone.

use super::*;

const SHORT: Duration = Duration::from_millis(40);

#[test]
fn half_a_head_is_answered_408_in_time() {
    let server = start(Settings { head_time: SHORT, ..settings() }, paths);
    let mut peer = Peer::to(&server);
    let answer = peer.send("GET / HT").answer();
    assert!(answer.status == 408 && answer.has("Connection: close") && peer.is_closed());
}

#[test]
fn a_dripped_head_gets_no_extra_time() {
    let server = start(Settings { head_time: SHORT, linger_time: SHORT, ..settings() }, paths);
    let peer = Peer::to(&server);
    let started = Instant::now();
    while (&mut peer.0.get_ref()).write_all(b"G").is_ok() && server.connections() > 0
        || started.elapsed() < SHORT
    {
        assert!(started.elapsed() < PATIENCE, "a drip holds the connection");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn silence_is_closed_silently() {
    let server = start(Settings { head_time: SHORT, keep_alive_time: SHORT, ..settings() }, paths);
    assert!(Peer::to(&server).is_closed());
    let mut kept = Peer::to(&server);
    assert_eq!(kept.get("/a").status, 200);
    assert!(kept.is_closed());
    let mut empty_line = Peer::to(&server);
    assert_eq!(empty_line.get("/a").status, 200);
    assert!(empty_line.send("\r\n").is_closed());
}

#[test]
fn a_body_that_stands_still_is_too_slow() {
    let pace = Clocks { idle: SHORT, ..Clocks::default() };
    let server = start(Settings { pace, ..settings() }, paths);
    let mut peer = Peer::to(&server);
    let answer = peer.send("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhel").answer();
    assert!(answer.status == 408 && answer.has("Connection: close"));
}

#[test]
fn a_body_below_the_minimum_rate_is_too_slow() {
    let pace = Clocks { idle: PATIENCE, min_rate: 1_000_000, grace: SHORT };
    let server = start(Settings { pace, linger_time: SHORT, ..settings() }, paths);
    let mut peer = Peer::to(&server);
    peer.send("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n");
    let mut drip = peer.0.get_ref().try_clone().unwrap();
    let dripping = std::thread::spawn(move || {
        while drip.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    assert_eq!(peer.answer().status, 408);
    drop(peer);
    dripping.join().unwrap();
}

#[test]
fn a_reader_that_stands_still_is_cut_off() {
    let pace = Clocks { idle: SHORT, ..Clocks::default() };
    let (file, data) = file_of(16 * 1024 * 1024);
    let server = start(Settings { pace, ..settings() }, move |exchange| {
        let length = file.metadata().unwrap().len();
        exchange.answer(Response::file(200, file.try_clone().unwrap(), 0..length));
    });
    let mut peer = Peer::to(&server);
    let (_, _, length) = peer.send("GET /big HTTP/1.1\r\nHost: h\r\n\r\n").head();
    eventually("the server gives up", || server.connections() == 0);
    let mut body = Vec::new();
    let end = peer.0.read_to_end(&mut body);
    assert!(length == data.len() && body.len() < length, "the end can't have been sent");
    assert_eq!(end.map_err(|error| error.kind()), Err(std::io::ErrorKind::ConnectionReset));
}

#[test]
fn lingering_ends() {
    let server = start(Settings { linger_time: SHORT, ..settings() }, paths);
    let mut peer = Peer::to(&server);
    assert_eq!(
        peer.send("POST /refuse HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n").answer().status,
        403
    );
    eventually("the permit is given back", || server.connections() == 0);
}
