//! Requests for upload slots by XMPP clients, and malformed ones, through Prosody.

use std::collections::BTreeSet;
use std::fs;
use std::sync::OnceLock;

use crate::site::{Site, unique};
use crate::support::http::Request;
use crate::support::prosody::{COMPONENT, DOMAIN, ELSEWHERE};
use crate::support::scratch::Scratch;
use crate::support::server::program;
use crate::support::slot::{self, NoSlot, PURPOSE, UPLOAD, ask, ask_for};
use crate::support::stanza::Stanza;
use crate::support::wait_for;
use crate::support::xmpp_client::{Client, Policy};

/// The settings of a site for uploads by slot.
pub const UPLOADS: [(&str, &str); 2] =
    [("upload.enabled", "true"), ("http.endpoint", "http://127.0.0.1:@PORT@")];
/// The size that the site announces: its limit of 1000 bytes and 17.
const MAX: usize = 1017;

/// The site that the tests of this file share.
fn site() -> &'static Site {
    static SITE: OnceLock<Site> = OnceLock::new();
    SITE.get_or_init(|| Site::start(&[&UPLOADS[..], &[("upload.sizelimit", "1000")]].concat()))
}

/// The description of the component, as `disco#info` tells it.
fn info(client: &Client) -> Stanza {
    let query = "<query xmlns='http://jabber.org/protocol/disco#info'/>";
    client.ask("get", COMPONENT, query).expect("the component replies")
}

#[test]
fn the_service_is_found_among_the_items_of_the_domain() {
    let user = site().user();
    let items = user.ask("get", DOMAIN, "<query xmlns='http://jabber.org/protocol/disco#items'/>");
    let items = items.expect("Prosody replies");
    assert!(items.all("item").iter().any(|item| item.attribute("jid") == COMPONENT), "{items:?}");
    let own = user.ask("get", COMPONENT, "<query xmlns='http://jabber.org/protocol/disco#items'/>");
    let own = own.expect("the component replies");
    assert_eq!((own.attribute("type"), own.all("item").len()), ("result", 0));
}

/// Every way in which the clients that we know read the description.
#[test]
fn every_client_reads_the_size_and_the_service_from_the_description() {
    let info = info(&site().user());
    let identities: Vec<_> = info.all("identity");
    let is = |identity: &Stanza, category, kind| {
        identity.attribute("category") == category && identity.attribute("type") == kind
    };
    // go-sendxmpp reads the first identity only; Movim, Psi, slixmpp and Kaidan look for this one.
    assert!(is(identities[0], "store", "file"), "{identities:?}");
    // The clients of buddycloud look through all for theirs.
    assert!(identities.iter().any(|other| is(other, "component", "generic")));
    let features: BTreeSet<_> =
        info.all("feature").iter().map(|feature| feature.attribute("var").to_owned()).collect();
    assert!(features.contains(UPLOAD));
    for purpose in ["message", "profile", "ephemeral", "permanent"] {
        assert!(features.contains(&format!("{PURPOSE}#{purpose}")), "{features:?}");
    }
    let forms: Vec<_> = info.all("x").into_iter().filter(|form| form.namespace == "jabber:x:data").collect();
    let value = |field: &&Stanza| field.children[0].text.clone();
    let sizes = |form: &Stanza| {
        let fields = form.all("field").into_iter().filter(|field| field.attribute("var") == "max-file-size");
        fields.map(|field| value(&field)).collect::<Vec<_>>()
    };
    let max = MAX.to_string();
    assert_eq!(forms.len(), 2, "{forms:?}");
    // Conversations, Gajim, Monal, Converse and Psi look for the form of this type.
    let typed = forms.iter().find(|form| form.all("field").iter().any(|field| value(field) == UPLOAD));
    assert_eq!(sizes(typed.expect("there is one")), [max.as_str()]);
    // Psi wants a field of this type.
    let field = forms[0].all("field")[1];
    assert_eq!((field.attribute("var"), field.attribute("type")), ("max-file-size", "text-single"));
    // Siskin, Fluux and Pidgin read the first form, whatever its type.
    assert_eq!(sizes(forms[0]), [max.as_str()]);
    // Dino takes the last size of any form; Movim the first.
    let all: Vec<_> = forms.iter().flat_map(|form| sizes(form)).collect();
    assert_eq!(all, [max.as_str()]);
    // Kaidan glues the fields of all forms together, and wants the type before the size.
    let fields = forms.iter().flat_map(|form| form.all("field"));
    let glued: Vec<_> = fields.map(|field| field.attribute("var").to_owned()).collect();
    assert_eq!(glued, ["FORM_TYPE", "max-file-size", "FORM_TYPE", "endpoint"]);
}

