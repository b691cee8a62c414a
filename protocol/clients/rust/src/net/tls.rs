//! TLS over a TCP stream, polled, with rustls' own buffers only while data is in transit.
//!
//! Why not an adapter crate: this file is short, and reads the socket only when rustls wants bytes.
//! Not here: which certificates are accepted (`trust`).

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::ClientConnection;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;

use super::tcp;

#[derive(Debug)]
pub(super) struct TlsStream {
    tcp: TcpStream,
    tls: ClientConnection,
}

/// A socket that rustls reads from: "would block" is an error, and tokio wakes the task when the socket is
/// readable.
struct Incoming<'a, 'w>(&'a mut TcpStream, &'a mut Context<'w>);

impl Read for Incoming<'_, '_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match tcp::poll_read(self.0, self.1, buf) {
            Poll::Ready(read) => read,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

/// The same socket to write to; the caller that waits registers for the wake-up.
struct Outgoing<'a>(&'a TcpStream);

impl Write for Outgoing<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.try_write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl TlsStream {
    /// Do the handshake.
    pub(super) async fn connect(
        tcp: TcpStream,
        config: Arc<rustls::ClientConfig>,
        host: &str,
    ) -> io::Result<TlsStream> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))?;
        let tls = ClientConnection::new(config, name).map_err(invalid)?;
        let mut stream = TlsStream { tcp, tls };
        std::future::poll_fn(|cx| stream.poll_handshake(cx)).await?;
        Ok(stream)
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            // Sent even when the handshake failed: the alert tells the server why.
            let flushed = self.poll_flush(cx);
            if !self.tls.is_handshaking() {
                return flushed;
            }
            if let Poll::Ready(Err(error)) = flushed {
                return Poll::Ready(Err(error));
            }
            if ready!(self.poll_fill(cx))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Read plain bytes into `buf`; 0 at the end.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            match self.tls.reader().read(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // The stream ended without close_notify: the frame layer decides whether it was complete.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Poll::Ready(Ok(0)),
                other => return Poll::Ready(other),
            }
            if ready!(self.poll_fill(cx))? == 0 {
                return Poll::Ready(Ok(0));
            }
        }
    }

    /// Write plain bytes from `buf` into records, which are sent now or at the next flush.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_flush(cx))?;
        let taken = self.tls.writer().write(buf)?;
        let _ = self.poll_flush(cx)?;
        Poll::Ready(Ok(taken))
    }

    /// Send all records.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut Outgoing(&self.tcp)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.tcp.poll_write_ready(cx))?;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Queue close_notify, which is sent at the next flush.
    pub(super) fn close_notify(&mut self) {
        self.tls.send_close_notify();
    }

    /// Read more records; 0 at the end of the stream.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match self.tls.read_tls(&mut Incoming(&mut self.tcp, cx)) {
            Ok(bytes) => {
                if let Err(error) = self.tls.process_new_packets() {
                    let _ = self.poll_flush(cx);
                    return Poll::Ready(Err(invalid(error)));
                }
                // Answers to received records, such as a key update; the rest is sent with the next write.
                let _ = self.poll_flush(cx)?;
                Poll::Ready(Ok(bytes))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
