//! What is done when something comes for a listener or a connection that rests, by the front or by a worker that looks for
//! work.

use std::sync::Arc;
use std::time::Instant;

use super::connection::{Collected, Connection, Stage};
use super::edge::Edge;
use super::entrance::LISTENERS;
use super::seats::lock;
use super::workers::{Found, Job};
use crate::limits;
use crate::sys::Events;

/// The token of the waker; those below are listeners, those above connections.
pub(super) const WAKER: u64 = LISTENERS;

/// What a connection is ready for.
pub(super) enum Work {
    Handshake(Box<Connection>),
    Request(Box<Connection>),
}

impl Edge {
    /// Waits on a worker for the next event, and sees to it.
    pub fn look(self: &Arc<Self>, deadline: Instant) -> Found {
        let mut events = Events::with_room(1);
        // Only a bug can make it fail, of which the front tells.
        let _ = self.epoll.wait(&mut events, Some(deadline));
        match events.reports().next() {
            // It is the front that is called.
            None | Some((WAKER, _)) => Found::Nothing,
            Some(report) => match self.see_to(report, &mut [0; limits::HEAD_BYTES]) {
                Some(work) => Found::Job(self.job(work)),
                None => Found::Done,
            },
        }
    }

    fn job(self: &Arc<Self>, work: Work) -> Job {
        let edge = Arc::clone(self);
        match work {
            Work::Handshake(connection) => Box::new(|| Self::shake((edge, connection))),
            Work::Request(mut connection) => {
                connection.since = Instant::now();
                Box::new(|| Self::serve((edge, connection)))
            }
        }
    }

    /// Something came for a listener or a connection, or it broke. Gives what takes a worker.
    pub fn see_to(self: &Arc<Self>, (token, ended): (u64, bool), scratch: &mut [u8]) -> Option<Work> {
        if token < LISTENERS {
            lock(&self.entrance).accept(token, self);
            return None;
        }
        let woken = lock(&self.resting).remove(&token);
        let Some(mut connection) = woken else {
            // Without an end, it is an old report of a connection that another thread has taken since.
            if ended {
                self.hung_up(token);
            }
            return None;
        };
        match connection.stage {
            Stage::Handshake => return Some(Work::Handshake(connection)),
            Stage::Head(begun) => return self.collect(connection, begun, scratch),
            Stage::Answer(then, _) => Self::deliver(self, connection, then),
            Stage::Linger(_) => {
                if connection.drain(scratch) {
                    self.rest(connection);
                }
            }
        }
        None
    }

    /// The client of a parked exchange has hung up, as it seems; or a connection was closed since it was reported.
    fn hung_up(&self, token: u64) {
        let watched = lock(&self.watched).remove(&token);
        if let Some(hung_up) = watched {
            hung_up();
        }
    }

    fn collect(&self, mut connection: Box<Connection>, begun: bool, scratch: &mut [u8]) -> Option<Work> {
        match connection.collect(scratch) {
            Ok(Collected::Whole) => return Some(Work::Request(connection)),
            Ok(Collected::Part) => {
                if !begun && connection.has_begun() {
                    connection.since = Instant::now();
                    connection.stage = Stage::Head(true);
                    connection.deadline = connection.since + self.settings.head_time;
                }
                self.rest(connection);
            }
            Ok(Collected::Closed) => {}
            Err(refusal) => self.refuse(connection, refusal),
        }
        None
    }
}
