//! The server for its owner: start, addresses, new certificate, stop.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use native_tls::TlsAcceptor;

use super::connection::body::Halt;
use super::connection::tls;
use super::exchange::Service;
use super::exchange::dispatch::ToService;
use super::limits::permits::Permits;
use super::limits::rate::Rates;
use super::limits::uploads::Uploads;
use super::monitor::Monitor;
use super::runtime::bell::Bell;
use super::runtime::clock::Clock;
use super::runtime::listener::Listener;
use super::runtime::pool::Bounds;
use super::runtime::resume::ResumeQueue;
use super::runtime::shared::Shared;
use super::runtime::table::Table;
use super::runtime::turns::{self, Turns};
use super::runtime::{END, RESUMED};
use super::settings::{Limits, Listen, Pkcs12, Settings};
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::metrics::Requests;
use crate::sys::{self, Epoll, Waker};

/// An HTTP server that runs. Dropped without [`Server::stop`], it stops without waiting.
pub struct Server {
    addresses: Vec<SocketAddr>,
    shared: Arc<Shared>,
    /// Ends the threads that wait for events.
    end: Waker,
    clock: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens, and serves; parked exchanges come back through `resumed`. Errors: an address that can't be bound, a
    /// certificate that can't be used.
    pub fn start(settings: Settings, resumed: ResumeQueue, service: Arc<dyn Service>) -> Result<Self> {
        let listeners = Listeners::bind(&settings.listen)?;
        Self::start_on(listeners, settings, resumed, service)
    }

    /// The same on listeners that are bound already.
    pub fn start_on(
        Listeners(listeners): Listeners,
        mut settings: Settings,
        resumed: ResumeQueue,
        service: Arc<dyn Service>,
    ) -> Result<Self> {
        let acceptor = acceptor(&mut settings)?;
        let addresses = listeners.iter().map(bound).collect::<Result<Vec<_>>>()?;
        let failed = |error| Error::io("can't start the HTTP server", error);
        let (shared, end) = shared(settings, resumed, service, acceptor, listeners).map_err(failed)?;
        let shared = Arc::new(shared);
        let clock = thread::Builder::new().name("http-clock".to_owned()).stack_size(limits::CLOCK_STACK);
        let mut server = Self { addresses, shared: Arc::clone(&shared), end, clock: None };
        let run = Clock::new(Arc::clone(&shared));
        server.clock = Some(clock.spawn(move || run.run()).map_err(failed)?);
        turns::start(&shared).map_err(failed)?;
        Ok(server)
    }

    /// The addresses that are bound, in the order of the settings; port 0 resolved.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Connections that are open now.
    pub fn connections(&self) -> usize {
        self.shared.connections.held()
    }

    /// Shows its state, also after it has ended.
    pub fn monitor(&self) -> Monitor {
        Monitor(Arc::clone(&self.shared))
    }

    /// Uses another certificate for connections from now on.
    pub fn set_certificate(&self, pkcs12: &Pkcs12) -> Result<()> {
        let acceptor = tls::acceptor(pkcs12)?;
        let mut current = self.shared.acceptor.write().unwrap_or_else(PoisonError::into_inner);
        *current = Some(Arc::new(acceptor));
        Ok(())
    }

    /// Applies other limits from now on; connections and uploads beyond them may end.
    pub fn set_limits(&self, limits: Limits) {
        self.shared.connections.resize(limits.connections, limits.connections_per_address);
        self.shared.rates.set(limits.requests_per_second);
        self.shared.uploads.resize(limits.uploads);
    }

    /// Stops accepting and closes idle connections at once; waits for running exchanges, whose responses close their
    /// connections; and after `within` ends what still runs.
    pub fn stop(mut self, within: Duration) {
        self.end(within);
    }

    fn end(&mut self, within: Duration) {
        let Some(clock) = self.clock.take() else { return };
        self.shared.stopping.store(true, Ordering::Release);
        self.shared.bell.ring();
        if !self.shared.connections.wait_empty(within) {
            log::warn!("{} connections were cut off at the stop", self.connections());
        }
        self.shared.halt.set();
        self.shared.bell.ring();
        if clock.join().is_err() {
            log::error!("the clock thread panicked");
        }
        self.shared.turns.end(|| self.end.wake(), limits::TURNS_END);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end(Duration::ZERO);
    }
}

/// Listening sockets: connections to them wait until a server accepts them.
pub struct Listeners(Vec<(TcpListener, bool)>);

impl Listeners {
    /// Binds these addresses, but for optional ones that the system lacks.
    pub fn bind(listen: &[Listen]) -> Result<Self> {
        listen.iter().filter_map(bind).collect::<Result<_>>().map(Self)
    }
}

/// The acceptor, if one is needed; the password is not kept.
fn acceptor(settings: &mut Settings) -> Result<Option<Arc<TlsAcceptor>>> {
    match settings.https.take() {
        Some(pkcs12) => Ok(Some(Arc::new(tls::acceptor(&pkcs12)?))),
        None if settings.listen.iter().any(|listen| listen.tls) => {
            Err(Error::new(Kind::Config, "HTTPS needs https.keystore.path"))
        }
        None => Ok(None),
    }
}

/// A listening socket, and whether it speaks TLS; nothing where the system lacks an optional address.
fn bind(listen: &Listen) -> Option<Result<(TcpListener, bool)>> {
    match sys::listen(listen.address, limits::LISTEN_BACKLOG) {
        Ok(listener) => Some(Ok((listener, listen.tls))),
        Err(error) if listen.is_lacking(&error) => {
            log::info!("not listening on {}: {error}", listen.address);
            None
        }
        Err(error) => Some(Err(listen.refused(error))),
    }
}

fn bound((listener, _): &(TcpListener, bool)) -> Result<SocketAddr> {
    listener.local_addr().map_err(|error| Error::io("can't read the bound address", error))
}

fn shared(
    settings: Settings,
    resumed: ResumeQueue,
    service: Arc<dyn Service>,
    acceptor: Option<Arc<TlsAcceptor>>,
    listeners: Vec<(TcpListener, bool)>,
) -> std::io::Result<(Shared, Waker)> {
    let (epoll, end) = (Epoll::new()?, Waker::new()?);
    epoll.watch(&end, END)?;
    resumed.watch(&epoll, RESUMED)?;
    let listener = |(number, (socket, tls))| Listener::new(number, socket, tls, &epoll);
    let listeners = listeners.into_iter().enumerate().map(listener).collect::<std::io::Result<_>>()?;
    let bounds =
        Bounds { left: settings.threads.max(1), deferred: settings.max_deferred, kept: limits::WORKERS_IDLE };
    let shared = Shared {
        dispatch: Box::new(ToService(service)),
        turns: Turns::new(epoll, bounds, settings.turns.max(1)),
        table: Table::new(),
        listeners,
        resumed,
        bell: Bell::default(),
        connections: Permits::new(settings.limits.connections, settings.limits.connections_per_address),
        uploads: Uploads::new(settings.limits.uploads),
        rates: Rates::new(settings.limits.requests_per_second),
        halt: Arc::new(Halt::new()?),
        acceptor: RwLock::new(acceptor),
        stopping: AtomicBool::new(false),
        requests: Requests::default(),
        settings,
    };
    Ok((shared, end))
}
