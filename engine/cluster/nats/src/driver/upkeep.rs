//! Upkeep: heartbeats, pings, and what the thread says of servers, peers and streams.
//!
//! Why pings beside heartbeats: when a node's process dies, the servers know at once that nobody receives its
//! pings any more, while silence takes 1.5 s to notice.
//! Invariants: pings that nobody could receive are not believed for [`UNSETTLED`] after this node connected,
//! since a server that has just started does not know yet who is at the others.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_nats::Event;
use bytes::Bytes;
use grandstand_cluster::id::{NodeId, Position};
use grandstand_cluster::link::Message as _;
use grandstand_cluster::membership::{Heartbeat, PeerRefusal};
use grandstand_cluster::stand::FromWire;
use grandstand_cluster::time::OwnTime;
use grandstand_engine::link::ShardId;
use grandstand_engine::runtime::wall;

use super::{Driver, house, leaders, orders};
use crate::admin::{self, Session};
use crate::replies::StreamEnd;
use crate::status::StreamStatus;
use crate::subjects::Answered;

/// After a connection is made, routes between servers may still be missing.
const UNSETTLED: Duration = Duration::from_millis(1_000);

/// A leader that was heard this long ago is heard. Each is asked every two seconds.
const LEADER_FRESH_MS: u64 = 3_000;

/// Another node.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) node: NodeId,
    /// Stands were told that nobody received a ping to it, and not yet that it answered since.
    is_missed: bool,
    /// When it was told everything of the house.
    pub(super) told_all: Option<Instant>,
}

impl Peer {
    pub(super) fn new(node: NodeId) -> Self {
        Peer { node, is_missed: false, told_all: None }
    }
}

/// The measurement of the way to the server that is under way.
#[derive(Debug, Default)]
pub(super) struct RoundTrip {
    number: u64,
    began: Option<Instant>,
}

impl Driver {
    pub(super) fn send_heartbeat(&self) {
        let now = self.now();
        let mut heartbeat = self.membership.heartbeat(now, self.shared.reports());
        if let Some(house) = self.shared.house.get() {
            (heartbeat.load, heartbeat.house) = (house.load(), house.digest());
        }
        house::send_news(self);
        heartbeat.about.unix_ms = wall::unix_ms();
        let hears = |(ix, shard): (usize, &super::Shard)| {
            shard.leader_seen.filter(|seen| now.since(*seen) < LEADER_FRESH_MS).map(|_| 1_u64 << (ix & 63))
        };
        heartbeat.about.leaders =
            self.shards.iter().enumerate().filter_map(hears).fold(0, |all, one| all | one);
        // One that is lost is like one that is lost on the way.
        let encoded = heartbeat.encode_as(self.membership.version());
        let _ = self.publish_encoded(self.subjects.heartbeat(), encoded);
    }

    pub(super) fn send_pings(&mut self) {
        for peer in &self.peers {
            let reply = Answered::Ping(peer.node).subject(&self.inbox);
            let _ = self.request(self.subjects.ping(peer.node), reply, Bytes::new());
        }
        self.poll_reads();
        if self.told_draining != self.shared.is_draining() {
            orders::tell_draining(self);
        }
        leaders::watch_logs(self);
    }

    pub(super) fn handle_pong(&mut self, node: NodeId, is_unreachable: bool) {
        if is_unreachable && self.connected_at.is_none_or(|at| at.elapsed() < UNSETTLED) {
            return;
        }
        let Some(ix) = self.peers.iter().position(|peer| peer.node == node) else { return };
        self.shared.lock().peers.entry(node).or_default().is_unreachable = is_unreachable;
        if is_unreachable {
            self.membership.handle_no_responders(self.now(), node);
            self.deliver_to_all(&FromWire::NoResponders(node));
            self.peers[ix].is_missed = true;
            return;
        }
        self.membership.handle_pong(node);
        // Stands need no answer to a ping but after one that nobody received.
        if self.peers[ix].is_missed {
            self.peers[ix].is_missed = !self.deliver_to_all(&FromWire::Pong(node));
        }
    }

