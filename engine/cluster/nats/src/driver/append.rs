//! Appends: one attempt on its way per shard, and its answer.
//!
//! Why a reply subject per attempt: an answer that comes late, or to a repetition, is told apart from that to
//! the record in flight.
//! Invariants: an attempt is sent once. The condition is the last sequence number, and never the last message
//! identity: a mismatch of that stops a replicated stream (measured with 2.15.1).

use std::sync::atomic::Ordering;

use async_nats::{HeaderMap, Message};
use grandstand_cluster::flight::{Append, Attempt, Reply};
use grandstand_cluster::stand::FromWire;
use grandstand_engine::link::ShardId;

use super::Driver;
use crate::replies;
use crate::subjects::Answered;

/// The attempt that was sent last and not answered.
#[derive(Debug, Default)]
pub(super) struct Latest(Option<Attempt>);

impl Driver {
    /// Whether it was sent.
    pub(super) fn append(&mut self, shard: ShardId, append: Append) -> bool {
        let Append { attempt, expected_last, message_id, bytes } = append;
        let size = bytes.len();
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Last-Sequence", expected_last.0.to_string());
        headers.insert("Nats-Msg-Id", message_id);
        let reply = Answered::Append(shard, attempt).subject(&self.inbox);
        let is_sent = self.request_with_headers(self.subjects.log(shard), reply, headers, bytes);
        if is_sent {
            self.log_watch.handle_append(self.now(), shard);
            if let Some(known) = self.shards.get_mut(usize::from(shard.0)) {
                known.append = Latest(Some(attempt));
            }
        } else if self.is_connected() && size > self.client.max_payload() {
            // It will never be taken: the stand must not wait for silence each time.
            let max = self.client.max_payload();
            self.shared.set_problem(format!(
                "a record of {size} bytes is larger than the server takes ({max}): set max_payload: 1MB"
            ));
            self.deliver(shard, FromWire::Reply { attempt, reply: Reply::Failed });
        }
        is_sent
    }

    pub(super) fn handle_append(&mut self, shard: ShardId, attempt: Attempt, message: &Message) {
        let (reply, why) = replies::of_append(message.status, &message.payload);
        let is_kept = matches!(reply, Reply::Acknowledged(_));
        if is_kept {
            self.log_watch.handle_acknowledged(self.now(), shard);
        }
        let counters = &self.shared.counters;
        let counter = if is_kept { &counters.acknowledged } else { &counters.rejected };
        counter.fetch_add(1, Ordering::Relaxed);
        if let Some(why) = why {
            let stream = self.subjects.stream(shard);
            self.shared.set_problem(format!("stream {stream} takes no record: {why}"));
        }
        if let Some(known) = self.shards.get_mut(usize::from(shard.0))
            && known.append.0 == Some(attempt)
        {
            known.append = Latest(None);
        }
        self.deliver(shard, FromWire::Reply { attempt, reply });
    }

    /// The client is at another server: answers to what went to the last one are lost. Each stand repeats its
    /// record, under the same identity, without waiting for silence.
    pub(super) fn repeat_appends(&mut self) {
        for shard in 0..self.shards.len() {
            if let Some(attempt) = self.shards[shard].append.0.take() {
                let reply = FromWire::Reply { attempt, reply: Reply::NoResponders };
                self.deliver(ShardId(shard as u16), reply);
            }
        }
    }
}
