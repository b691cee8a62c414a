//! Sends by io_uring: one entry for each socket, one call of the kernel for many.
//!
//! Why only in this file: the ring takes addresses of buffers that must live until the kernel is done, which
//! no type can express.
//! Not here: the times and sockets of the sends (`floor`).

#![allow(unsafe_code)]

use anyhow::{Context, Result};
use io_uring::{IoUring, opcode, types};
use std::net::TcpStream;
use std::os::fd::AsRawFd;

/// Entries of one call: enough to make the call itself cheap, few enough to stay in cache.
const ENTRIES: usize = 128;

/// A ring for sends.
pub(crate) struct Ring(IoUring);

impl Ring {
    pub(crate) fn new() -> Result<Ring> {
        Ok(Ring(IoUring::new(ENTRIES as u32).context("the kernel gives no io_uring")?))
    }

    /// Sends the same bytes to every socket; returns how many sockets took all of them.
    pub(crate) fn send_all(&mut self, sockets: &[TcpStream], bytes: &[u8]) -> Result<usize> {
        let mut whole = 0;
        for some in sockets.chunks(ENTRIES) {
            whole += self.send_some(some, bytes)?;
        }
        Ok(whole)
    }

    fn send_some(&mut self, sockets: &[TcpStream], bytes: &[u8]) -> Result<usize> {
        for socket in sockets {
            let file = types::Fd(socket.as_raw_fd());
            let entry = opcode::Send::new(file, bytes.as_ptr(), bytes.len() as u32)
                .flags(rustix::net::SendFlags::DONTWAIT.bits() as i32)
                .build();
            // SAFETY: `bytes` and `sockets` are borrowed until this function returns, and it returns only
            // after as many completions as entries were taken below, or with an error of the ring, after
            // which the process ends.
            unsafe { self.0.submission().push(&entry) }.context("the ring is full")?;
        }
        let mut whole = 0;
        let mut done = 0;
        while done < sockets.len() {
            self.0.submit_and_wait(sockets.len() - done).context("the ring failed")?;
            for completion in self.0.completion() {
                done += 1;
                whole += usize::from(completion.result() == bytes.len() as i32);
            }
        }
        Ok(whole)
    }
}
