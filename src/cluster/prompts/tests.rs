//! The cases of prompts of several nodes.

use std::collections::BTreeSet;

use super::world::{SECOND, World, own};
use super::*;
use crate::access::testing::{FakeService, REPLY_TIMEOUT, echo, request, settings};
use crate::access::{Decision, Granted, Request, Settings};
use crate::model::{BareJid, Need};
use crate::xmpp::{Element, Link};

fn alices() -> Decision {
    Ok(Granted::Owned("alice@example.com".parse().unwrap()))
}

fn denial(prompt: &Element) -> Element {
    echo(prompt).with("type", "error")
}

#[test]
fn requests_of_a_node_without_the_stream_are_confirmed_denied_and_end() {
    for (reply, expected) in [
        (Some(echo as fn(&Element) -> Element), alices()),
        (Some(denial as fn(&Element) -> Element), Err(Refusal::Denied)),
        (None, Err(Refusal::NotConfirmed)),
    ] {
        let mut world = World::new(2);
        world.take_stream(0);
        world.ask(1, 1, own(1));
        world.work_all();
        let (by, prompt) = world.inbox.pop().expect("the user is asked");
        assert_eq!((by, world.inbox.len()), (0, 0));
        match reply {
            Some(reply) => world.reply(0, &reply(&prompt)),
            None => world.wait(REPLY_TIMEOUT),
        }
        world.work_all();
        assert_eq!((world.decided(1), world.decided(0)), (vec![(1, expected)], vec![]));
        assert_eq!(world.rows(), 0, "the node that asked removes the row");
    }
}

#[test]
fn a_new_holder_serves_its_own_rows_too() {
    let mut world = World::new(1);
    world.ask(0, 1, own(1));
    world.work_all();
    world.take_stream(0);
    world.work_all();
    let (_, prompt) = world.inbox.pop().expect("the user is asked");
    world.reply(0, &echo(&prompt));
    world.work_all();
    world.beat_all();
    assert_eq!((world.decided(0), world.rows()), (vec![(1, alices())], 0));
}

#[test]
fn rows_whose_decisions_were_taken_go_with_the_next_notice() {
    let mut world = World::new(2);
    world.take_stream(0);
    for mark in 1..=3 {
        world.ask(1, mark, own(1));
        world.work(1, true);
        world.work_all();
        let (_, prompt) = world.inbox.pop().expect("the user is asked");
        world.reply(0, &echo(&prompt));
        world.work(0, true);
        world.work(1, true);
        assert_eq!(world.rows(), 1, "the newest one stays until it is known that its decision was taken");
    }
    world.work(1, true);
    assert_eq!(world.rows(), 0);
}

#[test]
fn the_row_of_a_request_that_has_ended_goes_when_it_is_decided() {
    let mut world = World::new(2);
    world.take_stream(0);
    let id = world.ask(1, 1, own(1));
    world.work(1, true);
    let stored = world.table.undecided(&[], &[], 9).unwrap().remove(0);
    world.hang_up(1, id);
    world.ask(1, 2, own(1));
    world.work(1, true);
    let holder = StreamEpoch { component: "media.example.com".to_owned(), epoch: 1 };
    assert!(world.table.hand_back(&holder, &[], &[(stored.id(), Ok(()))]).unwrap());
    world.work(1, true);
    assert_eq!((world.rows(), world.decided(1)), (2, vec![]));
    world.work(1, true);
    assert_eq!(world.rows(), 1, "only the one that waits");
}

