//! Commands as a client sends them and as their replies are sent, through the component.

use super::testing::{DeskTest, FakeDesk, NOW, iq};
use super::*;
use crate::store::FileRow;
use crate::xmpp::ns;

const ALICE: &str = "alice@example.org/phone";
const ADMIN: &str = "admin@example.org/desk";

/// A command with these attributes besides its node.
fn command(node: &str, attributes: &[(&str, &str)]) -> Element {
    let command = Element::new("command", ns::COMMANDS).with("node", node);
    attributes.iter().fold(command, |command, (name, value)| command.with(name, *value))
}

/// A submitted form of these fields.
fn form(fields: &[(&str, &[&str])]) -> Element {
    let form = Element::new("x", ns::DATA_FORMS).with("type", "submit");
    fields.iter().fold(form, |form, (name, values)| {
        let field = Element::new("field", ns::DATA_FORMS).with("var", *name);
        let value = |text: &&str| Element::new("value", ns::DATA_FORMS).with_text(*text);
        form.with_child(values.iter().map(value).fold(field, Element::with_child))
    })
}

impl DeskTest {
    /// Runs a step as this client; the reply's only child.
    fn run(&self, from: &str, command: Element) -> Element {
        let sent = session(&command).to_owned();
        self.send(iq("set", from, command));
        let reply = self.sent();
        assert_eq!((reply.attribute("id"), reply.attribute("to")), (Some("i"), Some(from)));
        assert_eq!(reply.attribute("from"), Some("media.example.org"));
        let mut children: Vec<_> = reply.children().cloned().collect();
        let payload = children.pop().unwrap();
        // An error in a session names the session before.
        let expected = payload.name() == "error" && sent.len() == 32;
        assert_eq!(children.len(), usize::from(expected), "{reply:?}");
        assert!(children.iter().all(|asked| session(asked) == sent));
        payload
    }

    /// The condition of a refusal, and that of XEP-0050.
    fn refused(&self, from: &str, command: Element) -> String {
        let error = self.run(from, command);
        assert!(error.is("error", ns::CLIENT), "{}", error.to_xml(ns::CLIENT));
        let names = error.children().filter(|child| child.name() != "text").map(Element::name);
        names.collect::<Vec<_>>().join(" ")
    }
}

fn status(reply: &Element) -> &str {
    reply.attribute("status").unwrap_or_default()
}

fn session(reply: &Element) -> &str {
    reply.attribute("sessionid").unwrap_or_default()
}

fn note(reply: &Element) -> &str {
    reply.child("note", ns::COMMANDS).map_or("", Element::text)
}

fn actions(reply: &Element) -> String {
    reply.child("actions", ns::COMMANDS).map(|actions| actions.to_xml(ns::COMMANDS)).unwrap_or_default()
}

/// The values of the options of a field.
fn options(reply: &Element, name: &str) -> Vec<String> {
    let form = reply.child("x", ns::DATA_FORMS).expect("a form");
    let field = form.children().find(|field| field.attribute("var") == Some(name)).expect("the field");
    let options = field.children().filter(|child| child.name() == "option");
    options.map(|option| option.children().next().unwrap().text().to_owned()).collect()
}

/// As Gajim sends them.
#[test]
fn labels_name_their_files_while_the_page_shows_them() {
    let test = DeskTest::new(FakeDesk::with("alice@example.org", 3));
    let ask = || test.run(ALICE, command("files", &[]));
    let delete = |list: &Element, label: &str| {
        let chosen = form(&[("files", &[label]), ("do", &["delete"])]);
        command("files", &[("sessionid", session(list))]).with_child(chosen)
    };
    let (first, later) = (ask(), ask());
    assert_eq!(note(&test.run(ALICE, delete(&first, "2. file-2, 1 KiB, 2014-01-23"))), "Deleted 1 file.");
    let other_now = delete(&later, "2. file-2, 1 KiB, 2014-01-23");
    assert_eq!(test.refused(ALICE, other_now), "bad-request bad-payload");
    assert_eq!(note(&test.run(ALICE, delete(&ask(), "2. file-3, 1 KiB, 2014-01-23"))), "Deleted 1 file.");
    let chosen = form(&[("files", &["1. file-1, 1 KiB, 2014-01-23"]), ("do", &["delete"])]);
    let unseen = command("files", &[]).with_child(chosen);
    assert_eq!(test.refused(ALICE, unseen), "bad-request bad-payload");
}

