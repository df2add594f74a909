//! The HTTP edge under mistakes and bad will: long lists, unreadable addresses of clients, floods of log lines, a wrong
//! clock, a database that is deleted under the server.

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::site::Site;
use crate::support::http::{Answer, Raw, Request};
use crate::support::wait_for;
use crate::watching::{ANY, admin_url};

/// What a place in the code may log in a minute, as the manual says.
const REPEATS: usize = 20;

/// Stores media by SQL, as a client could before texts were limited: `count` of them, whose titles and descriptions are
/// each so many repetitions of a character.
fn store(site: &Site, channel: &str, count: usize, character: u32, lengths: (usize, usize)) {
    let text = |length: usize| format!("replace(hex(zeroblob({length})), '00', char({character}))");
    site.metadata(&format!(
        "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count}) \
         INSERT INTO medias (id, fileName, author, title, description, mimeType, uploadedDate, lastUpdatedDate, \
         shaChecksum, fileSize, entityId) \
         SELECT '{channel_id}-' || n, 'a.txt', 'a@example.org', {title}, {description}, 'text/plain', n, n, '', 0, \
         '{channel}' FROM numbers",
        channel_id = channel.split('@').next().expect("a split gives one part"),
        title = text(lengths.0),
        description = text(lengths.1),
    ));
}

/// A number of `/proc/PID/status`, in MiB.
fn memory(site: &Site, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", site.server.pid())).expect("the server runs");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("Linux tells it");
    let number: String = line.chars().filter(char::is_ascii_digit).collect();
    number.parse::<u64>().expect("a number") / 1024
}

/// The target of the link to the next page.
fn next(answer: &Answer) -> Option<&str> {
    answer.header("link")?.strip_prefix('<')?.strip_suffix(">; rel=\"next\"")
}

#[test]
fn many_slow_lists_of_the_longest_texts_take_little_memory() {
    const LISTS: usize = 32;
    const ALLOWED: u64 = 128;
    let site = Site::start(&[]);
    let old = site.channel("open", &[]);
    store(&site, &old, 1000, 1, (64 * 1024, 64 * 1024));
    let longest = site.channel("open", &[]);
    store(&site, &longest, 1000, 1, (1024, 16 * 1024));
    for channel in [&old, &longest] {
        Request::get(&site.url(channel)).query("max=1").send().expect(200);
    }
    let before = memory(&site, "VmHWM:");
    for channel in [&old, &longest] {
        let mut slow: Vec<Raw> = (0..LISTS).map(|_| Raw::connect(site.server.port())).collect();
        for reader in &mut slow {
            reader.send(format!("GET /{channel} HTTP/1.1\r\nHost: x\r\n\r\n"));
        }
        // Each list is there as a whole, and its client has not read a byte of it.
        wait_for("the lists", || slow.iter_mut().all(Raw::has_answer).then_some(()));
        let held = memory(&site, "VmRSS:").saturating_sub(before);
        let peak = memory(&site, "VmHWM:").saturating_sub(before);
        assert!(peak < ALLOWED, "{LISTS} lists take {peak} MiB, and keep {held} MiB");
        let begun = std::time::Instant::now();
        Request::new("HEAD", &site.url(channel)).send().expect(200);
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }
}

#[test]
fn pages_of_long_texts_lead_through_the_whole_list_once() {
    let site = Site::start(&[]);
    for (lengths, character, entries) in
        [((1024, 16 * 1024), 120, 15), ((64 * 1024, 64 * 1024), 1, 1), ((10, 10), 120, 40)]
    {
        let channel = site.channel("open", &[]);
        store(&site, &channel, 40, character, lengths);
        let mut query = "?".to_owned();
        let mut seen = Vec::new();
        loop {
            let page = Request::get(&format!("{}{query}", site.url(&channel))).send().expect(200);
            let head = Request::new("HEAD", &format!("{}{query}", site.url(&channel))).send().expect(200);
            assert_eq!(head.header("content-length"), page.header("content-length"));
            let ids: Vec<String> = page
                .json()
                .as_array()
                .expect("a list")
                .iter()
                .map(|entry| entry["id"].as_str().expect("an id").to_owned())
                .collect();
            assert!((1..=entries).contains(&ids.len()), "{} entries on a page", ids.len());
            seen.extend(ids);
            let Some(next) = next(&page) else { break };
            assert!(!seen.is_empty());
            query = next.to_owned();
        }
        let local = channel.split('@').next().expect("a split gives one part");
        let all: Vec<String> = (1..=40).rev().map(|n| format!("{local}-{n}")).collect();
        assert_eq!(seen, all);
    }
}

