//! The media server with a Prosody of its own, its limits out of the way, and a user with a public and a private
//! channel.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::support::http::{Request, transaction};
use crate::support::postgres::Server as Postgres;
use crate::support::prosody::{CHANNELS, DOMAIN, Prosody};
use crate::support::random::Random;
use crate::support::scratch::Scratch;
use crate::support::server::{Server, Xmpp, program, properties};
use crate::support::wait_for;
use crate::support::xmpp_client::{Client, Policy};

/// Everything comes from one address and, mostly, one user: what keeps one from taking all must let it.
pub const LIMITS: &[(&str, &str)] = &[
    ("http.connections.max", "100000"),
    ("http.connections.per.address.max", "100000"),
    ("xmpp.pending.max", "100000"),
    ("xmpp.pending.per.user.max", "100000"),
    ("xmpp.pending.per.address.max", "100000"),
    ("media.sizelimit", "4294967296"),
];

/// The channel that everybody reads.
pub const PUBLIC: &str = "public@example.org";
/// The channel that its members read.
pub const PRIVATE: &str = "private@example.org";

/// A running site.
pub struct Site {
    /// The media server.
    pub server: Server,
    /// The XMPP server.
    pub prosody: Prosody,
    /// A publisher of both channels, who confirms everything.
    pub user: Client,
}

impl Site {
    /// Starts one with these settings besides those of the limits.
    pub fn start(settings: &[(&str, &str)]) -> Self {
        Self::start_on(Prosody::start(), settings)
    }

    /// The same on a Prosody that offers TLS.
    pub fn start_with_tls(settings: &[(&str, &str)]) -> Self {
        Self::start_on(Prosody::start_with_tls(), settings)
    }

    /// The same on this Prosody.
    pub fn start_on(prosody: Prosody, settings: &[(&str, &str)]) -> Self {
        let admin = prosody.login(DOMAIN, "admin", Policy::Ignore);
        let user = prosody.login(DOMAIN, "user", Policy::Echo);
        user.forget_confirms();
        for (channel, access_model) in [(PUBLIC, "open"), (PRIVATE, "whitelist")] {
            let made = admin.create_channel(CHANNELS, channel, access_model, &[(user.bare(), "publisher")]);
            made.expect("the channel service makes channels");
        }
        let server = Server::start(xmpp_of(&prosody), &[LIMITS, settings].concat());
        let site = Self { server, prosody, user };
        site.wait_ready();
        site
    }

    /// Waits until it answers for the public channel, for which it needs both XMPP links.
    fn wait_ready(&self) {
        wait_for("the media server to know the channel", || {
            let answer = Request::get(&self.url(PUBLIC)).try_send().ok()?;
            (answer.status == 200).then_some(())
        });
    }

    /// The address of a path without its first slash.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.server.port())
    }

    /// Uploads a file and gives its path below the server's root.
    pub fn upload(&self, channel: &str, file: &Path, mime_type: &str) -> String {
        let request = Request::new("POST", &self.url(channel)).header("Expect", "").file(file, mime_type);
        let id = request.basic(self.user.jid()).send().expect(201).member("id");
        format!("/{channel}/{id}")
    }
}

/// Where this Prosody listens.
pub fn xmpp_of(prosody: &Prosody) -> Xmpp {
    Xmpp { client_port: prosody.client_port(), component_port: prosody.component_port() }
}

/// Makes the schema in an empty PostgreSQL database, as an operator does.
pub fn set_up_schema(url: &str) {
    let scratch = Scratch::new();
    let file = scratch.join("mediaserver.properties");
    let nowhere = Xmpp { client_port: 1, component_port: 1 };
    let text = properties(8080, nowhere, scratch.path(), &[("jdbc.db.url", url)]);
    fs::write(&file, text).expect("the scratch directory takes files");
    let (status, printed) = program(&["-c", &file.display().to_string(), "setup-schema"]);
    assert_eq!(status, 0, "{printed}");
}

/// The URL of a new database that is set up.
pub fn new_database(postgres: &Postgres) -> String {
    let url = postgres.jdbc_url(&postgres.new_database());
    set_up_schema(&url);
    url
}

/// New credentials of this JID.
pub fn token(jid: &str) -> String {
    STANDARD.encode(format!("{jid}:{}", transaction()))
}

/// A file of so many bytes that do not repeat within a MiB.
pub fn file(scratch: &Scratch, name: &str, bytes: usize) -> PathBuf {
    let path = scratch.join(name);
    let block = noise();
    let content: Vec<u8> = block.iter().copied().cycle().take(bytes).collect();
    fs::write(&path, content).expect("the scratch directory takes files");
    path
}

/// A MiB that can't be compressed.
pub fn noise() -> Vec<u8> {
    Random::new(1).bytes(1 << 20)
}
