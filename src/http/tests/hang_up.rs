//! Clients that disconnect while their exchanges are parked, and clients that only half-close.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};

use super::https::{connect, https};
use super::*;

/// A server that parks every exchange, with a watch.
struct Parking {
    server: Server,
    parked: Receiver<Exchange>,
    hang_ups: Receiver<()>,
    hung_up: Sender<()>,
}

impl Parking {
    fn start(settings: Settings) -> Self {
        let (park, parked) = channel();
        let (hung_up, hang_ups) = channel();
        let service = Mutex::new((park, hung_up.clone()));
        let server = start(settings, move |mut exchange| {
            let service = service.lock().unwrap_or_else(PoisonError::into_inner);
            watch(&mut exchange, &service.1);
            let _ = service.0.send(exchange);
        });
        Self { server, parked, hang_ups, hung_up }
    }

    fn parked(&self) -> Exchange {
        self.parked.recv_timeout(PATIENCE).expect("a request is parked")
    }

    fn wait_hang_up(&self) {
        self.hang_ups.recv_timeout(PATIENCE).expect("the watch tells");
    }

    fn gives_up(&self, exchange: Exchange) {
        exchange.abandon();
        eventually("the permit is given back", || self.server.connections() == 0);
        assert!(self.hang_ups.try_recv().is_err(), "told once");
    }
}

fn watch(exchange: &mut Exchange, hung_up: &Sender<()>) {
    let hung_up = hung_up.clone();
    exchange.watch(move || hung_up.send(()).expect("the test waits"));
}

const UPLOAD: &str = "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\nbegun";

#[test]
fn a_closed_connection_is_noticed_even_with_unread_bytes() {
    let parking = Parking::start(settings());
    let mut peer = Peer::to(&parking.server);
    peer.send(UPLOAD);
    let mut exchange = parking.parked();
    assert!(parking.hang_ups.try_recv().is_err(), "bytes are no hang-up");
    drop(peer);
    parking.wait_hang_up();
    if !exchange.is_abandoned() {
        watch(&mut exchange, &parking.hung_up);
        parking.wait_hang_up();
        assert!(exchange.is_abandoned());
    }
    parking.gives_up(exchange);
}

#[test]
fn a_client_that_half_closes_still_gets_its_response() {
    let parking = Parking::start(settings());
    let mut peer = Peer::to(&parking.server);
    peer.send("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello").end_writing();
    let mut exchange = parking.parked();
    parking.wait_hang_up();
    assert!(!exchange.is_abandoned());
    watch(&mut exchange, &parking.hung_up);
    assert_eq!(peer.head().0, 100);
    let response = echo(&mut exchange).unwrap();
    exchange.answer(response);
    assert_eq!(peer.answer().text(), "hello");
    assert!(peer.is_closed());
    assert!(parking.hang_ups.try_recv().is_err());
}

#[test]
fn a_client_of_http_1_0_that_half_closes_is_gone() {
    let parking = Parking::start(settings());
    let mut peer = Peer::to(&parking.server);
    peer.send("GET /x HTTP/1.0\r\n\r\n").end_writing();
    let mut exchange = parking.parked();
    parking.wait_hang_up();
    assert!(exchange.is_abandoned());
    parking.gives_up(exchange);
    assert!(peer.is_closed());
}

#[test]
fn a_watch_that_panics_costs_no_other() {
    let parking = Parking::start(settings());
    let parked = [(); 8].map(|()| {
        let pair = [(); 2].map(|()| {
            let mut peer = Peer::to(&parking.server);
            peer.send("GET /x HTTP/1.1\r\nHost: h\r\n\r\n");
            (peer, parking.parked())
        });
        let [(peer, mut exchange), other] = pair;
        exchange.watch(|| panic!("on purpose"));
        [(peer, exchange), other]
    });
    let (peers, _exchanges): (Vec<Peer>, Vec<Exchange>) = parked.into_iter().flatten().unzip();
    drop(peers);
    for _ in 0..8 {
        parking.wait_hang_up();
    }
}

#[test]
fn a_client_that_closes_over_tls_is_gone() {
    let parking = Parking::start(https());
    let mut peer = connect(&parking.server);
    peer.get_mut().write_all(b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    let mut exchange = parking.parked();
    drop(peer);
    parking.wait_hang_up();
    assert!(exchange.is_abandoned());
    parking.gives_up(exchange);
}

#[test]
fn a_connection_is_watched_again_when_its_next_request_is_parked() {
    let parking = Parking::start(settings());
    let mut peer = Peer::to(&parking.server);
    for _ in 0..3 {
        peer.send("GET /x HTTP/1.1\r\nHost: h\r\n\r\n");
        parking.parked().answer(Response::new(204));
        assert_eq!(peer.answer().status, 204);
    }
    peer.send("GET /x HTTP/1.1\r\nHost: h\r\n\r\n");
    let exchange = parking.parked();
    drop(peer);
    parking.wait_hang_up();
    parking.gives_up(exchange);
}
