//! What a guest says and hears on its connection, whatever carries the bytes.
//!
//! Invariants: frames of the node that cannot be read break the session; a guest is *in* when every room that
//! it asked for has answered.
//! Not here: sockets (`line`, `quic`), when to come back (`super`).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use grandstand_protocol::frame::{ClientFrame, Encoder, Hello, Publish, React, ServerFrame, Subscribe};
use grandstand_protocol::limits::SERVER_FRAME_BYTES_MAX;
use grandstand_protocol::stream;
use grandstand_protocol::version::SUBPROTOCOL;
use grandstand_protocol::websocket::handshake::response::{ResponseFault, parse_response, write_request};
use grandstand_protocol::websocket::{Event, Input, Limits, Opcode, Reader, Role, write_masked};

use super::Counts;

const LIMITS: Limits =
    Limits { message_bytes_max: SERVER_FRAME_BYTES_MAX, fragments_max: 64, control_frames_max: 64 };

/// What a bench looks at, called while guests read.
pub trait Watch {
    /// A guest is in all its rooms; since it was told to come it took this long.
    fn handle_joined(&mut self, guest: usize, took: Duration) {
        let _ = (guest, took);
    }

    /// A batch came; `room` is its place among the guest's rooms.
    fn handle_batch(&mut self, guest: usize, room: usize, body: &[u8]) {
        let _ = (guest, room, body);
    }

    /// A publication was accepted.
    fn handle_published(&mut self, guest: usize, nonce: u64) {
        let _ = (guest, nonce);
    }

    /// A request was refused.
    fn handle_refused(&mut self, guest: usize, kind: u8, why: &str) {
        let _ = (guest, kind, why);
    }
}

