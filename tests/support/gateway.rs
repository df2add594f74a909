//! A component of the XMPP server (XEP-0114) that a test speaks for.

use std::io::Write;
use std::net::TcpStream;

use sha1::{Digest, Sha1};

use super::prosody::SECRET;
use super::stanza::{Stanza, StreamReader};

/// A connected component.
pub struct Gateway {
    socket: TcpStream,
    reader: StreamReader<TcpStream>,
}

impl Gateway {
    /// Connects under this address, which nobody else may have.
    pub fn connect(port: u16, jid: &str) -> Self {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).expect("the XMPP server listens");
        socket.set_nodelay(true).expect("TCP has no delay");
        let mut reader = StreamReader::new(socket.try_clone().expect("sockets can be cloned"));
        let header = format!(
            "<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' \
             to='{jid}'>"
        );
        socket.write_all(header.as_bytes()).expect("the XMPP server reads");
        let stream = reader.header().expect("the XMPP server opens a stream");
        let digest = Sha1::digest(format!("{}{SECRET}", stream.attribute("id")));
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let handshake = format!("<handshake>{digest}</handshake>");
        socket.write_all(handshake.as_bytes()).expect("the XMPP server reads");
        let accepted = reader.stanza().expect("the XMPP server answers").expect("the XMPP server goes on");
        assert_eq!(accepted.name, "handshake", "{accepted:?}");
        Self { socket, reader }
    }

    /// Sends this text as it is.
    pub fn send(&mut self, xml: &str) {
        self.socket.write_all(xml.as_bytes()).expect("the XMPP server reads");
    }

    /// The next stanza.
    pub fn stanza(&mut self) -> Stanza {
        self.reader.stanza().expect("the XMPP server sends XML").expect("the XMPP server goes on")
    }
}
