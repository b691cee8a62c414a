//! Why a single request was refused while the connection goes on.
//!
//! Invariant: numbers are never given a second meaning; a client treats an unknown number as `Other`.

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
    /// No such room, and it may not come into being on first use.
    UnknownRoom = 1, false, "unknown room";
    /// The room is closing or closed.
    RoomClosed = 2, false, "room closed";
    /// The session's permissions do not include it.
    Forbidden = 3, false, "forbidden";
    /// Text, attachment or value over its limit.
    TooLarge = 4, false, "too large";
    /// Neither text nor attachment.
    Empty = 5, false, "empty";
    /// The session's own rate is used up.
    RateLimited = 6, true, "rate limited";
    /// The room is in slow mode, and the last message was too recent.
    SlowMode = 7, true, "slow mode";
    /// A bounded queue between connection and room is full.
    Overloaded = 8, true, "overloaded";
    /// A filter of the room does not allow it. Reserved.
    Filtered = 9, false, "filtered";
    /// NUL or other control characters in a text, key or name.
    BadText = 10, false, "bad text";
    /// More rooms than one session may follow.
    TooManyRooms = 11, false, "too many rooms";
    /// A room name that is empty, too long or not printable.
    BadName = 12, false, "bad room name";
    /// The alias is not one of this session's.
    NotSubscribed = 13, false, "not subscribed";
    /// The room already has as many state keys as it may.
    TooManyKeys = 14, false, "too many state keys";
    /// The session follows this room already.
    AlreadySubscribed = 15, false, "already subscribed";
    /// The log cannot take it at the durability that the room asks for, or did not keep it in time.
    StorageUnavailable = 16, true, "storage unavailable";
    /// The epoch is not that of the room's log.
    UnknownEpoch = 17, false, "another log";
    /// Nothing from the offset asked for up to the head is kept.
    TooOld = 18, false, "no longer kept";
    /// A retry that is older than the room's memory of nonces: whether the message is in the log is not
    /// known.
    Forgotten = 19, false, "no longer remembered";
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
