//! An ending: the reason why a connection ends, as far as it is known before the transport ends.
//!
//! Why kept: three sources give a reason, at three times. This side's own decision takes precedence over the
//! node's `Error` frame, and that over the transport's close code or error.
//! Not here: whether a reason allows a reconnect (`retry`).

use grandstand_protocol::close::{CloseCode, Retry};
use grandstand_protocol::frame::ErrorFrame;

use super::retry::{Verdict, verdict};
use super::{Ending, Reason};

/// The content of an `Error` frame.
#[derive(Debug)]
struct Announced {
    code: u16,
    retry: Retry,
    after_us: u64,
    detail: Box<str>,
}

/// See the file's head.
#[derive(Debug, Default)]
pub(super) struct ConnectionEnd {
    decided: Option<Reason>,
    announced: Option<Box<Announced>>,
    close_due: Option<CloseCode>,
}

impl ConnectionEnd {
    /// This side ends the connection. The first reason is kept; later ones are ignored.
    pub(super) fn decide(&mut self, code: CloseCode, reason: Reason) {
        if self.decided.is_none() {
            self.decided = Some(reason);
            self.close_due = Some(code);
        }
    }

    /// Whether this side has ended the connection. Its frames are then ignored.
    pub(super) fn is_decided(&self) -> bool {
        self.decided.is_some()
    }

    /// The node says why it is about to close.
    pub(super) fn handle_error(&mut self, e: &ErrorFrame<'_>) {
        let (after_us, detail) = (u64::from(e.retry_after_ms) * 1000, e.detail.into());
        self.announced = Some(Box::new(Announced { code: e.code, retry: e.retry, after_us, detail }));
    }

    /// Another connection takes over: the node's `Error` on the old one no longer applies.
    pub(super) fn forget_announced(&mut self) {
        self.announced = None;
    }

    /// The code with which to close the transport; returned once.
    pub(super) fn poll_close(&mut self) -> Option<CloseCode> {
        self.close_due.take()
    }

    /// The transport has ended. Returns the reason, and what it allows.
    pub(super) fn judge(&mut self, ending: Ending) -> (Reason, Verdict) {
        let (decided, announced) = (self.decided.take(), self.announced.take());
        self.close_due = None;
        match (decided, announced) {
            (Some(decided), _) => {
                let verdict = verdict(&decided);
                (decided, verdict)
            }
            (None, Some(told)) => {
                let verdict = Verdict::told(told.retry, told.after_us);
                (Reason::Told { code: told.code, detail: told.detail }, verdict)
            }
            (None, None) => {
                let reason = match ending {
                    Ending::Code(code) => Reason::Told { code, detail: Box::default() },
                    other => Reason::Transport(other),
                };
                let verdict = verdict(&reason);
                (reason, verdict)
            }
        }
    }
}
