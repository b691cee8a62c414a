//! A publisher: it publishes at its own pace, whatever became of the message before, and notes each outcome.
//!
//! Invariant: what was refused for a time is sent again under its nonce, with its age, until it has another
//! outcome.
//! Not here: which outcomes are right (`checker`).

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Context;
use std::time::Duration;

use grandstand_client::core::{
    Event, Options, Publication as Message, RequestError, RoomId, Session, SubscribeOptions,
};
use grandstand_client::net::{Control, Driver, Handler, seed};
use grandstand_protocol::frame::Kind;

use super::{Fate, Publication, Shared, connector, locked, place, urls};

/// Publications of one session without an answer: minutes of an outage.
const UNANSWERED_MAX: u32 = 16_384;

/// Before a refused publication is sent again, if the node named no time.
const RETRY_MS: u32 = 500;

/// After this pause a full session is tried again.
const FULL_US: u64 = 100_000;

struct Publisher {
    shared: Arc<Shared>,
    number: usize,
    room: RoomId,
    node: usize,
    is_ready: bool,
    next_us: Option<u64>,
    /// Numbers of publications by nonce.
    waiting: HashMap<u64, u64>,
    /// When, and which nonce.
    retries: BTreeSet<(u64, u64)>,
    next_nonce: u64,
}

/// A publisher until the run is over.
pub(super) async fn live(shared: Arc<Shared>, number: usize) {
    let (room_index, home) = place(number);
    while !shared.is_over.load(Relaxed) {
        let options = Options {
            agent: "grandstand-faults/publisher",
            seed: seed(),
            backoff_ms: 200,
            backoff_max_ms: 2_000,
            unanswered_max: UNANSWERED_MAX,
            keep_state: false,
            ..Options::default()
        };
        let mut session = Session::new(options);
        let room = session
            .subscribe(&shared.room_names[room_index], SubscribeOptions::default())
            .expect("rooms of this run have valid names");
        let publisher = Publisher {
            shared: shared.clone(),
            number,
            room,
            node: home,
            is_ready: false,
            next_us: None,
            waiting: HashMap::new(),
            retries: BTreeSet::new(),
            // Nonces must be new for the user.
            next_nonce: seed() >> 1,
        };
        let finished = Box::pin(Driver::new(&connector(), urls(home), session, publisher).run()).await;
        // What the session took has its outcome; what waits to be sent again was refused last.
        for &(_, nonce) in &finished.handler.retries {
            finished.handler.end(nonce, Fate::Refused);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

impl Handler for Publisher {
    fn handle_event(&mut self, now_us: u64, event: &Event<'_>) {
        match event {
            Event::Welcome { node, .. } => {
                self.node = node.trim_start_matches('n').parse().unwrap_or(usize::MAX);
            }
            Event::Subscribed { .. } => self.is_ready = true,
            Event::Published { nonce, epoch, offset, .. } => {
                let (node, at_us) = (self.node, now_us);
                self.end(*nonce, Fate::Acknowledged { offset: *offset, epoch: *epoch, at_us, node });
            }
            Event::Refused { kind, id, reason, retry_after_ms, .. } if *kind == Kind::Publish as u8 => {
                if !reason.may_retry() {
                    self.end(*id, Fate::Refused);
                    return;
                }
                let wait_us = u64::from(retry_after_ms.unwrap_or(RETRY_MS)) * 1_000;
                self.retries.insert((now_us + wait_us, *id));
                self.note(*id, |publication| match retry_after_ms {
                    Some(_) => publication.put_off += 1,
                    None => publication.put_off_without_time += 1,
                });
            }
            Event::Uncertain { nonce, .. } => self.end(*nonce, Fate::Uncertain),
            Event::NotSent { nonce, .. } => self.end(*nonce, Fate::NotSent),
            _ => {}
        }
    }

    fn poll_control(&mut self, _: &mut Context<'_>, control: &mut Control<'_>) -> Option<u64> {
        if self.shared.is_over.load(Relaxed) {
            control.session.close(control.now_us);
            return None;
        }
        let retry_us = self.retry_due(control);
        let next_us = self.publish_due(control);
        Some(retry_us.map_or(next_us, |retry_us| retry_us.min(next_us)))
    }
}

impl Publisher {
    fn publish_due(&mut self, control: &mut Control<'_>) -> u64 {
        let now_us = control.now_us;
        let every_us = self.shared.interval_us;
        if !self.is_ready || !self.shared.is_publishing.load(Relaxed) {
            return now_us + FULL_US;
        }
        // They begin apart, so that their messages are spread.
        let mut next_us = self.next_us.unwrap_or(now_us + every_us * (self.number as u64 % 17) / 17);
        if next_us + 2_000_000 < now_us {
            // It was suspended for long: what is past is past.
            next_us = now_us;
        }
        while next_us <= now_us {
            let number = {
                let mut all = locked(&self.shared.publications);
                let room = place(self.number).0;
                all.push(Publication { room, sent_us: now_us, ..Publication::default() });
                all.len() as u64 - 1
            };
            let nonce = self.next_nonce;
            self.next_nonce += 1;
            self.waiting.insert(nonce, number);
            if !self.say(control, nonce, number, 0) {
                self.end(nonce, Fate::NotSent);
            }
            next_us += every_us;
        }
        self.next_us = Some(next_us);
        next_us
    }

    fn retry_due(&mut self, control: &mut Control<'_>) -> Option<u64> {
        while let Some(&(at_us, nonce)) = self.retries.first() {
            if at_us > control.now_us {
                return Some(at_us);
            }
            let Some(&number) = self.waiting.get(&nonce) else {
                self.retries.pop_first();
                continue;
            };
            let sent_us = locked(&self.shared.publications)[number as usize].sent_us;
            let age_ms = (control.now_us.saturating_sub(sent_us) / 1_000).max(1) as u32;
            if !self.say(control, nonce, number, age_ms) {
                return Some(control.now_us + FULL_US);
            }
            self.retries.pop_first();
        }
        None
    }

    /// `false`: the session is full.
    fn say(&mut self, control: &mut Control<'_>, nonce: u64, number: u64, age_ms: u32) -> bool {
        let text = self.shared.text(number);
        let message = Message { text: &text, nonce: Some(nonce), age_ms, ..Message::default() };
        match control.session.publish(control.now_us, self.room, &message) {
            Ok(_) => true,
            Err(RequestError::Refused(reason)) if !reason.may_retry() => {
                self.end(nonce, Fate::Refused);
                true
            }
            Err(_) => false,
        }
    }

    fn note(&self, nonce: u64, change: impl FnOnce(&mut Publication)) {
        if let Some(&number) = self.waiting.get(&nonce) {
            change(&mut locked(&self.shared.publications)[number as usize]);
        }
    }

    fn end(&self, nonce: u64, fate: Fate) {
        // It stays in the table: a second outcome must be seen.
        self.note(nonce, |publication| {
            publication.outcomes += 1;
            publication.fate = fate;
        });
    }
}
