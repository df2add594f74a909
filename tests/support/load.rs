//! Crowds of clients: many connections from many addresses, what a fast client feels meanwhile, and what the server holds.

use std::fmt;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{PATIENCE, soak};

/// Descriptors of the test process that are not a crowd's.
const OTHER_FILES: u64 = 1000;
/// Connections of a crowd from one address: far below the caps for each address.
const PER_ADDRESS: usize = 20;
/// Between two requests of the fast client.
const BREATH: Duration = Duration::from_millis(4);

/// How many a crowd has: `usual` in `make check`, `full` in `make soak`, as far as the limit of open files allows.
pub fn size(usual: usize, full: usize) -> usize {
    let limit = Rlimit { current: getrlimit(Resource::Nofile).maximum, ..getrlimit(Resource::Nofile) };
    let _ = setrlimit(Resource::Nofile, limit);
    // The server takes half as many connections as it may open files; a few are the fast client's.
    let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX).saturating_sub(OTHER_FILES) / 2;
    let wanted = if soak::is_soak() { full } else { usual };
    wanted.min(usize::try_from(allowed).unwrap_or(usize::MAX))
}

/// The connection of this number to a port of this machine. Each twenty have a loopback address of their own, beside
/// 127.0.0.1.
pub fn connect(number: usize, port: u16) -> TcpStream {
    connect_with(number, port, None)
}

/// The same with a small buffer, so that what is not read stays with the server.
pub fn connect_narrow(number: usize, port: u16) -> TcpStream {
    connect_with(number, port, Some(4096))
}

fn connect_with(number: usize, port: u16, buffer: Option<usize>) -> TcpStream {
    let group = 2 + u32::try_from(number / PER_ADDRESS).expect("a crowd is no nation");
    let address = Ipv4Addr::from_bits(Ipv4Addr::LOCALHOST.to_bits() + group);
    let socket =
        rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .expect("the limit of open files was looked at");
    if let Some(bytes) = buffer {
        sockopt::set_socket_recv_buffer_size(&socket, bytes).expect("buffers can be small");
    }
    rustix::net::bind(&socket, &SocketAddrV4::new(address, 0)).expect("all of 127.0.0.0/8 is ours");
    rustix::net::connect(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)).expect("the server listens");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout above 0 is valid");
    stream.set_write_timeout(Some(PATIENCE)).expect("a timeout above 0 is valid");
    stream
}

/// Ends a connection with a reset.
pub fn reset(stream: &TcpStream) {
    sockopt::set_socket_linger(stream, Some(Duration::ZERO)).expect("a socket can be told not to linger");
}

/// Whether the other end has said something or closed.
pub fn is_ready(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).expect("a socket can be told not to block");
    let peeked = stream.peek(&mut [0]);
    stream.set_nonblocking(false).expect("a socket can be told to block");
    !matches!(peeked, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

/// One request on a connection of its own, and all that comes back.
pub fn exchange(mut stream: TcpStream, request: &[u8]) -> Vec<u8> {
    stream.write_all(request).expect("the server takes the request");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("the server answers and closes");
    answer
}

/// How long requests took.
pub struct Latencies(Vec<Duration>);

impl Latencies {
    /// How long `times` requests take, one after the other.
    pub fn of(times: usize, mut request: impl FnMut()) -> Self {
        Self::sorted((0..times).map(|_| timed(&mut request)).collect())
    }

    fn sorted(mut times: Vec<Duration>) -> Self {
        assert!(!times.is_empty(), "nothing was measured");
        times.sort_unstable();
        Self(times)
    }

    /// The time that half of them took at most.
    pub fn median(&self) -> Duration {
        self.quantile(50)
    }

    /// The longest.
    pub fn worst(&self) -> Duration {
        self.quantile(100)
    }

    fn quantile(&self, percent: usize) -> Duration {
        self.0[((self.0.len() - 1) * percent) / 100]
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [median, most, worst] =
            [50, 99, 100].map(|percent| self.quantile(percent).as_secs_f64() * 1000.0);
        write!(f, "p50 {median:.1} p99 {most:.1} worst {worst:.1} ms ({} requests)", self.0.len())
    }
}

fn timed(act: &mut impl FnMut()) -> Duration {
    let begun = Instant::now();
    act();
    let took = begun.elapsed();
    std::thread::sleep(BREATH);
    took
}

/// A client that asks again and again, on a thread of its own.
pub struct Fast {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Duration>>,
}

impl Fast {
    /// Begins.
    pub fn start(mut request: impl FnMut() + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut times = vec![timed(&mut request)];
            while !stopped.load(Ordering::Relaxed) {
                times.push(timed(&mut request));
            }
            times
        });
        Self { stop, thread }
    }

    /// Ends, and tells how long each took.
    pub fn stop(self) -> Latencies {
        self.stop.store(true, Ordering::Relaxed);
        Latencies::sorted(self.thread.join().expect("every request of the fast client is answered"))
    }
}

/// Open descriptors of a process.
pub fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).expect("the server runs").count()
}

/// Those of the embedded database among them: its few connections are opened when they are needed, and stay open.
pub fn database_descriptors(pid: u32) -> usize {
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("the server runs").flatten();
    let targets = descriptors.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    targets.filter(|target| target.to_string_lossy().contains("metadata.sqlite")).count()
}

/// A line of /proc/PID/status, in KiB, such as `VmRSS` for the memory in use and `VmHWM` for the most there was.
pub fn memory(pid: u32, line: &str) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the server runs");
    let found = status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':'));
    let number = found.and_then(|text| text.trim().strip_suffix(" kB")?.parse().ok());
    number.expect("Linux tells of a process's memory")
}

/// Another soft limit of open files for a process.
pub fn limit_descriptors(pid: u32, most: u64) {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).expect("a process id is above 0");
    let hard = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit { current: Some(most), maximum: hard };
    rustix::process::prlimit(Some(pid), Resource::Nofile, limit).expect("it is our process");
}
