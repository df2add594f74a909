//! Confirmations with several nodes: one holds the component's stream, and asks the users for the requests of all.

use std::time::{Duration, Instant};

use crate::schema::succeed;
use crate::site::{flush, unique, xmpp_of};
use crate::support::http::{Answer, Request};
use crate::support::prosody::{CHANNELS, DOMAIN, Prosody};
use crate::support::scratch::Scratch;
use crate::support::server::Server;
use crate::support::xmpp_client::{Client, Policy};
use crate::support::{postgres, wait_for};

/// How long the users of the cluster have to confirm.
const REPLY_TIME: Duration = Duration::from_secs(15);

/// Nodes on one database and one storage directory. The first one holds the component's stream.
struct Cluster {
    nodes: Vec<Server>,
    prosody: Prosody,
    admin: Client,
    database: String,
    _storage: Scratch,
}

impl Cluster {
    fn start(names: &[&str]) -> Self {
        let database = postgres::shared().new_database();
        let url = postgres::shared().jdbc_url(&database);
        succeed(&url, &["setup-schema"]);
        let (prosody, storage) = (Prosody::start_replacing_components(), Scratch::new());
        let admin = prosody.login(DOMAIN, "admin", Policy::Ignore);
        let mut cluster = Self { nodes: Vec::new(), prosody, admin, database, _storage: storage };
        let root = cluster._storage.path().display().to_string();
        for name in names {
            let settings = [
                ("jdbc.db.url", url.as_str()),
                ("media.storage.root", &root),
                ("media.storage.shared", "true"),
                ("node.name", name),
                ("xmpp.reply.timeout", "15s"),
            ];
            cluster.nodes.push(Server::start(xmpp_of(&cluster.prosody), &settings));
            cluster.nodes[0].wait_log("takes the XMPP stream");
        }
        let channel = cluster.channel("open", &[]);
        for number in 0..names.len() {
            let url = cluster.url(number, &channel);
            wait_for("the node to serve", || (Request::get(&url).send().status == 200).then_some(()));
        }
        cluster
    }

    /// The address of a path at this node.
    fn url(&self, node: usize, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.nodes[node].port())
    }

    fn channel(&self, access_model: &str, affiliations: &[(&str, &str)]) -> String {
        let channel = format!("{}@{DOMAIN}", unique("channel"));
        let made = self.admin.create_channel(CHANNELS, &channel, access_model, affiliations);
        made.expect("the channel service makes channels");
        channel
    }

    fn user(&self, policy: Policy) -> Client {
        self.prosody.login(DOMAIN, &unique("user"), policy)
    }

    /// A member of a private channel, which is named.
    fn member(&self, policy: Policy) -> (Client, String) {
        let user = self.user(policy);
        let channel = self.channel("whitelist", &[(user.bare(), "publisher")]);
        (user, channel)
    }

    /// A request of this user for the list of a channel, sent to this node.
    fn list(&self, node: usize, user: &Client, channel: &str) -> Request {
        Request::get(&self.url(node, channel)).basic(user.jid())
    }

    /// How many rows of the table `prompts` are like this.
    fn prompts(&self, condition: &str) -> i64 {
        let sql = format!("SELECT COUNT(*) FROM prompts WHERE {condition}");
        let row = postgres::shared().client(&self.database).query_one(&sql, &[]);
        row.expect("the table is there").get(0)
    }

    fn wait_for_prompts(&self, condition: &str, count: i64) {
        let found = || (self.prompts(condition) == count).then_some(());
        wait_for(&format!("{count} prompts that are {condition}"), found);
    }
}