/// Looks at nothing.
impl Watch for () {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// No connection.
    Out,
    /// The transport stands or is about to; over WebSocket the upgrade's answer has not come.
    Opening,
    /// Hello and subscriptions are out.
    Greeting,
    /// Everything was answered just now.
    Arrived,
    In,
    SentAway {
        retry_after_s: u32,
    },
    Broken(&'static str),
}

/// What all sessions share.
#[derive(Debug)]
pub(super) struct Turn {
    encoder: Encoder,
    frame: Vec<u8>,
    seed: u64,
}

impl Default for Turn {
    fn default() -> Turn {
        Turn { encoder: Encoder::new(), frame: Vec::new(), seed: crate::clock::now_ns() }
    }
}

impl Turn {
    /// SplitMix64 (Steele and others 2014): fresh for every frame, which is all that a mask on loopback asks
    /// for.
    pub(super) fn random(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.seed ^ (self.seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn write(&mut self, is_websocket: bool, frame: &ClientFrame<'_>, out: &mut Vec<u8>) {
        self.frame.clear();
        self.encoder.client(frame, &mut self.frame);
        if is_websocket {
            let key = (self.random() as u32).to_ne_bytes();
            write_masked(Opcode::Binary, &self.frame, key, out);
        } else {
            stream::write_header(self.frame.len(), out);
            out.extend_from_slice(&self.frame);
        }
    }
}

/// See the file's head.
pub(super) struct Session {
    pub(super) stage: Stage,
    /// Bytes that have not gone out.
    pub(super) out: Vec<u8>,
    rooms: Vec<(Arc<str>, u32)>,
    unanswered: usize,
    is_websocket: bool,
    reader: Reader,
    /// An upgrade's answer, or a frame on a stream, of which more is to come.
    partial: Vec<u8>,
    key: [u8; 16],
    nonce: u64,
}

impl Session {
    pub(super) fn new(rooms: Vec<Arc<str>>) -> Session {
        Session {
            stage: Stage::Out,
            out: Vec::new(),
            rooms: rooms.into_iter().map(|room| (room, u32::MAX)).collect(),
            unanswered: 0,
            is_websocket: true,
            reader: Reader::new(Role::Client),
            partial: Vec::new(),
            key: [0; 16],
            nonce: 0,
        }
    }

    /// A connection is being opened; over WebSocket the request goes out as soon as it can.
    pub(super) fn begin(&mut self, is_websocket: bool, door: &SocketAddr, turn: &mut Turn) {
        (self.stage, self.is_websocket, self.unanswered) = (Stage::Opening, is_websocket, self.rooms.len());
        (self.reader, self.partial) = (Reader::new(Role::Client), Vec::new());
        self.out.clear();
        if is_websocket {
            self.key[..8].copy_from_slice(&turn.random().to_ne_bytes());
            self.key[8..].copy_from_slice(&turn.random().to_ne_bytes());
            write_request(&door.to_string(), "/v1", None, Some(SUBPROTOCOL), &self.key, &mut self.out)
                .expect("an address can stand in a header");
        }
    }

    /// Frames may flow.
    pub(super) fn handle_open(&mut self, turn: &mut Turn) {
        self.stage = Stage::Greeting;
        turn.write(self.is_websocket, &ClientFrame::Hello(Hello::default()), &mut self.out);
        for (request, (room, _)) in (0..).zip(&self.rooms) {
            let subscribe = Subscribe { request, room, ..Subscribe::default() };
            turn.write(self.is_websocket, &ClientFrame::Subscribe(subscribe), &mut self.out);
        }
    }

    pub(super) fn handle_cut(&mut self) {
        (self.stage, self.out, self.partial) = (Stage::Out, Vec::new(), Vec::new());
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Out | Stage::SentAway { .. } | Stage::Broken(_))
    }

    pub(super) fn publish(&mut self, room: usize, text: &str, turn: &mut Turn) {
        self.nonce += 1;
        let publish = Publish { alias: self.rooms[room].1, nonce: self.nonce, text, ..Publish::default() };
        turn.write(self.is_websocket, &ClientFrame::Publish(publish), &mut self.out);
    }

    pub(super) fn react(&mut self, room: usize, key: &str, count: u32, turn: &mut Turn) {
        let react = React { alias: self.rooms[room].1, key, count };
        turn.write(self.is_websocket, &ClientFrame::React(react), &mut self.out);
    }

    pub(super) fn ping(&mut self, turn: &mut Turn) {
        turn.write(self.is_websocket, &ClientFrame::Ping { client_us: 0 }, &mut self.out);
    }

    pub(super) fn handle_bytes(
        &mut self,
        n: usize,
        bytes: &mut [u8],
        turn: &mut Turn,
        counts: &mut Counts,
        watch: &mut impl Watch,
    ) {
        match (self.stage, self.is_websocket) {
            (Stage::Opening, true) => {
                if let Some(mut rest) = self.take_answer(bytes, turn) {
                    self.take_messages(n, &mut rest, counts, watch);
                }
            }
            (Stage::Greeting | Stage::Arrived | Stage::In, true) => {
                self.take_messages(n, bytes, counts, watch);
            }
            (Stage::Greeting | Stage::Arrived | Stage::In, false) => {
                self.take_stream(n, bytes, counts, watch);
            }
            _ => {}
        }
    }

    /// The upgrade's answer; what stands behind it.
    fn take_answer(&mut self, bytes: &[u8], turn: &mut Turn) -> Option<Vec<u8>> {
        self.partial.extend_from_slice(bytes);
        match parse_response(&self.partial, &self.key, Some(SUBPROTOCOL)) {
            Ok(Some(response)) => {
                let rest = self.partial.split_off(response.len);
                self.partial = Vec::new();
                self.handle_open(turn);
                return Some(rest);
            }
            Ok(None) => {}
            Err(ResponseFault::Refused { status: 429 | 503, retry_after_s }) => {
                self.stage = Stage::SentAway { retry_after_s: retry_after_s.unwrap_or(1) };
            }
            Err(_) => self.stage = Stage::Broken("the upgrade was refused"),
        }
        None
    }

    fn take_messages(&mut self, n: usize, bytes: &mut [u8], counts: &mut Counts, watch: &mut impl Watch) {
        let mut input = Input::new(bytes);
        let mut reader = std::mem::replace(&mut self.reader, Reader::new(Role::Client));
        while !self.is_over() {
            match reader.poll_event(&mut input, &LIMITS) {
                Ok(None) => break,
                Ok(Some(Event::Message { payload, .. })) => self.handle_frame(n, payload, counts, watch),
                Ok(Some(Event::Close { .. })) => self.stage = self.broken("the node closed"),
                Ok(Some(_)) => {}
                Err(_) => self.stage = self.broken("not WebSocket"),
            }
        }
        self.reader = reader;
    }

    fn take_stream(&mut self, n: usize, bytes: &[u8], counts: &mut Counts, watch: &mut impl Watch) {
        let mut whole = std::mem::take(&mut self.partial);
        whole.extend_from_slice(bytes);
        let mut at = 0;
        while !self.is_over() {
            match stream::read_header(&whole[at..], SERVER_FRAME_BYTES_MAX) {
                Ok(Some((header, len))) if whole.len() - at >= header + len => {
                    self.handle_frame(n, &whole[at + header..at + header + len], counts, watch);
                    at += header + len;
                }
                Ok(_) => break,
                Err(_) => self.stage = self.broken("not a frame"),
            }
        }
        if at < whole.len() {
            self.partial = whole.split_off(at);
        }
    }

    /// An end after arrival is a loss, before it another try.
    fn broken(&self, why: &'static str) -> Stage {
        Stage::Broken(why)
    }

    fn handle_frame(&mut self, n: usize, frame: &[u8], counts: &mut Counts, watch: &mut impl Watch) {
        match ServerFrame::decode(frame) {
            Ok(ServerFrame::Batch(body)) => {
                counts.frames += 1;
                let room = self.room_of(body).unwrap_or(usize::MAX);
                watch.handle_batch(n, room, body);
            }
            Ok(ServerFrame::Subscribed(subscribed)) => {
                if let Some((_, alias)) = self.rooms.get_mut(subscribed.request as usize) {
                    *alias = subscribed.alias;
                    self.unanswered = self.unanswered.saturating_sub(1);
                    if self.unanswered == 0 && self.stage == Stage::Greeting {
                        self.stage = Stage::Arrived;
                    }
                }
            }
            Ok(ServerFrame::Published(published)) => watch.handle_published(n, published.nonce),
            Ok(ServerFrame::Refused(refused)) => {
                counts.refused += 1;
                watch.handle_refused(n, refused.kind, refused.reason.text());
            }
            Ok(ServerFrame::Gap(_)) => counts.gaps += 1,
            Ok(ServerFrame::Error(_)) => self.stage = self.broken("the node sent an error"),
            Ok(_) => {}
            Err(_) => self.stage = self.broken("a frame that cannot be read"),
        }
    }

    fn room_of(&self, body: &[u8]) -> Option<usize> {
        if self.rooms.len() == 1 {
            return Some(0);
        }
        let alias = grandstand_protocol::batch::BatchReader::new(body).ok()?.alias();
        self.rooms.iter().position(|(_, known)| *known == alias)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_is_sent_away_knows_for_how_long() {
        let (mut session, mut turn) = (Session::new(vec!["r".into()]), Turn::default());
        session.begin(true, &SocketAddr::from(([127, 0, 0, 1], 1)), &mut turn);
        let mut answer = Vec::new();
        grandstand_protocol::websocket::handshake::write_refusal(503, "full", Some(7), &mut answer);
        let (head, tail) = answer.split_at_mut(9);
        session.handle_bytes(0, head, &mut turn, &mut Counts::default(), &mut ());
        assert_eq!(session.stage, Stage::Opening);
        session.handle_bytes(0, tail, &mut turn, &mut Counts::default(), &mut ());
        assert_eq!(session.stage, Stage::SentAway { retry_after_s: 7 });
    }

    #[test]
    fn a_guest_is_in_when_every_room_has_answered() {
        let (mut session, mut turn) = (Session::new(vec!["a".into(), "b".into()]), Turn::default());
        session.begin(false, &SocketAddr::from(([127, 0, 0, 1], 1)), &mut turn);
        session.handle_open(&mut turn);
        let mut encoder = Encoder::new();
        for (request, stage) in [(1, Stage::Greeting), (0, Stage::Arrived)] {
            let answer = grandstand_protocol::frame::Subscribed { request, alias: 9, ..Default::default() };
            let mut bytes = encoder.server_framed(&ServerFrame::Subscribed(answer)).to_vec();
            // In two pieces: the first holds no frame.
            let (head, tail) = bytes.split_at_mut(3);
            session.handle_bytes(0, head, &mut turn, &mut Counts::default(), &mut ());
            session.handle_bytes(0, tail, &mut turn, &mut Counts::default(), &mut ());
            assert_eq!(session.stage, stage);
        }
    }
}
