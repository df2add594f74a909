//! End to end.
#[path = "../support/mod.rs"]
mod support;
#[test] fn harness() {
 let p = support::prosody::Prosody::start();
 let admin = p.login("example.org","admin",support::xmpp_client::Policy::Echo);
 admin.create_channel("channels.example.org","a@example.org","whitelist",&[("b@example.org","moderator")]).unwrap();
 admin.create_channel("topics.example.org","a@topics.example.org","open",&[("b@example.org","moderator")]).unwrap();
 println!("{:?}", admin.ask("get","channels.example.org","<query xmlns='http://jabber.org/protocol/disco#info'/>"));
 println!("{:?}", admin.discover("example.org"));
 let ms = p.login("example.org","mediaserver",support::xmpp_client::Policy::Echo);
 for q in ["affiliations","configure"] {
 println!("{:?}", ms.ask("get","channels.example.org",&format!("<pubsub xmlns='http://jabber.org/protocol/pubsub#owner'><{q} node='/user/a@example.org/posts'/></pubsub>")));
 }
 println!("{:?}", support::http::Request::get(&format!("http://127.0.0.1:{}/", p.client_port())).try_send());
}
