//! The daemon: its start, in order, and its end.

mod channel;
mod check;
mod commands;
mod data;
mod housekeeper;
mod nodes;
mod open;
mod opening;
mod reload;
mod sight;

use std::ffi::OsString;
use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, Weak, mpsc};
use std::thread;
use std::time::SystemTime;

use log::{debug, error, info, warn};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

pub use crate::media::Repair;
pub use channel::{NewChannel, create_channel};
pub use check::{CheckExtent, check};
pub use commands::{configuration_rows, drop_schema, fsck, setup_schema, tell_moving, upgrade_schema};

pub use data::{
    Doing, FileQuery, OutputForm, UsageOf, delete, export, import, list, move_storage, purge, revoke_tickets,
    usage,
};

use housekeeper::Housekeeper;
use opening::Opener;
use reload::Reload;

use crate::access::{Decision, SharedGate};
use crate::admin::Admin;
use crate::clock::SystemClock;
use crate::cluster::{Cluster, WorkQueue};
use crate::component::{Component, FileDesk, Services};
use crate::config::{Config, Notice, Source};
use crate::error::{Error, Result};
use crate::http::{Listeners, ResumeQueue, Server};
use crate::limits;
use crate::log::Destination;
use crate::media::Library;
use crate::store::S3Files;
use crate::sys::Notifier;
use crate::tickets::TicketService;
use crate::uploads::UploadService;
use crate::web::{Parked, Web};
use crate::xmpp::{self, Outbox};

/// An event for the main thread.
enum Event {
    Signal(i32),
    /// The daemon can't go on.
    Fatal(Error),
}

/// The parameters of the daemon's start.
pub struct Start<'a> {
    /// The configuration as it was written.
    pub source: &'a Source,
    /// The same, understood.
    pub config: &'a Config,
    /// Notices for the operator about it.
    pub notices: &'a [Notice],
    /// Reads the configuration again from where it was found.
    pub reread: &'a dyn Fn() -> Result<Source>,
    /// Where the service manager wants to be told: the environment variable `NOTIFY_SOCKET`.
    pub notify_socket: Option<OsString>,
}

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// When it can't start, or finds later that it can't go on: the text says what must change.
pub fn serve(start: Start<'_>) -> Result<()> {
    let end = run(start);
    // The lines before a failed start explain it.
    log::logger().flush();
    end
}

