//! The nodes of one site, to be killed, stopped and cut off: one PostgreSQL, one place of files, one Prosody.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::schema::succeed;
use crate::site::{unique, xmpp_of};
use crate::support::http::{Answer, Raw, Request};
use crate::support::prosody::{CHANNELS, DOMAIN, Prosody};
use crate::support::relay::Relay;
use crate::support::scratch::Scratch;
use crate::support::server::Server;
use crate::support::xmpp_client::{Client, Confirm, Policy};
use crate::support::{postgres, seaweedfs, wait_for};
use crate::tickets::bearer;
use crate::watching::admin_url;

/// Within what time a node shows what was changed through another one.
pub const SEEN: Duration = Duration::from_secs(2);
/// What an upload that is cut begins with.
const CUT: &[u8] = b"an upload that is cut ";

/// Settings of one node.
pub type Settings = Vec<(&'static str, String)>;

/// Where the nodes keep their files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A directory that they share.
    Directory,
    /// A bucket of an S3 store.
    Bucket,
}

/// The nodes, and what they stand on.
pub struct Bench {
    pub nodes: Vec<Node>,
    /// A server of its own, since it is restarted.
    pub database: postgres::Server,
    /// The same, where the files are in a bucket.
    pub store: Option<seaweedfs::Store>,
    database_name: String,
    prosody: Prosody,
    admin: Client,
    addresses: Arc<Vec<Address>>,
    /// Where uploads are cut: nothing may be stored there.
    empty: Member,
    directory: Scratch,
}

/// One node.
pub struct Node {
    pub name: String,
    pub server: Server,
    /// Between it and PostgreSQL.
    pub relay: Relay,
}

/// What clients know of a node.
pub struct Address {
    port: u16,
    sight: Mutex<Sight>,
}

/// Whether a node can read what others change.
enum Sight {
    Clear { since: Instant },
    Blind,
}

/// A user with a private channel, and a ticket to post there.
pub struct Member {
    pub user: Client,
    pub channel: String,
    pub ticket: String,
}

/// A request that waits for its user, who has been asked.
pub struct Waiting {
    user: Client,
    asked: Confirm,
    response: JoinHandle<Answer>,
}

impl Address {
    /// The address of a path at this node.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    /// Whether the response to a request that was sent then may show what was there before this change.
    pub fn may_be_stale(&self, sent: Instant, changed: Instant) -> bool {
        match *self.sight.lock().expect("no holder of this lock panics") {
            Sight::Blind => true,
            Sight::Clear { since } => sent < since.max(changed) + SEEN,
        }
    }

    /// Whether it has been able to read what others change since then.
    pub fn is_clear_since(&self, time: Instant) -> bool {
        let sight = self.sight.lock().expect("no holder of this lock panics");
        matches!(*sight, Sight::Clear { since } if since <= time)
    }

    fn see(&self, sight: Sight) {
        *self.sight.lock().expect("no holder of this lock panics") = sight;
    }
}

impl Bench {
    /// Starts so many nodes.
    pub fn start(place: Place, count: usize) -> Self {
        Self::start_with(place, count, |_| vec![("admin.bind", "127.0.0.1:0".to_owned())])
    }

    /// The same with these settings for the node of each number, `admin.bind` among them.
    pub fn start_with(place: Place, count: usize, settings: impl Fn(usize) -> Settings) -> Self {
        let (database, directory) = (postgres::Server::start(), Scratch::new());
        let database_name = database.new_database();
        succeed(&database.jdbc_url(&database_name), &["setup-schema"]);
        let store = (place == Place::Bucket).then(seaweedfs::Store::start);
        let prosody = Prosody::start_replacing_components();
        let admin = prosody.login(DOMAIN, "admin", Policy::Ignore);
        let files = files(&directory, store.as_ref());
        let to_database = (&database, database_name.as_str());
        let start = |number| Node::start(number, &prosody, to_database, &files, &settings(number));
        let nodes: Vec<Node> = (0..count).map(start).collect();
        let sight = || Mutex::new(Sight::Clear { since: Instant::now() });
        let address = |node: &Node| Address { port: node.server.port(), sight: sight() };
        let addresses = Arc::new(nodes.iter().map(address).collect::<Vec<_>>());
        let empty = Member::new(&prosody, &admin, &addresses[0]);
        let bench =
            Self { nodes, database, store, database_name, prosody, admin, addresses, empty, directory };
        (0..count).for_each(|node| bench.wait_until_it_serves(node));
        bench
    }

