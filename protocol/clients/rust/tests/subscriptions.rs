//! Rooms that are refused, left and entered again, and compressed batches, in virtual time.
//!
//! Not here: what comes in a room (`session.rs`).

mod common;

use common::world::World;
use grandstand_client::core::{Options, OwnedEvent as E, SubscribeOptions};
use grandstand_client::protocol::close::CloseCode;
use grandstand_client::protocol::frame::Kind;
use grandstand_client::protocol::refusal::Refusal;
use grandstand_client::protocol::version::capability;

#[test]
fn a_refused_subscription_is_tried_again_where_that_can_help() {
    let mut world = World::new(Options::default());
    world.node.refuse_subscribe = Some((Refusal::Overloaded, Some(200)));
    world.connect();
    world.settle();
    assert!(!world.session.is_live(world.room));
    world.advance(300_000);
    world.settle();
    assert!(world.session.is_live(world.room));

    let mut world = World::new(Options::default());
    world.node.refuse_subscribe = Some((Refusal::UnknownRoom, None));
    let nonce = world.publish("to nobody");
    world.connect();
    world.settle();
    assert!(world.events.iter().any(|e| {
        matches!(e, E::Refused { room: Some(room), reason: Refusal::UnknownRoom, .. } if *room.name == *"show")
    }));
    assert!(world.events.iter().any(|e| matches!(e, E::Unsubscribed { asked: false, .. })));
    assert!(
        world
            .events
            .iter()
            .any(|e| { matches!(e, E::Refused { id, reason: Refusal::NotSubscribed, .. } if *id == nonce) })
    );
    assert_eq!(world.session.room_id("show"), None);
}

#[test]
fn rooms_can_be_left_and_entered_again() {
    let mut world = World::up();
    world.unsubscribe(world.room);
    world.settle();
    assert_eq!(world.count(|e| matches!(e, E::Unsubscribed { asked: true, .. })), 1);
    world.reconnect();
    assert_eq!(world.node.seen, [Kind::Hello]);
    let again = world.session.subscribe("show", SubscribeOptions::default()).unwrap();
    assert_ne!(again, world.room);
    world.settle();
    assert!(world.session.is_live(again));
}

#[test]
fn a_room_that_is_entered_while_it_is_left_is_asked_for_when_that_is_over() {
    let mut world = World::new(Options::default());
    world.connect();
    world.deliver_to_node(usize::MAX);
    world.deliver_to_client(1);
    world.deliver_to_node(usize::MAX);
    assert_eq!(world.node.seen, [Kind::Hello, Kind::Subscribe]);
    // Asked for, not answered yet.
    world.unsubscribe(world.room);
    let again = world.session.subscribe("show", SubscribeOptions::default()).unwrap();
    world.transmit();
    assert!(world.to_node.is_empty());
    world.settle();
    assert_eq!(world.node.seen[2..], [Kind::Unsubscribe, Kind::Subscribe]);
    assert!(world.session.is_live(again));
    // And while it waits for the answer that it has left.
    world.unsubscribe(again);
    world.transmit();
    let once_more = world.session.subscribe("show", SubscribeOptions::default()).unwrap();
    world.settle();
    assert_eq!(world.node.seen[4..], [Kind::Unsubscribe, Kind::Subscribe]);
    assert!(world.session.is_live(once_more));
}

/// Long and of few letters, so that it shrinks.
fn shrinking() -> Vec<String> {
    (0..20).map(|n| format!("{n}: that was so good, see you all next week, that was so good")).collect()
}

fn say_all(world: &mut World) -> Vec<String> {
    world.node.say_all(&shrinking().iter().map(String::as_str).collect::<Vec<_>>());
    world.pump();
    let texts = world.events.iter().filter_map(|event| match event {
        E::Message { text, .. } => Some(text.to_string()),
        _ => None,
    });
    texts.collect()
}

#[test]
fn compressed_batches_are_opened_where_that_was_agreed() {
    let mut world = World::up();
    assert_eq!(say_all(&mut world), shrinking());
    assert!(world.node.compressed > 0);
    let none = Options { compression: false, ..Options::default() };
    for (options, withheld) in [(none, 0), (Options::default(), u64::MAX)] {
        let mut world = World::new(options);
        world.node.withheld = withheld;
        world.connect();
        world.settle();
        assert_eq!(say_all(&mut world), shrinking());
        assert_eq!((world.node.granted & capability::DEFLATE_1, world.node.compressed), (0, 0));
    }
}

/// F-5, F-9.
#[test]
fn compressed_frames_that_were_not_agreed_or_are_broken_end_the_connection() {
    for (granted, frame, code) in [
        (true, vec![0xc7], CloseCode::Malformed),
        (true, vec![0xc7, 0xff, 0xff], CloseCode::Malformed),
        (true, vec![0xc8, 3, 0], CloseCode::UnknownKind),
        (false, vec![0xc7, 3, 0], CloseCode::UnknownKind),
    ] {
        let mut world = World::new(Options { compression: granted, ..Options::default() });
        world.connect();
        world.settle();
        world.session.handle_frame(world.now_us, &frame, &mut |_| {});
        assert_eq!(world.session.poll_close(), Some(code), "{frame:x?}");
    }
}
