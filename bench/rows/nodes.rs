//! Confirmed requests of one server and of two nodes. By simulation: this machine has not the processors to give each node
//! its own beside PostgreSQL, Prosody and the clients.

use crate::options::Options;
use crate::process::Tree;
use crate::report::{Goal, Report};
use crate::rounds::{Side, alternate};
use crate::site::{LIMITS, PRIVATE, Site, file, new_database, xmpp_of};
use crate::slow::{Processor, SlowServers};
use crate::support::http::Request;
use crate::support::postgres::Server as Postgres;
use crate::support::prosody::Prosody;
use crate::support::scratch::Scratch;
use crate::support::server::Server;
use crate::support::wait_for;
use crate::uploads::{ToUs, clear, crowd};

use super::confirm::{BYTES, private_load};

/// Requests at a time, of all nodes together: so many that a node always has some to work on.
const REQUESTS: usize = 256;
/// Uploads at a time to each node, fewer than it takes from one address, and the bytes of each: a photo of a phone.
const UPLOADS: usize = 8;
const PHOTO: u64 = 3 << 20;
/// How many times as many requests the second node gets where both are to have as much to do: the first one, which holds the
/// XMPP stream, works for the requests of both.
const SHARE: usize = 4;
/// How much longer than others its turns are: the requests under way at the end of one, though partly served, do not count.
const LONGER: f64 = 4.0;

/// Some nodes of a site, and a file that they all serve.
struct Nodes {
    site: Site,
    /// The nodes beside that of the site.
    others: Vec<Server>,
    path: String,
    shared: Scratch,
}

/// A comparison of two nodes with one.
struct Comparison<'a> {
    /// The beginning of the line.
    how: &'static str,
    /// The nodes are slow servers on this processor, if there is one.
    processor: Option<&'a Processor>,
    /// How many times as many requests the second node gets as the first one, which holds the XMPP stream.
    share: usize,
    goal: Goal,
}

/// Private downloads, each confirmed, through two nodes and through a server alone: as the machine runs them, and as slow
/// servers. Then uploads to slow servers.
pub fn confirmations(options: &Options, report: &mut Report) {
    let real = Comparison { how: "real", processor: None, share: 1, goal: Goal::None };
    Pair::start().compare(options, report, &real);
    let apart = Processor::set_apart();
    let processor = Some(&apart);
    let pair = Pair::start();
    let even = Comparison { how: "simulated", processor, share: 1, goal: Goal::None };
    let uneven =
        Comparison { how: "1 of 5 to the holder", processor, share: SHARE, goal: Goal::AtLeast(1.6) };
    [even, uneven].iter().for_each(|comparison| pair.compare(options, report, comparison));
    pair.compare_uploads(options, report, &apart);
}

/// Two nodes, and a server alone.
struct Pair {
    two: Nodes,
    one: Nodes,
    _postgres: Postgres,
}

impl Pair {
    fn start() -> Self {
        let postgres = Postgres::start();
        Self { two: Nodes::two(&postgres), one: Nodes::one(&postgres), _postgres: postgres }
    }

    fn compare(&self, options: &Options, report: &mut Report, comparison: &Comparison) {
        let sides = vec![self.two.side("two nodes", comparison), self.one.side("one node", comparison)];
        let sides = alternate(options.time.mul_f64(LONGER), sides);
        let case = format!("{}: confirmed GET 10 KiB, {REQUESTS} at a time", comparison.how);
        report.rate(&case, "/s", &sides[0], &sides[1], comparison.goal);
        report.p99(&case, &sides[0], &sides[1], Goal::None);
    }

    /// Photos to the same nodes, as many to each.
    fn compare_uploads(&self, options: &Options, report: &mut Report, processor: &Processor) {
        let sides = [("two nodes", &self.two), ("one node", &self.one)];
        let sides = sides.map(|(name, nodes)| nodes.uploads(name, processor)).into();
        let sides = alternate(options.time.mul_f64(LONGER), sides);
        let case = format!("simulated: confirmed POST {} MiB, {UPLOADS} to a node", PHOTO >> 20);
        report.rate(&case, "/s", &sides[0], &sides[1], Goal::AtLeast(1.6));
        report.p99(&case, &sides[0], &sides[1], Goal::None);
    }
}

impl Nodes {
    /// A server that is no node.
    fn one(postgres: &Postgres) -> Self {
        Self::start(postgres, &[""])
    }

    /// Two nodes that share a directory.
    fn two(postgres: &Postgres) -> Self {
        Self::start(postgres, &["first", "second"])
    }

    fn start(postgres: &Postgres, names: &[&'static str]) -> Self {
        let (shared, scratch) = (Scratch::new(), Scratch::new());
        let url = new_database(postgres);
        let root = shared.path().display().to_string();
        let is_shared = (names.len() > 1).to_string();
        let shared_by_all = [
            ("jdbc.db.url", url.as_str()),
            ("media.storage.root", &root),
            ("media.storage.shared", &is_shared),
        ];
        let settings = |name: &'static str| [&shared_by_all[..], &[("node.name", name)]].concat();
        let site = Site::start_on(Prosody::start_replacing_components(), &settings(names[0]));
        let start =
            |name: &&'static str| Server::start(xmpp_of(&site.prosody), &[LIMITS, &settings(name)].concat());
        let others = names[1..].iter().map(start).collect();
        let path = site.upload(PRIVATE, &file(&scratch, "file.jpg", BYTES), "image/jpeg");
        let nodes = Self { site, others, path, shared };
        nodes.servers().for_each(|server| nodes.wait_until_it_serves(server));
        nodes
    }

    fn servers(&self) -> impl Iterator<Item = &Server> {
        std::iter::once(&self.site.server).chain(&self.others)
    }

    fn wait_until_it_serves(&self, server: &Server) {
        let url = format!("http://127.0.0.1:{}{}", server.port(), self.path);
        wait_for("a node to serve a confirmed request", || {
            let answer = Request::get(&url).basic(self.site.user.jid()).try_send().ok()?;
            (answer.status == 200).then_some(())
        });
    }

    /// Requests to the nodes.
    fn side<'a>(&'a self, name: &'static str, comparison: &Comparison<'a>) -> Side<'a> {
        let pids: Vec<u32> = self.servers().map(Server::pid).collect();
        let others = self.others.iter().flat_map(|server| vec![server.port(); comparison.share]);
        let ports = std::iter::once(self.site.server.port()).chain(others).collect();
        let mut load = private_load(ports, self.site.user.jid(), &self.path, REQUESTS);
        let processor = comparison.processor;
        let servers = pids.iter().copied().map(Tree).collect();
        let run = move |time| {
            let _slow = processor.map(|processor| SlowServers::start(&pids, processor));
            load.responses(time)
        };
        Side { name, servers, run: Box::new(run) }
    }

    /// Uploads to the nodes. All files of the channel are removed after each turn, also that of the downloads.
    fn uploads<'a>(&'a self, name: &'static str, processor: &'a Processor) -> Side<'a> {
        let pids: Vec<u32> = self.servers().map(Server::pid).collect();
        let jid = self.site.user.jid();
        let several = |server: &Server| ToUs::several(UPLOADS, server.port(), PRIVATE, jid);
        let mut uploaders: Vec<ToUs> = self.servers().flat_map(several).collect();
        let servers = pids.iter().copied().map(Tree).collect();
        let run = move |time| {
            let slow = SlowServers::start(&pids, processor);
            let done = crowd(&mut uploaders, PHOTO, time);
            drop(slow);
            clear(&self.shared.join(PRIVATE));
            done
        };
        Side { name, servers, run: Box::new(run) }
    }
}
