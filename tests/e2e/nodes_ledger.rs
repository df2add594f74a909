//! A client of several nodes that writes down what it was promised by any of them, and looks whether all keep it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;
use std::time::Instant;

use sha1::{Digest, Sha1};

use crate::nodes_bench::{Address, Bench, Member, SEEN};
use crate::support::http::{Answer, Request};
use crate::support::random::Random;
use crate::support::scratch::Scratch;
use crate::support::soak;
use crate::support::wait_for;
use crate::tickets::bearer;

/// Media of one client; with more, it deletes rather than uploads.
const MANY: usize = 12;
/// Media that are read back at a time under load, and deleted ones that are asked for.
const SAMPLE: usize = 3;

/// A client with a private channel of its own, and all that it knows of it.
pub struct NodesLedger {
    member: Member,
    nodes: Arc<Vec<Address>>,
    random: Random,
    scratch: Scratch,
    media: BTreeMap<String, Entry>,
    /// What was deleted, and may not come back.
    deleted: BTreeSet<String>,
    /// Checksums of all that was ever sent.
    sent: BTreeSet<String>,
    /// When something was last changed.
    changed: Instant,
}

struct Entry {
    sha1: String,
    title: String,
    /// Titles of updates that got no response: each may still come about.
    late: BTreeSet<String>,
    /// Whether a deletion got no response.
    may_be_gone: bool,
}

impl Entry {
    fn may_have(&self, title: &str) -> bool {
        self.title == title || self.late.contains(title)
    }
}

impl NodesLedger {
    /// Of a new client.
    pub fn new(bench: &Bench, seed: u64) -> Self {
        let member = bench.member();
        member.user.forget_confirms();
        Self {
            member,
            nodes: bench.addresses(),
            random: Random::new(seed),
            scratch: Scratch::new(),
            media: BTreeMap::new(),
            deleted: BTreeSet::new(),
            sent: BTreeSet::new(),
            changed: Instant::now(),
        }
    }

    /// Does something through some node. Whether it was done.
    pub fn act(&mut self) -> bool {
        let node = self.some_node();
        let done = match self.random.below(if self.media.len() > MANY { 5 } else { 10 }) {
            0 | 1 => self.delete(node),
            2 | 3 => self.update(node),
            4 => self.compare_some(node),
            _ => self.upload(node),
        };
        soak::count("requests of the load on several nodes", 1);
        done
    }

    fn upload(&mut self, node: usize) -> bool {
        let size =
            if self.random.below(3) == 0 { self.random.below(200_000) } else { self.random.below(6_000) };
        let bytes = self.random.bytes(size);
        let (sha1, file, title) = (checksum(&bytes), self.scratch.join("data"), self.title());
        fs::write(&file, bytes).expect("the scratch directory takes files");
        self.sent.insert(sha1.clone());
        let upload = |request: Request| {
            request.file(&file, "application/octet-stream").part(&format!("title={title}"))
        };
        let Some(answer) = self.send("POST", node, "", upload, 201) else { return false };
        assert_eq!(answer.member("shaChecksum"), sha1, "other bytes arrived");
        self.changed = Instant::now();
        let id = answer.member("id");
        let entry = Entry { sha1, title, late: BTreeSet::new(), may_be_gone: false };
        self.media.insert(id.clone(), entry);
        soak::count("uploads answered 201 by several nodes", 1);
        self.see_all(&id, "");
        true
    }

    fn update(&mut self, node: usize) -> bool {
        let Some(id) = self.some_media() else { return false };
        let title = self.title();
        self.entry(&id).late.insert(title.clone());
        if self.send("POST", node, &id, |request| request.field("title", &title), 200).is_none() {
            return false;
        }
        self.changed = Instant::now();
        self.entry(&id).late.remove(&title);
        self.entry(&id).title = title;
        soak::count("updates answered by several nodes", 1);
        self.see_all(&id, "/metadata");
        true
    }