#[test]
fn my_files_are_shown_and_those_that_are_chosen_are_deleted() {
    let test = DeskTest::new(FakeDesk::with("alice@example.org", 3));
    let list = test.run(ALICE, command("files", &[("action", "execute")]));
    let id = session(&list).to_owned();
    assert_eq!(
        list.to_xml(ns::CLIENT),
        format!(
            "<command xmlns='http://jabber.org/protocol/commands' node='files' sessionid='{id}' status='executing'>\
             <actions execute='complete'><complete/></actions>\
             <x xmlns='jabber:x:data' type='form'><title>My files</title>\
             <instructions>Choose files, newest first.</instructions>\
             <field var='files' type='list-multi' label='Files'>\
             <option label='1. file-1, 1 KiB, 2014-01-23'><value>upload/000000000000000000000001</value></option>\
             <option label='2. file-2, 1 KiB, 2014-01-23'><value>upload/000000000000000000000002</value></option>\
             <option label='3. file-3, 1 KiB, 2014-01-23'><value>upload/000000000000000000000003</value></option>\
             </field>\
             <field var='do' type='list-single' label='What to do'><value>link</value>\
             <option label='Show the links'><value>link</value></option>\
             <option label='Delete the files'><value>delete</value></option></field></x></command>"
        )
    );
    let files = options(&list, "files");
    let chosen = form(&[("files", &[&files[0], &files[2]]), ("do", &["delete"])]);
    let step = command("files", &[("sessionid", &id), ("action", "complete")]);
    let done = test.run(ALICE, step.clone().with_child(chosen));
    assert_eq!((status(&done), note(&done), session(&done)), ("completed", "Deleted 2 files.", &*id));
    assert_eq!(test.desk.left(), ["file-2"]);
    assert_eq!(test.refused(ALICE, step), "bad-request bad-sessionid", "the session has ended");
}

#[test]
fn links_are_told_for_the_files_that_are_chosen() {
    let test = DeskTest::new(FakeDesk::with("alice@example.org", 2));
    let chosen = form(&[("files", &["upload/000000000000000000000002"])]);
    let done = test.run(ALICE, command("files", &[]).with_child(chosen));
    let xml = done.to_xml(ns::CLIENT);
    let field = "<x xmlns='jabber:x:data' type='result'><title>Links</title>\
        <field var='link-1' type='text-single' label='file-2, 1 KiB, 2014-01-23'>\
        <value>https://media.example.org/upload/000000000000000000000002/file-2</value></field></x>";
    assert!(xml.contains(field) && status(&done) == "completed", "{xml}");
}

#[test]
fn without_an_endpoint_links_are_paths() {
    let test = DeskTest::new(FakeDesk::with("alice@example.org", 1));
    test.component.set_settings(Settings::default());
    let chosen = form(&[("files", &["upload/000000000000000000000001"])]);
    let xml = test.run(ALICE, command("files", &[]).with_child(chosen)).to_xml(ns::CLIENT);
    assert!(xml.contains("<value>/upload/000000000000000000000001/file-1</value>"), "{xml}");
}

/// A bare request, an empty form, a form without the boolean and a false one: none deletes anything.
#[test]
fn nothing_is_deleted_without_a_form_that_names_it() {
    let test = DeskTest::new(FakeDesk::with("alice@example.org", 2));
    let forms = [
        None,
        Some(form(&[])),
        Some(form(&[("delete", &[])])),
        Some(form(&[("delete", &["false"])])),
        Some(form(&[("delete", &["yes"])])),
        Some(form(&[("do", &["delete"])])),
        Some(form(&[("files", &[]), ("do", &["delete"])])),
        Some(form(&[("other", &["true"])])),
        Some(form(&[("delete", &["true"])]).with("type", "cancel")),
        Some(form(&[("delete", &["true"])]).with("type", "form")),
    ];
    for node in ["files", "delete-all"] {
        for action in [None, Some("execute"), Some("next"), Some("complete")] {
            for form in &forms {
                let action = action.map(|action| ("action", action));
                let step = form
                    .iter()
                    .cloned()
                    .fold(command(node, &action.into_iter().collect::<Vec<_>>()), Element::with_child);
                let from = format!("alice@example.org/{}", crate::access::hex_id());
                // The rate of requests is no part of this test.
                *test.component.rates.lock().unwrap() = Rates::new(1000, Duration::from_secs(1));
                let shown = test.run(&from, step);
                let second = command(node, &[("sessionid", session(&shown))]);
                let second = form.iter().cloned().fold(second, Element::with_child);
                test.run(&from, second);
                assert_eq!(test.desk.left().len(), 2, "{node} {form:?}");
            }
        }
    }
}

