//! A non-blocking socket, in clear text or under TLS.

use std::io::{self, Read, Write};
use std::mem;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

use native_tls::{HandshakeError, MidHandshakeTlsStream, TlsStream};

use crate::error::{Error, Kind, Result};
use crate::sys;

use super::tls::Tls;

/// A connection to the XMPP server.
pub(super) struct Transport(TransportState);

enum TransportState {
    Clear(TcpStream),
    /// TLS is to begin.
    Asked(TcpStream, Tls),
    Handshake(Box<MidHandshakeTlsStream<TcpStream>>, Tls),
    Encrypted(Box<TlsStream<TcpStream>>),
    /// The handshake failed.
    Lost,
}

impl Transport {
    /// Takes over a connected socket.
    pub fn new(socket: TcpStream) -> Result<Self> {
        let set = socket.set_nonblocking(true).and_then(|()| socket.set_nodelay(true));
        set.map_err(|error| Error::io("can't set up a socket to the XMPP server", error))?;
        Ok(Self(TransportState::Clear(socket)))
    }

    /// TLS is to begin; [`Transport::handshake`] does it.
    pub fn start_tls(&mut self, tls: Tls) {
        self.0 = match mem::replace(&mut self.0, TransportState::Lost) {
            TransportState::Clear(socket) => TransportState::Asked(socket, tls),
            other => other,
        };
    }

    /// Continues a handshake under way; returns whether this call finished it.
    pub fn handshake(&mut self) -> Result<bool> {
        let (result, tls) = match mem::replace(&mut self.0, TransportState::Lost) {
            TransportState::Asked(socket, tls) => (tls.connector()?.connect(&tls.domain, socket), tls),
            TransportState::Handshake(handshake, tls) => (handshake.handshake(), tls),
            other => {
                self.0 = other;
                return Ok(false);
            }
        };
        match result {
            Ok(stream) => self.0 = TransportState::Encrypted(Box::new(stream)),
            Err(HandshakeError::WouldBlock(handshake)) => {
                self.0 = TransportState::Handshake(Box::new(handshake), tls);
                return Ok(false);
            }
            Err(HandshakeError::Failure(error)) => return Err(failed(&tls, &error)),
        }
        Ok(true)
    }

    /// Whether a handshake is under way.
    pub fn is_shaking_hands(&self) -> bool {
        matches!(self.0, TransportState::Asked(..) | TransportState::Handshake(..))
    }

    /// Whether TLS is established.
    pub fn is_encrypted(&self) -> bool {
        matches!(self.0, TransportState::Encrypted(_))
    }

    /// Whether a handshake has failed.
    pub fn is_lost(&self) -> bool {
        matches!(self.0, TransportState::Lost)
    }

    /// The descriptor to wait for; `None` after a failed handshake.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.socket().map(AsFd::as_fd)
    }

    /// The address of the server; `None` once the connection has ended.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.socket()?.peer_addr().ok()
    }

    /// Ends TLS and the connection.
    pub fn shutdown(&mut self) {
        // Errors mean that the connection has ended already.
        if let TransportState::Encrypted(stream) = &mut self.0 {
            let _ = stream.shutdown();
        }
        if let Some(socket) = self.socket() {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    fn socket(&self) -> Option<&TcpStream> {
        match &self.0 {
            TransportState::Clear(socket) | TransportState::Asked(socket, _) => Some(socket),
            TransportState::Handshake(handshake, _) => Some(handshake.get_ref()),
            TransportState::Encrypted(stream) => Some(stream.get_ref()),
            TransportState::Lost => None,
        }
    }
}

impl Read for Transport {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match &mut self.0 {
            TransportState::Clear(socket) => socket.read(buffer),
            TransportState::Encrypted(stream) => stream.read(buffer),
            TransportState::Asked(..) | TransportState::Handshake(..) => {
                Err(io::ErrorKind::WouldBlock.into())
            }
            TransportState::Lost => Err(io::ErrorKind::NotConnected.into()),
        }?;
        if let Some(socket) = self.socket() {
            sys::acknowledge(socket);
        }
        Ok(count)
    }
}

impl Write for Transport {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            TransportState::Clear(socket) => socket.write(bytes),
            TransportState::Encrypted(stream) => stream.write(bytes),
            TransportState::Asked(..) | TransportState::Handshake(..) => {
                Err(io::ErrorKind::WouldBlock.into())
            }
            TransportState::Lost => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn failed(tls: &Tls, error: &native_tls::Error) -> Error {
    let what = format!(
        "TLS with the XMPP server failed; its certificate must name {} and come from an authority that the \
         system or {} trusts",
        tls.domain, tls.names.ca
    );
    Error::tls(Kind::Unavailable, what, error)
}
