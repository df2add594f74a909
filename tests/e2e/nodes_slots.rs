//! Upload slots with two nodes: one grants them, and the files go through the other one.

use std::fs;

use crate::nodes_bench::{Bench, Place};
use crate::support::prosody::COMPONENT;
use crate::support::scratch::Scratch;
use crate::support::slot::{NoSlot, Slot, ask_for};
use crate::support::wait_for;
use crate::support::xmpp_client::Client;

/// The load balancer, which is not there.
const ENDPOINT: &str = "http://127.0.0.1:9";
/// Slots of one user that wait for their file.
const MAX: usize = 50;
const SIZE: usize = 100;
const QUOTA: usize = 20_000;

/// A slot, or the server's reason for none. A client that asks too fast asks again.
fn ask(user: &Client, size: usize) -> Result<Slot, NoSlot> {
    wait_for("a decision about a slot", || match ask_for(user, COMPONENT, "a.bin", size, "") {
        Err(refusal) if refusal.text.contains("too many requests") => None,
        decided => Some(decided),
    })
}

#[test]
fn files_that_go_through_another_node_use_up_the_slots_of_their_user() {
    let bench = Bench::start_with(Place::Directory, 2, |_| {
        vec![
            ("admin.bind", "127.0.0.1:0".to_owned()),
            ("upload.enabled", "true".to_owned()),
            ("http.endpoint", ENDPOINT.to_owned()),
            ("upload.quota.user", QUOTA.to_string()),
        ]
    });
    let (holder, addresses, user) = (bench.holder(), bench.addresses(), bench.member().user);
    let other = addresses[1 - holder].url("");
    let (scratch, file) = (Scratch::new(), "file");
    fs::write(scratch.join(file), vec![7; SIZE]).expect("the scratch directory takes files");
    let send = |slot: Slot| {
        let put = slot.put.replace(&format!("{ENDPOINT}/"), &other);
        Slot { put, ..slot }.upload(&scratch.join(file)).expect(201);
    };
    for number in 0..MAX + 5 {
        send(ask(&user, SIZE).unwrap_or_else(|refusal| panic!("file {number}: {refusal:?}")));
    }
    let open: Vec<Slot> = (0..MAX).map(|_| ask(&user, SIZE).expect("a slot")).collect();
    let refused = ask(&user, SIZE).expect_err("so many wait for their file");
    assert!(refused.text.contains("many uploads that have not begun"), "{refused:?}");
    open.into_iter().for_each(send);
    let left = QUOTA - (2 * MAX + 5) * SIZE;
    assert!(ask(&user, left + 1).is_err(), "the quota is the user's");
    ask(&user, left).expect("each file counts once");
}
