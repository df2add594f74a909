//! `/metrics` and `/healthz`: their content, and that it is true.

use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use crate::schema::succeed;
use crate::site::{Site, photo_bytes, xmpp_of};
use crate::support::exposition::{Family, parse, value};
use crate::support::http::{Answer, Raw, Request};
use crate::support::prosody::ABSENT;
use crate::support::scratch::Scratch;
use crate::support::server::{Server, Xmpp, program, properties};
use crate::support::xmpp_client::Policy;
use crate::support::{postgres, wait_for};

/// An address of the kernel's choice.
pub const ANY: (&str, &str) = ("admin.bind", "127.0.0.1:0");

/// An address without a server.
pub const NO_XMPP: Xmpp = Xmpp { client_port: 1, component_port: 1 };

/// An address on the listener for those who watch; that of the last start.
pub fn admin_url(server: &Server, path: &str) -> String {
    let address = wait_for("the listener for those who watch", || {
        let log = server.log();
        let (_, rest) = log.rsplit_once("/metrics and /healthz are on ")?;
        rest.split_once('\n').map(|(address, _)| address.to_owned())
    });
    format!("http://{address}/{path}")
}

/// Everything that is counted now.
pub fn scrape(server: &Server) -> Vec<Family> {
    let answer = Request::get(&admin_url(server, "metrics")).send().expect(200);
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    parse(&answer.text()).unwrap_or_else(|error| panic!("{error}\n{}", answer.text()))
}

fn health(server: &Server) -> Answer {
    Request::get(&admin_url(server, "healthz")).send()
}

/// Waits until a part is in order, or not; gives the answer that says so.
fn wait_part(server: &Server, part: &str, ok: bool) -> Answer {
    wait_for(&format!("{part} to be ok={ok}"), || {
        let answer = health(server);
        (answer.json()["parts"][part]["ok"] == ok).then_some(answer)
    })
}

#[test]
fn requests_and_confirmations_are_counted_exactly() {
    let site = Site::start(&[ANY]);
    let (user, channel) = site.public_channel();
    // A channel service's first answer is not to be counted.
    Request::get(&site.url(&channel)).send().expect(200);
    let before = scrape(&site.server);

    let id = site.upload(&user, &channel);
    let media = site.url(&format!("{channel}/{id}"));
    Request::get(&media).send().expect(200);
    Request::get(&media).with(&["-r", "0-99"]).send().expect(206);
    Request::new("HEAD", &media).send().expect(200);
    Request::get(&site.url(&format!("{channel}/unknown"))).send().expect(404);
    Request::get(&site.url("a/b/c/d")).send().expect(404);
    let preview = || Request::get(&media).query("maxheight=50").send().expect(200).body.len();
    let previewed = preview() + preview();
    Request::get(&media).query("maxheight=0").send().expect(400);
    user.set_policy(Policy::Deny);
    Request::new("DELETE", &media).basic(user.jid()).send().expect(403);
    Raw::connect(site.server.port()).send("nonsense\r\n\r\n").answer().expect("a refusal");

    let after = scrape(&site.server);
    let moved = |sample: &str| value(&after, sample).unwrap_or(0.0) - value(&before, sample).unwrap_or(0.0);
    let not_found = Request::get(&site.url(&format!("{channel}/unknown"))).send().body.len();
    let bad_size = Request::get(&media).query("maxheight=0").send().body.len();
    for (sample, expected) in [
        ("http_requests_total{route=upload,status=201}", 1),
        ("http_requests_total{route=download,status=200}", 4),
        ("http_requests_total{route=download,status=206}", 1),
        ("http_requests_total{route=download,status=400}", 1),
        ("http_requests_total{route=download,status=404}", 1),
        ("http_requests_total{route=delete,status=403}", 1),
        ("http_requests_total{route=none,status=404}", 1),
        ("http_requests_total{route=none,status=400}", 1),
        ("http_request_duration_seconds_count{route=download}", 7),
        ("http_request_duration_seconds_count{route=none}", 1),
        ("http_request_parked_seconds_count{route=upload}", 1),
        ("http_request_parked_seconds_count{route=delete}", 1),
        ("http_request_parked_seconds_count{route=download}", 0),
        (
            "http_response_body_bytes_total{route=download}",
            photo_bytes().len() + 100 + previewed + not_found + bad_size,
        ),
        ("http_request_body_bytes_total{route=download}", 0),
        ("confirmations_total{outcome=confirmed}", 1),
        ("confirmations_total{outcome=denied}", 1),
        ("confirmations_total{outcome=timeout}", 0),
        ("lookup_cache_hits_total{kind=access}", 7),
        ("lookups_total{kind=access}", 0),
        ("previews_total{outcome=made}", 1),
        ("previews_total{outcome=stored}", 1),
        ("previews_total{outcome=failed}", 0),
        ("requests_parked", 0),
        ("confirmations_pending", 0),
        ("xmpp_reconnects_total{link=client}", 0),
    ] {
        assert_eq!(moved(&format!("mediaserver_{sample}")), expected as f64, "{sample}");
    }
    // The form has more than the photo.
    let received = moved("mediaserver_http_request_body_bytes_total{route=upload}");
    assert!(received > photo_bytes().len() as f64 && received < photo_bytes().len() as f64 + 2000.0);
    assert!(moved("process_cpu_seconds_total") > 0.0);
    assert_eq!(moved("process_start_time_seconds"), 0.0);
    assert!(!site.server.log().contains("GET /metrics"), "who watches fills the log");
}

