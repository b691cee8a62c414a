//! A link: one connection over any transport, which carries frames.
//!
//! Why polled by hand: a viewer's task must not hold a read buffer while it waits, and futures of reads and
//! writes hold one. A link reads into memory that the caller lends for each call.
//! Invariants: between frames a link has no buffer; `out` holds only bytes that the transport has not
//! accepted yet, and about as many more at most. A caller that cannot take the next frame gets it at the next
//! read; until then it waits here with what came behind it, which was one read.
//! Not here: making connections (`connector`), the meaning of frames (`core`).

use std::io;
use std::task::{Context, Poll, ready};

use grandstand_protocol::close::CloseCode;
use grandstand_protocol::limits::SERVER_FRAME_BYTES_MAX;
use grandstand_protocol::stream::{HeaderFault, read_header, write_header};
use grandstand_protocol::websocket::Reader;
use tokio::net::TcpStream;

#[cfg(feature = "quic")]
use super::quic_stream::QuicStream;
use super::tls::TlsStream;
use super::{tcp, websocket};
use crate::core::Ending;

/// A byte stream over any transport, below frames.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Tls(Box<TlsStream>),
    #[cfg(feature = "quic")]
    Quic(Box<QuicStream>),
}

/// Received data.
#[derive(Debug)]
pub(super) enum Incoming<'a> {
    /// A frame, without its header.
    Frame(&'a [u8]),
    /// A breach of the transport's rules; no more data follows.
    Fault(CloseCode, &'a str),
}

#[derive(Debug)]
enum Framing {
    WebSocket(Reader),
    #[cfg_attr(not(feature = "quic"), expect(dead_code, reason = "only QUIC frames so"))]
    Stream(Partial),
}

/// One connection.
#[derive(Debug)]
pub(super) struct Link {
    stream: Stream,
    framing: Framing,
    out: Vec<u8>,
    out_at: usize,
    /// Bytes that were read and not looked at: behind the answer to the upgrade, or behind a frame after
    /// which the caller took no more.
    early: Vec<u8>,
}

impl Link {
    pub(super) fn websocket(stream: Stream, early: Vec<u8>) -> Link {
        let framing = Framing::WebSocket(websocket::reader());
        Link { stream, framing, out: Vec::new(), out_at: 0, early }
    }

    #[cfg(feature = "quic")]
    pub(super) fn quic(stream: QuicStream) -> Link {
        let framing = Framing::Stream(Partial::default());
        Link {
            stream: Stream::Quic(Box::new(stream)),
            framing,
            out: Vec::new(),
            out_at: 0,
            early: Vec::new(),
        }
    }

    /// Read once, and give out the completed frames as long as `on` takes more. Returns the number of bytes
    /// that were looked at, or how the connection ended.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
        on: &mut dyn FnMut(Incoming<'_>) -> bool,
    ) -> Poll<Result<usize, Ending>> {
        if !self.early.is_empty() {
            let mut early = std::mem::take(&mut self.early);
            return Poll::Ready(self.handle_bytes(&mut early, on));
        }
        match ready!(self.stream.poll_read(cx, scratch)) {
            Ok(0) => Poll::Ready(Err(Ending::Eof)),
            Ok(read) => Poll::Ready(self.handle_bytes(&mut scratch[..read], on)),
            Err(error) => Poll::Ready(Err(ending_of(&error))),
        }
    }

    fn handle_bytes(
        &mut self,
        bytes: &mut [u8],
        on: &mut dyn FnMut(Incoming<'_>) -> bool,
    ) -> Result<usize, Ending> {
        let taken = match &mut self.framing {
            Framing::WebSocket(reader) => websocket::read(reader, bytes, &mut self.out, on)?,
            Framing::Stream(partial) => partial.handle_bytes(bytes, on),
        };
        if taken < bytes.len() {
            self.early = bytes[taken..].to_vec();
        }
        Ok(taken)
    }

    /// Queue a frame to send.
    pub(super) fn queue(&mut self, frame: &[u8]) {
        // A peer that reads slowly but steadily never lets the buffer empty.
        if self.out_at > self.queued_bytes() {
            self.out.drain(..std::mem::take(&mut self.out_at));
        }
        match self.framing {
            Framing::WebSocket(_) => websocket::write_message(frame, &mut self.out),
            Framing::Stream(_) => {
                write_header(frame.len(), &mut self.out);
                self.out.extend_from_slice(frame);
            }
        }
    }

    /// Number of bytes that the transport has not accepted yet.
    pub(super) fn queued_bytes(&self) -> usize {
        self.out.len() - self.out_at
    }

    /// Send all queued bytes. Returns how many were sent.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>, sent: &mut u64) -> Poll<Result<(), Ending>> {
        while self.out_at < self.out.len() {
            match ready!(self.stream.poll_write(cx, &self.out[self.out_at..])) {
                Ok(written) => {
                    self.out_at += written;
                    *sent += written as u64;
                }
                Err(error) => return Poll::Ready(Err(ending_of(&error))),
            }
        }
        // Dropped, not cleared: an idle connection has no buffer.
        (self.out, self.out_at) = (Vec::new(), 0);
        match &mut self.stream {
            Stream::Tls(stream) => stream.poll_flush(cx).map_err(|error| ending_of(&error)),
            _ => Poll::Ready(Ok(())),
        }
    }

    /// Queue a close. `true`: the node's close is worth waiting for.
    pub(super) fn begin_close(&mut self, code: CloseCode) -> bool {
        match &mut self.stream {
            #[cfg(feature = "quic")]
            Stream::Quic(quic) => {
                quic.close(code, code.text());
                false
            }
            Stream::Tcp(_) | Stream::Tls(_) => {
                websocket::write_close(code, &mut self.out);
                true
            }
        }
    }

    /// The close of the layer below frames, after all other bytes are sent.
    pub(super) fn end_stream(&mut self) {
        if let Stream::Tls(stream) = &mut self.stream {
            stream.close_notify();
        }
    }

    /// End without a close. A live QUIC endpoint cannot do that, so it closes with the code of an internal
    /// error.
    pub(super) fn abort(self) {
        #[cfg(feature = "quic")]
        if let Stream::Quic(quic) = &self.stream {
            quic.close(CloseCode::Internal, "");
        }
    }
}

impl Stream {
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        match self {
            Stream::Tcp(tcp) => tcp::poll_read(tcp, cx, buf),
            Stream::Tls(tls) => tls.poll_read(cx, buf),
            #[cfg(feature = "quic")]
            Stream::Quic(quic) => quic.poll_read(cx, buf),
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Stream::Tcp(tcp) => loop {
                match tcp.try_write(buf) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        ready!(tcp.poll_write_ready(cx))?;
                    }
                    other => return Poll::Ready(other),
                }
            },
            Stream::Tls(tls) => tls.poll_write(cx, buf),
            #[cfg(feature = "quic")]
            Stream::Quic(quic) => quic.poll_write(cx, buf),
        }
    }

    /// Write all of `bytes`, for handshakes.
    pub(super) async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = std::future::poll_fn(|cx| self.poll_write(cx, bytes)).await?;
            bytes = &bytes[written..];
        }
        match self {
            Stream::Tls(tls) => std::future::poll_fn(|cx| tls.poll_flush(cx)).await,
            _ => Ok(()),
        }
    }
}

