//! Users see and delete their files, and administrators look after users, by commands (XEP-0050) and by texts, with clients
//! that people use.

use std::path::Path;
use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::site::{Site, photo, photo_bytes, unique};
use crate::slots::UPLOADS;
use crate::support::child::run;
use crate::support::http::Request;
use crate::support::profanity::Profanity;
use crate::support::prosody::{COMPONENT, DOMAIN, FILE_SHARE, FILE_SHARE_SECRET, PASSWORD, Prosody};
use crate::support::python::python;
use crate::support::slot::{Slot, ask_for};
use crate::support::stanza::Stanza;
use crate::support::wait_for;
use crate::support::xmpp_client::{Client, Policy};

const COMMANDS: &str = "http://jabber.org/protocol/commands";
const ADMIN: &str = "boss";

/// The site that most tests of this file share; `boss` is its administrator.
fn site() -> &'static Site {
    static SITE: OnceLock<Site> = OnceLock::new();
    SITE.get_or_init(|| start(&[]))
}

fn start(more: &[(&str, &str)]) -> Site {
    let admin = format!("{ADMIN}@{DOMAIN}");
    Site::start(&[&UPLOADS[..], &[("admin.jids", admin.as_str())], more].concat())
}

/// Uploads the photo by a slot under this name; gives its address.
fn upload(user: &Client, name: &str) -> String {
    let slot = slot(user, name);
    slot.upload(&photo()).expect(201);
    slot.get
}

fn slot(user: &Client, name: &str) -> Slot {
    ask_for(user, COMPONENT, name, photo_bytes().len(), "image/jpeg").expect("a slot")
}

/// Walks commands with slixmpp: first what is found, then the replies of each walk.
fn walk(site: &Site, user: &str, walks: &Value) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/adhoc.py").display().to_string();
    let address = format!("127.0.0.1:{}", site.prosody.client_port());
    let (jid, python, walks) = (format!("{user}@{DOMAIN}"), python(), walks.to_string());
    let (status, printed) = run(&[&python, &script, &jid, PASSWORD, &address, COMPONENT, &walks]);
    assert_eq!(status, 0, "{printed}");
    // Warnings of the library may stand around it.
    let seen = printed.lines().find(|line| line.starts_with('[')).unwrap_or_default();
    serde_json::from_str(seen).unwrap_or_else(|error| panic!("{error} in {printed}"))
}

/// The local part of a user's address.
fn name(user: &Client) -> String {
    user.bare().split('@').next().expect("a split gives one part").to_owned()
}

