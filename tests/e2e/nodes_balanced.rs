//! Nodes behind the load balancers of `examples/`: one node can die, and clients go on.

use std::fs;
use std::net::TcpStream;

use crate::nodes_bench::{Bench, Member, Place};
use crate::site::photo;
use crate::support::child::{Guarded, run};
use crate::support::exposition::value;
use crate::support::http::{Answer, Request};
use crate::support::prosody::make_certificates;
use crate::support::scratch::Scratch;
use crate::support::{free_port, wait_for};
use crate::tickets::bearer;
use crate::watching::scrape;

/// The host of the examples.
const HOST: &str = "media.example.com";
/// Addresses of this machine in the place of those of the examples' nodes.
const ADDRESSES: [&str; 2] = ["127.0.0.1", "127.0.0.2"];

/// Two nodes behind a load balancer.
struct Balanced {
    bench: Bench,
    port: u16,
    admin_port: u16,
    scratch: Scratch,
}

impl Balanced {
    fn start() -> Self {
        let (port, admin_port, scratch) = (free_port(), free_port(), Scratch::new());
        let settings = |number: usize| {
            vec![
                ("http.endpoint", format!("https://{HOST}:{port}")),
                ("http.trusted.proxies", "127.0.0.0/8".to_owned()),
                ("admin.bind", format!("{}:{admin_port}", ADDRESSES[number])),
            ]
        };
        make_certificates(scratch.path(), HOST);
        Self { bench: Bench::start_with(Place::Directory, 2, settings), port, admin_port, scratch }
    }

    fn path(&self, name: &str) -> String {
        self.scratch.join(name).display().to_string()
    }

    /// An example with other words for these, each of which is in it; the file of the result.
    fn adapt(&self, example: &str, words: &[(&str, String)]) -> String {
        let mut text = example.to_owned();
        for (word, other) in words {
            assert!(text.contains(word), "the example has no {word:?}");
            text = text.replace(word, other);
        }
        let nodes = ["192.0.2.11:8080", "192.0.2.12:8080"];
        for ((word, address), node) in nodes.iter().zip(ADDRESSES).zip(&self.bench.nodes) {
            assert!(text.contains(word), "the example has no {word:?}");
            text = text.replace(word, &format!("{address}:{}", node.server.port()));
        }
        fs::write(self.path("balancer.conf"), text).expect("the scratch directory takes files");
        self.path("balancer.conf")
    }

    /// HAProxy with `examples/haproxy.cfg`.
    fn haproxy(&self) -> Guarded {
        let both = ["prosody.crt", "prosody.key"].map(|name| fs::read(self.path(name)).expect("it was made"));
        fs::write(self.path("both.pem"), both.concat()).expect("the scratch directory takes files");
        let config = self.adapt(
            include_str!("../../examples/haproxy.cfg"),
            &[
                ("bind :443", format!("bind 127.0.0.1:{}", self.port)),
                ("/etc/haproxy/media.example.com.pem", self.path("both.pem")),
                ("check port 9100", format!("check port {}", self.admin_port)),
            ],
        );
        // The machine's limit of open files may be below what the example asks for.
        let command = ["/usr/sbin/haproxy", "-n", "500", "-f", &config];
        let (status, printed) = run(&[&command[..], &["-c"]].concat());
        assert_eq!(status, 0, "{printed}");
        assert!(!printed.contains("WARNING"), "{printed}");
        self.balancer(&[&command[..], &["-db"]].concat())
    }