fn run(start: Start<'_>) -> Result<()> {
    let started = SystemTime::now();
    let Start { source, config, notices, reread, notify_socket } = start;
    let notifier =
        Notifier::new(notify_socket).map_err(|cause| Error::io("can't use NOTIFY_SOCKET", cause))?;
    let log = crate::log::start(config.logging.level, Destination::open(config.logging.file.as_deref())?)?;
    info!("the configuration is from {}", source.name);
    for notice in notices {
        log::log!(notice.level, "{}", notice.text);
    }
    log_panics();
    if !config.storage.sync {
        warn!("media.storage.sync is off: a crash of the machine may lose uploads that were answered 201");
    }
    let (sender, events) = mpsc::channel();
    catch_signals(sender.clone())?;
    // Before anything is touched: another server may use the same storage.
    let open::LockedRoot { lock, tables, is_compared } = open::lock_root(config)?;
    let old = open::lock_old(config)?;
    let session = nodes::session(config, tables.is_some())?;
    if let Some(advice) = open::local_locks(&config.storage) {
        warn!("{advice}");
    }
    commands::upgrade_embedded(config, &lock)?;
    let tables = tables.map_or_else(|| open::tables(config), Ok)?;
    let opened = open::stores(config, Some(lock), tables)?;
    let open::Opened { library, uploads, tickets, files, claims, bucket, .. } = opened;
    let (library, uploads, tickets) = (Arc::new(library), Arc::new(uploads), Arc::new(tickets));
    library.set_housekeeping(config.housekeeping);
    library.log_missing_programs();
    library.log_sandbox();
    library.start_previews_ahead()?;
    let http = open::http(config)?;
    let listeners = Listeners::bind(&http.listen)?;
    Opener::new(&library, &uploads, bucket.clone()).start(is_compared, sender.clone())?;

    let resumed = ResumeQueue::new()?;
    let (outbox, inbox) = xmpp::channel();
    let kept = (Arc::clone(&library), Arc::clone(&uploads), Arc::clone(&tickets));
    let queue = nodes::queue(config);
    let web = web(config, kept, outbox.clone(), &resumed, queue.as_ref());
    let clock = Arc::new(SystemClock);
    let desk = FileDesk::new(Arc::clone(&library), Arc::clone(&uploads), files, Arc::clone(&clock) as _);
    let services = Services { slots: Arc::clone(&uploads) as _, desk: Arc::new(desk), clock };
    let (door, settings) = (Arc::clone(web.door()) as _, config.component.clone());
    let workers = resumed.clone();
    let component = Component::new(door, services, settings, outbox, workers, config.http.threads);
    let component = Arc::new(component);
    let links = xmpp::Settings { client: config.xmpp.client.with_own_resource(), ..config.xmpp.clone() };
    let lease = nodes::lease(config);
    let xmpp = xmpp::start(links, inbox, Arc::clone(&component) as _, lease.clone())?;
    let server = Server::start_on(listeners, http, resumed, Arc::clone(&web) as _)?;
    for address in server.addresses() {
        info!("listening on {address}");
    }

    let door = Arc::clone(web.door());
    let forget = move || door.forget_expired();
    let mut chores = housekeeper::chores(&library, &uploads, &tickets, &claims, forget);
    let cache = bucket.as_ref().and_then(S3Files::cache).cloned();
    chores.extend(bucket.map(|bucket| housekeeper::bucket_chore(&library, bucket)));
    let housekeeper = Housekeeper::start(chores)?;
    let door = Arc::clone(web.door()) as _;
    let cluster = nodes::start(config, session, queue, lease, door, (&tickets, &uploads), sender)?;
    let nodes = cluster.as_ref().map(Cluster::status);
    // It runs to the end: monitoring may ask for the state of the other parts while they stop.
    let _admin = admin(
        config,
        Admin::new(Arc::clone(web.door()), library, uploads, nodes, cache, server.monitor(), started),
    )?;
    notifier.ready().unwrap_or_else(|cause| warn!("can't notify the service manager: {cause}"));
    let (config, source) = (config.clone(), source.clone());
    let reload = Reload { config, source, reread, log, web: Arc::clone(&web), component, server: &server };
    let end = wait(&events, reload, &notifier);
    told(notifier.stopping());
    housekeeper.stop();
    web.door().stop();
    // Before the responses under way end: another node serves the component meanwhile.
    if let Some(cluster) = cluster {
        cluster.stop();
    }
    server.stop(limits::SHUTDOWN_TIME);
    xmpp.stop();
    web.library().sign_off();
    if let Some(old) = old {
        old.sign_off();
    }
    info!("stopped");
    end
}

/// We serve no worse where the service manager can't be told. One that waits for the start only, as start-stop-daemon(8)
/// does, has removed its socket since.
fn told(result: io::Result<()>) {
    match result {
        Err(cause) if matches!(cause.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
            debug!("no process listens at NOTIFY_SOCKET any more: {cause}");
        }
        Err(cause) => warn!("can't notify the service manager: {cause}"),
        Ok(()) => {}
    }
}

