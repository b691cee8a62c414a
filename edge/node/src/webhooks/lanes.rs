//! Lanes: the order in which messages go to each endpoint, without IO and clocks.
//!
//! A lane is what one endpoint gets of one room. In a lane the next message waits until the one before is
//! delivered or given up, so an application hears of a room in order. Lanes do not wait for each other.
//! Invariants: one message of a lane is under way at a time, and at most [`AT_ONCE`] of an endpoint. Nothing
//! is sent to an endpoint before its pause is over.
//! Not here: what is stored (`store`), when a message is tried again (`schedule`).

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

/// Messages that are under way to one endpoint.
const AT_ONCE: usize = 8;

/// A message to be sent to an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Delivery {
    pub(super) endpoint: i64,
    pub(super) room: Arc<str>,
    /// The message.
    pub(super) seq: i64,
    /// Attempts that failed.
    pub(super) attempts: u32,
}

#[derive(Debug, Default)]
struct Lane {
    /// Messages and their attempts, oldest first.
    waiting: VecDeque<(i64, u32)>,
    due_ms: u64,
    is_running: bool,
}

#[derive(Debug, Default)]
struct Endpoint {
    lanes: HashMap<Arc<str>, Lane>,
    /// Lanes that have a message and none under way, by when it is due.
    due: BTreeSet<(u64, Arc<str>)>,
    running: usize,
    paused_until_ms: u64,
}

/// See the file's head.
#[derive(Debug, Default)]
pub(super) struct Lanes(BTreeMap<i64, Endpoint>);

impl Lanes {
    /// One more message, behind those of its lane. `due_ms` counts for the first one of a lane.
    pub(super) fn push(&mut self, delivery: Delivery, due_ms: u64) {
        let Delivery { endpoint, room, seq, attempts } = delivery;
        let endpoint = self.0.entry(endpoint).or_default();
        let lane = endpoint.lanes.entry(room.clone()).or_default();
        lane.waiting.push_back((seq, attempts));
        if lane.waiting.len() == 1 {
            lane.due_ms = due_ms;
            endpoint.due.insert((due_ms, room));
        }
    }

    /// A message that may be sent now; it is under way from then on.
    pub(super) fn next(&mut self, now_ms: u64) -> Option<Delivery> {
        self.0.iter_mut().find_map(|(id, endpoint)| endpoint.next(*id, now_ms))
    }

    /// A message that is under way in another life of these lanes.
    pub(super) fn note_running(&mut self, delivery: &Delivery) {
        let Some(endpoint) = self.0.get_mut(&delivery.endpoint) else { return };
        let Some(lane) = endpoint.lanes.get_mut(&delivery.room) else { return };
        if !lane.is_running && lane.waiting.front().is_some_and(|(seq, _)| *seq == delivery.seq) {
            lane.is_running = true;
            endpoint.running += 1;
            endpoint.due.remove(&(lane.due_ms, delivery.room.clone()));
        }
    }

    /// The message is delivered or given up: the next one of its lane may go.
    pub(super) fn finish(&mut self, delivery: &Delivery, now_ms: u64) {
        self.end(delivery, |lane| {
            lane.waiting.pop_front();
            lane.due_ms = now_ms;
        });
    }

    /// The attempt failed, and the next one is at this time.
    pub(super) fn retry(&mut self, delivery: &Delivery, due_ms: u64) {
        self.end(delivery, |lane| {
            if let Some((_, attempts)) = lane.waiting.front_mut() {
                *attempts += 1;
            }
            lane.due_ms = due_ms;
        });
    }

    /// Send nothing to this endpoint before this time.
    pub(super) fn pause(&mut self, endpoint: i64, until_ms: u64) {
        if let Some(endpoint) = self.0.get_mut(&endpoint) {
            endpoint.paused_until_ms = endpoint.paused_until_ms.max(until_ms);
        }
    }

    /// The endpoint is no more.
    pub(super) fn remove(&mut self, endpoint: i64) {
        self.0.remove(&endpoint);
    }

    /// When a message may be sent next; `None`: not before one that is under way ends, or another comes.
    pub(super) fn due_ms(&self) -> Option<u64> {
        let ready = self.0.values().filter(|endpoint| endpoint.running < AT_ONCE);
        ready.filter_map(|e| Some(e.due.first()?.0.max(e.paused_until_ms))).min()
    }

    /// Messages that wait or are under way.
    pub(super) fn len(&self) -> usize {
        self.0.values().flat_map(|endpoint| endpoint.lanes.values()).map(|lane| lane.waiting.len()).sum()
    }

    fn end(&mut self, delivery: &Delivery, change: impl FnOnce(&mut Lane)) {
        let Some(endpoint) = self.0.get_mut(&delivery.endpoint) else { return };
        let Some(lane) = endpoint.lanes.get_mut(&delivery.room) else { return };
        if !lane.is_running || lane.waiting.front().is_none_or(|(seq, _)| *seq != delivery.seq) {
            return;
        }
        lane.is_running = false;
        endpoint.running -= 1;
        change(lane);
        if lane.waiting.is_empty() {
            endpoint.lanes.remove(&delivery.room);
        } else {
            endpoint.due.insert((lane.due_ms, delivery.room.clone()));
        }
    }
}

