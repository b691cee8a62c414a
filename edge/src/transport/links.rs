//! The links of one worker, by index, and the audience's interface to send to them.
//!
//! Invariant: a token names a link by its index and its generation, so a stale event finds nothing.
//! Not here: what a link is (`link`), packets of QUIC (`quic`).

use bytes::Bytes;
use grandstand_edge_core::admission::limits::{Address, Permit};
use grandstand_edge_core::audience::{FrameSink, LinkKey};
use grandstand_protocol::websocket::{Reader, Role};
use slab::Slab;

use super::link::{Link, LinkState, Stream};
use crate::quic::Quic;

/// The links of one worker.
#[derive(Debug)]
pub(crate) struct Links {
    slab: Slab<Link>,
    /// The worker's endpoint, if QUIC is open.
    pub(crate) quic: Option<Quic>,
    /// The link of each QUIC connection, by its slot; `u32::MAX` before its stream is open.
    by_slot: Vec<u32>,
    generation: u32,
    cipher: Vec<u8>,
    plain: Vec<u8>,
}

impl Links {
    pub(crate) fn new(quic: Option<Quic>, reserved: usize) -> Self {
        let (by_slot, cipher, plain) = (Vec::new(), Vec::new(), Vec::new());
        Links { slab: Slab::with_capacity(reserved), quic, by_slot, generation: 0, cipher, plain }
    }

    pub(crate) fn insert(
        &mut self,
        state: LinkState,
        stream: Stream,
        permit: Option<Permit>,
        now_s: u32,
    ) -> u32 {
        self.generation = self.generation.wrapping_add(1);
        self.slab.insert(Link {
            generation: self.generation,
            state,
            connection: None,
            permit,
            since_s: now_s,
            websocket_code: None,
            reader: Reader::new(Role::Server),
            opening: None,
            stream,
        }) as u32
    }

    /// The link of a QUIC connection that opened its stream.
    pub(crate) fn insert_quic(&mut self, slot: u32, now_s: u32) -> u32 {
        let ix = self.insert(LinkState::Greeting, Stream::Quic(slot), None, now_s);
        if self.by_slot.len() <= slot as usize {
            self.by_slot.resize(slot as usize + 1, u32::MAX);
        }
        self.by_slot[slot as usize] = ix;
        ix
    }

    pub(crate) fn of_slot(&self, slot: u32) -> Option<u32> {
        self.by_slot.get(slot as usize).copied().filter(|&ix| ix != u32::MAX)
    }

    /// What the shares of a TCP link's address count it by.
    pub(crate) fn counted(&self, ix: u32) -> Option<Address> {
        self.get(ix)?.permit?.counted()
    }

    pub(crate) fn remove(&mut self, ix: u32) -> Option<Link> {
        let link = self.slab.try_remove(ix as usize)?;
        if let Stream::Quic(slot) = link.stream {
            self.by_slot[slot as usize] = u32::MAX;
        }
        Some(link)
    }

    pub(crate) fn get(&self, ix: u32) -> Option<&Link> {
        self.slab.get(ix as usize)
    }

    pub(crate) fn get_mut(&mut self, ix: u32) -> Option<&mut Link> {
        self.slab.get_mut(ix as usize)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Link)> {
        self.slab.iter().map(|(ix, link)| (ix as u32, link))
    }

    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    /// The epoll token of a link.
    pub(crate) fn token(&self, ix: u32) -> u64 {
        u64::from(self.slab[ix as usize].generation) << 32 | u64::from(ix)
    }

    /// The link that a token names, if it still exists.
    pub(crate) fn of_token(&self, token: u64) -> Option<u32> {
        let ix = token as u32;
        self.get(ix).filter(|w| w.generation == (token >> 32) as u32).map(|_| ix)
    }

    /// Send bytes of a handshake or a close, which are not the audience's. Returns `false` when the socket
    /// did not take them all.
    pub(crate) fn send_own(&mut self, ix: u32, bytes: Vec<u8>) -> bool {
        let len = bytes.len();
        self.send(LinkKey(ix), &[&Bytes::from(bytes)]) == len
    }
}

impl FrameSink for Links {
    fn send(&mut self, key: LinkKey, frames: &[&Bytes]) -> usize {
        let Some(link) = self.slab.get_mut(key.0 as usize) else { return 0 };
        match link.stream {
            Stream::Quic(slot) => self.quic.as_mut().map_or(0, |quic| quic.send(slot, frames)),
            _ => link.send(frames, &mut self.cipher, &mut self.plain),
        }
    }
}
