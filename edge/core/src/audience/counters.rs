//! Counters of an audience: plain numbers of one thread, which the worker copies to the shared metrics.
//!
//! Why plain: they are written on the hottest path, and nobody else reads them there.

use grandstand_protocol::close::CloseCode;
use grandstand_protocol::refusal::Refusal;

/// Counters of one worker's audience since start, and three levels.
#[derive(Clone, Debug)]
pub struct Counters {
    /// Frames from clients.
    pub frames_in: u64,
    /// Batch frames written.
    pub frames_out: u64,
    /// Control frames written.
    pub control_frames_out: u64,
    /// Messages that reached a connection.
    pub deliveries: u64,
    /// Bytes of batch frames written.
    pub bytes_out: u64,
    /// Offers to the transport.
    pub writes: u64,
    /// Of them, offers of batches.
    pub batch_writes: u64,
    /// Offers that were not taken whole.
    pub writes_blocked: u64,
    /// Batches received from shards.
    pub batches: u64,
    /// Of them, those compressed here: no other worker had done it.
    pub batches_compressed: u64,
    /// Batches of rings that were replaced, since an act removed messages of them.
    pub batches_redacted: u64,
    /// Sessions welcomed.
    pub sessions_opened: u64,
    /// Of them, those that continued an earlier one.
    pub sessions_resumed: u64,
    /// Subscriptions begun.
    pub joins: u64,
    /// Of them, those that resumed completely.
    pub resumes: u64,
    /// Gaps by reason: slow, paced, expired, restarted.
    pub gaps: [u64; 4],
    /// Messages within those gaps.
    pub gap_messages: u64,
    /// Personal frames sent.
    pub personals: u64,
    /// Personal frames for connections that did not take what was sent before.
    pub personals_dropped: u64,
    /// Publications handed to shards.
    pub publications: u64,
    /// Reactions taken.
    pub reactions: u64,
    /// Refusals by reason's number.
    pub refusals: [u64; Refusal::ALL.len()],
    /// Closes by the order in `CloseCode::ALL`.
    pub closes: [u64; CloseCode::ALL.len()],
    /// Tokens that sessions renewed.
    pub renewals: u64,
    /// Hellos that were not admitted.
    pub sessions_denied: u64,
    /// Publications that shards took.
    pub publications_accepted: u64,
    /// Publications refused, here or by a shard.
    pub publications_refused: u64,
    /// Inputs that a full shard gave back.
    pub submits_full: u64,
    /// Connections that wait to become writable.
    pub lagging: u64,
    /// Members now.
    pub members: u64,
    /// Rooms followed now.
    pub rooms: u64,
    /// Sessions now.
    pub sessions: u64,
}

impl Default for Counters {
    fn default() -> Self {
        Counters {
            frames_in: 0,
            frames_out: 0,
            control_frames_out: 0,
            deliveries: 0,
            bytes_out: 0,
            writes: 0,
            batch_writes: 0,
            writes_blocked: 0,
            batches: 0,
            batches_compressed: 0,
            batches_redacted: 0,
            sessions_opened: 0,
            sessions_resumed: 0,
            joins: 0,
            resumes: 0,
            gaps: [0; 4],
            gap_messages: 0,
            personals: 0,
            personals_dropped: 0,
            publications: 0,
            reactions: 0,
            refusals: [0; Refusal::ALL.len()],
            closes: [0; CloseCode::ALL.len()],
            renewals: 0,
            sessions_denied: 0,
            publications_accepted: 0,
            publications_refused: 0,
            submits_full: 0,
            lagging: 0,
            members: 0,
            rooms: 0,
            sessions: 0,
        }
    }
}

impl Counters {
    /// Count a refusal.
    pub fn refused(&mut self, reason: Refusal) {
        let ix = Refusal::ALL.iter().position(|&r| r == reason).expect("every reason is listed");
        self.refusals[ix] += 1;
    }

    /// Count a close.
    pub fn closed(&mut self, code: CloseCode) {
        let ix = CloseCode::ALL.iter().position(|&c| c == code).expect("every code is listed");
        self.closes[ix] += 1;
    }
}
