//! Several servers as the nodes of one site: one PostgreSQL, one directory, one Prosody that replaces the older of two
//! streams. One node holds the component's stream, and another takes it over whatever happens to the first.

use std::time::{Duration, Instant};

use crate::schema::succeed;
use crate::site::{Site, flush, photo, unique, xmpp_of};
use crate::support::ejabberd::Ejabberd;
use crate::support::http::Request;
use crate::support::prosody::{DOMAIN, Prosody};
use crate::support::relay::Relay;
use crate::support::scratch::Scratch;
use crate::support::server::{Server, program};
use crate::support::xmpp_client::{Client, Policy};
use crate::support::{postgres, wait_for};
use crate::tickets::{bearer, ticket};
use crate::watching::{ANY, admin_url};

/// The longest takeover.
const TAKEOVER: Duration = Duration::from_secs(10);
/// How long a holder tries to reach the XMPP server.
const CUT_OFF: Duration = Duration::from_secs(15);
/// The log's line about a component that is logged in.
const CONNECTED: &str = "XMPP component connected as ";

/// A database and a directory for nodes.
struct Shared {
    storage: Scratch,
    /// Between the first node and PostgreSQL.
    relay: Relay,
    direct: String,
    relayed: String,
    /// Between the first node and the two ports of Prosody.
    xmpp: [Relay; 2],
}

impl Shared {
    fn new() -> Self {
        let (storage, relay, server) = (Scratch::new(), Relay::listen(), postgres::shared());
        let direct = server.jdbc_url(&server.new_database());
        succeed(&direct, &["setup-schema"]);
        relay.relay_to(server.port());
        let relayed = direct.replace(&format!(":{}/", server.port()), &format!(":{}/", relay.port()));
        Self { storage, relay, direct, relayed, xmpp: [(); 2].map(|()| Relay::listen()) }
    }

    /// Brings the first node to this Prosody.
    fn relay_to(&self, prosody: &Prosody) -> [(&'static str, String); 2] {
        let [client, component] = &self.xmpp;
        client.relay_to(prosody.client_port());
        component.relay_to(prosody.component_port());
        [
            ("xmpp.connection.port", client.port().to_string()),
            ("xmpp.component.port", component.port().to_string()),
        ]
    }

    /// The settings of the first node or of the second.
    fn with_settings<T>(&self, is_first: bool, start: impl FnOnce(&[(&str, &str)]) -> T) -> T {
        let (node, url) = if is_first { ("first", &self.relayed) } else { ("second", &self.direct) };
        let root = self.storage.path().display().to_string();
        start(&[
            ("node.name", node),
            ("jdbc.db.url", url),
            ("media.storage.root", &root),
            ("media.storage.shared", "true"),
            ANY,
        ])
    }
}

/// Two nodes; the first holds the stream.
struct Nodes {
    site: Site,
    second: Server,
    user: Client,
    channel: String,
    shared: Shared,
}

impl Nodes {
    fn start() -> Self {
        let (shared, prosody) = (Shared::new(), Prosody::start_replacing_components());
        let ports = shared.relay_to(&prosody);
        let site = shared.with_settings(true, |settings| {
            let ports = ports.each_ref().map(|(key, port)| (*key, port.as_str()));
            Site::start_on(prosody, &[settings, &ports].concat())
        });
        site.server.wait_log(CONNECTED);
        let second = shared.with_settings(false, |settings| Server::start(xmpp_of(&site.prosody), settings));
        let (user, channel) = site.public_channel();
        Self { site, second, user, channel, shared }
    }

    /// Uploads through this node, with a confirmation.
    #[track_caller]
    fn upload(&self, node: &Server) {
        let url = format!("http://127.0.0.1:{}/{}", node.port(), self.channel);
        let confirmed = || {
            let request = Request::new("POST", &url).basic(self.user.jid()).file(&photo(), "image/jpeg");
            request.try_send().ok().filter(|answer| answer.status == 201)
        };
        wait_for("a confirmed upload", confirmed);
    }

