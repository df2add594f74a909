//! `channel create`, on a real Prosody and a real ejabberd, over TLS; and the rights of other users on the nodes there.

use std::fs;
use std::path::PathBuf;

use crate::site::{photo, unique, xmpp_of};
use crate::support::child::run;
use crate::support::ejabberd_accounts::{self as ejabberd, Creators, EjabberdWithAccounts};
use crate::support::http::Request;
use crate::support::prosody::{ACCOUNT, CHANNELS, DOMAIN, PASSWORD, Prosody};
use crate::support::scratch::Scratch;
use crate::support::server::{PROGRAM, Server, Xmpp, program, properties};
use crate::support::wait_for;
use crate::support::xmpp_client::Policy;

/// A configuration of the program in a scratch directory.
struct Configured {
    file: PathBuf,
    _scratch: Scratch,
}

impl Configured {
    /// For an XMPP server whose certificate this authority signed, and which must be used.
    fn new(xmpp: Xmpp, authority: &str, settings: &[(&str, &str)]) -> Self {
        let scratch = Scratch::new();
        let tls = [("xmpp.connection.securitymode", "required"), ("xmpp.connection.tls.ca", authority)];
        let text = properties(8080, xmpp, &scratch.join("media"), &[&tls, settings].concat());
        let file = scratch.join("mediaserver.properties");
        fs::write(&file, text).expect("the scratch directory takes files");
        Self { file, _scratch: scratch }
    }

    /// Runs the program.
    fn run(&self, arguments: &[&str]) -> (i32, String) {
        program(&[&["-c", &self.file.display().to_string()], arguments].concat())
    }

    /// Runs `channel create`, which must end with this status.
    #[track_caller]
    fn create(&self, status: i32, arguments: &[&str]) -> String {
        let (got, printed) = self.run(&[&["channel", "create"], arguments].concat());
        assert_eq!(got, status, "{printed}");
        printed
    }
}

#[test]
fn a_channel_is_made_on_prosody_for_its_owner() {
    let prosody = Prosody::start_with_tls();
    let authority = prosody.authority().expect("it offers TLS").display().to_string();
    let configured = Configured::new(xmpp_of(&prosody), &authority, &[]);
    let [room, hidden] = ["room", "hidden"].map(|name| format!("{}@{DOMAIN}", unique(name)));
    let alice = format!("alice@{DOMAIN}");

    let printed = configured.create(0, &[&room, "--owner", &alice]);
    assert!(printed.contains(&format!("{room} is made at {CHANNELS}: open, owned by {alice}")), "{printed}");
    assert!(prosody.log().contains("Stream encrypted"), "{}", prosody.log());
    configured.create(0, &[&hidden, "--owner", &alice, "--private"]);
    for (channel, access) in [(&room, "open"), (&hidden, "private")] {
        let (status, printed) = configured.run(&["check", "--channel", channel, "--user", &alice]);
        assert_eq!(status, 0, "{printed}");
        let expected = format!("right: ok: {channel} at {CHANNELS} is {access}");
        assert!(printed.contains(&expected) && printed.contains("alice@example.org is owner: "), "{printed}");
    }

    let printed = configured.create(1, &[&room, "--owner", &format!("mallory@{DOMAIN}")]);
    assert!(printed.contains("already"), "{printed}");
    let (_, printed) = configured.run(&["check", "--channel", &room, "--user", &format!("mallory@{DOMAIN}")]);
    assert!(printed.contains("mallory@example.org is none: may not read"), "it took the channel: {printed}");

    let printed = configured.create(78, &["room@elsewhere.test", "--owner", &alice]);
    assert!(printed.contains("media.domains"), "{printed}");
}

