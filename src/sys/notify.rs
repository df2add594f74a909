//! Notifications of a service manager: the protocol of sd_notify(3), datagrams on a Unix socket.

use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use rustix::time::{ClockId, clock_gettime};

/// Notifies a service manager, if there is one.
#[derive(Debug)]
pub struct Notifier(Option<(UnixDatagram, SocketAddr)>);

impl Notifier {
    /// A notifier for the value of the environment variable `NOTIFY_SOCKET`: a path, or `@` and an abstract name.
    pub fn new(socket: Option<OsString>) -> io::Result<Self> {
        let Some(name) = socket.filter(|name| !name.is_empty()) else { return Ok(Self(None)) };
        let address = match name.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(&name)?,
        };
        Ok(Self(Some((UnixDatagram::unbound()?, address))))
    }

    /// We serve, with the configuration that was read last.
    pub fn ready(&self) -> io::Result<()> {
        self.send("READY=1")
    }

    /// We read the configuration again, and will tell when we are ready.
    pub fn reloading(&self) -> io::Result<()> {
        let now = clock_gettime(ClockId::Monotonic);
        let microseconds = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={microseconds}"))
    }

    /// We are about to end.
    pub fn stopping(&self) -> io::Result<()> {
        self.send("STOPPING=1")
    }

    fn send(&self, state: &str) -> io::Result<()> {
        match &self.0 {
            Some((socket, address)) => socket.send_to_addr(state.as_bytes(), address).map(drop),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The datagrams that arrive at the socket for all notifications.
    fn told(socket: &UnixDatagram, name: &str) -> Vec<String> {
        let notifier = Notifier::new(Some(name.into())).unwrap();
        notifier.ready().unwrap();
        notifier.reloading().unwrap();
        notifier.stopping().unwrap();
        let mut bytes = [0; 100];
        let mut receive = || {
            let length = socket.recv(&mut bytes).unwrap();
            String::from_utf8(bytes[..length].to_vec()).unwrap()
        };
        vec![receive(), receive(), receive()]
    }

    fn check(told: &[String]) {
        let [ready, reloading, stopping] = told else { panic!("{told:?}") };
        assert_eq!((ready.as_str(), stopping.as_str()), ("READY=1", "STOPPING=1"));
        let time = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
        let seconds: u64 = uptime.split('.').next().unwrap().parse().unwrap();
        // The uptime counts sleep, the monotonic clock does not.
        assert!((1..=seconds + 1).contains(&(time.parse::<u64>().unwrap() / 1_000_000)), "{time} {uptime}");
    }

    #[test]
    fn each_state_is_one_datagram() {
        let path = std::env::temp_dir().join(format!("notify-test-{}", std::process::id()));
        let socket = UnixDatagram::bind(&path).unwrap();
        check(&told(&socket, path.to_str().unwrap()));
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn abstract_sockets_are_known_by_their_at_sign() {
        let name = format!("notify-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        check(&told(&socket, &format!("@{name}")));
    }

    #[test]
    fn without_a_service_manager_no_notification_is_sent() {
        for socket in [None, Some(OsString::new())] {
            Notifier::new(socket).unwrap().ready().unwrap();
        }
        let gone = Notifier::new(Some("/nonexistent/socket".into())).unwrap();
        assert_eq!(gone.ready().unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(Notifier::new(Some("/".repeat(200).into())).is_err());
    }
}
