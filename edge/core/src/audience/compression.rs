//! The two forms of a batch: plain for everyone, compressed for those who can open it.
//!
//! A batch is compressed when it comes, by the first worker of the node that has enough members who open it;
//! all workers share the result, and so does the log. After that a connection's form is a look-up, so the
//! walk stays a loop of writes.
//! Why not below a number of members: compressing costs as much as some writes do, and saves only bytes.
//! Invariant: `Room::members_compressed` is the number of its members whose connections open compressed
//! batches.
//! Not here: the format (`grandstand_protocol::compress`).

use bytes::Bytes;
use grandstand_engine::link::Batch;
use grandstand_protocol::compress::Compressor;
use grandstand_protocol::version::capability;

use super::settings::Settings;

impl Settings {
    /// What this node agrees to.
    pub(super) fn capabilities(&self) -> u64 {
        if self.compression { capability::SUPPORTED } else { capability::SUPPORTED & !capability::DEFLATE_1 }
    }
}

/// What a worker compresses with. Made when the first batch needs it: a few hundred kilobytes.
#[derive(Debug, Default)]
pub(super) struct BatchCompressor {
    compressor: Option<Compressor>,
}

impl BatchCompressor {
    /// Compress a batch of a room with so many members who open it, where that pays and nobody has; `true`
    /// when it was done here.
    pub(super) fn compress(&mut self, batch: &Batch, members: u32, settings: &Settings) -> bool {
        let pays = members as usize >= settings.compress_from_members;
        pays && batch.compress(self.compressor.get_or_insert_default())
    }
}

/// The bytes of a batch for a connection.
pub(super) fn form(batch: &Batch, takes_compressed: bool) -> &Bytes {
    if takes_compressed { batch.compressed().unwrap_or(&batch.wire) } else { &batch.wire }
}
