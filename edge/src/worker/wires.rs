//! All wires of one worker, and the door by which the audience sends to them.

use bytes::Bytes;
use grandstand_protocol::websocket::{Reader, Role};
use slab::Slab;

use super::wire::{Line, Stage, Wire};
use crate::audience::{Carrier, WireKey};
use crate::gate::Pass;
use crate::quic::Quic;

/// See the file's head.
#[derive(Debug)]
pub(super) struct Wires {
    slab: Slab<Wire>,
    /// The worker's endpoint, if QUIC is open.
    pub(super) quic: Option<Quic>,
    /// The wire of each QUIC connection, by its slot; `u32::MAX` before its stream is open.
    by_slot: Vec<u32>,
    generation: u32,
    cipher: Vec<u8>,
    plain: Vec<u8>,
}

impl Wires {
    pub(super) fn new(quic: Option<Quic>, reserved: usize) -> Self {
        let (by_slot, cipher, plain) = (Vec::new(), Vec::new(), Vec::new());
        Wires { slab: Slab::with_capacity(reserved), quic, by_slot, generation: 0, cipher, plain }
    }

    pub(super) fn insert(&mut self, stage: Stage, line: Line, pass: Option<Pass>, now_s: u32) -> u32 {
        self.generation = self.generation.wrapping_add(1);
        self.slab.insert(Wire {
            generation: self.generation,
            stage,
            connection: None,
            pass,
            since_s: now_s,
            websocket_code: None,
            reader: Reader::new(Role::Server),
            pending: None,
            line,
        }) as u32
    }

    /// The wire of a QUIC connection that opened its stream.
    pub(super) fn insert_quic(&mut self, slot: u32, now_s: u32) -> u32 {
        let ix = self.insert(Stage::Open, Line::Quic(slot), None, now_s);
        if self.by_slot.len() <= slot as usize {
            self.by_slot.resize(slot as usize + 1, u32::MAX);
        }
        self.by_slot[slot as usize] = ix;
        ix
    }

    pub(super) fn of_slot(&self, slot: u32) -> Option<u32> {
        self.by_slot.get(slot as usize).copied().filter(|&ix| ix != u32::MAX)
    }

    pub(super) fn remove(&mut self, ix: u32) -> Option<Wire> {
        let wire = self.slab.try_remove(ix as usize)?;
        if let Line::Quic(slot) = wire.line {
            self.by_slot[slot as usize] = u32::MAX;
        }
        Some(wire)
    }

    pub(super) fn get(&self, ix: u32) -> Option<&Wire> {
        self.slab.get(ix as usize)
    }

    pub(super) fn get_mut(&mut self, ix: u32) -> Option<&mut Wire> {
        self.slab.get_mut(ix as usize)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Wire)> {
        self.slab.iter().map(|(ix, wire)| (ix as u32, wire))
    }

    pub(super) fn len(&self) -> usize {
        self.slab.len()
    }

    /// The epoll token of a wire.
    pub(super) fn token(&self, ix: u32) -> u64 {
        u64::from(self.slab[ix as usize].generation) << 32 | u64::from(ix)
    }

    /// The wire that a token names, if it still stands.
    pub(super) fn of_token(&self, token: u64) -> Option<u32> {
        let ix = token as u32;
        self.get(ix).filter(|w| w.generation == (token >> 32) as u32).map(|_| ix)
    }

    /// Send bytes that are not the audience's (a handshake's, a close): whole, or not at all for what it is
    /// worth.
    pub(super) fn send_own(&mut self, ix: u32, bytes: Vec<u8>) -> bool {
        let len = bytes.len();
        self.send(WireKey(ix), &[&Bytes::from(bytes)]) == len
    }
}

impl Carrier for Wires {
    fn send(&mut self, key: WireKey, frames: &[&Bytes]) -> usize {
        let Some(wire) = self.slab.get_mut(key.0 as usize) else { return 0 };
        match wire.line {
            Line::Quic(slot) => self.quic.as_mut().map_or(0, |quic| quic.send(slot, frames)),
            _ => wire.send(frames, &mut self.cipher, &mut self.plain),
        }
    }
}
