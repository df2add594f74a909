//! The XMPP links: two servers with one account, the end of an outage, names in other scripts.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::site::{Site, photo, xmpp_of};
use crate::support::http::Request;
use crate::support::prosody::{ABSENT, IDN_TOPICS, IDN_TOPICS_ASCII};
use crate::support::scripted_peer::{Peer, Side, channel_service};
use crate::support::server::Server;
use crate::support::wait_for;
use crate::support::xmpp_client::{HTTP_AUTH, Policy, answer};

#[test]
fn two_servers_may_share_one_account() {
    let site = Site::start(&[("xmpp.cache.ttl", "0")]);
    let subdomain = ABSENT.split('.').next().expect("a split gives one part");
    let second = Server::start(
        xmpp_of(&site.prosody),
        &[("xmpp.cache.ttl", "0"), ("xmpp.component.subdomain", subdomain)],
    );
    let channel = site.channel("open", &[]);
    second.wait_log("XMPP client connected");
    let url = format!("http://127.0.0.1:{}/{channel}", second.port());
    wait_for("the second server", || {
        Request::get(&url).try_send().ok().filter(|answer| answer.status == 200)
    });
    // One that throws the other out is thrown out itself half a second later.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        Request::get(&site.url(&channel)).send().expect(200);
        Request::get(&url).send().expect(200);
    }
    for log in [site.server.log(), second.log()] {
        assert!(!log.contains("is down"), "{log}");
        assert_eq!(log.matches("XMPP client connected").count(), 1, "{log}");
    }
}

#[test]
fn an_outage_is_over_soon_after_its_end() {
    const ATTEMPTS: usize = 7;
    let mut site = Site::start(&[]);
    site.prosody.stop();
    // Takes connections in its place, and ends each at once: pauses that double would be up to 16 s by then.
    let listener = TcpListener::bind(("127.0.0.1", site.prosody.client_port())).expect("the port is free");
    let mut last = Instant::now();
    for number in 0..ATTEMPTS {
        drop(listener.accept().expect("the server tries again"));
        let pause = last.elapsed();
        assert!(pause < Duration::from_secs(7), "{pause:?} before attempt {number}");
        last = Instant::now();
    }
    drop(listener);
    site.prosody.start_again();
    let begun = Instant::now();
    let logins = |link: &str| site.server.log().matches(&format!("{link} connected")).count();
    wait_for("both links", || (logins("XMPP client") == 2 && logins("XMPP component") == 2).then_some(()));
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(7), "{took:?}");
}

#[test]
fn a_channel_of_a_domain_in_another_script_has_one_name() {
    let site = Site::shared();
    let (unicode, ascii) = (format!("room@{IDN_TOPICS}"), format!("room@{IDN_TOPICS_ASCII}"));
    let user = site.user();
    let made = site.admin.create_channel(IDN_TOPICS, &unicode, "open", &[(user.bare(), "publisher")]);
    made.expect("the channel service makes channels");
    let id = site.upload(&user, &ascii);
    for path in [&unicode, &ascii, &ascii.to_uppercase().replace("ROOM", "room")] {
        let media = Request::get(&site.url(&format!("{path}/{id}/metadata"))).send().expect(200);
        assert_eq!(media.member("entityId"), unicode, "{path}");
    }
    assert!(site.stored(&unicode, &id).exists() && !site.stored(&ascii, &id).exists());
}

#[test]
fn an_address_may_have_an_emoji() {
    const USER: &str = "shrug🤷@example.org";
    const JID: &str = "shrug🤷@example.org/Handy 🤷";
    let peer = Peer::start(|side, stanza| match (side, stanza.child("confirm", HTTP_AUTH)) {
        (Side::Component, Some(confirm)) => {
            let text = answer(Policy::Minimal, stanza, confirm).expect("this policy answers");
            vec![text.replacen("<message ", &format!("<message from='{JID}' "), 1)]
        }
        _ => channel_service(stanza, "whitelist", &[(USER, "publisher")]),
    });
    let server = Server::start(peer.xmpp(), &[]);
    peer.wait_login(Side::Component, 1);
    peer.wait_login(Side::Client, 1);
    let url = format!("http://127.0.0.1:{}/room@example.org", server.port());
    let uploaded = Request::new("POST", &url).file(&photo(), "image/jpeg").basic(JID).send().expect(201);
    assert_eq!(uploaded.member("author"), USER);
    Request::get(&url).auth(JID).send().expect(200);
    let asked = peer.seen(Side::Component);
    assert!(asked.iter().all(|stanza| stanza.attribute("to") == JID), "{asked:?}");
}