    fn delete(&mut self, node: usize) -> bool {
        let Some(id) = self.some_media() else { return false };
        self.entry(&id).may_be_gone = true;
        if self.send("DELETE", node, &id, |request| request, 200).is_none() {
            return false;
        }
        self.changed = Instant::now();
        self.media.remove(&id);
        self.deleted.insert(id.clone());
        soak::count("deletions answered by several nodes", 1);
        self.see_all(&id, "");
        true
    }

    /// The response to a request for the channel, or for a media of it, with the ticket or with a confirmation. `None` if
    /// there is none, or one with an excuse: a confirmation may have gone to a node that died.
    fn send(
        &mut self,
        method: &str,
        node: usize,
        id: &str,
        fill: impl FnOnce(Request) -> Request,
        status: u16,
    ) -> Option<Answer> {
        let path = if id.is_empty() { self.member.channel.clone() } else { self.path(id) };
        // Some clients are gone before a takeover ends.
        let patience = if self.random.below(2) == 0 { "3" } else { "8" };
        let request = Request::new(method, &self.nodes[node].url(&path)).with(&["--max-time", patience]);
        let is_confirmed = self.random.below(3) == 0;
        let request = if is_confirmed {
            request.basic(self.member.user.jid())
        } else {
            bearer(request, &self.member.ticket)
        };
        let answer = fill(request).try_send().ok()?;
        if answer.status == status {
            return Some(answer);
        }
        let is_excused = match answer.status {
            503 => true,
            403 => is_confirmed && answer.text().contains("Not confirmed"),
            429 => is_confirmed,
            _ => false,
        };
        assert!(is_excused, "{method} {id} through node {node}: {} {}", answer.status, answer.text());
        soak::count(&format!("requests to several nodes answered {}", answer.status), 1);
        None
    }

    /// Waits until each node that answers shows what was changed just now.
    fn see_all(&self, id: &str, suffix: &str) {
        for node in self.nodes.iter() {
            let url = node.url(&format!("{}{suffix}", self.path(id)));
            let mut has_shown_old = false;
            loop {
                let sent = Instant::now();
                let request = bearer(Request::get(&url), &self.member.ticket).with(&["--max-time", "3"]);
                let Some(answer) = request.try_send().ok().filter(|answer| answer.status != 503) else {
                    break;
                };
                let late = sent.saturating_duration_since(self.changed);
                if self.shows(&answer, id, suffix) {
                    soak::count("changes seen through each node", 1);
                    if has_shown_old && node.is_clear_since(self.changed) {
                        soak::worst(
                            "longest time until a node that showed an old state showed the new one",
                            late,
                        );
                    }
                    break;
                }
                has_shown_old = true;
                let excused = node.may_be_stale(sent, self.changed);
                assert!(excused, "{url} is not as it was changed {late:?} before: {}", answer.status);
                if late > SEEN {
                    break;
                }
            }
        }
    }

    /// Whether a response shows the present state; if not, it must be a state that was.
    fn shows(&self, answer: &Answer, id: &str, suffix: &str) -> bool {
        let entry = self.media.get(id);
        match (answer.status, entry) {
            (404, _) => entry.is_none_or(|entry| entry.may_be_gone),
            (200, None) => false,
            (200, Some(entry)) if suffix.is_empty() => {
                assert_eq!(checksum(&answer.body), entry.sha1, "{id} has other bytes");
                true
            }
            (200, Some(entry)) => entry.may_have(&answer.member("title")),
            (status, _) => panic!("{id}: {status} {}", answer.text()),
        }
    }

    /// Compares the list of a node, and some files.
    fn compare_some(&mut self, node: usize) -> bool {
        let address = &self.nodes[node];
        let Ok(answer) = self.member.list(address).try_send() else { return false };
        if answer.status == 503 {
            return false;
        }
        self.compare_list(&answer.expect(200));
        let mut ids: Vec<String> = self.media.keys().cloned().collect();
        self.random.shuffle(&mut ids);
        let mut gone: Vec<String> = self.deleted.iter().cloned().collect();
        self.random.shuffle(&mut gone);
        ids.iter().take(SAMPLE).chain(gone.iter().take(SAMPLE)).all(|id| self.compare(node, id))
    }