#[test]
fn a_slot_needs_no_fields_and_has_the_name_of_the_file() {
    let user = site().user();
    for name in ["a photo.jpg", "смех.ogg", "100%?#&+;=.txt", "日本語.tar.gz", "\\..", "'quoted'", "🦀"]
    {
        let slot = ask_for(&user, COMPONENT, name, 5, "image/jpeg").expect("a slot");
        assert!(slot.headers.is_empty());
        let (path, query) = slot.put.split_once('?').expect("the PUT's address has a token");
        assert!(query.starts_with("slot="), "{query}");
        assert_eq!(path, slot.get);
        assert!(slot.put.is_ascii(), "{}", slot.put);
        let start = format!("http://127.0.0.1:{}/upload/", site().server.port());
        let (id, last) =
            path.strip_prefix(&start).and_then(|rest| rest.split_once('/')).expect("an id and a name");
        assert!(id.len() == 24 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{id}");
        assert_eq!(percent_decoded(last), name);
    }
    let long = format!("{}.jpg", "a".repeat(50_000));
    let cut = format!("{}.jpg", "a".repeat(251));
    for (sent, name) in [("../../etc/passwd", "passwd"), ("a/b", "b"), ("a\u{85}b", "ab"), (&long, &cut)] {
        let slot = ask_for(&user, COMPONENT, sent, 5, "image/jpeg").expect("a slot");
        assert_eq!(slot.get.rsplit('/').next().map(percent_decoded).as_deref(), Some(name));
    }
}

fn percent_decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8().expect("UTF-8").into_owned()
}

#[test]
fn requests_that_make_no_sense_are_refused_with_words() {
    let user = site().user();
    let purpose = |name: &str| format!("<{name} xmlns='{PURPOSE}'/>");
    let past = format!("<ephemeral xmlns='{PURPOSE}' expire-before='2001-01-01T00:00:00Z'/>");
    let unreadable = format!("<ephemeral xmlns='{PURPOSE}' expire-before='soon'/>");
    let twice = purpose("message").repeat(2);
    let table: &[(&[(&str, &str)], &str)] = &[
        (&[], ""),
        (&[("filename", "a")], ""),
        (&[("size", "5")], ""),
        (&[("filename", ""), ("size", "5")], ""),
        (&[("filename", ".."), ("size", "5")], ""),
        (&[("filename", "a"), ("size", "0")], ""),
        (&[("filename", "a"), ("size", "-5")], ""),
        (&[("filename", "a"), ("size", "+5")], ""),
        (&[("filename", "a"), ("size", "5.5")], ""),
        (&[("filename", "a"), ("size", "")], ""),
        (&[("filename", "a"), ("size", "five")], ""),
        (&[("filename", "a"), ("size", "5")], &purpose("archive")),
        (&[("filename", "a"), ("size", "5")], &twice),
        (&[("filename", "a"), ("size", "5")], &past),
        (&[("filename", "a"), ("size", "5")], &unreadable),
    ];
    for (attributes, more) in table {
        let refused = ask(&user, COMPONENT, attributes, more).unwrap_err();
        assert_eq!(refused.condition, "modify bad-request", "{attributes:?} {more}");
        assert!(refused.text.ends_with('.') && refused.text.len() < 120, "{}", refused.text);
    }
}

#[test]
fn a_file_that_is_too_large_is_refused_with_the_maximum_size() {
    let user = site().user();
    assert!(ask_for(&user, COMPONENT, "a", MAX, "image/jpeg").is_ok());
    let sizes = ["1018", "1000000000000000000", "18446744073709551615", "99999999999999999999999999"];
    for size in sizes {
        let refused = ask(&user, COMPONENT, &[("filename", "a"), ("size", size)], "").unwrap_err();
        let NoSlot { condition, text, retry, max_size } = refused;
        assert_eq!(
            (condition.as_str(), max_size.as_deref()),
            ("modify not-acceptable", Some("1017")),
            "{size}"
        );
        assert!(!text.is_empty() && retry.is_none(), "{text}");
    }
}

#[test]
fn only_those_who_may_upload_get_a_slot() {
    let deny = format!("mallory@{DOMAIN}");
    let settings = [&UPLOADS[..], &[("upload.deny", &deny)]].concat();
    let site = Site::start(&settings);
    let slot = |domain: &str, user: &str| {
        let client = site.prosody.login(domain, user, Policy::Ignore);
        ask_for(&client, COMPONENT, "a", 5, "image/jpeg").map(drop).map_err(|refused| refused.condition)
    };
    let forbidden = Err("auth forbidden".to_owned());
    assert_eq!(slot(DOMAIN, "alice"), Ok(()));
    assert_eq!(slot(DOMAIN, "mallory"), forbidden);
    assert_eq!(slot(ELSEWHERE, "alice"), forbidden);
    // A reload changes who may.
    let path = site.server.configuration();
    let text = fs::read_to_string(&path).expect("the configuration is there");
    fs::write(&path, format!("{text}upload.allow={ELSEWHERE}\n")).expect("the configuration can be written");
    site.server.signal("HUP");
    site.server.wait_log("configuration reloaded");
    assert_eq!(slot(DOMAIN, "alice"), forbidden);
    assert_eq!(slot(ELSEWHERE, "alice"), Ok(()));
}