#[test]
fn a_decision_is_kept_until_the_node_knows_that_its_request_is_stored() {
    let many = limits::PROMPTS_STORED as u32 + 6;
    let roomy = Settings { pending_per_user: 1000, ..settings() };
    let mut world = World::with(2, roomy);
    world.take_stream(0);
    for mark in 0..many {
        world.ask(1, mark, own(1));
    }
    let until = Instant::now() + 3600 * SECOND;
    let work = |world: &mut World| {
        let node = world.nodes[1].as_mut().expect("it lives");
        let events = node.door.act(|test| test.gate.take_node_events());
        events.into_iter().for_each(|event| node.prompts.take(event));
        node.prompts.work(&mut world.table, until)
    };
    world.table.0.loses_answers = true;
    // It marks the rows of an earlier run, and stores requests only when it knows that these are marked.
    work(&mut world).unwrap_err();
    world.nodes[1].as_mut().expect("it lives").prompts.is_clean = true;
    work(&mut world).unwrap_err();
    world.table.0.loses_answers = false;
    assert_eq!(world.rows(), limits::PROMPTS_STORED);
    world.work(0, true);
    let prompts = std::mem::take(&mut world.inbox);
    assert_eq!(prompts.len(), limits::PROMPTS_STORED);
    prompts.iter().for_each(|(_, prompt)| world.reply(0, &echo(prompt)));
    world.work(0, true);
    // It stores those that it has not tried yet first.
    world.nodes[1].as_mut().expect("it lives").prompts.hear_of_decisions();
    work(&mut world).unwrap();
    assert_eq!(world.decided(1).len(), limits::PROMPTS_STORED - 6);
    work(&mut world).unwrap();
    assert_eq!(world.decided(1).len(), 6);
}

/// The events of a request at node 1, with node 0 as the holder.
const STEPS: [fn(&mut World); 7] = [
    |world| {
        world.ask(1, 1, own(1));
    },
    |world| world.work(1, true),
    |world| world.work(0, true),
    |world| world.work(0, false),
    |world| {
        let prompts = world.inbox.clone();
        prompts.iter().for_each(|(by, prompt)| world.reply(*by, &echo(prompt)));
    },
    |world| world.work(0, true),
    |world| world.work(1, true),
];

#[test]
fn a_request_is_confirmed_though_the_holder_dies_at_any_step() {
    for step in 0..=STEPS.len() {
        for next in [1, 2] {
            let mut world = World::new(3);
            world.take_stream(0);
            for (number, act) in STEPS.iter().enumerate() {
                if number == step {
                    world.kill(0);
                }
                act(&mut world);
            }
            world.kill(0);
            world.wait(10 * SECOND);
            world.take_stream(next);
            world.work_all();
            let ids: BTreeSet<_> =
                world.inbox.iter().map(|(_, prompt)| prompt.attribute("id").unwrap().to_owned()).collect();
            assert!(ids.len() == 1 && world.inbox.len() <= 2, "step {step}: the same prompt, at most twice");
            let prompt = world.inbox[0].1.clone();
            world.reply(next, &echo(&prompt));
            world.work_all();
            assert_eq!(world.decided(1), [(1, alices())], "step {step}");
            world.beat_all();
            assert_eq!(world.rows(), 0, "step {step}");
        }
    }
}

#[test]
fn the_prompts_of_a_node_that_dies_end() {
    for step in 0..=STEPS.len() {
        let mut world = World::new(2);
        world.take_stream(0);
        for (number, act) in STEPS.iter().enumerate() {
            if number == step {
                world.kill(1);
            }
            let is_of_the_dead = number >= step && [0, 1, 6].contains(&number);
            if !is_of_the_dead {
                act(&mut world);
            }
        }
        world.kill(1);
        world.work_all();
        // The user may reply to it all the same.
        world.inbox.clone().iter().for_each(|(_, prompt)| world.reply(0, &echo(prompt)));
        world.start(1);
        world.work_all();
        assert!(world.inbox.len() <= 1, "step {step}");
        world.wait(REPLY_TIMEOUT);
        world.work_all();
        world.wait_for_sweep();
        assert_eq!((world.rows(), world.decided(0), world.decided(1)), (0, vec![], vec![]), "step {step}");
        assert!(world.door(0).known_rows().all.is_empty(), "step {step}");
    }
}

#[test]
fn a_prompt_that_an_earlier_run_of_a_node_stored_is_not_sent() {
    let mut world = World::new(2);
    world.ask(1, 1, own(1));
    world.work(1, true);
    world.kill(1);
    world.start(1);
    world.work(1, true);
    world.take_stream(0);
    world.work_all();
    assert!(world.inbox.is_empty());
}

#[test]
fn decisions_of_a_holder_that_was_replaced_do_not_count() {
    let mut world = World::new(3);
    world.take_stream(0);
    world.ask(2, 1, own(1));
    world.work(2, true);
    world.work(0, true);
    world.take_stream(1);
    let prompt = world.inbox[0].1.clone();
    // It does not know that its time is over.
    world.reply(0, &denial(&prompt));
    world.work(0, true);
    world.work(2, true);
    assert_eq!(world.decided(2), []);
    world.release(0);
    world.work_all();
    world.reply(1, &echo(&prompt));
    world.work_all();
    world.beat_all();
    assert_eq!((world.decided(2), world.rows()), (vec![(1, alices())], 0));
}

