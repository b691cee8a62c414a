//! A viewer's TCP socket, plain or under TLS.
//!
//! Invariant: one call of the kernel takes all that has come, into scratch space; what does not fit into the
//! socket waits in the link, and then the epoll watches for room.
//! Not here: what bytes mean (`viewer`), when a link is looked at (`process`).

use super::CrowdPlan;
use super::quic::QuicConfig;
use super::stage::Stage;
use super::talk::{Seat, Talk};
use super::tls::Tls;
use super::viewer::{Framing, Viewer};
use anyhow::{Context, Result, bail};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};
use rustls::ClientConfig;
use std::sync::Arc;
use std::time::Instant;

/// What all links use in turn.
pub(super) struct Shared {
    pub(super) epoll: OwnedFd,
    pub(super) tls: Option<Arc<ClientConfig>>,
    pub(super) quic: Option<QuicConfig>,
    pub(super) scratch: Vec<u8>,
    /// Decrypted bytes of the present link.
    pub(super) plain: Vec<u8>,
    /// What the present link is to send.
    pub(super) out: Vec<u8>,
}

/// What a link works with, besides itself.
pub(super) struct Around<'a> {
    pub(super) path: &'a str,
    pub(super) now: Instant,
    pub(super) talk: &'a mut dyn Talk,
    pub(super) stage: &'a mut Stage,
    pub(super) shared: &'a mut Shared,
}

/// See the file's head.
pub(super) struct Link {
    socket: OwnedFd,
    index: u64,
    is_connected: bool,
    tls: Option<Box<Tls>>,
    pub(super) viewer: Viewer,
    /// What the socket had no room for.
    unsent: Vec<u8>,
}

/// What is told of a link besides that it stands.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Arrived {
    pub(super) has_resumed_tls: bool,
}

impl Link {
    /// Begins to connect.
    pub(super) fn connect(plan: &CrowdPlan, seat: Seat, index: usize, around: &Around<'_>) -> Result<Link> {
        let family = if plan.address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        sockopt::set_tcp_nodelay(&socket, true)?;
        match rustix::net::connect(&socket, &plan.address) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error).context("cannot connect"),
        }
        let index = index as u64;
        epoll::add(&around.shared.epoll, &socket, EventData::new_u64(index), EventFlags::OUT)?;
        let tls = match &around.shared.tls {
            // A name of its own, so that a viewer that comes again finds its own session.
            Some(config) => Some(Box::new(Tls::new(config, format!("viewer-{}.localhost", seat.number))?)),
            None => None,
        };
        let viewer = Viewer::new(seat, Framing::WebSocket, around.stage.now_ns);
        Ok(Link { socket, index, is_connected: false, tls, viewer, unsent: Vec::new() })
    }

    /// The kernel says that there is something to do.
    pub(super) fn ready(&mut self, flags: EventFlags, around: &mut Around<'_>) -> Result<Arrived> {
        if flags.contains(EventFlags::OUT) {
            self.writable(around)?;
        }
        if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            self.receive(around)?;
        }
        let has_resumed_tls =
            self.viewer.seat.is_joined && self.tls.as_ref().is_some_and(|tls| tls.is_resumed());
        Ok(Arrived { has_resumed_tls })
    }

    /// The socket is connected, or has room again.
    fn writable(&mut self, around: &mut Around<'_>) -> Result<()> {
        if !self.is_connected {
            sockopt::socket_error(&self.socket)?.context("cannot connect")?;
            self.is_connected = true;
            match &mut self.tls {
                Some(tls) => tls.say(&[], &mut around.shared.out)?,
                None => self.viewer.open(around.talk, around.path, around.stage, &mut around.shared.out)?,
            }
        }
        let waiting = std::mem::take(&mut self.unsent);
        self.send(&waiting, &around.shared.epoll)?;
        self.flush(around.shared)?;
        if self.unsent.is_empty() {
            self.watch(&around.shared.epoll, EventFlags::IN)?;
        }
        Ok(())
    }

    fn receive(&mut self, around: &mut Around<'_>) -> Result<()> {
        loop {
            let scratch = &mut around.shared.scratch;
            let read = match rustix::net::recv(&self.socket, &mut scratch[..], RecvFlags::empty()) {
                Ok((0, _)) => bail!("the server ended the connection"),
                Ok((read, _)) => read,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error).context("reading failed"),
            };
            let is_all = read < scratch.len();
            around.stage.tally.wire_bytes += read as u64;
            self.hear(read, around)?;
            if !around.shared.out.is_empty() {
                self.flush(around.shared)?;
            }
            if is_all {
                return Ok(());
            }
        }
    }

    #[inline]
    fn hear(&mut self, read: usize, around: &mut Around<'_>) -> Result<()> {
        let Shared { scratch, plain, out, .. } = &mut *around.shared;
        let Some(tls) = &mut self.tls else {
            return self.viewer.hear(&scratch[..read], around.talk, around.stage, out);
        };
        plain.clear();
        let was_open = tls.is_open();
        tls.hear(&mut scratch[..read], plain, out)?;
        let mut said = Vec::new();
        if tls.is_open() && !was_open {
            self.viewer.open(around.talk, around.path, around.stage, &mut said)?;
        }
        if !plain.is_empty() {
            self.viewer.hear(plain, around.talk, around.stage, &mut said)?;
        }
        if !said.is_empty() {
            tls.say(&said, out)?;
        }
        Ok(())
    }

    pub(super) fn keep_alive(&mut self, around: &mut Around<'_>) -> Result<()> {
        let mut said = Vec::new();
        self.viewer.keep_alive(around.talk, around.stage, &mut said)?;
        match &mut self.tls {
            Some(tls) => tls.say(&said, &mut around.shared.out)?,
            None => around.shared.out.extend_from_slice(&said),
        }
        self.flush(around.shared)
    }

    /// Sends what this link is to send, or keeps it until there is room.
    fn flush(&mut self, shared: &mut Shared) -> Result<()> {
        if shared.out.is_empty() {
            return Ok(());
        }
        let out = std::mem::take(&mut shared.out);
        let done = self.send(&out, &shared.epoll);
        shared.out = out;
        shared.out.clear();
        done
    }

    fn send(&mut self, mut bytes: &[u8], epoll: &OwnedFd) -> Result<()> {
        while self.unsent.is_empty() && !bytes.is_empty() {
            match rustix::net::send(&self.socket, bytes, SendFlags::NOSIGNAL) {
                Ok(sent) => bytes = &bytes[sent..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(error).context("writing failed"),
            }
        }
        if !bytes.is_empty() {
            self.unsent.extend_from_slice(bytes);
            self.watch(epoll, EventFlags::IN | EventFlags::OUT)?;
        }
        Ok(())
    }

    fn watch(&self, epoll: &OwnedFd, flags: EventFlags) -> Result<()> {
        Ok(epoll::modify(epoll, &self.socket, EventData::new_u64(self.index), flags)?)
    }
}
