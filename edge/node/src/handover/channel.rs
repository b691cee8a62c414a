//! The channel: messages and descriptors between two processes, over a unix socket that preserves the
//! boundaries of messages.
//!
//! Invariant: every wait ends: by its deadline, by the other side's end, or by this process's own stop.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use grandstand_edge::clock::Clock;
use grandstand_engine::runtime::pulse::{Pulse, TURN_EVERY};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, recvmsg, sendmsg,
};

use super::Message;

/// Bytes of one message: 256 generations and a few addresses fit easily.
const MESSAGE_BYTES_MAX: usize = 16 * 1024;

/// Descriptors in one message; Linux takes 253.
const DESCRIPTORS_MAX: usize = 64;

/// One end of a hand-over's conversation.
#[derive(Debug)]
pub(super) struct Channel {
    socket: OwnedFd,
    clock: Clock,
}

impl Channel {
    /// Connect to a process that listens at this path.
    pub(super) fn connect(path: &Path, clock: Clock) -> io::Result<Channel> {
        let socket = seqpacket()?;
        rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
        Ok(Channel { socket, clock })
    }

    /// The number of the process at the other end.
    pub(super) fn peer(&self) -> Option<u32> {
        let peer = rustix::net::sockopt::socket_peercred(&self.socket).ok()?;
        u32::try_from(peer.pid.as_raw_nonzero().get()).ok()
    }

    pub(super) fn send(&self, message: &Message) -> io::Result<()> {
        self.send_with(message, &[])
    }

    /// Send descriptors, some in each message.
    pub(super) fn send_descriptors(&self, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        for some in descriptors.chunks(DESCRIPTORS_MAX) {
            self.send_with(&Message::Descriptors(some.len()), some)?;
        }
        Ok(())
    }

    /// Send a message with one descriptor.
    pub(super) fn send_file(&self, message: &Message, file: BorrowedFd<'_>) -> io::Result<()> {
        self.send_with(message, &[file])
    }

    fn send_with(&self, message: &Message, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let bytes = serde_json::to_vec(message)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            let fits = control.push(SendAncillaryMessage::ScmRights(descriptors));
            assert!(fits, "there is room for as many as a message takes");
        }
        sendmsg(&self.socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Receive the next message and its descriptors. A readable `stop`, or the deadline, is an error.
    pub(super) fn receive(
        &self,
        wait: Duration,
        stop: Option<BorrowedFd<'_>>,
    ) -> io::Result<(Message, Vec<OwnedFd>)> {
        wait_readable(self.socket.as_fd(), stop, wait, self.clock)?;
        let mut bytes = vec![0; MESSAGE_BYTES_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC;
        let got = recvmsg(&self.socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags)?;
        let mut descriptors = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        if got.bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if got.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            return Err(io::Error::other("a message that is too large, or no file descriptors are left"));
        }
        Ok((serde_json::from_slice(&bytes[..got.bytes])?, descriptors))
    }

    /// Receive this number of descriptors, from as many messages as needed.
    pub(super) fn receive_descriptors(&self, count: usize, wait: Duration) -> io::Result<Vec<OwnedFd>> {
        let mut all = Vec::with_capacity(count);
        while all.len() < count {
            let (message, descriptors) = self.receive(wait, None)?;
            match message {
                Message::Descriptors(n) if n == descriptors.len() && n > 0 => all.extend(descriptors),
                other => return Err(unexpected(&other)),
            }
        }
        Ok(all)
    }
}

pub(super) fn unexpected(message: &Message) -> io::Error {
    io::Error::other(format!("an unexpected message: {message:?}"))
}

fn seqpacket() -> io::Result<OwnedFd> {
    let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    Ok(rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None)?)
}

/// Listen at a path, for this user only. The file of a process that died is replaced in one step.
pub(super) fn listen(path: &Path) -> io::Result<OwnedFd> {
    use std::fs;
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    if let Some(directory) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    let aside = path.with_extension("new");
    match fs::remove_file(&aside) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let socket = seqpacket()?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(&*aside)?)?;
    fs::set_permissions(&aside, fs::Permissions::from_mode(0o600))?;
    rustix::net::listen(&socket, 8)?;
    fs::rename(&aside, path)?;
    Ok(socket)
}

/// The next process that connects; `None` when told to stop.
pub(super) fn accept(
    listener: &OwnedFd,
    stop: BorrowedFd<'_>,
    clock: Clock,
    pulse: &Pulse,
) -> io::Result<Option<Channel>> {
    loop {
        pulse.turn();
        match wait_readable(listener.as_fd(), Some(stop), TURN_EVERY, clock) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(None),
            Err(e) if e.kind() == io::ErrorKind::TimedOut => {}
            Err(e) => return Err(e),
            Ok(()) => break,
        }
    }
    let socket = rustix::net::accept_with(listener, SocketFlags::CLOEXEC)?;
    Ok(Some(Channel { socket, clock }))
}

/// Returns `Interrupted` when told to stop, and `TimedOut` after the deadline.
fn wait_readable(
    fd: BorrowedFd<'_>,
    stop: Option<BorrowedFd<'_>>,
    wait: Duration,
    clock: Clock,
) -> io::Result<()> {
    let until = clock.instant() + wait;
    loop {
        let left = until.saturating_duration_since(clock.instant());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        let mut fds: Vec<PollFd<'_>> = [Some(fd), stop]
            .into_iter()
            .flatten()
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        match poll(&mut fds, Some(&left)) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) if fds.get(1).is_some_and(|fd| !fd.revents().is_empty()) => {
                return Err(io::ErrorKind::Interrupted.into());
            }
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}
