//! A viewer's app over the real client core, which behaves as apps should.
//!
//! The app follows some rooms and publishes. It retries under the same nonce when a publication was refused
//! for the moment. It takes a final answer for final, and it does not retry what became uncertain, as the
//! client tells it to.
//! Not here: connections (`network`, `people`), what is true (`checker`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::{Buf, Bytes, BytesMut};
use grandstand_client::core::{Ending, Event, Options, Publication, RoomId, Session, SubscribeOptions};
use grandstand_protocol::frame::Kind;
use grandstand_protocol::{limits, stream};

use crate::checker::Checker;

/// What comes from the network, in order.
#[derive(Debug)]
pub enum Inbound {
    /// Bytes.
    Bytes(Bytes),
    /// The end.
    End(Ending),
}

/// How fast a viewer reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// At once.
    Flow,
    /// So many bytes at a time.
    Trickle(usize),
    /// Not at all.
    Stalled,
}

/// Something said that has no final answer.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The room.
    pub room: String,
    /// The text.
    pub text: String,
    /// When it was said first.
    pub said_us: u64,
    /// Refused for the moment: to be retried at this time.
    pub again_us: Option<u64>,
}

/// See the file's head.
#[derive(Debug)]
pub struct Viewer {
    /// Its number.
    pub number: usize,
    /// The node that it connects to.
    pub node: usize,
    /// The client core.
    pub session: Session,
    /// How it reads.
    pub pace: Pace,
    /// Unread.
    pub inbound: VecDeque<Inbound>,
    /// A frame that is not whole.
    pub partial: BytesMut,
    /// Rooms that it wants to follow: by name, and with which replay.
    pub rooms: BTreeMap<String, u32>,
    /// Said and not answered for good, by nonce.
    pub wanted: BTreeMap<u64, Wanted>,
    /// The last that it said, and when, for saying it again.
    pub recent: VecDeque<(u64, String, String, u64)>,
    /// How much it said.
    pub said: u64,
    /// How many sessions it had before.
    pub restarts: u64,
    /// For when its turn is planned.
    pub planned_us: u64,
    /// What it read of the past, for the one who reads it all: by room.
    pub past: BTreeMap<String, Vec<(u64, String)>>,
    /// Rooms of which it has read all.
    pub past_over: BTreeMap<String, u64>,
    /// Keeps what it reads of the past.
    pub is_probe: bool,
    seed: u64,
}

/// How many of the newest publications may be retried.
const RECENT: usize = 8;

/// An app waits so long before it follows again a room that it was sent out of.
const AGAIN_US: u64 = 150_000;

impl Viewer {
    /// A viewer who is not connected.
    pub fn new(number: usize, node: usize, seed: u64) -> Viewer {
        Viewer {
            number,
            node,
            session: session(seed, 0),
            pace: Pace::Flow,
            inbound: VecDeque::new(),
            partial: BytesMut::new(),
            rooms: BTreeMap::new(),
            wanted: BTreeMap::new(),
            recent: VecDeque::new(),
            said: 0,
            restarts: 0,
            planned_us: u64::MAX,
            past: BTreeMap::new(),
            past_over: BTreeMap::new(),
            is_probe: false,
            seed,
        }
    }

    /// A room by its name, if it is followed or about to be.
    pub fn room(&self, name: &str) -> Option<RoomId> {
        self.session.room_id(name)
    }

    /// Follow a room from now on.
    pub fn join(&mut self, name: &str, replay: u32) {
        if self.room(name).is_none() {
            self.rooms.insert(name.to_owned(), replay);
            let options = SubscribeOptions { replay, resume: None };
            self.session.subscribe(name, options).expect("the world's rooms have valid names");
        }
    }

    /// Follow a room no longer.
    pub fn leave(&mut self, name: &str) {
        if let Some(room) = self.room(name) {
            self.session.unsubscribe(room, &mut |_| {});
        }
        self.rooms.remove(name);
        self.wanted.retain(|_, wanted| wanted.room != name);
    }

