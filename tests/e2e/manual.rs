//! The manual pages: the curl lines for authors of clients are run, the statuses are those there are, and so are the
//! numbers for those who watch. And the page about security: what it says is tested is.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use media_server::model::Refusal;

use crate::site::{Site, photo};
use crate::support::child::run;
use crate::support::scratch::Scratch;
use crate::support::server::Server;
use crate::watching;

fn in_tree(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn page() -> String {
    fs::read_to_string(in_tree("man/buddycloud-media-server.7")).expect("it is in the tree")
}

/// The displays of the section EXAMPLES, joined.
fn examples(page: &str) -> String {
    let (_, rest) = page.split_once("\n.Sh EXAMPLES\n").expect("the section");
    let (section, _) = rest.split_once("\n.Sh ").expect("another one behind it");
    let displays = section.split("\n.Bd -literal -offset indent\n").skip(1);
    let text =
        |display: &str| display.split("\n.Ed").next().expect("a split gives one part").replace("\\e", "\\");
    displays.map(|display| text(display) + "\n").collect()
}

#[test]
fn its_curl_lines_do_what_they_say() {
    let site = Site::start(&[]);
    let (user, channel) = site.public_channel();
    let scratch = Scratch::new();
    for name in ["photo.jpg", "me.png"] {
        fs::copy(photo(), scratch.join(name)).expect("the scratch directory takes files");
    }
    let url = site.url("");
    let script = examples(&page())
        .replace("https://media.example.com", url.trim_end_matches('/'))
        .replace("alice@example.com/laptop", user.jid())
        .replace("room@example.com", &channel);
    let script = format!("curl() {{ command curl -q -fsS --noproxy '*' \"$@\"; }}\n{script}");
    let folder = scratch.path().display().to_string();
    let (status, printed) = run(&["sh", "-euxc", &format!("cd '{folder}'\n{script}")]);
    assert_eq!(status, 0, "{script}\n{printed}");
    let methods: Vec<_> = user.confirms().into_iter().map(|confirm| confirm.method).collect();
    assert_eq!(methods, ["POST", "POST", "POST", "PUT", "DELETE"], "reading a public channel asks nobody");
    assert!(printed.contains("Media deleted!"), "{printed}");
}

#[test]
fn the_manual_has_every_status_of_a_refusal() {
    let page = page();
    let (_, rest) = page.split_once("\n.Sh REFUSALS\n").expect("the section");
    let (section, _) = rest.split_once("\n.Sh ").expect("another one behind it");
    let items = section.lines().filter_map(|line| line.strip_prefix(".It "));
    let told: BTreeSet<u16> =
        items.flat_map(|item| item.split(" , ")).filter_map(|word| word.parse().ok()).collect();
    let known: BTreeSet<u16> = Refusal::ALL.iter().map(|refusal| refusal.row().status).collect();
    assert_eq!(told, known);
}

/// The names of all tests below this folder.
fn tests_in(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("it is in the tree") {
        let path = entry.expect("a folder can be read").path();
        if path.is_dir() {
            tests_in(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("it is in the tree");
            let tests =
                text.split("#[test]\n").skip(1).filter_map(|rest| rest.trim_start().strip_prefix("fn "));
            names.extend(tests.filter_map(|rest| Some(rest.split_once('(')?.0.to_owned())));
            // A program without the test harness has a table of its tests.
            let table = text.split_once("const TESTS: &[Test] = &[").map_or("", |(_, rest)| rest);
            let rows = table.lines().map_while(|line| if line == "];" { None } else { Some(line.trim()) });
            let quoted = rows.filter_map(|row| row.split('"').nth(1));
            names.extend(quoted.map(str::to_owned));
        }
    }
}

#[test]
fn every_test_that_the_security_page_names_exists() {
    let mut known = BTreeSet::new();
    tests_in(&in_tree("src"), &mut known);
    tests_in(&in_tree("tests"), &mut known);
    tests_in(&in_tree("webp/src"), &mut known);
    let page =
        fs::read_to_string(in_tree("man/buddycloud-media-server-security.7")).expect("it is in the tree");
    let named = page.lines().filter_map(|line| line.strip_prefix(".Fn ")?.split(' ').next());
    let missing: Vec<&str> = named.filter(|name| !known.contains(*name)).collect();
    assert!(missing.is_empty(), "no such tests: {missing:?}");
    // Every paragraph names one at least.
    let (_, tables) = page.split_once("\n.Sh THREATS\n").expect("the section");
    let untested: Vec<&str> =
        tables.split("\n.It ").skip(1).filter(|item| !item.contains("\n.Fn ")).collect();
    assert!(untested.is_empty(), "{untested:?}");
    let defects = tables
        .lines()
        .filter_map(|line| line.strip_prefix(".It ")?.trim_start_matches("\\&").strip_prefix('D'));
    let defects: Vec<u8> = defects.filter_map(|number| number.parse().ok()).collect();
    assert_eq!(defects, (1..=29).collect::<Vec<u8>>());
}

#[test]
fn the_manual_has_every_metric() {
    let page = fs::read_to_string(in_tree("man/buddycloud-media-server.8")).expect("it is in the tree");
    let (_, rest) = page.split_once("\n.Sh WATCHING\n").expect("the section");
    let (section, _) = rest.split_once("\n.Sh ").expect("another one behind it");
    let items = section.lines().filter_map(|line| line.strip_prefix(".It Li "));
    let manual: Vec<(String, String)> = items
        .filter_map(|item| item.split_once(" Pq "))
        .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
        .collect();
    let server = Server::start(watching::NO_XMPP, &[watching::ANY]);
    let told: Vec<_> =
        watching::scrape(&server).into_iter().map(|family| (family.name, family.kind)).collect();
    assert_eq!(told, manual);
}