#[test]
fn gauges_show_waiting_requests() {
    let site = Site::start(&[ANY, ("http.threads", "8"), ("xmpp.pending.per.user.max", "6")]);
    let (user, channel) = site.public_channel();
    user.set_policy(Policy::Ignore);
    let first = site.upload_request(&channel).basic(user.jid()).send_apart();
    let second = site.upload_request(&channel).basic(user.jid()).send_apart();
    user.confirm(1).expect("the user is asked twice");
    site.upload_request(&channel).basic(user.jid()).send().expect(429);
    let mut idle = Raw::connect(site.server.port());
    idle.send(format!("GET /{channel} HTTP/1.1\r\nHost: x\r\n\r\n")).answer().expect("an answer");
    let seen = wait_for("an idle connection to be seen", || {
        let seen = scrape(&site.server);
        (value(&seen, "mediaserver_http_connections{state=idle}") == Some(1.0)).then_some(seen)
    });
    for (sample, expected) in [
        ("requests_parked", 2.0),
        ("confirmations_pending", 2.0),
        ("confirmations_total{outcome=limited}", 1.0),
        ("http_connections{state=active}", 2.0),
        ("http_uploads", 0.0),
        ("http_uploads_limit", 3.0),
        ("http_responses_half_sent", 0.0),
        ("http_turns_lent", 0.0),
        ("http_requests_left", 0.0),
        ("http_requests_left_limit", 8.0),
        ("http_requests_deferred", 0.0),
        ("workers", 8.0),
        ("workers_busy", 0.0),
        ("workers_queue", 0.0),
        ("xmpp_up{link=component}", 1.0),
        ("xmpp_up{link=client}", 1.0),
        ("healthy{part=database}", 1.0),
    ] {
        assert_eq!(value(&seen, &format!("mediaserver_{sample}")), Some(expected), "{sample}");
    }
    assert!(value(&seen, "mediaserver_storage_free_bytes") > Some(0.0));
    assert!(value(&seen, "process_open_fds") < value(&seen, "process_max_fds"));
    for confirm in user.confirms() {
        user.answer(&confirm, Policy::Minimal).expect("the user is connected");
    }
    first.join().expect("it is answered").expect(201);
    second.join().expect("it is answered").expect(201);
}

#[test]
fn a_link_that_breaks_is_told_and_one_that_is_back() {
    let mut site = Site::start(&[ANY]);
    let healthy = health(&site.server).expect(200);
    assert_eq!(healthy.json()["ok"], true);
    assert_eq!(healthy.header("cache-control"), Some("no-store"));
    site.prosody.stop();
    for part in ["xmpp_component", "xmpp_client"] {
        let answer = wait_part(&site.server, part, false).expect(503);
        let reason = answer.json()["parts"][part]["reason"].to_string();
        assert!(reason.contains("not connected: ") && reason.contains("the XMPP server"), "{reason}");
    }
    let seen = scrape(&site.server);
    for link in ["component", "client"] {
        assert_eq!(value(&seen, &format!("mediaserver_xmpp_up{{link={link}}}")), Some(0.0));
    }
    site.prosody.start_again();
    wait_for("all to be well", || (health(&site.server).status == 200).then_some(()));
    let seen = scrape(&site.server);
    for link in ["component", "client"] {
        assert_eq!(value(&seen, &format!("mediaserver_xmpp_up{{link={link}}}")), Some(1.0));
        assert_eq!(value(&seen, &format!("mediaserver_xmpp_reconnects_total{{link={link}}}")), Some(1.0));
    }
}

