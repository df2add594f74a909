//! Requests, replies, deaths of nodes and failures of the table in random orders.

use std::collections::BTreeSet;
use std::time::Duration;

use super::world::{World, own};
use super::*;
use crate::access::testing::{ALICE, REPLY_TIMEOUT, echo, settings};
use crate::access::{Request, Settings};
use crate::testing::Random;

/// The test's record of a request.
struct Known {
    node: usize,
    id: RequestId,
    is_over: bool,
}

#[test]
fn each_request_is_decided_once_and_by_its_user_in_every_order_of_events() {
    let mut confirmed = 0;
    for round in 0..300 {
        let mut dice = Random::new(0x00c1_0573 + round);
        let roomy = Settings { pending_per_user: 1000, ..settings() };
        let mut world = World::with(3, roomy);
        let mut requests: BTreeMap<u32, Known> = BTreeMap::new();
        let mut agreed: BTreeSet<String> = BTreeSet::new();
        let mut holder = 0;
        world.take_stream(holder);
        for mark in 0..200 {
            let number = dice.below(3);
            let lives = world.nodes[number].is_some();
            match dice.below(12) {
                0..=2 if lives => {
                    let wanted = Request {
                        client: Some([192, 0, 2, dice.byte()].into()),
                        credentials: crate::access::testing::credentials(ALICE, &format!("t{mark}")),
                        ..own(1)
                    };
                    let id = world.ask(number, mark, wanted);
                    requests.insert(mark, Known { node: number, id, is_over: false });
                }
                3 | 4 if !world.inbox.is_empty() => {
                    let (_, prompt) = world.inbox[dice.below(world.inbox.len())].clone();
                    let confirm = prompt.child("confirm", crate::xmpp::ns::HTTP_AUTH).unwrap();
                    agreed.insert(confirm.attribute("id").unwrap().to_owned());
                    // Some replies still go to a node that held the stream before.
                    world.reply(if dice.below(4) == 0 { number } else { holder }, &echo(&prompt));
                }
                5 => world.wait(Duration::from_millis(dice.below(9000) as u64)),
                6 if lives && dice.below(3) == 0 => {
                    world.kill(number);
                    requests
                        .values_mut()
                        .filter(|known| known.node == number)
                        .for_each(|known| known.is_over = true);
                }
                6 if !lives => world.start(number),
                // The other holder learns of it only now and again.
                7 if lives && dice.below(3) == 0 => {
                    if dice.below(2) == 0 {
                        (0..3).for_each(|other| world.release(other));
                    }
                    holder = number;
                    world.take_stream(holder);
                }
                8 if lives => {
                    let waiting =
                        requests.iter_mut().filter(|(_, known)| known.node == number && !known.is_over);
                    if let Some((mark, known)) = waiting.last()
                        && world.hang_up(number, known.id) == Some(*mark)
                    {
                        known.is_over = true;
                    }
                }
                9 => world.table.0.is_down = dice.below(4) == 0,
                _ => match dice.below(4) {
                    0 => world.beat(number),
                    choice => world.work(number, choice == 1),
                },
            }
            take_decisions(&world, &mut requests, &agreed, &mut confirmed);
        }
        world.table.0.is_down = false;
        (0..3).for_each(|number| {
            if world.nodes[number].is_none() {
                world.start(number);
            }
        });
        for _ in 0..3 {
            world.wait(REPLY_TIMEOUT);
            world.beat_all();
            take_decisions(&world, &mut requests, &agreed, &mut confirmed);
        }
        world.wait_for_sweep();
        assert!(requests.values().all(|known| known.is_over), "round {round}");
        assert_eq!(world.rows(), 0, "round {round}");
        for node in world.nodes.iter().flatten() {
            assert_eq!(node.door.act(|test| test.gate.counts().parked), 0, "round {round}");
            assert!(
                node.door.known_rows().all.is_empty() && node.prompts.waiting.is_empty(),
                "round {round}"
            );
        }
    }
    assert!(confirmed > 300, "{confirmed} of the requests were confirmed");
}

fn take_decisions(
    world: &World,
    requests: &mut BTreeMap<u32, Known>,
    agreed: &BTreeSet<String>,
    confirmed: &mut u32,
) {
    for (mark, decision) in (0..3).flat_map(|number| world.decided(number)) {
        let known = requests.get_mut(&mark).unwrap();
        assert!(!std::mem::replace(&mut known.is_over, true), "request {mark} is decided twice");
        if decision.is_ok() {
            *confirmed += 1;
            assert!(agreed.contains(&format!("t{mark}")), "request {mark} was confirmed by nobody");
        }
    }
}