    /// The addresses of the nodes.
    pub fn addresses(&self) -> Arc<Vec<Address>> {
        Arc::clone(&self.addresses)
    }

    /// A new user with a private channel.
    pub fn member(&self) -> Member {
        Member::new(&self.prosody, &self.admin, &self.addresses[0])
    }

    /// The node that holds the component's stream.
    pub fn holder(&self) -> usize {
        wait_for("a node to hold the stream", || {
            let sql = "SELECT node FROM stream_holder WHERE beat > now() - interval '2 s'";
            let rows = self.database.client(&self.database_name).query(sql, &[]).ok()?;
            let name: Option<String> = rows.first()?.get(0);
            self.nodes.iter().position(|node| Some(&node.name) == name.as_ref())
        })
    }

    /// How many prompts there are.
    pub fn prompts(&self) -> i64 {
        let sql = "SELECT COUNT(*) FROM prompts WHERE NOT abandoned";
        let row = self.database.client(&self.database_name).query_one(sql, &[]);
        row.expect("the table is there").get(0)
    }

    /// The node does not see changes of others from now on, and what it shows may be old.
    pub fn blind(&self, node: usize) {
        self.addresses[node].see(Sight::Blind);
    }

    /// Waits until a node answers from the database and is healthy.
    #[track_caller]
    pub fn wait_until_it_serves(&self, node: usize) {
        let server = &self.nodes[node].server;
        let is_healthy = || {
            let health = Request::get(&admin_url(server, "healthz")).with(&["--max-time", "5"]).try_send();
            let list = self.empty.list(&self.addresses[node]).try_send();
            let is_well = [health, list].into_iter().all(|answer| answer.is_ok_and(|it| it.status == 200));
            is_well.then_some(())
        };
        wait_for(&format!("{} to serve", self.nodes[node].name), is_healthy);
        self.addresses[node].see(Sight::Clear { since: Instant::now() });
    }

    /// Begins an upload through this node, a part of which is on the disk then.
    #[track_caller]
    pub fn begin_upload(&self, node: usize) -> Raw {
        let mut raw = Raw::connect(self.addresses[node].port);
        let (channel, ticket) = (&self.empty.channel, &self.empty.ticket);
        let part = "--b\r\nContent-Disposition: form-data; name=\"data\"; filename=\"a\"\r\n\r\n";
        let body = [part.as_bytes(), &CUT.repeat(5_000)].concat();
        raw.send(format!(
            "POST /{channel} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ticket}\r\nContent-Length: {}\r\n\
             Content-Type: multipart/form-data; boundary=b\r\n\r\n",
            body.len() + 1000
        ));
        raw.send(body);
        let is_ours = |path: PathBuf| fs::read(path).is_ok_and(|bytes| bytes.starts_with(CUT));
        wait_for("a part of the upload to be on the disk", || {
            self.temporaries(node).into_iter().any(is_ours).then_some(())
        });
        raw
    }