#[test]
fn slixmpp_walks_the_commands_of_a_user() {
    let site = site();
    let (user, channel) = site.public_channel();
    let (first, second) = (upload(&user, "first.jpg"), upload(&user, "second.jpg"));
    let id = site.upload(&user, &channel);
    let media = site.url(&format!("{channel}/{id}"));
    let user_name = name(&user);
    let seen = walk(
        site,
        &user_name,
        &json!([
            ["files", [["cancel", {}]]],
            ["files", [["complete", {}]]],
            ["quota", []],
            ["delete-all", [["complete", {}]]]
        ]),
    );
    let found = json!({"files": "My files", "quota": "How much I use", "delete-all": "Delete all my files"});
    assert_eq!(seen[0], found, "{seen}");
    let list = &seen[1][0];
    assert_eq!((&list["status"], &seen[1][1]["status"]), (&json!("executing"), &json!("canceled")), "{seen}");
    let keys: Vec<&str> = list["fields"]["files"]["options"]
        .as_array()
        .expect("options")
        .iter()
        .map(|key| key.as_str().expect("a text"))
        .collect();
    assert_eq!(keys[0], format!("{channel}/{id}"), "newest first");
    assert!(keys.len() == 3 && second.contains(keys[1]) && first.contains(keys[2]), "{keys:?}");
    assert_eq!(seen[2][1]["notes"], json!(["No file was chosen, so nothing was done."]));
    let size = photo_bytes().len();
    let quota = &seen[3][0];
    assert_eq!(quota["status"], json!("completed"), "{seen}");
    assert!(quota["fields"]["uploads"]["value"].as_str().is_some_and(|text| text.starts_with("2 files, ")));
    assert_eq!(seen[4][0]["fields"]["delete"]["value"], json!(false), "{seen}");
    assert_eq!(seen[4][1]["notes"], json!(["Nothing was deleted."]));
    for url in [&first, &second, &media] {
        assert_eq!(Request::get(url).send().expect(200).body.len(), size);
    }

    let seen = walk(
        site,
        &user_name,
        &json!([
            ["files", [["execute", {"files": keys}]]],
            ["files", [["complete", {"files": [keys[0], keys[1]], "do": "delete"}]]],
        ]),
    );
    let links = &seen[1][0]["fields"];
    for (number, url) in [&media, &second, &first].into_iter().enumerate() {
        assert_eq!(links[format!("link-{}", number + 1)]["value"], json!(url), "{seen}");
    }
    assert_eq!(seen[2][1]["notes"], json!(["Deleted 2 files."]), "{seen}");
    Request::get(&media).send().expect(404);
    Request::get(&second).send().expect(404);
    Request::get(&first).send().expect(200);
    assert!(!site.stored(&channel, &id).exists(), "the file goes with its row");

    let last = site.url(&format!("{channel}/{}", site.upload(&user, &channel)));
    let seen = walk(site, &user_name, &json!([["delete-all", [["complete", {"delete": "true"}]]]]));
    assert_eq!(seen[1][1]["notes"], json!(["Deleted 2 files."]), "{seen}");
    Request::get(&first).send().expect(404);
    Request::get(&last).send().expect(404);
}

#[test]
fn slixmpp_walks_the_commands_of_an_administrator() {
    let site = site();
    let user = site.user();
    let url = upload(&user, "of-a-user.jpg");
    site.prosody.add_account(DOMAIN, ADMIN);
    let jid = user.bare();
    let walks = json!([
        ["user-files", [["next", {"user": jid}]]],
        ["usage", []],
        ["block", [["complete", {"user": jid}]]],
        ["unblock", [["complete", {"user": jid}]]],
        ["user-files", [["execute", {"user": jid}]]],
        ["block", [["complete", {"user": "@"}]]],
    ]);
    let seen = walk(site, ADMIN, &walks);
    assert_eq!(seen[0].as_object().expect("commands").len(), 7, "{seen}");
    let key = seen[1][1]["fields"]["files"]["options"][0].as_str().expect("a file").to_owned();
    assert!(url.contains(&key), "{seen}");
    assert_eq!(seen[2][0]["status"], json!("completed"));
    assert_eq!(seen[3][1]["notes"], json!([format!("{jid} can no longer send files.")]));
    let blocked = &seen[4][0]["fields"]["user"]["options"];
    assert!(blocked.as_array().expect("options").contains(&json!(jid)), "{seen}");
    assert_eq!(seen[4][1]["notes"], json!([format!("{jid} can send files again.")]));
    assert_eq!(seen[5][0]["fields"]["link-1"]["value"], json!(url), "{seen}");
    assert_eq!(seen[6][1]["error"], json!("bad-request"), "{seen}");
    let one_step = json!([["user-files", [["execute", {"user": jid, "files": [key], "do": "delete"}]]]]);
    assert_eq!(walk(site, ADMIN, &one_step)[1][0]["notes"], json!(["Deleted 1 file."]));
    Request::get(&url).send().expect(404);
    for line in ["lists the files of", "asks for the usage", "blocked", "unblocked", "deleted 1 file of"] {
        site.server.wait_log(&format!("the administrator {ADMIN}@{DOMAIN} {line}"));
    }
    // Others neither see them nor may run them.
    let seen = walk(site, &name(&user), &json!([["block", [["execute", {"user": jid}]]], ["usage", []]]));
    assert_eq!(seen[0].as_object().expect("commands").len(), 3);
    for walk in [&seen[1], &seen[2]] {
        assert_eq!(walk[0]["error"], json!("item-not-found"), "{seen}");
    }
}

