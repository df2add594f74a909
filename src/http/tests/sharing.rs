//! Many clients: caps, parked exchanges, idle crowds, and the end.

use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};

use super::*;
use crate::limits;

/// Bytes of a small response.
const SMALL_BYTES: usize = 64 * 1024;

#[test]
fn a_parked_exchange_holds_no_thread() {
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
    std::thread::spawn(move || {
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
    eventually("the permits are given back", || server.connections() == 0);
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
    let server = start(Settings { trusted_proxies: vec!["127.0.0.1".parse().unwrap()], ..capped }, paths);
    let mut peers = [Peer::to(&server), Peer::to(&server)];
    assert_eq!(peers.each_mut().map(|peer| peer.get("/").status), [200, 200]);
}

/// Starts an upload of two bytes in the name of a client, and waits until the server asks for them or refuses.
fn begin_upload(server: &Server, from: &str) -> (Peer, u16) {
    let mut peer = Peer::to(server);
    let head = format!("POST /echo HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: {from}\r\nContent-Length: 2\r\n");
    let status = peer.send(format!("{head}Expect: 100-continue\r\n\r\n")).head().0;
    (peer, status)
}

#[test]
fn one_client_leaves_uploads_to_others() {
    let limits = Limits { uploads: limits::UPLOADS_EACH + 1, ..Limits::default() };
    let trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    let server = start(Settings { trusted_proxies, threads: 99, ..limited(limits) }, paths);
    let mut held: Vec<Peer> = (0..limits::UPLOADS_EACH)
        .map(|_| begin_upload(&server, "192.0.2.1"))
        .map(|(peer, status)| if status == 100 { peer } else { panic!("{status}") })
        .collect();
    assert_eq!(begin_upload(&server, "192.0.2.1").1, 503);
    let (other, status) = begin_upload(&server, "192.0.2.2");
    assert_eq!(status, 100);
    held.push(other);
    assert_eq!(begin_upload(&server, "192.0.2.3").1, 503);
    for mut peer in held {
        assert_eq!(peer.send("ok").answer().text(), "ok");
    }
}

#[test]
fn a_slow_upload_gives_way_to_a_new_one() {
    let limits = Limits { uploads: 1, ..Limits::default() };
    let server = start(Settings { threads: 9, ..limited(limits) }, paths);
    let (mut slow, status) = begin_upload(&server, "192.0.2.1");
    let begun = Instant::now();
    assert_eq!(status, 100);
    assert_eq!(begin_upload(&server, "192.0.2.2").1, 503, "the slow one is too young to give way");
    let mut fresh = loop {
        let (peer, status) = begin_upload(&server, "192.0.2.2");
        if status == 100 {
            break peer;
        }
    };
    assert!(begun.elapsed() > limits::SLOW_UPLOAD_TIME && slow.answer().status == 408);
    assert_eq!(fresh.send("ok").answer().text(), "ok");
}

/// A server on which `/block` waits without a turn, or with it, until the sender is used or dropped.
fn blocking(settings: Settings, on_turn: bool) -> (Server, std::sync::mpsc::Receiver<()>, Sender<()>) {
    let (release, released) = channel::<()>();
    let (started, start_seen) = channel();
    let gate = Arc::new(Mutex::new(released));
    let server = start(settings, move |exchange| {
        let (gate, started) = (Arc::clone(&gate), started.clone());
        let block = move |exchange: Exchange| {
            started.send(()).unwrap();
            let _ = gate.lock().unwrap_or_else(PoisonError::into_inner).recv();
            paths(exchange);
        };
        match exchange.path() {
            "/block" if on_turn => block(exchange),
            "/block" => exchange.leave_turn(block),
            _ => paths(exchange),
        }
    });
    (server, start_seen, release)
}

fn ask(server: &Server, path: &str) -> Peer {
    let mut peer = Peer::to(server);
    peer.send(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n"));
    peer
}

#[test]
fn requests_that_may_wait_are_deferred_in_order_and_then_refused() {
    let (server, started, release) = blocking(Settings { max_deferred: 2, ..settings() }, false);
    let mut blocked = ask(&server, "/block");
    started.recv_timeout(PATIENCE).unwrap();
    let mut deferred = [(); 2].map(|()| {
        let before = server.monitor().activity().deferred;
        let peer = ask(&server, "/echo");
        eventually("it is deferred", || server.monitor().activity().deferred == before + 1);
        peer
    });
    let refused = ask(&server, "/echo").answer();
    assert!(refused.status == 503 && refused.has("Retry-After: 5"));
    assert_eq!(Peer::to(&server).get("/other").status, 200, "what need not wait is served");
    release.send(()).unwrap();
    assert_eq!(blocked.answer().status, 200);
    assert_eq!(deferred.each_mut().map(|peer| peer.answer().status), [200, 200]);
    eventually("all are back", || server.monitor().activity().left.0 == 0);
}

#[test]
fn a_panic_without_a_turn_costs_one_request() {
    let server = server();
    for _ in 0..3 {
        assert_eq!(ask(&server, "/panic-later").answer().status, 500);
    }
    assert_eq!(Peer::to(&server).get("/next").status, 200);
    eventually("all are back", || server.monitor().activity().left.0 == 0);
}

#[test]
fn a_turn_is_lent_while_all_are_stuck() {
    for turns in [1, 2] {
        let (server, started, release) = blocking(Settings { turns, threads: 4, ..settings() }, true);
        let mut kept = Peer::to(&server);
        assert_eq!(kept.get("/before").status, 200);
        let mut stuck: Vec<Peer> = (0..turns + 1).map(|_| ask(&server, "/block")).collect();
        for _ in &stuck {
            started.recv_timeout(PATIENCE).unwrap();
        }
        for _ in 0..50 {
            assert_eq!((kept.get("/kept").status, Peer::to(&server).get("/fresh").status), (200, 200));
        }
        assert!(server.monitor().activity().turns_lent >= 2, "{:?}", server.monitor().activity());
        drop(release);
        for peer in &mut stuck {
            assert_eq!(peer.answer().status, 200);
        }
        // A thread gives its turn up when it has handled what it has in hand.
        eventually("the turns that were lent are given up", || {
            assert_eq!(Peer::to(&server).get("/other").status, 200);
            server.monitor().activity().turns == turns
        });
    }
}

#[test]
fn events_in_the_hand_of_a_stuck_thread_are_handled_by_another() {
    for turns in [1, 3] {
        events_behind_a_stuck_one(turns);
    }
}

fn events_behind_a_stuck_one(turns: usize) {
    let (server, started, release) = blocking(Settings { turns, ..settings() }, true);
    let mut crowd: Vec<Peer> = (0..40).map(|_| Peer::to(&server)).collect();
    crowd.iter_mut().for_each(|peer| assert_eq!(peer.get("/before").status, 200));
    let mut stuck = ask(&server, "/block");
    for peer in &mut crowd {
        peer.send("GET /among HTTP/1.1\r\nHost: h\r\n\r\n");
    }
    started.recv_timeout(PATIENCE).unwrap();
    assert!(crowd.iter_mut().all(|peer| peer.answer().status == 200));
    drop(release);
    assert_eq!(stuck.answer().status, 200);
}

#[test]
fn a_resumed_exchange_is_served_on_a_worker_thread() {
    let (parked, waiting) = channel();
    let resumed = ResumeQueue::new().unwrap();
    let service = Answering(move |exchange: Exchange| parked.send(exchange).unwrap());
    let server = Server::start(settings(), resumed.clone(), Arc::new(service)).unwrap();
    let mut peers: Vec<Peer> = (0..20).map(|_| ask(&server, "/echo")).collect();
    let exchanges: Vec<Exchange> = peers.iter().map(|_| waiting.recv_timeout(PATIENCE).unwrap()).collect();
    for exchange in exchanges {
        resumed.run(move || paths(exchange));
    }
    assert!(peers.iter_mut().all(|peer| peer.answer().status == 200));
    resumed.run(|| panic!("on purpose"));
    let (tell, told) = channel();
    resumed.run(move || tell.send(()).unwrap());
    told.recv_timeout(PATIENCE).unwrap();
}

#[test]
fn a_job_that_may_wait_holds_no_turn_and_is_told_when_there_is_no_room_for_it() {
    let resumed = ResumeQueue::new().unwrap();
    let settings = Settings { max_deferred: 1, ..settings() };
    let server = Server::start(settings, resumed.clone(), Arc::new(Answering(paths))).unwrap();
    let (tell, told) = channel();
    let (release, held) = channel::<()>();
    let started = tell.clone();
    resumed.run_apart(move |admitted| {
        started.send(("first", admitted)).unwrap();
        let _ = held.recv();
    });
    assert_eq!(told.recv_timeout(PATIENCE), Ok(("first", true)));
    for name in ["second", "third"] {
        let tell = tell.clone();
        resumed.run_apart(move |admitted| tell.send((name, admitted)).unwrap());
    }
    assert_eq!(told.recv_timeout(PATIENCE), Ok(("third", false)), "one runs, and one waits");
    assert_eq!(Peer::to(&server).get("/x").text(), "/x", "the turn is free");
    drop(release);
    assert_eq!(told.recv_timeout(PATIENCE), Ok(("second", true)));
}

/// A server with several turns.
fn roomy(service: impl Fn(Exchange) + Send + Sync + 'static) -> Server {
    let limits = Limits { connections: 2000, connections_per_address: 2000, ..Limits::default() };
    start(Settings { turns: 3, threads: 3, ..limited(limits) }, service)
}

#[test]
fn connections_go_from_thread_to_thread() {
    let server = roomy(paths);
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
fn a_thousand_idle_connections_stand_in_nobodys_way() {
    raise_descriptors();
    let server = roomy(paths);
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
    let (server, started, release) = blocking(settings(), false);
    let address = server.addresses()[0];
    let mut idle = Peer::to(&server);
    assert_eq!(idle.get("/").status, 200);
    let mut busy = ask(&server, "/block");
    started.recv_timeout(PATIENCE).unwrap();
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
    let listen = vec![Listen { address: server.addresses()[0], tls: false, optional: false, keys: "" }];
    let settings = Settings { listen, ..Settings::default() };
    let again = Server::start(settings, ResumeQueue::new().unwrap(), Arc::new(Answering(paths)));
    assert!(again.map(|_| ()).unwrap_err().to_string().starts_with("can't listen on 127.0.0.1:"));
}

#[test]
fn clients_that_do_not_read_keep_no_thread() {
    let small = SMALL_BYTES;
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
    let small = vec![b'x'; SMALL_BYTES];
    let server = start(Settings { pace, ..settings() }, move |exchange| {
        exchange.answer(Response::bytes(200, "text/plain", small.clone()));
    });
    let mut peer = Peer::to(&server);
    peer.send("GET /filler HTTP/1.1\r\nHost: h\r\n\r\n".repeat(400));
    (server, peer)
}

#[test]
fn a_client_that_does_not_read_a_small_response_is_cut_off() {
    // However long the answer might take at the minimum rate.
    let pace = Clocks { idle: Duration::from_millis(40), min_rate: 1, ..Clocks::default() };
    let (server, _peer) = small_answers(pace);
    eventually("the permit is given back", || server.connections() == 0);
}

#[test]
fn a_slow_reader_of_small_responses_has_the_full_time_for_each() {
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
