//! The rooms that a session may enter: all, or those that its token names.
//!
//! Invariant: an empty list allows nothing.
//! Not here: whether a room exists or may come into being.

/// Rooms that a session may enter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RoomScope {
    /// Every room.
    #[default]
    All,
    /// Rooms that one of these allows.
    Listed(Box<[RoomPattern]>),
}

/// A room's name, or the beginning of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoomPattern {
    /// Exactly this name.
    Name(Box<str>),
    /// Every name that begins with this; written with a `*` behind it.
    Prefix(Box<str>),
}

impl RoomScope {
    /// May the session enter this room?
    pub fn allows(&self, room: &str) -> bool {
        match self {
            RoomScope::All => true,
            RoomScope::Listed(patterns) => patterns.iter().any(|pattern| pattern.allows(room)),
        }
    }

    /// From patterns such as `show-1` and `show-*`; `None` when one has a `*` anywhere but at its end.
    pub fn of(patterns: &[String]) -> Option<RoomScope> {
        let patterns = patterns.iter().map(|pattern| RoomPattern::of(pattern)).collect::<Option<_>>()?;
        Some(RoomScope::Listed(patterns))
    }
}

impl RoomPattern {
    fn of(pattern: &str) -> Option<RoomPattern> {
        let (stem, is_prefix) = pattern.strip_suffix('*').map_or((pattern, false), |stem| (stem, true));
        if stem.contains('*') {
            return None;
        }
        Some(if is_prefix { RoomPattern::Prefix(stem.into()) } else { RoomPattern::Name(stem.into()) })
    }

    fn allows(&self, room: &str) -> bool {
        match self {
            RoomPattern::Name(name) => **name == *room,
            RoomPattern::Prefix(prefix) => room.starts_with(&**prefix),
        }
    }
}
