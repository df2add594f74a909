//! The media server's binary under test.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use super::child::{Guarded, run};
use super::prosody::{ACCOUNT, COMPONENT, DOMAIN, PASSWORD, SECRET};
use super::scratch::Scratch;
use super::{free_port, wait_for};

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_buddycloud-media-server");

/// A running media server with its files in a scratch directory.
pub struct Server {
    process: Option<Guarded>,
    scratch: Scratch,
    port: u16,
}

/// Where the XMPP server listens.
#[derive(Clone, Copy)]
pub struct Xmpp {
    /// The port of clients.
    pub client_port: u16,
    /// The port of components.
    pub component_port: u16,
}

impl Server {
    /// Starts one with these settings added to, or put in the place of, the usual ones, and waits until it
    /// listens. Metadata is in embedded SQLite unless `jdbc.db.url` is set.
    pub fn start(xmpp: Xmpp, settings: &[(&str, &str)]) -> Self {
        let mut server = Self { process: None, scratch: Scratch::new(), port: 0 };
        for _ in 0..5 {
            server.port = free_port();
            server.configure(xmpp, settings);
            server.launch(&[]);
            if server.listens() {
                return server;
            }
        }
        panic!("the server does not start:\n{}", server.log());
    }

    /// The port of HTTP.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder of its media.
    pub fn storage(&self) -> PathBuf {
        self.scratch.join("media")
    }

    /// Its configuration file.
    pub fn configuration(&self) -> PathBuf {
        self.scratch.join("mediaserver.properties")
    }

    /// Its scratch directory.
    pub fn directory(&self) -> &Path {
        self.scratch.path()
    }

    /// Its output and log on standard error.
    pub fn log(&self) -> String {
        fs::read_to_string(self.scratch.join("stderr")).unwrap_or_default()
    }

    /// Waits until it has logged this: lines are written a moment after what they tell.
    #[track_caller]
    pub fn wait_log(&self, text: &str) {
        wait_for(&format!("{text:?} in the log"), || self.log().contains(text).then_some(()));
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("the server runs").pid()
    }

    /// Sends it a signal by its name, such as `HUP`.
    pub fn signal(&self, name: &str) {
        self.process.as_ref().expect("the server runs").signal(name);
    }

    /// The same to a server that may have ended; whether it has not.
    pub fn try_signal(&self, name: &str) -> bool {
        self.process.as_ref().expect("the server was started").try_signal(name)
    }

    /// Lets strace, with these options, look at its threads of these names; gives the file of their calls.
    pub fn trace(&self, options: &str, names: &[&str]) -> PathBuf {
        let tasks = PathBuf::from(format!("/proc/{}/task", self.pid()));
        let named = |task: &PathBuf| {
            fs::read_to_string(task.join("comm")).is_ok_and(|name| names.contains(&name.trim_end()))
        };
        let tasks = fs::read_dir(tasks).expect("the server runs").flatten().map(|task| task.path());
        let number = |task: PathBuf| task.file_name()?.to_str()?.parse().ok();
        let threads: Vec<u32> = tasks.filter(named).filter_map(number).collect();
        assert!(!threads.is_empty(), "the server has no thread {names:?}");
        self.process.as_ref().expect("the server runs").trace(options, &threads)
    }

    /// Waits for its end and gives its exit status.
    pub fn wait(&mut self) -> i32 {
        self.process.take().expect("the server runs").wait()
    }

    /// Stops it as an init script does.
    ///
    /// # Panics
    /// When it does not end with 0.
    pub fn stop(&mut self) {
        self.signal("TERM");
        let status = self.wait();
        assert_eq!(status, 0, "after SIGTERM; its log:\n{}", self.log());
    }

    /// Ends it as a crash does.
    pub fn kill(&mut self) {
        self.signal("KILL");
        self.wait();
    }

    /// Starts it again on the same port with the same files, after [`Server::stop`] or [`Server::kill`].
    pub fn start_again(&mut self) {
        self.start_again_by(&[]);
    }

    /// The same by a command that becomes it, which gets its command line as arguments.
    pub fn start_again_by(&mut self, command: &[&str]) {
        self.launch(command);
        assert!(self.listens(), "the server does not start again:\n{}", self.log());
    }

    fn configure(&self, xmpp: Xmpp, settings: &[(&str, &str)]) {
        fs::create_dir_all(self.storage()).expect("the scratch directory takes folders");
        let text = properties(self.port, xmpp, &self.storage(), settings);
        fs::write(self.configuration(), text).expect("the scratch directory takes files");
    }

    fn launch(&mut self, command: &[&str]) {
        let file = self.configuration().display().to_string();
        let output = self.scratch.join("stderr");
        let command = [command, &[PROGRAM, "-c", &file, "serve"]].concat();
        self.process = Some(Guarded::start(&command, &[], &output));
    }

    /// Whether it listens; false if it has ended because someone else took its port.
    fn listens(&mut self) -> bool {
        let (port, process) = (self.port, self.process.as_mut().expect("the server was launched"));
        wait_for("the server to listen", || {
            if let Some(status) = process.ended() {
                let log = process.printed();
                assert!(log.contains("in use"), "the server ended with {status}:\n{log}");
                return Some(false);
            }
            TcpStream::connect(("127.0.0.1", port)).is_ok().then_some(true)
        })
    }
}

/// Runs the program to its end and gives its exit status and what it printed.
pub fn program(arguments: &[&str]) -> (i32, String) {
    run(&[&[PROGRAM], arguments].concat())
}

/// A configuration file for the site of `prosody/prosody.cfg.lua`; `@PORT@` in a setting is the port of HTTP.
pub fn properties(port: u16, xmpp: Xmpp, storage: &Path, settings: &[(&str, &str)]) -> String {
    let root = storage.display().to_string();
    let (client_port, component_port) = (xmpp.client_port.to_string(), xmpp.component_port.to_string());
    let port = port.to_string();
    let usual = [
        ("http.port", port.as_str()),
        ("xmpp.component.host", "127.0.0.1"),
        ("xmpp.component.port", &component_port),
        ("xmpp.component.subdomain", COMPONENT.split('.').next().expect("a split gives one part")),
        ("xmpp.component.servername", DOMAIN),
        ("xmpp.component.secretkey", SECRET),
        ("xmpp.connection.host", "127.0.0.1"),
        ("xmpp.connection.port", &client_port),
        ("xmpp.connection.servicename", DOMAIN),
        ("xmpp.connection.username", ACCOUNT),
        ("xmpp.connection.password", PASSWORD),
        ("xmpp.connection.securitymode", "disabled"),
        ("media.storage.root", &root),
        // Most tests count the files and previews that they made themselves.
        ("preview.at.upload", "false"),
    ];
    let kept = usual.iter().filter(|(key, _)| !settings.iter().any(|(other, _)| other == key));
    let written = kept.chain(settings).filter(|(_, value)| !value.is_empty());
    written.map(|(key, value)| format!("{key}={}\n", value.replace("@PORT@", &port))).collect()
}
