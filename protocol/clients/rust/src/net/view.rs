//! The view of an app: rooms, positions and state as of the last event that it took.
//!
//! Why not the session's own: the session runs ahead of an app that has not taken its events yet. An app that
//! saves a position must save that of the last message which it has seen, or it misses some after a restart.
//! Not here: positions for resuming after a reconnect (`core::room`).

use grandstand_protocol::frame::{GapReason, Outcome};

use crate::core::{OwnedEvent, RoomId, StateTable, SubscribeOptions};

/// Whether a client has a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Status {
    /// It connects, or waits for its next try.
    #[default]
    Connecting,
    /// A node has accepted it.
    Connected,
    /// The session has ended.
    Over,
}

/// A room that a client follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomInfo {
    /// Its name.
    pub name: Box<str>,
    /// Whether the node has confirmed the subscription on the present connection.
    pub is_live: bool,
    /// Epoch and next offset, as [`Client::position`](super::Client::position) has them.
    pub position: Option<(u64, u64)>,
}

#[derive(Debug)]
struct RoomView {
    id: Option<RoomId>,
    name: Box<str>,
    is_live: bool,
    position: Option<(u64, u64)>,
    state: StateTable,
}

/// See the file's head.
#[derive(Debug, Default)]
pub(super) struct View {
    rooms: Vec<RoomView>,
    keeps_state: bool,
    pub(super) status: Status,
}

impl View {
    pub(super) fn new(keeps_state: bool) -> View {
        View { keeps_state, ..View::default() }
    }

    pub(super) fn follows(&self, name: &str) -> bool {
        self.room(name).is_some()
    }

    pub(super) fn count(&self) -> usize {
        self.rooms.len()
    }

    /// The app follows a room.
    pub(super) fn subscribe(&mut self, name: &str, options: SubscribeOptions) {
        if !self.follows(name) {
            let (position, state) = (options.resume, StateTable::default());
            self.rooms.push(RoomView { id: None, name: name.into(), is_live: false, position, state });
        }
    }

    /// The session has begun to follow it under this number.
    pub(super) fn number(&mut self, name: &str, id: RoomId) {
        if let Some(room) = self.rooms.iter_mut().find(|room| *room.name == *name) {
            room.id = Some(id);
        }
    }

    /// The app follows a room no longer, or the session could not.
    pub(super) fn unsubscribe(&mut self, name: &str) {
        self.rooms.retain(|room| *room.name != *name);
    }

    pub(super) fn position(&self, name: &str) -> Option<(u64, u64)> {
        self.room(name)?.position
    }

    pub(super) fn state(&self, name: &str, key: &str) -> Option<Box<[u8]>> {
        self.room(name)?.state.get(key).map(Box::from)
    }

    pub(super) fn states(&self, name: &str) -> Vec<(Box<str>, Box<[u8]>)> {
        let state = self.room(name).into_iter().flat_map(|room| room.state.iter());
        state.map(|(key, value)| (key.into(), value.into())).collect()
    }

    pub(super) fn rooms(&self) -> Vec<RoomInfo> {
        let info = |room: &RoomView| RoomInfo {
            name: room.name.clone(),
            is_live: room.is_live,
            position: room.position,
        };
        self.rooms.iter().map(info).collect()
    }

    /// The app takes this event.
    pub(super) fn handle_event(&mut self, event: &OwnedEvent) {
        let keeps_state = self.keeps_state;
        match event {
            OwnedEvent::Welcome { .. } => self.status = Status::Connected,
            OwnedEvent::Disconnected { .. } => {
                self.status = Status::Connecting;
                self.rooms.iter_mut().for_each(|room| room.is_live = false);
            }
            OwnedEvent::Closed { .. } => self.status = Status::Over,
            OwnedEvent::Unsubscribed { room, .. } => self.rooms.retain(|known| known.id != Some(room.id)),
            OwnedEvent::Subscribed { room, outcome, epoch, offset, .. } => {
                self.change(room.id, |room| room.enter(*outcome, *epoch, *offset));
            }
            OwnedEvent::Message { room, offset, .. } => {
                self.change(room.id, |room| room.advance(offset.saturating_add(1)));
            }
            OwnedEvent::Removed { room, offset, .. } => {
                self.change(room.id, |room| room.advance(offset.saturating_add(1)));
            }
            OwnedEvent::Removal { room, rule, .. } => {
                self.change(room.id, |room| room.advance(rule.at().saturating_add(1)));
            }
            OwnedEvent::Omitted { room, to, .. } => self.change(room.id, |room| room.advance(*to)),
            OwnedEvent::Gap { room, epoch, to, reason, .. } => {
                let is_restart = *reason == GapReason::Restarted;
                self.change(room.id, |room| match room.position {
                    Some((known, _)) if known == *epoch && !is_restart => room.advance(*to),
                    _ => room.restart(*epoch, *to),
                });
            }
            OwnedEvent::Snapshot { room, .. } => self.change(room.id, |room| room.state.clear()),
            OwnedEvent::State { room, key, value, .. } if keeps_state => {
                // Beyond its bound it keeps no further key: a node that sends so much breaks the protocol.
                self.change(room.id, |room| {
                    let _ = room.state.apply(key, value.as_deref());
                });
            }
            _ => {}
        }
    }