#[test]
fn a_wrong_password_is_the_reason_that_is_told() {
    let site = Site::shared();
    let subdomain = ABSENT.split('.').next().expect("a split gives one part");
    let server = Server::start(
        xmpp_of(&site.prosody),
        &[ANY, ("xmpp.component.subdomain", subdomain), ("xmpp.connection.password", "wrong")],
    );
    let reason = wait_for("the refusal", || {
        let parts = health(&server).json()["parts"].take();
        let reason = parts["xmpp_client"]["reason"].as_str()?.to_owned();
        (parts["xmpp_component"]["ok"] == true && reason != "not connected yet").then_some(reason)
    });
    assert!(reason.starts_with("not connected: the XMPP server refuses the account"), "{reason}");
    assert!(reason.ends_with("not-authorized"), "{reason}");
    assert!(!reason.contains("wrong"), "{reason}");
}

#[test]
fn a_database_that_is_gone_or_hangs_is_told_in_time() {
    let mut database = postgres::Server::start();
    let url = database.jdbc_url(&database.new_database());
    succeed(&url, &["setup-schema"]);
    let server = Server::start(NO_XMPP, &[ANY, ("jdbc.db.url", &url)]);
    let _ = wait_part(&server, "database", true);

    database.freeze();
    let hanging = wait_part(&server, "database", false).expect(503);
    assert_eq!(hanging.json()["parts"]["database"]["reason"], "no answer in time");
    // It is known to hang: the next ones don't wait, and don't open connections.
    for _ in 0..20 {
        let answer = health(&server).expect(503);
        assert!(answer.took < Duration::from_secs(10), "{:?}", answer.took);
    }
    let seen = scrape(&server);
    assert_eq!(value(&seen, "mediaserver_healthy{part=database}"), Some(0.0));
    assert_eq!(value(&seen, "mediaserver_healthy{part=storage}"), Some(1.0));
    assert!(value(&seen, "mediaserver_database_connections{state=used}") <= Some(1.0));
    database.thaw();
    let _ = wait_part(&server, "database", true);

    database.kill();
    let gone = wait_part(&server, "database", false).expect(503);
    assert!(!gone.text().contains("password") && !gone.text().contains("5432"), "{}", gone.text());
    database.restart();
    let _ = wait_part(&server, "database", true);
}

#[test]
fn a_storage_that_takes_nothing_is_told() {
    let scratch = Scratch::new();
    let url = format!("jdbc:sqlite:{}", scratch.join("metadata.sqlite").display());
    let server = Server::start(NO_XMPP, &[ANY, ("jdbc.db.url", &url)]);
    let _ = wait_part(&server, "storage", true);
    let names = fs::read_dir(server.storage()).expect("it is there").flatten().map(|entry| entry.file_name());
    assert_eq!(names.collect::<Vec<_>>(), [".store"], "a probe is left over");
    // The tests may run as root, whom no mode stops.
    fs::remove_dir_all(server.storage()).expect("it is there");
    let answer = wait_part(&server, "storage", false).expect(503);
    assert_eq!(answer.json()["parts"]["storage"]["reason"], "it failed; the log says why");
    assert_eq!(answer.json()["parts"]["database"]["ok"], true);
    server.wait_log("the storage fails: ");
}

#[test]
fn health_and_metrics_are_served_on_admin_bind_only() {
    let server = Server::start(NO_XMPP, &[ANY]);
    let public = |path: &str| format!("http://127.0.0.1:{}/{path}", server.port());
    for path in ["metrics", "healthz"] {
        // As any name that is no channel's; the manual of the interface has it so.
        let nothing = Request::get(&public("nobody")).send();
        assert_eq!(Request::get(&public(path)).send().text(), nothing.text());
        let url = admin_url(&server, path);
        let head = Request::new("HEAD", &url).send();
        assert!(head.body.is_empty() && head.header("content-length").is_some_and(|length| length != "0"));
        for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
            let refused = Request::new(method, &url).send().expect(405);
            assert_eq!(refused.header("allow"), Some("GET, HEAD"));
        }
        Request::get(&url).query("auth=x").send();
    }
    for path in ["", "a@example.org", "a@example.org/avatar", "metrics/", "healthz/x", "METRICS", "*"] {
        Request::get(&admin_url(&server, path)).send().expect(404);
    }
    assert_eq!(Request::get(&public("a@example.org/avatar")).send().status, 404);
}

#[test]
fn an_address_that_is_taken_is_told_with_its_setting() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let address = taken.local_addr().expect("a bound socket has an address").to_string();
    let scratch = Scratch::new();
    let file = scratch.join("mediaserver.properties");
    fs::create_dir(scratch.join("media")).expect("the scratch directory takes folders");
    let text = properties(0, NO_XMPP, &scratch.join("media"), &[("admin.bind", &address)]);
    fs::write(&file, text).expect("the scratch directory takes files");
    let (status, printed) = program(&["-c", &file.display().to_string()]);
    // As for the addresses of HTTP: it may be free in a moment, so a service manager may try again.
    assert_eq!(status, 1, "{printed}");
    assert!(printed.contains("admin.bind") && printed.contains(&address), "{printed}");
}