impl Endpoint {
    fn next(&mut self, id: i64, now_ms: u64) -> Option<Delivery> {
        let (due_ms, _) = self.due.first()?;
        if self.running >= AT_ONCE || (*due_ms).max(self.paused_until_ms) > now_ms {
            return None;
        }
        let (_, room) = self.due.pop_first()?;
        let lane = self.lanes.get_mut(&room)?;
        let (seq, attempts) = *lane.waiting.front()?;
        lane.is_running = true;
        self.running += 1;
        Some(Delivery { endpoint: id, room, seq, attempts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use grandstand_protocol::random::Random;

    fn delivery(endpoint: i64, room: &str, seq: i64) -> Delivery {
        Delivery { endpoint, room: room.into(), seq, attempts: 0 }
    }

    /// Whatever fails, and whenever: each message of a lane ends in order, one at a time, and lanes of other
    /// rooms and endpoints go on.
    #[test]
    fn messages_of_a_room_go_in_order_and_wait_for_no_other_room() {
        for seed in 0..200 {
            let mut random = Random::new(seed);
            let (mut lanes, mut now_ms) = (Lanes::default(), 0);
            let rooms = ["", "a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
            let mut expected: HashMap<(i64, Arc<str>), VecDeque<i64>> = HashMap::new();
            let mut running: Vec<Delivery> = Vec::new();
            let (mut seq, mut ended) = (0, 0);
            while seq < 300 || ended < seq {
                now_ms += random.below(3);
                if seq < 300 && random.below(2) == 0 {
                    seq += 1;
                    let endpoint = random.below(3) as i64;
                    let one = delivery(endpoint, rooms[random.below(rooms.len() as u64) as usize], seq);
                    expected.entry((endpoint, one.room.clone())).or_default().push_back(seq);
                    lanes.push(one, now_ms);
                }
                while let Some(next) = lanes.next(now_ms) {
                    let lane = &expected[&(next.endpoint, next.room.clone())];
                    assert_eq!(lane.front(), Some(&next.seq), "the first of its room");
                    let is_same =
                        |other: &&Delivery| (other.endpoint, &other.room) == (next.endpoint, &next.room);
                    assert_eq!(running.iter().filter(is_same).count(), 0, "one at a time");
                    running.push(next);
                    let of = running.iter().filter(|one| one.endpoint == running[running.len() - 1].endpoint);
                    assert!(of.count() <= AT_ONCE);
                }
                if !running.is_empty() {
                    let done = running.swap_remove(random.below(running.len() as u64) as usize);
                    if random.below(3) == 0 {
                        lanes.retry(&done, now_ms + random.below(20));
                        if random.below(5) == 0 {
                            lanes.pause(done.endpoint, now_ms + 30);
                        }
                    } else {
                        lanes.finish(&done, now_ms);
                        expected.get_mut(&(done.endpoint, done.room)).unwrap().pop_front();
                        ended += 1;
                    }
                } else if let Some(due_ms) = lanes.due_ms() {
                    now_ms = now_ms.max(due_ms);
                }
                assert_eq!(lanes.len() as i64, seq - ended);
            }
            assert_eq!(lanes.due_ms(), None);
        }
    }

    #[test]
    fn a_paused_endpoint_gets_nothing_and_a_removed_one_is_forgotten() {
        let mut lanes = Lanes::default();
        lanes.push(delivery(1, "a", 1), 5);
        lanes.push(delivery(1, "a", 2), 5);
        lanes.push(delivery(2, "a", 1), 7);
        assert_eq!((lanes.next(4), lanes.due_ms()), (None, Some(5)));
        let first = lanes.next(5).unwrap();
        assert_eq!((first.seq, lanes.next(5)), (1, None));
        lanes.retry(&first, 6);
        lanes.pause(1, 100);
        assert_eq!((lanes.next(6), lanes.due_ms()), (None, Some(7)));
        lanes.finish(&first, 6);
        assert_eq!(lanes.next(7).unwrap().endpoint, 2);
        assert_eq!((lanes.next(99), lanes.due_ms()), (None, Some(100)));
        assert_eq!(lanes.next(100), Some(Delivery { attempts: 1, ..delivery(1, "a", 1) }));
        lanes.remove(1);
        lanes.finish(&delivery(1, "a", 1), 101);
        assert_eq!(lanes.len(), 1);
        // What is under way when the lanes are read anew is not sent twice.
        let mut again = Lanes::default();
        again.push(delivery(2, "a", 1), 0);
        again.note_running(&delivery(2, "a", 1));
        assert_eq!(again.next(1_000), None);
        again.finish(&delivery(2, "a", 1), 1_000);
        assert_eq!(again.len(), 0);
    }
}