/// Runs a command of the administrator's in one step.
fn administer(boss: &Client, node: &str, user: &str) {
    let command = format!(
        "<command xmlns='{COMMANDS}' node='{node}'><x xmlns='jabber:x:data' type='submit'>\
         <field var='user'><value>{user}</value></field></x></command>"
    );
    let reply = boss.ask("set", COMPONENT, &command).expect("the component replies");
    let status = reply.child("command", COMMANDS).map(|command| command.attribute("status").to_owned());
    assert_eq!(status.as_deref(), Some("completed"), "{reply:?}");
}

#[test]
fn a_blocked_user_sends_no_file_by_any_way_also_after_a_restart() {
    let external = [("upload.external.secret", FILE_SHARE_SECRET), ("upload.external.protocol", "jwt")];
    let admin = format!("{ADMIN}@{DOMAIN}");
    let settings = [&UPLOADS[..], &external, &[("admin.jids", admin.as_str())]].concat();
    let mut site = Site::start_on(Prosody::start(), &settings);
    let port = site.server.port();
    site.prosody.start_again_with_file_share(&format!("http://127.0.0.1:{port}/external/"));
    let (user, other) = (site.user(), site.user());
    let boss = site.prosody.login(DOMAIN, ADMIN, Policy::Ignore);
    let channel = user.bare().to_owned();
    wait_for("both links of the component", || {
        let upload = site.upload_request(&channel).basic(user.jid()).send();
        (upload.status == 201).then_some(())
    });
    let id = site.upload(&user, &channel);
    let size = photo_bytes().len();
    let foreign = |user: &Client| {
        wait_for("the upload service", || ask_for(user, FILE_SHARE, "a.jpg", size, "image/jpeg").ok())
    };
    let (begun, given) = (slot(&user, "begun.jpg"), foreign(&user));
    administer(&boss, "block", user.bare());

    let all_ways_are_closed = |site: &Site, user: &Client| {
        let upload = site.upload_request(&channel).basic(user.jid()).send().expect(403);
        assert_eq!(upload.member("detail"), "You may not send files to this server.");
        let update = Request::new("POST", &site.url(&format!("{channel}/{id}"))).basic(user.jid());
        let update = update.part("title=Another").send().expect(403);
        assert_eq!(update.member("detail"), "You may not send files to this server.");
        begun.upload(&photo()).expect(403);
        given.upload(&photo()).expect(403);
        let refused = ask_for(user, COMPONENT, "a", 5, "image/jpeg").unwrap_err();
        assert_eq!(refused.condition, "auth forbidden");
        assert_eq!(refused.text, "You may not upload files to this server.");
    };
    all_ways_are_closed(&site, &user);
    // Stored files stay, and may be deleted; the block concerns nobody else.
    Request::get(&site.url(&format!("{channel}/{id}"))).basic(user.jid()).send().expect(200);
    upload(&other, "other.jpg");
    foreign(&other).upload(&photo()).expect(201);

    site.server.stop();
    site.server.start_again();
    wait_for("the component to reply again", || ask_for(&other, COMPONENT, "a", 5, "image/jpeg").ok());
    wait_for("the rights to be known again", || {
        let read = Request::get(&site.url(&format!("{channel}/{id}"))).basic(user.jid()).send();
        (read.status == 200).then_some(())
    });
    all_ways_are_closed(&site, &user);
    administer(&boss, "unblock", user.bare());
    begun.upload(&photo()).expect(201);
    site.upload(&user, &channel);
}

/// As another node, or a command of the program, would do it.
#[test]
fn a_block_by_another_process_takes_effect_within_seconds() {
    let site = site();
    let (user, channel) = site.public_channel();
    site.upload(&user, &channel);
    site.metadata(&format!("INSERT INTO blocks (jid, since, \"by\") VALUES ('{}', 0, 'a@b')", user.bare()));
    wait_for("the block", || {
        let upload = site.upload_request(&channel).basic(user.jid()).send();
        (upload.status == 403).then_some(())
    });
    let refused = ask_for(&user, COMPONENT, "a", 5, "image/jpeg").unwrap_err();
    assert_eq!(refused.condition, "auth forbidden");
}

