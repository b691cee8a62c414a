//! Messages of the past in virtual time: pages that are asked for, and personal frames.
//!
//! Not here: what comes by itself (`session.rs`).

mod common;

use common::world::World;
use common::{EPOCH, Entry};
use grandstand_client::core::OwnedEvent as E;
use grandstand_client::protocol::frame::{Kind, Personal, ServerFrame};
use grandstand_client::protocol::refusal::Refusal;

/// Offsets and texts of one request, and how it ended: next and head.
type Pages = (Vec<(u64, String)>, Option<(u64, u64)>);

fn past(world: &World, request: u32) -> Pages {
    let mut messages = Vec::new();
    let mut end = None;
    for event in &world.events {
        match event {
            E::History { request: r, offset, text, .. } if *r == request => {
                assert!(end.is_none());
                messages.push((*offset, text.to_string()));
            }
            E::HistoryEnd { request: r, next, head, .. } if *r == request => end = Some((*next, *head)),
            _ => {}
        }
    }
    (messages, end)
}

/// O-5, O-6: pages until as many came as were asked for, what was left out among them.
#[test]
fn the_past_comes_page_by_page_and_moves_no_position() {
    let mut world = World::up();
    world.node.say_numbers(0..10);
    world.node.log.extend([Entry::LeftOut, Entry::LeftOut]);
    world.node.say_numbers(12..40);
    world.pump();
    let position = world.session.position(world.room);
    let request = world.session.history(world.room, 3, 23).unwrap();
    world.settle();
    let (messages, end) = past(&world, request);
    let text = |at: u64| if (10..12).contains(&at) { format!("left out {at}") } else { at.to_string() };
    assert_eq!(messages, (3..26).map(|at| (at, text(at))).collect::<Vec<_>>());
    assert_eq!(end, Some((26, 40)));
    let request = world.session.history(world.room, 26, 1000).unwrap();
    world.settle();
    let (messages, end) = past(&world, request);
    assert_eq!((messages.len(), end), (14, Some((40, 40))));
    assert_eq!(world.session.position(world.room), position);
    world.node.first = 30;
    let request = world.session.history(world.room, 0, 3).unwrap();
    world.settle();
    assert_eq!(past(&world, request).0.first().map(|m| m.0), Some(30), "what is gone is passed over");
}

#[test]
fn a_page_that_may_come_later_is_asked_for_again_and_a_cut_begins_anew() {
    let mut world = World::up();
    world.node.say_numbers(0..30);
    world.pump();
    world.node.refuse_history = Some((Refusal::RateLimited, Some(200)));
    let request = world.session.history(world.room, 0, 30).unwrap();
    world.settle();
    assert_eq!(past(&world, request), (vec![], None));
    assert!(world.session.poll_timeout().is_some_and(|us| us <= world.now_us + 250_000));
    world.advance(300_000);
    world.deliver_to_node(usize::MAX);
    world.deliver_to_client(1);
    world.reconnect();
    let (messages, end) = past(&world, request);
    assert_eq!(messages.iter().map(|m| m.0).collect::<Vec<_>>(), (0..30).collect::<Vec<_>>());
    assert_eq!(end, Some((30, 30)));
}

#[test]
fn a_request_of_the_past_that_cannot_be_answered_is_refused_once() {
    let mut world = World::up();
    world.node.refuse_history = Some((Refusal::TooOld, None));
    let first = world.session.history(world.room, 0, 30).unwrap();
    world.settle();
    world.unsubscribe(world.room);
    world.settle();
    let refused: Vec<_> = world
        .events
        .iter()
        .filter_map(|e| match e {
            E::Refused { kind, id, reason, .. } => Some((*kind, *id, *reason)),
            _ => None,
        })
        .collect();
    assert_eq!(refused, [(Kind::History as u8, u64::from(first), Refusal::TooOld)]);
}

/// O-3: it is told apart, and leaves the reader where it stands.
#[test]
fn a_personal_frame_moves_no_position() {
    let mut world = World::up();
    world.node.log.push(Entry::LeftOut);
    let alias = world.node.alias();
    let personal =
        Personal { alias, epoch: EPOCH, offset: 0, author: "bob", text: "@ann hi", ..Personal::default() };
    world.node.send(&ServerFrame::Personal(personal));
    world.node.send(&ServerFrame::Personal(Personal { alias: alias + 1, ..personal }));
    world.settle();
    world.pump();
    let personals = world.events.iter().filter(|e| matches!(e, E::Personal { offset: 0, .. })).count();
    assert_eq!(personals, 1);
    assert!(world.events.iter().any(|e| matches!(e, E::Omitted { from: 0, to: 1, .. })));
    assert_eq!(world.session.position(world.room), Some((EPOCH, 1)));
}
