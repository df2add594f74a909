//! Users whose clients do not support XEP-0070 confirm and deny by texts.

use std::thread::JoinHandle;

use crate::site::{Site, flush, unique};
use crate::support::http::{Answer, Request, transaction};
use crate::support::profanity::Profanity;
use crate::support::prosody::{COMPONENT, DOMAIN};
use crate::support::stanza::Stanza;
use crate::support::xmpp_client::{Client, Policy};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

const CLIENT: &str = "jabber:client";

/// The first line of a prompt for an upload.
fn upload_to(channel: &str) -> String {
    format!("Did you just upload a file to {channel}? (from 127.0.0.1)")
}

/// Opens the window that the prompt has come in, and waits for the prompt.
fn look_at_prompt(person: &mut Profanity, channel: &str) {
    person.wait_for_text(&format!("{COMPONENT} (win 2)"));
    person.type_line("/win 2");
    person.wait_for_text(&upload_to(channel));
    person.wait_for_text("Reply OK to allow it, or No to refuse.");
}

#[test]
fn a_person_with_profanity_replies_ok_and_the_upload_goes_through() {
    let site = Site::shared();
    let mut person = Profanity::login(&site.prosody, &unique("person"));
    let channel = site.channel("whitelist", &[(person.bare(), "publisher")]);
    let upload = site.upload_request(&channel).basic(person.jid()).send_apart();
    look_at_prompt(&mut person, &channel);
    person.type_line("ok");
    let uploaded = upload.join().expect("curl gets an answer").expect(201);
    assert_eq!(uploaded.member("author"), person.bare());
    let id = uploaded.member("id");
    let deletion = Request::new("DELETE", &site.url(&format!("{channel}/{id}"))).basic(person.jid());
    let deletion = deletion.send_apart();
    person.wait_for_text(&format!("Did you just delete the file {id} of {channel}?"));
    person.type_line("what is this?");
    person.wait_for_text("Reply OK to allow the request, or No to refuse it.");
    person.type_line("No, that was not me");
    let answer = deletion.join().expect("curl gets an answer").expect(403);
    assert_eq!(answer.member("title"), "Denied");
}

#[test]
fn with_two_clients_a_bare_address_is_confirmed_in_one_of_them() {
    let site = Site::shared();
    let name = unique("person");
    let mut person = Profanity::login(&site.prosody, &name);
    let phone = site.prosody.login(DOMAIN, &format!("{name}/phone"), Policy::Ignore);
    let channel = site.channel("open", &[(person.bare(), "publisher")]);
    let upload = site.upload_request(&channel).basic(person.bare()).send_apart();
    phone.confirm(0).expect("the other client is asked, too");
    look_at_prompt(&mut person, &channel);
    person.type_line("Yes!");
    upload.join().expect("curl gets an answer").expect(201);
    say(&phone, "ok", "");
    assert_eq!(heard(&phone), "That request has ended.");
}

/// A user whose client shows the bodies of messages and nothing else, and a channel to upload to.
fn silent_user(site: &Site) -> (Client, String) {
    let (user, channel) = site.public_channel();
    user.set_policy(Policy::Ignore);
    (user, channel)
}

/// An upload that waits for its confirmation; the prompt has come.
fn waiting_upload(site: &Site, user: &Client, channel: &str, number: usize) -> (JoinHandle<Answer>, String) {
    let id = format!("transaction-{}", transaction());
    let token = STANDARD.encode(format!("{}:{id}", user.jid()));
    let upload = site.upload_request(channel).token(&token).send_apart();
    user.confirm(number).expect("the user is asked");
    (upload, id)
}

fn say(user: &Client, text: &str, extra: &str) {
    let body = format!("<body>{text}</body>{extra}");
    user.send(&format!("<message type='chat' to='{COMPONENT}'>{body}</message>"))
        .expect("the user is connected");
}

/// The next text that the component writes.
fn heard(user: &Client) -> String {
    let is_text = |stanza: &Stanza| stanza.name == "message" && stanza.attribute("from") == COMPONENT;
    let message = user.take(is_text).expect("the component writes");
    message.child("body", CLIENT).expect("a text has a body").text.clone()
}

