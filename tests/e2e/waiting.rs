//! Requests that wait for people hold up nobody else.

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
        ("xmpp.reply.timeout", "60000"),
    ]);
    let (owner, public) = site.public_channel();
    let media = site.url(&format!("{public}/{}", site.upload(&owner, &public)));
    let users: Vec<Client> = (0..USERS)
        .map(|number| site.prosody.login(DOMAIN, &format!("silent{number}"), Policy::Ignore))
        .collect();
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
fn who_gives_up_waiting_costs_nothing() {
    let site = Site::start(&[("xmpp.reply.timeout", "60000")]);
    let (owner, public) = site.public_channel();
    let media = site.url(&format!("{public}/{}", site.upload(&owner, &public)));
    let user = site.user();
    user.set_policy(Policy::Ignore);
    for number in 0..8 {
        let connection = ask(&site, &user, &public);
        user.confirm(number).expect("the user is asked");
        drop(connection);
    }
    for confirm in user.confirms() {
        user.answer(&confirm, Policy::Minimal).expect("the user is connected");
    }
    user.set_policy(Policy::Echo);
    wait_for("the user to be asked again", || {
        let answer = Request::new("DELETE", &media).basic(user.jid()).send();
        (answer.status == 403).then_some(())
    });
    Request::get(&media).send().expect(200);
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