    /// Waits until the second node has the stream; its log says why.
    #[track_caller]
    fn wait_for_takeover(&self, since: Instant, within: Duration, why: &str) {
        self.second.wait_log(CONNECTED);
        assert!(since.elapsed() < within, "{:?}\n{}", since.elapsed(), self.second.log());
        assert!(self.second.log().contains(why), "{}", self.second.log());
        self.upload(&self.second);
        wait_for("the node to be healthy", || {
            (holder(&self.second) == (200, "second".to_owned())).then_some(())
        });
    }
}

/// The status of `/healthz`, and which node it says to be the holder. A node that has just been started may not answer yet.
fn holder(node: &Server) -> (u16, String) {
    let Ok(answer) = Request::get(&admin_url(node, "healthz")).try_send() else { return (0, String::new()) };
    let holder = answer.json()["parts"]["xmpp_component"]["holder"].as_str().unwrap_or_default().to_owned();
    (answer.status, holder)
}

fn count(log: &str, text: &str) -> usize {
    log.matches(text).count()
}

#[test]
fn one_node_holds_the_stream_and_another_takes_it_over_after_a_crash() {
    let mut nodes = Nodes::start();
    nodes.upload(&nodes.site.server);
    for node in [&nodes.site.server, &nodes.second] {
        wait_for("the node to know the holder", || (holder(node) == (200, "first".to_owned())).then_some(()));
    }
    assert!(!nodes.second.log().contains(CONNECTED));
    let configuration = nodes.second.configuration().display().to_string();
    let (status, printed) = program(&["-c", &configuration, "check"]);
    assert_eq!(status, 0, "{printed}");
    assert!(printed.contains("this is node second; node first holds the XMPP stream"), "{printed}");
    assert!(printed.contains("REVOKE CONNECT ON DATABASE"), "{printed}");
    assert!(printed.contains("component: ok: not tried, because node first is connected"), "{printed}");
    let killed = Instant::now();
    nodes.site.server.kill();
    nodes.wait_for_takeover(
        killed,
        TAKEOVER,
        "takes the XMPP stream over from node first, whose last beat is ",
    );
    nodes.site.server.start_again();
    wait_for("the node to know the holder", || {
        (holder(&nodes.site.server) == (200, "second".to_owned())).then_some(())
    });
    assert_eq!(count(&nodes.second.log(), CONNECTED), 1, "{}", nodes.second.log());
}

#[test]
fn a_node_that_stood_still_gives_way() {
    let nodes = Nodes::start();
    let stopped = Instant::now();
    nodes.site.server.signal("STOP");
    nodes.wait_for_takeover(stopped, TAKEOVER, "takes the XMPP stream over from node first");
    nodes.site.server.signal("CONT");
    wait_for("the node to know the holder", || {
        (holder(&nodes.site.server) == (200, "second".to_owned())).then_some(())
    });
    nodes.upload(&nodes.second);
    let (first, second) = (nodes.site.server.log(), nodes.second.log());
    assert_eq!((count(&first, CONNECTED), count(&second, CONNECTED)), (1, 1), "{first}\n{second}");
    assert!(!second.contains("XMPP component is down"), "{second}");
}

#[test]
fn a_node_that_stops_hands_the_stream_over_at_once() {
    let mut nodes = Nodes::start();
    let stopped = Instant::now();
    nodes.site.server.signal("TERM");
    nodes.wait_for_takeover(stopped, Duration::from_secs(4), "which its last holder has given up");
    assert_eq!(nodes.site.server.wait(), 0);
    assert!(nodes.site.server.log().contains("node first gives the XMPP stream up"));
}

#[test]
fn a_node_without_its_database_gives_way() {
    let nodes = Nodes::start();
    let parted = Instant::now();
    nodes.shared.relay.stand_still(true);
    nodes.wait_for_takeover(parted, TAKEOVER, "takes the XMPP stream over from node first");
    let first = nodes.site.server.log();
    assert!(first.contains("XMPP component closed"), "it closed its stream before: {first}");
    nodes.shared.relay.stand_still(false);
    wait_for("the node to know the holder", || (holder(&nodes.site.server).1 == "second").then_some(()));
    nodes.upload(&nodes.second);
    assert_eq!(count(&nodes.second.log(), CONNECTED), 1, "{}", nodes.second.log());
    assert!(!nodes.second.log().contains("XMPP component is down"), "{}", nodes.second.log());
}

#[test]
fn a_node_that_does_not_reach_the_xmpp_server_gives_way_to_one_that_does() {
    let nodes = Nodes::start();
    nodes.second.wait_log("XMPP client connected as ");
    let parted = Instant::now();
    nodes.shared.xmpp.iter().for_each(|relay| relay.close(true));
    nodes.wait_for_takeover(parted, CUT_OFF + TAKEOVER, "which its last holder has given up");
    assert!(parted.elapsed() > CUT_OFF, "a server that is restarted is waited for");
    let log = nodes.site.server.log();
    assert!(log.contains("and another node reaches the XMPP server"), "{log}");
    nodes.shared.xmpp.iter().for_each(|relay| relay.close(false));
    wait_for("the node to know the holder", || {
        (holder(&nodes.site.server) == (200, "second".to_owned())).then_some(())
    });
    nodes.upload(&nodes.site.server);
    let (first, second) = (nodes.site.server.log(), nodes.second.log());
    assert_eq!((count(&first, CONNECTED), count(&second, CONNECTED)), (1, 1), "{first}\n{second}");
}

#[test]
fn tickets_that_are_revoked_are_refused_by_all_nodes_within_two_seconds() {
    let nodes = Nodes::start();
    let member = nodes.site.user();
    let channel = nodes.site.channel("whitelist", &[(member.bare(), "member")]);
    let ports = [nodes.site.server.port(), nodes.second.port()];
    let urls = ports.map(|port| format!("http://127.0.0.1:{port}/{channel}"));
    let configuration = nodes.second.configuration().display().to_string();
    for whose in [&["--user", member.bare()][..], &["--all"]] {
        let given = ticket(&nodes.site, &member, &channel, "read");
        for url in &urls {
            wait_for("the ticket to count", || {
                (bearer(Request::get(url), &given).send().status == 200).then_some(())
            });
        }
        let (status, printed) = program(&[&["-c", &configuration, "tickets", "revoke"], whose].concat());
        assert_eq!(status, 0, "{printed}");
        let revoked = Instant::now();
        for url in &urls {
            wait_for("the ticket to be refused", || {
                (bearer(Request::get(url), &given).send().status == 401).then_some(())
            });
        }
        assert!(revoked.elapsed() < Duration::from_secs(2), "{:?}", revoked.elapsed());
    }
}

/// ejabberd takes any number of streams of a component, and would send a part of the stanzas to one that is left over.
#[test]
fn on_ejabberd_the_component_answers_after_a_crash_and_after_the_loss_of_the_database() {
    let ejabberd = Ejabberd::start();
    let user = ejabberd.login(&format!("{}@{DOMAIN}", unique("user")), Policy::Ignore);
    for is_crash in [true, false] {
        let shared = Shared::new();
        let start =
            |is_first| shared.with_settings(is_first, |settings| Server::start(ejabberd.xmpp(), settings));
        let mut first = start(true);
        first.wait_log(CONNECTED);
        let second = start(false);
        let begun = Instant::now();
        if is_crash {
            first.kill();
        } else {
            shared.relay.stand_still(true);
        }
        second.wait_log(CONNECTED);
        assert!(begun.elapsed() < TAKEOVER, "{:?}\n{}", begun.elapsed(), second.log());
        for _ in 0..20 {
            flush(&user);
        }
        shared.relay.stand_still(false);
    }
}