#[test]
fn of_several_requests_the_numbers_of_a_list_decide() {
    let site = Site::start(&[("xmpp.reply.timeout", "60000")]);
    let (user, channel) = silent_user(&site);
    let uploads: Vec<_> = (0..3).map(|number| waiting_upload(&site, &user, &channel, number)).collect();
    say(&user, "ok", "");
    let list = heard(&user);
    let expected: Vec<_> = uploads
        .iter()
        .enumerate()
        .map(|(at, (_, id))| {
            format!("{}. upload a file to {channel} (from 127.0.0.1), transaction {id}", at + 1)
        })
        .collect();
    assert_eq!(list.lines().skip(1).take(3).collect::<Vec<_>>(), expected);
    say(&user, "no 2", "");
    let mut uploads = uploads.into_iter();
    let mut next = || uploads.next().expect("three were sent");
    let (first, second) = (next(), next());
    second.0.join().expect("curl gets an answer").expect(403);
    say(&user, "1", "");
    first.0.join().expect("curl gets an answer").expect(201);
    let (third, id) = next();
    say(&user, &id, "");
    third.join().expect("curl gets an answer").expect(201);
}

#[test]
fn a_reply_to_one_prompt_decides_that_one() {
    let site = Site::start(&[("xmpp.reply.timeout", "60000")]);
    let (user, channel) = silent_user(&site);
    let (first, _) = waiting_upload(&site, &user, &channel, 0);
    let (second, _) = waiting_upload(&site, &user, &channel, 1);
    let prompt = |number: usize| user.confirms()[number].stanza.clone();
    let id = prompt(1).attribute("id").to_owned();
    let quoted = format!(
        "<reply xmlns='urn:xmpp:reply:0' id='{id}' to='{COMPONENT}'/>\
         <fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:reply:0'><body start='0' end='5'/></fallback>"
    );
    say(&user, "> no\nja", &quoted);
    second.join().expect("curl gets an answer").expect(201);
    let thread = prompt(0).child("thread", CLIENT).expect("a prompt has a thread").to_xml(CLIENT);
    say(&user, "No.", &thread);
    first.join().expect("curl gets an answer").expect(403);
    say(&user, "ok", &thread);
    assert_eq!(heard(&user), "That request has ended.");
}

#[test]
fn replies_that_must_not_count_do_not() {
    let site = Site::start(&[("xmpp.reply.timeout", "60000")]);
    let (user, channel) = silent_user(&site);
    let (upload, id) = waiting_upload(&site, &user, &channel, 0);
    let local = user.bare().split('@').next().expect("a split gives one part");
    let other = site.prosody.login(DOMAIN, &format!("{local}/other"), Policy::Ignore);
    let mallory = site.user();
    let thread = user.confirms()[0].stanza.child("thread", CLIENT).expect("a thread").to_xml(CLIENT);
    let delay = "<delay xmlns='urn:xmpp:delay' stamp='2026-01-01T00:00:00Z'/>";
    for text in ["ok", "no", &id, "1", "all", "no all"] {
        for stranger in [&mallory, &other] {
            say(stranger, text, "");
            say(stranger, text, &thread);
        }
        say(&user, text, delay);
        for kind in ["error", "headline", "groupchat"] {
            let body = format!("<body>{text}</body>{thread}");
            let message = format!("<message type='{kind}' to='{COMPONENT}'>{body}</message>");
            user.send(&message).expect("the user is connected");
        }
    }
    say(&user, "ok", "<encrypted xmlns='eu.siacs.conversations.axolotl'/>");
    assert!(heard(&user).contains("unencrypted"));
    [&mallory, &other, &user].into_iter().for_each(flush);
    assert!(!upload.is_finished(), "one of them was taken for a reply");
    say(&user, "OK", "");
    upload.join().expect("curl gets an answer").expect(201);
}

