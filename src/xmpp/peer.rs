//! A scripted XMPP server for tests: it sends what the test says and waits for what the test expects.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use native_tls::{Identity, TlsAcceptor};
use sha2::Sha256;

use super::{ClientSettings, ComponentSettings, Security, SettingNames, Times, ns};
use crate::secret::Secret;
use crate::sys::{Interest, wait};
use crate::testing::Scratch;

/// The time after which a test fails.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Times for tests that wait for none of them to pass.
pub(super) fn long_times() -> Times {
    Times {
        login: PATIENCE,
        keepalive: PATIENCE,
        backoff_min: Duration::from_millis(1),
        backoff_max: Duration::from_millis(10),
        tick: Duration::from_millis(5),
        close: PATIENCE,
    }
}

/// A listening server.
pub(super) struct ScriptedServer(TcpListener);

impl ScriptedServer {
    pub fn listen() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").expect("a free port"))
    }

    pub fn port(&self) -> u16 {
        self.0.local_addr().expect("an address").port()
    }

    pub fn component(&self) -> ComponentSettings {
        ComponentSettings {
            host: "127.0.0.1".to_owned(),
            port: self.port(),
            jid: "media.example.com".parse().expect("a domain"),
            secret: Secret::new("s3cret"),
        }
    }

    pub fn client(&self, security: Security) -> ClientSettings {
        ClientSettings {
            host: "127.0.0.1".to_owned(),
            port: self.port(),
            service: "example.com".parse().expect("a domain"),
            username: "media".to_owned(),
            password: Secret::new("pencil"),
            security,
            ca: None,
            connector: None,
            resource: "here".to_owned(),
            available: true,
            names: SettingNames::SERVER,
        }
    }

    /// Makes new connections hang: the kernel has no room for them, and none is accepted.
    pub fn fill_backlog(&self) -> Vec<TcpStream> {
        rustix::net::listen(&self.0, 0).expect("listening");
        let address = self.0.local_addr().expect("an address");
        let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(100));
        std::iter::from_fn(|| connect().ok()).take(10).collect()
    }

    /// Whether a client connects.
    pub fn is_dialled(&self) -> bool {
        wait(&[(self.0.as_fd(), Interest::Read)], Some(Instant::now())).expect("waiting")[0]
    }

    pub fn accept(&self) -> Conn {
        let ready = wait(&[(self.0.as_fd(), Interest::Read)], Some(Instant::now() + PATIENCE));
        assert!(ready.expect("waiting")[0], "nobody connects");
        let (socket, _) = self.0.accept().expect("a connection");
        socket.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        socket.set_nodelay(true).expect("an option");
        Conn { io: Box::new(socket.try_clone().expect("a copy")), socket, got: String::new() }
    }
}

trait ReadWrite: Read + Write + Send {}

impl<T: Read + Write + Send> ReadWrite for T {}

/// A connection of ours with the scripted server.
pub(super) struct Conn {
    io: Box<dyn ReadWrite>,
    socket: TcpStream,
    got: String,
}

impl Conn {
    /// Reads up to and with `needle`.
    pub fn until(&mut self, needle: &str) -> String {
        loop {
            if let Some(at) = self.got.find(needle) {
                let rest = self.got.split_off(at + needle.len());
                return std::mem::replace(&mut self.got, rest);
            }
            let mut buffer = [0; 4096];
            match self.io.read(&mut buffer) {
                Ok(count) if count > 0 => self.got.push_str(str::from_utf8(&buffer[..count]).expect("text")),
                end => panic!("{end:?} instead of {needle:?} after {:?}", self.got),
            }
        }
    }

    pub fn send(&mut self, text: &str) {
        self.io.write_all(text.as_bytes()).expect("a peer");
    }

    /// Sends to a peer who may be gone.
    pub fn try_send(&mut self, text: &str) {
        let _ = self.io.write_all(text.as_bytes());
    }

    /// Reads and forgets up to and with `needle`.
    pub fn skip_to(&mut self, needle: &str) {
        let mut buffer = [0; 64 * 1024];
        while !self.got.contains(needle) {
            let count = self.io.read(&mut buffer).expect("more");
            assert!(count > 0, "the end instead of {needle:?}");
            let kept = self.got.len().saturating_sub(needle.len());
            self.got.drain(..kept);
            self.got.push_str(str::from_utf8(&buffer[..count]).expect("text"));
        }
        self.until(needle);
    }

    /// Sends each byte by itself.
    pub fn drip(&mut self, text: &str) {
        for byte in text.as_bytes() {
            self.io.write_all(&[*byte]).expect("a peer");
        }
    }

    /// Reads to the end of the connection.
    pub fn rest(&mut self) -> String {
        let mut buffer = [0; 4096];
        loop {
            match self.io.read(&mut buffer) {
                Ok(0) => return std::mem::take(&mut self.got),
                Ok(count) => self.got.push_str(&String::from_utf8_lossy(&buffer[..count])),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => panic!("the connection goes on"),
                Err(_) => return std::mem::take(&mut self.got),
            }
        }
    }

    pub fn header(&mut self, content: &str) {
        self.until("<stream:stream ");
        self.until(">");
        self.send(&format!(
            "<?xml version='1.0'?><stream:stream xmlns='{content}' xmlns:stream='{}' id='3BF96D32' version='1.0'>",
            ns::STREAM
        ));
    }

    pub fn features(&mut self, features: &str) {
        self.header(ns::CLIENT);
        self.send(&format!("<stream:features>{features}</stream:features>"));
    }

