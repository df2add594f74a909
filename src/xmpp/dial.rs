//! Connecting, on a short-lived thread `xmpp-dial`: name resolution blocks, and the XMPP thread must not.

use std::net::{TcpStream, ToSocketAddrs};
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::model::ascii_host;

/// An attempt to connect.
pub(super) struct Dial {
    result: Receiver<Result<TcpStream>>,
    thread: JoinHandle<()>,
}

impl Dial {
    /// Begins to connect to `host`, until `deadline`. `wake` is called when there is a result.
    pub fn start(
        host: &str,
        port: u16,
        deadline: Instant,
        wake: impl FnOnce() + Send + 'static,
    ) -> Result<Self> {
        let (sender, result) = mpsc::channel();
        let host = host.to_owned();
        let body = move || {
            // The receiver is gone if the attempt was given up.
            let _ = sender.send(connect(&host, port, deadline));
            wake();
        };
        let thread = thread::Builder::new().name("xmpp-dial".to_owned()).spawn(body);
        let thread = thread.map_err(|error| Error::io("can't start a thread to connect to XMPP", error))?;
        Ok(Self { result, thread })
    }

    /// The result, if there is one.
    pub fn poll(&self) -> Option<Result<TcpStream>> {
        match self.result.try_recv() {
            Ok(result) => Some(result),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(lost())),
        }
    }

    /// Waits for the result until the deadline.
    pub fn wait(&self, deadline: Instant) -> Result<TcpStream> {
        match self.result.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(result) => result,
            Err(mpsc::RecvTimeoutError::Timeout) => Err(late()),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(lost()),
        }
    }

    /// Whether the thread still runs: name resolution can't be given a deadline.
    pub fn is_running(&self) -> bool {
        !self.thread.is_finished()
    }
}

/// The error of an attempt that has reached its deadline.
pub(super) fn late() -> Error {
    Error::new(
        Kind::Unavailable,
        "the XMPP server's name was not resolved, or the connection not made, in time",
    )
}

fn lost() -> Error {
    Error::new(Kind::Failure, "the thread that connects to the XMPP server ended without a result")
}

/// Tries each address of the host. Each has an equal share of the time that is left, but not more than
/// [`limits::XMPP_CONNECT_TIME`].
fn connect(host: &str, port: u16, deadline: Instant) -> Result<TcpStream> {
    let failed = |error| {
        Error::caused(Kind::Unavailable, format!("can't connect to the XMPP server at {host}:{port}"), error)
    };
    let no_name = || failed(std::io::Error::other("it can't be a name in the DNS"));
    let name = ascii_host(host).ok_or_else(no_name)?;
    let addresses: Vec<_> = (name.as_str(), port).to_socket_addrs().map_err(failed)?.collect();
    let mut left = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
    let mut last = std::io::Error::other("the name has no address");
    for address in addresses {
        let share = deadline.saturating_duration_since(Instant::now()) / left;
        left -= 1;
        let time = share.clamp(Duration::from_millis(1), limits::XMPP_CONNECT_TIME);
        match TcpStream::connect_timeout(&address, time) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(failed(last))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[test]
    fn a_connection_is_made_and_the_waker_called() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (woken, wake) = mpsc::channel();
        let dial = Dial::start("127.0.0.1", port, soon(), move || woken.send(()).unwrap()).unwrap();
        wake.recv_timeout(Duration::from_secs(10)).unwrap();
        assert!(dial.poll().is_some_and(|result| result.is_ok()));
    }

    #[test]
    fn the_error_names_host_and_port() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let error = Dial::start("127.0.0.1", port, soon(), || ()).unwrap().wait(soon()).unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable);
        assert!(error.to_string().contains(&format!("127.0.0.1:{port}")), "{error}");
    }
}
