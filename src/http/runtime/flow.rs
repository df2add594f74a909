//! The way of a connection from one event to the next. Threads with and without turns call these functions, and the
//! clock thread; none of the functions waits.

use std::io::{self, Write};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use super::shared::Shared;
use super::table::Found;
use super::turns;
use crate::http::connection::sending::{Progress, Sending, Then};
use crate::http::connection::{Collected, Connection, Stage};
use crate::http::message::response::Response;
use crate::limits;
use crate::model::Refusal;
use crate::remote::Fetched;
use crate::sys::Interest;

/// Lets a connection rest until the event that its stage waits for.
pub fn rest(shared: &Shared, connection: Box<Connection>) {
    let may_rest = |connection: &Connection| {
        !(shared.halt.is_set() || (shared.is_stopping() && connection.stage.is_idle()))
    };
    let refused = shared.table.rest(connection, may_rest, |connection| connection.arm(shared.turns.epoll()));
    // It is closed outside the slot's lock.
    drop(refused);
}

/// Something came for a connection, or it broke.
pub fn event(shared: &Arc<Shared>, token: u64, ended: bool) {
    match shared.table.take(token, ended) {
        Found::Connection(connection) if connection.stage == Stage::Fetch && ended => drop(connection),
        Found::Connection(connection) => go_on(shared, connection),
        Found::HungUp(hung_up) => hung_up(),
        Found::Nobody => {}
    }
}

fn go_on(shared: &Arc<Shared>, mut connection: Box<Connection>) {
    match connection.stage {
        Stage::Handshake => handshake(shared, connection),
        Stage::Head { .. } => collect(shared, connection),
        Stage::Pipelined => serve(shared, connection),
        Stage::Response => send_on(shared, connection),
        // An event for an earlier stage.
        Stage::Fetch => fetch_again(shared, connection),
        Stage::Linger(_) => {
            if connection.drain() {
                rest(shared, connection);
            }
        }
    }
}

/// The connection is past its deadline: ends it, with a word where half a request has come, else silently.
pub fn expire(shared: &Arc<Shared>, connection: Box<Connection>) {
    match connection.stage {
        Stage::Head { begun: true } => refuse(shared, connection, Refusal::TooSlow),
        // Linux reports a socket writable only when a third of its buffer is free. So it is tried now and then.
        Stage::Response => send_on(shared, connection),
        Stage::Pipelined | Stage::Fetch => connection.reset(),
        Stage::Handshake | Stage::Head { begun: false } | Stage::Linger(_) => {}
    }
}

/// Takes the next step of a TLS handshake. It computes for a millisecond, and so does not hold a turn.
fn handshake(shared: &Arc<Shared>, connection: Box<Connection>) {
    let inner = Arc::clone(shared);
    turns::leave(
        shared,
        Box::new(move |admitted| {
            // Refused without a word: there is no HTTP to say it in yet.
            if admitted {
                shake(&inner, connection);
            }
        }),
    );
}

fn shake(shared: &Arc<Shared>, mut connection: Box<Connection>) {
    let acceptor = shared.acceptor.read().unwrap_or_else(PoisonError::into_inner).clone();
    let Some(acceptor) = acceptor else { return };
    match connection.stream.handshake(&acceptor) {
        Ok(true) => next(shared, connection),
        Ok(false) => {
            connection.interest = connection.stream.awaits();
            rest(shared, connection);
        }
        Err(error) => log::debug!("{}: TLS handshake failed: {error}", connection.peer),
    }
}

/// Reads the bytes of a head that have come, and serves the head if it is whole.
fn collect(shared: &Arc<Shared>, mut connection: Box<Connection>) {
    match connection.collect() {
        Ok(Collected::Whole) => serve(shared, connection),
        Ok(Collected::Part) => await_rest_of_head(shared, connection),
        Ok(Collected::Closed) => {}
        Err(refusal) => refuse(shared, connection, refusal),
    }
}

fn await_rest_of_head(shared: &Shared, mut connection: Box<Connection>) {
    if connection.stage == (Stage::Head { begun: false }) && connection.has_begun() {
        connection.since = Instant::now();
        connection.stage = Stage::Head { begun: true };
        connection.deadline = connection.since + shared.settings.head_time;
    }
    rest(shared, connection);
}

fn serve(shared: &Arc<Shared>, mut connection: Box<Connection>) {
    connection.since = Instant::now();
    shared.dispatch.serve(shared, connection);
}

/// After a response: on to the next request, or to the end.
pub fn after(shared: &Arc<Shared>, connection: Box<Connection>, then: Then) {
    match then {
        Then::Next => next(shared, connection),
        Then::Close => close(connection),
        Then::Linger => linger(shared, connection),
    }
}

fn close(mut connection: Box<Connection>) {
    connection.stream.close_write();
}

