//! Shared state of all connections of one generator: the protocol, the context and scratch space.
//!
//! Why shared: a client keeps no buffer of its own between two turns.

use super::context::Context;
use super::protocol::Protocol;
use anyhow::Result;
use rustix::event::epoll;
use rustix::fd::OwnedFd;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

/// Bytes read at once: more than a tick of the busiest room.
const SCRATCH_BYTES: usize = 512 * 1024;

/// State that the connections use in turn.
pub(super) struct Io {
    pub(super) protocol: Box<dyn Protocol>,
    pub(super) context: Context,
    pub(super) address: SocketAddr,
    pub(super) epoll: OwnedFd,
    pub(super) tls: Option<Arc<rustls::ClientConfig>>,
    pub(super) scratch: Vec<u8>,
    /// Decrypted bytes of the present connection.
    pub(super) plain: Vec<u8>,
    /// Bytes that the present connection sends.
    pub(super) out: Vec<u8>,
    pub(super) now: Instant,
}

impl Io {
    pub(super) fn new(
        protocol: Box<dyn Protocol>,
        context: Context,
        address: SocketAddr,
        tls: Option<Arc<rustls::ClientConfig>>,
    ) -> Result<Io> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let (scratch, plain, out, now) = (vec![0; SCRATCH_BYTES], Vec::new(), Vec::new(), Instant::now());
        Ok(Io { protocol, context, address, epoll, tls, scratch, plain, out, now })
    }

    #[cfg(test)]
    pub(super) fn for_tests(protocol: Box<dyn Protocol>) -> Io {
        Io::new(protocol, Context::default(), SocketAddr::from(([127, 0, 0, 1], 1)), None).unwrap()
    }
}
