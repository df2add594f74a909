//! Many clients: caps, parked exchanges, idle crowds, and the end.

use std::sync::mpsc::channel;
use std::sync::{Mutex, PoisonError};

use super::*;
use crate::limits;

#[test]
fn a_parked_exchange_holds_no_worker() {
    let (parked, waiting) = channel();
    let parked = Mutex::new(parked);
    let server = start(settings(), move |exchange| {
        if exchange.path() == "/park" {
            let _ = parked.lock().unwrap_or_else(PoisonError::into_inner).send(exchange);
        } else {
            paths(exchange);
        }
    });
    let mut first = Peer::to(&server);
    first.send("POST /park HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n");
    let mut exchange: Exchange = waiting.recv_timeout(PATIENCE).unwrap();
    assert_eq!(Peer::to(&server).get("/other").status, 200);
    first.send("hello");
    let workers = Workers::new(1).unwrap();
    workers.run(move || {
        let response = echo(&mut exchange).unwrap();
        exchange.answer(response);
    });
    assert_eq!(first.answer().text(), "hello");
    assert_eq!(first.get("/next").text(), "/next");
}

#[test]
fn connections_are_capped_in_all() {
    let server = start(limited(Limits { connections: 2, ..Limits::default() }), paths);
    let mut held = [Peer::to(&server), Peer::to(&server)];
    assert!(held.each_mut().map(|peer| peer.get("/").status) == [200, 200]);
    let mut third = Peer::to(&server);
    assert_eq!(third.answer().status, 503);
    assert!(third.is_closed());
    drop(held);
    eventually("the seats are given back", || server.connections() == 0);
    assert_eq!(Peer::to(&server).get("/").status, 200);
}

#[test]
fn connections_are_capped_for_each_address_but_not_for_proxies() {
    let capped = limited(Limits { connections_per_address: 1, ..Limits::default() });
    let server = start(capped.clone(), paths);
    let mut first = Peer::to(&server);
    assert_eq!(first.get("/").status, 200);
    let answer = Peer::to(&server).answer();
    assert!(answer.status == 429 && answer.has("Retry-After: 10"));
    let server = start(Settings { trusted_proxies: vec![[127, 0, 0, 1].into()], ..capped }, paths);
    let mut peers = [Peer::to(&server), Peer::to(&server)];
    assert_eq!(peers.each_mut().map(|peer| peer.get("/").status), [200, 200]);
}

#[test]
fn one_client_gets_half_of_the_uploads() {
    let limits = Limits { uploads: 2, ..Limits::default() };
    let proxies = vec![[127, 0, 0, 1].into()];
    let settings = Settings { trusted_proxies: proxies, ..limited(limits) };
    let server = Server::start(settings, Workers::new(3).unwrap(), Arc::new(Answering(paths))).unwrap();
    let upload = |from: &str| {
        let mut peer = Peer::to(&server);
        let head =
            format!("POST /echo HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: {from}\r\nContent-Length: 2\r\n");
        peer.send(format!("{head}Expect: 100-continue\r\n\r\n"));
        peer
    };
    let mut first = upload("192.0.2.1");
    assert_eq!(first.head().0, 100);
    let second = upload("192.0.2.1").answer();
    assert!(second.status == 503 && second.has("Retry-After: 5"));
    let mut other = upload("192.0.2.2");
    assert_eq!(other.head().0, 100);
    assert_eq!(upload("192.0.2.3").answer().status, 503);
    for peer in [&mut first, &mut other] {
        assert_eq!(peer.send("ok").answer().text(), "ok");
    }
}