#[test]
fn a_full_quota_is_told_in_words_with_the_date_of_room() {
    let quotas = [("upload.quota.user", "2000"), ("upload.quota.profile", "500")];
    let site = Site::start(&[&UPLOADS[..], &quotas].concat());
    let (user, scratch) = (site.user(), Scratch::new());
    let file = scratch.join("file");
    fs::write(&file, [0; 1500]).expect("the scratch directory takes files");
    ask_for(&user, COMPONENT, "a", 1500, "image/jpeg").expect("a slot").upload(&file).expect(201);
    let refused = ask_for(&user, COMPONENT, "b", 600, "image/jpeg").unwrap_err();
    assert_eq!(refused.condition, "wait resource-constraint");
    // The file is of a message, which is kept for 31 days.
    let retry = refused.retry.expect("a date");
    assert!(refused.text.contains("2000 bytes") || refused.text.contains("2 KiB"), "{}", refused.text);
    assert!(
        refused.text.contains("1.5 KiB are used") && refused.text.contains(&retry[..10]),
        "{}",
        refused.text
    );
    let larger = ask_for(&user, COMPONENT, "b", 2001, "image/jpeg").unwrap_err();
    assert_eq!((larger.condition.as_str(), larger.retry), ("wait resource-constraint", None));
    let profile = |size: &str| {
        let attributes = [("filename", "me.jpg"), ("size", size)];
        ask(&user, COMPONENT, &attributes, &format!("<profile xmlns='{PURPOSE}'/>")).map(|slot| slot.put)
    };
    assert_eq!(profile("501").unwrap_err().condition, "wait resource-constraint");
    // A slot reserves its size while it lives, and others have quotas of their own.
    profile("400").expect("a slot");
    assert_eq!(profile("200").unwrap_err().condition, "wait resource-constraint");
    assert!(ask_for(&site.user(), COMPONENT, "b", 2000, "image/jpeg").is_ok());
}

#[test]
fn iqs_that_ask_for_no_slot_get_none_and_replies_get_no_reply() {
    let user = site().user();
    let request = |id: &str, kind: &str, inner: &str| {
        format!(
            "<iq type='{kind}' id='{id}' to='{COMPONENT}'>\
             <request xmlns='{UPLOAD}' filename='a' size='5'/>{inner}</iq>"
        )
    };
    let id = unique("hostile");
    for kind in ["result", "error"] {
        user.send(&request(&id, kind, "")).expect("it is sent");
    }
    for kind in ["error", "headline", "groupchat", "chat", "normal"] {
        let message = format!(
            "<message type='{kind}' id='{id}' to='{COMPONENT}'><request xmlns='{UPLOAD}' filename='a' size='5'/></message>"
        );
        user.send(&message).expect("it is sent");
    }
    let set = user.ask("set", COMPONENT, &format!("<request xmlns='{UPLOAD}' filename='a' size='5'/>"));
    assert_eq!(slot::read(&set.expect("a reply")).unwrap_err().condition, "modify bad-request");
    let old =
        user.ask("get", COMPONENT, "<request xmlns='urn:xmpp:http:upload'><filename>a</filename></request>");
    assert_eq!(slot::read(&old.expect("a reply")).unwrap_err().condition, "cancel service-unavailable");
    // Two requests of one id are two requests.
    user.send(&request(&id, "get", "")).expect("it is sent");
    user.send(&request(&id, "get", "")).expect("it is sent");
    let reply = || user.take(|stanza| stanza.attribute("id") == id).expect("a reply");
    let slots = [reply(), reply()].map(|reply| slot::read(&reply).expect("a slot").get);
    assert_ne!(slots[0], slots[1]);
    // Whatever came before has been handled: there was no other reply.
    crate::site::flush(&user);
    user.send(&request("last", "get", "")).expect("it is sent");
    let next = user.take(|stanza| stanza.attribute("id") == id || stanza.attribute("id") == "last");
    assert_eq!(next.expect("a reply").attribute("id"), "last");
}

