//! TCP: bytes read and sent on non-blocking sockets, with an end that is not an error.
//!
//! Why no error comes out of here: a broken connection shows at its next read, which ends it once.
//! Invariant: nothing here waits.
//! Not here: when a socket is ready (`worker::poller`), TLS (`tls`).

use std::io;
use std::net::TcpStream;

use bytes::Bytes;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv};
use smallvec::SmallVec;

/// Reads of a connection that is refused: a request and more, and not as much as a flood sends.
const UNREAD_READS: usize = 4;

/// How a read ended.
pub(crate) enum Received {
    /// This number of bytes.
    Bytes(usize),
    /// Nothing more for now.
    Blocked,
    /// The peer closed, or the connection broke.
    Ended,
}

/// Read what the socket has into `scratch`.
pub(crate) fn receive(socket: &TcpStream, scratch: &mut [u8]) -> Received {
    loop {
        return match recv(socket, &mut *scratch, RecvFlags::DONTWAIT) {
            Ok((_, 0)) => Received::Ended,
            Ok((_, n)) => Received::Bytes(n),
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) => Received::Blocked,
            Err(_) => Received::Ended,
        };
    }
}

/// Read the bytes in the socket, and leave them there.
pub(crate) fn peek<'a>(socket: &TcpStream, scratch: &'a mut [u8]) -> &'a [u8] {
    let seen = recv(socket, &mut *scratch, RecvFlags::DONTWAIT | RecvFlags::PEEK).map_or(0, |(_, n)| n);
    &scratch[..seen]
}

/// Send once. Returns the number of bytes that the socket took.
pub(crate) fn send(socket: &TcpStream, bytes: &[u8]) -> usize {
    loop {
        match rustix::net::send(socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(n) => return n,
            Err(Errno::INTR) => {}
            // Full; or broken, which the next read will show.
            Err(_) => return 0,
        }
    }
}

/// Send several frames in one call. Returns the number of their bytes that the socket took.
pub(crate) fn send_frames(mut socket: &TcpStream, frames: &[&Bytes]) -> usize {
    if let [frame] = frames {
        return send(socket, frame);
    }
    let slices: SmallVec<[io::IoSlice<'_>; 64]> = frames.iter().map(|f| io::IoSlice::new(f)).collect();
    loop {
        match io::Write::write_vectored(&mut socket, &slices) {
            Ok(n) => return n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            // Full; or broken, which the next read will show.
            Err(_) => return 0,
        }
    }
}

/// Close the sending side.
pub(crate) fn shutdown_write(socket: &TcpStream) {
    // It fails only when the peer has closed already.
    let _ = socket.shutdown(std::net::Shutdown::Write);
}

/// Answer a connection that is not accepted, and close the sending side.
pub(crate) fn answer_and_close(socket: &TcpStream, answer: &[u8]) {
    // An empty socket takes an answer whole. A socket that does not is not tried again.
    send(socket, answer);
    close_cleanly(socket);
}

/// Close the sending side, and drop what has come: a socket that is closed with bytes unread resets the
/// connection, which would destroy an answer that is under way.
pub(crate) fn close_cleanly(socket: &TcpStream) {
    shutdown_write(socket);
    let mut unread = [0; 4096];
    for _ in 0..UNREAD_READS {
        if !matches!(receive(socket, &mut unread), Received::Bytes(_)) {
            break;
        }
    }
}
