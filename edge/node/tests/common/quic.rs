//! A blocking QUIC client that can send anything on the session's stream.
//!
//! Why raw: a conforming client cannot break the protocol.

use std::net::SocketAddr;
use std::sync::Arc;

use grandstand_harness::trust::client_config;
use grandstand_protocol::{stream, version};
use quinn::crypto::rustls::QuicClientConfig;
use tokio::runtime::Runtime;

use super::PATIENCE;

/// See the file's head.
pub struct Quic {
    pub runtime: Runtime,
    pub connection: quinn::Connection,
    endpoint: quinn::Endpoint,
    send: quinn::SendStream,
    receive: quinn::RecvStream,
    buffer: Vec<u8>,
}

/// How a connection ended: the application's code, if the node gave one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Closed by the node with this code and reason.
    Closed(u64, String),
    /// Anything else.
    Other(String),
}

impl Quic {
    /// Connect and open the stream.
    pub fn open(address: SocketAddr) -> Quic {
        Self::try_open(address, version::ALPN).expect("the node takes the connection")
    }

    /// Connect with this ALPN.
    pub fn try_open(address: SocketAddr, alpn: &[u8]) -> Result<Quic, String> {
        Self::try_open_from("127.0.0.1", address, alpn)
    }

    /// Connect from this address of loopback.
    pub fn try_open_from(from: &str, address: SocketAddr, alpn: &[u8]) -> Result<Quic, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (endpoint, connection, (send, receive)) = runtime.block_on(async {
            let mut endpoint = quinn::Endpoint::client(SocketAddr::new(from.parse().unwrap(), 0)).unwrap();
            let tls = QuicClientConfig::try_from(client_config(&[alpn])).unwrap();
            endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(tls)));
            let connecting = endpoint.connect(address, "localhost").map_err(|e| e.to_string())?;
            let connection = tokio::time::timeout(PATIENCE, connecting).await.expect("in time");
            let connection = connection.map_err(|e| e.to_string())?;
            let streams = connection.open_bi().await.map_err(|e| e.to_string())?;
            Ok::<_, String>((endpoint, connection, streams))
        })?;
        Ok(Quic { runtime, connection, endpoint, send, receive, buffer: Vec::new() })
    }

    /// Connect, say hello; the welcome is read.
    pub fn welcomed(address: SocketAddr) -> Quic {
        let mut quic = Quic::open(address);
        quic.send(&super::hello());
        assert_eq!(quic.next_frame()[0], 0x41, "a welcome");
        quic
    }

    /// Send a frame behind its header.
    pub fn send(&mut self, frame: &[u8]) {
        let mut out = Vec::new();
        stream::write_header(frame.len(), &mut out);
        out.extend_from_slice(frame);
        self.send_raw(&out);
    }

    /// Send bytes as they are; a node that has closed already is not an error here.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        let send = &mut self.send;
        let _ = self.runtime.block_on(async {
            tokio::time::timeout(PATIENCE, send.write_all(bytes)).await.expect("in time")
        });
    }

    /// The next frame, without its header.
    pub fn next_frame(&mut self) -> Vec<u8> {
        self.try_next_frame()
            .unwrap_or_else(|end| panic!("a frame was due, but the connection ended: {end:?}"))
    }

    /// The next frame, or how the connection ended.
    pub fn try_next_frame(&mut self) -> Result<Vec<u8>, End> {
        loop {
            if let Some((header, len)) = stream::read_header(&self.buffer, 1 << 24).expect("a good header")
                && self.buffer.len() >= header + len
            {
                let frame = self.buffer[header..header + len].to_vec();
                self.buffer.drain(..header + len);
                return Ok(frame);
            }
            let receive = &mut self.receive;
            let chunk = self.runtime.block_on(async {
                tokio::time::timeout(PATIENCE, receive.read_chunk(64 * 1024, true))
                    .await
                    .expect("something in time")
            });
            match chunk {
                Ok(Some(chunk)) => self.buffer.extend_from_slice(&chunk.bytes),
                Ok(None) => return Err(End::Other("the stream ended".into())),
                Err(quinn::ReadError::ConnectionLost(lost)) => return Err(end_of(lost)),
                Err(e) => return Err(End::Other(e.to_string())),
            }
        }
    }

    /// Read until the connection ends.
    pub fn until_close(&mut self) -> End {
        loop {
            if let Err(end) = self.try_next_frame() {
                return end;
            }
        }
    }

    /// Go on from another local port, as a phone that changes networks does.
    pub fn migrate(&self) {
        let _guard = self.runtime.enter();
        self.endpoint.rebind(std::net::UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
    }
}

fn end_of(lost: quinn::ConnectionError) -> End {
    match lost {
        quinn::ConnectionError::ApplicationClosed(close) => {
            End::Closed(close.error_code.into_inner(), String::from_utf8_lossy(&close.reason).into_owned())
        }
        other => End::Other(other.to_string()),
    }
}