    /// The files of uploads that are under way through this node.
    pub fn temporaries(&self, node: usize) -> Vec<PathBuf> {
        let shared = self.directory.path().to_owned();
        let root = if self.store.is_some() { self.nodes[node].server.storage() } else { shared };
        let entries = fs::read_dir(root).expect("the directory is there").flatten();
        let start = format!(".upload-{}-", self.nodes[node].name);
        let any = if self.store.is_some() { ".upload-" } else { &start };
        entries
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(any))
            .map(|entry| entry.path())
            .collect()
    }

    /// Asserts that nothing is left of the uploads that were cut, at any node.
    #[track_caller]
    pub fn assert_nothing_is_left(&self) {
        for (number, address) in self.addresses.iter().enumerate() {
            let list = self.empty.list(address).send().expect(200);
            assert_eq!(list.text().trim(), "[]", "an upload that was cut is listed");
            wait_for("no temporary file", || self.temporaries(number).is_empty().then_some(()));
        }
        // What a node missed, another one removes a minute after its deadline.
        let deadline = Instant::now() + Duration::from_secs(120);
        while self.prompts() > 0 {
            assert!(Instant::now() < deadline, "{} prompts are left", self.prompts());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// A request through this node that waits for its user.
    #[track_caller]
    pub fn waiting(&self, node: usize) -> Waiting {
        let Member { user, channel, .. } = self.member();
        let before = user.confirms().len();
        user.set_policy(Policy::Ignore);
        let url = self.addresses[node].url(&channel);
        let response = Request::get(&url).basic(user.jid()).send_apart();
        let is_asked = || user.confirms().len() > before;
        wait_for("a prompt or a response", || (is_asked() || response.is_finished()).then_some(()));
        if !is_asked() {
            let refused = response.join().expect("an answer");
            panic!("{url} is refused before its user is asked: {} {}", refused.status, refused.text());
        }
        let asked = user.confirm(before).expect("the user is asked");
        Waiting { user, asked, response }
    }

    /// Waits until a user can confirm a request through this node.
    #[track_caller]
    pub fn wait_for_confirmation(&self, node: usize, stranger: &Member) {
        let url = self.addresses[node].url(&stranger.channel);
        wait_for("a request to be confirmed", || {
            let answer = Request::get(&url).basic(stranger.user.jid()).try_send().ok()?;
            (answer.status == 200).then_some(())
        });
    }
}

impl Waiting {
    /// The user confirms it now, and it is answered.
    #[track_caller]
    pub fn confirm(self) {
        self.user.answer(&self.asked, Policy::Echo).expect("the stream lives");
        self.response.join().expect("an answer").expect(200);
    }
}

impl Member {
    fn new(prosody: &Prosody, admin: &Client, node: &Address) -> Self {
        let user = prosody.login(DOMAIN, &unique("user"), Policy::Echo);
        let channel = format!("{}@{DOMAIN}", unique("channel"));
        let made = admin.create_channel(CHANNELS, &channel, "whitelist", &[(user.bare(), "publisher")]);
        made.expect("the channel service makes channels");
        let url = node.url(&format!("{channel}/ticket/post"));
        // The node may still be on its way to the XMPP server.
        let answer = wait_for("a ticket", || {
            let answer = Request::new("POST", &url).basic(user.jid()).try_send().ok()?;
            (answer.status == 201).then_some(answer)
        });
        Self { user, channel, ticket: answer.member("ticket") }
    }

    /// A request for the list, with the ticket.
    pub fn list(&self, node: &Address) -> Request {
        bearer(Request::get(&node.url(&self.channel)), &self.ticket).with(&["--max-time", "5"])
    }
}

impl Node {
    fn start(
        number: usize,
        prosody: &Prosody,
        (database, database_name): (&postgres::Server, &str),
        files: &Settings,
        settings: &Settings,
    ) -> Self {
        let (name, relay) = (format!("node{number}"), Relay::listen());
        relay.relay_to(database.port());
        let url = database.jdbc_url(database_name);
        let url = url.replace(&format!(":{}/", database.port()), &format!(":{}/", relay.port()));
        let own = [
            ("node.name", name.as_str()),
            ("jdbc.db.url", &url),
            ("media.todisk.threshold", "4096"),
            ("xmpp.reply.timeout", "15s"),
        ];
        let more = files.iter().chain(settings).map(|(key, value)| (*key, value.as_str()));
        let server = Server::start(xmpp_of(prosody), &own.into_iter().chain(more).collect::<Vec<_>>());
        Self { name, server, relay }
    }
}

/// The settings of the place of files.
fn files(directory: &Scratch, store: Option<&seaweedfs::Store>) -> Settings {
    match store {
        None => vec![
            ("media.storage.root", directory.path().display().to_string()),
            ("media.storage.shared", "true".to_owned()),
        ],
        Some(store) => vec![
            ("media.storage.s3.endpoint", store.endpoint()),
            ("media.storage.s3.bucket", store.new_bucket()),
            ("media.storage.s3.access.key", seaweedfs::ACCESS_KEY.to_owned()),
            ("media.storage.s3.secret.key", seaweedfs::SECRET_KEY.to_owned()),
            ("media.storage.s3.timeout", "2s".to_owned()),
        ],
    }
}
