//! Events: what a node tells applications as it happens, in the order in which it happens.
//!
//! Why a channel: whoever carries something out must not wait for an application's server. Whoever answers
//! for something that must not be lost waits until the event is in the outbox, and no longer.
//! Invariants: without webhooks an event costs nothing. An event that has no place is counted and logged.
//! Not here: the outbox, and how events reach an application (`webhooks`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

/// Events that wait for the outbox.
const WAITING_MAX: usize = 16_384;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A room was opened.
    RoomOpened,
    /// A room is about to close.
    RoomClosing,
    /// A room was closed.
    RoomClosed,
    /// A message was reported.
    ReportMade,
    /// A message waits for a moderator.
    MessageHeld,
    /// A moderator decided on a message that waited.
    MessageReviewed,
    /// A moderator or an operator acted: a ban, a revocation, a removal.
    ModerationActed,
    /// A listing was imported, or refused.
    ImportFinished,
    /// The node drains.
    NodeDraining,
    /// A reminder is due.
    ReminderDue,
    /// An operator tests an endpoint.
    WebhookTest,
}

impl Kind {
    /// Every kind.
    pub const ALL: &'static [Kind] = &[
        Kind::RoomOpened,
        Kind::RoomClosing,
        Kind::RoomClosed,
        Kind::ReportMade,
        Kind::MessageHeld,
        Kind::MessageReviewed,
        Kind::ModerationActed,
        Kind::ImportFinished,
        Kind::NodeDraining,
        Kind::ReminderDue,
        Kind::WebhookTest,
    ];

    /// Its name: the `type` of a webhook.
    pub fn name(self) -> &'static str {
        match self {
            Kind::RoomOpened => "room.opened",
            Kind::RoomClosing => "room.closing",
            Kind::RoomClosed => "room.closed",
            Kind::ReportMade => "report.made",
            Kind::MessageHeld => "message.held",
            Kind::MessageReviewed => "message.reviewed",
            Kind::ModerationActed => "moderation.acted",
            Kind::ImportFinished => "import.finished",
            Kind::NodeDraining => "node.draining",
            Kind::ReminderDue => "reminder.due",
            Kind::WebhookTest => "webhook.test",
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// What.
    pub kind: Kind,
    /// The room, by which events have their order; `None`: it concerns the node.
    pub room: Option<Box<str>>,
    /// More, as an object.
    pub data: Value,
}

/// An event on its way to the outbox.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) event: Event,
    /// When it is in the outbox.
    pub(crate) stored: Option<oneshot::Sender<()>>,
}

/// Where events are told.
#[derive(Clone, Debug, Default)]
pub struct Events(Option<Arc<Channel>>);

#[derive(Debug)]
struct Channel {
    sender: mpsc::Sender<Told>,
    lost: AtomicU64,
}

impl Events {
    /// A channel, and its other end.
    pub(crate) fn open() -> (Events, mpsc::Receiver<Told>) {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        (Events(Some(Arc::new(Channel { sender, lost: AtomicU64::new(0) }))), receiver)
    }

    /// Does anybody hear them?
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Something happened. It never waits.
    pub fn tell(&self, event: Event) {
        let Some(channel) = &self.0 else { return };
        if channel.sender.try_send(Told { event, stored: None }).is_err()
            && channel.lost.fetch_add(1, Ordering::Relaxed) == 0
        {
            tracing::error!("the outbox of webhooks does not keep up: events are lost and counted");
        }
    }

    /// Something happened. Returns when it is in the outbox; `false`: it could not be stored.
    pub async fn told(&self, event: Event) -> bool {
        let Some(channel) = &self.0 else { return true };
        let (stored, is_stored) = oneshot::channel();
        let told = Told { event, stored: Some(stored) };
        channel.sender.send(told).await.is_ok() && is_stored.await.is_ok()
    }

    /// Events that had no place.
    pub fn lost(&self) -> u64 {
        self.0.as_ref().map_or(0, |channel| channel.lost.load(Ordering::Relaxed))
    }
}
