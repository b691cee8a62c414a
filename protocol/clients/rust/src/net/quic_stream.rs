//! The one stream of a QUIC connection, polled, and how such a connection ended.
//!
//! Not here: endpoints and settings (`quic`), frames on the stream (`link`).

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use grandstand_protocol::close::CloseCode;
use quinn::{Connection, ConnectionError, ReadError, RecvStream, SendStream, VarInt, WriteError};

use super::diagnosis::{self, connect};
use crate::core::{ConnectError, Ending};

#[derive(Debug)]
pub(super) struct QuicStream {
    connection: Connection,
    send: SendStream,
    recv: RecvStream,
}

impl QuicStream {
    /// Open the stream of a new connection.
    pub(super) async fn open(connection: Connection) -> Result<QuicStream, Ending> {
        let (send, recv) = connection.open_bi().await.map_err(|error| connection_ending(&error))?;
        Ok(QuicStream { connection, send, recv })
    }

    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.recv.poll_read(cx, buf).map_err(read_error)
    }

    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.send).poll_write(cx, buf).map_err(write_error)
    }

    pub(super) fn close(&self, code: CloseCode, text: &str) {
        self.connection.close(VarInt::from_u32(u32::from(code.wire())), text.as_bytes());
    }
}

/// A QUIC ending with a reason, carried in an `io::Error`.
#[derive(Debug)]
struct QuicEnd(Ending);

impl std::fmt::Display for QuicEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for QuicEnd {}

/// The ending that an error of a stream carries, if it does.
pub(super) fn ending_in(error: &io::Error) -> Option<Ending> {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<QuicEnd>())?;
    Some(inner.0.clone())
}

fn read_error(error: ReadError) -> io::Error {
    io::Error::other(QuicEnd(match error {
        ReadError::ConnectionLost(error) => connection_ending(&error),
        ReadError::Reset(code) => Ending::Code(code.into_inner() as u16),
        _ => Ending::Broken(io::ErrorKind::NotConnected),
    }))
}

fn write_error(error: WriteError) -> io::Error {
    io::Error::other(QuicEnd(match error {
        WriteError::ConnectionLost(error) => connection_ending(&error),
        WriteError::Stopped(code) => Ending::Code(code.into_inner() as u16),
        _ => Ending::Broken(io::ErrorKind::NotConnected),
    }))
}

/// TLS errors are transport errors 0x100 plus the alert (RFC 9001, 4.8).
const CRYPTO: std::ops::RangeInclusive<u64> = 0x100..=0x1ff;

/// The alert of a server that has no protocol in common with the client (RFC 7301).
const NO_APPLICATION_PROTOCOL: u64 = 0x100 + 120;

/// How a connection ended before it was established.
pub(super) fn connect_ending(error: &ConnectionError, address: SocketAddr, host: &str) -> Ending {
    match error {
        ConnectionError::TransportError(e) if u64::from(e.code) == NO_APPLICATION_PROTOCOL => {
            connect(ConnectError::NoCommonVersion)
        }
        ConnectionError::ConnectionClosed(e) if u64::from(e.error_code) == NO_APPLICATION_PROTOCOL => {
            connect(ConnectError::NoCommonVersion)
        }
        ConnectionError::TransportError(e) if CRYPTO.contains(&u64::from(e.code)) => {
            diagnosis::of_tls(&e.to_string(), host)
        }
        ConnectionError::VersionMismatch => connect(ConnectError::NoCommonVersion),
        ConnectionError::TimedOut => connect(ConnectError::NoAnswer { address: Some(address), udp: true }),
        other => connection_ending(other),
    }
}

/// How a connection ended.
fn connection_ending(error: &ConnectionError) -> Ending {
    match error {
        ConnectionError::ApplicationClosed(close) => {
            Ending::Code(u16::try_from(close.error_code.into_inner()).unwrap_or(u16::MAX))
        }
        ConnectionError::TransportError(e) if CRYPTO.contains(&u64::from(e.code)) => {
            Ending::Untrusted(e.to_string().into())
        }
        ConnectionError::ConnectionClosed(e) if CRYPTO.contains(&u64::from(e.error_code)) => {
            Ending::Untrusted(e.to_string().into())
        }
        ConnectionError::TimedOut => Ending::Broken(io::ErrorKind::TimedOut),
        ConnectionError::Reset => Ending::Broken(io::ErrorKind::ConnectionReset),
        ConnectionError::VersionMismatch => connect(ConnectError::NoCommonVersion),
        ConnectionError::LocallyClosed => Ending::Broken(io::ErrorKind::NotConnected),
        _ => Ending::Broken(io::ErrorKind::ConnectionAborted),
    }
}
