//! Removals, in virtual time: what a client tells its app of messages that moderators removed, live, in
//! replay and in history.
//!
//! Not here: which messages an act covers (`grandstand-protocol`), outcomes of acts (`outcomes.rs`).

mod common;

use common::world::World;
use grandstand_client::core::{OwnedEvent as E, RemovalRule};
use grandstand_client::protocol::batch::{BatchWriter, MessageParts, RemovalParts};
use grandstand_client::protocol::frame::{HistoryPage, ServerFrame};

enum Item<'a> {
    Said(&'a str, &'a str),
    Removed,
    Act(RemovalParts<'a>),
}

fn body(alias: u32, first: u64, items: &[Item<'_>]) -> Vec<u8> {
    let mut body = Vec::new();
    let mut writer = BatchWriter::begin(&mut body, alias, items.len(), false, false, 0);
    writer.chat(first, 0, 0);
    for (offset, item) in (first..).zip(items) {
        match item {
            Item::Said(author, text) => {
                writer.message(&MessageParts { author, text, ..MessageParts::default() });
            }
            Item::Removed => writer.removed(0),
            Item::Act(removal) => writer.act(0, "why", offset, removal),
        }
    }
    writer.finish();
    body
}

fn rule(world: &World) -> Option<&RemovalRule> {
    world.events.iter().find_map(|e| if let E::Removal { rule, .. } = e { Some(&**rule) } else { None })
}

#[test]
fn places_and_acts_are_events_and_count_as_messages_do() {
    let mut world = World::up();
    let (alias, eve) = (world.node.alias(), ["eve"]);
    let names = RemovalParts::Names { from: 0, names: &eve, but: &[(1, 2)] };
    let items = [
        Item::Said("eve", "a"),
        Item::Said("eve", "b"),
        Item::Removed,
        Item::Act(names),
        Item::Said("ann", "c"),
    ];
    world.node.send(&ServerFrame::Batch(&body(alias, 0, &items)));
    world.settle();
    assert!(world.events.iter().any(|e| matches!(e, E::Removed { offset: 2, replay: false, .. })));
    let rule = rule(&world).expect("an act");
    assert_eq!(rule.at(), 3);
    assert!(
        rule.covers(0, "eve") && !rule.covers(1, "eve") && !rule.covers(0, "ann") && !rule.covers(4, "eve")
    );
    assert_eq!(world.session.position(world.room).map(|(_, next)| next), Some(5));
    assert_eq!(world.faults(), []);
}

#[test]
fn an_act_of_a_kind_that_is_not_known_removes_nothing_and_has_its_place() {
    let mut world = World::up();
    let alias = world.node.alias();
    let mut bytes = body(alias, 0, &[Item::Act(RemovalParts::All { from: 0 })]);
    let kind = bytes.iter().rposition(|&byte| byte == 4).expect("the kind of an act");
    bytes[kind] = 200;
    world.node.send(&ServerFrame::Batch(&bytes));
    world.node.send(&ServerFrame::Batch(&body(alias, 1, &[Item::Said("ann", "after")])));
    world.settle();
    assert!(rule(&world).is_none());
    assert_eq!(world.session.position(world.room).map(|(_, next)| next), Some(2));
    assert_eq!(world.faults(), []);
}

/// Pages of nothing but removed messages lead on to the next page, and count as none.
#[test]
fn history_passes_over_what_was_removed_and_gives_as_many_as_were_asked() {
    let mut world = World::up();
    let request = world.session.history(world.room, 0, 2).unwrap();
    let page = |world: &mut World, from: u64, items: &[Item<'_>]| {
        let (alias, epoch) = (world.node.alias(), world.node.epoch);
        let body = body(alias, from, items);
        let (next, head, time_ms) = (from + items.len() as u64, 12, 0);
        let batches = vec![&*body];
        let page = HistoryPage { request, alias, epoch, offset: from, time_ms, next, head, batches };
        world.node.send(&ServerFrame::HistoryPage(page));
        while let Some(frame) = world.node.to_client.pop_front() {
            let events = &mut world.events;
            world.session.handle_frame(world.now_us, &frame, &mut |event| events.push(event.to_owned()));
        }
        // It is asked for by the session; this test answers itself.
        while world.session.poll_transmit(world.now_us, &mut Vec::new()) {}
    };
    while world.session.poll_transmit(world.now_us, &mut Vec::new()) {}
    page(&mut world, 0, &[Item::Removed, Item::Removed, Item::Act(RemovalParts::All { from: 0 })]);
    assert_eq!(world.count(|e| matches!(e, E::HistoryEnd { .. })), 0, "nothing yet, and more to come");
    page(&mut world, 3, &[Item::Said("ann", "x"), Item::Removed]);
    page(&mut world, 5, &[Item::Removed, Item::Said("ann", "y"), Item::Said("ann", "z")]);
    let read: Vec<u64> = world
        .events
        .iter()
        .filter_map(|e| if let E::History { offset, .. } = e { Some(*offset) } else { None })
        .collect();
    assert_eq!(read, [3, 6]);
    assert!(
        world.events.iter().any(|e| matches!(e, E::HistoryEnd { next: 7, head: 12, .. })),
        "it goes on behind the last"
    );
}
