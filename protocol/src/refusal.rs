//! Refusals: the reasons to refuse one request while the connection stays open.
//!
//! Invariant: a number never gets a second meaning; a client treats an unknown number as `Other`.

macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $retry:literal, $text:literal;)*) => {
        /// A reason to refuse one request.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum Refusal { $($(#[$doc])* $name = $code,)* }

        impl Refusal {
            /// Every reason, in order.
            pub const ALL: &'static [Refusal] = &[$(Refusal::$name,)*];

            /// From its number on the wire; unknown numbers are `Other`.
            pub fn from_wire(code: u16) -> Refusal {
                match code { $($code => Refusal::$name,)* _ => Refusal::Other }
            }

            /// Whether the same request can succeed later without a change.
            pub fn may_retry(self) -> bool {
                match self { $(Refusal::$name => $retry,)* }
            }

            /// One sentence for people; also the name in metrics, with underscores.
            pub fn text(self) -> &'static str {
                match self { $(Refusal::$name => $text,)* }
            }
        }
    };
}

refusals! {
    /// A reason that this version does not know.
    Other = 0, true, "refused";
    /// The room does not exist, and the node does not create it on first use.
    UnknownRoom = 1, false, "unknown room";
    /// The room is closing or closed.
    RoomClosed = 2, false, "room closed";
    /// The session's permissions do not include the request.
    Forbidden = 3, false, "forbidden";
    /// A text, attachment, key or value is over its limit.
    TooLarge = 4, false, "too large";
    /// The publication has neither a text nor an attachment.
    Empty = 5, false, "empty";
    /// The session has used up its own rate.
    RateLimited = 6, true, "rate limited";
    /// The room is in slow mode, and the last message was too recent.
    SlowMode = 7, true, "slow mode";
    /// A bounded queue between connection and room is full.
    Overloaded = 8, true, "overloaded";
    /// A filter of the room does not allow the publication.
    Filtered = 9, false, "filtered";
    /// A text, key or name contains NUL or another control character.
    BadText = 10, false, "bad text";
    /// The session already follows as many rooms as it may.
    TooManyRooms = 11, false, "too many rooms";
    /// The room name is empty, too long or not printable.
    BadName = 12, false, "bad room name";
    /// The alias does not name a room that this session follows.
    NotSubscribed = 13, false, "not subscribed";
    /// The room already has as many state keys as it may.
    TooManyKeys = 14, false, "too many state keys";
    /// The session already follows this room.
    AlreadySubscribed = 15, false, "already subscribed";
    /// The log cannot store the publication at the room's durability, or did not do so in time.
    StorageUnavailable = 16, true, "storage unavailable";
    /// The request's epoch is not that of the room's log.
    UnknownEpoch = 17, false, "another log";
    /// The log keeps nothing from the requested offset up to the head.
    TooOld = 18, false, "no longer kept";
    /// The retry is older than the room's memory of nonces, so the room does not know whether the message is
    /// in the log.
    Forgotten = 19, false, "no longer remembered";
    /// The nonce stands for another publication: the client must choose a new one.
    NonceReused = 20, false, "nonce of another publication";
    /// The publication waits for a moderator. A `Notice` tells what becomes of it.
    Held = 21, false, "held for a moderator";
    /// The person may not speak in this room for a time.
    TimedOut = 22, true, "timed out";
    /// The person may not be in this room.
    Banned = 23, false, "banned";
    /// The person must acknowledge a warning first.
    Unacknowledged = 24, false, "warning not acknowledged";
    /// The room takes messages of subscribers only.
    SubscribersOnly = 25, false, "subscribers only";
    /// The session, or the account, is too young for the room.
    TooNew = 26, true, "too new";
    /// The room takes emotes only.
    EmotesOnly = 27, false, "emotes only";
    /// The room takes no links.
    LinksOff = 28, false, "no links";
    /// The room takes no text that was said a moment ago.
    Repeats = 29, false, "said before";
}

impl Refusal {
    /// The number on the wire.
    pub fn wire(self) -> u16 {
        self as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_survive_the_wire() {
        for &reason in Refusal::ALL {
            assert_eq!(Refusal::from_wire(reason.wire()), reason);
        }
        assert_eq!(Refusal::from_wire(999), Refusal::Other);
    }
}