    /// nginx with `examples/nginx-nodes.conf`.
    fn nginx(&self) -> Guarded {
        let folder = "/etc/letsencrypt/live/media.example.com";
        let config = self.adapt(
            include_str!("../../examples/nginx-nodes.conf"),
            &[
                ("listen 443", format!("listen 127.0.0.1:{}", self.port)),
                ("\tlisten [::]:443 ssl;\n", String::new()),
                (&format!("{folder}/fullchain.pem"), self.path("prosody.crt")),
                (&format!("{folder}/privkey.pem"), self.path("prosody.key")),
            ],
        );
        // Its workers would be another user's, to whom the scratch directory may be closed.
        let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
        let main = format!(
            "daemon off; {user} pid {}; error_log {}; events {{}}\nhttp {{ client_body_temp_path {}; \
             proxy_temp_path {}; include {config}; }}\n",
            self.path("pid"),
            self.path("error.log"),
            self.path("body"),
            self.path("proxy"),
        );
        let (path, log) = (self.path("nginx.conf"), self.path("error.log"));
        fs::write(&path, main).expect("the scratch directory takes files");
        self.balancer(&["/usr/sbin/nginx", "-e", &log, "-c", &path])
    }

    fn balancer(&self, command: &[&str]) -> Guarded {
        let mut balancer = Guarded::start(command, &[], &self.scratch.join("output"));
        wait_for("the load balancer to listen", || {
            assert!(balancer.ended().is_none(), "it ended:\n{}", balancer.printed());
            TcpStream::connect(("127.0.0.1", self.port)).ok()
        });
        balancer
    }

    /// A request through the load balancer.
    fn request(&self, method: &str, path: &str) -> Request {
        let (port, authority) = (self.port, self.path("authority.crt"));
        let address = format!("{HOST}:{port}:127.0.0.1");
        Request::new(method, &format!("https://{HOST}:{port}/{path}")).with(&[
            "--resolve",
            &address,
            "--cacert",
            &authority,
        ])
    }

    fn upload(&self, member: &Member) -> Answer {
        let request = bearer(self.request("POST", &member.channel), &member.ticket);
        request.file(&photo(), "image/jpeg").send()
    }

    /// How many uploads a node answered 201 since it was started.
    fn uploads(&self, node: usize) -> f64 {
        let families = scrape(&self.bench.nodes[node].server);
        value(&families, "mediaserver_http_requests_total{route=upload,status=201}").unwrap_or_default()
    }

    /// Both nodes serve, then one of them dies, and no request fails; when it is back, it serves again.
    fn survive_the_death_of_a_node(mut self) {
        let member = self.bench.member();
        let mut uploads = 0;
        for node in [0, 1] {
            wait_for("both nodes to serve", || {
                self.upload(&member).expect(201);
                uploads += 1;
                (self.uploads(node) > 0.0).then_some(())
            });
        }
        self.confirmed_list(&member);
        let asked = member.user.confirms().pop().expect("the user is asked");
        assert_eq!(asked.url, format!("https://{HOST}:{}/{}", self.port, member.channel));

        let holder = self.bench.holder();
        self.bench.nodes[holder].server.kill();
        for _ in 0..8 {
            self.upload(&member).expect(201);
            uploads += 1;
        }
        let listed = self.confirmed_list(&member).json();
        assert_eq!(listed.as_array().map(Vec::len), Some(uploads), "an upload was lost, or sent twice");
        self.bench.nodes[holder].server.start_again();
        // Until it has its XMPP session it refuses what needs one, and no load balancer sends an upload twice.
        wait_for("the node to serve again", || {
            let answer = self.upload(&member);
            let is_too_early = answer.status == 503 && answer.header("retry-after").is_some();
            assert!(answer.status == 201 || is_too_early, "{} {}", answer.status, answer.text());
            (self.uploads(holder) > 0.0).then_some(())
        });
    }

    fn confirmed_list(&self, member: &Member) -> Answer {
        self.request("GET", &member.channel).basic(member.user.jid()).send().expect(200)
    }
}

#[test]
fn behind_haproxy_one_node_can_die() {
    let balanced = Balanced::start();
    let _haproxy = balanced.haproxy();
    balanced.survive_the_death_of_a_node();
}

#[test]
fn behind_nginx_one_node_can_die() {
    let balanced = Balanced::start();
    let _nginx = balanced.nginx();
    balanced.survive_the_death_of_a_node();
}
