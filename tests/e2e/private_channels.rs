//! Who may do what in a channel that is not public.

use std::time::Duration;

use crate::site::{Site, flush, photo_bytes, unique};
use crate::support::http::Request;
use crate::support::prosody::{COMPONENT, TOPICS};
use crate::support::xmpp_client::{Client, Policy};

/// A private channel with one user of every affiliation, and a media of its publisher.
struct Channel {
    owner: Client,
    moderator: Client,
    publisher: Client,
    member: Client,
    outcast: Client,
    stranger: Client,
    name: String,
    media: String,
}

fn private_channel(site: &Site) -> Channel {
    let [owner, moderator, publisher, member, outcast, stranger] = [(); 6].map(|()| site.user());
    let name = site.channel(
        "whitelist",
        &[
            (owner.bare(), "owner"),
            (moderator.bare(), "moderator"),
            (publisher.bare(), "publisher"),
            (member.bare(), "member"),
            (outcast.bare(), "outcast"),
        ],
    );
    let media = site.url(&format!("{name}/{}", site.upload(&publisher, &name)));
    Channel { owner, moderator, publisher, member, outcast, stranger, name, media }
}

#[test]
fn members_read() {
    let site = Site::shared();
    let channel = private_channel(site);
    for user in [&channel.owner, &channel.moderator, &channel.publisher, &channel.member] {
        let answer = Request::get(&channel.media).basic(user.jid()).send().expect(200);
        assert!(answer.body == photo_bytes(), "other bytes came down");
        let caching = answer.header("cache-control").unwrap_or_default().to_owned();
        assert!(caching.contains("private"), "what is private may not be kept by shared caches: {caching}");
        Request::get(&format!("{}/metadata", channel.media)).auth(user.jid()).send().expect(200);
        Request::get(&site.url(&channel.name)).auth(user.bare()).send().expect(200);
        Request::new("HEAD", &channel.media).basic(user.jid()).send().expect(200);
    }
}

#[test]
fn others_read_nothing() {
    let site = Site::shared();
    let channel = private_channel(site);
    let list = site.url(&channel.name);
    for url in [&channel.media, &format!("{}/metadata", channel.media), &list] {
        Request::get(url).send().expect(401);
        for user in [&channel.stranger, &channel.outcast] {
            let answer = Request::get(url).basic(user.jid()).send().expect(403);
            assert!(!answer.text().contains("A title"), "{}", answer.text());
        }
    }
    assert_eq!(channel.stranger.confirms().len(), 3, "rights are looked up after the confirmation");
}

#[test]
fn publishers_upload() {
    let site = Site::shared();
    let channel = private_channel(site);
    for user in [&channel.owner, &channel.moderator, &channel.publisher] {
        site.upload(user, &channel.name);
    }
    for user in [&channel.member, &channel.outcast, &channel.stranger] {
        site.upload_request(&channel.name).basic(user.jid()).send().expect(403);
    }
    site.upload_request(&channel.name).send().expect(401);
}

#[test]
fn moderators_change_and_delete() {
    let site = Site::shared();
    let channel = private_channel(site);
    for user in [&channel.member, &channel.outcast, &channel.stranger] {
        Request::new("POST", &channel.media).basic(user.jid()).field("title", "x").send().expect(403);
        Request::new("DELETE", &channel.media).basic(user.jid()).send().expect(403);
    }
    for user in [&channel.moderator, &channel.owner] {
        Request::new("POST", &channel.media).basic(user.jid()).field("title", "Better").send().expect(200);
    }
    Request::new("DELETE", &channel.media).basic(channel.moderator.jid()).send().expect(200);
    Request::get(&channel.media).basic(channel.member.jid()).send().expect(404);
}

#[test]
fn a_denial_is_answered_at_once() {
    let site = Site::shared();
    let channel = private_channel(site);
    channel.member.set_policy(Policy::Deny);
    let answer = Request::get(&channel.media).basic(channel.member.jid()).send().expect(403);
    assert!(answer.took < Duration::from_secs(10), "{:?}", answer.took);
}

#[test]
fn who_cannot_be_asked_is_refused_at_once() {
    let site = Site::shared();
    let channel = private_channel(site);
    let nobody = format!("{}@example.org/gone", unique("nobody"));
    let answer = Request::get(&channel.media).basic(&nobody).send().expect(403);
    assert!(answer.took < Duration::from_secs(10), "{:?}", answer.took);
}

#[test]
fn who_does_not_answer_is_refused_in_time() {
    let site = Site::start(&[("xmpp.reply.timeout", "1500")]);
    let user = site.user();
    let channel = site.own_channel("whitelist", &user);
    user.set_policy(Policy::Ignore);
    let answer = Request::get(&site.url(&channel)).basic(user.jid()).send().expect(403);
    let time = Duration::from_millis(1400)..Duration::from_secs(10);
    assert!(time.contains(&answer.took), "{:?}", answer.took);
    let confirm = user.confirm(0).expect("the user was asked");
    user.answer(&confirm, Policy::Minimal).expect("the user is connected");
    user.set_policy(Policy::Echo);
    Request::get(&site.url(&channel)).basic(user.jid()).send().expect(200);
}

#[test]
fn a_channel_without_a_node_is_private_and_nobodys_but_its_owners() {
    let site = Site::shared();
    let (owner, stranger) = (site.user(), site.user());
    let url = site.url(owner.bare());
    Request::get(&url).send().expect(401);
    Request::get(&url).basic(stranger.jid()).send().expect(403);
    Request::get(&url).basic(owner.jid()).send().expect(200);
}

#[test]
fn channels_of_topics_are_found_at_their_own_domain() {
    let site = Site::shared();
    let (owner, stranger) = (site.user(), site.user());
    let channel = format!("{}@{TOPICS}", unique("room"));
    let made = site.admin.create_channel(TOPICS, &channel, "whitelist", &[(owner.bare(), "owner")]);
    made.expect("the channel service makes channels");
    let id = site.upload(&owner, &channel);
    Request::get(&site.url(&format!("{channel}/{id}"))).basic(owner.jid()).send().expect(200);
    Request::get(&site.url(&format!("{channel}/{id}"))).basic(stranger.jid()).send().expect(403);
}

#[test]
fn no_stanza_of_a_stranger_ends_the_stream() {
    let site = Site::shared();
    let (user, channel) = site.public_channel();
    let media = site.url(&format!("{channel}/{}", site.upload(&user, &channel)));
    user.set_policy(Policy::Ignore);
    let waiting = Request::new("DELETE", &media).basic(user.jid()).send_apart();
    let asked = user.confirm(1).expect("the user is asked");
    let stranger = site.user();
    let log = site.server.log();
    let account = log.split("XMPP client connected as ").nth(1).expect("it is connected");
    let account = account.split_whitespace().next().expect("a split gives one part").to_owned();
    let attributes: String = (0..200).map(|number| format!(" a{number}=''")).collect();
    let foreign: String = (0..200).map(|number| format!(" p:a{number}=''")).collect();
    for hostile in [
        format!("{}{}", "<a>".repeat(100), "</a>".repeat(100)),
        "<a/>".repeat(25_000),
        format!("<a{attributes}/>"),
        format!("<a xmlns:p='urn:p'{foreign}><b/></a>"),
        format!("<{}/>", "a".repeat(1000)),
    ] {
        for to in [COMPONENT, &account] {
            stranger
                .send(&format!("<message to='{to}'>{hostile}</message>"))
                .expect("the stranger is connected");
        }
    }
    flush(&stranger);
    user.answer(&asked, Policy::Echo).expect("the user is connected");
    waiting.join().expect("an answer").expect(200);
}