    /// Up to the component's handshake, which must be right.
    pub fn handshake(&mut self) {
        self.header(ns::COMPONENT);
        assert_eq!(
            self.until("</handshake>"),
            "<handshake>a984b871214a298f0f743fcd25f99b10838ba12b</handshake>"
        );
    }

    /// A component's log-in.
    pub fn log_component_in(&mut self) {
        self.handshake();
        self.send("<handshake/>");
    }

    /// A client's log-in by PLAIN.
    pub fn log_client_in(&mut self) {
        self.features(&mechanisms("PLAIN"));
        assert!(self.until("</auth>").contains(&STANDARD.encode("\0media\0pencil")));
        self.send(&format!("<success xmlns='{}'/>", ns::SASL));
        self.bind();
    }

    /// Resource binding, after authentication.
    pub fn bind(&mut self) {
        self.features(&format!("<bind xmlns='{}'/>", ns::BIND));
        assert!(self.until("</iq>").contains("<resource>here</resource>"));
        let jid = "<jid>media@example.com/here</jid>";
        self.send(&format!("<iq type='result' id='bind'><bind xmlns='{}'>{jid}</bind></iq>", ns::BIND));
        self.until("<presence/>");
    }

    /// SCRAM-SHA-256 up to the success, with the signature of a server that knows `password`.
    pub fn scram(&mut self, password: &str) {
        self.features(&mechanisms("SCRAM-SHA-256"));
        let first = inside(&self.until("</auth>"));
        let bare = first.strip_prefix("n,,").expect("a gs2 header");
        let (_, nonce) = bare.split_once(",r=").expect("a nonce");
        let server_first = format!("r={nonce}server,s={},i=4096", STANDARD.encode("salt"));
        self.send(&format!("<challenge xmlns='{}'>{}</challenge>", ns::SASL, STANDARD.encode(&server_first)));
        let last = inside(&self.until("</response>"));
        let (without_proof, _) = last.rsplit_once(",p=").expect("a proof");
        let mut salted = [0; 32];
        pbkdf2::pbkdf2_hmac::<Sha256>(password.as_bytes(), b"salt", 4096, &mut salted);
        let key = hmac(&salted, "Server Key");
        let signature = STANDARD.encode(hmac(&key, &format!("{bare},{server_first},{without_proof}")));
        let data = STANDARD.encode(format!("v={signature}"));
        self.send(&format!("<success xmlns='{}'>{data}</success>", ns::SASL));
    }

    /// Offers STARTTLS, and agrees to it; `tail` comes right behind, in the clear.
    pub fn proceed(&mut self, tail: &str) {
        self.features(&format!("<starttls xmlns='{}'/>{}", ns::TLS, mechanisms("PLAIN")));
        self.until("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
        self.send(&format!("<proceed xmlns='{}'/>{tail}", ns::TLS));
    }

    /// Waits for the client's part of the handshake and leaves it in the socket.
    pub fn wait_hello(&self) {
        assert!(self.socket.peek(&mut [0; 1]).is_ok_and(|count| count == 1), "no handshake begins");
    }

    /// The server's side of the handshake; says whether the client went along.
    pub fn starttls(&mut self, certificate: &Certificate) -> bool {
        let acceptor = TlsAcceptor::new(certificate.identity()).expect("an acceptor");
        match acceptor.accept(self.socket.try_clone().expect("a copy")) {
            Ok(stream) => {
                self.io = Box::new(stream);
                true
            }
            Err(_) => false,
        }
    }
}

pub(super) fn mechanisms(name: &str) -> String {
    format!("<mechanisms xmlns='{}'><mechanism>{name}</mechanism></mechanisms>", ns::SASL)
}

fn inside(element: &str) -> String {
    let text = element.rsplit_once("</").expect("an end").0.rsplit_once('>').expect("a start").1;
    String::from_utf8(STANDARD.decode(text).expect("base64")).expect("text")
}

fn hmac(key: &[u8], data: &str) -> Vec<u8> {
    let mac = Hmac::<Sha256>::new_from_slice(key).expect("a key");
    mac.chain_update(data).finalize().into_bytes().to_vec()
}

/// A self-signed certificate in a directory of its own.
#[derive(Clone)]
pub(super) struct Certificate(Arc<Scratch>);

impl Certificate {
    pub fn new(domain: &str) -> Self {
        Self::valid(domain, "2")
    }

    /// One whose last day was yesterday.
    pub fn expired(domain: &str) -> Self {
        Self::valid(domain, "-1")
    }

    fn valid(domain: &str, days: &str) -> Self {
        let scratch = Scratch::new();
        let openssl = |arguments: &[&str]| {
            let made = Command::new("openssl").args(arguments).current_dir(scratch.path()).output();
            let made = made.expect("the openssl command");
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        };
        fs::write(scratch.join("names"), format!("subjectAltName=DNS:{domain}\n")).expect("a file");
        let key =
            ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "key.pem"];
        let subject = format!("/CN={domain}");
        openssl(&[&["req", "-new", "-out", "request.pem", "-subj", &subject], &key[..]].concat());
        let sign = ["x509", "-req", "-in", "request.pem", "-signkey", "key.pem", "-extfile", "names"];
        openssl(&[&sign[..], &["-days", days, "-out", "cert.pem"]].concat());
        Self(Arc::new(scratch))
    }

    pub fn path(&self) -> PathBuf {
        self.0.join("cert.pem")
    }

    fn identity(&self) -> Identity {
        let read = |name| fs::read(self.0.join(name)).expect("a file");
        Identity::from_pkcs8(&read("cert.pem"), &read("key.pem")).expect("an identity")
    }
}
