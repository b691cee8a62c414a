//! The other connections of a migrating session: the next one while it is made, and the old one while it
//! closes.
//!
//! Why apart from the driver's state: both exist beside the present connection and are mostly absent, so they
//! cost an idle session two words.
//! Invariant: the driver reads the old connection only to see its end; frames that still arrive on it are
//! superseded.
//! Not here: when to migrate, and which frames to send (`core::migration`).

use std::io;
use std::task::{Context, Poll};

use grandstand_protocol::close::CloseCode;

use super::connector::Connecting;
use super::driver::{CONNECT_WAIT_US, GOODBYE_WAIT_US, Stats, with_frame, with_scratch};
use super::link::{Incoming, Link};
use super::{Connector, Url};
use crate::core::{Ending, Session};

/// See the file's head.
#[derive(Default)]
pub(super) struct Migration {
    pub(super) next: Option<Box<(Next, Url)>>,
    old: Option<Box<(Link, u64)>>,
}

/// The state of the next connection.
pub(super) enum Next {
    Connecting { connecting: Connecting, deadline_us: u64 },
    Standing(Link),
}

impl Migration {
    /// Begin the next connection, to the first of these URLs that works. There is at least one.
    pub(super) fn open(&mut self, connector: &Connector, urls: Vec<Url>, now_us: u64) {
        let url = urls[0].clone();
        let (connecting, deadline_us) = (connector.connect(urls), now_us + CONNECT_WAIT_US);
        self.next = Some(Box::new((Next::Connecting { connecting, deadline_us }, url)));
    }

    /// Advance the next connection. Returns the time of the next step.
    pub(super) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        now_us: u64,
        session: &mut Session,
        stats: &mut Stats,
    ) -> Option<u64> {
        let (next, url) = &mut **self.next.as_mut()?;
        let mut due = None;
        if let Next::Connecting { connecting, deadline_us } = next {
            match connecting.as_mut().poll(cx) {
                Poll::Ready(Ok((link, won))) => {
                    *url = won;
                    stats.connects += 1;
                    session.next_connection().handle_connected(now_us);
                    *next = Next::Standing(link);
                }
                Poll::Ready(Err(_)) => session.next_connection().handle_failed(now_us),
                Poll::Pending if now_us >= *deadline_us => session.next_connection().handle_failed(now_us),
                Poll::Pending => due = Some(*deadline_us),
            }
        }
        if let Next::Standing(link) = next
            && greet(link, cx, now_us, session, stats).is_err()
        {
            session.next_connection().handle_failed(now_us);
        }
        if !session.next_connection().is_wanted() {
            self.next = None;
        }
        due
    }

    /// The established connection, and its address.
    pub(super) fn take_next(&mut self) -> Option<(Link, Url)> {
        match *self.next.take()? {
            (Next::Standing(link), url) => Some((link, url)),
            (Next::Connecting { .. }, _) => None,
        }
    }

    /// Begin to close the old connection.
    pub(super) fn leave(&mut self, mut link: Link, now_us: u64) {
        if link.begin_close(CloseCode::Normal) {
            self.old = Some(Box::new((link, now_us + GOODBYE_WAIT_US)));
        }
    }

    /// Advance the close of the old connection, until the node's close arrives or the time is over. Returns
    /// the time of the next step.
    pub(super) fn poll_goodbye(
        &mut self,
        cx: &mut Context<'_>,
        now_us: u64,
        stats: &mut Stats,
    ) -> Option<u64> {
        let (link, deadline_us) = &mut **self.old.as_mut()?;
        let flushed = link.poll_flush(cx, &mut stats.bytes_out);
        let ended = with_scratch(|scratch| {
            loop {
                match link.poll_read(cx, scratch, &mut |_| true) {
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(_)) => return true,
                    Poll::Pending => return false,
                }
            }
        });
        if !ended && now_us < *deadline_us && !matches!(flushed, Poll::Ready(Err(_))) {
            return Some(*deadline_us);
        }
        link.end_stream();
        let _ = link.poll_flush(cx, &mut stats.bytes_out);
        self.old = None;
        None
    }
}

/// Send `Hello`, read `Welcome`, and no more.
fn greet(
    link: &mut Link,
    cx: &mut Context<'_>,
    now_us: u64,
    session: &mut Session,
    stats: &mut Stats,
) -> Result<(), Ending> {
    with_frame(|frame| {
        frame.clear();
        if session.next_connection().poll_transmit(frame) {
            stats.frames_out += 1;
            link.queue(frame);
        }
    });
    if let Poll::Ready(flushed) = link.poll_flush(cx, &mut stats.bytes_out) {
        flushed?;
    }
    while !session.next_connection().is_greeted() && session.next_connection().is_wanted() {
        let mut fault = None;
        let (frames_in, session) = (&mut stats.frames_in, &mut *session);
        let read = with_scratch(|scratch| {
            link.poll_read(cx, scratch, &mut |incoming| {
                match incoming {
                    Incoming::Frame(frame) => {
                        *frames_in += 1;
                        session.next_connection().handle_frame(now_us, frame);
                    }
                    Incoming::Fault(..) => fault = Some(Ending::Broken(io::ErrorKind::InvalidData)),
                }
                true
            })
        });
        match (read, fault) {
            (_, Some(fault)) => return Err(fault),
            (Poll::Ready(Ok(bytes)), _) => stats.bytes_in += bytes as u64,
            (Poll::Ready(Err(ending)), _) => return Err(ending),
            (Poll::Pending, _) => return Ok(()),
        }
    }
    Ok(())
}
