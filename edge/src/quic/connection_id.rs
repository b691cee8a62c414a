//! Connection IDs that name their worker and their process.
//!
//! Why the worker: a client that changes its address keeps its connection ID, so any worker that gets its
//! datagram knows which worker it is for.
//! Why the process: during a hand-over both processes have the socket and one reads it. The reader must tell
//! the connections of both apart.
//! Layout: byte 0 is the worker, bytes 1 and 2 are the process's generation, bytes 3 to 7 are random. RFC
//! 9000, 5.1, asks that observers cannot link the IDs of a connection: ours can be linked by the first three
//! bytes only. quinn gives no ID twice while it is in use.
//! A long header may hold an ID of the client's own choice. One in 65,536 of those with eight bytes names a
//! given generation by chance. This matters only during a hand-over, and then costs a new client one packet,
//! which it sends again.
//! Not here: forwarding (`forward`), which generation a process has (the node's crate).

use std::time::Duration;

use quinn_proto::{ConnectionId, ConnectionIdGenerator};

/// Length of our connection IDs.
const ID_BYTES: usize = 8;

/// Bytes before the ID in a short header: the first byte.
const SHORT_ID_AT: usize = 1;

/// Bytes before the ID in a long header: the first byte, the version, the ID's length (RFC 9000, 17.2).
const LONG_ID_AT: usize = 6;

/// Workers that one byte can name.
pub const WORKERS_MAX: usize = 256;

/// Makes the IDs of one worker.
#[derive(Debug)]
pub(super) struct WorkerIds {
    pub(super) worker: u8,
    pub(super) generation: u16,
}

impl ConnectionIdGenerator for WorkerIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = [0; ID_BYTES];
        getrandom::fill(&mut id[3..]).expect("the kernel gives random bytes");
        id[0] = self.worker;
        id[1..3].copy_from_slice(&self.generation.to_be_bytes());
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// The worker and the process of a datagram, if it belongs to an open connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) generation: u16,
    pub(crate) worker: u8,
}

/// Read the ID of a datagram's first packet; `None` if it cannot be one of ours.
pub(crate) fn route(datagram: &[u8]) -> Option<Route> {
    let &first = datagram.first()?;
    // RFC 9000, 17.3: a short header has the top bit clear, and our ID directly after the first byte.
    let at = if first & 0x80 == 0 {
        SHORT_ID_AT
    } else if usize::from(*datagram.get(LONG_ID_AT - 1)?) == ID_BYTES {
        LONG_ID_AT
    } else {
        return None;
    };
    let id = datagram.get(at..at + ID_BYTES)?;
    Some(Route { generation: u16::from_be_bytes([id[1], id[2]]), worker: id[0] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_names_worker_and_process() {
        let id = WorkerIds { worker: 3, generation: 0x0102 }.generate_cid();
        let is_ours = Some(Route { generation: 0x0102, worker: 3 });
        let short = [&[0x40], &id[..]].concat();
        assert_eq!(route(&short), is_ours);
        let long = [&[0xe0, 0, 0, 0, 1, 8], &id[..], &[0]].concat();
        assert_eq!(route(&long), is_ours);
        assert!((0..9).all(|end| route(&short[..end]).is_none()));
        assert!((0..14).all(|end| route(&long[..end]).is_none()));
        let chosen_by_a_client = [&[0xc0, 0, 0, 0, 1, 20][..], &[9; 20]].concat();
        assert_eq!(route(&chosen_by_a_client), None);
    }
}
