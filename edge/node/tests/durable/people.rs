//! Somebody in a room, over a raw WebSocket: speaks with nonces of its own choice, and remembers offsets.
//!
//! Why raw: a retry must carry the nonce and the age that a test chooses.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use grandstand_protocol::batch::{BatchReader, Item};
use grandstand_protocol::frame::{
    ClientFrame, Durability, Gap, Hello, Outcome, Publish, Published, ServerFrame, Subscribe,
};
use grandstand_protocol::refusal::Refusal;

use crate::common::ws::Ws;
use crate::common::{PATIENCE, frame};

/// The answer to a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Taken(Published),
    Refused { nonce: u64, reason: Refusal, retry_after_ms: Option<u32> },
}

/// See the file's head.
pub(crate) struct Person {
    ws: Ws,
    /// Brings the session back.
    pub(crate) ticket: Vec<u8>,
    alias: u32,
    pub(crate) epoch: u64,
    pub(crate) outcome: Outcome,
    /// The next offset that it expects.
    pub(crate) next: u64,
    /// What it heard, by offset.
    pub(crate) heard: BTreeMap<u64, String>,
    pub(crate) gaps: Vec<Gap>,
}

impl Person {
    /// Comes into a room, at its head.
    pub(crate) fn come(node: SocketAddr, room: &str) -> Person {
        Person::come_back(node, room, &[], None)
    }

    /// Comes back with a ticket and to a position: epoch and next offset.
    pub(crate) fn come_back(
        node: SocketAddr,
        room: &str,
        ticket: &[u8],
        resume: Option<(u64, u64)>,
    ) -> Person {
        let mut ws = Ws::open(node, "/v1");
        ws.send(&frame(&ClientFrame::Hello(Hello { ticket, ..Hello::default() })));
        let welcome = ws.next_frame();
        let ServerFrame::Welcome(welcome) = ServerFrame::decode(&welcome).unwrap() else {
            panic!("a welcome is due")
        };
        let ticket = welcome.ticket.to_vec();
        ws.send(&frame(&ClientFrame::Subscribe(Subscribe { request: 1, room, resume, replay: 0 })));
        let mut person = Person {
            ws,
            ticket,
            alias: 0,
            epoch: 0,
            outcome: Outcome::Live,
            next: 0,
            heard: BTreeMap::new(),
            gaps: Vec::new(),
        };
        let deadline = Instant::now() + PATIENCE;
        while person.epoch == 0 {
            assert!(Instant::now() < deadline, "the subscription is not answered");
            person.hear();
        }
        person
    }

    /// Sends a publication and does not wait.
    pub(crate) fn say(&mut self, nonce: u64, text: &str) {
        let publish = Publish { alias: self.alias, nonce, text, ..Publish::default() };
        self.ws.send(&frame(&ClientFrame::Publish(publish)));
    }

    /// Publishes and waits for the answer.
    pub(crate) fn publish(&mut self, nonce: u64, text: &str) -> Answer {
        self.say(nonce, text);
        self.answer()
    }

    /// Publishes until it is taken, as clients do: with the same nonce, after the time that it is told.
    pub(crate) fn insist(&mut self, nonce: u64, text: &str) -> Published {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.publish(nonce, text) {
                Answer::Taken(published) => return published,
                Answer::Refused { reason, retry_after_ms, .. } => {
                    assert_eq!(reason, Refusal::StorageUnavailable);
                    let after = retry_after_ms.expect("it says when to try again");
                    assert!(Instant::now() < deadline, "refused for too long");
                    std::thread::sleep(Duration::from_millis(u64::from(after).min(500)));
                }
            }
        }
    }

    /// The next answer to a publication.
    pub(crate) fn answer(&mut self) -> Answer {
        loop {
            if let Some(answer) = self.hear() {
                return answer;
            }
        }
    }

    /// Listens until everything before this offset was heard or named as a gap.
    pub(crate) fn listen_to(&mut self, next: u64) {
        let deadline = Instant::now() + PATIENCE;
        while self.next < next {
            assert!(Instant::now() < deadline, "nothing after {} came, {next} was due", self.next);
            self.hear();
        }
    }

    /// One frame.
    fn hear(&mut self) -> Option<Answer> {
        let bytes = self.ws.next_frame();
        match ServerFrame::decode(&bytes).expect("a good frame") {
            ServerFrame::Subscribed(subscribed) => {
                (self.alias, self.epoch, self.next) = (subscribed.alias, subscribed.epoch, subscribed.offset);
                self.outcome = subscribed.outcome;
            }
            ServerFrame::Batch(body) => self.hear_batch(body),
            ServerFrame::Gap(gap) => {
                self.next = self.next.max(gap.to);
                self.gaps.push(gap);
            }
            ServerFrame::Published(published) => return Some(Answer::Taken(published)),
            ServerFrame::Refused(refused) => {
                let (nonce, reason, retry_after_ms) = (refused.id, refused.reason, refused.retry_after_ms);
                return Some(Answer::Refused { nonce, reason, retry_after_ms });
            }
            _ => {}
        }
        None
    }

    fn hear_batch(&mut self, body: &[u8]) {
        let mut reader = BatchReader::new(body).expect("a good batch");
        let end = self.next + reader.count();
        while let Some(item) = reader.next_item().expect("a good batch") {
            if let Item::Message(message) = item {
                self.next += message.skip;
                let twice = self.heard.insert(self.next, message.text.to_owned());
                assert_eq!(twice, None, "offset {} came twice", self.next);
                self.next += 1;
            }
        }
        self.next = end;
    }
}

impl Answer {
    /// It was taken, and is safe on disk.
    pub(crate) fn on_disk(self) -> Published {
        match self {
            Answer::Taken(published) if published.durability == Durability::Disk => published,
            other => panic!("it was not taken to disk: {other:?}"),
        }
    }
}

/// What a person who has it all should find: every text once, at its offset.
pub(crate) fn assert_heard_once(person: &Person, acknowledged: &BTreeMap<u64, String>) {
    assert_eq!(person.gaps, [], "nothing is missing");
    for (offset, text) in acknowledged {
        assert_eq!(person.heard.get(offset), Some(text), "what was acknowledged at {offset}");
    }
    let mut texts: Vec<_> = person.heard.values().collect();
    texts.sort_unstable();
    let count = texts.len();
    texts.dedup();
    assert_eq!(texts.len(), count, "nothing stands twice");
}
