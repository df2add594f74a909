//! The thread `notices`: it listens for the notices of other nodes and forwards them. After each gap it says that it listens
//! again, so that missed changes are read.

use std::collections::BTreeSet;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;

use super::status::ClusterStatus;
use super::{Work, is_wanted};
use crate::error::Result;
use crate::limits;
use crate::store::{DedicatedConnection, DedicatedConnections, Notice};

/// The kinds of notices that came and are not taken yet. However many come, the thread `cluster` is woken once. Cheap to
/// clone.
#[derive(Clone)]
pub(super) struct HeardNotices {
    kinds: Arc<Mutex<BTreeSet<Notice>>>,
    queue: Sender<Work>,
}

impl HeardNotices {
    pub fn new(queue: Sender<Work>) -> Self {
        Self { kinds: Arc::default(), queue }
    }

    /// A notice came.
    pub fn hear(&self, notice: Notice) {
        let mut kinds = self.lock();
        let is_first = kinds.is_empty();
        kinds.insert(notice);
        if is_first {
            self.forward(Work::Notices);
        }
    }

    /// Takes them; to be called for each [`Work::Notices`].
    pub fn take(&self) -> BTreeSet<Notice> {
        std::mem::take(&mut *self.lock())
    }

    fn forward(&self, work: Work) {
        // Without the thread `cluster` the process ends.
        let _ = self.queue.send(work);
    }

    /// A panic leaves no state half changed.
    fn lock(&self) -> MutexGuard<'_, BTreeSet<Notice>> {
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct Listener {
    connections: DedicatedConnections,
    heard: HeardNotices,
    status: Arc<ClusterStatus>,
    owner: Weak<()>,
}

impl Listener {
    pub fn new(
        connections: DedicatedConnections,
        heard: HeardNotices,
        status: Arc<ClusterStatus>,
        owner: Weak<()>,
    ) -> Self {
        Self { connections, heard, status, owner }
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
        self.heard.forward(Work::Listening);
        while is_wanted(&self.owner) {
            self.await_notices(&mut connection)?;
        }
        Ok(())
    }

    fn await_notices(&self, connection: &mut DedicatedConnection) -> Result<()> {
        let heard = self.heard.clone();
        connection.await_notices(limits::NOTICES_PERIOD, move |notice| heard.hear(notice))
    }
}