/// On to the next request. If its head is there already, the connection yields to the others, and it goes on once the
/// client has taken most of the response before.
fn next(shared: &Arc<Shared>, mut connection: Box<Connection>) {
    let found = match connection.has_head() {
        // Epoll knows nothing of the bytes that TLS has decrypted.
        Ok(false) if connection.stream.is_tls() => connection.collect(),
        Ok(true) => Ok(Collected::Whole),
        Ok(false) => Ok(Collected::Part),
        Err(refusal) => Err(refusal),
    };
    match found {
        Ok(Collected::Whole) => {
            connection.stage = Stage::Pipelined;
            connection.interest = Interest::Write;
            connection.deadline = Instant::now() + shared.settings.pace.idle;
            rest(shared, connection);
        }
        Ok(Collected::Part) => await_head(shared, connection),
        Ok(Collected::Closed) => {}
        Err(refusal) => refuse(shared, connection, refusal),
    }
}

fn await_head(shared: &Shared, mut connection: Box<Connection>) {
    let begun = connection.has_begun();
    // Behind a handshake a request is due, as behind an accept.
    let due = begun || connection.stage == Stage::Handshake;
    let time = if due { shared.settings.head_time } else { shared.settings.keep_alive_time };
    connection.stage = Stage::Head { begun };
    connection.interest = Interest::Read;
    connection.deadline = Instant::now() + time;
    rest(shared, connection);
}

/// Lets a response that the client does not take now rest with its connection.
pub fn await_room(shared: &Shared, mut connection: Box<Connection>, sending: Box<Sending>) {
    connection.stage = Stage::Response;
    connection.interest = sending.interest(&connection.stream);
    connection.deadline = Instant::now() + sending.patience();
    connection.sending = Some(sending);
    rest(shared, connection);
}

/// Lets a response rest with its connection while its next bytes are fetched.
pub fn await_block(shared: &Arc<Shared>, mut connection: Box<Connection>, sending: Box<Sending>) {
    let Some(fetch) = sending.fetch() else { return };
    connection.stage = Stage::Fetch;
    connection.interest = Interest::Break;
    connection.deadline = Instant::now() + limits::BLOCK_TIME;
    connection.sending = Some(sending);
    let token = connection.token();
    // It rests before the callback may run.
    rest(shared, connection);
    let shared = Arc::downgrade(shared);
    fetch(Box::new(move |fetched| {
        if let Some(shared) = shared.upgrade() {
            let resumed = shared.resumed.clone();
            resumed.run(move || block_came(&shared, token, fetched));
        }
    }));
}

/// The next bytes of a response were fetched, or could not be.
fn block_came(shared: &Arc<Shared>, token: u64, fetched: Fetched) {
    let Found::Connection(mut connection) = shared.table.take(token, false) else { return };
    if connection.stage != Stage::Fetch {
        // An earlier call has brought its block.
        return go_on(shared, connection);
    }
    let Some(mut sending) = connection.sending.take() else { return };
    match fetched {
        Ok(block) => {
            let progress = sending.send_fetched(block, &mut connection.stream);
            progressed(shared, connection, sending, progress);
        }
        // The connection is cut, so the client knows that it has not got all.
        Err(error) => log::debug!("a response ends early, for its next block was not fetched: {error:?}"),
    }
}

fn fetch_again(shared: &Arc<Shared>, mut connection: Box<Connection>) {
    if let Some(sending) = connection.sending.take() {
        await_block(shared, connection, sending);
    }
}

/// Sends on what rests of a response.
fn send_on(shared: &Arc<Shared>, mut connection: Box<Connection>) {
    let Some(mut sending) = connection.sending.take() else { return };
    let progress = sending.send_on(&mut connection.stream);
    progressed(shared, connection, sending, progress);
}

fn progressed(
    shared: &Arc<Shared>,
    connection: Box<Connection>,
    sending: Box<Sending>,
    progress: io::Result<Progress>,
) {
    match progress {
        Ok(Progress::Sent) => {
            let then = sending.then();
            drop(sending);
            after(shared, connection, then);
        }
        Ok(Progress::Waits) => await_room(shared, connection, sending),
        Ok(Progress::Fetches) => await_block(shared, connection, sending),
        Err(error) => {
            log::debug!("a response was not sent completely: {error}");
            if Refusal::in_io(&error).is_some() {
                connection.reset();
            }
        }
    }
}

/// Refuses in the name of the edge. One write that never waits: it goes into an empty socket buffer.
pub fn refuse(shared: &Shared, mut connection: Box<Connection>, refusal: Refusal) {
    let bytes = Response::refusal(refusal).into_bytes();
    let sent = connection.stream.write(&bytes).unwrap_or(0);
    shared.dispatch.note_refusal(shared, connection.peer, refusal, sent as u64, connection.since);
    linger(shared, connection);
}

/// Closes in two steps, so that the client reads the response and not a reset (RFC 9112 section 9.6).
fn linger(shared: &Shared, mut connection: Box<Connection>) {
    connection.close_write(Instant::now() + shared.settings.linger_time);
    rest(shared, connection);
}
