//! Access lines: they name the asked user, and the reason of a refusal.

use crate::site::Site;
use crate::support::http::Request;
use crate::support::wait_for;
use crate::support::xmpp_client::Policy;

/// The access line of the request to this path that had this status.
fn line(site: &Site, path: &str, status: u16) -> String {
    wait_for("the access line", || {
        let log = site.server.log();
        let is_it = |line: &&str| line.contains(&format!(" /{path} {status} "));
        log.lines().find(is_it).map(str::to_owned)
    })
}

#[test]
fn a_403_is_logged_with_its_reason_and_with_the_address_that_was_asked() {
    let site = Site::start(&[("xmpp.reply.timeout", "1s")]);
    let user = site.user();
    let upload = |channel: &str| site.upload_request(channel).basic(user.jid());

    let [denied, late] = [(); 2].map(|()| site.channel("whitelist", &[(user.bare(), "publisher")]));
    user.set_policy(Policy::Deny);
    upload(&denied).send().expect(403);
    user.set_policy(Policy::Ignore);
    upload(&late).send().expect(403);
    user.set_policy(Policy::Echo);
    let forbidden = site.channel("open", &[]);
    upload(&forbidden).send().expect(403);
    for (channel, outcome) in [(&denied, "denied"), (&late, "timeout"), (&forbidden, "affiliation")] {
        let line = line(&site, channel, 403);
        let expected = format!("ms outcome={outcome} claimed={}", user.jid());
        assert!(line.contains(" - POST ") && line.ends_with(&expected), "{line}");
    }

    let own = site.own_channel("open", &user);
    upload(&own).send().expect(201);
    let line = line(&site, &own, 201);
    assert!(line.contains(&format!(" {} POST ", user.bare())) && line.ends_with("ms"), "{line}");
}

#[test]
fn an_abandoned_request_is_logged_with_the_address_that_was_asked() {
    let site = Site::start(&[]);
    let (user, channel) = site.public_channel();
    user.set_policy(Policy::Ignore);
    let abandoned = site.upload_request(&channel).basic(user.jid()).with(&["--max-time", "1"]).try_send();
    assert!(abandoned.is_err(), "curl waits for one second");
    let line = line(&site, &channel, 499);
    assert!(line.ends_with(&format!("ms claimed={}", user.jid())), "{line}");
}

#[test]
fn the_channel_service_is_logged_once_while_it_stays_the_same() {
    let site = Site::start(&[("xmpp.cache.ttl", "0")]);
    for _ in 0..3 {
        let channel = site.channel("open", &[]);
        Request::get(&site.url(&channel)).send().expect(200);
    }
    site.server.wait_log("the channel service of example.org is channels.example.org");
    let told = site.server.log().matches("the channel service of example.org is ").count();
    assert_eq!(told, 1, "{}", site.server.log());
}
