//! The thread `notices`: it listens for the notices of other nodes and forwards them. After each gap it says that it listens
//! again, so that missed changes are read.

use std::sync::mpsc::Sender;
use std::sync::{Arc, Weak};
use std::thread;

use super::status::ClusterStatus;
use super::{Work, is_wanted};
use crate::error::Result;
use crate::limits;
use crate::store::{DedicatedConnection, DedicatedConnections};

pub(super) struct Listener {
    connections: DedicatedConnections,
    queue: Sender<Work>,
    status: Arc<ClusterStatus>,
    owner: Weak<()>,
}

impl Listener {
    pub fn new(
        connections: DedicatedConnections,
        queue: Sender<Work>,
        status: Arc<ClusterStatus>,
        owner: Weak<()>,
    ) -> Self {
        Self { connections, queue, status, owner }
    }

    pub fn run(self) {
        let mut is_logged = false;
        while is_wanted(&self.owner) {
            if let Err(error) = self.listen(&mut is_logged)
                && !std::mem::replace(&mut is_logged, true)
            {
                log::warn!("no notices of other nodes come in, so the tables are read each second: {error}");
            }
            self.status.set_listening(false);
            thread::sleep(limits::DATABASE_RETRY);
        }
    }

    /// Listens until the connection breaks. `is_logged` says whether the log tells of this outage.
    fn listen(&self, is_logged: &mut bool) -> Result<()> {
        let mut connection = self.connections.open()?;
        connection.listen()?;
        self.status.set_listening(true);
        *is_logged = false;
        log::info!("the notices of other nodes come in");
        self.forward(Work::Listening);
        while is_wanted(&self.owner) {
            self.await_notices(&mut connection)?;
        }
        Ok(())
    }

    fn await_notices(&self, connection: &mut DedicatedConnection) -> Result<()> {
        let queue = self.queue.clone();
        connection.await_notices(limits::NOTICES_PERIOD, move |notice| {
            let _ = queue.send(Work::Notice(notice));
        })
    }

    fn forward(&self, work: Work) {
        // Without the thread `cluster` the process ends.
        let _ = self.queue.send(work);
    }
}
