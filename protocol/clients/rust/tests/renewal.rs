//! Tokens that are renewed while the session runs, in virtual time.
//!
//! Not here: what a node does with them (the edge's tests: `renewing`).

mod common;

use common::world::World;
use grandstand_client::core::{Options, OwnedEvent as E};
use grandstand_client::protocol::frame::{Kind, ServerFrame};
use grandstand_client::protocol::version::capability;

#[test]
fn a_new_token_is_sent_at_once_and_what_the_node_says_is_reported() {
    let mut world = World::up();
    world.node.send(&ServerFrame::Expiring { in_ms: 30_000 });
    world.settle();
    assert_eq!(world.count(|e| matches!(e, E::TokenExpires { in_ms: 30_000 })), 1);
    world.session.set_token("ada").unwrap();
    world.settle();
    let is_renewed = |e: &E| matches!(e, E::Renewed { name, expires_in_ms: 60_000, .. } if **name == *"ada");
    assert_eq!(world.count(is_renewed), 1);
    world.session.set_token("bad").unwrap();
    world.settle();
    assert_eq!(world.count(|e| matches!(e, E::Refused { kind, .. } if *kind == Kind::Renew as u8)), 1);
    assert!(world.session.is_up());
    // Each token is sent once, and the next connection begins with the last.
    assert_eq!(world.node.seen.iter().filter(|kind| **kind == Kind::Renew).count(), 2);
    world.reconnect();
    world.settle();
    assert!(!world.node.seen.contains(&Kind::Renew));
}

#[test]
fn a_node_that_takes_no_renewals_is_sent_none() {
    let mut world = World::new(Options::default());
    world.node.withheld = capability::RENEW;
    world.connect();
    world.settle();
    world.session.set_token("ada").unwrap();
    world.settle();
    assert!(!world.node.seen.contains(&Kind::Renew));
}
