//! The state that the threads of a server share, as plain data.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Instant;

use native_tls::TlsAcceptor;

use super::bell::Bell;
use super::listener::Listener;
use super::resume::ResumeQueue;
use super::table::Table;
use super::turns::Turns;
use crate::http::connection::Connection;
use crate::http::connection::body::Halt;
use crate::http::limits::permits::Permits;
use crate::http::limits::rate::Rates;
use crate::http::limits::uploads::Uploads;
use crate::http::settings::Settings;
use crate::metrics::Requests;
use crate::model::Refusal;

/// The layer above the runtime: it makes exchanges of heads, and writes the access log.
pub trait Dispatch: Send + Sync + 'static {
    /// Serves the whole head that is in the connection's input. The thread holds a turn.
    fn serve(&self, shared: &Arc<Shared>, connection: Box<Connection>);

    /// Logs and counts a refusal of bytes that were no request yet.
    fn note_refusal(&self, shared: &Shared, client: IpAddr, refusal: Refusal, bytes: u64, since: Instant);
}

/// The state of a server.
pub struct Shared {
    pub settings: Settings,
    pub dispatch: Box<dyn Dispatch>,
    pub turns: Turns,
    pub table: Arc<Table>,
    pub listeners: Vec<Listener>,
    pub resumed: ResumeQueue,
    pub bell: Bell,
    pub connections: Arc<Permits>,
    pub uploads: Arc<Uploads>,
    pub rates: Rates,
    pub halt: Arc<Halt>,
    pub acceptor: RwLock<Option<Arc<TlsAcceptor>>>,
    pub stopping: AtomicBool,
    /// The counts of responses.
    pub requests: Requests,
}

impl Shared {
    /// Whether no new request may come on a connection.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}