#[test]
fn pages_lead_there_and_back() {
    let test = DeskTest::new(FakeDesk::with("alice@example.org", 250));
    let first = test.run(ALICE, command("files", &[]));
    let id = session(&first).to_owned();
    assert_eq!(options(&first, "files").len(), 100);
    assert_eq!(actions(&first), "<actions execute='complete'><next/><complete/></actions>");
    let step = |action| command("files", &[("sessionid", &id), ("action", action)]);
    let second = test.run(ALICE, step("next"));
    assert_eq!(actions(&second), "<actions execute='complete'><prev/><next/><complete/></actions>");
    let third = test.run(ALICE, step("next"));
    assert_eq!(actions(&third), "<actions execute='complete'><prev/><complete/></actions>");
    assert_eq!(options(&third, "files").len(), 50);
    assert!(third.to_xml(ns::CLIENT).contains("label='201. file-201, "));
    assert_eq!(test.refused(ALICE, step("next")), "bad-request bad-action");
    assert_eq!(options(&test.run(ALICE, step("prev")), "files"), options(&second, "files"));
    assert_eq!(options(&test.run(ALICE, step("prev")), "files"), options(&first, "files"));
    assert_eq!(test.refused(ALICE, step("prev")), "bad-request bad-action");
    // A file that goes meanwhile moves no other one in or out.
    test.desk.files.lock().unwrap().remove(5);
    assert_eq!(options(&test.run(ALICE, step("next")), "files"), options(&second, "files"));
    let canceled = test.run(ALICE, step("cancel"));
    assert_eq!(status(&canceled), "canceled");
    assert_eq!(test.refused(ALICE, step("next")), "bad-request bad-sessionid");
}

#[test]
fn all_files_are_deleted_that_were_there_when_it_was_asked() {
    let test = DeskTest::new(FakeDesk::with("alice@example.org", 3));
    let asked = test.run(ALICE, command("delete-all", &[]));
    let xml = asked.to_xml(ns::CLIENT);
    assert!(
        xml.contains(
            "<field var='delete' type='boolean' label='Delete all my files: 3 files, 3 KiB'><value>false</value>"
        ),
        "{xml}"
    );
    let later = FileRow {
        created: Timestamp::from_micros(NOW + 1),
        file_name: Some("later".to_owned()),
        ..test.desk.files.lock().unwrap()[0].clone()
    };
    test.desk.files.lock().unwrap().insert(0, later);
    let sure = form(&[("delete", &["1"])]);
    let step = command("delete-all", &[("sessionid", session(&asked)), ("action", "complete")]);
    let done = test.run(ALICE, step.with_child(sure.clone()));
    assert_eq!((status(&done), note(&done)), ("completed", "Deleted 3 files."));
    assert_eq!(test.desk.left(), ["later"]);
    // In one step, by a client that knows no second one.
    let test = DeskTest::new(FakeDesk::with("alice@example.org", 2));
    let done = test.run(ALICE, command("delete-all", &[]).with_child(sure));
    assert_eq!((note(&done), test.desk.left().len()), ("Deleted 2 files.", 0));
    let nothing = test.run(ALICE, command("delete-all", &[]));
    assert_eq!((status(&nothing), note(&nothing)), ("completed", "There are no files."));
}

#[test]
fn a_session_is_of_one_client_and_one_command() {
    let test = DeskTest::new(FakeDesk::with("alice@example.org", 2));
    let asked = test.run(ALICE, command("delete-all", &[]));
    let sure = || form(&[("delete", &["true"])]);
    let step = |node| command(node, &[("sessionid", session(&asked))]).with_child(sure());
    for from in ["alice@example.org/laptop", "alice@example.org", "mallory@example.org/phone", ADMIN] {
        assert_eq!(test.refused(from, step("delete-all")), "bad-request bad-sessionid", "{from}");
    }
    assert_eq!(test.refused(ALICE, step("files")), "bad-request bad-sessionid");
    for id in ["00000000000000000000000000000000", &"x".repeat(65_536)] {
        let guess = command("delete-all", &[("sessionid", id)]).with_child(sure());
        assert_eq!(test.refused(ALICE, guess), "bad-request bad-sessionid");
    }
    assert_eq!(test.desk.left().len(), 2);
    test.run(ALICE, step("delete-all"));
    assert_eq!(test.desk.left().len(), 0);
}

