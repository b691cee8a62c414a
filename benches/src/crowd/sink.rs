//! A socket for bare datagrams: the floor's reader over UDP.
//!
//! Not here: what they hold; they are counted.

use super::CrowdPlan;
use super::link::{Around, Arrived};
use super::talk::Seat;
use super::viewer::{Framing, Viewer};
use anyhow::{Context, Result};
use grandstand_protocol::websocket::Opcode;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::RecvFlags;
use std::net::{SocketAddr, UdpSocket};

/// Datagrams of one viewer taken in one turn.
const DATAGRAMS_MAX: usize = 64;

/// See the file's head.
pub(super) struct Sink {
    socket: UdpSocket,
    /// Where it listens.
    pub(super) port: u16,
    pub(super) viewer: Viewer,
}

impl Sink {
    pub(super) fn open(plan: &CrowdPlan, seat: Seat, index: usize, around: &mut Around<'_>) -> Result<Sink> {
        let socket = UdpSocket::bind(SocketAddr::new(plan.address.ip(), 0))?;
        socket.set_nonblocking(true)?;
        let data = EventData::new_u64(index as u64);
        epoll::add(&around.shared.epoll, &socket, data, EventFlags::IN)?;
        let mut viewer = Viewer::new(seat, Framing::Bytes, around.stage.now_ns);
        viewer.open(around.talk, "", around.stage, &mut Vec::new())?;
        Ok(Sink { port: socket.local_addr()?.port(), socket, viewer })
    }

    pub(super) fn ready(&mut self, around: &mut Around<'_>) -> Result<Arrived> {
        for _ in 0..DATAGRAMS_MAX {
            match rustix::net::recv(&self.socket, &mut around.shared.scratch[..], RecvFlags::empty()) {
                Ok((read, _)) => {
                    around.stage.tally.wire_bytes += read as u64;
                    let datagram = &around.shared.scratch[..read];
                    around.talk.hear(&mut self.viewer.seat, Opcode::Binary, datagram, around.stage)?;
                }
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR | Errno::CONNREFUSED) => {}
                Err(error) => return Err(error).context("reading failed"),
            }
        }
        Ok(Arrived::default())
    }
}
