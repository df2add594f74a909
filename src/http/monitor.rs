//! A server as those who watch it see it.

use std::sync::Arc;

use super::connection::Stage;
use super::limits::permits::lock;
use super::runtime::edge::Edge;
use crate::metrics::Requests;

/// The way to see what a [`super::Server`] does. Nothing of it is copied while nobody looks.
pub struct Monitor(pub(super) Arc<Edge>);

/// What a server does at the moment, each beside the most that it takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// Open connections.
    pub connections: (usize, usize),
    /// Those of them that wait for a request.
    pub idle: usize,
    /// Requests whose bodies are read.
    pub uploads: (usize, usize),
    /// Large answers that are sent.
    pub downloads: (usize, usize),
    /// Threads that serve a request, beside those there may be.
    pub workers: (usize, usize),
    /// Requests that wait for a thread.
    pub queued: usize,
}

impl Monitor {
    /// What was answered since the start.
    pub fn requests(&self) -> &Requests {
        &self.0.requests
    }

    /// What it does at the moment.
    pub fn activity(&self) -> Activity {
        let edge = &*self.0;
        let resting = lock(&edge.resting);
        let idle = resting.values().filter(|connection| connection.stage == Stage::Head(false)).count();
        // No lock is taken while that one is held.
        drop(resting);
        let workers = edge.workers.activity();
        Activity {
            connections: (edge.seats.taken(), edge.seats.most()),
            idle,
            uploads: (edge.uploads.taken(), edge.uploads.most()),
            downloads: (edge.downloads.taken(), edge.downloads.most()),
            workers: (workers.busy, workers.most),
            queued: workers.queued,
        }
    }
}
