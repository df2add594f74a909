//! The test doubles themselves: a test that trusts them must not pass because they are broken.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::site::unique;
use crate::support::child::{Guarded, run};
use crate::support::prosody::{CHANNELS, COMPONENT, DOMAIN, Prosody};
use crate::support::scratch::Scratch;
use crate::support::scripted_peer::{Peer, Side};
use crate::support::stanza::Stanza;
use crate::support::wait_for;
use crate::support::xmpp_client::{Client, HTTP_AUTH, Policy};

const REQUEST: &str = "<message type='normal' id='s1' from='media.example.org' to='mediaserver@example.org/r'>\
    <thread>0f</thread><body>a &lt; b</body>\
    <confirm xmlns='http://jabber.org/protocol/http-auth' id='t1' method='PUT' url='http://x/y'/></message>";

#[test]
fn the_client_answers_by_its_policy() {
    for (policy, kind, parts) in [
        (Policy::Echo, "normal", vec!["thread", "body", "confirm"]),
        (Policy::Minimal, "normal", vec!["thread", "confirm"]),
        (Policy::Deny, "error", vec!["thread", "confirm", "error"]),
    ] {
        let peer = Peer::start(|_, _| Vec::new());
        let address = format!("127.0.0.1:{}", peer.xmpp().client_port);
        let client =
            Client::login(&address, "mediaserver@example.org/r", "any", policy).expect("all are let in");
        peer.wait_login(Side::Client, 1);
        peer.inject(Side::Client, REQUEST);
        let answer = peer.wait_stanza(Side::Client, "an answer", |stanza| stanza.name == "message");
        assert_eq!(answer.attribute("to"), COMPONENT);
        assert_eq!(answer.attribute("type"), kind);
        let names: Vec<&str> = answer.children.iter().map(|child| child.name.as_str()).collect();
        assert_eq!(names, parts, "{policy:?}");
        let confirm = answer.child("confirm", HTTP_AUTH).expect("in its namespace");
        let told = ["id", "method", "url"].map(|name| confirm.attribute(name));
        assert_eq!(told, ["t1", "PUT", "http://x/y"]);
        assert_eq!(client.confirms().len(), 1);
    }
}

#[test]
fn prosody_delivers_and_knows_affiliations() {
    let prosody = Prosody::start();
    let admin = prosody.login(DOMAIN, "admin", Policy::Ignore);
    let channel = format!("{}@{DOMAIN}", unique("harness"));
    let made = admin.create_channel(CHANNELS, &channel, "whitelist", &[("m@example.org", "moderator")]);
    made.expect("a channel is made");
    let media_server = prosody.login(DOMAIN, "mediaserver", Policy::Ignore);
    let ask = |what: &str| {
        let node = format!("/user/{channel}/posts");
        let namespace = "http://jabber.org/protocol/pubsub#owner";
        let query = format!("<pubsub xmlns='{namespace}'><{what} node='{node}'/></pubsub>");
        media_server.ask("get", CHANNELS, &query).expect("the channel service answers")
    };
    let listed = ask("affiliations");
    let moderator = |row: &&Stanza| row.attribute("jid") == "m@example.org";
    let row = listed.all("affiliation").into_iter().find(moderator).expect("the moderator is listed").clone();
    assert_eq!(row.attribute("affiliation"), "moderator");
    let configuration = ask("configure");
    let access = |field: &&Stanza| field.attribute("var") == "pubsub#access_model";
    let field =
        configuration.all("field").into_iter().find(access).expect("there is an access model").clone();
    assert_eq!(field.child("value", "jabber:x:data").map(|value| value.text.as_str()), Some("whitelist"));
}

#[test]
fn prosody_comes_back_with_its_nodes() {
    let mut prosody = Prosody::start_with_tls();
    let admin = prosody.login(DOMAIN, "admin", Policy::Ignore);
    admin.create_channel(CHANNELS, "c@example.org", "open", &[]).expect("a channel is made");
    prosody.stop();
    wait_for("the end of the connection", || admin.ended());
    prosody.start_again();
    let admin = prosody.login(DOMAIN, "admin", Policy::Ignore);
    let again = admin.create_channel(CHANNELS, "c@example.org", "open", &[]);
    assert!(again.is_err_and(|error| error.contains("conflict")));
}

#[test]
fn the_peer_checks_the_components_secret() {
    let peer = Peer::start(|_, _| Vec::new());
    let mut socket = TcpStream::connect(("127.0.0.1", peer.xmpp().component_port)).expect("the peer listens");
    let stream = "<stream:stream xmlns='jabber:component:accept' to='media.example.org' \
                  xmlns:stream='http://etherx.jabber.org/streams'><handshake>00</handshake>";
    socket.write_all(stream.as_bytes()).expect("the peer reads");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("the peer ends the connection");
    assert!(answer.contains("not-authorized"), "{answer}");
}

#[test]
fn child_processes_end_with_their_parent() {
    let scratch = Scratch::new();
    let child = Guarded::start(&["sleep", "600"], &[], &scratch.join("output"));
    let pid = child.pid().to_string();
    assert_eq!(run(&["kill", "-0", &pid]).0, 0);
    drop(child);
    assert_ne!(run(&["kill", "-0", &pid]).0, 0);

    let mut child = Guarded::start(&["sh", "-c", "echo seen; exit 7"], &[], &scratch.join("output"));
    assert_eq!(child.wait(), 7);
    assert_eq!(child.printed(), "seen\n");
}