    pub(super) fn show_peer(&self, heartbeat: &Heartbeat, now: OwnTime, refused: Option<PeerRefusal>) {
        let mut status = self.shared.lock();
        // Strangers may send under any number: only nodes of the list are shown.
        if !self.peers.iter().any(|peer| peer.node == heartbeat.node) {
            return;
        }
        let peer = status.peers.entry(heartbeat.node).or_default();
        peer.refused = refused;
        if refused.is_some() {
            return;
        }
        (peer.heard, peer.load) = (Some(now), heartbeat.load);
        peer.about = heartbeat.about;
        peer.versions = Some(heartbeat.versions);
        if heartbeat.about.unix_ms > 0 {
            let ahead_ms =
                heartbeat.about.unix_ms.cast_signed().saturating_sub(wall::unix_ms().cast_signed());
            peer.clock_ahead_ms.note(now, ahead_ms);
        }
    }

    pub(super) fn show_stream(&self, shard: ShardId, end: Option<&StreamEnd>) {
        let mut status = self.shared.lock();
        let Some(stream) = status.streams.get_mut(usize::from(shard.0)) else { return };
        match end {
            None => stream.leader = None,
            Some(end) => {
                *stream = StreamStatus {
                    acknowledged_ms: stream.acknowledged_ms,
                    leader: end.leader.clone(),
                    first: Position(end.first),
                    last: Position(end.last),
                    seen: Some(self.now()),
                };
            }
        }
    }

    /// Whether all is as it must be; what is not goes into the status.
    pub(super) fn check(&self) {
        if !self.is_connected() {
            return;
        }
        let session = Session::over(self.client.clone(), self.subjects.clone());
        let (shared, facts, plan, origin) = (self.shared.clone(), self.facts, self.plan, self.origin);
        tokio::spawn(async move {
            let faults = admin::check_all(&session, &facts, &plan).await;
            if let Ok(agreed) = admin::agreed_now(&session).await {
                shared.agree(agreed.version);
            }
            let mut status = shared.lock();
            status.faults = faults;
            status.checked = Some(OwnTime(origin.elapsed().as_millis() as u64));
        });
    }

    /// Once a second.
    pub(super) fn look_after(&mut self) {
        self.ask_leaders();
        self.orders.drop_old();
        tell_agreed(self);
        let is_replicated = !self.shared.lock().faults.iter().any(admin::AdminFault::breaks_promise);
        if is_replicated != self.told_replicated && self.deliver_to_all(&FromWire::Replicated(is_replicated))
        {
            self.told_replicated = is_replicated;
        }
        let info = self.client.try_server_info().filter(|_| self.is_connected());
        let (name, version) = info.map(|info| (info.server_name, info.version)).unzip();
        {
            let mut status = self.shared.lock();
            (status.server, status.server_version) = (name, version);
        }
        self.round_trip.number += 1;
        self.round_trip.began = Some(Instant::now());
        let reply = Answered::RoundTrip(self.round_trip.number).subject(&self.inbox);
        let _ = self.request(self.subjects.nobody(), reply, Bytes::new());
    }

    pub(super) fn handle_round_trip(&mut self, number: u64) {
        if number == self.round_trip.number
            && let Some(began) = self.round_trip.began.take()
        {
            self.shared.lock().round_trip_us = Some(began.elapsed().as_micros() as u64);
        }
    }

    pub(super) fn handle_event(&mut self, event: &Event) {
        match event {
            Event::Connected => {
                self.connected_at = Some(Instant::now());
                self.shared.lock().connects += 1;
                self.repeat_appends();
                self.look_after();
                self.check();
            }
            Event::Disconnected => {
                self.connected_at = None;
                let mut status = self.shared.lock();
                (status.server, status.server_version, status.round_trip_us) = (None, None, None);
            }
            Event::SlowConsumer(_) => {
                self.shared.counters.dropped.fetch_add(1, Ordering::Relaxed);
            }
            Event::ServerError(error) => self.shared.set_problem(format!("the server says: {error}")),
            Event::ClientError(error) => self.shared.set_problem(format!("no connection: {error}")),
            Event::LameDuckMode | Event::Draining | Event::Closed => {}
        }
    }
}

/// By which version all is written, to stands. Other nodes read it in heartbeats.
fn tell_agreed(driver: &mut Driver) {
    driver.membership.agree(driver.shared.agreed());
    let agreed = driver.membership.version();
    driver.shared.agree(agreed);
    if agreed != driver.told_agreed && driver.deliver_to_all(&FromWire::Agreed(agreed)) {
        driver.told_agreed = agreed;
    }
}
