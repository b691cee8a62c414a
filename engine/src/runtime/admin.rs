//! Administration over a backbone: a request goes to the shard that owns the room, or to all and their
//! answers are merged.
//!
//! Invariant: `reply` is called exactly once if the request was taken and the shards live, on a shard's
//! thread.
//! Not here: what a shard does with a request (`shard`), HTTP (edge).

#![expect(
    clippy::disallowed_types,
    reason = "one lock, a handful of instructions, only when an operator asks"
)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use grandstand_protocol::refusal::Refusal;

use crate::link::{AdminAnswer, AdminReply, AdminRequest, Backbone, Input, ShardId};

type Answered = Result<AdminAnswer, Refusal>;

/// Ask. `reply` must not block; it is called with `Overloaded` at once when a shard's inbox is full.
pub fn ask(backbone: &dyn Backbone, request: AdminRequest, reply: impl FnOnce(Answered) + Send + 'static) {
    let shard = match &request {
        AdminRequest::Create { room }
        | AdminRequest::Open { room }
        | AdminRequest::Close { room }
        | AdminRequest::Remove { room }
        | AdminRequest::SetState { room, .. }
        | AdminRequest::Configure { room, .. } => backbone.shard_of(room),
        AdminRequest::List { .. } | AdminRequest::Counters => return ask_all(backbone, &request, reply),
    };
    submit(backbone, shard, request, AdminReply(Box::new(reply)));
}

fn submit(backbone: &dyn Backbone, shard: ShardId, request: AdminRequest, reply: AdminReply) {
    if let Err(Input::Admin(_, reply)) = backbone.submit(shard, Input::Admin(request, reply)) {
        (reply.0)(Err(Refusal::Overloaded));
    }
}

fn ask_all(backbone: &dyn Backbone, request: &AdminRequest, reply: impl FnOnce(Answered) + Send + 'static) {
    let gather = Gather {
        due: backbone.shards(),
        answers: Vec::new(),
        request: request.clone(),
        reply: Some(Box::new(reply)),
    };
    let gather = Arc::new(Mutex::new(gather));
    for shard in 0..backbone.shards() {
        let gather = gather.clone();
        let one = move |answer| {
            let last = gather.lock().unwrap_or_else(PoisonError::into_inner).take(answer);
            if let Some((reply, answer)) = last {
                reply(answer);
            }
        };
        submit(backbone, ShardId(shard), request.clone(), AdminReply(Box::new(one)));
    }
}

type Reply = Box<dyn FnOnce(Answered) + Send>;

/// The answers of some shards so far.
struct Gather {
    due: u16,
    answers: Vec<Answered>,
    request: AdminRequest,
    reply: Option<Reply>,
}

impl Gather {
    /// Take one; with the last, what to call and with what.
    fn take(&mut self, answer: Answered) -> Option<(Reply, Answered)> {
        self.answers.push(answer);
        self.due -= 1;
        if self.due > 0 {
            return None;
        }
        Some((self.reply.take()?, merge(&self.request, std::mem::take(&mut self.answers))))
    }
}

/// Numbers of several shards as one: of those that begin with `largest_` the largest, of all others the sum.
pub fn add_up(
    numbers: &mut BTreeMap<&'static str, u64>,
    more: impl IntoIterator<Item = (&'static str, u64)>,
) {
    for (name, n) in more {
        let number = numbers.entry(name).or_insert(0);
        *number = if name.starts_with("largest_") { n.max(*number) } else { *number + n };
    }
}

/// One answer out of one per shard: rooms in name order and within the limit, counters summed.
fn merge(request: &AdminRequest, answers: Vec<Answered>) -> Answered {
    let (mut rooms, mut counters) = (Vec::new(), BTreeMap::new());
    for answer in answers {
        match answer? {
            AdminAnswer::Rooms(some) => rooms.extend(some),
            AdminAnswer::Room(one) => rooms.push(one),
            AdminAnswer::Counters(some) => {
                add_up(&mut counters, some);
            }
        }
    }
    match request {
        AdminRequest::Counters => Ok(AdminAnswer::Counters(counters.into_iter().collect())),
        AdminRequest::List { limit, .. } => {
            rooms.sort_by(|a, b| a.name.cmp(&b.name));
            rooms.truncate(*limit);
            Ok(AdminAnswer::Rooms(rooms))
        }
        _ => Ok(AdminAnswer::Rooms(rooms)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_summed_and_a_refusal_wins() {
        let counters =
            |n| Ok(AdminAnswer::Counters(vec![("rooms", n), ("viewers", 1), ("largest_tick_us", n)]));
        let merged = merge(&AdminRequest::Counters, vec![counters(2), counters(3)]);
        assert_eq!(
            merged,
            Ok(AdminAnswer::Counters(vec![("largest_tick_us", 3), ("rooms", 5), ("viewers", 2)]))
        );
        let refused = merge(&AdminRequest::Counters, vec![counters(2), Err(Refusal::Overloaded)]);
        assert_eq!(refused, Err(Refusal::Overloaded));
    }
}
