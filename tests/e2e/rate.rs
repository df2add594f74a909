//! `http.rate.limit`: a client with too many requests must wait; others need not.

use crate::site::Site;
use crate::support::http::{Raw, Request};

/// What may come at once at one request a second.
const BURST: usize = 10;

/// A site with these settings that knows an open channel. Its requests come from proxies until a test limits them.
fn site(settings: &[(&str, &str)]) -> (Site, String) {
    let site = Site::start(settings);
    let channel = site.channel("open", &[]);
    (site, channel)
}

/// So many requests on one connection, sent at once, of a client that a proxy names; the statuses of their answers.
fn pipelined(site: &Site, channel: &str, forwarded: &str, requests: usize) -> Vec<u16> {
    let mut raw = Raw::connect(site.server.port());
    let request = format!("GET /{channel} HTTP/1.1\r\nHost: x\r\n{forwarded}\r\n");
    raw.send(request.repeat(requests));
    (0..requests).map(|_| raw.answer().expect("an answer to each").status).collect()
}

fn count(statuses: &[u16], status: u16) -> usize {
    statuses.iter().filter(|known| **known == status).count()
}

#[test]
fn a_client_behind_a_proxy_is_limited_and_the_proxy_is_not() {
    // The proxy's address is written as an IPv4-mapped one, and comes as the other.
    let (site, channel) = site(&[("http.rate.limit", "1"), ("http.trusted.proxies", "::ffff:127.0.0.1")]);
    let statuses = pipelined(&site, &channel, "X-Forwarded-For: 192.0.2.1\r\n", 60);
    // The burst passes, and one more for each second that it took; all were answered, on a connection that stayed.
    let passed = count(&statuses, 200);
    assert!((BURST..30).contains(&passed) && passed + count(&statuses, 429) == 60, "{statuses:?}");
    assert!(statuses[..BURST].iter().all(|status| *status == 200), "{statuses:?}");
    let mapped = pipelined(&site, &channel, "X-Forwarded-For: ::ffff:192.0.2.1\r\n", 30);
    assert!(count(&mapped, 429) >= 15, "the same client, written otherwise: {mapped:?}");

    let others = ["X-Forwarded-For: 192.0.2.2\r\n", "X-Forwarded-For: 2001:db8::1\r\n"];
    for other in others {
        assert_eq!(count(&pipelined(&site, &channel, other, BURST), 200), BURST, "{other}");
    }
    assert_eq!(count(&pipelined(&site, &channel, "", 60), 200), 60, "the proxy itself");
}

#[test]
fn a_spoofed_address_changes_nothing() {
    let (site, channel) = site(&[("http.rate.limit", "0")]);
    let file = site.server.configuration();
    let text = std::fs::read_to_string(&file).expect("the configuration is there");
    std::fs::write(&file, format!("{text}http.rate.limit=1\n")).expect("the scratch directory takes files");
    site.server.signal("HUP");
    let url = site.url(&channel);
    let refused = crate::support::wait_for("the limit", || {
        (0..2 * BURST).map(|_| Request::get(&url).send()).find(|answer| answer.status == 429)
    });
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(refused.header("content-type"), Some("application/problem+json"));
    // A head for each of many clients, on one connection, from an address that nobody trusts.
    let mut raw = Raw::connect(site.server.port());
    for client in 0..30 {
        let forwarded = format!("X-Forwarded-For: 192.0.2.{client}\r\n");
        raw.send(format!("GET /{channel} HTTP/1.1\r\nHost: x\r\n{forwarded}\r\n"));
    }
    let statuses: Vec<u16> = (0..30).map(|_| raw.answer().expect("an answer to each").status).collect();
    assert!(count(&statuses, 429) >= 15, "{statuses:?}");
}