#[test]
fn an_album_is_sent_at_once_and_a_flood_is_slowed_down() {
    let user = site().user();
    let request = |number: usize| {
        format!(
            "<iq type='get' id='flood{number}' to='{COMPONENT}'>\
             <request xmlns='{UPLOAD}' filename='a' size='5'/></iq>"
        )
    };
    for number in 0..200 {
        user.send(&request(number)).expect("it is sent");
    }
    let reply = |number: usize| {
        let id = format!("flood{number}");
        slot::read(&user.take(|stanza| stanza.attribute("id") == id).expect("every request has a reply"))
    };
    let replies: Vec<_> = (0..200).map(reply).collect();
    assert!(replies[..20].iter().all(Result::is_ok), "{replies:?}");
    let refused: Vec<_> = replies.iter().filter_map(|reply| reply.as_ref().err()).collect();
    assert!(refused.len() > 100, "{}", refused.len());
    for refused in refused {
        assert_eq!(refused.condition, "wait resource-constraint");
        assert!(refused.retry.is_some() && !refused.text.is_empty(), "{refused:?}");
    }
    assert!(ask_for(&site().user(), COMPONENT, "a", 5, "image/jpeg").is_ok(), "others are not slowed down");
}

/// The address holds the whole slot.
#[test]
fn a_slot_writes_nothing_to_the_disk_before_its_put() {
    let site = Site::start(&UPLOADS);
    let user = site.user();
    let slot = |name: &str| ask_for(&user, COMPONENT, name, 5, "text/plain").expect("a slot");
    // The first one may make the key of the day.
    slot("first.txt");
    let calls =
        "mkdirat,write,writev,pwrite64,pwritev,ftruncate,fallocate,fsync,fdatasync,renameat2,linkat,unlinkat";
    let trace = site.server.trace(&format!("-y -e trace={calls}"), &["http-worker", "xmpp", "housekeeper"]);
    let storage = site.server.storage().display().to_string();
    let writes = || {
        let text = fs::read_to_string(&trace).expect("strace has written");
        text.lines().filter(|line| line.contains(&storage)).map(str::to_owned).collect::<Vec<_>>()
    };
    let slots: Vec<_> = (0..10).map(|number| slot(&format!("{number}.txt"))).collect();
    assert_eq!(writes(), [""; 0]);
    let scratch = Scratch::new();
    let file = scratch.join("hello.txt");
    fs::write(&file, "hello").expect("the scratch directory takes files");
    slots[0].upload(&file).expect(201);
    wait_for("the file to be written", || (!writes().is_empty()).then_some(()));
}

#[test]
fn uploads_are_switched_on_by_a_reload_and_off_again() {
    let site = Site::start(&UPLOADS[1..]);
    let user = site.user();
    let condition =
        || ask_for(&user, COMPONENT, "a", 5, "image/jpeg").map(drop).map_err(|refused| refused.condition);
    let is_announced = || info(&user).all("feature").iter().any(|feature| feature.attribute("var") == UPLOAD);
    let path = site.server.configuration();
    let text = fs::read_to_string(&path).expect("the configuration is there");
    let reload = |more: &str, times: usize| {
        fs::write(&path, format!("{text}{more}")).expect("the configuration can be written");
        site.server.signal("HUP");
        wait_for("the reload", || {
            (site.server.log().matches("configuration reloaded").count() == times).then_some(())
        });
    };
    assert_eq!(condition(), Err("cancel service-unavailable".to_owned()));
    assert!(!is_announced());
    reload("upload.enabled=true\n", 1);
    let slot = ask_for(&user, COMPONENT, "a", 5, "image/jpeg").expect("a slot");
    assert!(is_announced());
    let scratch = Scratch::new();
    fs::write(scratch.join("a"), "hello").expect("the scratch directory takes files");
    slot.upload(&scratch.join("a")).expect(201);
    reload("", 2);
    assert_eq!(condition(), Err("cancel service-unavailable".to_owned()));
    assert!(!is_announced());
    assert_eq!(Request::get(&slot.get).send().expect(200).text(), "hello", "what is stored is served on");
}

#[test]
fn the_server_does_not_start_with_an_endpoint_that_clients_refuse() {
    let scratch = Scratch::new();
    let file = scratch.join("mediaserver.properties");
    let least = fs::read_to_string(site().server.configuration()).expect("the configuration is there");
    for (settings, what) in [
        (
            "http.endpoint=http://media.example.org\n",
            "http.endpoint: upload.enabled needs an https:// URL here",
        ),
        ("http.endpoint=\n", "http.endpoint: upload.enabled needs an https:// URL here"),
        ("upload.external.secret=0123456789abcdef\n", "upload.external.protocol: missing beside"),
        ("upload.external.secret=\n", "upload.external.secret: not a text of at least 16 bytes"),
    ] {
        fs::write(&file, format!("{least}{settings}")).expect("the scratch directory takes files");
        let (status, printed) = program(&["-c", &file.display().to_string(), "check"]);
        assert_eq!(status, 78, "{settings}: {printed}");
        assert!(printed.contains(what), "{settings}: {printed}");
    }
}
