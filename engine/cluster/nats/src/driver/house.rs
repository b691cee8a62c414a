//! The house: what concerns no shard, from and to other nodes, and bans in the cluster's bucket.
//!
//! Why by differing digests: a node that missed a message, or was away, is told everything by whoever sees
//! in its heartbeat that it knows something else. So nobody keeps who has heard what.
//! Why the bucket too: after a stop of all nodes, or the loss of a disk, it still knows.
//! Invariants: only nodes of the list are heard. A node is told everything at most every [`TELL_ALL_EVERY`].
//! A ban is put into the bucket until it is there, also over an election, as the node knows it then.
//! Not here: what the messages mean (`House`).

use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use grandstand_cluster::house::{BANS_PER_MESSAGE, HouseMessage};
use grandstand_cluster::link::Message as _;
use grandstand_cluster::membership::Heartbeat;
use tokio::sync::oneshot;

use super::Driver;
use crate::admin::Session;
use crate::house::ToNodes;

/// Between two times that a node is told everything.
const TELL_ALL_EVERY: Duration = Duration::from_secs(1);
/// Between two attempts to put a ban into the bucket, and how many there are.
const KEEP_AGAIN_AFTER: Duration = Duration::from_millis(500);
const KEEP_TRIES: usize = 240;

fn message_of(driver: &Driver) -> HouseMessage {
    HouseMessage::of(driver.membership.me(), driver.membership.incarnation())
}

/// Something of another node. It answers when what it asks is in force.
pub(super) fn handle(driver: &Driver, message: &HouseMessage) {
    let Some(house) = driver.shared.house.get() else { return };
    let life = driver.membership.incarnation_of(message.node);
    if message.node == driver.membership.me() || life.is_none_or(|life| message.incarnation < life) {
        return;
    }
    house.handle(message);
    if message.asks != 0 {
        let answer = HouseMessage { answers: message.asks, ..message_of(driver) };
        let _ = driver.publish_encoded(
            driver.subjects.house_of(message.node),
            answer.encode_as(driver.membership.version()),
        );
    }
}

/// Does another node know something else of the house? Then it is told everything.
pub(super) fn compare(driver: &mut Driver, heartbeat: &Heartbeat) {
    let Some(house) = driver.shared.house.get().cloned() else { return };
    if house.digest() == heartbeat.house {
        return;
    }
    let Some(peer) = driver.peers.iter_mut().find(|peer| peer.node == heartbeat.node) else { return };
    if peer.told_all.is_some_and(|told| told.elapsed() < TELL_ALL_EVERY) {
        return;
    }
    peer.told_all = Some(Instant::now());
    let subject = driver.subjects.house_of(heartbeat.node);
    for bans in house.bans().chunks(BANS_PER_MESSAGE) {
        let message = HouseMessage { bans: bans.to_vec(), ..message_of(driver) };
        let _ = driver.publish_encoded(subject.clone(), message.encode_as(driver.membership.version()));
    }
}

/// With each heartbeat: what people took here, and which sessions came.
pub(super) fn send_news(driver: &Driver) {
    let Some(house) = driver.shared.house.get() else { return };
    let (taken, moved) = house.news();
    if !taken.is_empty() || !moved.is_empty() {
        let message = HouseMessage { taken, moved, ..message_of(driver) };
        let _ =
            driver.publish_encoded(driver.subjects.house(), message.encode_as(driver.membership.version()));
    }
}

/// What the node wants to tell or keep.
pub(super) fn obey(driver: &Driver, order: ToNodes) {
    match order {
        ToNodes::Bans { bans, asks } => {
            let message = HouseMessage { bans, asks, ..message_of(driver) };
            let _ = driver
                .publish_encoded(driver.subjects.house(), message.encode_as(driver.membership.version()));
        }
        ToNodes::Keep { kind, id, kept } => keep(driver, (kind, id), kept),
    }
}

/// Put a ban into the bucket, in a task of its own: the bucket may have no leader for seconds.
fn keep(driver: &Driver, (kind, id): (u8, u64), kept: oneshot::Sender<()>) {
    let Some(house) = driver.shared.house.get().cloned() else { return };
    let session = Session::over(driver.client.clone(), driver.subjects.clone());
    let (subject, message) = (driver.subjects.ban(kind, id), message_of(driver));
    tokio::spawn(async move {
        for _ in 0..KEEP_TRIES {
            // Another order may have come meanwhile: the last one is put.
            let now = house.bans().into_iter().find(|ban| (ban.kind, ban.id) == (kind, id));
            let Some(ban) = now else { return };
            let Ok(bytes) = (HouseMessage { bans: vec![ban], ..message.clone() }).encode() else { return };
            if let Ok(Ok(())) = session.put(subject.clone(), HeaderMap::new(), bytes).await {
                // Nobody may wait for it any more.
                let _ = kept.send(());
                return;
            }
            tokio::time::sleep(KEEP_AGAIN_AFTER).await;
        }
    });
}
