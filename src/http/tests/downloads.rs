//! Answers with files and with much in them.

use super::*;

fn serving(bytes: usize, settings: Settings) -> (Server, Vec<u8>) {
    let (file, data) = file_of(bytes);
    let server = start(settings, move |exchange| {
        let all = 0..file.metadata().unwrap().len();
        let range = match exchange.path() {
            "/middle" => all.end / 4..all.end / 2,
            "/beyond" => 0..all.end + 70_000,
            "/none" => 7..7,
            "/inverted" => std::ops::Range { start: 7, end: 3 },
            _ => all,
        };
        exchange.answer(Response::file(200, file.try_clone().unwrap(), range));
    });
    (server, data)
}

#[test]
fn files_of_all_sizes_arrive_whole() {
    for bytes in [0, 1, 16_384, 16_385, 65_535, 65_536, 65_537, 1_000_003] {
        let (server, data) = serving(bytes, settings());
        let mut peer = Peer::to(&server);
        assert!(peer.get("/all").body == data, "{bytes}");
        assert!(peer.get("/middle").body == data[bytes / 4..bytes / 2], "{bytes}");
        assert_eq!((peer.get("/none").body, peer.get("/inverted").body), (vec![], vec![]));
    }
}

#[test]
fn a_slow_reader_gets_all_of_a_large_file() {
    let (server, data) = serving(20_000_000, settings());
    let mut peer = Peer::to(&server);
    peer.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    let (_, _, length) = peer.head();
    let mut body = Vec::with_capacity(length);
    while body.len() < length {
        let mut piece = vec![0; 200_000.min(length - body.len())];
        peer.0.read_exact(&mut piece).unwrap();
        body.extend(piece);
        std::thread::yield_now();
    }
    assert!(body == data);
    assert_eq!(peer.get("/none").status, 200);
}

#[test]
fn a_client_that_reads_late_gets_every_small_answer_whole() {
    const REQUESTS: usize = 300;
    let (server, data) = serving(60_000, settings());
    let mut peer = Peer::to(&server);
    peer.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n".repeat(REQUESTS));
    // 18 MB are more than the sockets hold: what does not fit is left to the front.
    let answered = || server.monitor().requests().of(crate::metrics::Route::None).sent.get();
    eventually("the first answers", || answered() > 120_000);
    for number in 0..REQUESTS {
        assert!(peer.answer().body == data, "answer {number}");
    }
}

#[test]
fn large_bytes_arrive_whole() {
    let (_, data) = file_of(500_000);
    let sent = data.clone();
    let server = start(settings(), move |exchange| {
        exchange.answer(Response::bytes(200, "application/octet-stream", sent.clone()));
    });
    assert!(Peer::to(&server).get("/").body == data);
}

#[test]
fn a_file_that_is_shorter_than_promised_is_never_padded() {
    let (server, data) = serving(100_000, settings());
    let mut peer = Peer::to(&server);
    let (_, _, length) = peer.send("GET /beyond HTTP/1.1\r\nHost: h\r\n\r\n").head();
    let mut body = Vec::new();
    peer.0.read_to_end(&mut body).unwrap();
    assert!(length == 170_000 && body == data);
    let (server, _) = serving(1000, settings());
    let answer = Peer::to(&server).get("/beyond");
    assert_eq!(answer.status, 500, "nothing was sent yet, so it is told");
}

#[test]
fn a_client_that_leaves_costs_nothing() {
    let (server, _) = serving(16 * 1024 * 1024, settings());
    let mut leaving = Peer::to(&server);
    leaving.send("GET /all HTTP/1.1\r\nHost: h\r\n\r\n").head();
    drop(leaving);
    assert_eq!(Peer::to(&server).get("/middle").body.len(), 4 * 1024 * 1024);
}

#[test]
fn slow_readers_of_large_files_keep_no_thread() {
    const READERS: usize = 16;
    let (server, data) = serving(32 * 1024 * 1024, settings());
    let slow: Vec<Peer> = (0..READERS)
        .map(|_| {
            let mut peer = Peer::to(&server);
            peer.send("GET /all HTTP/1.1\r\nHost: h\r\n\r\n").head();
            peer
        })
        .collect();
    let monitor = server.monitor();
    eventually("all of them rest", || monitor.activity().half_sent == READERS);
    assert_eq!((monitor.activity().turns, monitor.activity().left.0), (1, 0));
    for _ in 0..3 {
        assert!(Peer::to(&server).get("/all").body == data);
    }
    let sent = monitor.requests().of(crate::metrics::Route::None).sent.get();
    assert_eq!(sent, 3 * data.len() as u64, "a response counts when it has ended");
    for mut peer in slow {
        let mut body = vec![0; data.len()];
        peer.0.read_exact(&mut body).unwrap();
        assert!(body == data);
        assert_eq!(peer.get("/none").status, 200);
    }
}

#[test]
fn a_response_that_breaks_off_counts_what_went_out() {
    let (server, data) = serving(32 * 1024 * 1024, settings());
    let mut leaving = Peer::to(&server);
    leaving.send("GET /all HTTP/1.1\r\nHost: h\r\n\r\n").head();
    drop(leaving);
    let monitor = server.monitor();
    let none = monitor.requests().of(crate::metrics::Route::None);
    eventually("it is counted", || none.statuses().eq([(200, 1)]));
    assert!(none.sent.get() < data.len() as u64);
}

#[test]
fn a_pipelined_response_waits_until_the_client_takes_the_one_before() {
    let (server, data) = serving(60_000, settings());
    let mut peer = Peer::to(&server);
    peer.send("GET /all HTTP/1.1\r\nHost: h\r\n\r\n".repeat(100));
    let monitor = server.monitor();
    let none = monitor.requests().of(crate::metrics::Route::None);
    let (before, same) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    // The client's own buffer takes some; then the server stands still.
    eventually("no more is sent", || {
        let now = none.sent.get();
        let stands = now > 0 && now == before.replace(now);
        same.set(if stands { same.get() + 1 } else { 0 });
        same.get() == 50
    });
    assert!(before.get() < 100 * 60_000, "{} bytes", before.get());
    for _ in 0..100 {
        assert!(peer.answer().body == data);
    }
}
