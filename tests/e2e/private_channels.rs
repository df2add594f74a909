//! The rights in a channel that is not public.

use std::sync::OnceLock;
use std::time::Duration;

use crate::site::{Site, flush, photo, photo_bytes, unique};
use crate::support::http::{Answer, Request};
use crate::support::prosody::{COMPONENT, TOPICS};
use crate::support::xmpp_client::{Client, Policy};

/// How long the impatient site waits for a confirmation.
pub const IMPATIENCE: Duration = Duration::from_secs(5);

/// A site for tests of refusals that come only when a confirmation is late.
pub fn impatient() -> &'static Site {
    static SITE: OnceLock<Site> = OnceLock::new();
    SITE.get_or_init(|| Site::start(&[("xmpp.reply.timeout", "5s")]))
}

/// Sends all of these requests at a time, each of which is refused when its confirmation is late.
fn refused(requests: Vec<Request>) -> Vec<Answer> {
    let sent: Vec<_> = requests.into_iter().map(Request::send_apart).collect();
    sent.into_iter().map(|one| one.join().expect("curl gets an answer").expect(403)).collect()
}

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
    let site = impatient();
    let channel = private_channel(site);
    let list = site.url(&channel.name);
    let mut requests = Vec::new();
    for url in [&channel.media, &format!("{}/metadata", channel.media), &list] {
        Request::get(url).send().expect(401);
        let users = [&channel.stranger, &channel.outcast];
        requests.extend(users.map(|user| Request::get(url).basic(user.jid())));
    }
    for answer in refused(requests) {
        assert!(!answer.text().contains("A title"), "{}", answer.text());
    }
    for user in [&channel.stranger, &channel.outcast] {
        flush(user);
        assert!(user.confirms().is_empty(), "rights are looked up before anybody is asked");
    }
}

/// Everybody sees the avatar, but nobody learns from it who is a member.
#[test]
fn the_metadata_of_an_avatar_names_no_member() {
    let site = Site::shared();
    let channel = private_channel(site);
    let avatar = site.url(&format!("{}/avatar", channel.name));
    let set = Request::new("PUT", &avatar).basic(channel.publisher.jid());
    let set = set.file(&photo(), "image/jpeg").send().expect(201);
    assert_eq!(set.member("author"), channel.publisher.bare());
    for accept in ["application/json", "application/xml"] {
        let shown = Request::get(&format!("{avatar}/metadata")).header("Accept", accept).send().expect(200);
        assert!(!shown.text().contains(channel.publisher.bare()), "{}", shown.text());
    }
    let known = site.url(&format!("{}/{}/metadata", channel.name, set.member("id")));
    let shown = Request::get(&known).basic(channel.member.jid()).send().expect(200);
    assert_eq!(shown.member("author"), channel.publisher.bare(), "members know the author");
}

#[test]
fn publishers_upload() {
    let site = impatient();
    let channel = private_channel(site);
    for user in [&channel.owner, &channel.moderator, &channel.publisher] {
        site.upload(user, &channel.name);
    }
    let others = [&channel.member, &channel.outcast, &channel.stranger];
    refused(others.map(|user| site.upload_request(&channel.name).basic(user.jid())).into());
    site.upload_request(&channel.name).send().expect(401);
}

#[test]
fn moderators_change_and_delete() {
    let site = impatient();
    let channel = private_channel(site);
    let request = |method: &str, user: &Client| Request::new(method, &channel.media).basic(user.jid());
    let others = [&channel.member, &channel.outcast, &channel.stranger];
    let updates = others.map(|user| request("POST", user).field("title", "x"));
    refused(updates.into_iter().chain(others.map(|user| request("DELETE", user))).collect());
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
fn a_user_who_cannot_be_asked_is_refused_at_once_on_an_open_channel_only() {
    let site = impatient();
    let gone = format!("{}@example.org", unique("gone"));
    let open = site.channel("open", &[(&gone, "publisher")]);
    let private = site.channel("whitelist", &[(&gone, "publisher")]);
    let upload = |channel: &str| site.upload_request(channel).basic(&format!("{gone}/gone"));
    let answer = upload(&open).send().expect(403);
    assert!(answer.member("title") == "Denied" && answer.took < IMPATIENCE, "{:?}", answer.took);
    let answer = upload(&private).send().expect(403);
    assert!(answer.member("title") == "Not confirmed" && answer.took >= IMPATIENCE, "{:?}", answer.took);
}

#[test]
fn a_user_who_does_not_reply_is_refused_in_time() {
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
fn a_channel_without_a_node_is_private_and_only_for_its_owner() {
    let site = impatient();
    let (owner, stranger) = (site.user(), site.user());
    let url = site.url(owner.bare());
    Request::get(&url).send().expect(401);
    Request::get(&url).basic(stranger.jid()).send().expect(403);
    Request::get(&url).basic(owner.jid()).send().expect(200);
}

#[test]
fn channels_of_topics_are_found_at_their_own_domain() {
    let site = impatient();
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

#[test]
fn a_refusal_whose_lookups_are_cached_comes_in_time_too() {
    let site = Site::start(&[("xmpp.reply.timeout", "2s"), ("xmpp.cache.ttl", "60s")]);
    let [owner, stranger] = [(); 2].map(|()| site.user());
    let url = site.url(&site.channel("whitelist", &[(owner.bare(), "owner")]));
    for attempt in 1..=2 {
        let answer = Request::get(&url).basic(stranger.jid()).send().expect(403);
        assert!(answer.took < IMPATIENCE, "attempt {attempt} took {:?}", answer.took);
    }
}