fn told(answer: &Answer) -> String {
    answer.json()["title"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn requests_through_a_node_without_the_stream_are_confirmed_denied_and_end() {
    let cluster = Cluster::start(&["a", "b"]);
    let (user, channel) = cluster.member(Policy::Echo);
    for policy in [Policy::Echo, Policy::Minimal] {
        user.set_policy(policy);
        for node in [1, 0, 1] {
            let answer = cluster.list(node, &user, &channel).send().expect(200);
            assert!(answer.took < Duration::from_secs(5), "it took {:?}", answer.took);
        }
    }
    user.set_policy(Policy::Deny);
    let denied = cluster.list(1, &user, &channel).send().expect(403);
    assert_eq!(told(&denied), "Denied");
    assert!(denied.took < Duration::from_secs(5), "it took {:?}", denied.took);
    cluster.wait_for_prompts("true", 0);

    // What ends at the deadline tells nothing, and the table of nobody but those who wait.
    user.set_policy(Policy::Ignore);
    let stranger = cluster.user(Policy::Echo);
    let late = [&user, &stranger].map(|user| cluster.list(1, user, &channel).send_apart());
    user.confirm(7).expect("the user is asked");
    let gone = cluster.list(1, &user, &channel).with(&["--max-time", "1"]).try_send();
    assert!(gone.is_err(), "nobody confirms it");
    cluster.wait_for_prompts("abandoned", 1);
    let asked = user.confirm(8).expect("the user is asked for it all the same");
    user.answer(&asked, Policy::Echo).expect("the stream lives");
    cluster.wait_for_prompts("abandoned AND decision IS NULL", 0);
    for one in late {
        let answer = one.join().expect("an answer").expect(403);
        assert_eq!(told(&answer), "Not confirmed");
        let around = REPLY_TIME - Duration::from_secs(1)..REPLY_TIME + Duration::from_secs(4);
        assert!(around.contains(&answer.took), "it took {:?}", answer.took);
    }
    flush(&stranger);
    assert!(stranger.confirms().is_empty(), "who may not read is not asked");
    cluster.wait_for_prompts("NOT abandoned", 0);
}

#[test]
fn limits_are_over_all_nodes() {
    let cluster = Cluster::start(&["a", "b"]);
    let (user, channel) = cluster.member(Policy::Ignore);
    let waiting = [(0, 0), (1, 1), (2, 1)].map(|(number, node)| {
        let one = cluster.list(node, &user, &channel).send_apart();
        user.confirm(number).expect("the user is asked");
        one
    });
    for node in [0, 1] {
        let refused = cluster.list(node, &user, &channel).send().expect(429);
        assert!(refused.took < Duration::from_secs(5), "it took {:?}", refused.took);
    }
    for asked in user.confirms() {
        user.answer(&asked, Policy::Echo).expect("the stream lives");
    }
    for one in waiting {
        one.join().expect("an answer").expect(200);
    }
    assert_eq!(user.confirms().len(), 3);
}

#[test]
fn a_prompt_that_a_dead_holder_sent_is_confirmed_through_the_next_one() {
    confirm_through_the_next_holder(Server::kill);
}

#[test]
fn a_prompt_of_a_holder_that_stops_is_confirmed_through_the_next_one() {
    confirm_through_the_next_holder(Server::stop);
}

fn confirm_through_the_next_holder(end: fn(&mut Server)) {
    let mut cluster = Cluster::start(&["a", "b", "c"]);
    let (user, channel) = cluster.member(Policy::Ignore);
    let waiting = [1, 2].map(|node| cluster.list(node, &user, &channel).send_apart());
    let asked = [0, 1].map(|number| user.confirm(number).expect("the user is asked"));
    cluster.wait_for_prompts("sent_epoch IS NOT NULL", 2);
    let ended = Instant::now();
    end(&mut cluster.nodes[0]);
    // A request during the takeover waits for the next holder.
    let (other, place) = cluster.member(Policy::Echo);
    let during = cluster.list(1, &other, &place).send_apart();
    wait_for("another node to take the stream", || {
        cluster.nodes[1..].iter().any(|node| node.log().contains("takes the XMPP stream")).then_some(())
    });
    during.join().expect("an answer").expect(200);
    assert!(ended.elapsed() < Duration::from_secs(10), "it took {:?}", ended.elapsed());
    for asked in &asked {
        user.answer(asked, Policy::Echo).expect("the stream lives");
    }
    for one in waiting {
        one.join().expect("an answer").expect(200);
    }
    assert_eq!(user.confirms().len(), 2, "nobody is asked twice");
    cluster.wait_for_prompts("true", 0);
}
