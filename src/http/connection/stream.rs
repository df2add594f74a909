//! The two kinds of streams, plain and TLS, on a socket that never blocks.

use std::fs::File;
use std::io::{self, Read, Write};
use std::mem;
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

use native_tls::{HandshakeError, MidHandshakeTlsStream, TlsAcceptor, TlsStream};

use crate::sys::{self, Interest};

/// A non-blocking socket that remembers what it last had to wait for: TLS may want to write in order to read.
#[derive(Debug)]
pub struct Socket {
    tcp: TcpStream,
    awaits: Interest,
}

impl Socket {
    pub fn new(tcp: TcpStream) -> Self {
        Self { tcp, awaits: Interest::Read }
    }

    fn note<T>(&mut self, result: io::Result<T>, interest: Interest) -> io::Result<T> {
        if matches!(&result, Err(error) if error.kind() == io::ErrorKind::WouldBlock) {
            self.awaits = interest;
        }
        result
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let result = self.tcp.read(buffer);
        self.note(result, Interest::Read)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let result = self.tcp.write(bytes);
        self.note(result, Interest::Write)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A client's stream.
pub enum Stream {
    Plain(Socket),
    /// Will speak TLS, but not a byte has come yet.
    Hello(Socket),
    Handshake(MidHandshakeTlsStream<Socket>),
    Tls(TlsStream<Socket>),
    /// A handshake failed and took the socket with it.
    Gone,
}

impl Stream {
    /// Takes the handshake as far as it goes without waiting; whether it is done.
    pub fn handshake(&mut self, acceptor: &TlsAcceptor) -> io::Result<bool> {
        let result = match mem::replace(self, Self::Gone) {
            Self::Hello(socket) => acceptor.accept(socket),
            Self::Handshake(stream) => stream.handshake(),
            other => {
                *self = other;
                return Ok(true);
            }
        };
        match result {
            Ok(stream) => *self = Self::Tls(stream),
            Err(HandshakeError::WouldBlock(stream)) => *self = Self::Handshake(stream),
            Err(HandshakeError::Failure(error)) => return Err(io::Error::other(error)),
        }
        Ok(matches!(self, Self::Tls(_)))
    }

    pub fn is_tls(&self) -> bool {
        !matches!(self, Self::Plain(_))
    }

    /// Sends up to `count` bytes of a file from `offset`, which it moves, past the program; only where no TLS is spoken.
    pub fn send_file(&mut self, file: &File, offset: &mut u64, count: usize) -> io::Result<usize> {
        let Self::Plain(socket) = self else { return Err(io::ErrorKind::Unsupported.into()) };
        let result = sys::send_file(&socket.tcp, file, offset, count);
        socket.note(result, Interest::Write)
    }

    /// Writes bytes that others follow at once. The kernel waits for those to fill its packets; only where no TLS is spoken.
    pub fn write_more(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Self::Plain(socket) = self else { return Err(io::ErrorKind::Unsupported.into()) };
        let result = sys::send_more(&socket.tcp, bytes);
        socket.note(result, Interest::Write)
    }

    /// The socket below, whatever is spoken on it.
    pub fn tcp(&self) -> Option<&TcpStream> {
        self.socket().map(|socket| &socket.tcp)
    }

    pub fn fd(&self) -> io::Result<BorrowedFd<'_>> {
        self.tcp().map(AsFd::as_fd).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// The event that the last call had to wait for.
    pub fn awaits(&self) -> Interest {
        self.socket().map_or(Interest::Read, |socket| socket.awaits)
    }

    /// Says that we are done writing. Best effort: the client may be gone.
    pub fn close_write(&mut self) {
        if let Self::Tls(stream) = self {
            let _ = stream.shutdown();
        }
        if let Some(tcp) = self.tcp() {
            let _ = tcp.shutdown(Shutdown::Write);
        }
    }

    fn socket(&self) -> Option<&Socket> {
        match self {
            Self::Plain(socket) | Self::Hello(socket) => Some(socket),
            Self::Handshake(stream) => Some(stream.get_ref()),
            Self::Tls(stream) => Some(stream.get_ref()),
            Self::Gone => None,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
            _ => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
            _ => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