    fn room(&self, name: &str) -> Option<&RoomView> {
        self.rooms.iter().find(|room| *room.name == *name)
    }

    fn change(&mut self, id: RoomId, change: impl FnOnce(&mut RoomView)) {
        if let Some(room) = self.rooms.iter_mut().find(|room| room.id == Some(id)) {
            change(room);
        }
    }
}

impl RoomView {
    /// As the session's own position does.
    fn enter(&mut self, outcome: Outcome, epoch: u64, offset: u64) {
        self.is_live = true;
        let goes_on = matches!(outcome, Outcome::Resumed | Outcome::Gapped);
        match self.position {
            Some((known, _)) if known == epoch && outcome != Outcome::Restarted => {}
            Some((_, next)) if goes_on => {
                self.restart(epoch, next);
            }
            _ => self.restart(epoch, offset),
        }
    }

    fn restart(&mut self, epoch: u64, offset: u64) {
        self.position = Some((epoch, offset));
        self.state.clear();
    }

    fn advance(&mut self, to: u64) {
        if let Some((_, next)) = &mut self.position {
            *next = (*next).max(to);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::RoomOf;
    use grandstand_protocol::frame::Phase;

    fn room(id: u32) -> RoomOf<Box<str>> {
        RoomOf { id: RoomId(id), name: "show".into() }
    }

    fn subscribed(id: u32, outcome: Outcome, epoch: u64, offset: u64) -> OwnedEvent {
        OwnedEvent::Subscribed { room: room(id), outcome, epoch, offset, head: offset, phase: Phase::Open }
    }

    #[test]
    fn a_position_is_that_of_the_events_that_were_taken() {
        let mut view = View::new(true);
        view.subscribe("show", SubscribeOptions::default());
        view.number("show", RoomId(0));
        assert_eq!(view.position("show"), None);
        view.handle_event(&subscribed(0, Outcome::Live, 7, 40));
        assert_eq!(view.position("show"), Some((7, 40)));
        view.handle_event(&OwnedEvent::Omitted { room: room(0), from: 40, to: 44 });
        view.handle_event(&subscribed(0, Outcome::Resumed, 8, 41));
        assert_eq!(view.position("show"), Some((8, 44)), "the same log under another name");
        let (reason, count) = (GapReason::Restarted, 0);
        view.handle_event(&OwnedEvent::Gap { room: room(0), epoch: 9, from: 0, to: 3, count, reason });
        assert_eq!(view.position("show"), Some((9, 3)));
        view.handle_event(&OwnedEvent::Gap { room: room(0), epoch: 9, from: 1, to: 1, count, reason });
        assert_eq!(view.position("show"), Some((9, 1)), "what was read beyond is not of this log");
        view.handle_event(&subscribed(0, Outcome::Restarted, 9, 1));
        assert_eq!(view.position("show"), Some((9, 1)));
    }

    #[test]
    fn a_room_that_is_followed_again_keeps_nothing_of_before() {
        let mut view = View::new(true);
        view.subscribe("show", SubscribeOptions::default());
        view.number("show", RoomId(0));
        let (key, value): (Box<str>, Box<[u8]>) = ("score".into(), (*b"1:0").into());
        view.handle_event(&OwnedEvent::State { room: room(0), version: 1, key, value: Some(value) });
        assert_eq!(view.state("show", "score").as_deref(), Some(&b"1:0"[..]));
        view.unsubscribe("show");
        view.subscribe("show", SubscribeOptions::default());
        view.number("show", RoomId(1));
        view.handle_event(&OwnedEvent::Unsubscribed { room: room(0), asked: true });
        assert!(view.follows("show") && view.states("show").is_empty());
    }
}
