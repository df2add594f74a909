//! Prompts: which users are asked to confirm a request, how often, and the refusals.

use std::time::Duration;

use crate::private_channels::{IMPATIENCE, impatient};
use crate::site::{Site, flush, unique};
use crate::support::http::{Answer, Request};
use crate::support::prosody::{COMPONENT, DOMAIN};
use crate::support::scripted_peer::{Peer, Side, channel_service};
use crate::support::server::Server;
use crate::support::stanza::Stanza;
use crate::support::wait_for;
use crate::support::xmpp_client::Policy;
use crate::watching::{ANY, admin_url};

#[test]
fn nobody_is_asked_without_a_right() {
    let site = impatient();
    let (owner, channel) = site.public_channel();
    let media = site.url(&format!("{channel}/{}", site.upload(&owner, &channel)));
    let stranger = site.user();
    let own = site.own_channel("open", &stranger);
    for request in [
        site.upload_request(&channel),
        Request::new("DELETE", &media),
        Request::new("POST", &media).field("title", "x"),
    ] {
        let answer = request.basic(stranger.jid()).send().expect(403);
        assert_eq!(answer.member("title"), "Not allowed");
        assert!(answer.took < IMPATIENCE, "{:?}", answer.took);
    }
    let nowhere = site.upload_request(&format!("{}@{DOMAIN}", unique("nochannel"))).basic(stranger.jid());
    assert_eq!(nowhere.send().expect(403).member("title"), "Not confirmed");
    flush(&stranger);
    site.upload(&stranger, &own);
    assert_eq!(stranger.confirms().len(), 1, "asked about the own channel only");
}

/// Everything in an answer that its client sees, but the date.
fn visible(answer: &Answer) -> (u16, Vec<(String, String)>, String) {
    let fields = answer.headers.iter().filter(|(name, _)| name != "date").cloned().collect();
    (answer.status, fields, answer.text())
}

#[test]
fn on_a_private_channel_a_stranger_and_a_silent_member_get_the_same_refusal() {
    let site = impatient();
    let [member, bare_member, stranger, bare_stranger] = [(); 4].map(|()| site.user());
    let away = format!("{}@{DOMAIN}", unique("away"));
    let members = [member.bare(), bare_member.bare(), away.as_str()].map(|jid| (jid, "owner"));
    let channel = site.channel("whitelist", &members);
    let url = site.url(&channel);
    for user in [&member, &bare_member, &stranger, &bare_stranger] {
        user.set_policy(Policy::Ignore);
    }
    let nobody = format!("{}@{DOMAIN}", unique("nobody"));
    // The channel's rights are cached from here on.
    let jids = [
        member.jid().to_owned(),
        bare_member.bare().to_owned(),
        format!("{}/gone", bare_member.bare()),
        format!("{away}/gone"),
        away.clone(),
        stranger.jid().to_owned(),
        bare_stranger.bare().to_owned(),
        format!("{nobody}/gone"),
        nobody,
    ];
    let waiting: Vec<_> = jids.iter().map(|jid| Request::get(&url).basic(jid).send_apart()).collect();
    let answers: Vec<_> = waiting.into_iter().map(|one| one.join().expect("curl gets an answer")).collect();
    // Where the resource is gone, Prosody may hand the prompt to another one.
    assert!(member.confirms().len() == 1 && !bare_member.confirms().is_empty());
    assert!(stranger.confirms().is_empty() && bare_stranger.confirms().is_empty());
    for (jid, answer) in jids.iter().zip(&answers) {
        assert_eq!(visible(answer), visible(&answers[0]), "{jid}");
        let off = answer.took.abs_diff(answers[0].took);
        assert!(answer.status == 403 && off < Duration::from_millis(1500), "{jid}: {off:?}");
    }
}

#[test]
fn a_user_who_never_answers_is_asked_seldom_until_they_write() {
    let site = Site::start(&[("xmpp.reply.timeout", "1000")]);
    let user = site.user();
    user.set_policy(Policy::Ignore);
    let channel = user.bare().to_owned();
    let ask = || site.upload_request(&channel).basic(user.jid()).send();
    let mut asked = 0;
    for _ in 0..6 {
        ask().expect(403);
        asked += 1;
    }
    let refused = ask().expect(429);
    assert_eq!(refused.header("retry-after"), Some("600"));
    assert!(
        refused.text().contains(&format!("Write to {COMPONENT} from your XMPP client")),
        "{}",
        refused.text()
    );
    flush(&user);
    assert_eq!(user.confirms().len(), asked);
    user.send(&format!("<message type='chat' to='{COMPONENT}'><body>hello</body></message>"))
        .expect("connected");
    flush(&user);
    ask().expect(403);
    user.set_policy(Policy::Echo);
    wait_for("a confirmation in time", || (ask().status == 201).then_some(()));
}

#[test]
fn one_address_takes_no_more_than_its_share_of_a_users_prompts() {
    let site = Site::start(&[("xmpp.reply.timeout", "60000")]);
    let (user, channel) = site.public_channel();
    user.set_policy(Policy::Ignore);
    let from = |address: &str| {
        site.upload_request(&channel).with(&["--interface", address]).basic(user.jid()).send_apart()
    };
    let waiting: Vec<_> = (0..3).map(|_| from("127.0.0.2")).collect();
    user.confirm(2).expect("three are asked");
    from("127.0.0.2").join().expect("curl gets an answer").expect(429);
    let own = from("127.0.0.3");
    let asked = user.confirm(3).expect("another network has places left");
    user.answer(&asked, Policy::Minimal).expect("the user is connected");
    own.join().expect("curl gets an answer").expect(201);
    for confirm in user.confirms() {
        user.answer(&confirm, Policy::Deny).expect("the user is connected");
    }
    for request in waiting {
        request.join().expect("curl gets an answer").expect(403);
    }
}

#[test]
fn a_service_that_refuses_our_account_is_told_to_users_and_operators() {
    let peer = Peer::start(|side, stanza| match (side, stanza.all("affiliations").is_empty()) {
        (Side::Client, false) => {
            let (id, from) = (stanza.attribute("id"), stanza.attribute("to"));
            vec![format!(
                "<iq type='error' id='{id}' from='{from}'><error type='auth'>\
                 <forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
            )]
        }
        (Side::Client, true) => channel_service(stanza, "open", &[]),
        (Side::Component, _) => Vec::new(),
    });
    let server = Server::start(peer.xmpp(), &[ANY, ("xmpp.cache.ttl", "0")]);
    let url = |path: &str| format!("http://127.0.0.1:{}/{path}", server.port());
    wait_for("both links", || (Request::get(&url("a@example.org")).send().status == 200).then_some(()));
    let health = || Request::get(&admin_url(&server, "healthz")).send().expect(200).text();
    assert!(!health().contains("notes"), "{}", health());
    for channel in ["room@example.org", "other@example.org"] {
        let request = Request::new("DELETE", &url(&format!("{channel}/x"))).basic("alice@example.org/phone");
        let answer = request.send().expect(503);
        assert!(answer.text().contains("does not give this server the affiliations"), "{}", answer.text());
    }
    server.wait_log(
        "does not give mediaserver@example.org the affiliations of the node /user/room@example.org/posts",
    );
    assert_eq!(server.log().matches("the affiliations of the node").count(), 1, "one line a minute");
    assert!(health().contains("a channel service refuses this server's account"), "{}", health());
    let asked = |stanza: &Stanza| stanza.child("confirm", "http://jabber.org/protocol/http-auth").is_some();
    assert!(!peer.seen(Side::Component).iter().any(asked), "somebody was asked");
}
