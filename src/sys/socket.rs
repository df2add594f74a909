//! Listening, accepting without surprises, and sending files without copying them.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SendFlags, SocketFlags, SocketType, sockopt};
use socket2::SockRef;

/// The result of [`accept`].
#[derive(Debug)]
pub enum Accepted {
    /// A connection, non-blocking and without Nagle's delay, and its other end.
    Connection(TcpStream, SocketAddr),
    /// No connection waits.
    Nobody,
    /// That one was gone before we came; there may be more.
    Gone,
    /// No descriptors or memory are left: others wait, but can't be accepted now.
    Exhausted(io::Error),
}

/// A non-blocking listener. An IPv6 address takes IPv6 alone, so that `[::]` and `0.0.0.0` can both be bound.
pub fn listen(address: SocketAddr, backlog: i32) -> io::Result<TcpListener> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = net::socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    net::bind(&socket, &address)?;
    net::listen(&socket, backlog)?;
    Ok(socket.into())
}

/// Accepts one connection, never waiting. It counts as full once the kernel holds so many bytes that are not yet on their
/// way.
pub fn accept(listener: &TcpListener, unsent: u32) -> Accepted {
    match net::acceptfrom_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
        Ok((socket, address)) => {
            let Some(Ok(peer)) = address.map(SocketAddr::try_from) else { return Accepted::Gone };
            // Refused only for a socket that is broken already; its first use will show that.
            let _ = sockopt::set_tcp_nodelay(&socket, true);
            let _ = SockRef::from(&socket).set_tcp_notsent_lowat(unsent);
            Accepted::Connection(socket.into(), peer)
        }
        Err(error) => refused(error),
    }
}

/// Sends up to `count` bytes of `file` from `offset`, which it moves; 0 is the end of the file.
pub fn send_file(socket: impl AsFd, file: &File, offset: &mut u64, count: usize) -> io::Result<usize> {
    Ok(rustix::fs::sendfile(socket, file, Some(offset), count)?)
}

/// Writes what there is room for of bytes that others follow at once, so that the kernel need not send half a packet.
pub fn send_more(socket: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    Ok(net::send(socket, bytes, SendFlags::MORE | SendFlags::NOSIGNAL)?)
}

/// Has the kernel end the connection with a reset when it is closed, and forget what it still holds for the other end.
pub fn reset_on_close(socket: &TcpStream) {
    // Refused only for a socket that is broken already.
    let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
}

/// Acknowledges at once what was read: the kernel would wait up to 40 ms for bytes of ours to go with it, and a sender
/// with Nagle's delay, as XMPP servers are, waits for that with its next stanza.
pub fn acknowledge(socket: impl AsFd) {
    // The kernel falls back to waiting by itself, and refuses it only for a socket that is broken anyway.
    let _ = sockopt::set_tcp_quickack(socket, true);
}

/// accept(2): errors of the network that already wait on the new socket are to be treated like `EAGAIN`.
fn refused(error: Errno) -> Accepted {
    match error {
        Errno::AGAIN => Accepted::Nobody,
        Errno::INTR
        | Errno::CONNABORTED
        | Errno::PERM
        | Errno::PROTO
        | Errno::NOPROTOOPT
        | Errno::OPNOTSUPP
        | Errno::NETDOWN
        | Errno::NETUNREACH
        | Errno::HOSTDOWN
        | Errno::HOSTUNREACH
        | Errno::NONET
        | Errno::TIMEDOUT => Accepted::Gone,
        // EMFILE, ENFILE, ENOBUFS, ENOMEM; and whatever we don't know must not become a busy loop.
        _ => Accepted::Exhausted(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::super::{Interest, wait};
    use super::*;

    const UNSENT: u32 = 99_999;

    fn any_port(address: &str) -> TcpListener {
        listen(address.parse().unwrap(), 16).unwrap()
    }

    fn accept_one(listener: &TcpListener) -> (TcpStream, SocketAddr) {
        wait(&[(listener.as_fd(), Interest::Read)], None).unwrap();
        match accept(listener, UNSENT) {
            Accepted::Connection(stream, peer) => (stream, peer),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_connection_is_accepted_without_waiting() {
        let listener = any_port("127.0.0.1:0");
        assert!(matches!(accept(&listener, UNSENT), Accepted::Nobody));
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut stream, peer) = accept_one(&listener);
        assert_eq!(peer, client.local_addr().unwrap());
        assert!(stream.nodelay().unwrap());
        assert_eq!(SockRef::from(&stream).tcp_notsent_lowat().unwrap(), UNSENT);
        assert_eq!(stream.read(&mut [0; 8]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn both_families_can_be_bound_to_one_port() {
        let any = || listen("[::]:0".parse().unwrap(), 16);
        if any().is_err() {
            return; // The machine has no IPv6.
        }
        // Another program may hold the port on IPv4, but hardly each that we are given.
        let bind_both = || {
            let six = any().unwrap();
            listen(SocketAddr::from(([0, 0, 0, 0], six.local_addr().unwrap().port())), 16)
        };
        let errors: Vec<_> = (0..20).map_while(|_| bind_both().err()).collect();
        let taken = |error: &io::Error| error.kind() == io::ErrorKind::AddrInUse;
        assert!(errors.len() < 20 && errors.iter().all(taken), "{errors:?}");
    }

    #[test]
    fn errors_of_accept_are_told_apart() {
        for error in [Errno::CONNABORTED, Errno::INTR, Errno::PROTO, Errno::PERM, Errno::NETDOWN] {
            assert!(matches!(refused(error), Accepted::Gone), "{error}");
        }
        for error in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS, Errno::INVAL] {
            assert!(matches!(refused(error), Accepted::Exhausted(_)), "{error}");
        }
        assert!(matches!(refused(Errno::AGAIN), Accepted::Nobody));
    }

    #[test]
    fn a_file_is_sent_from_an_offset_to_its_end() {
        let listener = any_port("127.0.0.1:0");
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = accept_one(&listener);
        let scratch = crate::testing::Scratch::new();
        let mut file =
            File::options().read(true).write(true).create_new(true).open(scratch.join("file")).unwrap();
        file.write_all(b"0123456789").unwrap();
        let mut offset = 4;
        assert_eq!(send_file(&stream, &file, &mut offset, 100).unwrap(), 6);
        assert_eq!((offset, send_file(&stream, &file, &mut offset, 100).unwrap()), (10, 0));
        drop(stream);
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        assert_eq!(text, "456789");
    }
}