#[test]
fn texts_that_are_too_long_are_refused() {
    let site = Site::shared();
    let (user, channel) = site.public_channel();
    let media = site.url(&format!("{channel}/{}", site.upload(&user, &channel)));
    for (name, max) in [("title", 1024), ("description", 16 * 1024)] {
        for (length, expected) in [(max, [201, 200]), (max + 1, [413, 413])] {
            let text = "x".repeat(length);
            let upload = site.upload_request(&channel).part(&format!("{name}={text}"));
            upload.basic(user.jid()).send().expect(expected[0]);
            let update = Request::new("POST", &media).part(&format!("{name}={text}"));
            update.basic(user.jid()).send().expect(expected[1]);
        }
    }
    let listed = Request::get(&site.url(&channel)).send().expect(200);
    assert_eq!(listed.json().as_array().map(Vec::len), Some(3), "what was refused is not there");
}

#[test]
fn clients_whose_address_can_not_be_read_are_limited_like_one() {
    let site = Site::start(&[("http.rate.limit", "1"), ("http.trusted.proxies", "::1, 127.0.0.0/8")]);
    let mut refused = 0;
    for value in ["unknown", "fe80::1%eth0", "9.9.9.8, unknown", "_hidden", ""] {
        let mut raw = Raw::connect(site.server.port());
        let request = format!("OPTIONS / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {value}\r\n\r\n");
        raw.send(request.repeat(20));
        let statuses: Vec<u16> = (0..20).map(|_| raw.answer().expect("an answer").status).collect();
        refused += statuses.iter().filter(|status| **status == 429).count();
    }
    // 10 of the 100 pass at once, and one more each second.
    assert!((60..=90).contains(&refused), "{refused} of 100 are refused");
}

#[test]
fn a_flood_of_requests_makes_no_flood_of_log_lines() {
    const REQUESTS: usize = 500;
    let site = Site::start(&[]);
    let (user, channel) = site.public_channel();
    let id = site.upload(&user, &channel);
    fs::remove_file(site.stored(&channel, &id)).expect("the file is there");
    let mut raw = Raw::connect(site.server.port());
    for _ in 0..REQUESTS {
        raw.send(format!("GET /{channel}/{id} HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert_eq!(raw.answer().expect("an answer").status, 404);
    }
    let count = |text: &str| site.server.log().matches(text).count();
    let access = format!("GET /{channel}/{id} 404");
    wait_for("the access lines", || (count(&access) == REQUESTS).then_some(()));
    assert_eq!(count("has a row but no file"), REPEATS);
    assert_eq!(count("more lines like this one are left out"), 1);
}

#[test]
fn a_clock_before_1970_stops_nothing() {
    let mut site = Site::start(&[]);
    let (user, channel) = site.public_channel();
    site.server.stop();
    // faketime itself would run the server as its child, which would outlive it.
    let told = Command::new("faketime")
        .args(["now", "printenv", "LD_PRELOAD"])
        .output()
        .expect("scripts/install-dependencies installs faketime");
    let library = String::from_utf8(told.stdout).expect("a path is text");
    let preload = format!("LD_PRELOAD={}", library.trim());
    let clock = ["FAKETIME=@1966-01-01 00:00:00", "DONT_FAKE_MONOTONIC=1", "FAKETIME_DONT_FAKE_MONOTONIC=1"];
    site.server.start_again_by(&[&["env", &preload], &clock[..]].concat());
    site.wait_ready(&channel);
    let id = site.upload(&user, &channel);
    let got = Request::get(&site.url(&format!("{channel}/{id}"))).send().expect(200);
    assert_eq!(got.header("date"), Some("Thu, 01 Jan 1970 00:00:00 GMT"));
    assert!(!site.server.log().contains("panic"), "{}", site.server.log());
}

#[test]
fn a_database_that_is_deleted_under_the_server_is_told() {
    let site = Site::start(&[ANY]);
    let health = || Request::get(&admin_url(&site.server, "healthz")).send();
    wait_for("health", || (health().status == 200).then_some(()));
    let file = site.server.storage().join("metadata.sqlite");
    fs::rename(&file, file.with_extension("away")).expect("the database is there");
    let told = wait_for("the loss to be told", || Some(health()).filter(|answer| answer.status == 503));
    assert_eq!(told.json()["parts"]["database"]["ok"], false, "{}", told.text());
    site.server.wait_log("metadata.sqlite was removed or replaced while the server runs");
    fs::rename(file.with_extension("away"), &file).expect("it is still there");
    wait_for("health", || (health().status == 200).then_some(()));
}

#[test]
fn a_missing_directory_of_temporary_files_is_told_at_the_start() {
    let mut site = Site::start(&[]);
    assert!(!site.server.log().contains("TMPDIR"), "{}", site.server.log());
    site.server.stop();
    site.server.start_again_by(&["env", "TMPDIR=/nowhere"]);
    site.server.wait_log("the directory of temporary files, /nowhere (TMPDIR), can't be used");
}
