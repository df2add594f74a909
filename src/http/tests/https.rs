//! The same over TLS.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use native_tls::{TlsConnector, TlsStream};

use super::super::connection::tls::tests::self_signed;
use super::*;

pub(super) fn https() -> Settings {
    let listen = vec![Listen { address: ([127, 0, 0, 1], 0).into(), tls: true, optional: false, keys: "" }];
    Settings { listen, https: Some(self_signed()), ..settings() }
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
fn silent_and_half_hearted_clients_hold_no_thread() {
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
    eventually("the permits are given back", || server.connections() == 0);
}

#[test]
fn a_connection_that_is_not_tls_is_closed() {
    let server = start(https(), paths);
    let mut peer = Peer::to(&server);
    peer.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    let _ = peer.0.read_to_end(&mut Vec::new());
    eventually("the permit is given back", || server.connections() == 0);
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
    let error = Server::start(settings, ResumeQueue::new().unwrap(), Arc::new(Answering(paths)));
    assert_eq!(error.map(|_| ()).unwrap_err().kind(), crate::error::Kind::Config);
}

/// A first message of a client of this version of TLS (RFC 5246 section 7.4.1.2), in its record.
fn client_hello(version: u8) -> Vec<u8> {
    let suites = [0xc0, 0x2f, 0xc0, 0x13, 0xc0, 0x14, 0x00, 0x9c, 0x00, 0x2f, 0x00, 0x35];
    let extensions = [
        &[0x00, 0x0a, 0, 6, 0, 4, 0, 0x17, 0, 0x18][..], // groups: secp256r1, secp384r1
        &[0x00, 0x0b, 0, 2, 1, 0],                       // points: uncompressed
        &[0x00, 0x0d, 0, 6, 0, 4, 8, 4, 4, 1],           // signatures: rsa_pss_rsae_sha256, rsa_pkcs1_sha256
    ]
    .concat();
    let mut body = vec![3, version];
    body.extend([7; 32]);
    body.extend([&[0, 0, suites.len() as u8][..], &suites, &[1, 0, 0, extensions.len() as u8]].concat());
    body.extend(extensions);
    let handshake = [&[1, 0, 0, body.len() as u8][..], &body].concat();
    [&[0x16, 3, 1, 0, handshake.len() as u8][..], &handshake].concat()
}

#[test]
fn old_versions_of_tls_are_refused() {
    let server = start(https(), paths);
    let answer = |version| {
        let mut peer = Peer::to(&server);
        peer.send(client_hello(version));
        let mut answer = [0; 7];
        peer.0.read_exact(&mut answer).unwrap();
        answer
    };
    for version in [1, 2] {
        // A fatal alert: protocol_version (RFC 5246 section 7.2).
        let refusal = answer(version);
        assert_eq!((refusal[0], refusal[5], refusal[6]), (0x15, 2, 70), "TLS 1.{}: {refusal:?}", version - 1);
    }
    assert_eq!(answer(3)[0], 0x16, "TLS 1.2 is spoken");
    eventually("the permits are given back", || server.connections() == 0);
}

#[test]
fn tls_renegotiation_ends_the_connection() {
    let server = start(https(), paths);
    let mut client = Command::new("openssl")
        .args(["s_client", "-tls1_2", "-connect", &server.addresses()[0].to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl(1)");
    let mut input = client.stdin.take().unwrap();
    input.write_all(b"R\n").unwrap();
    // Its input stays open: the server's refusal is what ends it.
    let output = client.wait_with_output().unwrap();
    drop(input);
    let printed =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(printed.contains("RENEGOTIATING") && printed.contains("no renegotiation"), "{printed}");
    eventually("the permit is given back", || server.connections() == 0);
}

/// Bodies that the server has taken for whole; a client may break off where it likes.
#[test]
fn a_body_cut_without_a_tls_end_is_incomplete() {
    static WHOLE: AtomicUsize = AtomicUsize::new(0);
    let server = start(https(), |exchange| {
        exchange.leave_turn(|mut exchange| {
            let response = echo(&mut exchange);
            WHOLE.fetch_add(usize::from(response.is_ok()), Ordering::SeqCst);
            exchange.answer(response.unwrap_or_else(Response::refusal));
        });
    });
    let sized = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhello";
    let chunked = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    let records =
        [&b""[..], b"garbage that is no record", b"\x17\x03\x03\x00\x05world", b"\x17\x03\x03\xff\xff"];
    for request in [sized, chunked] {
        for record in records {
            let mut stream = connect(&server);
            send(&mut stream, request);
            let socket = stream.get_ref().get_ref();
            { socket }.write_all(record).unwrap();
            socket.shutdown(Shutdown::Write).unwrap();
            let _ = { socket }.read_to_end(&mut Vec::new());
        }
        // And one that says goodbye in time.
        let mut stream = connect(&server);
        send(&mut stream, request);
        stream.get_mut().shutdown().unwrap();
    }
    eventually("the permits are given back", || server.connections() == 0);
    assert_eq!(WHOLE.load(Ordering::SeqCst), 0);
    let mut bystander = connect(&server);
    send(&mut bystander, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nwhole");
    assert_eq!(read_answer(&mut bystander).text(), "whole");
}
