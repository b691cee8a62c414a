//! Connection IDs that name their worker.
//!
//! Why: a client that changes its address keeps its connection ID, so any worker can tell whose datagram it holds.
//! Layout: byte 0 is the worker, bytes 1 to 7 are random (RFC 9000, 5.1: unlinkable to each other by observers, but for
//! the worker).

use std::time::Duration;

use quinn_proto::{ConnectionId, ConnectionIdGenerator};

/// Length of our connection IDs: one byte of worker, and 56 bits that no two live connections share.
const ID_BYTES: usize = 8;

/// Workers that one byte can name.
pub(crate) const WORKERS_MAX: usize = 256;

/// Makes the IDs of one worker.
#[derive(Debug)]
pub(super) struct WorkerIds {
    pub(super) worker: u8,
}

impl ConnectionIdGenerator for WorkerIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = [0; ID_BYTES];
        getrandom::fill(&mut id[1..]).expect("the kernel gives random bytes");
        id[0] = self.worker;
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// The worker that a datagram is for, by its first packet; `None` for long headers, whose IDs clients choose.
pub(crate) fn route(datagram: &[u8]) -> Option<u8> {
    let (&first, rest) = datagram.split_first()?;
    // RFC 9000, 17.3: a short header has the top bit clear, and our ID right behind it.
    if first & 0x80 != 0 || rest.len() < ID_BYTES { None } else { Some(rest[0]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_header_names_its_worker() {
        let id = WorkerIds { worker: 3 }.generate_cid();
        let mut datagram = vec![0x40];
        datagram.extend_from_slice(&id);
        assert_eq!(route(&datagram), Some(3));
        datagram[0] = 0xc0;
        assert_eq!(route(&datagram), None);
        assert_eq!(route(&[0x40, 3]), None);
        assert_eq!(route(&[]), None);
    }
}
