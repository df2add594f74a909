//! The name of this node: a lock in PostgreSQL, in the session of the thread `cluster`. A second server with the same
//! `node.name` does not get it and ends. The main thread takes it at the start, and the thread `cluster` in each new session.

use std::thread;
use std::time::{Duration, Instant};

use super::Settings;
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::store::{self, DedicatedConnection, DedicatedConnections, NameLock, NameOwner};

/// This node's lock of its name.
pub(super) struct NameClaim {
    node: String,
    /// After this time a silent session belongs to no server that runs.
    stale: Duration,
    /// Whether the session of the present connection has the lock.
    is_held: bool,
    /// The process of PostgreSQL that had the lock for us last.
    own: Option<i64>,
    /// Since when another session is in the way.
    waiting: Option<Instant>,
}

/// The result of an attempt to lock the name.
pub(super) enum NameState {
    Held,
    /// Another session has it, which may belong to no server any more.
    Awaited,
    /// A server that runs has it. This one must end.
    Taken(Error),
}

impl NameClaim {
    fn new(node: String, stale: Duration) -> Self {
        Self { node, stale, is_held: false, own: None, waiting: None }
    }

    /// Whether the session of the present connection has the lock.
    pub fn is_held(&self) -> bool {
        self.is_held
    }

    /// The connection is gone, and the lock with it.
    pub fn disconnected(&mut self) {
        self.is_held = false;
    }

    /// Locks the name on this connection, unless that is done. A silent session that has it is ended.
    pub fn hold(&mut self, connection: &mut DedicatedConnection) -> Result<NameState> {
        if self.is_held {
            return Ok(NameState::Held);
        }
        let node = self.node.clone();
        match connection.run(move |session| store::lock_name(session, &node))? {
            NameLock::Ours(pid) => {
                (self.is_held, self.own, self.waiting) = (true, Some(pid), None);
                Ok(NameState::Held)
            }
            NameLock::Other(None) => Ok(NameState::Awaited),
            NameLock::Other(Some(owner)) => self.wait_for(&owner, connection),
        }
    }

    /// A session of ours that we gave up need not be silent for long.
    fn wait_for(&mut self, owner: &NameOwner, connection: &mut DedicatedConnection) -> Result<NameState> {
        let waited = self.waiting.get_or_insert_with(Instant::now).elapsed();
        let is_own = self.own == Some(owner.pid);
        if !is_own && is_alive(owner, waited, self.stale) {
            return Ok(NameState::Taken(taken(&self.node, owner)));
        }
        let silent = if is_own { Duration::ZERO } else { self.stale };
        let (node, pid) = (self.node.clone(), owner.pid);
        if connection.run(move |session| store::end_name_owner(session, &node, pid, silent))? {
            log::warn!(
                "process {pid} of PostgreSQL is terminated: it has the name of this node, and its server is gone"
            );
        }
        Ok(NameState::Awaited)
    }
}

/// Whether the server of this session runs. The session of one that is gone does nothing new: what it did when we began to
/// wait has ended meanwhile.
fn is_alive(owner: &NameOwner, waited: Duration, stale: Duration) -> bool {
    match owner.silent {
        Some(silent) if silent < stale => waited > silent + limits::CLUSTER_ANSWER,
        // It is told to end, or PostgreSQL does not tell what it does.
        _ => waited > 2 * stale,
    }
}

fn taken(node: &str, owner: &NameOwner) -> Error {
    let NameOwner { pid, address, .. } = owner;
    let address = address.as_ref().map(|address| format!(", connected from {address}")).unwrap_or_default();
    let text = format!(
        "another server with node.name={node} uses this database (process {pid} of PostgreSQL{address}): give each node a \
         node.name of its own"
    );
    Error::new(Kind::Failure, text)
}

/// The connection of the thread `cluster`, with the name of this node locked, where the database could be reached.
pub struct NodeSession {
    pub(super) connections: DedicatedConnections,
    pub(super) connection: Option<DedicatedConnection>,
    pub(super) name: NameClaim,
}

impl NodeSession {
    /// A session that the thread opens later.
    pub fn later(settings: &Settings) -> Self {
        let connections = DedicatedConnections::new(&settings.database);
        let name = NameClaim::new(settings.node.clone(), settings.times.stale);
        Self { connections, connection: None, name }
    }

    /// Connects, and locks the name. If the session of a server that is gone has it, this waits some seconds.
    ///
    /// # Errors
    /// [`Kind::Failure`] if another server has the name.
    pub fn open(settings: &Settings) -> Result<Self> {
        let mut session = Self::later(settings);
        match session.connect(settings.times.retry) {
            Ok(None) => Ok(session),
            Ok(Some(taken)) => Err(taken),
            // The thread tries again, and logs why that fails.
            Err(_) => Ok(Self::later(settings)),
        }
    }

    /// Gives the error of a name that is taken.
    fn connect(&mut self, pause: Duration) -> Result<Option<Error>> {
        let mut connection = self.connections.open()?;
        loop {
            match self.name.hold(&mut connection)? {
                NameState::Held => break,
                NameState::Awaited => thread::sleep(pause),
                NameState::Taken(error) => return Ok(Some(error)),
            }
        }
        self.connection = Some(connection);
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_session_that_does_something_new_is_alive() {
        let owner = |silent| NameOwner { pid: 1, address: None, silent };
        let stale = 5 * SECOND;
        let table = [
            // Its last statement may have been under way when we came.
            (Some(SECOND), SECOND, false),
            (Some(SECOND), 3 * SECOND, false),
            (Some(SECOND / 2), 3 * SECOND, true),
            (Some(4 * SECOND), 5 * SECOND, false),
            // It is ended.
            (Some(5 * SECOND), 5 * SECOND, false),
            (Some(9 * SECOND), 9 * SECOND, false),
            (Some(11 * SECOND), 11 * SECOND, true),
            (None, 9 * SECOND, false),
            (None, 11 * SECOND, true),
        ];
        for (silent, waited, expected) in table {
            assert_eq!(is_alive(&owner(silent), waited, stale), expected, "{silent:?} {waited:?}");
        }
    }
}