#[test]
fn users_see_and_delete_only_their_own_files() {
    let test = DeskTest::new(FakeDesk::with("alice@example.org", 2));
    let file = "upload/000000000000000000000001";
    let mallory = "mallory@example.org/x";
    assert_eq!(note(&test.run(mallory, command("files", &[]))), "There are no files.");
    let link = command("files", &[]).with_child(form(&[("files", &[file])]));
    let shown = test.run(mallory, link);
    assert!(!shown.to_xml(ns::CLIENT).contains("file-1") && note(&shown) == "There are no files.");
    let delete = command("files", &[]).with_child(form(&[("files", &[file]), ("do", &["delete"])]));
    assert_eq!(note(&test.run(mallory, delete)), "Deleted 0 files. 1 file was already gone.");
    assert_eq!(test.desk.left().len(), 2);
    for wrong in ["../etc/passwd", "upload/", "*", "a\u{202e}b@example.org/x/y"] {
        let delete = command("files", &[]).with_child(form(&[("files", &[wrong]), ("do", &["delete"])]));
        assert_eq!(test.refused(ALICE, delete), "bad-request bad-payload");
    }
    let strange = command("files", &[]).with_child(form(&[("files", &[file]), ("do", &["drop"])]));
    assert_eq!(test.refused(ALICE, strange), "bad-request bad-payload");
}

#[test]
fn the_usage_of_a_user_is_told_at_once() {
    let test = DeskTest::new(FakeDesk::with("alice@example.org", 3));
    let told = test.run(ALICE, command("quota", &[]));
    let xml = told.to_xml(ns::CLIENT);
    assert_eq!((status(&told), note(&told)), ("completed", "Total: 3 files, 3 KiB."));
    assert!(xml.contains("label='Uploads'><value>3 files, 3 KiB of 1 MiB</value>"), "{xml}");
    assert!(xml.contains("label='In channels'><value>0 files, 0 bytes</value>"), "{xml}");
}

#[test]
fn an_administrator_looks_after_the_files_of_a_user() {
    let test = DeskTest::new(FakeDesk::with("alice@example.org", 102));
    let asked = test.run(ADMIN, command("user-files", &[]));
    assert_eq!(actions(&asked), "<actions execute='next'><next/></actions>");
    let id = session(&asked).to_owned();
    let step = |action| command("user-files", &[("sessionid", &id), ("action", action)]);
    let alice = form(&[("user", &["Alice@Example.org/phone"])]);
    let wrong = form(&[("user", &["@"])]);
    assert_eq!(test.refused(ADMIN, step("next").with_child(wrong)), "bad-request bad-payload");
    let list = test.run(ADMIN, step("next").with_child(alice.clone()));
    assert!(list.to_xml(ns::CLIENT).contains("<title>Files of alice@example.org</title>"));
    let list = test.run(ADMIN, step("next"));
    let chosen = form(&[("files", &[&options(&list, "files")[0]]), ("do", &["delete"])]);
    assert_eq!(note(&test.run(ADMIN, step("complete").with_child(chosen))), "Deleted 1 file.");
    assert_eq!(test.desk.left().len(), 101);
    let links = test.run(ADMIN, command("user-files", &[]).with_child(alice));
    assert_eq!((status(&links), note(&links)), ("completed", "100 files."));
    let total = test.run(ADMIN, command("usage", &[]));
    let xml = total.to_xml(ns::CLIENT);
    assert!(xml.contains("label='alice@example.org (uploads)'><value>101 files, 101 KiB</value>"), "{xml}");
}

#[test]
fn an_administrator_blocks_and_unblocks() {
    let test = DeskTest::new(FakeDesk::default());
    assert_eq!(note(&test.run(ADMIN, command("unblock", &[]))), "Nobody is blocked.");
    let asked = test.run(ADMIN, command("block", &[]));
    assert_eq!(actions(&asked), "<actions execute='complete'><complete/></actions>");
    let mallory = || form(&[("user", &["mallory@example.org"])]);
    let step = command("block", &[("sessionid", session(&asked))]).with_child(mallory());
    assert_eq!(note(&test.run(ADMIN, step)), "mallory@example.org can no longer send files.");
    let again = command("block", &[]).with_child(mallory());
    assert_eq!(note(&test.run(ADMIN, again)), "mallory@example.org is already blocked.");
    let domain = command("block", &[]).with_child(form(&[("user", &["example.org"])]));
    assert_eq!(test.refused(ADMIN, domain), "bad-request bad-payload");
    let list = test.run(ADMIN, command("unblock", &[]));
    assert_eq!(options(&list, "user"), ["mallory@example.org"]);
    let step = command("unblock", &[("sessionid", session(&list))]);
    assert_eq!(
        note(&test.run(ADMIN, step.with_child(mallory()))),
        "mallory@example.org can send files again."
    );
    let again = command("unblock", &[]).with_child(mallory());
    assert_eq!(note(&test.run(ADMIN, again)), "mallory@example.org was not blocked.");
}