/// The beginning of a frame that has not arrived whole.
#[derive(Debug, Default)]
struct Partial {
    bytes: Vec<u8>,
    ended: bool,
}

impl Partial {
    /// The number of bytes that were looked at: fewer than all if `on` took no more.
    fn handle_bytes(&mut self, bytes: &[u8], on: &mut dyn FnMut(Incoming<'_>) -> bool) -> usize {
        if self.ended {
            return bytes.len();
        }
        let mut all = std::mem::take(&mut self.bytes);
        let before = all.len();
        let (taken, is_paused) = if all.is_empty() {
            self.take_frames(bytes, on)
        } else {
            all.extend_from_slice(bytes);
            self.take_frames(&all, on)
        };
        // The first frame ends behind what was kept of it.
        let taken = taken.saturating_sub(before);
        if is_paused {
            return taken;
        }
        if before > 0 && taken == 0 {
            self.bytes = all;
        } else if !self.ended {
            self.bytes = bytes[taken..].to_vec();
        }
        bytes.len()
    }

    /// The number of bytes in whole frames that `on` took, and whether it takes no more.
    fn take_frames(&mut self, bytes: &[u8], on: &mut dyn FnMut(Incoming<'_>) -> bool) -> (usize, bool) {
        let mut at = 0;
        loop {
            match read_header(&bytes[at..], SERVER_FRAME_BYTES_MAX) {
                Ok(Some((header, len))) if bytes.len() - at >= header + len => {
                    let goes_on = on(Incoming::Frame(&bytes[at + header..at + header + len]));
                    at += header + len;
                    if !goes_on {
                        return (at, true);
                    }
                }
                Ok(_) => return (at, false),
                Err(fault) => {
                    self.ended = true;
                    let (code, what) = match fault {
                        HeaderFault::TooLarge(_) => (CloseCode::FrameTooLarge, "a frame too large"),
                        _ => (CloseCode::BadStream, "bytes that are no frame header"),
                    };
                    on(Incoming::Fault(code, what));
                    return (bytes.len(), false);
                }
            }
        }
    }
}

/// The ending that an error of any stream means.
pub(super) fn ending_of(error: &io::Error) -> Ending {
    #[cfg(feature = "quic")]
    if let Some(ending) = super::quic_stream::ending_in(error) {
        return ending;
    }
    Ending::Broken(error.kind())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire_of(frames: &[Vec<u8>]) -> Vec<u8> {
        let mut wire = Vec::new();
        for frame in frames {
            write_header(frame.len(), &mut wire);
            wire.extend_from_slice(frame);
        }
        wire
    }

    #[test]
    fn frames_come_whole_however_the_stream_is_cut() {
        let frames = [vec![1; 3], vec![2; 130], vec![], vec![3; 70_000]];
        let wire = wire_of(&frames);
        for step in [1, 2, 7, 131, 1000, wire.len()] {
            let (mut partial, mut seen) = (Partial::default(), Vec::new());
            for piece in wire.chunks(step) {
                partial.handle_bytes(piece, &mut |incoming| match incoming {
                    Incoming::Frame(frame) => {
                        seen.push(frame.to_vec());
                        true
                    }
                    Incoming::Fault(..) => panic!("{incoming:?}"),
                });
            }
            assert_eq!(seen, frames, "in steps of {step}");
            assert_eq!(partial.bytes.capacity(), 0);
        }
    }

    #[test]
    fn a_caller_that_takes_one_frame_at_a_time_gets_every_frame_once() {
        let frames = [vec![1; 3], vec![2; 130], vec![], vec![3; 5_000], vec![4; 1]];
        let wire = wire_of(&frames);
        for step in [1, 2, 7, 131, 1000, wire.len()] {
            let (mut partial, mut seen) = (Partial::default(), Vec::new());
            for piece in wire.chunks(step) {
                let mut at = 0;
                while at < piece.len() {
                    let before = seen.len();
                    at += partial.handle_bytes(&piece[at..], &mut |incoming| match incoming {
                        Incoming::Frame(frame) => {
                            seen.push(frame.to_vec());
                            false
                        }
                        Incoming::Fault(..) => panic!("{incoming:?}"),
                    });
                    assert!(seen.len() <= before + 1);
                }
            }
            assert_eq!(seen, frames, "in steps of {step}");
        }
    }

    #[test]
    fn what_is_no_header_ends_it() {
        let (mut partial, mut faults) = (Partial::default(), 0);
        for _ in 0..2 {
            partial.handle_bytes(b"GET /", &mut |incoming| {
                assert!(matches!(incoming, Incoming::Fault(CloseCode::BadStream, _)));
                faults += 1;
                true
            });
        }
        assert_eq!(faults, 1);
    }
}