/// The web layer and the gate before it. The XMPP thread hands decisions to the queue, and a worker thread of the HTTP
/// server goes on with them.
fn web(
    config: &Config,
    (library, uploads, tickets): (Arc<Library>, Arc<UploadService>, Arc<TicketService>),
    outbox: Outbox,
    resumed: &ResumeQueue,
    nodes: Option<&WorkQueue>,
) -> Arc<Web> {
    Arc::new_cyclic(|web: &Weak<Web>| {
        let (web, resumed) = (web.clone(), resumed.clone());
        let deliver = move |parked: Parked, decision: Decision| {
            // Without a web layer the daemon is gone, and so are its requests.
            if let Some(web) = web.upgrade() {
                resumed.run(move || web.resume(parked, decision));
            }
        };
        let gate = config.access.clone();
        let door = SharedGate::new(gate, Arc::new(SystemClock), outbox, Box::new(deliver));
        let door = match nodes {
            Some(queue) => door.of_cluster(nodes::on_node_event(queue)),
            None => door,
        };
        Web::new(library, uploads, tickets, Arc::new(door), config.web.clone())
    })
}

/// The listener for those who watch, if there is to be one.
fn admin(config: &Config, admin: Admin<Parked>) -> Result<Option<Server>> {
    if config.admin.listen.is_empty() {
        return Ok(None);
    }
    let server = Server::start(config.admin.clone(), ResumeQueue::new()?, Arc::new(admin))?;
    for address in server.addresses() {
        info!("/metrics and /healthz are on {address}");
    }
    Ok(Some(server))
}

/// Signals become events; a second SIGTERM or SIGINT ends the process at once.
fn catch_signals(sender: mpsc::Sender<Event>) -> Result<()> {
    let failed = |cause| Error::io("can't catch signals", cause);
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(failed)?;
    let forward = move || {
        let mut stopping = false;
        for signal in signals.forever() {
            if signal != SIGHUP && std::mem::replace(&mut stopping, true) {
                warn!("second signal: stopping at once");
                log::logger().flush();
                std::process::exit(1);
            }
            if sender.send(Event::Signal(signal)).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(forward).map_err(failed)?;
    Ok(())
}

/// A panic costs the request it happened in; the operator is to learn of it.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = thread::current();
        let name = thread.name().unwrap_or("?");
        // Not of the daemon: a client may be able to cause it at will, so the line is limited.
        error!(target: "media_server", "panic on thread {name}, which is a bug: {panic}");
    }));
}

fn wait(events: &mpsc::Receiver<Event>, mut reload: Reload<'_>, notifier: &Notifier) -> Result<()> {
    loop {
        match events.recv() {
            Ok(Event::Signal(SIGHUP)) => {
                told(notifier.reloading());
                reload.reload();
                told(notifier.ready());
            }
            Ok(Event::Signal(_)) | Err(mpsc::RecvError) => {
                info!("stopping");
                return Ok(());
            }
            Ok(Event::Fatal(error)) => return Err(error),
        }
    }
}

/// Prints a line for the operator. A closed pipe is not an error.
fn say(out: &mut dyn Write, line: &str) {
    let _ = writeln!(out, "{line}");
}

/// How many connections are taken: as many as are wanted, as long as descriptors are left for what they ask for.
fn connections(config: &Config) -> usize {
    let wanted = config.http.limits.connections;
    let allowed = crate::sys::raise_file_limit().unwrap_or_else(|cause| {
        error!("can't raise the limit of open files: {cause}");
        u64::MAX
    });
    let possible = possible_connections(allowed);
    if possible < wanted {
        warn!(
            "the limit of {allowed} open files permits {possible} connections, not http.connections.max={wanted}; \
             raise the limit"
        );
    }
    possible.min(wanted)
}

/// Every connection takes a descriptor, and a response or an upload its file. A limit that is too low for all that is
/// shared.
fn possible_connections(allowed: u64) -> usize {
    let allowed = usize::try_from(allowed).unwrap_or(usize::MAX);
    (allowed.saturating_sub(limits::OTHER_FILES) / 2).max(allowed / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_for_what_they_ask_for() {
        assert_eq!(possible_connections(1024), (1024 - limits::OTHER_FILES as u64) as usize / 2);
        assert_eq!(possible_connections(64), 16);
        assert!(possible_connections(u64::MAX) > 1_000_000);
    }
}
