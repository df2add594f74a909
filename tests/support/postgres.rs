//! A throw-away PostgreSQL from `initdb`: for the unit tests of the store and for the integration tests.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::folder::new_folder;
use super::port::free_port;

/// The superuser of every server; it needs no password.
pub const USER: &str = "media";

/// How long a server may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(60);

/// A PostgreSQL server with a scratch directory and a free port on 127.0.0.1. It ends with the test process at
/// the latest, however that ends.
pub struct Server {
    scratch: PathBuf,
    port: u16,
    guard: Option<Child>,
}

/// The server that the tests of this process share; each takes a database of its own.
pub fn shared() -> &'static Server {
    static SHARED: OnceLock<Server> = OnceLock::new();
    SHARED.get_or_init(Server::start)
}

impl Server {
    /// Makes and starts a server.
    pub fn start() -> Self {
        let scratch = new_folder(&std::env::temp_dir(), "media-pg");
        give_away(&scratch);
        let mut initdb = unprivileged(&binary("initdb"));
        initdb.args(["--no-sync", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-U", USER, "-D"]);
        let made = initdb.arg(scratch.join("data")).output().expect("initdb starts");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let mut server = Self { scratch, port: free_port(), guard: None };
        server.restart();
        server
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A new, empty database; its name.
    pub fn new_database(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("media{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.client("postgres").batch_execute(&format!("CREATE DATABASE {name}")).expect("a database");
        name
    }

    /// A connection of the superuser to this database.
    pub fn client(&self, database: &str) -> postgres::Client {
        self.connect(database).expect("a connection")
    }

    /// The value of `jdbc.db.url` for this database.
    pub fn jdbc_url(&self, database: &str) -> String {
        format!("jdbc:postgresql://127.0.0.1:{}/{database}?user={USER}", self.port)
    }

    /// Makes the server take encrypted connections, too, with a certificate of its own for `localhost`; the
    /// certificate's file.
    pub fn encrypt(&self) -> PathBuf {
        let path = |name| self.scratch.join("data").join(name);
        let (certificate, key) = (path("server.crt"), path("server.key"));
        let mut openssl = unprivileged(Path::new("openssl"));
        openssl.args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
        ]);
        openssl.args(["-addext", "subjectAltName=DNS:localhost"]);
        openssl.arg("-keyout").arg(&key).arg("-out").arg(&certificate);
        let made = openssl.output().expect("openssl starts");
        assert!(made.status.success(), "openssl: {}", String::from_utf8_lossy(&made.stderr));
        let mut client = self.client("postgres");
        client.batch_execute("ALTER SYSTEM SET ssl = on").expect("a superuser");
        client.batch_execute("SELECT pg_reload_conf()").expect("a superuser");
        let is_on = || {
            let row = self.client("postgres").query_one("SHOW ssl", &[]).expect("an answer");
            row.get::<_, &str>(0) == "on"
        };
        wait_until("the server has TLS", is_on);
        certificate
    }

    /// Stops the server at once, without a goodbye to its clients.
    pub fn kill(&mut self) {
        self.stop("keep\n");
    }

    /// Starts the server on its data and port, after [`Server::kill`] or for the first time.
    pub fn restart(&mut self) {
        // The shell waits for a line or the end of its standard input, which comes with the end of this
        // process, however it ends; then it takes the server and its files with it.
        let script = r#"trap '' INT TERM HUP
            "$@" >"$SCRATCH/log" 2>&1 </dev/null & pid=$!
            read -r word; kill -QUIT $pid; wait $pid
            [ "$word" = keep ] || rm -rf "$SCRATCH""#;
        let mut guard = unprivileged(Path::new("/bin/sh"));
        guard.args(["-c", script, "sh"]).arg(binary("postgres"));
        guard.arg("-D").arg(self.scratch.join("data")).arg("-p").arg(self.port.to_string());
        guard.args([
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "fsync=off",
            "-c",
            "max_connections=200",
            "-c",
        ]);
        guard.arg(format!("unix_socket_directories={}", self.scratch.display()));
        guard.env("SCRATCH", &self.scratch).current_dir("/");
        guard.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        self.guard = Some(guard.spawn().expect("the guard starts"));
        self.wait_until_up();
    }

    /// Stops every process of the server where it stands, until [`Server::thaw`]: connections stay open and
    /// nothing answers.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets a frozen server go on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn stop(&mut self, word: &str) {
        self.signal(Signal::CONT);
        if let Some(mut guard) = self.guard.take() {
            let sent = guard.stdin.take().map(|mut stdin| stdin.write_all(word.as_bytes()));
            let ended = guard.wait();
            assert!(sent.is_some_and(|sent| sent.is_ok()) && ended.is_ok(), "the guard did not end");
        }
    }

    fn connect(&self, database: &str) -> Result<postgres::Client, postgres::Error> {
        let mut config = postgres::Config::new();
        config.host("127.0.0.1").port(self.port).user(USER).dbname(database);
        config.connect(postgres::NoTls)
    }

    fn wait_until_up(&self) {
        wait_until(&format!("PostgreSQL is up, see {}", self.scratch.join("log").display()), || {
            self.connect("postgres").is_ok()
        });
    }

    /// Sends a signal to the first process, then to its children, which are in sessions of their own. The first
    /// has stopped before its children are counted, so that it makes no more.
    fn signal(&self, signal: Signal) {
        let Ok(lock) = fs::read_to_string(self.scratch.join("data/postmaster.pid")) else { return };
        let first = lock.lines().next().unwrap_or_default();
        send(first, signal);
        while signal == Signal::STOP && !is_stopped(first) {
            std::thread::yield_now();
        }
        let children = fs::read_to_string(format!("/proc/{first}/task/{first}/children"));
        for child in children.unwrap_or_default().split_whitespace() {
            send(child, signal);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop("");
    }
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "in vain waited until {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

fn send(pid: &str, signal: Signal) {
    if let Some(pid) = pid.parse().ok().and_then(Pid::from_raw) {
        // It may have ended meanwhile.
        let _ = kill_process(pid, signal);
    }
}

fn is_stopped(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process is there");
    stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
}

/// A program of PostgreSQL, of the newest version that is installed.
fn binary(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| {
            Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin").join(name)))
        })
        .filter(|(_, path)| path.exists())
        .collect();
    found.sort();
    let (_, path) = found.pop().unwrap_or_else(|| {
        panic!(
            "no /usr/lib/postgresql/*/bin/{name}: run scripts/install-dependencies, the tests need PostgreSQL"
        )
    });
    path
}

/// A command that runs as user postgres if we are root: PostgreSQL refuses to be run by root.
fn unprivileged(program: &Path) -> Command {
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=postgres", "--regid=postgres", "--init-groups", "--"])
        .arg(program)
        .current_dir("/");
    command
}

fn give_away(scratch: &Path) {
    if rustix::process::geteuid().is_root() {
        let status = Command::new("chown").arg("postgres:").arg(scratch).status().expect("chown starts");
        assert!(
            status.success(),
            "no user postgres: run scripts/install-dependencies, the tests need PostgreSQL"
        );
        assert_ne!(fs::metadata(scratch).expect("the scratch directory").uid(), 0);
    }
}
