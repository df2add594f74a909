//! An ejabberd with the domain `example.com`, accounts of its own, and the shipped example. It runs apart from the
//! system's, as [`super::ejabberd`] says.

use std::fs;
use std::path::PathBuf;

use super::child::{Guarded, run};
use super::prosody::{PASSWORD, make_certificates};
use super::scratch::Scratch;
use super::server::Xmpp;
use super::xmpp_client::{Client, Policy};
use super::{free_port, wait_for};

/// The domain of its users.
pub const DOMAIN: &str = "example.com";
/// Its pubsub service.
pub const PUBSUB: &str = "pubsub.example.com";
/// The secret of the media server's component, as the example has it.
pub const SECRET: &str = "a long secret";

/// The users who may create nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Creators {
    /// The users that the shipped example names.
    OfTheExample,
    /// Every local user, as Debian has it.
    Everybody,
}

/// A running ejabberd.
pub struct EjabberdWithAccounts {
    /// Ends before its scratch directory goes.
    process: Guarded,
    authority: PathBuf,
    ports: Xmpp,
    http_port: u16,
    _scratch: Scratch,
}

impl EjabberdWithAccounts {
    /// Starts one with the account of the media server.
    pub fn start(creators: Creators) -> Self {
        let scratch = Scratch::new();
        let authority = make_certificates(scratch.path(), DOMAIN);
        let pem = ["prosody.key", "prosody.crt"]
            .map(|name| fs::read_to_string(scratch.join(name)).expect("the certificate was made"));
        fs::write(scratch.join("certificate.pem"), pem.concat()).expect("the scratch directory takes files");
        let ports = Xmpp { client_port: free_port(), component_port: free_port() };
        let http_port = free_port();
        let process = launch(&scratch, ports, http_port, creators);
        let mut ejabberd = Self { process, authority, ports, http_port, _scratch: scratch };
        assert!(ejabberd.listens(), "ejabberd does not start:\n{}", ejabberd.process.printed());
        ejabberd.add_account("mediaserver");
        ejabberd
    }

    /// Where it listens.
    pub fn xmpp(&self) -> Xmpp {
        self.ports
    }

    /// The certificate of the authority that signed its own.
    pub fn authority(&self) -> String {
        self.authority.display().to_string()
    }

    /// Logs an account in, which is made.
    pub fn login(&self, user: &str, policy: Policy) -> Client {
        self.add_account(user);
        let address = format!("127.0.0.1:{}", self.ports.client_port);
        let client = Client::login(&address, &format!("{user}@{DOMAIN}"), PASSWORD, policy);
        let client = client.expect("ejabberd lets the test's accounts in");
        client.settle().expect("ejabberd answers");
        client
    }

    /// Makes an account with [`PASSWORD`].
    pub fn add_account(&self, user: &str) {
        let body = format!(r#"{{"user":"{user}","host":"{DOMAIN}","password":"{PASSWORD}"}}"#);
        let url = format!("http://127.0.0.1:{}/api/register", self.http_port);
        let json = "Content-Type: application/json";
        let (status, printed) = run(&["curl", "-q", "-fsS", "--noproxy", "*", "-H", json, "-d", &body, &url]);
        assert_eq!(status, 0, "{user}: {printed}");
    }

    /// Whether it listens on all its ports; false if it has ended.
    fn listens(&mut self) -> bool {
        let ports = [self.ports.client_port, self.ports.component_port, self.http_port];
        wait_for("ejabberd to listen", || {
            if self.process.ended().is_some() {
                return Some(false);
            }
            let open = |port: &u16| std::net::TcpStream::connect(("127.0.0.1", *port)).is_ok();
            ports.iter().all(open).then_some(true)
        })
    }
}

fn launch(scratch: &Scratch, ports: Xmpp, http_port: u16, creators: Creators) -> Guarded {
    let directory = scratch.path().display().to_string();
    let create = match creators {
        Creators::OfTheExample => "channel_create",
        Creators::Everybody => "pubsub_createnode",
    };
    let config = include_str!("ejabberd_accounts.yml")
        .replace("@DIR@", &directory)
        .replace("@C2S_PORT@", &ports.client_port.to_string())
        .replace("@HTTP_PORT@", &http_port.to_string())
        .replace("@CREATE@", create);
    let port = format!("port: {}", ports.component_port);
    let example = include_str!("../../examples/ejabberd.yml").replace("port: 5347", &port);
    for (name, text) in [("ejabberd.yml", config), ("mediaserver.yml", example)] {
        fs::write(scratch.join(name), text).expect("the scratch directory takes files");
    }
    super::ejabberd::launch(scratch.path(), &scratch.join("ejabberd.yml"))
}
