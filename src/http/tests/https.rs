//! The same over TLS.

use native_tls::{TlsConnector, TlsStream};

use super::super::tls::tests::self_signed;
use super::*;

pub(super) fn https() -> Settings {
    let listen = vec![Listen { address: ([127, 0, 0, 1], 0).into(), tls: true, optional: false }];
    Settings { listen, https: Some(self_signed()), ..Settings::default() }
}

pub(super) fn connect(server: &Server) -> BufReader<TlsStream<TcpStream>> {
    let connector = TlsConnector::builder().danger_accept_invalid_certs(true).build().unwrap();
    let stream = TcpStream::connect(server.addresses()[0]).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    BufReader::new(connector.connect("localhost", stream).unwrap())
}

fn send(stream: &mut BufReader<TlsStream<TcpStream>>, text: impl AsRef<[u8]>) {
    stream.get_mut().write_all(text.as_ref()).unwrap();
}

#[test]
fn requests_are_served_over_tls() {
    let server = start(https(), |exchange| match exchange.scheme() {
        "https" => paths(exchange),
        _ => exchange.answer(Response::new(500)),
    });
    let mut stream = connect(&server);
    for path in ["/a", "/b"] {
        send(&mut stream, format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert_eq!(read_answer(&mut stream).text(), path);
    }
    // Two requests in one record.
    send(&mut stream, "GET /c HTTP/1.1\r\nHost: h\r\n\r\nGET /d HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(
        [read_answer(&mut stream), read_answer(&mut stream)].each_ref().map(Answer::text),
        ["/c", "/d"]
    );
    // A body and the next head in one record: the body's reader leaves the head decrypted, out of epoll's sight.
    send(&mut stream, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n");
    send(&mut stream, "okGET /e HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(
        [read_answer(&mut stream), read_answer(&mut stream)].each_ref().map(Answer::text),
        ["ok", "/e"]
    );
    // A head and its body in two records that may arrive together.
    let (_, data) = file_of(300_000);
    send(&mut stream, format!("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", data.len()));
    send(&mut stream, &data);
    assert!(read_answer(&mut stream).body == data);
}

#[test]
fn large_files_go_over_tls() {
    let (file, data) = file_of(1_000_003);
    let server = start(https(), move |exchange| {
        exchange.answer(Response::file(200, file.try_clone().unwrap(), 3..1_000_003));
    });
    let mut stream = connect(&server);
    send(&mut stream, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    assert!(read_answer(&mut stream).body == data[3..]);
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
}

#[test]
fn silent_and_half_hearted_clients_hold_no_worker() {
    let server = start(https(), paths);
    let silent = TcpStream::connect(server.addresses()[0]).unwrap();
    let mut half = TcpStream::connect(server.addresses()[0]).unwrap();
    half.write_all(b"\x16\x03\x01\x02\x00\x01").unwrap();
    let mut stream = connect(&server);
    send(&mut stream, "GET /a HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(read_answer(&mut stream).text(), "/a");
    drop((silent, half));
}

#[test]
fn a_handshake_has_its_time() {
    let server = start(Settings { handshake_time: Duration::from_millis(40), ..https() }, paths);
    let mut silent = Peer::to(&server);
    let mut half = Peer::to(&server);
    half.send(b"\x16\x03\x01\x02\x00\x01");
    assert!(silent.is_closed() && half.is_closed());
}

#[test]
fn the_first_head_behind_a_handshake_has_the_time_of_a_head() {
    // A kept connection may be idle for longer; one that has asked for nothing yet may not.
    let short = Duration::from_millis(300);
    let server = start(Settings { head_time: short, keep_alive_time: PATIENCE, ..https() }, paths);
    let mut silent = connect(&server);
    let mut half = connect(&server);
    send(&mut half, "GET / HT");
    assert_eq!(read_answer(&mut half).status, 408);
    assert_eq!(silent.read(&mut [0; 1]).unwrap_or(0), 0);
    eventually("the seats are given back", || server.connections() == 0);
}

#[test]
fn what_is_no_tls_is_closed() {
    let server = start(https(), paths);
    let mut peer = Peer::to(&server);
    peer.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    let _ = peer.0.read_to_end(&mut Vec::new());
    eventually("the seat is given back", || server.connections() == 0);
}

#[test]
fn a_refused_upload_reads_its_answer_over_tls() {
    let server = start(https(), paths);
    let mut stream = connect(&server);
    send(&mut stream, "POST /refuse HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n");
    send(&mut stream, vec![b'x'; 500_000]);
    assert_eq!(read_answer(&mut stream).status, 403);
}

#[test]
fn the_certificate_can_be_replaced() {
    let server = start(https(), paths);
    server.set_certificate(&self_signed()).unwrap();
    let wrong = Pkcs12 { bytes: Vec::new(), password: crate::secret::Secret::new("") };
    assert!(server.set_certificate(&wrong).is_err());
    let mut stream = connect(&server);
    send(&mut stream, "GET /a HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(read_answer(&mut stream).status, 200);
}

#[test]
fn tls_without_a_certificate_is_a_configuration_error() {
    let settings = Settings { https: None, ..https() };
    let error = Server::start(settings, Workers::new(1).unwrap(), Arc::new(Answering(paths)));
    assert_eq!(error.map(|_| ()).unwrap_err().kind(), crate::error::Kind::Config);
}