    /// Say something new in a room: nonce and text.
    pub fn say(
        &mut self,
        now_us: u64,
        name: &str,
        pad: usize,
        reply_to: Option<u64>,
    ) -> Option<(u64, String)> {
        let room = self.room(name)?;
        let text = format!("{name} c{}.{} {}", self.number, self.said, &PAD[..pad.min(PAD.len())]);
        let publication = Publication { text: &text, reply_to, ..Publication::default() };
        let nonce = self.session.publish(now_us, room, &publication).ok()?;
        self.said += 1;
        let (room, said_us) = (name.to_owned(), now_us);
        self.wanted.insert(nonce, Wanted { room, text: text.clone(), said_us, again_us: None });
        self.recent.push_back((nonce, name.to_owned(), text.clone(), now_us));
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
        Some((nonce, text))
    }

    /// Say once more what was said.
    pub fn say_again(&mut self, now_us: u64, which: usize) {
        let Some((nonce, name, text, said_us)) = self.recent.get(which % self.recent.len().max(1)).cloned()
        else {
            return;
        };
        self.repeat(now_us, nonce, &name, (&text, said_us));
    }

    fn repeat(&mut self, now_us: u64, nonce: u64, name: &str, (text, said_us): (&str, u64)) -> bool {
        let Some(room) = self.room(name) else { return false };
        let age_ms = ((now_us - said_us) / 1000).max(1) as u32;
        let publication = Publication { text, nonce: Some(nonce), age_ms, ..Publication::default() };
        self.session.publish(now_us, room, &publication).is_ok()
    }

    /// Say again what was refused for the moment, where it is time; when the next is.
    pub fn say_refused_again(&mut self, now_us: u64) -> Option<u64> {
        let due: Vec<u64> = self
            .wanted
            .iter()
            .filter(|(_, w)| w.again_us.is_some_and(|us| us <= now_us))
            .map(|(n, _)| *n)
            .collect();
        for nonce in due {
            let wanted = self.wanted[&nonce].clone();
            let is_said = self.repeat(now_us, nonce, &wanted.room, (&wanted.text, wanted.said_us));
            match self.wanted.get_mut(&nonce) {
                Some(wanted) if is_said => wanted.again_us = None,
                Some(wanted) if self.rooms.contains_key(&wanted.room) => {
                    wanted.again_us = Some(now_us + AGAIN_US);
                }
                _ => drop(self.wanted.remove(&nonce)),
            }
        }
        self.wanted.values().filter_map(|wanted| wanted.again_us).min()
    }

    /// Rooms that it wants and does not follow: it was sent out of them.
    pub fn join_again(&mut self) {
        let missing: Vec<(String, u32)> = self
            .rooms
            .iter()
            .filter(|(name, _)| self.room(name).is_none())
            .map(|(n, r)| (n.clone(), *r))
            .collect();
        for (name, replay) in missing {
            let options = SubscribeOptions { replay, resume: None };
            self.session.subscribe(&name, options).expect("the world's rooms have valid names");
        }
    }

    /// The app ends and begins anew with the positions that it kept: the rooms of which it has one.
    pub fn restart(&mut self) -> BTreeSet<String> {
        let positions: BTreeMap<String, (u64, u64)> = (self.rooms.keys())
            .filter_map(|name| Some((name.clone(), self.session.position(self.room(name)?)?)))
            .collect();
        self.restarts += 1;
        self.session = session(self.seed, self.restarts);
        self.pace = Pace::Flow;
        self.inbound.clear();
        self.partial.clear();
        self.wanted.clear();
        self.recent.clear();
        for (name, &replay) in &self.rooms {
            let resume = positions.get(name).copied();
            let options = SubscribeOptions { replay, resume };
            self.session.subscribe(name, options).expect("the world's rooms have valid names");
        }
        positions.into_keys().collect()
    }

