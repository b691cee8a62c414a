//! A guest's connection: a TCP socket, bare or under TLS, or a place among the QUIC lines.
//!
//! Invariant: a TCP line that is dropped is reset, so that thousands of them leave no port in TIME_WAIT.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, ClientConnection, HandshakeKind};
use rustls_pki_types::ServerName;
use socket2::{Domain, Protocol, Socket, Type};

#[derive(Debug)]
pub(super) enum Line {
    None,
    Plain(TcpStream),
    Tls(TcpStream, Box<ClientConnection>),
    Quic(usize),
}

impl Line {
    /// Begin to connect; without a name to check, for guests believe anyone on loopback.
    pub(super) fn connect(door: SocketAddr, tls: Option<Arc<ClientConfig>>) -> anyhow::Result<Line> {
        let socket = Socket::new(Domain::for_address(door), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        socket.set_linger(Some(Duration::ZERO))?;
        match socket.connect(&door.into()) {
            Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {
                return Err(error.into());
            }
            _ => {}
        }
        Ok(match tls {
            None => Line::Plain(socket.into()),
            Some(config) => {
                let name = ServerName::try_from("localhost").expect("a name");
                Line::Tls(socket.into(), Box::new(ClientConnection::new(config, name)?))
            }
        })
    }

    pub(super) fn socket(&self) -> Option<&TcpStream> {
        match self {
            Line::Plain(socket) | Line::Tls(socket, _) => Some(socket),
            Line::None | Line::Quic(_) => None,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.socket().is_some()
    }

    /// Whether this is TLS and its handshake is done.
    pub(super) fn is_agreed(&self) -> bool {
        matches!(self, Line::Tls(_, tls) if !tls.is_handshaking())
    }

    pub(super) fn is_resumed(&self) -> bool {
        matches!(self, Line::Tls(_, tls) if tls.handshake_kind() == Some(HandshakeKind::Resumed))
    }

    /// Whether bytes may wait that the socket will not tell of.
    pub(super) fn may_have_more(&self) -> bool {
        matches!(self, Line::Tls(..))
    }

    /// Plain bytes; 0 at the end.
    pub(super) fn read(&mut self, scratch: &mut [u8]) -> io::Result<usize> {
        match self {
            Line::Plain(socket) => socket.read(scratch),
            Line::Tls(socket, tls) => read_tls(socket, tls, scratch),
            Line::None | Line::Quic(_) => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// As much of `out` as there is room for; what was taken leaves it.
    pub(super) fn write(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Line::Plain(socket) => write_plain(socket, out),
            Line::Tls(socket, tls) => {
                if !out.is_empty() {
                    let taken = tls.writer().write(out)?;
                    out.drain(..taken);
                }
                flush_tls(socket, tls)
            }
            Line::None | Line::Quic(_) => Ok(()),
        }
    }
}

fn write_plain(socket: &mut TcpStream, out: &mut Vec<u8>) -> io::Result<()> {
    while !out.is_empty() {
        match socket.write(out) {
            Ok(taken) if taken == out.len() => out.clear(),
            Ok(taken) => drop(out.drain(..taken)),
            // Not connected yet, or full: it will be writable.
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn flush_tls(socket: &mut TcpStream, tls: &mut ClientConnection) -> io::Result<()> {
    while tls.wants_write() {
        match tls.write_tls(socket) {
            Ok(_) => {}
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn read_tls(socket: &mut TcpStream, tls: &mut ClientConnection, scratch: &mut [u8]) -> io::Result<usize> {
    loop {
        match tls.reader().read(scratch) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
            read => return read,
        }
        if tls.read_tls(socket)? == 0 {
            return Ok(0);
        }
        tls.process_new_packets().map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
        flush_tls(socket, tls)?;
    }
}
