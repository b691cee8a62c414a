//! The poller: finds a worker's ready sockets, by an epoll of the worker's own. The worker's tokio runtime
//! watches that one descriptor.
//!
//! Why not a tokio `TcpStream` for each viewer: its registration costs 288 bytes, and a task 700 more. Here a
//! viewer's socket costs its entry in the kernel and nothing else.
//! Invariant: an edge-triggered socket is read or written until it would block, or remembered as having more.
//! Not here: the handling of a ready socket (`Worker`).

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Events taken per call; more wait for the next turn.
const EVENTS_PER_LOOK: usize = 512;

/// A ready descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ready {
    pub(super) token: u64,
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// The peer ended its side, or the connection broke. The socket must be read to its end.
    pub(super) over: bool,
}

/// The epoll of one worker.
pub(super) struct Poller {
    epoll: AsyncFd<OwnedFd>,
}

impl Poller {
    /// A poller that the runtime of this context watches.
    pub(super) fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        #[expect(
            deprecated,
            reason = "the descriptor is owned, and open as long as this is; the other way is `unsafe`"
        )]
        let epoll = AsyncFd::with_interest(epoll, Interest::READABLE)?;
        Ok(Poller { epoll })
    }

    /// Wait until a descriptor is ready; [`Self::look`] says which.
    pub(super) async fn wait(&self) -> io::Result<()> {
        self.epoll.readable().await?.clear_ready();
        Ok(())
    }

    /// Watch a viewer's socket for both directions, edge-triggered, for as long as it is open.
    pub(super) fn add_stream(&self, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        self.add(fd, token, EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET)
    }

    /// Watch a listener that several workers share: a new connection wakes one of them.
    pub(super) fn add_listener(&self, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        self.add(fd, token, EventFlags::IN | EventFlags::EXCLUSIVE)
    }

    /// Watch a socket only for writing from now on, since another process reads it.
    pub(super) fn leave_reading(&self, fd: BorrowedFd<'_>, token: u64) {
        // It fails only if it was not watched.
        let _ = epoll::modify(
            self.epoll.get_ref(),
            fd,
            EventData::new_u64(token),
            EventFlags::OUT | EventFlags::ET,
        );
    }

    /// Stop watching a listener.
    pub(super) fn remove(&self, fd: BorrowedFd<'_>) {
        // It fails only if it was not watched.
        let _ = epoll::delete(self.epoll.get_ref(), fd);
    }

    /// Watch an eventfd: level-triggered, drained by the worker.
    pub(super) fn add_bell(&self, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        self.add(fd, token, EventFlags::IN)
    }

    fn add(&self, fd: BorrowedFd<'_>, token: u64, flags: EventFlags) -> io::Result<()> {
        Ok(epoll::add(self.epoll.get_ref(), fd, EventData::new_u64(token), flags)?)
    }

    /// The descriptors that are ready now, without waiting.
    pub(super) fn look(&self, ready: &mut Vec<Ready>) -> io::Result<()> {
        let no_wait = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut events = [MaybeUninit::<Event>::uninit(); EVENTS_PER_LOOK];
        let events = match epoll::wait(self.epoll.get_ref(), &mut events, Some(&no_wait)) {
            Ok((events, _)) => events,
            Err(rustix::io::Errno::INTR) => return Ok(()),
            Err(e) => return Err(e.into()),
        };
        let over = EventFlags::HUP | EventFlags::ERR | EventFlags::RDHUP;
        ready.extend(events.iter().map(|event| {
            let flags = event.flags;
            Ready {
                token: event.data.u64(),
                readable: flags.intersects(EventFlags::IN | over),
                over: flags.intersects(over),
                writable: flags.intersects(EventFlags::OUT | EventFlags::HUP | EventFlags::ERR),
            }
        }));
        Ok(())
    }
}