fn say(user: &Client, text: &str) {
    user.send(&format!("<message type='chat' to='{COMPONENT}'><body>{text}</body></message>"))
        .expect("the user is connected");
}

/// The next text that the component writes.
fn heard(user: &Client) -> String {
    let is_text = |stanza: &Stanza| stanza.name == "message" && stanza.attribute("from") == COMPONENT;
    let message = user.take(is_text).expect("the component writes");
    message.child("body", "jabber:client").expect("a text has a body").text.clone()
}

#[test]
fn two_clients_of_one_user_each_have_their_own_list() {
    let site = site();
    let person = unique("person");
    let phone = site.prosody.login(DOMAIN, &format!("{person}/phone"), Policy::Ignore);
    let laptop = site.prosody.login(DOMAIN, &format!("{person}/laptop"), Policy::Ignore);
    let (old, new) = (upload(&phone, "old.jpg"), upload(&laptop, "new.jpg"));
    say(&phone, "files");
    let list = heard(&phone);
    let links: Vec<&str> = list.lines().filter(|line| line.starts_with("http")).collect();
    assert_eq!(links, [new.as_str(), old.as_str()], "{list}");
    say(&laptop, "delete 1");
    assert!(heard(&laptop).starts_with("Please write files first"));
    say(&phone, "delete 2");
    assert_eq!(heard(&phone), "Deleted number 2: old.jpg.");
    Request::get(&old).send().expect(404);
    say(&laptop, "files");
    let list = heard(&laptop);
    assert!(list.contains("1. new.jpg, ") && !list.contains("old.jpg"), "{list}");
    say(&laptop, "quota");
    assert!(heard(&laptop).starts_with("Your uploads: 1 file, "));
    say(&phone, "delete 1");
    assert_eq!(heard(&phone), "Deleted number 1: new.jpg.");
    say(&laptop, "delete 1");
    assert_eq!(heard(&laptop), "Number 1 no longer exists.");
    say(&laptop, "help");
    assert!(heard(&laptop).contains("You can also write: files,"));
}

/// Lists the commands of the component in Profanity, which refuses that until it has asked the component what it is.
fn list_commands(person: &mut Profanity) {
    const REFUSAL: &str = "does not support ad hoc commands";
    const LIST: &str = "Ad hoc commands:";
    wait_for("profanity to know the component", || {
        let refused = person.seen().matches(REFUSAL).count();
        person.type_line(&format!("/cmd list {COMPONENT}"));
        wait_for("a list or a refusal", || {
            let seen = person.seen();
            (seen.contains(LIST) || seen.matches(REFUSAL).count() > refused).then_some(())
        });
        person.seen().contains(LIST).then_some(())
    });
}

#[test]
fn profanity_runs_commands_in_one_step_and_by_texts() {
    let site = site();
    let mut person = Profanity::login(&site.prosody, &unique("person"));
    let phone_name = format!("{}/phone", person.bare().split('@').next().expect("a split gives one part"));
    let phone = site.prosody.login(DOMAIN, &phone_name, Policy::Ignore);
    let url = upload(&phone, "holiday.jpg");
    list_commands(&mut person);
    person.wait_for_text("delete-all");
    person.wait_for_text("quota");
    person.type_line(&format!("/cmd exec quota {COMPONENT}"));
    person.wait_for_text("Uploads: 1 file, ");
    person.type_line(&format!("/msg {COMPONENT} files"));
    person.wait_for_text("1. holiday.jpg, ");
    person.type_line("delete 1");
    person.wait_for_text("Deleted number 1: holiday.jpg.");
    Request::get(&url).send().expect(404);
}

/// The names of files are made by users, and shown to them in a list.
#[test]
fn hostile_names_stay_one_line_in_lists() {
    let site = site();
    let user = site.user();
    let name = "\u{202e}gpj.exe\n2. not a file\u{2028}";
    upload(&user, name);
    say(&user, "files");
    let list = heard(&user);
    assert_eq!(list.lines().count(), 4, "{list:?}");
    assert!(list.contains("not a file, ") && !list.contains('\u{202e}'), "{list:?}");
}
