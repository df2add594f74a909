//! The server as its owner sees it: start, addresses, new certificate, stop.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use native_tls::TlsAcceptor;

use super::Service;
use super::connection::tls;
use super::connection::transfer::Halt;
use super::limits::permits::Seats;
use super::limits::rate::Rates;
use super::monitor::Monitor;
use super::runtime::edge::Edge;
use super::runtime::entrance::Entrance;
use super::runtime::front::Front;
use super::runtime::workers::Workers;
use super::settings::{Limits, Listen, Pkcs12, Settings};
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::metrics::Requests;
use crate::sys::{self, Epoll, Waker};

/// An HTTP server that runs. Dropped without [`Server::stop`], it stops without waiting.
pub struct Server {
    addresses: Vec<SocketAddr>,
    edge: Arc<Edge>,
    front: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens, and serves on `workers`. Errors: an address that can't be bound, a certificate that can't be used.
    pub fn start(mut settings: Settings, workers: Workers, service: Arc<dyn Service>) -> Result<Self> {
        let acceptor = acceptor(&mut settings)?;
        let listeners = settings.listen.iter().filter_map(bind).collect::<Result<Vec<_>>>()?;
        let addresses = listeners.iter().map(bound).collect::<Result<Vec<_>>>()?;
        let edge = Arc::new(edge(settings, workers, service, acceptor, listeners)?);
        let front = Front::new(Arc::clone(&edge));
        let front = front.map_err(|error| Error::io("can't watch the listening sockets", error))?;
        let front = thread::Builder::new()
            .name("http-front".to_owned())
            .spawn(move || front.run())
            .map_err(|error| Error::io("can't start the front thread", error))?;
        Ok(Self { addresses, edge, front: Some(front) })
    }

    /// The addresses that are bound, in the order of the settings; port 0 resolved.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Connections that are open now.
    pub fn connections(&self) -> usize {
        self.edge.seats.taken()
    }

    /// The way to see what it does, as long as one likes.
    pub fn monitor(&self) -> Monitor {
        Monitor(Arc::clone(&self.edge))
    }

    /// Uses another certificate for connections from now on.
    pub fn set_certificate(&self, pkcs12: &Pkcs12) -> Result<()> {
        let acceptor = tls::acceptor(pkcs12)?;
        let mut current = self.edge.acceptor.write().unwrap_or_else(PoisonError::into_inner);
        *current = Some(Arc::new(acceptor));
        Ok(())
    }

    /// Lets this many connections, requests, uploads and downloads be from now on; what is beyond them already may end.
    pub fn set_limits(&self, limits: Limits) {
        self.edge.seats.resize(limits.connections, limits.connections_per_address);
        self.edge.rates.set(limits.requests_per_second);
        self.edge.uploads.resize(limits.uploads, most_each(limits.uploads));
        self.edge.downloads.resize(limits.downloads, most_each(limits.downloads));
    }

    /// Stops accepting and closes idle connections at once; waits for running exchanges, whose answers close their
    /// connections; and after `within` ends what still runs.
    pub fn stop(mut self, within: Duration) {
        self.end(within);
    }

    fn end(&mut self, within: Duration) {
        let Some(front) = self.front.take() else { return };
        self.edge.stopping.store(true, Ordering::Release);
        self.edge.waker.wake();
        if !self.edge.seats.wait_empty(within) {
            log::warn!("{} connections are cut off by the stop", self.connections());
        }
        self.edge.halt.set();
        self.edge.waker.wake();
        if front.join().is_err() {
            log::error!("the front thread ended in a panic");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end(Duration::ZERO);
    }
}

/// The acceptor, if one is needed; the password is not kept.
fn acceptor(settings: &mut Settings) -> Result<Option<Arc<TlsAcceptor>>> {
    match settings.https.take() {
        Some(pkcs12) => Ok(Some(Arc::new(tls::acceptor(&pkcs12)?))),
        None if settings.listen.iter().any(|listen| listen.tls) => {
            Err(Error::new(Kind::Config, "HTTPS needs https.keystore"))
        }
        None => Ok(None),
    }
}

/// A listening socket, and whether it speaks TLS; nothing where the system lacks an optional address.
fn bind(listen: &Listen) -> Option<Result<(TcpListener, bool)>> {
    match sys::listen(listen.address, limits::LISTEN_BACKLOG) {
        Ok(listener) => Some(Ok((listener, listen.tls))),
        Err(error) if listen.optional && error.kind() != ErrorKind::AddrInUse => {
            log::info!("not listening on {}: {error}", listen.address);
            None
        }
        Err(error) => Some(Err(Error::io(format!("can't listen on {}", listen.address), error))),
    }
}

/// Of so many transfers, how many one client address may have: slow ones of one must leave some to others.
fn most_each(transfers: usize) -> usize {
    transfers.div_ceil(2)
}

fn bound((listener, _): &(TcpListener, bool)) -> Result<SocketAddr> {
    listener.local_addr().map_err(|error| Error::io("can't tell the address that is bound", error))
}

fn edge(
    settings: Settings,
    workers: Workers,
    service: Arc<dyn Service>,
    acceptor: Option<Arc<TlsAcceptor>>,
    listeners: Vec<(TcpListener, bool)>,
) -> Result<Edge> {
    let failed = |error| Error::io("can't set up the HTTP front", error);
    let epoll = Epoll::new().map_err(failed)?;
    Ok(Edge {
        service,
        workers,
        entrance: Mutex::new(Entrance::new(listeners, &epoll).map_err(failed)?),
        epoll,
        waker: Waker::new().map_err(failed)?,
        seats: Seats::new(settings.limits.connections, settings.limits.connections_per_address),
        rates: Rates::new(settings.limits.requests_per_second),
        uploads: Seats::new(settings.limits.uploads, most_each(settings.limits.uploads)),
        downloads: Seats::new(settings.limits.downloads, most_each(settings.limits.downloads)),
        halt: Halt::new().map_err(failed)?,
        acceptor: RwLock::new(acceptor),
        resting: Mutex::new(HashMap::new()),
        watched: Mutex::new(HashMap::new()),
        stopping: AtomicBool::new(false),
        requests: Requests::default(),
        settings,
    })
}