#[test]
fn requests_beyond_the_queue_are_shed() {
    let (release, released) = channel::<()>();
    let (started, start_seen) = channel();
    let gate = Mutex::new((started, released));
    let server = start(Settings { max_queued: 1, ..settings() }, move |exchange| {
        if exchange.path() == "/block" {
            let gate = gate.lock().unwrap_or_else(PoisonError::into_inner);
            gate.0.send(()).unwrap();
            let _ = gate.1.recv();
        }
        paths(exchange);
    });
    let mut blocked = Peer::to(&server);
    blocked.send("GET /block HTTP/1.1\r\nHost: h\r\n\r\n");
    start_seen.recv_timeout(PATIENCE).unwrap();
    let mut peers = [Peer::to(&server), Peer::to(&server)];
    for peer in &mut peers {
        peer.send("GET /x HTTP/1.1\r\nHost: h\r\n\r\n");
    }
    // Whichever comes second finds the queue full; the worker is still busy, so the answer is the front's.
    let [one, two] = &mut peers;
    one.0.get_ref().set_nonblocking(true).unwrap();
    two.0.get_ref().set_nonblocking(true).unwrap();
    let came = |peer: &Peer| peer.0.get_ref().peek(&mut [0; 1]).is_ok();
    eventually("one is shed", || came(one) || came(two));
    let shed = if came(one) { one } else { two };
    shed.0.get_ref().set_nonblocking(false).unwrap();
    let answer = shed.answer();
    assert!(answer.status == 503 && answer.has("Retry-After: 5"));
    release.send(()).unwrap();
    assert_eq!(blocked.answer().status, 200);
}

/// A server whose workers look for work.
fn looking(service: impl Fn(Exchange) + Send + Sync + 'static) -> Server {
    let roomy = limited(Limits { connections: 2000, connections_per_address: 2000, ..Limits::default() });
    Server::start(roomy, Workers::new(3).unwrap(), Arc::new(Answering(service))).unwrap()
}

#[test]
fn whoever_sees_to_a_connection_does_the_same() {
    let server = looking(paths);
    let long = "x".repeat(limits::HEAD_BYTES / 2);
    let mut kept = Peer::to(&server);
    for _ in 0..50 {
        let mut fresh = Peer::to(&server);
        assert_eq!(kept.get("/kept").text(), "/kept");
        assert_eq!(fresh.get("/fresh").text(), "/fresh");
        fresh.send("GET /late HTTP/1.1\r\nHost: ");
        kept.send(format!("GET /long HTTP/1.1\r\nHost: h\r\nX-Long: {long}\r\n\r\n"));
        assert_eq!(kept.answer().text(), "/long");
        fresh.send("h\r\nConnection: close\r\n\r\n");
        assert!(fresh.answer().text() == "/late" && fresh.is_closed());
        kept.send("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nokGET /next HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!([kept.answer().text(), kept.answer().text()], ["ok", "/next"]);
    }
    eventually("one is left", || server.connections() == 1);
    server.stop(PATIENCE);
    assert!(kept.is_closed());
}

#[test]
fn who_looks_and_finds_what_takes_long_keeps_none_waiting() {
    let (started, start_seen) = channel();
    let (release, released) = channel::<()>();
    let gate = Mutex::new((started, released));
    let server = looking(move |exchange| {
        if exchange.path() == "/block" {
            let gate = gate.lock().unwrap_or_else(PoisonError::into_inner);
            gate.0.send(()).unwrap();
            let _ = gate.1.recv();
        }
        paths(exchange);
    });
    let (mut one, mut other) = (Peer::to(&server), Peer::to(&server));
    for _ in 0..20 {
        assert_eq!((one.get("/").status, other.get("/").status), (200, 200));
        one.send("GET /block HTTP/1.1\r\nHost: h\r\n\r\n");
        start_seen.recv_timeout(PATIENCE).unwrap();
        assert_eq!((other.get("/").status, Peer::to(&server).get("/").status), (200, 200));
        release.send(()).unwrap();
        assert_eq!(one.answer().status, 200);
    }
}

#[test]
fn a_thousand_idle_connections_stand_in_nobodys_way() {
    raise_descriptors();
    let roomy = limited(Limits { connections: 2000, connections_per_address: 2000, ..Limits::default() });
    let server = start(roomy, paths);
    let crowd: Vec<TcpStream> =
        (0..1000).map(|_| TcpStream::connect(server.addresses()[0]).unwrap()).collect();
    eventually("all are accepted", || server.connections() == crowd.len());
    assert_eq!(Peer::to(&server).get("/").status, 200);
    drop(crowd);
    eventually("all are let go", || server.connections() == 0);
}

/// Both ends of a crowd are in this process; the usual soft limit is 1024.
fn raise_descriptors() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, rustix::process::Rlimit { current: limit.maximum, ..limit }).unwrap();
}

