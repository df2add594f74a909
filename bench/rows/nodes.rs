//! Confirmed requests of one server and of two nodes. By simulation: this machine has not the processors to give each node
//! its own beside PostgreSQL, Prosody and the clients.

use crate::options::Options;
use crate::process::Tree;
use crate::report::{Goal, Report};
use crate::rounds::{Side, alternate};
use crate::site::{LIMITS, PRIVATE, Site, file, set_up_schema, xmpp_of};
use crate::slices::Slices;
use crate::support::http::Request;
use crate::support::postgres::Server as Postgres;
use crate::support::prosody::Prosody;
use crate::support::scratch::Scratch;
use crate::support::server::Server;
use crate::support::wait_for;

use super::confirm::{BYTES, private_load};

/// Requests at a time, of all nodes together: so many that a node always has some to work on.
const REQUESTS: usize = 256;
/// How much longer than others its turns are: the requests under way at the end of one, though partly served, do not count.
const LONGER: f64 = 4.0;

/// Some nodes of a site, and a file that they all serve.
struct Nodes {
    site: Site,
    /// The nodes beside that of the site.
    others: Vec<Server>,
    path: String,
    _shared: Scratch,
}

/// Private downloads, each confirmed, through two nodes and through a server alone.
pub fn confirmations(options: &Options, report: &mut Report) {
    let postgres = Postgres::start();
    let (two, one) = (Nodes::two(&postgres), Nodes::one(&postgres));
    let names = ["two nodes", "one node"];
    for (is_sliced, goal) in [(true, Goal::AtLeast(1.6)), (false, Goal::None)] {
        let sides = [&two, &one].into_iter().zip(names).map(|(nodes, name)| nodes.side(name, is_sliced));
        let sides = alternate(options.time.mul_f64(LONGER), sides.collect());
        let how = if is_sliced { "simulated" } else { "real" };
        let case = format!("{how}: confirmed GET 10 KiB, {REQUESTS} at a time");
        report.rate(&case, "/s", &sides[0], &sides[1], goal);
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
        let url = postgres.jdbc_url(&postgres.new_database());
        set_up_schema(&url);
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
        let nodes = Self { site, others, path, _shared: shared };
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

    /// Requests to each of the nodes in turn.
    fn side(&self, name: &'static str, is_sliced: bool) -> Side<'_> {
        let pids: Vec<u32> = self.servers().map(Server::pid).collect();
        let ports = self.servers().map(Server::port).collect();
        let mut load = private_load(ports, self.site.user.jid(), &self.path, REQUESTS);
        let servers = pids.iter().copied().map(Tree).collect();
        let run = move |time| {
            let _slices = is_sliced.then(|| Slices::start(&pids));
            load.responses(time)
        };
        Side { name, servers, run: Box::new(run) }
    }
}
