//! A client's socket: TCP, plain or under TLS, or bare datagrams.
//!
//! Invariants: one system call reads all received bytes into scratch space. Bytes that do not fit into the
//! socket wait in the link, and epoll then watches for room. A dropped TCP socket is reset, so that thousands
//! of them leave no port in TIME_WAIT.
//! Not here: the meaning of bytes (`conversation`), the event loop (`super`).

use super::conversation::Conversation;
use super::io::Io;
use super::tls::Tls;
use anyhow::{Context as _, Result, bail};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Datagrams of one client taken in one turn.
pub(super) const DATAGRAMS_MAX: usize = 64;

/// See the file's head.
pub(super) struct Link {
    socket: OwnedFd,
    index: u64,
    is_connected: bool,
    tls: Option<Box<Tls>>,
    /// Bytes that the socket had no room for.
    unsent: Vec<u8>,
}

/// A socket that does not block.
pub(super) fn open(address: SocketAddr, kind: SocketType) -> Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    Ok(rustix::net::socket_with(family, kind, flags, None)?)
}

/// Takes what a socket has into the scratch space; `None` when nothing is there.
#[inline]
pub(super) fn receive(socket: &OwnedFd, scratch: &mut [u8]) -> Result<Option<usize>> {
    loop {
        match rustix::net::recv(socket, &mut *scratch, RecvFlags::empty()) {
            Ok((read, _)) => return Ok(Some(read)),
            Err(Errno::AGAIN) => return Ok(None),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("reading failed"),
        }
    }
}

impl Link {
    /// Begins to connect.
    pub(super) fn connect(index: usize, io: &Io) -> Result<Link> {
        let socket = open(io.address, SocketType::STREAM)?;
        sockopt::set_tcp_nodelay(&socket, true)?;
        sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
        match rustix::net::connect(&socket, &io.address) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error).context("cannot connect"),
        }
        epoll::add(&io.epoll, &socket, EventData::new_u64(index as u64), EventFlags::OUT)?;
        let tls = match &io.tls {
            // A name of its own, so that a client that comes again finds its own session.
            Some(config) => Some(Box::new(Tls::new(config, format!("viewer-{index}.localhost"))?)),
            None => None,
        };
        Ok(Link { socket, index: index as u64, is_connected: false, tls, unsent: Vec::new() })
    }

    /// The kernel says that there is something to do.
    pub(super) fn ready(
        &mut self,
        flags: EventFlags,
        conversation: &mut Conversation,
        io: &mut Io,
    ) -> Result<()> {
        if flags.contains(EventFlags::OUT) {
            self.writable(conversation, io)?;
        }
        if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            let mut scratch = std::mem::take(&mut io.scratch);
            let done = self.receive(&mut scratch, conversation, io);
            io.scratch = scratch;
            done?;
        }
        Ok(())
    }

    /// The socket is connected, or has room again.
    fn writable(&mut self, conversation: &mut Conversation, io: &mut Io) -> Result<()> {
        if !self.is_connected {
            sockopt::socket_error(&self.socket)?.context("cannot connect")?;
            self.is_connected = true;
            match &mut self.tls {
                Some(tls) => tls.say(&[], &mut io.out)?,
                None => conversation.open(io)?,
            }
        }
        let waiting = std::mem::take(&mut self.unsent);
        self.send(&waiting, io)?;
        self.flush(io)?;
        if self.unsent.is_empty() {
            self.watch(io, EventFlags::IN)?;
        }
        Ok(())
    }

    fn receive(&mut self, scratch: &mut [u8], conversation: &mut Conversation, io: &mut Io) -> Result<()> {
        while let Some(read) = receive(&self.socket, scratch)? {
            if read == 0 {
                bail!("the server ended the connection");
            }
            io.context.seen.counts.wire_bytes += read as u64;
            match &mut self.tls {
                None => conversation.hear(&scratch[..read], io)?,
                Some(tls) => hear_tls(tls, &mut scratch[..read], conversation, io)?,
            }
            self.flush(io)?;
            if read < scratch.len() {
                break;
            }
        }
        Ok(())
    }

    /// Sends what this client says, or keeps it until there is room.
    pub(super) fn flush(&mut self, io: &mut Io) -> Result<()> {
        if !io.context.said.is_empty() {
            match &mut self.tls {
                Some(tls) => tls.say(&io.context.said, &mut io.out)?,
                None => std::mem::swap(&mut io.out, &mut io.context.said),
            }
            io.context.said.clear();
        }
        if io.out.is_empty() {
            return Ok(());
        }
        let out = std::mem::take(&mut io.out);
        let done = self.send(&out, io);
        io.out = out;
        io.out.clear();
        done
    }

    fn send(&mut self, mut bytes: &[u8], io: &Io) -> Result<()> {
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
            self.watch(io, EventFlags::IN | EventFlags::OUT)?;
        }
        Ok(())
    }

    fn watch(&self, io: &Io, flags: EventFlags) -> Result<()> {
        Ok(epoll::modify(&io.epoll, &self.socket, EventData::new_u64(self.index), flags)?)
    }

    /// Bytes that the socket had no room for.
    pub(super) fn unsent_bytes(&self) -> usize {
        self.unsent.len()
    }
}

#[inline]
fn hear_tls(tls: &mut Tls, bytes: &mut [u8], conversation: &mut Conversation, io: &mut Io) -> Result<()> {
    let mut plain = std::mem::take(&mut io.plain);
    plain.clear();
    let was_open = tls.is_open();
    let done = tls.hear(bytes, &mut plain, &mut io.out).and_then(|()| {
        if tls.is_open() && !was_open {
            conversation.open(io)?;
        }
        if plain.is_empty() { Ok(()) } else { conversation.hear(&plain, io) }
    });
    io.plain = plain;
    done
}

/// A socket for bare datagrams, the floor's reader over UDP: they are counted.
pub(super) struct Sink {
    socket: OwnedFd,
    /// Where it listens.
    pub(super) port: u16,
}

impl Sink {
    pub(super) fn open(index: usize, conversation: &mut Conversation, io: &mut Io) -> Result<Sink> {
        let socket = open(io.address, SocketType::DGRAM)?;
        rustix::net::bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        epoll::add(&io.epoll, &socket, EventData::new_u64(index as u64), EventFlags::IN)?;
        let port = SocketAddr::try_from(rustix::net::getsockname(&socket)?)?.port();
        conversation.open(io)?;
        Ok(Sink { socket, port })
    }

    pub(super) fn ready(&mut self, conversation: &mut Conversation, io: &mut Io) -> Result<()> {
        let mut scratch = std::mem::take(&mut io.scratch);
        let done = (0..DATAGRAMS_MAX).try_for_each(|_| match receive(&self.socket, &mut scratch)? {
            None => Ok(()),
            Some(read) => {
                io.context.seen.counts.wire_bytes += read as u64;
                conversation.hear(&scratch[..read], io)
            }
        });
        io.scratch = scratch;
        done
    }
}
