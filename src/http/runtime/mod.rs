//! The threads of a server, and the way of a connection from event to event.
//!
//! Worker threads hold turns: they wait in one epoll and handle each event to its end (`turns.rs`, by the rules in
//! `pool.rs`). The clock thread looks at deadlines (`clock.rs`). `flow.rs` has the way of a connection from one event to the
//! next, `table.rs` the place where it rests in between.

pub mod accept;
pub mod bell;
pub mod clock;
pub mod flow;
pub mod listener;
pub mod pool;
pub mod resume;
pub mod shared;
pub mod table;
pub mod turns;

use std::sync::Arc;

use resume::Job;
use shared::Shared;
use table::OTHER_TOKENS;
use turns::{Host, Report, Turns};

/// The token of the waker that ends the threads.
pub const END: u64 = u64::MAX;
/// The token of the queue of decided requests.
pub const RESUMED: u64 = u64::MAX - 1;

impl Host for Shared {
    fn turns(&self) -> &Turns {
        &self.turns
    }

    fn handle(self: &Arc<Self>, (token, ended): Report) {
        match token {
            END => {}
            RESUMED => match self.resumed.take() {
                Some(Job::Short(job)) => job(),
                Some(Job::MayWait(job)) => turns::leave(self, job),
                None => {}
            },
            OTHER_TOKENS.. => {
                let listener = self.listeners.iter().find(|listener| listener.token() == token);
                if let Some(listener) = listener {
                    accept::accept(self, listener);
                }
            }
            _ => flow::event(self, token, ended),
        }
    }

    fn put_back(self: &Arc<Self>, report: Report) {
        let shared = Arc::clone(self);
        self.resumed.run(move || shared.handle(report));
    }

    fn may_be_stuck(&self) {
        self.bell.ring_if_drowsy();
    }
}
