//! Inbound: what other nodes and the servers sent, on its way to the stands.
//!
//! Invariants: whoever reaches the servers can send anything, so nothing is believed but its form; what
//! cannot be read is counted. A heartbeat that membership refuses reaches no stand.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_nats::{Message, StatusCode};
use grandstand_cluster::house::HouseMessage;
use grandstand_cluster::link::{Announce, Message as _, Pong};
use grandstand_cluster::membership::Heartbeat;
use grandstand_cluster::seat::Ask;
use grandstand_cluster::stand::FromWire;

use super::{Driver, house, orders};
use crate::subjects::{Answered, Inbound};

impl Driver {
    /// To this node, or to all.
    pub(super) fn handle_inbound(&mut self, message: &Message) {
        if self.take_inbound(message).is_none() {
            self.shared.counters.malformed.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn take_inbound(&mut self, message: &Message) -> Option<()> {
        let payload = &message.payload;
        let inbound = self.subjects.inbound(message.subject.as_str())?;
        match inbound {
            Inbound::Ping => {
                let reply = message.reply.as_ref()?.to_string();
                // One that is lost is like a ping that is lost.
                let pong = Pong { node: self.membership.me(), incarnation: self.membership.incarnation() };
                let _ = self.publish_encoded(reply, pong.encode_as(self.membership.version()));
            }
            Inbound::Order => orders::handle_order(self, message)?,
            Inbound::Heartbeat => {
                let heartbeat = Heartbeat::decode(payload).ok()?;
                let now = self.now();
                let verdict = self.membership.handle_heartbeat(now, &heartbeat);
                self.show_peer(&heartbeat, now, verdict.err());
                if verdict.is_ok() {
                    house::compare(self, &heartbeat);
                    self.detour.handle_heartbeat(now, &heartbeat);
                    self.deliver_to_all(&FromWire::Heartbeat(Arc::new(heartbeat)));
                }
            }
            Inbound::House => {
                let message = HouseMessage::decode(payload).ok()?;
                house::handle(self, &message);
            }
            Inbound::Ask(shard) => {
                self.deliver(shard, FromWire::Ask(Ask::decode(payload).ok()?));
            }
            Inbound::Answer(shard) => {
                let known = self.shards.get_mut(usize::from(shard.0))?;
                if let Some(answer) = known.answers.decode(payload).ok()? {
                    self.deliver(shard, FromWire::Answer(answer));
                }
            }
            Inbound::Announce(shard) => {
                let Announce { term, position } = Announce::decode(payload).ok()?;
                self.deliver(shard, FromWire::Announce { term, position });
            }
            Inbound::Up(shard) => {
                self.deliver(shard, FromWire::Up(payload.clone()));
            }
            Inbound::Down(shard) => {
                self.deliver(shard, FromWire::Down(payload.clone()));
            }
        }
        Some(())
    }

    /// To something that this client asked.
    pub(super) fn handle_answer(&mut self, message: Message) {
        match Answered::parse(&self.inbox, message.subject.as_str()) {
            Some(Answered::Append(shard, attempt)) => self.handle_append(shard, attempt, &message),
            Some(Answered::Info(shard, token)) => self.handle_info(shard, token, &message),
            Some(Answered::Leader(shard)) => self.handle_leader(shard, &message),
            Some(Answered::Batch(shard, token)) => self.handle_batch(shard, token, message),
            Some(Answered::Message(shard, token, sequence)) => {
                self.handle_message(shard, token, sequence, &message);
            }
            Some(Answered::Ping(node)) => {
                let is_unreachable = message.status == Some(StatusCode::NO_RESPONDERS);
                let pong = Pong::decode(&message.payload);
                if is_unreachable || pong.is_ok_and(|pong| pong.node == node) {
                    self.handle_pong(node, is_unreachable);
                }
            }
            Some(Answered::Order(number)) => orders::handle_outcome(self, number, &message),
            Some(Answered::RoundTrip(number)) => self.handle_round_trip(number),
            None => {
                self.shared.counters.malformed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}