    /// Compares all that is known with what each node has.
    ///
    /// # Panics
    /// When a promise is broken.
    pub fn compare_all(&mut self) {
        for node in 0..self.nodes.len() {
            let list = || {
                let answer = self.member.list(&self.nodes[node]).try_send().ok()?;
                (answer.status == 200).then_some(answer)
            };
            let answer = wait_for("the list", list);
            self.compare_list(&answer);
            let ids: Vec<String> = self.media.keys().chain(self.deleted.iter()).cloned().collect();
            for id in &ids {
                wait_for("a response to compare", || self.compare(node, id).then_some(()));
            }
            let count = u64::try_from(ids.len()).expect("there are few");
            soak::count("media compared through each node", count);
        }
    }

    /// Compares a list, which no node keeps, with what is known, and learns what became of what got no response.
    fn compare_list(&mut self, answer: &Answer) {
        let list = answer.json();
        let mut listed = BTreeSet::new();
        for entry in list.as_array().expect("a list is an array") {
            let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
            let (id, sha1, title) = (text("id"), text("shaChecksum"), text("title"));
            assert!(!self.deleted.contains(&id), "{id} was deleted and is back");
            assert!(self.sent.contains(&sha1), "{id} is something that nobody sent");
            let known = self.media.entry(id.clone()).or_insert_with(|| {
                soak::count("uploads found whole at several nodes that got no response", 1);
                let (sha1, title) = (sha1.clone(), title.clone());
                Entry { sha1, title, late: BTreeSet::new(), may_be_gone: false }
            });
            assert_eq!(known.sha1, sha1, "{id} is another media");
            assert!(
                known.may_have(&title),
                "{id}: {title:?} is not {:?}, nor one of {:?}",
                known.title,
                known.late
            );
            listed.insert(id);
        }
        let deleted = &mut self.deleted;
        self.media.retain(|id, entry| {
            let is_there = listed.contains(id);
            assert!(is_there || entry.may_be_gone, "{id} was answered 201 and is lost");
            if !is_there {
                deleted.insert(id.clone());
            }
            is_there
        });
    }

    /// Compares what a node has of a media with what is known of it. Whether the node answered for it.
    fn compare(&self, node: usize, id: &str) -> bool {
        let address = &self.nodes[node];
        let url = address.url(&self.path(id));
        let sent = Instant::now();
        let request = bearer(Request::get(&url), &self.member.ticket).with(&["--max-time", "5"]);
        let Some(answer) = request.try_send().ok().filter(|answer| answer.status != 503) else {
            return false;
        };
        let is_shown = self.shows(&answer, id, "");
        let late = sent.saturating_duration_since(self.changed);
        let excused = is_shown || address.may_be_stale(sent, self.changed);
        assert!(excused, "{url} is not as it was changed {late:?} before: {}", answer.status);
        is_shown
    }

    fn entry(&mut self, id: &str) -> &mut Entry {
        self.media.get_mut(id).expect("it was just found")
    }

    fn path(&self, id: &str) -> String {
        format!("{}/{id}", self.member.channel)
    }

    fn some_node(&mut self) -> usize {
        let numbers: Vec<usize> = (0..self.nodes.len()).collect();
        self.random.pick(&numbers).expect("there are nodes")
    }

    fn some_media(&mut self) -> Option<String> {
        let there = self.media.iter().filter(|(_, entry)| !entry.may_be_gone);
        let ids: Vec<String> = there.map(|(id, _)| id.clone()).collect();
        self.random.pick(&ids)
    }

    fn title(&mut self) -> String {
        format!("title {}", self.random.below(1 << 40))
    }
}

fn checksum(bytes: &[u8]) -> String {
    Sha1::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