#[test]
fn a_decision_after_the_hang_up_is_for_nobody() {
    for late in [false, true] {
        let mut world = World::new(2);
        world.take_stream(0);
        let id = world.ask(1, 1, own(1));
        world.work_all();
        let prompt = world.inbox[0].1.clone();
        if late {
            world.reply(0, &echo(&prompt));
            world.work(0, true);
        }
        assert_eq!(world.hang_up(1, id), Some(1));
        world.work_all();
        let pending = world.door(0).act(|test| test.gate.counts().pending);
        assert_eq!(pending, 0, "it takes no place of all that may be pending");
        world.reply(0, &echo(&prompt));
        world.wait(REPLY_TIMEOUT);
        world.wait_for_sweep();
        assert_eq!((world.decided(1), world.rows(), world.inbox.len()), (vec![], 0, 1), "{late}");
        assert!(world.door(0).known_rows().all.is_empty());
        let holder = world.nodes[0].as_ref().unwrap();
        assert!(holder.prompts.hung_up.is_empty(), "{late}");
    }
}

#[test]
fn a_client_that_hangs_up_before_its_request_is_stored_asks_nobody() {
    let mut world = World::new(2);
    world.take_stream(0);
    let id = world.ask(1, 1, own(1));
    world.hang_up(1, id);
    world.work_all();
    assert_eq!((world.rows(), world.inbox.len()), (0, 0));
}

#[test]
fn limits_are_over_all_nodes() {
    let mut world = World::with(3, Settings { pending_per_user: 8, ..settings() });
    world.take_stream(0);
    for (number, mark) in (0..3).flat_map(|number| (0..4).map(move |mark| (number, mark))) {
        world.ask(number, mark, own(1));
        world.work_all();
    }
    let refused = |number| {
        world.decided(number).iter().filter(|(_, decision)| *decision == Err(Refusal::TooManyForUser)).count()
    };
    assert_eq!([0, 1, 2].map(refused), [1, 4, 4], "one network has 3 of 8 places");
}

#[test]
fn a_silent_request_ends_like_an_unanswered_prompt_at_another_node_too() {
    let ends = |service: &FakeService| {
        let mut world = World::new(2);
        world.take_stream(0);
        world.door(1).act(|test| {
            test.up(Link::Client);
            test.play(service);
        });
        let private = Request { client: Some([192, 0, 2, 1].into()), ..request(Need::Publish) };
        for mark in 0..5 {
            world.ask(1, mark, private.clone());
            world.door(1).act(|test| test.play(service));
        }
        let mut ends = Vec::new();
        for second in 0..60 {
            world.work_all();
            ends.extend(world.decided(1).into_iter().map(|(mark, decision)| (second, mark, decision)));
            world.wait(SECOND);
        }
        (ends, world.inbox.len())
    };
    let (member, prompts) = ends(&FakeService::where_alice_is("publisher"));
    assert_eq!((member.len(), prompts), (5, 3));
    assert_eq!(ends(&FakeService::new()), (member, 0));
}

#[test]
fn requests_wait_while_no_node_holds_the_stream() {
    let mut world = World::new(2);
    world.ask(0, 1, own(1));
    world.ask(1, 2, own(2));
    world.work_all();
    world.wait(20 * SECOND);
    assert_eq!((world.decided(0), world.decided(1)), (vec![], vec![]));
    world.take_stream(1);
    world.work_all();
    assert_eq!(world.inbox.len(), 2);
    let body = world.inbox[0].1.child("body", crate::xmpp::ns::CLIENT).unwrap().text().to_owned();
    assert!(body.contains("refused in 10 seconds"), "{body}");
    world.inbox.clone().iter().for_each(|(_, prompt)| world.reply(1, &echo(prompt)));
    world.work_all();
    assert_eq!((world.decided(0), world.decided(1)), (vec![(1, alices())], vec![(2, alices())]));
}

