//! Several nodes: their threads in a running server, and what `check` and `setup-schema` say about them.

use std::sync::{Arc, mpsc};

use log::info;

use super::Event;
use super::check::CheckedPart;
use crate::access::{NodeDoor, OnNodeEvent};
use crate::cluster::{self, Calls, Changed, Cluster, NodeSession, Times, Work, WorkQueue};
use crate::config::{Config, Database};
use crate::error::Result;
use crate::limits;
use crate::store::{PostgresSettings, Schema, StreamHolder};
use crate::tickets::TicketService;
use crate::uploads::UploadService;
use crate::xmpp::Lease;

/// The lease of the component's stream: a single node has it always.
pub(super) fn lease(config: &Config) -> Lease {
    if config.node.is_some() { Lease::withheld() } else { Lease::unlimited() }
}

/// The work of several nodes, if there is to be more than one.
pub(super) fn queue(config: &Config) -> Option<WorkQueue> {
    named(config).map(|_| WorkQueue::new())
}

/// Hands the gate's events for the other nodes to the thread `cluster`.
pub(super) fn on_node_event(queue: &WorkQueue) -> OnNodeEvent {
    let sender = queue.sender();
    // Without the thread the process ends.
    Box::new(move |event| drop(sender.send(Work::Gate(event))))
}

/// The session in which this node has its name, if there is to be more than one. Where the database was not reached a moment
/// ago, the thread `cluster` opens it later.
///
/// # Errors
/// When another server has the name.
pub(super) fn session(config: &Config, is_database_reached: bool) -> Result<Option<NodeSession>> {
    let Some(settings) = settings(config) else { return Ok(None) };
    if !is_database_reached {
        return Ok(Some(NodeSession::later(&settings)));
    }
    NodeSession::open(&settings).map(Some)
}

fn settings(config: &Config) -> Option<cluster::Settings> {
    let (node, database) = named(config)?;
    Some(cluster::Settings {
        node: node.to_owned(),
        component: config.xmpp.component.jid.to_string(),
        database: database.clone(),
        times: Times::default(),
    })
}

/// The threads of several nodes, if there is to be more than one. A failure that ends them is an event.
pub(super) fn start(
    config: &Config,
    session: Option<NodeSession>,
    queue: Option<WorkQueue>,
    lease: Lease,
    door: Arc<dyn NodeDoor>,
    (tickets, uploads): (&Arc<TicketService>, &Arc<UploadService>),
    events: mpsc::Sender<Event>,
) -> Result<Option<Cluster>> {
    let (Some(settings), Some(session), Some(queue)) = (settings(config), session, queue) else {
        return Ok(None);
    };
    let (tickets, uploads) = (Arc::clone(tickets), Arc::clone(uploads));
    let on_change = move |changed| match changed {
        Changed::Keys => {
            tickets.reread();
            uploads.reread_keys();
        }
        Changed::Epochs => tickets.reread(),
        Changed::Blocks => uploads.reread_blocks(),
    };
    info!("this is node {}", settings.node);
    // The main thread has gone only if the daemon is stopping anyway.
    let on_fatal = move |error| drop(events.send(Event::Fatal(error)));
    let calls = Calls { on_change: Box::new(on_change), on_fatal: Box::new(on_fatal) };
    Cluster::start(settings, session, queue, lease, door, calls).map(Some)
}

/// Facts about the nodes; nothing for a single one.
pub(super) fn check(config: &Config, schema: &mut Schema) -> Result<Option<CheckedPart>> {
    let Some((node, _)) = named(config) else { return Ok(None) };
    let holder = holder(config, schema)?.map_or_else(
        || "no node holds the XMPP stream".to_owned(),
        |holder| format!("node {holder} holds the XMPP stream"),
    );
    let text = format!("this is node {node}; {holder}");
    Ok(Some(match advice(schema)? {
        Some(advice) => CheckedPart::Doubtful(format!("{text}, but {advice}")),
        None => CheckedPart::Good(text),
    }))
}

/// The node that holds the component's stream now. To log in as the component would end that stream, where the XMPP server
/// replaces the older of two.
pub(super) fn stream_holder(config: &Config) -> Option<String> {
    let (_, database) = named(config)?;
    // A database that does not answer is another part's failure.
    holder(config, &mut Schema::connect(database).ok()?).ok()?
}

/// The advice of `setup-schema` for several nodes.
pub(super) fn setup_advice(config: &Config, schema: &mut Schema) -> Result<Option<String>> {
    if named(config).is_some() { advice(schema) } else { Ok(None) }
}

fn holder(config: &Config, schema: &mut Schema) -> Result<Option<String>> {
    let found = schema.stream_holder(config.xmpp.component.jid.as_str())?;
    let beats = |holder: &StreamHolder| holder.age < limits::CLUSTER_STALE;
    Ok(found.filter(beats).and_then(|holder| holder.node))
}

fn advice(schema: &mut Schema) -> Result<Option<String>> {
    let open = schema.open_to_public()?;
    Ok(open.map(|database| {
        format!(
            "every role may connect to the database, and so listen to the notices between nodes, send false ones, and take the \
             lock of the XMPP stream, so that no node gets it: REVOKE CONNECT ON DATABASE {database} FROM PUBLIC"
        )
    }))
}

fn named(config: &Config) -> Option<(&str, &PostgresSettings)> {
    match &config.database {
        Database::Postgres(database) => Some((config.node.as_deref()?, database)),
        Database::Sqlite(_) => None,
    }
}
