//! A private ejabberd on loopback ports, with the domain and the component of the tests. It runs apart from the system's:
//! without a node's name, hence without epmd, and with its database and log in a scratch directory.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use super::child::Guarded;
use super::prosody::{DOMAIN, PASSWORD, SECRET, make_certificates};
use super::scratch::Scratch;
use super::server::Xmpp;
use super::xmpp_client::{Client, Policy};
use super::{free_port, wait_for};

/// A running ejabberd. It lets everybody in by any name and password, and offers STARTTLS.
pub struct Ejabberd {
    process: Option<Guarded>,
    scratch: Scratch,
    xmpp: Xmpp,
}

impl Ejabberd {
    /// Starts one and waits until it listens.
    pub fn start() -> Self {
        let scratch = Scratch::new();
        make_certificates(scratch.path(), DOMAIN);
        let pem = ["prosody.crt", "prosody.key"].map(|name| fs::read_to_string(scratch.join(name)));
        fs::write(scratch.join("ejabberd.pem"), pem.map(|text| text.expect("it was made")).concat())
            .expect("the scratch directory takes files");
        let xmpp = Xmpp { client_port: free_port(), component_port: free_port() };
        let mut ejabberd = Self { process: None, scratch, xmpp };
        ejabberd.launch("");
        ejabberd
    }

    /// Where it listens.
    pub fn xmpp(&self) -> Xmpp {
        self.xmpp
    }

    /// Starts it again, with another module.
    pub fn start_again_with(&mut self, module: &str) {
        self.process = None;
        self.launch(module);
    }

    /// Logs somebody in.
    pub fn login(&self, jid: &str, policy: Policy) -> Client {
        let address = format!("127.0.0.1:{}", self.xmpp.client_port);
        let client = Client::login(&address, jid, PASSWORD, policy).expect("ejabberd lets everybody in");
        client.settle().expect("ejabberd answers");
        client
    }

    fn launch(&mut self, module: &str) {
        let directory = self.scratch.path().display().to_string();
        let ports = [self.xmpp.client_port, self.xmpp.component_port].map(|port| port.to_string());
        let config = include_str!("ejabberd.yml")
            .replace("@DIR@", &directory)
            .replace("@C2S_PORT@", &ports[0])
            .replace("@COMPONENT_PORT@", &ports[1])
            .replace("@COMPONENT_SECRET@", SECRET)
            .replace("@MODULE@", module);
        let path = self.scratch.join("ejabberd.yml");
        fs::write(&path, config).expect("the scratch directory takes files");
        let process = self.process.insert(launch(self.scratch.path(), &path));
        for port in [self.xmpp.client_port, self.xmpp.component_port] {
            wait_for("ejabberd to listen", || {
                assert!(process.ended().is_none(), "ejabberd ended:\n{}", process.printed());
                TcpStream::connect(("127.0.0.1", port)).ok()
            });
        }
    }
}

/// Starts an ejabberd with this configuration, whose files are in this directory.
pub fn launch(directory: &Path, config: &Path) -> Guarded {
    let quoted = |path: PathBuf| format!("\"{}\"", path.display()); // an Erlang string
    let spool = directory.join("spool");
    fs::create_dir_all(&spool).expect("the scratch directory takes folders");
    let (config, spool) = (quoted(config.to_owned()), quoted(spool));
    let log = quoted(directory.join("ejabberd.log"));
    let library = library();
    let command = [
        &["erl", "-noinput", "+K", "true", "+P", "250000", "-pa", &library, "-mnesia", "dir", &spool][..],
        // Where its database fails it writes what it had in memory; into the working directory, if not told otherwise.
        &["-mnesia", "core_dir", &spool],
        &["-ejabberd", "config", &config, "log_path", &log, "-s", "ejabberd"],
    ];
    let home = directory.display().to_string();
    let environment = [("HOME", home.as_str()), ("ERL_MAX_PORTS", "32000")];
    Guarded::start(&command.concat(), &environment, &directory.join("output"))
}

/// The folder of its modules; Debian's has the version in its name.
fn library() -> String {
    let folder = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    let entries = fs::read_dir(Path::new(&folder)).into_iter().flatten().flatten();
    let found =
        entries.map(|entry| entry.path().join("ebin")).find(|path| path.join("ejabberd.beam").exists());
    found.expect("ejabberd is not installed: run scripts/install-dependencies").display().to_string()
}