#[test]
fn a_flood_of_texts_delays_nobody_and_gets_few_answers() {
    let site = Site::start(&[("xmpp.reply.timeout", "60000")]);
    let (user, channel) = silent_user(&site);
    let (first, _) = waiting_upload(&site, &user, &channel, 0);
    let (second, _) = waiting_upload(&site, &user, &channel, 1);
    let long = "\u{5d0}".repeat(30_000);
    for number in 0..2000 {
        say(&user, ["ok", "yes please", "9", "\u{202e}ko"][number % 4], "");
    }
    say(&user, &long, "");
    flush(&user);
    let (owner, public) = site.public_channel();
    site.upload(&owner, &public);
    assert!(!first.is_finished() && !second.is_finished(), "one of the texts decided something");
    let answers = std::iter::from_fn(|| user.try_take(|stanza| stanza.name == "message")).count();
    assert!(answers <= 11, "{answers} answers");
    say(&user, "no all", "");
    for upload in [first, second] {
        upload.join().expect("curl gets an answer").expect(403);
    }
}

#[test]
fn a_page_of_a_stranger_is_named() {
    let site = Site::shared();
    let (user, channel) = silent_user(site);
    let upload = site.upload_request(&channel).header("Origin", "https://evil.example").basic(user.jid());
    let upload = upload.send_apart();
    let prompt = user.confirm(0).expect("the user is asked").stanza;
    let body = &prompt.child("body", CLIENT).expect("a prompt has a body").text;
    let first =
        format!("Did you just upload a file to {channel}? (from 127.0.0.1, by a web page of evil.example)");
    assert_eq!(body.lines().next(), Some(first.as_str()));
    for hint in ["no-store", "no-permanent-store"] {
        assert!(prompt.child(hint, "urn:xmpp:hints").is_some(), "{hint}");
    }
    say(&user, "nein", "");
    upload.join().expect("curl gets an answer").expect(403);
}

#[test]
fn words_of_the_requester_are_not_shown() {
    let site = Site::shared();
    let (user, channel) = silent_user(site);
    let words = "7. Your account is locked. Unlock it within 24 hours at www.evil.example/login";
    let token = STANDARD.encode(format!("{}:{words}", user.jid()));
    let upload = site.upload_request(&channel).token(&token).send_apart();
    let prompt = user.confirm(0).expect("the user is asked");
    assert_eq!(prompt.id, words, "clients that know XEP-0070 get it");
    let body = &prompt.stanza.child("body", CLIENT).expect("a prompt has a body").text;
    assert!(!body.contains("locked") && body.lines().count() == 2, "{body}");
    say(&user, "no", "");
    upload.join().expect("curl gets an answer").expect(403);
}

#[test]
fn a_full_address_is_asked_by_iq_where_so_set() {
    let site = Site::start(&[("xmpp.confirm.stanza", "auto"), ("xmpp.confirm.address", "none")]);
    let (user, channel) = silent_user(&site);
    let (upload, _) = waiting_upload(&site, &user, &channel, 0);
    let asked = user.confirm(0).expect("the user is asked");
    assert_eq!((asked.stanza.name.as_str(), asked.stanza.attribute("type")), ("iq", "get"));
    let id = asked.stanza.attribute("id");
    user.send(&format!("<iq type='result' id='{id}' to='{COMPONENT}'/>")).expect("the user is connected");
    upload.join().expect("curl gets an answer").expect(201);

    // A client that does not know it gets a message.
    let (upload, transaction) = waiting_upload(&site, &user, &channel, 1);
    let id = user.confirm(1).expect("the user is asked").stanza.attribute("id").to_owned();
    let unknown = "<error type='cancel'><service-unavailable \
                   xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>";
    user.send(&format!("<iq type='error' id='{id}' to='{COMPONENT}'>{unknown}</iq>")).expect("connected");
    let message = user.confirm(2).expect("the user is asked again").stanza;
    let body = &message.child("body", CLIENT).expect("a prompt has a body").text;
    assert_eq!(body.lines().next(), Some(format!("Did you just upload a file to {channel}?").as_str()));
    say(&user, &transaction, "");
    upload.join().expect("curl gets an answer").expect(201);

    // A bare address is asked by a message.
    let upload = site.upload_request(&channel).basic(user.bare()).send_apart();
    assert_eq!(user.confirm(3).expect("the user is asked").stanza.name, "message");
    say(&user, "no", "");
    upload.join().expect("curl gets an answer").expect(403);
}

#[test]
fn a_stranger_who_writes_gets_an_explanation_of_the_service() {
    let site = Site::shared();
    let stranger = site.user();
    say(&stranger, "hello?", "");
    assert!(heard(&stranger).starts_with("This is a media server."));
}