#[test]
fn a_table_that_is_lost_or_away_ends_what_it_held() {
    let mut world = World::new(2);
    world.take_stream(0);
    world.ask(1, 1, own(1));
    world.work_all();
    world.table.0.rows.clear();
    world.work_all();
    assert_eq!(world.decided(1), [], "no notice tells it");
    world.beat(1);
    assert_eq!(world.decided(1), [(1, Err(Refusal::XmppDown))]);
    world.table.0.is_down = true;
    world.ask(1, 2, own(2));
    world.work_all();
    assert_eq!(world.decided(1), [(2, Err(Refusal::DatabaseDown))]);
    world.table.0.is_down = false;
    world.ask(1, 3, own(3));
    world.work_all();
    world.table.0.is_down = true;
    world.inbox.clone().iter().for_each(|(_, prompt)| world.reply(0, &echo(prompt)));
    world.work_all();
    assert_eq!(world.decided(1), []);
    world.table.0.is_down = false;
    world.work_all();
    assert_eq!(world.decided(1), [(3, alices())], "a decision that could not be stored is stored later");
}

/// Bob's request to his own channel.
fn bobs() -> Request {
    let channel = "bob@example.com".parse::<BareJid>().unwrap().try_into().unwrap();
    let credentials = crate::access::testing::credentials("bob@example.com/phone", "b");
    Request { channel, credentials, ..own(2) }
}

/// PostgreSQL empties the table after a crash, and begins its numbers anew.
fn crash(world: &mut World) {
    world.table.0.rows.clear();
    world.table.0.last = 0;
}

#[test]
fn a_late_reply_after_a_database_crash_does_not_decide_for_another_user() {
    // Alice replies before or after the crash; Bob's request is at the same node as hers, or at another one.
    for (asks, replies_first) in [(1, false), (1, true), (2, false), (2, true)] {
        let mut world = World::new(3);
        world.take_stream(0);
        world.ask(1, 1, own(1));
        world.work_all();
        let (_, to_alice) = world.inbox.pop().expect("Alice is asked");
        if replies_first {
            world.reply(0, &echo(&to_alice));
        }
        crash(&mut world);
        world.ask(asks, 2, bobs());
        world.work(asks, false);
        assert_eq!(world.table.0.rows.keys().collect::<Vec<_>>(), [&1], "the number of Alice's row");
        if !replies_first {
            world.reply(0, &echo(&to_alice));
        }
        world.beat_all();
        let (_, to_bob) = world.inbox.pop().expect("Bob is asked");
        assert_eq!(to_bob.attribute("to"), Some("bob@example.com/phone"));
        let decided: Vec<_> = [1, 2].into_iter().flat_map(|number| world.decided(number)).collect();
        assert_eq!(decided, [(1, Err(Refusal::XmppDown))], "Alice's row is lost, and Bob has not replied");
        world.reply(0, &echo(&to_bob));
        world.work_all();
        world.beat_all();
        let bob = Granted::Owned("bob@example.com".parse().unwrap());
        assert_eq!((world.decided(asks), world.rows()), (vec![(2, Ok(bob))], 0));
        assert!(world.door(0).known_rows().all.is_empty());
    }
}

#[test]
fn a_hang_up_after_a_database_crash_does_not_end_the_request_of_another_user() {
    let mut world = World::new(3);
    world.take_stream(0);
    let id = world.ask(1, 1, own(1));
    world.work_all();
    crash(&mut world);
    world.ask(2, 2, bobs());
    world.work(2, false);
    world.hang_up(1, id);
    world.work_all();
    let (_, to_bob) = world.inbox.pop().expect("Bob is asked");
    world.reply(0, &echo(&to_bob));
    world.work_all();
    let bob = Granted::Owned("bob@example.com".parse().unwrap());
    assert_eq!(world.decided(2), [(2, Ok(bob))]);
}

#[test]
fn requests_are_stored_though_the_time_for_prompts_is_over() {
    let mut world = World::new(1);
    world.ask(0, 1, own(1));
    let node = world.nodes[0].as_mut().expect("it lives");
    let events = node.door.act(|test| test.gate.take_node_events());
    events.into_iter().for_each(|event| node.prompts.take(event));
    node.prompts.work(&mut world.table, Instant::now()).unwrap();
    assert_eq!(world.rows(), 1);
}