#[test]
fn stop_closes_the_idle_and_waits_for_the_busy() {
    let (release, released) = channel::<()>();
    let (started, start_seen) = channel();
    let gate = Mutex::new((started, released));
    let server = start(settings(), move |exchange| {
        if exchange.path() == "/block" {
            let gate = gate.lock().unwrap_or_else(PoisonError::into_inner);
            gate.0.send(()).unwrap();
            let _ = gate.1.recv();
        }
        paths(exchange);
    });
    let address = server.addresses()[0];
    let mut idle = Peer::to(&server);
    assert_eq!(idle.get("/").status, 200);
    let mut busy = Peer::to(&server);
    busy.send("GET /block HTTP/1.1\r\nHost: h\r\n\r\n");
    start_seen.recv_timeout(PATIENCE).unwrap();
    let stopping = std::thread::spawn(move || server.stop(PATIENCE));
    assert!(idle.is_closed());
    release.send(()).unwrap();
    let answer = busy.answer();
    assert!(answer.status == 200 && answer.has("Connection: close") && busy.is_closed());
    stopping.join().unwrap();
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn stop_cuts_off_what_does_not_end() {
    let server = server();
    let mut peer = Peer::to(&server);
    peer.send("POST /echo HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    assert_eq!(peer.head().0, 100);
    server.stop(Duration::from_millis(10));
    assert!(peer.answer().status == 503 && peer.is_closed());
}

#[test]
fn an_address_in_use_is_an_error() {
    let server = server();
    let listen = vec![Listen { address: server.addresses()[0], tls: false, optional: false }];
    let settings = Settings { listen, ..Settings::default() };
    let again = Server::start(settings, Workers::new(1).unwrap(), Arc::new(Answering(paths)));
    assert!(again.map(|_| ()).unwrap_err().to_string().starts_with("can't listen on 127.0.0.1:"));
}

#[test]
fn clients_that_do_not_read_keep_no_worker() {
    let small = usize::try_from(limits::DOWNLOAD_BYTES).unwrap();
    let server = start(settings(), move |exchange| {
        let bytes = if exchange.path() == "/filler" { small } else { 1 };
        exchange.answer(Response::bytes(200, "text/plain", vec![b'x'; bytes]));
    });
    // More than what the kernel buffers for both ends.
    let requests = 400;
    let mut idle: Vec<Peer> = (0..3).map(|_| Peer::to(&server)).collect();
    for peer in &mut idle {
        peer.send("GET /filler HTTP/1.1\r\nHost: h\r\n\r\n".repeat(requests));
    }
    for _ in 0..requests {
        let begun = Instant::now();
        assert_eq!(Peer::to(&server).get("/other").body, b"x");
        assert!(begun.elapsed() < PATIENCE / 2);
    }
    for mut peer in idle {
        for _ in 0..requests {
            assert_eq!(peer.answer().body.len(), small);
        }
        assert_eq!(peer.get("/other").body, b"x");
    }
}

/// A server of small answers, and a client that asks for more of them than the kernel buffers.
fn small_answers(pace: Clocks) -> (Server, Peer) {
    let small = vec![b'x'; usize::try_from(limits::DOWNLOAD_BYTES).unwrap()];
    let server = start(Settings { pace, ..settings() }, move |exchange| {
        exchange.answer(Response::bytes(200, "text/plain", small.clone()));
    });
    let mut peer = Peer::to(&server);
    peer.send("GET /filler HTTP/1.1\r\nHost: h\r\n\r\n".repeat(400));
    (server, peer)
}

#[test]
fn who_does_not_take_a_small_answer_is_cut_off() {
    // However long the answer might take at the minimum rate.
    let pace = Clocks { idle: Duration::from_millis(40), min_rate: 1, ..Clocks::default() };
    let (server, _peer) = small_answers(pace);
    eventually("the seat is given back", || server.connections() == 0);
}

#[test]
fn who_takes_small_answers_slowly_has_the_time_of_each() {
    let idle = Duration::from_secs(2);
    let pace = Clocks { idle, min_rate: u64::MAX, ..Clocks::default() };
    let (_server, mut peer) = small_answers(pace);
    let begun = Instant::now();
    for _ in 0..400 {
        assert_eq!(peer.answer().status, 200);
        std::thread::sleep(idle / 200);
    }
    assert!(begun.elapsed() > idle, "more time than one answer has");
}
