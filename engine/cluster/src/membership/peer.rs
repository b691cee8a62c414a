//! Peer: what this node heard from one other node.
//!
//! Why apart: its fields change together, at a heartbeat, and nothing else may set one of them alone.

use super::Heartbeat;
use crate::time::OwnTime;

/// See the file's head.
#[derive(Debug, Default)]
pub(super) struct Peer {
    /// When it was heard last.
    pub(super) heard: Option<OwnTime>,
    /// What it said then.
    pub(super) last: Option<Heartbeat>,
    /// The first of the pings that nobody could receive since its last sign of life.
    pub(super) first_unreceived: Option<OwnTime>,
    /// Were there two of them, far enough apart?
    pub(super) is_gone: bool,
}

impl Peer {
    /// A heartbeat is a sign of life. One that overtook a later one says nothing new.
    pub(super) fn hear(&mut self, now: OwnTime, heartbeat: Heartbeat) {
        let is_older =
            |last: &Heartbeat| (heartbeat.incarnation, heartbeat.sent) < (last.incarnation, last.sent);
        if self.last.as_ref().is_some_and(is_older) {
            return;
        }
        self.heard = Some(now);
        self.last = Some(heartbeat);
        self.first_unreceived = None;
        self.is_gone = false;
    }
}
