//! Threads of connections. The client library has no time limit: it waits for as long as a server hangs. So each connection
//! lives on a thread of its own, named `postgres`, and the caller waits for that thread with a limit. A thread that is
//! given up ends with its connection: when the server goes on, or when the kernel finds that it is gone. The number of
//! such threads is bounded.

use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use postgres::Client;

use super::connection::Connection;
use super::fault::silence;
use crate::error::{Error, Kind, Result};
use crate::limits;

/// A job for the thread of a connection. It puts its value where its owner finds it, so the code around it is compiled once
/// and not for each type of value.
pub(super) type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// A job, and the place where it puts its value.
pub(super) fn with_value<T: Send + 'static>(
    job: impl FnOnce(&mut Connection) -> T + Send + 'static,
) -> (Job, Arc<Mutex<Option<T>>>) {
    let value = Arc::new(Mutex::new(None));
    let slot = Arc::clone(&value);
    (Box::new(move |connection| put(&slot, job(connection))), value)
}

fn put<T>(slot: &Mutex<Option<T>>, value: T) {
    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
}

pub(super) fn take<T>(slot: &Mutex<Option<T>>) -> Option<T> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// How a job ended.
pub(super) enum Performed {
    /// It is done.
    Done,
    /// The server does not answer on this connection; here the job is back.
    NotBegun(Job),
    /// It took too long, or ended without a result; it may have been done all the same.
    Lost,
}

/// A connection as the pool has it: the way to its thread.
pub(super) struct ConnectionThread {
    jobs: mpsc::Sender<Job>,
    broken: bool,
}

impl ConnectionThread {
    /// Starts a thread, which makes its connection, at most for this long. It keeps `alive` to its end.
    pub(super) fn connect(
        within: Duration,
        connect: impl FnOnce() -> Result<Client> + Send + 'static,
        alive: Arc<()>,
    ) -> Result<Self> {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let (sender, made) = mpsc::sync_channel(1);
        let body = move || {
            let _alive = alive;
            match connect() {
                Ok(client) if sender.send(Ok(())).is_ok() => serve(client, inbox),
                // No one waits for it any more.
                Ok(_) => {}
                Err(error) => drop(sender.send(Err(error))),
            }
        };
        let cant = |cause| Error::caused(Kind::Unavailable, "no thread", cause);
        spawn(body).map_err(cant)?;
        made.recv_timeout(within).map_err(|_| silence())??;
        Ok(Self { jobs, broken: false })
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Does the job on the connection. `None` if it takes longer than this, or ends without a result; it may
    /// have been done all the same, and the connection is given up.
    pub(super) fn run<T: Send + 'static>(
        &mut self,
        within: Duration,
        job: impl FnOnce(&mut Connection) -> T + Send + 'static,
    ) -> Option<T> {
        let (job, value) = with_value(job);
        if self.hand_over(within, job) { take(&value) } else { None }
    }

    /// Does the job within this time if the server still answers. The same thread asks the server first: a job of its own for
    /// that would cost two more hand-overs.
    pub(super) fn perform(&mut self, within: Duration, job: Job) -> Performed {
        let not_begun = Arc::new(Mutex::new(None));
        let back = Arc::clone(&not_begun);
        let job = move |connection: &mut Connection| match connection.ping() {
            Ok(()) => job(connection),
            Err(_) => put(&back, job),
        };
        // The ping's own limit ends first. So the job is known not to have begun on a connection that has fallen silent.
        if !self.hand_over(within + 2 * limits::DATABASE_PING, Box::new(job)) {
            return Performed::Lost;
        }
        match take(&not_begun) {
            Some(job) => {
                self.broken = true;
                Performed::NotBegun(job)
            }
            None => Performed::Done,
        }
    }

    /// Has the thread do the job; whether it was done in this time. If not, or if the connection is closed then, it is given up.
    fn hand_over(&mut self, within: Duration, job: Job) -> bool {
        let (sender, ends) = mpsc::sync_channel(1);
        let job = move |connection: &mut Connection| {
            job(connection);
            // No one listens any more if we were given up.
            let _ = sender.send(connection.client.is_closed());
        };
        let sent = self.jobs.send(Box::new(job)).is_ok();
        let closed = if sent { ends.recv_timeout(within).ok() } else { None };
        self.broken |= closed.unwrap_or(true);
        closed.is_some()
    }
}

fn spawn(body: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    thread::Builder::new().name("postgres".into()).stack_size(limits::WORKER_STACK).spawn(body).map(drop)
}

/// Does one job after the other, until the caller's end of the channel is gone.
fn serve(client: Client, inbox: mpsc::Receiver<Job>) {
    let mut connection = Connection::new(client);
    for job in inbox {
        job(&mut connection);
    }
}
