//! The manual page for authors of clients: its curl lines are run, and its statuses are those there are.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use media_server::model::Refusal;

use crate::site::{Site, photo};
use crate::support::child::run;
use crate::support::scratch::Scratch;

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("man/buddycloud-media-server.7");
    fs::read_to_string(path).expect("it is in the tree")
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
    assert_eq!(methods, ["POST", "POST", "PUT", "DELETE"], "reading a public channel asks nobody");
    assert!(printed.contains("Media deleted!"), "{printed}");
}

#[test]
fn it_has_every_status_of_a_refusal() {
    let page = page();
    let (_, rest) = page.split_once("\n.Sh REFUSALS\n").expect("the section");
    let (section, _) = rest.split_once("\n.Sh ").expect("another one behind it");
    let items = section.lines().filter_map(|line| line.strip_prefix(".It "));
    let told: BTreeSet<u16> =
        items.flat_map(|item| item.split(" , ")).filter_map(|word| word.parse().ok()).collect();
    let known: BTreeSet<u16> = Refusal::ALL.iter().map(|refusal| refusal.row().status).collect();
    assert_eq!(told, known);
}
