//! What no real XMPP server does, and a hostile or broken one might.

use std::time::Duration;

use crate::support::http::{Answer, Request};
use crate::support::prosody::{CHANNELS, COMPONENT};
use crate::support::scripted_peer::{Peer, Side, channel_service, result};
use crate::support::server::Server;
use crate::support::stanza::Stanza;
use crate::support::wait_for;
use crate::support::xmpp_client::{HTTP_AUTH, Policy, answer};

const MEMBER: &str = "member@example.org";

/// A server whose XMPP side is scripted; it waits 1.5 s for XMPP and caches nothing.
fn server(peer: &Peer) -> Server {
    let server = Server::start(peer.xmpp(), &[("xmpp.reply.timeout", "1500"), ("xmpp.cache.ttl", "0")]);
    peer.wait_login(Side::Component, 1);
    peer.wait_login(Side::Client, 1);
    server
}

/// Every channel is private and has one member, who confirms.
fn healthy(side: Side, stanza: &Stanza) -> Vec<String> {
    match (side, stanza.child("confirm", HTTP_AUTH)) {
        (Side::Component, Some(confirm)) => {
            let text = answer(Policy::Minimal, stanza, confirm).expect("this policy answers");
            vec![text.replacen("<message ", &format!("<message from='{MEMBER}/r' "), 1)]
        }
        _ => channel_service(stanza, "whitelist", &[(MEMBER, "member")]),
    }
}

fn read(server: &Server) -> Answer {
    let url = format!("http://127.0.0.1:{}/room@example.org", server.port());
    Request::get(&url).basic(&format!("{MEMBER}/r")).send()
}

/// Waits until both links are up again.
fn wait_healthy(server: &Server) {
    wait_for("a healthy answer", || (read(server).status == 200).then_some(()));
}

#[test]
fn a_healthy_peer_is_understood() {
    let peer = Peer::start(healthy);
    let server = server(&peer);
    wait_healthy(&server);
}

#[test]
fn silence_is_unavailable_in_time() {
    let peer = Peer::start(|_, _| Vec::new());
    let server = server(&peer);
    let answer = read(&server).expect(503);
    assert!(answer.took < Duration::from_secs(15), "{:?}", answer.took);
    assert!(answer.header("retry-after").is_some());
}

#[test]
fn an_answer_of_someone_else_is_not_believed() {
    let peer = Peer::start(|side, stanza| {
        let honest = healthy(side, stanza);
        let asks_for_access = stanza.all("configure").len() == 1;
        if asks_for_access {
            let open = channel_service(stanza, "open", &[]);
            let forged = open.into_iter().map(|text| text.replace(CHANNELS, "evil.example.org"));
            return forged.chain(honest).collect();
        }
        honest
    });
    let server = server(&peer);
    wait_healthy(&server);
    let url = format!("http://127.0.0.1:{}/room@example.org", server.port());
    Request::get(&url).send().expect(401);
}

#[test]
fn an_error_bounce_is_a_refusal() {
    let peer = Peer::start(|side, stanza| {
        if stanza.child("confirm", HTTP_AUTH).is_none() {
            return healthy(side, stanza);
        }
        let (id, to) = (stanza.attribute("id"), stanza.attribute("to"));
        vec![format!(
            "<message type='error' id='{id}' from='{to}' to='{COMPONENT}'><error type='cancel'>\
             <service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
        )]
    });
    let server = server(&peer);
    wait_for("both links", || (read(&server).status == 403).then_some(()));
    let answer = read(&server).expect(403);
    assert!(answer.took < Duration::from_millis(1400), "{:?}", answer.took);
}

#[test]
fn d15_a_loop_of_pages_ends() {
    let peer = Peer::start(|side, stanza| {
        if stanza.all("affiliations").is_empty() {
            return healthy(side, stanza);
        }
        let page = "<pubsub xmlns='http://jabber.org/protocol/pubsub'><affiliations>\
                    <affiliation jid='other@example.org' affiliation='member'/></affiliations>\
                    <set xmlns='http://jabber.org/protocol/rsm'><last>other@example.org</last>\
                    <count>1000000</count></set></pubsub>";
        vec![result(stanza, page)]
    });
    let server = server(&peer);
    let pages = || {
        let seen = peer.seen(Side::Client);
        seen.iter().filter(|stanza| !stanza.all("affiliations").is_empty()).count()
    };
    let answer = wait_for("a lookup", || Some(read(&server)).filter(|_| pages() > 0));
    assert!([403, 503].contains(&answer.status), "{}", answer.status);
    let pages = pages();
    assert!(pages < 1000, "{pages} pages were asked for");
}

#[test]
fn words_nobody_knows_are_nothing() {
    let peer = Peer::start(|side, stanza| match side {
        Side::Component => healthy(side, stanza),
        Side::Client => channel_service(stanza, "unheard-of", &[(MEMBER, "followerPlusPlus")]),
    });
    let server = server(&peer);
    wait_for("both links", || (read(&server).status == 403).then_some(()));
    let url = format!("http://127.0.0.1:{}/room@example.org", server.port());
    Request::get(&url).send().expect(401);
}

#[test]
fn a_broken_stream_is_opened_anew() {
    let laughs = "<!DOCTYPE lolz [<!ENTITY a \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\">\
                  <!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;\">]><message><body>&b;</body></message>";
    let deep = "<a>".repeat(100_000);
    let long = format!("<message><body>{}</body></message>", "x".repeat(8 * 1024 * 1024));
    let peer = Peer::start(healthy);
    let server = server(&peer);
    wait_healthy(&server);
    let mut logins = 1;
    for hostile in ["<message></iq>", "</stream:stream>", "<?php evil ?>", laughs, &deep, &long] {
        for side in [Side::Component, Side::Client] {
            peer.inject(side, hostile);
        }
        logins += 1;
        peer.wait_login(Side::Component, logins);
        peer.wait_login(Side::Client, logins);
        wait_healthy(&server);
    }
}

#[test]
fn a_line_cut_within_a_stanza_is_opened_anew() {
    let peer = Peer::start(healthy);
    let server = server(&peer);
    wait_healthy(&server);
    for side in [Side::Component, Side::Client] {
        peer.inject(side, "<message from='a@example.org' to='media.exam");
        peer.cut(side);
        peer.wait_login(side, 2);
    }
    wait_healthy(&server);
}
