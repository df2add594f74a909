//! What is done when something comes for a listener or a connection that rests, by the front or by a worker that looks for
//! work.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use super::edge::Edge;
use super::entrance::LISTENERS;
use crate::http::connection::{Collected, Connection, Stage};
use crate::http::limits::permits::lock;
use crate::limits;
use crate::sys::Events;

/// The token of the waker; those below are listeners, those above connections.
pub const WAKER: u64 = LISTENERS;

impl Edge {
    /// Waits on a worker for the next events, and sees to them; whether there were any.
    pub fn look(self: &Arc<Self>, deadline: Instant) -> bool {
        let mut events = Events::with_room(limits::LOOK_EVENTS);
        // Only a bug can make it fail, of which the front tells.
        let _ = self.epoll.wait(&mut events, Some(deadline));
        let (mut found, mut scratch) = (false, [0; limits::HEAD_BYTES]);
        // The waker calls the front.
        for report in events.reports().filter(|(token, _)| *token != WAKER) {
            found = true;
            self.see_to(report, &mut scratch);
        }
        found
    }

    /// Something came for a listener or a connection, or it broke. What takes a worker goes into their queue. A panic costs
    /// that connection, and none of those reported with it.
    pub fn see_to(self: &Arc<Self>, report: (u64, bool), scratch: &mut [u8]) {
        if catch_unwind(AssertUnwindSafe(|| self.handle(report, scratch))).is_err() {
            log::error!("a connection ended in a panic");
        }
    }

    fn handle(self: &Arc<Self>, (token, ended): (u64, bool), scratch: &mut [u8]) {
        if token < LISTENERS {
            return lock(&self.entrance).accept(token, self);
        }
        let woken = lock(&self.resting).remove(&token);
        let Some(mut connection) = woken else {
            // Without an end, it is an old report of a connection that another thread has taken since.
            if ended {
                self.hung_up(token);
            }
            return;
        };
        match connection.stage {
            Stage::Handshake => self.enqueue_handshake(connection),
            Stage::Head(begun) => self.collect(connection, begun, scratch),
            Stage::Answer(then, _) => Self::deliver(self, connection, then),
            Stage::Linger(_) => {
                if connection.drain(scratch) {
                    self.rest(connection);
                }
            }
        }
    }

    /// The client of a parked exchange has hung up, as it seems; or a connection was closed since it was reported.
    fn hung_up(&self, token: u64) {
        let watched = lock(&self.watched).remove(&token);
        if let Some(hung_up) = watched {
            hung_up();
        }
    }

    fn collect(self: &Arc<Self>, mut connection: Box<Connection>, begun: bool, scratch: &mut [u8]) {
        match connection.collect(scratch) {
            Ok(Collected::Whole) => self.enqueue(connection),
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
    }
}
