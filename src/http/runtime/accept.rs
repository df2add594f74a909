//! New connections: those that get a permit begin to wait for their first bytes, the others are turned away. Runs on threads
//! that hold turns.

use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::flow;
use super::listener::Listener;
use super::shared::Shared;
use crate::http::connection::Connection;
use crate::http::connection::stream::{Socket, Stream};
use crate::http::message::response::Response;
use crate::limits;
use crate::metrics::Route;
use crate::model::Refusal;

/// Accepts a few of the connections that wait at this listener.
pub fn accept(shared: &Shared, listener: &Listener) {
    let welcome = |stream, peer, tls| welcome(shared, stream, peer, tls);
    if listener.accept(shared.turns.epoll(), welcome) {
        shared.bell.ring();
    }
}

fn welcome(shared: &Shared, stream: TcpStream, peer: SocketAddr, tls: bool) {
    let peer = peer.ip().to_canonical();
    let limited = !shared.settings.trusted_proxies.iter().any(|proxies| proxies.contains(peer));
    let permit = shared.connections.take(limited.then_some(peer));
    match permit.and_then(|permit| Ok((permit, shared.table.place().ok_or(Refusal::Overloaded)?))) {
        Ok((permit, place)) => {
            let (stream, time) = first_stage(shared, stream, tls);
            let deadline = Instant::now() + time;
            let place = (place.token(), Box::new(place) as _);
            flow::rest(shared, Box::new(Connection::new(stream, peer, place, deadline, permit)));
            ring_for_the_first(shared);
        }
        // In TLS, nothing could be said yet.
        Err(refusal) if tls => shared.requests.of(Route::None).count(refusal.row().status),
        Err(refusal) => turn_away(shared, &stream, peer, refusal),
    }
}

fn first_stage(shared: &Shared, stream: TcpStream, tls: bool) -> (Stream, Duration) {
    let socket = Socket::new(stream);
    if tls {
        (Stream::Hello(socket), shared.settings.handshake_time)
    } else {
        (Stream::Plain(socket), shared.settings.head_time)
    }
}

/// Without connections, the clock thread sleeps.
fn ring_for_the_first(shared: &Shared) {
    if shared.connections.held() == 1 {
        shared.bell.ring();
    }
}

/// Refuses a connection that gets no permit. It can't linger, for that would need one. The bytes that have come are read,
/// because the kernel would reset the connection for unread ones.
fn turn_away(shared: &Shared, mut stream: &TcpStream, peer: IpAddr, refusal: Refusal) {
    let since = Instant::now();
    let bytes = stream.write(&Response::refusal(refusal).into_bytes()).unwrap_or(0) as u64;
    let _ = stream.shutdown(Shutdown::Write);
    let _ = stream.read(&mut [0; limits::HEAD_BYTES]);
    shared.dispatch.note_refusal(shared, peer, refusal, bytes, since);
}
