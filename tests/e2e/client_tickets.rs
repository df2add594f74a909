//! `buddycloud-media` and tickets: one for a thousand files; servers that have none, whose prompts are not all true; and
//! tickets that end in between.

use std::time::Duration;

use crate::site::Site;
use crate::support::http::Request;
use crate::support::media_client::MediaClient;
use crate::support::prosody::{CHANNELS, DOMAIN, Prosody};
use crate::support::scripted_media::ScriptedMedia;

const FILES: usize = 1000;

#[test]
fn a_thousand_files_go_over_one_log_in_with_one_ticket() {
    let settings = [("http.endpoint", "http://127.0.0.1:@PORT@"), ("media.storage.sync", "off")];
    let site = Site::start_on(Prosody::start_with_tls(), &settings);
    site.prosody.add_account(DOMAIN, "alice");
    let channel = format!("alice@{DOMAIN}");
    let made = site.admin.create_channel(CHANNELS, &channel, "open", &[(&channel, "owner")]);
    made.expect("the channel service makes channels");
    let client = MediaClient::new(&site.prosody, &channel);
    for number in 0..FILES {
        client.file(&format!("folder/{number:04}.txt"), format!("file {number}").as_bytes());
    }
    let urls = client.does(&["put", &channel, "folder"]);
    assert_eq!(urls.lines().count(), FILES);
    // The order is that of the names.
    for number in [0, 1, 500, FILES - 1] {
        let url = urls.lines().nth(number).expect("there are so many");
        assert_eq!(Request::get(url).send().expect(200).text(), format!("file {number}"));
    }
    let log = site.server.log();
    let posts = |path: &str| log.matches(&format!(" POST /{channel}{path} 201 ")).count();
    assert_eq!((posts("/ticket/post"), posts("")), (1, FILES));
    let log_ins = site.prosody.log().matches("Authenticated as alice@").count();
    assert_eq!(log_ins, 1, "{}", site.prosody.log());
}

#[test]
fn without_tickets_each_file_is_confirmed_and_no_false_prompt() {
    let mut site = ScriptedMedia::start();
    let names: Vec<_> = ["a", "b", "c"].map(|name| site.client.file(name, name.as_bytes())).into();
    let arguments: Vec<&str> =
        ["put", "room@example.org"].into_iter().chain(names.iter().map(String::as_str)).collect();
    let running = site.run(&arguments);
    let ticket = site.request();
    assert_eq!(ticket.path, "/room@example.org/ticket/post");
    ticket.answer(404, "{}");
    for number in 0..3 {
        let got = site.request();
        let (jid, transaction) = got.basic();
        assert_eq!(got.path, "/room@example.org");
        let url = format!("{}{}", site.endpoint, got.path);
        // A reply to one of these would come before that to the true prompt.
        site.prompt(&jid, "another", "POST", &url);
        site.prompt(&jid, &transaction, "DELETE", &url);
        site.prompt(&jid, &transaction, "POST", &format!("{url}/other"));
        site.prompt(&jid, &transaction, "POST", "http://media.example.net/room@example.org");
        site.confirm(&got);
        got.answer(201, &format!("{{\"id\":\"id{number}\"}}"));
    }
    let run = running.join().expect("no panic");
    assert_eq!((run.status, run.stdout.lines().count(), run.stderr.as_str()), (0, 3, ""), "{run:?}");
}

#[test]
fn a_ticket_that_ends_is_renewed_once_for_all_files() {
    let mut site = ScriptedMedia::start();
    let names: Vec<_> = ["a", "b", "c", "d"].map(|name| site.client.file(name, name.as_bytes())).into();
    let arguments: Vec<&str> =
        ["put", "room@example.org"].into_iter().chain(names.iter().map(String::as_str)).collect();
    let running = site.run(&arguments);
    let (mut tickets, mut refused, mut stored) = (0, 0, 0);
    while stored < 4 {
        let got = site.request();
        if got.path.ends_with("/ticket/post") {
            site.confirm(&got);
            tickets += 1;
            got.answer(201, &format!("{{\"ticket\":\"t{tickets}\",\"scope\":\"post\",\"expires\":\"\"}}"));
        } else if got.authorization == "Bearer t1" {
            refused += 1;
            got.answer(401, "{}");
        } else {
            assert_eq!(got.authorization, "Bearer t2");
            stored += 1;
            got.answer(201, &format!("{{\"id\":\"id{stored}\"}}"));
        }
    }
    let run = running.join().expect("no panic");
    assert_eq!((run.status, run.stdout.lines().count(), run.stderr.as_str()), (0, 4, ""), "{run:?}");
    assert_eq!(tickets, 2);
    assert!((1..=4).contains(&refused), "{refused}");
}

/// A server that never takes a ticket must not be asked without end.
#[test]
fn a_ticket_that_is_never_taken_is_a_refusal() {
    let mut site = ScriptedMedia::start();
    let names: Vec<_> = ["a", "b"].map(|name| site.client.file(name, name.as_bytes())).into();
    let arguments = ["put", "room@example.org", &names[0], &names[1]];
    let running = site.run(&arguments);
    let mut requests = 0;
    while !running.is_finished() {
        let Ok(got) = site.requests.recv_timeout(Duration::from_millis(100)) else { continue };
        requests += 1;
        if got.path.ends_with("/ticket/post") {
            site.confirm(&got);
            got.answer(201, &format!("{{\"ticket\":\"t{requests}\"}}"));
        } else {
            got.answer(401, "{}");
        }
    }
    let run = running.join().expect("no panic");
    assert_eq!(run.status, 77, "{run:?}");
    assert!(run.stderr.contains("the server does not accept its ticket"), "{run:?}");
    assert!(requests < 30, "{requests}");
}