    /// Read what came, as fast as it reads: the bytes read, and how the connection ended, if it did.
    pub fn read(&mut self, now_us: u64, connection: usize, checker: &mut Checker) -> (usize, Option<Ending>) {
        let mut budget = match self.pace {
            Pace::Flow => usize::MAX,
            Pace::Trickle(bytes) => bytes,
            Pace::Stalled => 0,
        };
        let mut read = 0;
        while budget > 0 {
            match self.inbound.front_mut() {
                None => break,
                Some(Inbound::End(ending)) => {
                    let ending = ending.clone();
                    self.inbound.clear();
                    return (read, Some(ending));
                }
                Some(Inbound::Bytes(bytes)) => {
                    let n = bytes.len().min(budget);
                    self.partial.extend_from_slice(&bytes[..n]);
                    bytes.advance(n);
                    if bytes.is_empty() {
                        self.inbound.pop_front();
                    }
                    (read, budget) = (read + n, budget - n);
                }
            }
        }
        self.take_frames(now_us, connection, checker);
        (read, None)
    }

    fn take_frames(&mut self, now_us: u64, connection: usize, checker: &mut Checker) {
        loop {
            match stream::read_header(&self.partial, limits::SERVER_FRAME_BYTES_MAX) {
                Ok(Some((header, len))) if self.partial.len() >= header + len => {
                    self.partial.advance(header);
                    let frame = self.partial.split_to(len);
                    checker.handle_answer(connection, &frame);
                    self.with_events(now_us, checker, |session, emit| {
                        session.handle_frame(now_us, &frame, &mut |e| emit(&e));
                    });
                }
                Ok(_) => return,
                Err(fault) => {
                    checker.violate(
                        "fault",
                        format!("viewer {}: bytes that are no frame: {fault:?}", self.number),
                    );
                    return;
                }
            }
        }
    }

    /// Let the session do something that gives out events: the checker sees them, and the app draws its
    /// conclusions.
    pub fn with_events<R>(
        &mut self,
        now_us: u64,
        checker: &mut Checker,
        act: impl FnOnce(&mut Session, &mut dyn FnMut(&Event<'_>)) -> R,
    ) -> R {
        let Viewer { number, session, wanted, recent, past, past_over, is_probe, .. } = self;
        act(session, &mut |event| {
            checker.handle_event(*number, event);
            match *event {
                Event::Published { nonce, .. } | Event::Uncertain { nonce, .. } => {
                    drop(wanted.remove(&nonce));
                }
                Event::Refused { kind, id, reason, retry_after_ms, .. } if kind == Kind::Publish as u8 => {
                    if let Some(said) = wanted.get_mut(&id).filter(|_| reason.may_retry()) {
                        said.again_us =
                            Some(now_us + 1000 * u64::from(retry_after_ms.unwrap_or(1000)).max(10));
                    } else {
                        wanted.remove(&id);
                    }
                }
                // A new user: a retry of the old one's publications would be another user's.
                Event::Welcome { resumed: false, .. } => {
                    wanted.retain(|_, wanted| wanted.again_us.is_none());
                    recent.clear();
                }
                Event::History { room, offset, text, .. } if *is_probe => {
                    past.entry(room.name.to_owned()).or_default().push((offset, text.to_owned()));
                }
                Event::HistoryEnd { room, head, .. } if *is_probe => {
                    past_over.insert(room.name.to_owned(), head);
                }
                _ => {}
            }
        })
    }

    /// Nothing is unread, unsaid or unanswered, and every room that it wants is followed.
    pub fn is_at_rest(&self) -> bool {
        self.session.is_up()
            && self.inbound.is_empty()
            && self.wanted.is_empty()
            && self.session.unanswered() == 0
            && self.rooms.keys().all(|name| self.room(name).is_some_and(|room| self.session.is_live(room)))
    }
}

const PAD: &str = "lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod tempor incididunt ut labore et dolore magna aliqua ut enim ad minim veniam";

fn session(seed: u64, restarts: u64) -> Session {
    let seed = seed ^ restarts.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let options =
        Options { seed, backoff_ms: 50, backoff_max_ms: 2_000, unanswered_max: 64, ..Options::default() };
    Session::new(options)
}
