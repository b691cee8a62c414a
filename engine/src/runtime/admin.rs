//! Requests to all shards: sends one to each shard, and merges their answers into one.
//!
//! Invariant: `reply` is called exactly once if the seats live, on a seat's thread.
//! Not here: what a shard does with a request (`shard::admin`), requests to one shard (`desk`), HTTP (edge).

#![expect(
    clippy::disallowed_types,
    reason = "one lock, a handful of instructions, only when an operator asks"
)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::desk::{Answered, Desk};
use crate::link::{AdminAnswer, AdminRequest, ShardId};

/// Ask the shard that owns the request's room, or all shards. `reply` must not block. It is called with
/// `Overloaded` at once when a shard's inbox is full.
pub fn ask(desk: &Desk, request: &AdminRequest, reply: impl FnOnce(Answered) + Send + 'static) {
    let shards = match request.room() {
        Some(room) => vec![desk.backbone().shard_of(room)],
        None => (0..desk.backbone().shards()).map(ShardId).collect(),
    };
    let gather = Gather {
        due: shards.len(),
        answers: Vec::new(),
        request: request.clone(),
        reply: Some(Box::new(reply)),
    };
    let gather = Arc::new(Mutex::new(gather));
    for shard in shards {
        let of_shard = gather.clone();
        let asked = desk.ask(shard, request.clone(), move |answer| Gather::take(&of_shard, answer));
        if let Err(refusal) = asked {
            Gather::take(&gather, Err(refusal));
        }
    }
}

type Reply = Box<dyn FnOnce(Answered) + Send>;

/// The answers that have come so far.
struct Gather {
    due: usize,
    answers: Vec<Answered>,
    request: AdminRequest,
    reply: Option<Reply>,
}

impl Gather {
    /// Take one answer; after the last, call `reply`.
    fn take(gather: &Mutex<Gather>, answer: Answered) {
        let last = gather.lock().unwrap_or_else(PoisonError::into_inner).add(answer);
        if let Some((reply, answer)) = last {
            reply(answer);
        }
    }

    /// After the last answer: the closure to call, and its argument.
    fn add(&mut self, answer: Answered) -> Option<(Reply, Answered)> {
        self.answers.push(answer);
        self.due -= 1;
        if self.due > 0 {
            return None;
        }
        Some((self.reply.take()?, merge(&self.request, std::mem::take(&mut self.answers))))
    }
}

/// Add the counters of several shards: the largest of those whose names begin with `largest_`, the sum of all
/// others.
pub fn add_up(
    numbers: &mut BTreeMap<&'static str, u64>,
    more: impl IntoIterator<Item = (&'static str, u64)>,
) {
    for (name, n) in more {
        let number = numbers.entry(name).or_insert(0);
        *number = if name.starts_with("largest_") { n.max(*number) } else { *number + n };
    }
}

/// Merge one answer per shard into one: a room unchanged, rooms in name order and within the limit, counters
/// added.
fn merge(request: &AdminRequest, mut answers: Vec<Answered>) -> Answered {
    if request.room().is_some() {
        return answers.pop().expect("one shard was asked");
    }
    let (mut rooms, mut counters) = (Vec::new(), BTreeMap::new());
    for answer in answers {
        match answer? {
            AdminAnswer::Rooms(some) => rooms.extend(some),
            AdminAnswer::Room(one) => rooms.push(one),
            // Asked of one room, so of one shard.
            AdminAnswer::Moderation(_) => {}
            // It is of one room, which one shard has.
            state @ AdminAnswer::State { .. } => return Ok(state),
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
    use grandstand_protocol::refusal::Refusal;

    #[test]
    fn counters_are_summed_and_a_refusal_wins() {
        let counters = |n| {
            let counters = [("rooms", n), ("viewers", 1), ("largest_tick_us", n)];
            Ok(AdminAnswer::Counters(counters.to_vec()))
        };
        let merged = merge(&AdminRequest::Counters, vec![counters(2), counters(3)]);
        let expected = [("largest_tick_us", 3), ("rooms", 5), ("viewers", 2)];
        assert_eq!(merged, Ok(AdminAnswer::Counters(expected.to_vec())));
        let refused = merge(&AdminRequest::Counters, vec![counters(2), Err(Refusal::Overloaded)]);
        assert_eq!(refused, Err(Refusal::Overloaded));
    }
}
