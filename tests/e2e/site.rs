//! A Prosody, a media server, and common steps of tests with them.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::support::granter::Granter;
use crate::support::http::{Answer, Request};
use crate::support::prosody::{CHANNELS, COMPONENT, DOMAIN, Prosody};
use crate::support::server::{Server, Xmpp};
use crate::support::xmpp_client::{Client, Policy};
use crate::support::{PATIENCE, wait_for};

/// A Prosody with a media server.
pub struct Site {
    /// The XMPP server.
    pub prosody: Prosody,
    /// The media server.
    pub server: Server,
    /// The user who creates channels.
    pub admin: Client,
}

impl Site {
    /// The site that tests share unless they need settings of their own.
    pub fn shared() -> &'static Self {
        static SITE: OnceLock<Site> = OnceLock::new();
        SITE.get_or_init(|| {
            // Previews may take their time where other tests do.
            let site = Self::start(&[("preview.timeout", "120")]);
            show_on_panic(site.server.directory().join("stderr"));
            site
        })
    }

    /// A site with these settings, for one test.
    pub fn start(settings: &[(&str, &str)]) -> Self {
        Self::start_on(Prosody::start(), settings)
    }

    /// The same on this Prosody.
    pub fn start_on(prosody: Prosody, settings: &[(&str, &str)]) -> Self {
        let admin = prosody.login(DOMAIN, "admin", Policy::Ignore);
        let server = Server::start(xmpp_of(&prosody), settings);
        let site = Self { prosody, server, admin };
        let channel = site.channel("open", &[]);
        site.wait_ready(&channel);
        site
    }

    /// Grants slots of the server's, if it has `upload.enabled`.
    pub fn slots(&self) -> Granter {
        let endpoint = self.url("");
        Granter::new(&self.server.configuration(), endpoint.trim_end_matches('/'))
    }

    /// Waits until the server answers for this public channel, for which it needs both XMPP links.
    pub fn wait_ready(&self, channel: &str) {
        let url = self.url(channel);
        wait_for(&format!("{url} to answer; the server's log: {}", self.server.log()), || {
            Request::get(&url).try_send().ok().filter(|answer| answer.status == 200)
        });
    }

    /// The address of a path without its first slash.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.server.port())
    }

    /// Logs in a user nobody else is, who confirms everything.
    pub fn user(&self) -> Client {
        self.prosody.login(DOMAIN, &unique("user"), Policy::Echo)
    }

    /// Makes a channel nobody else has, with these affiliations.
    pub fn channel(&self, access_model: &str, affiliations: &[(&str, &str)]) -> String {
        let channel = format!("{}@{DOMAIN}", unique("channel"));
        self.create_channel(&channel, access_model, affiliations);
        channel
    }

    /// Makes the personal channel of a user.
    pub fn own_channel(&self, access_model: &str, user: &Client) -> String {
        self.create_channel(user.bare(), access_model, &[(user.bare(), "owner")]);
        user.bare().to_owned()
    }

    /// A public channel with its owner.
    pub fn public_channel(&self) -> (Client, String) {
        let user = self.user();
        let channel = self.own_channel("open", &user);
        (user, channel)
    }

    fn create_channel(&self, channel: &str, access_model: &str, affiliations: &[(&str, &str)]) {
        let made = self.admin.create_channel(CHANNELS, channel, access_model, affiliations);
        made.expect("the channel service makes channels");
    }

    /// Uploads the photo as this user and gives its id.
    #[track_caller]
    pub fn upload(&self, user: &Client, channel: &str) -> String {
        self.upload_titled(user, channel, "A title").member("id")
    }

    /// Uploads the photo as this user.
    #[track_caller]
    pub fn upload_titled(&self, user: &Client, channel: &str, title: &str) -> Answer {
        let request = self.upload_request(channel).basic(user.jid());
        request.part(&format!("title={title}")).send().expect(201)
    }

    /// An upload of the photo without credentials.
    pub fn upload_request(&self, channel: &str) -> Request {
        Request::new("POST", &self.url(channel)).file(&photo(), "image/jpeg")
    }

    /// Runs SQL on the server's metadata, beside it.
    pub fn metadata(&self, sql: &str) {
        let path = self.server.storage().join("metadata.sqlite");
        let connection = rusqlite::Connection::open(path).expect("the database is there");
        connection.busy_timeout(PATIENCE).expect("a timeout can be set");
        connection.execute_batch(sql).expect("the database takes the statement");
    }

    /// Where the server keeps a media.
    pub fn stored(&self, channel: &str, id: &str) -> PathBuf {
        self.server.storage().join(channel).join(id)
    }
}

/// Makes every panic show the end of this log: what is shared is never dropped, so it can't show its own.
pub fn show_on_panic(log: PathBuf) {
    const BYTES: usize = 4000;
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        before(panic);
        let text = std::fs::read(&log).unwrap_or_default();
        let end = &text[text.len().saturating_sub(BYTES)..];
        #[allow(clippy::print_stderr, reason = "the test harness shows it with the failure")]
        {
            eprintln!("--- the end of {}:\n{}", log.display(), String::from_utf8_lossy(end));
        }
    }));
}

/// Waits until the media server's component has handled all that this client sent it before.
pub fn flush(client: &Client) {
    let pong = client.ask("get", COMPONENT, "<ping xmlns='urn:xmpp:ping'/>").expect("the component answers");
    assert_eq!(pong.attribute("type"), "result", "{pong:?}");
}

/// Where this Prosody listens.
pub fn xmpp_of(prosody: &Prosody) -> Xmpp {
    Xmpp { client_port: prosody.client_port(), component_port: prosody.component_port() }
}

/// A name that no other test has.
pub fn unique(kind: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("{kind}{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A square JPEG of 256 pixels a side.
pub fn photo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/photo.jpg")
}

/// The bytes of [`photo`].
pub fn photo_bytes() -> Vec<u8> {
    std::fs::read(photo()).expect("the fixture is in the tree")
}

/// Asserts that a user was asked exactly once, for this method and address.
#[track_caller]
pub fn assert_asked_once(user: &Client, method: &str, url: &str) {
    let asked: Vec<_> = user.confirms().into_iter().map(|confirm| (confirm.method, confirm.url)).collect();
    assert_eq!(asked, [(method.to_owned(), url.to_owned())]);
}
