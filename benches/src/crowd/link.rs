//! A viewer's TCP socket, plain or under TLS.
//!
//! Invariant: one call of the kernel takes all that has come, into scratch space; what does not fit into the socket waits
//! in the link, and then the epoll watches for room.
//! Not here: what bytes mean (`viewer`), when a link is looked at (`process`).

use super::stage::Stage;
use super::talk::{Seat, Talk};
use super::tls::Tls;
use super::viewer::{Framing, Viewer};
use super::{CrowdPlan, Transport};
use anyhow::{Context, Result, bail};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};
use rustls::ClientConfig;
use std::sync::Arc;

/// What all links use in turn.
pub(super) struct Shared {
    pub(super) epoll: OwnedFd,
    pub(super) tls: Option<Arc<ClientConfig>>,
    pub(super) scratch: Vec<u8>,
    /// Decrypted bytes of the present link.
    pub(super) plain: Vec<u8>,
    /// What the present link is to send.
    pub(super) out: Vec<u8>,
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
    pub(super) fn connect(
        plan: &CrowdPlan,
        seat: Seat,
        index: usize,
        now_ns: u64,
        shared: &Shared,
    ) -> Result<Link> {
        let family = if plan.address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        sockopt::set_tcp_nodelay(&socket, true)?;
        match rustix::net::connect(&socket, &plan.address) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error).context("cannot connect"),
        }
        let index = index as u64;
        epoll::add(&shared.epoll, &socket, EventData::new_u64(index), EventFlags::OUT)?;
        let tls = match &shared.tls {
            // A name of its own, so that a viewer that comes again finds its own session.
            Some(config) => Some(Box::new(Tls::new(config, format!("viewer-{}.localhost", seat.number))?)),
            None => None,
        };
        let framing = if plan.transport == Transport::Quic { Framing::Stream } else { Framing::WebSocket };
        let viewer = Viewer::new(seat, framing, now_ns);
        Ok(Link { socket, index, is_connected: false, tls, viewer, unsent: Vec::new() })
    }

    /// The kernel says that there is something to do.
    pub(super) fn ready(
        &mut self,
        flags: EventFlags,
        path: &str,
        talk: &mut dyn Talk,
        stage: &mut Stage,
        shared: &mut Shared,
    ) -> Result<Arrived> {
        if flags.contains(EventFlags::OUT) {
            if !self.is_connected {
                sockopt::socket_error(&self.socket)?.context("cannot connect")?;
                self.is_connected = true;
                match &mut self.tls {
                    Some(tls) => tls.say(&[], &mut shared.out)?,
                    None => self.viewer.open(talk, path, stage, &mut shared.out)?,
                }
            }
            let waiting = std::mem::take(&mut self.unsent);
            self.send(&waiting, &shared.epoll)?;
            self.flush(shared)?;
            if self.unsent.is_empty() {
                self.watch(&shared.epoll, EventFlags::IN)?;
            }
        }
        if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            self.receive(path, talk, stage, shared)?;
        }
        let has_resumed_tls =
            self.viewer.seat.is_joined && self.tls.as_ref().is_some_and(|tls| tls.is_resumed());
        Ok(Arrived { has_resumed_tls })
    }

    fn receive(
        &mut self,
        path: &str,
        talk: &mut dyn Talk,
        stage: &mut Stage,
        shared: &mut Shared,
    ) -> Result<()> {
        loop {
            let read = match rustix::net::recv(&self.socket, &mut shared.scratch[..], RecvFlags::empty()) {
                Ok((0, _)) => bail!("the server ended the connection"),
                Ok((read, _)) => read,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error).context("reading failed"),
            };
            stage.tally.wire_bytes += read as u64;
            self.hear(read, path, talk, stage, shared)?;
            if !shared.out.is_empty() {
                self.flush(shared)?;
            }
            if read < shared.scratch.len() {
                return Ok(());
            }
        }
    }

    #[inline]
    fn hear(
        &mut self,
        read: usize,
        path: &str,
        talk: &mut dyn Talk,
        stage: &mut Stage,
        shared: &mut Shared,
    ) -> Result<()> {
        let Some(tls) = &mut self.tls else {
            return self.viewer.hear(&shared.scratch[..read], talk, stage, &mut shared.out);
        };
        shared.plain.clear();
        let was_open = tls.is_open();
        tls.hear(&mut shared.scratch[..read], &mut shared.plain, &mut shared.out)?;
        let mut said = Vec::new();
        if tls.is_open() && !was_open {
            self.viewer.open(talk, path, stage, &mut said)?;
        }
        if !shared.plain.is_empty() {
            self.viewer.hear(&shared.plain, talk, stage, &mut said)?;
        }
        if !said.is_empty() {
            tls.say(&said, &mut shared.out)?;
        }
        Ok(())
    }

    pub(super) fn keep_alive(
        &mut self,
        talk: &mut dyn Talk,
        stage: &mut Stage,
        shared: &mut Shared,
    ) -> Result<()> {
        let mut said = Vec::new();
        self.viewer.keep_alive(talk, stage, &mut said)?;
        match &mut self.tls {
            Some(tls) => tls.say(&said, &mut shared.out)?,
            None => shared.out.extend_from_slice(&said),
        }
        self.flush(shared)
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