#[test]
fn others_neither_see_nor_run_the_commands_of_administrators() {
    let test = DeskTest::new(FakeDesk::with("alice@example.org", 1));
    let user = form(&[("user", &["alice@example.org"])]);
    for from in [ALICE, "admin@example.com/desk", "admin@example.org.evil.test", "example.org"] {
        for node in ["user-files", "usage", "block", "unblock", "nothing", ""] {
            assert_eq!(test.refused(from, command(node, &[]).with_child(user.clone())), "item-not-found");
        }
    }
    // A user who is no administrator any more goes no further.
    let asked = test.run(ADMIN, command("block", &[]));
    test.component.set_settings(Settings::default());
    let step = command("block", &[("sessionid", session(&asked))]).with_child(user);
    assert_eq!(test.refused(ADMIN, step), "item-not-found");
    assert!(test.desk.blocks.lock().unwrap().is_empty());
}

#[test]
fn wrong_requests_are_refused_with_the_conditions_of_the_xep() {
    let test = DeskTest::new(FakeDesk::default());
    assert_eq!(
        test.refused(ALICE, command("files", &[("action", "explode")])),
        "bad-request malformed-action"
    );
    let many: Vec<String> = (0..=limits::COMMAND_FILES).map(|number| number.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let large = command("files", &[]).with_child(form(&[("files", &many)]));
    assert_eq!(test.refused(ALICE, large), "bad-request bad-payload");
    test.send(iq("get", ALICE, command("files", &[])));
    assert!(test.sent().to_xml(ns::CLIENT).contains("<bad-request "));
    test.send(iq("set", ALICE, command("files", &[])).with_child(command("files", &[])));
    assert!(test.sent().to_xml(ns::CLIENT).contains("<bad-request "));
    test.send(iq("set", "@", command("files", &[])));
    assert!(test.sent().to_xml(ns::CLIENT).contains("<jid-malformed "));
    for kind in ["result", "error"] {
        test.send(iq(kind, ALICE, command("files", &[])));
    }
    assert!(test.inbox.take().is_none(), "replies get no reply");
}

#[test]
fn a_failure_of_the_database_is_told_without_its_words() {
    let test = DeskTest::new(FakeDesk::with("alice@example.org", 1));
    test.desk.fails.store(true, Ordering::Relaxed);
    for node in ["files", "quota", "delete-all"] {
        let error = test.run(ALICE, command(node, &[])).to_xml(ns::CLIENT);
        assert!(error.contains("<internal-server-error ") && !error.contains("secret"), "{error}");
    }
}

#[test]
fn commands_are_found_by_service_discovery() {
    let test = DeskTest::new(FakeDesk::default());
    let query = || Element::new("query", ns::DISCO_ITEMS).with("node", ns::COMMANDS);
    for (from, count) in [(ALICE, 3), (ADMIN, 7)] {
        test.send(iq("get", from, query()));
        let reply = test.sent();
        assert_eq!(reply.child("query", ns::DISCO_ITEMS).unwrap().children().count(), count, "{from}");
    }
    test.send(iq("get", ALICE, Element::new("query", ns::DISCO_INFO)));
    let info = test.sent().to_xml(ns::CLIENT);
    assert!(info.contains("<feature var='http://jabber.org/protocol/commands'/>"), "{info}");
}

#[test]
fn many_requests_in_a_short_time_are_refused() {
    let test = DeskTest::new(FakeDesk::with("alice@example.org", 1));
    for _ in 0..2 * limits::COMPONENT_BURST {
        test.send(iq("set", ALICE, command("files", &[("action", "cancel")])));
    }
    let replies: Vec<_> =
        std::iter::from_fn(|| test.inbox.take()).map(|(_, reply)| reply.to_xml(ns::CLIENT)).collect();
    assert_eq!(replies.len(), 2 * limits::COMPONENT_BURST as usize);
    let refused = replies.iter().filter(|reply| reply.contains("<resource-constraint ")).count();
    assert!(refused > 10, "{refused}");
}
