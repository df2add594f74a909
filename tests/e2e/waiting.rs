//! Requests that wait for users delay no other requests.

use std::time::{Duration, Instant};

use crate::site::Site;
use crate::support::http::{Raw, Request, transaction};
use crate::support::prosody::DOMAIN;
use crate::support::wait_for;
use crate::support::xmpp_client::{Client, Policy};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

const USERS: usize = 50;
const EACH: usize = 6;

#[test]
fn downloads_go_on_while_300_requests_wait() {
    // All of the test's requests come from one address.
    let site = Site::start(&[
        ("http.connections.per.address.max", "1000"),
        ("xmpp.pending.per.address.max", "1000"),
        ("xmpp.pending.per.user.max", "16"),
        ("xmpp.reply.timeout", "60000"),
    ]);
    let owner = site.user();
    let users: Vec<Client> = (0..USERS)
        .map(|number| site.prosody.login(DOMAIN, &format!("silent{number}"), Policy::Ignore))
        .collect();
    let moderators = users.iter().map(|user| (user.bare(), "moderator"));
    let people: Vec<_> = moderators.chain([(owner.bare(), "owner")]).collect();
    let public = site.channel("open", &people);
    let media = site.url(&format!("{public}/{}", site.upload(&owner, &public)));
    let mut waiting = Vec::new();
    for user in &users {
        waiting.extend((0..EACH).map(|_| ask(&site, user, &public)));
    }
    for user in &users {
        user.confirm(EACH - 1).expect("all are asked");
    }

    let begun = Instant::now();
    for _ in 0..20 {
        let answer = Request::get(&media).send().expect(200);
        assert!(answer.took < Duration::from_secs(2), "{:?}", answer.took);
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    site.upload(&owner, &public);

    for user in &users {
        for confirm in user.confirms() {
            user.answer(&confirm, Policy::Deny).expect("the user is connected");
        }
    }
    for mut connection in waiting {
        assert_eq!(connection.answer().expect("every request is answered").status, 403);
    }
}

#[test]
fn a_client_that_gives_up_waiting_costs_nothing() {
    let site = Site::start(&[("xmpp.reply.timeout", "60000"), ("xmpp.pending.per.user.max", "24")]);
    let (user, public) = moderated_channel(&site);
    let media = site.url(&format!("{public}/{}", site.upload(&user, &public)));
    user.set_policy(Policy::Ignore);
    // The upload was the first.
    for number in 1..9 {
        let connection = ask(&site, &user, &public);
        user.confirm(number).expect("the user is asked");
        drop(connection);
    }
    for confirm in user.confirms() {
        user.answer(&confirm, Policy::Minimal).expect("the user is connected");
    }
    user.set_policy(Policy::Echo);
    wait_for("the user to be asked again", || {
        let answer = Request::new("DELETE", &site.url(&format!("{public}/unknown"))).basic(user.jid()).send();
        (answer.status == 404).then_some(())
    });
    Request::get(&media).send().expect(200);
}

#[test]
fn a_client_that_hangs_up_frees_its_place_at_once_and_one_that_half_closes_does_not() {
    let site = Site::start(&[
        ("xmpp.reply.timeout", "3600000"),
        ("xmpp.pending.per.user.max", "16"),
        ("xmpp.pending.max", "1"),
    ]);
    let (user, public) = moderated_channel(&site);
    user.set_policy(Policy::Ignore);
    for number in 0..4 {
        let connection = wait_for("a place", || admitted(ask(&site, &user, &public), &user, number));
        drop(connection);
    }
    // HTTP/1.0 is what web servers in front speak; they close when their clients do.
    let token = STANDARD.encode(format!("{}:{}", user.jid(), transaction()));
    let old = format!("DELETE /{public}/unknown HTTP/1.0\r\nAuthorization: Basic {token}\r\n\r\n");
    let old = wait_for("a place", || {
        let mut connection = Raw::connect(site.server.port());
        connection.send(&old);
        admitted(connection, &user, 4)
    });
    drop(old);

    let mut half_closed = wait_for("a place", || admitted(ask(&site, &user, &public), &user, 5));
    half_closed.end();
    assert_eq!(half_closed.answer().expect("a question whether it is there").status, 100);
    let mut refused = ask(&site, &user, &public);
    let refused = refused.answer().expect("no place is left");
    assert!(refused.status == 503 && refused.header("retry-after").is_some());
    let asked = user.confirm(5).expect("the user was asked");
    user.answer(&asked, Policy::Echo).expect("the user is connected");
    assert_eq!(half_closed.answer().expect("it still waits").status, 404);
    let given_up = || site.server.log().matches(" 499 0 ").count();
    wait_for("the lines of those that hung up", || (given_up() == 5).then_some(()));
}

#[test]
fn hanging_up_lets_nobody_ask_a_user_without_end() {
    let site = Site::start(&[("xmpp.reply.timeout", "3600000"), ("xmpp.pending.per.user.max", "6")]);
    let (user, public) = moderated_channel(&site);
    user.set_policy(Policy::Ignore);
    for number in 0..2 {
        drop(admitted(ask(&site, &user, &public), &user, number).expect("nobody has asked so often"));
        wait_for("the server to notice", || {
            (site.server.log().matches(" 499 0 ").count() > number).then_some(())
        });
    }
    assert_eq!(ask(&site, &user, &public).answer().expect("an answer").status, 429);
    assert_eq!(user.confirms().len(), 2);
    let first = user.confirm(0).expect("the user was asked");
    user.answer(&first, Policy::Deny).expect("the user is connected");
    let _waits = wait_for("a place", || admitted(ask(&site, &user, &public), &user, 2));
}

/// The connection, once its request has made the user be asked for the time of this number; nothing if it is refused.
fn admitted(mut connection: Raw, user: &Client, number: usize) -> Option<Raw> {
    wait_for("a question or an answer", || {
        if user.confirms().len() > number {
            return Some(true);
        }
        connection.has_answer().then_some(false)
    })
    .then_some(connection)
}

#[test]
fn an_ipv6_network_is_one_client_and_another_one_is_another() {
    let site = Site::start(&[
        ("http.trusted.proxies", "127.0.0.1"),
        ("xmpp.pending.per.address.max", "1"),
        ("xmpp.reply.timeout", "3600000"),
    ]);
    let (user, public) = moderated_channel(&site);
    user.set_policy(Policy::Ignore);
    let ask_from = |address: &str| {
        let token = STANDARD.encode(format!("{}:{}", user.jid(), transaction()));
        let mut connection = Raw::connect(site.server.port());
        connection.send(format!(
            "DELETE /{public}/unknown HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {address}\r\n\
             Authorization: Basic {token}\r\n\r\n"
        ));
        connection
    };
    let _first = ask_from("2001:db8:0:1::1");
    user.confirm(0).expect("the user is asked");
    let refused = ask_from("2001:db8:0:1:ffff::2").answer().expect("the network has its share");
    assert!(refused.status == 429 && refused.header("retry-after") == Some("30"));
    let _second = ask_from("2001:db8:0:2::1");
    user.confirm(1).expect("the user is asked for another network");
}

/// A public channel that is not the user's own, with a user who may delete what others uploaded.
fn moderated_channel(site: &Site) -> (Client, String) {
    let user = site.user();
    let channel = site.channel("open", &[(user.bare(), "moderator")]);
    (user, channel)
}

/// A DELETE that has to be confirmed; its answer is read later.
fn ask(site: &Site, user: &Client, channel: &str) -> Raw {
    let token = STANDARD.encode(format!("{}:{}", user.jid(), transaction()));
    let mut connection = Raw::connect(site.server.port());
    connection.send(format!(
        "DELETE /{channel}/unknown HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {token}\r\n\r\n"
    ));
    connection
}
