//! In which order things reach the disk, as strace sees it: what a kill can't show, since it takes no page from
//! the kernel, but a loss of power would.

use std::fs;

use crate::crash;
use crate::ledger::{Deed, Ledger};
use crate::site::Site;
use crate::support::wait_for;

/// An upload that goes to its file before it ends.
const UPLOAD: Deed = Deed::Upload(9000);
/// The type of what is uploaded, by which the statement is known that stores a row.
const TYPE: &str = "application/octet-stream";
/// The calls that bring the bytes of a large upload to the disk, then its name.
const FILE: [&str; 6] =
    ["write temporary", "sync temporary", "make folder", "sync root", "rename", "sync folder"];
/// The same in a channel that has media already.
const NEXT_FILE: [&str; 4] = ["write temporary", "sync temporary", "rename", "sync folder"];
/// The same for an upload that was held in memory until its end.
const SMALL_FILE: [&str; 4] = ["write temporary", "rename", "sync file", "sync folder"];

/// The same for a file by slot, the first one: both directories are new.
const FIRST_BY_SLOT: [&str; 7] =
    ["make folder", "write temporary", "rename", "sync file", "sync folder", "sync uploads", "sync root"];

#[test]
fn everything_is_on_the_disk_before_it_is_answered() {
    assert_order(&[], &["write log", "sync log"]);
}

#[test]
fn everything_is_on_the_disk_before_it_is_answered_on_postgresql() {
    crash::on_postgresql(|settings| assert_order(settings, &["commit"]));
}

#[test]
fn a_large_upload_is_on_its_way_to_the_disk_while_it_comes() {
    let site = crash::site(&[]);
    let mut ledger = Ledger::new(&site, 1);
    let calls = "write,fadvise64,fsync,fdatasync,sendto";
    let trace = site.server.trace(&format!("-y -s 40 -e trace={calls}"), &["http-worker"]);
    ledger.perform(&site, Deed::Upload(4 << 20)).expect("nothing hinders it");
    let events = wait_for("the answer in the trace", || {
        let text = fs::read_to_string(&trace).expect("strace has written");
        let events: Vec<_> = text.lines().filter_map(|line| event(&site, line)).collect();
        events.contains(&"answer").then_some(events)
    });
    let all = |name| events.iter().enumerate().filter(move |(_, event)| **event == name).map(|(at, _)| at);
    let begun: Vec<_> = all("begin sync").collect();
    assert!(begun.len() >= 3, "{events:?}");
    assert!(all("write temporary").next_back() > begun.first().copied(), "{events:?}");
    assert!(all("sync temporary").next() > begun.last().copied(), "{events:?}");
}

#[test]
fn a_large_upload_has_the_hash_of_all_its_bytes() {
    let site = crash::site(&[]);
    let mut ledger = Ledger::new(&site, 1);
    // More than a worker hashes alone.
    ledger.perform(&site, Deed::Upload((24 << 20) + 1)).expect("nothing hinders it");
    ledger.audit(&site);
}

fn assert_order(settings: &[(&str, &str)], commit: &[&'static str]) {
    let site = crash::site(settings);
    let (mut other, mut ledger) = (Ledger::new(&site, 1), Ledger::new(&site, 2));
    // The first transaction of all makes SQLite's log, too.
    other.perform(&site, Deed::Upload(1)).expect("nothing hinders it");
    let calls =
        "openat,mkdirat,write,pwrite64,fsync,fdatasync,renameat,renameat2,linkat,unlink,unlinkat,sendto";
    let trace = site.server.trace(&format!("-y -s 600 -e trace={calls}"), &["http-worker", "postgres"]);
    let mut seen = 0;
    for (deed, expected) in [
        (UPLOAD, [&FILE[..], commit]),
        (UPLOAD, [&NEXT_FILE, commit]),
        (Deed::Slot(100), [&FIRST_BY_SLOT, commit]),
        (Deed::Avatar(100), [&SMALL_FILE, commit]),
        (Deed::Update, [commit, &[]]),
        (Deed::Delete, [commit, &["remove"]]),
    ] {
        ledger.perform(&site, deed).expect("nothing hinders it");
        let lines = wait_for("the answer in the trace", || {
            let text = fs::read_to_string(&trace).expect("strace has written");
            let lines: Vec<String> = text.lines().skip(seen).map(str::to_owned).collect();
            lines.iter().any(|line| event(&site, line) == Some("answer")).then_some(lines)
        });
        seen += lines.len();
        let mut events: Vec<_> = lines.iter().filter_map(|line| event(&site, line)).collect();
        events.dedup();
        let expected = [&expected.concat()[..], &["answer"]].concat();
        assert_eq!(events, expected, "{deed:?}:\n{}", lines.join("\n"));
    }
}

/// What a traced call does, as far as it is of interest here.
fn event(site: &Site, line: &str) -> Option<&'static str> {
    let (_, call) = line.split_once(' ')?;
    let (name, arguments) = call.trim_start().split_once('(')?;
    let root = format!("<{}>", site.server.storage().display());
    let object = match arguments.split(',').next()? {
        first if first.contains("/.upload-") => "temporary",
        first if first.contains("metadata.sqlite") => "log",
        first if first.contains(&root) || first.contains(&format!("{root})")) => "root",
        first if first.contains("/.uploads>") => "uploads",
        first if first.rsplit('/').nth(1) == Some(".uploads") => "folder",
        first if first.contains("/.uploads/") => "file",
        first if first.contains("@example.org>") => "folder",
        first if first.contains("@example.org/") => "file",
        _ => "",
    };
    let is_done = !line.contains("= -1 ");
    Some(match (name, object) {
        ("write", "temporary") => "write temporary",
        ("fadvise64", "temporary") => "begin sync",
        ("fsync" | "fdatasync", "temporary") => "sync temporary",
        ("mkdirat", "root" | "uploads") if is_done => "make folder",
        ("fsync" | "fdatasync", "root") => "sync root",
        ("fsync" | "fdatasync", "uploads") => "sync uploads",
        ("renameat" | "renameat2", _) => "rename",
        ("linkat", _) => "link",
        ("fsync" | "fdatasync", "file") => "sync file",
        ("fsync" | "fdatasync", "folder") => "sync folder",
        ("pwrite64", "log") => "write log",
        ("fsync" | "fdatasync", "log") => "sync log",
        ("unlink" | "unlinkat", _) => "remove",
        ("sendto", _) if arguments.contains("HTTP/1.1 20") => "answer",
        // A row that no quota limits is one statement, which PostgreSQL commits by itself.
        ("sendto", _) if arguments.contains("COMMIT") || arguments.contains(TYPE) => "commit",
        _ => return None,
    })
}
