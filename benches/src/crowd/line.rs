//! A viewer's line to the server, of whatever transport.
//!
//! Not here: what the transports do (`link`, `quic`).

use super::CrowdPlan;
use super::link::{Around, Arrived, Link};
use super::quic::QuicLink;
use super::sink::Sink;
use super::talk::Seat;
use super::viewer::Viewer;
use anyhow::Result;
use rustix::event::epoll::EventFlags;
use std::net::SocketAddr;

/// See the file's head.
pub(super) enum Line {
    /// WebSocket, plain or over TLS.
    Tcp(Link),
    /// QUIC; ten times the size.
    Quic(Box<QuicLink>),
    /// Bare datagrams.
    Udp(Sink),
}

impl Line {
    /// Begins to connect.
    pub(super) fn connect(
        plan: &CrowdPlan,
        seat: Seat,
        index: usize,
        around: &mut Around<'_>,
    ) -> Result<Line> {
        Ok(match around.shared.quic.clone() {
            None if plan.datagrams => Line::Udp(Sink::open(plan, seat, index, around)?),
            None => Line::Tcp(Link::connect(plan, seat, index, around)?),
            Some(config) => Line::Quic(Box::new(QuicLink::connect(plan, &config, seat, index, around)?)),
        })
    }

    pub(super) fn viewer(&self) -> &Viewer {
        match self {
            Line::Tcp(link) => &link.viewer,
            Line::Quic(link) => &link.viewer,
            Line::Udp(sink) => &sink.viewer,
        }
    }

    /// The kernel says that there is something to do.
    pub(super) fn ready(
        &mut self,
        flags: EventFlags,
        address: SocketAddr,
        around: &mut Around<'_>,
    ) -> Result<Arrived> {
        match self {
            Line::Tcp(link) => link.ready(flags, around),
            Line::Quic(link) => link.ready(address, around),
            Line::Udp(sink) => sink.ready(around),
        }
    }

    /// A timer rang.
    pub(super) fn ring(&mut self, around: &mut Around<'_>) -> Result<Arrived> {
        if let Line::Quic(link) = self {
            link.ring(around)?;
        }
        Ok(Arrived::default())
    }

    /// Says something that keeps the connection.
    pub(super) fn keep_alive(&mut self, around: &mut Around<'_>) -> Result<Arrived> {
        match self {
            Line::Tcp(link) => link.keep_alive(around)?,
            Line::Quic(link) => link.keep_alive(around)?,
            Line::Udp(_) => {}
        }
        Ok(Arrived::default())
    }
}
