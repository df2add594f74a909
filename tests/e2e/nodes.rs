//! Channels whose nodes have other names than those of buddycloud: `xmpp.channel.nodes`.

use crate::private_channels::IMPATIENCE;
use crate::site::{Site, flush, photo, photo_bytes};
use crate::support::http::Request;
use crate::support::prosody::COMMUNITIES;
use crate::support::server::program;

#[test]
fn members_of_a_community_list_and_upload() {
    let nodes = format!("{COMMUNITIES}: {{local}}");
    let site = Site::start(&[("xmpp.channel.nodes", &nodes), ("xmpp.reply.timeout", "5s")]);
    let [owner, publisher, member, stranger] = [(); 4].map(|()| site.user());
    let people = [(owner.bare(), "owner"), (publisher.bare(), "publisher"), (member.bare(), "member")];
    site.admin.create_node(COMMUNITIES, "cats", "whitelist", &people).expect("the service makes nodes");
    let channel = format!("cats@{COMMUNITIES}");
    let url = site.url(&channel);

    let upload = |user: &str| Request::new("POST", &url).basic(user).file(&photo(), "image/jpeg");
    let id = upload(publisher.jid()).send().expect(201).member("id");
    for user in [&owner, &publisher, &member] {
        let list = Request::get(&url).basic(user.jid()).send().expect(200);
        assert_eq!(list.json()[0]["id"], id.as_str());
        let media = Request::get(&format!("{url}/{id}")).basic(user.jid()).send().expect(200);
        assert!(media.body == photo_bytes());
    }
    let refused = [upload(member.jid()), Request::get(&url).basic(stranger.jid())].map(Request::send_apart);
    for one in refused {
        let answer = one.join().expect("an answer").expect(403);
        assert!(answer.took >= IMPATIENCE, "a private channel tells nothing: {:?}", answer.took);
    }
    flush(&stranger);
    assert!(stranger.confirms().is_empty());

    let config = site.server.configuration().display().to_string();
    let (status, printed) =
        program(&["-c", &config, "check", "--channel", &channel, "--user", publisher.bare()]);
    assert_eq!(status, 0, "{printed}");
    assert!(printed.contains(&format!("{} is publisher: ", publisher.bare())), "{printed}");
}

#[test]
fn an_open_community_is_read_by_everybody() {
    let nodes = format!("{COMMUNITIES}: {{local}}");
    let site = Site::start(&[("xmpp.channel.nodes", &nodes)]);
    site.admin.create_node(COMMUNITIES, "dogs", "open", &[]).expect("the service makes nodes");
    Request::get(&site.url(&format!("dogs@{COMMUNITIES}"))).send().expect(200);
    // Another node of the same service is another channel, and one without a node is private.
    Request::get(&site.url(&format!("cats@{COMMUNITIES}"))).send().expect(401);
}
