//! Frames that keep order in a room: what moderators do, and what everybody may do about others.
//!
//! Why one frame for all acts: they have the same few fields, one answer and one place where they are judged.
//! Invariant: a number that a reader does not know is `Other`, which a server refuses and a client passes
//! over.
//! Not here: acts as entries of a room's log (`batch`), who may do what (the engine).

use super::fb;

macro_rules! numbers {
    ($(#[$doc:meta])* $type:ident { $($(#[$item:meta])* $name:ident = $n:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum $type {
            /// A number that this version does not know.
            #[default]
            Other = 0,
            $($(#[$item])* $name = $n,)*
        }

        impl $type {
            /// Every one, in order.
            pub const ALL: &'static [$type] = &[$type::Other, $($type::$name,)*];

            /// From its number on the wire.
            pub fn from_wire(n: u8) -> $type {
                match n { $($n => $type::$name,)* _ => $type::Other }
            }
        }
    };
}

numbers! {
    /// What is done. The author of a message is named by the message's offset.
    ActKind {
        /// Remove the message at `target`.
        Remove = 1,
        /// Remove what the author of the message at `target` said in the last `seconds`; 0: all that is kept.
        RemoveAuthor = 2,
        /// Remove everything that was said in the last `seconds`; 0: all that is kept.
        Clear = 3,
        /// The author of the message at `target` may not speak for `seconds`.
        Timeout = 4,
        /// The author of the message at `target` may not speak or be in the room, for `seconds`; 0: for ever.
        Ban = 5,
        /// What the author of the message at `target` says is shown to nobody else, for `seconds`; 0: for
        /// ever.
        Shadow = 6,
        /// Take back a timeout, a ban or a shadow: of the author of the message at `target`.
        Lift = 7,
        /// Warn the author of the message at `target` with `text`. They speak again once they acknowledged.
        Warn = 8,
        /// Show the message at `target` to everybody until it is unpinned.
        Pin = 9,
        /// Unpin the message at `target`.
        Unpin = 10,
        /// Publish what is held under the number `target`.
        Approve = 11,
        /// Refuse what is held under the number `target`.
        Reject = 12,
        /// Tell moderators of the message at `target`, with a `category`. For everybody.
        Report = 13,
        /// Acknowledge the warning with the number `target`. For everybody.
        Acknowledge = 14,
        /// Ask moderators, with `text`, to take back what holds this person. For everybody.
        Appeal = 15,
    }
}

impl ActKind {
    /// May everybody do it? The others need the permission to moderate.
    pub fn is_for_everybody(self) -> bool {
        matches!(self, ActKind::Report | ActKind::Acknowledge | ActKind::Appeal)
    }
}

numbers! {
    /// Why somebody reports a message.
    Category {
        /// Advertising, or the same again and again.
        Spam = 1,
        /// Attacks on a person.
        Harassment = 2,
        /// Hatred of a group.
        Hate = 3,
        /// Threats, or the praise of violence.
        Violence = 4,
        /// Sexual content.
        Sexual = 5,
        /// Self-harm, or calls for it.
        SelfHarm = 6,
        /// Private data of somebody.
        Privacy = 7,
        /// Somebody poses as somebody else, or lies to harm.
        Deception = 8,
        /// What happens in the show, told before.
        Spoiler = 9,
    }
}

numbers! {
    /// What a [`Notice`] tells.
    NoticeKind {
        /// A warning, with its number in `id`: the person speaks again once they acknowledged it.
        Warned = 1,
        /// The person may not speak until `until_ms`.
        TimedOut = 2,
        /// The person may not be in the room until `until_ms`; 0: for ever.
        Banned = 3,
        /// What held the person was taken back.
        Lifted = 4,
        /// What was held under the nonce `id` is published.
        Approved = 5,
        /// What was held under the nonce `id` is refused.
        Rejected = 6,
        /// For moderators: `id` publications wait for a decision.
        Waiting = 7,
    }
}

/// Keep order in a room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Act<'a> {
    /// Request number, repeated in the answer.
    pub request: u32,
    /// The room.
    pub alias: u32,
    /// What is done.
    pub act: ActKind,
    /// The log to which an offset in `target` belongs.
    pub epoch: u64,
    /// An offset, or the number of what is held or acknowledged.
    pub target: Option<u64>,
    /// For how long, or how far back.
    pub seconds: u32,
    /// Why, of a report.
    pub category: Category,
    /// A reason for people, a warning, or an appeal.
    pub text: &'a str,
}

/// Answer to [`Act`]: it took effect, and is in the log if it has an offset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Acted {
    /// Of the request.
    pub request: u32,
    /// Epoch of the log.
    pub epoch: u64,
    /// The offset of the act in the log, if it is an entry of it.
    pub offset: Option<u64>,
    /// How many messages it removed.
    pub count: u64,
}

/// What an act means for this session's person, or what became of something that the person did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notice<'a> {
    /// The room; 0 where it concerns no room that the session follows.
    pub alias: u32,
    /// What it tells.
    pub notice: NoticeKind,
    /// The number of a warning, the nonce of a publication, or a count.
    pub id: u64,
    /// Until when, milliseconds since 1970; 0: for ever, or without a time.
    pub until_ms: u64,
    /// For people.
    pub text: &'a str,
}

pub(super) fn act<'a>(t: &fb::Act<'a>) -> Act<'a> {
    Act {
        request: t.request(),
        alias: t.alias(),
        act: ActKind::from_wire(t.act()),
        epoch: t.epoch(),
        target: t.target(),
        seconds: t.seconds(),
        category: Category::from_wire(t.category()),
        text: t.text().unwrap_or(""),
    }
}

pub(super) fn acted(t: &fb::Acted<'_>) -> Acted {
    Acted { request: t.request(), epoch: t.epoch(), offset: t.offset(), count: t.count() }
}

pub(super) fn notice<'a>(t: &fb::Notice<'a>) -> Notice<'a> {
    Notice {
        alias: t.alias(),
        notice: NoticeKind::from_wire(t.notice()),
        id: t.id(),
        until_ms: t.until_ms(),
        text: t.text().unwrap_or(""),
    }
}