#[test]
fn another_account_may_make_the_channel() {
    let prosody = Prosody::start_with_tls();
    let authority = prosody.authority().expect("it offers TLS").display().to_string();
    let configured = Configured::new(xmpp_of(&prosody), &authority, &[]);
    let (alice, admin) = (format!("alice@{DOMAIN}"), format!("admin@{DOMAIN}"));
    let file = configured.file.with_file_name("password");
    fs::write(&file, format!("{PASSWORD}\n")).expect("the scratch directory takes files");
    let file = file.display().to_string();
    let room = format!("{}@{DOMAIN}", unique("room"));
    let printed = configured.create(0, &[&room, "--owner", &alice, "--as", &admin, "--password-file", &file]);
    assert!(printed.contains(&format!("owned by {alice} and {ACCOUNT}@{DOMAIN}")), "{printed}");

    prosody.add_account(DOMAIN, "nobody");
    let nobody = format!("nobody@{DOMAIN}");
    let other = format!("{}@{DOMAIN}", unique("room"));
    let printed =
        configured.create(1, &[&other, "--owner", &alice, "--as", &nobody, "--password-file", &file]);
    assert!(printed.contains("does not let nobody@example.org make channels"), "{printed}");

    let by_environment = |password: &str| {
        let variable = format!("BUDDYCLOUD_MEDIA_PASSWORD={password}");
        let config = configured.file.display().to_string();
        let create = ["channel", "create", &other, "--owner", &alice, "--as", &admin];
        run(&[&["env", &variable, PROGRAM, "-c", &config][..], &create].concat())
    };
    let (status, printed) = by_environment("");
    assert!(status == 78 && printed.contains("--password-file"), "{printed}");
    let (status, printed) = by_environment("wrong-one");
    assert!(status == 78 && !printed.contains("wrong-one"), "{printed}");
    let (status, printed) = by_environment(PASSWORD);
    assert_eq!(status, 0, "{printed}");
}

/// The settings for ejabberd, whose domain is not that of the tests' Prosody.
const ON_EJABBERD: [(&str, &str); 3] = [
    ("xmpp.component.servername", ejabberd::DOMAIN),
    ("xmpp.component.secretkey", ejabberd::SECRET),
    ("xmpp.connection.servicename", ejabberd::DOMAIN),
];

#[test]
fn a_channel_is_made_on_ejabberd_and_its_owner_uploads() {
    let ejabberd = EjabberdWithAccounts::start(Creators::OfTheExample);
    let configured = Configured::new(ejabberd.xmpp(), &ejabberd.authority(), &ON_EJABBERD);
    let alice = ejabberd.login("alice", Policy::Echo);
    let bob = ejabberd.login("bob", Policy::Echo);
    configured.create(0, &["room@example.com", "--owner", alice.bare()]);
    let (status, printed) = configured.run(&["check", "--channel", "room@example.com", "--user", bob.bare()]);
    assert_eq!(status, 0, "{printed}");
    let tells = "channels: ok: the channel service of example.com is pubsub.example.com, which gives \
                 mediaserver@example.com the affiliations of room@example.com";
    assert!(printed.contains(tells) && printed.contains("bob@example.com is none: "), "{printed}");

    let authority = ejabberd.authority();
    let tls = [("xmpp.connection.securitymode", "required"), ("xmpp.connection.tls.ca", &authority)];
    let server = Server::start(ejabberd.xmpp(), &[&ON_EJABBERD[..], &tls].concat());
    let url = format!("http://127.0.0.1:{}/room@example.com", server.port());
    wait_for("the server to log in", || Request::get(&url).try_send().ok().filter(|list| list.status == 200));
    let upload = |user: &str| Request::new("POST", &url).basic(user).file(&photo(), "image/jpeg").send();
    upload(alice.jid()).expect(201);
    upload(bob.jid()).expect(403);
}

/// Whether bob can create the node of alice's channel.
fn bob_takes_the_channel_of_alice(creators: Creators) -> bool {
    let ejabberd = EjabberdWithAccounts::start(creators);
    let bob = ejabberd.login("bob", Policy::Ignore);
    let owners = [("mediaserver@example.com", "owner")];
    match bob.create_channel(ejabberd::PUBSUB, "alice@example.com", "open", &owners) {
        Ok(()) => true,
        Err(error) => {
            assert!(error.contains("forbidden"), "{error}");
            false
        }
    }
}

#[test]
fn with_the_example_nobody_takes_the_channel_of_another_user_on_ejabberd() {
    assert!(bob_takes_the_channel_of_alice(Creators::Everybody), "the example is not needed any more");
    assert!(!bob_takes_the_channel_of_alice(Creators::OfTheExample));
}

#[test]
fn a_node_that_the_account_does_not_own_is_told_on_ejabberd() {
    let ejabberd = EjabberdWithAccounts::start(Creators::Everybody);
    let alice = ejabberd.login("alice", Policy::Ignore);
    alice.create_channel(ejabberd::PUBSUB, "alice@example.com", "open", &[]).expect("everybody may");
    let configured = Configured::new(ejabberd.xmpp(), &ejabberd.authority(), &ON_EJABBERD);
    let (status, printed) = configured.run(&["check"]);
    assert_eq!(status, 1, "{printed}");
    let told = "make mediaserver@example.com an owner of the node /user/alice@example.com/posts";
    assert!(printed.contains("channels: FAILED: ") && printed.contains(told), "{printed}");
}
