//! Hostile and broken XMPP servers.

use std::io::Read;
use std::net::TcpListener;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::site::Site;
use crate::support::http::{Answer, Raw, Request};
use crate::support::load::memory;
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
fn a_healthy_server_works() {
    let peer = Peer::start(healthy);
    let server = server(&peer);
    wait_healthy(&server);
}

#[test]
fn a_silent_service_gives_503_in_time() {
    let peer = Peer::start(|_, _| Vec::new());
    let server = server(&peer);
    let answer = read(&server).expect(503);
    assert!(answer.took < Duration::from_secs(15), "{:?}", answer.took);
    assert!(answer.header("retry-after").is_some());
}

#[test]
fn a_reply_from_another_sender_is_ignored() {
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
fn on_an_open_channel_a_bounced_prompt_is_a_denial() {
    let peer = Peer::start(|side, stanza| {
        if stanza.child("confirm", HTTP_AUTH).is_none() {
            return match side {
                Side::Component => healthy(side, stanza),
                Side::Client => channel_service(stanza, "open", &[(MEMBER, "owner")]),
            };
        }
        let (id, to) = (stanza.attribute("id"), stanza.attribute("to"));
        vec![format!(
            "<message type='error' id='{id}' from='{to}' to='{COMPONENT}'><error type='cancel'>\
             <service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
        )]
    });
    let server = server(&peer);
    let url = format!("http://127.0.0.1:{}/room@example.org/x", server.port());
    let delete = || Request::new("DELETE", &url).basic(&format!("{MEMBER}/r")).send();
    let answer = wait_for("both links", || Some(delete()).filter(|answer| answer.status == 403));
    assert_eq!(answer.member("title"), "Denied");
}

#[test]
fn d15_endless_pages_end() {
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
fn unknown_access_models_and_affiliations_give_no_rights() {
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
fn a_broken_stream_is_reopened() {
    let laughs = "<!DOCTYPE lolz [<!ENTITY a \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\">\
                  <!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;\">]><message><body>&b;</body></message>";
    let long = format!("<message><body>{}</body></message>", "x".repeat(17 * 1024 * 1024));
    let peer = Peer::start(healthy);
    let server = server(&peer);
    wait_healthy(&server);
    let mut logins = 1;
    for hostile in ["<message></iq>", "</stream:stream>", "<?php evil ?>", laughs, &long] {
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
fn a_connection_cut_within_a_stanza_is_reopened() {
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

/// Any user of XMPP may send these: the parser would take a second for the first, and gigabytes for the second.
#[test]
fn a_stanza_beyond_the_limits_is_dropped() {
    let deep = format!("<message><a>{}{}</a></message>", "<a>".repeat(75_000), "</a>".repeat(75_000));
    let wide = format!("<message><a xmlns='{}'>{}</a></message>", "n".repeat(400_000), "<b/>".repeat(15_000));
    let long = format!("<message><body>{}</body></message>", "x".repeat(8 * 1024 * 1024));
    let peer = Peer::start(healthy);
    let server = server(&peer);
    wait_healthy(&server);
    for hostile in [deep, wide, long] {
        for side in [Side::Component, Side::Client] {
            peer.inject(side, &hostile);
        }
        // To parse so much may take a busy machine longer than the server waits for a reply.
        wait_healthy(&server);
    }
    assert!(memory(server.pid(), "VmHWM") < 200 * 1024, "{} KiB", memory(server.pid(), "VmHWM"));
    let text = server.log();
    assert!(!text.contains("is down"), "{text}");
}

#[test]
fn a_list_of_a_million_people_gives_503_and_is_not_kept() {
    let row = "<affiliation jid='other@example.org' affiliation='member'/>";
    let list = format!(
        "<pubsub xmlns='http://jabber.org/protocol/pubsub'><affiliations>{}</affiliations></pubsub>",
        row.repeat(1_000_000)
    );
    let peer = Peer::start(move |side, stanza| match stanza.all("affiliations").is_empty() {
        true => healthy(side, stanza),
        false => vec![result(stanza, &list)],
    });
    let server = server(&peer);
    let answer =
        wait_for("both links", || Some(read(&server)).filter(|_| !peer.seen(Side::Client).is_empty()));
    answer.expect(503);
    peer.set_script(healthy);
    wait_healthy(&server);
    assert!(memory(server.pid(), "VmHWM") < 200 * 1024, "{} KiB", memory(server.pid(), "VmHWM"));
}

/// Questions, forgeries and rubbish, while someone is asked who then says yes.
#[test]
fn a_flood_does_not_delay_a_confirmation() {
    let peer = Peer::start(|side, stanza| match stanza.child("confirm", HTTP_AUTH) {
        Some(_) => Vec::new(),
        None => healthy(side, stanza),
    });
    let server = Server::start(peer.xmpp(), &[("xmpp.reply.timeout", "60000")]);
    let url = format!("http://127.0.0.1:{}/room@example.org", server.port());
    wait_for("the client's link", || (Request::get(&url).send().status == 401).then_some(()));
    let asking = Request::get(&url).basic(&format!("{MEMBER}/r")).send_apart();
    let is_asked = |stanza: &Stanza| stanza.child("confirm", HTTP_AUTH).is_some();
    let asked = peer.wait_stanza(Side::Component, "a confirm request", is_asked);
    let forged: String = healthy(Side::Component, &asked)[0].replace(MEMBER, "mallory@example.org");
    let flood: String = (0..4000)
        .map(|number| {
            format!(
                "<iq type='get' id='{number}' from='m@evil.test/x' to='{COMPONENT}'>\
                 <query xmlns='http://jabber.org/protocol/disco#info'/></iq><presence from='m@evil.test/{number}'/>{forged}"
            )
        })
        .collect();
    peer.inject(Side::Component, &flood);
    assert!(!asking.is_finished(), "the flood was taken for an answer");
    peer.inject(Side::Component, &healthy(Side::Component, &asked)[0]);
    asking.join().expect("an answer").expect(200);
    assert!(memory(server.pid(), "VmHWM") < 200 * 1024, "{} KiB", memory(server.pid(), "VmHWM"));
}

/// Kills Prosody in each state in which the media server waits for it.
#[test]
fn requests_get_503_in_time_when_prosody_is_killed_and_work_once_it_is_back() {
    let settings = [("xmpp.cache.ttl", "0"), ("xmpp.reply.timeout", "60000"), ("logging.level", "debug")];
    let mut site = Site::start(&settings);
    let (user, channel) = site.public_channel();
    let url = site.url(&channel);
    user.set_policy(Policy::Ignore);
    let in_time = |answer: Answer| {
        let answer = answer.expect(503);
        assert!(answer.took < Duration::from_secs(20), "{:?}", answer.took);
    };

    let upload = site.upload_request(&channel).basic(user.jid()).send_apart();
    user.confirm(0).expect("the user is asked");
    site.prosody.kill();
    in_time(upload.join().expect("an answer"));
    site.prosody.start_again();
    site.wait_ready(&channel);

    let lookups = |site: &Site| site.server.log().matches("to the XMPP client: <iq").count();
    let before = lookups(&site);
    site.prosody.signal("STOP");
    let reading = Request::get(&url).send_apart();
    wait_for("a lookup", || (lookups(&site) > before).then_some(()));
    site.prosody.kill();
    in_time(reading.join().expect("an answer"));

    let ports = [site.prosody.client_port(), site.prosody.component_port()];
    let listeners = ports.map(|port| TcpListener::bind(("127.0.0.1", port)).expect("Prosody's port is free"));
    let mut half = listeners.each_ref().map(|listener| listener.accept().expect("a log-in begins").0);
    for socket in &mut half {
        assert!(socket.read(&mut [0; 16]).is_ok_and(|count| count > 0), "no log-in begins");
    }
    in_time(Request::get(&url).send());
    drop((half, listeners));
    site.prosody.start_again();
    site.wait_ready(&channel);
}

/// One request of its own user for each of these header fields; all users are to be asked.
fn ask_for(server: &Server, forwarded: &[&str]) -> Vec<Raw> {
    let ask = |(number, forwarded): (usize, &&str)| {
        let token = STANDARD.encode(format!("user{number}@example.org/r:t"));
        let mut connection = Raw::connect(server.port());
        connection.send(format!(
            "GET /room@example.org HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {token}\r\n{forwarded}\r\n"
        ));
        connection
    };
    forwarded.iter().enumerate().map(ask).collect()
}

#[test]
fn a_forged_forwarded_address_does_not_evade_the_limit() {
    let users = [0, 1, 2].map(|number| format!("user{number}@example.org"));
    let silent = move |side, stanza: &Stanza| match side {
        Side::Component => Vec::new(),
        Side::Client => {
            channel_service(stanza, "whitelist", &users.each_ref().map(|user| (user.as_str(), "member")))
        }
    };
    let own = [
        "X-Forwarded-For: 198.51.100.1\r\n",
        "X-Forwarded-For: 198.51.100.2\r\n",
        "Forwarded: for=198.51.100.3\r\nX-Real-IP: 198.51.100.3\r\n",
    ];
    let behind = [
        "X-Forwarded-For: 203.0.113.1, 198.51.100.1\r\n",
        "X-Forwarded-For: 203.0.113.2\r\nX-Forwarded-For: ::ffff:198.51.100.1\r\n",
        "X-Forwarded-For: 203.0.113.3, 198.51.100.1, 127.0.0.1\r\n",
    ];
    for (trusted, requests) in [("", own), ("::ffff:127.0.0.1", behind)] {
        let peer = Peer::start(silent.clone());
        let settings = [("xmpp.pending.per.address.max", "2"), ("http.trusted.proxies", trusted)];
        let server = Server::start(peer.xmpp(), &settings);
        peer.wait_login(Side::Component, 1);
        let url = format!("http://127.0.0.1:{}/room@example.org", server.port());
        wait_for("the client's link", || (Request::get(&url).send().status == 401).then_some(()));
        let mut waiting = ask_for(&server, &requests[..2]);
        wait_for("two confirm requests", || (peer.seen(Side::Component).len() == 2).then_some(()));
        let mut third = ask_for(&server, &requests[2..]).pop().expect("one request");
        assert_eq!(third.answer().expect("an answer").status, 429, "{trusted:?}");
        if !trusted.is_empty() {
            waiting.extend(ask_for(&server, &["X-Forwarded-For: 198.51.100.9\r\n"]));
            wait_for("a third one", || (peer.seen(Side::Component).len() == 3).then_some(()));
        }
    }
}
