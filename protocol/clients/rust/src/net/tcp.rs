//! Reading a TCP stream, polled.
//!
//! Why apart from links: TLS reads its socket in the same way.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

/// Not `try_read`: after a read that did not fill the buffer tokio knows that the socket is empty, and saves
/// the system call that would report it.
pub(super) fn poll_read(
    tcp: &mut TcpStream,
    cx: &mut Context<'_>,
    buf: &mut [u8],
) -> Poll<io::Result<usize>> {
    let mut buf = ReadBuf::new(buf);
    ready!(Pin::new(tcp).poll_read(cx, &mut buf))?;
    Poll::Ready(Ok(buf.filled().len()))
}
