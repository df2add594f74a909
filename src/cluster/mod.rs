//! Several nodes on one PostgreSQL database. One of them holds the component's XMPP stream. The others check that it is
//! alive; if it is not, one of them takes the stream over.
//!
//! Two threads: `cluster` does all database work, fed by a queue, and `notices` listens for the notices of other nodes.
//! Each waits for PostgreSQL for a bounded time. A single node has neither.

mod holding;
mod name;
mod notices;
mod prompts;
mod status;
#[cfg(test)]
mod tests;
mod thread;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Weak};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use crate::access::{NodeDoor, NodeEvent};
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::store::PostgresSettings;
use crate::xmpp::Lease;

use holding::Holding;
pub use name::NodeSession;
use notices::{HeardNotices, Listener};
use prompts::Prompts;
pub use status::{ClusterState, ClusterStatus};
use thread::ClusterThread;

/// This node among the others.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The node's name, which no other node has.
    pub node: String,
    /// The component whose stream one node holds.
    pub component: String,
    /// The database that all nodes share.
    pub database: PostgresSettings,
    /// The times of the stream's beats and leases.
    pub times: Times,
}

/// The times of the stream's beats and leases.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Between two beats of the holder, and two looks of the others.
    pub beat: Duration,
    /// How long the stream may be held after a confirmed beat was sent.
    pub lease: Duration,
    /// How old a beat is when another node may take the stream; above `lease`.
    pub stale: Duration,
    /// The pause after a failure.
    pub retry: Duration,
    /// How long the holder may be logged out, while another node reaches the XMPP server, before it gives the stream up.
    pub patience: Duration,
    /// How long a node that gave the stream up for that reason leaves it to other nodes.
    pub back_off: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            beat: limits::CLUSTER_BEAT,
            lease: limits::CLUSTER_LEASE,
            stale: limits::CLUSTER_STALE,
            retry: limits::CLUSTER_RETRY,
            patience: limits::CLUSTER_PATIENCE,
            back_off: limits::CLUSTER_BACK_OFF,
        }
    }
}

/// Something that the thread `cluster` does.
#[derive(Debug)]
pub enum Work {
    /// Notices came since the thread last took them.
    Notices,
    /// The listener is up, after notices may have been missed.
    Listening,
    /// The gate has an event for the other nodes.
    Gate(NodeEvent),
    /// The thread gives the stream up and ends.
    Stop,
}

/// Data to read again because another node, or a command, may have changed it.
pub type OnChange = Box<dyn Fn(Changed) + Send>;

/// Has the process end, as one of the threads can't go on.
pub type OnFatal = Box<dyn Fn(Error) + Send + Sync>;

/// The calls of the threads to the rest of the server.
pub struct Calls {
    /// Called on the thread `cluster`, which it must not block.
    pub on_change: OnChange,
    /// Called by a thread that ends: another server has the name of this node, or the thread panicked.
    pub on_fatal: OnFatal,
}

/// Rows that are kept in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Changed {
    /// The keys of tokens.
    Keys,
    /// The epochs of users.
    Epochs,
    /// The blocks of users.
    Blocks,
}

impl Changed {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Keys, Self::Epochs, Self::Blocks];
}

/// The work of the thread `cluster`. It is made before the thread starts, so that the gate can hand work to it.
pub struct WorkQueue {
    sender: Sender<Work>,
    receiver: Receiver<Work>,
}

impl WorkQueue {
    /// An empty queue.
    #[allow(clippy::new_without_default, reason = "a queue is no value that something could have by default")]
    pub fn new() -> Self {
        let (sender, receiver) = mpsc::channel();
        Self { sender, receiver }
    }

    /// The way to hand work to the thread.
    pub fn sender(&self) -> Sender<Work> {
        self.sender.clone()
    }
}

/// The two threads.
pub struct Cluster {
    queue: Sender<Work>,
    status: Arc<ClusterStatus>,
    thread: JoinHandle<()>,
    /// Dropped, it ends the thread `notices` within some seconds.
    _listening: Arc<()>,
}

impl Cluster {
    /// Starts the threads. Where they are not connected, they try for ever. `lease` is granted while this node may hold the
    /// stream, and `door` is told.
    pub fn start(
        settings: Settings,
        session: NodeSession,
        work: WorkQueue,
        lease: Lease,
        door: Arc<dyn NodeDoor>,
        calls: Calls,
    ) -> Result<Self> {
        let WorkQueue { sender: queue, receiver } = work;
        let Calls { on_change, on_fatal } = calls;
        let status = Arc::new(ClusterStatus::new(&settings.node));
        let listening = Arc::new(());
        let heard = HeardNotices::new(queue.clone());
        let listener = Listener::new(
            session.connections.clone(),
            heard.clone(),
            Arc::clone(&status),
            Arc::downgrade(&listening),
        );
        let times = settings.times;
        let prompts = Prompts::new(Arc::clone(&door), settings.node.clone(), settings.component.clone());
        let holding = Holding::new(settings, lease, door, Arc::clone(&status));
        let parts = (holding, prompts);
        let thread =
            ClusterThread::new(session, (receiver, heard), parts, times, Arc::clone(&status), on_change);
        let on_fatal = Arc::new(on_fatal);
        let listen = move || {
            listener.run();
            Ok(())
        };
        spawn("notices", Arc::clone(&on_fatal), listen)?;
        let thread = spawn("cluster", on_fatal, move || thread.run())?;
        Ok(Self { queue, status, thread, _listening: listening })
    }

    /// The status of the nodes.
    pub fn status(&self) -> Arc<ClusterStatus> {
        Arc::clone(&self.status)
    }

    /// Ends the stream and gives it up, so that another node takes it at once. Blocks for a bounded time.
    pub fn stop(self) {
        // A thread that has ended takes no work; then there is nothing to wait for either.
        let _ = self.queue.send(Work::Stop);
        // A panic is told already.
        let _ = self.thread.join();
    }
}

/// A thread whose failure ends the process: without it, others would wait for what it does no more.
fn spawn(
    name: &'static str,
    on_fatal: Arc<OnFatal>,
    run: impl FnOnce() -> Result<()> + Send + 'static,
) -> Result<JoinHandle<()>> {
    let run = move || {
        let end = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
            let text =
                format!("the thread {name} panicked, which is a bug: the server ends, to be started again");
            Err(Error::new(Kind::Failure, text))
        });
        if let Err(error) = end {
            on_fatal(error);
        }
    };
    let thread = Builder::new().name(name.to_owned()).stack_size(limits::WORKER_STACK);
    thread.spawn(run).map_err(|cause| Error::io("can't start the threads of several nodes", cause))
}

/// Whether the owner of the threads is still there.
fn is_wanted(owner: &Weak<()>) -> bool {
    owner.strong_count() > 0
}
