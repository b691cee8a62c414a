//! Identifiers and the time, as edges and shards exchange them.
//!
//! Why types of their own: most are integers of the same width, and the compiler keeps them apart.
//! Not here: how a name becomes a shard or an alias (`directory`).

/// A worker of a node: one edge thread. The high byte is the node, the low byte the worker within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId(pub u16);

impl WorkerId {
    /// The worker number of the node itself: its HTTP handlers, and other code that asks a shard without a
    /// connection.
    pub const NODE_ITSELF: u8 = 0xff;

    /// A worker of a node.
    pub const fn new(node: u8, worker: u8) -> Self {
        WorkerId((node as u16) << 8 | worker as u16)
    }

    /// The node itself.
    pub const fn of_node(node: u8) -> Self {
        Self::new(node, Self::NODE_ITSELF)
    }

    /// Its node.
    pub const fn node(self) -> u8 {
        (self.0 >> 8) as u8
    }

    /// Its number within the node.
    pub const fn index(self) -> usize {
        (self.0 & 0xff) as usize
    }

    /// Is this a node itself, rather than one of its workers?
    pub const fn is_node(self) -> bool {
        self.0 as u8 == Self::NODE_ITSELF
    }
}

/// A shard: one engine thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u16);

/// A room on this node, as frames name it. Unique over the node's shards while the room lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Alias(pub u32);

/// The identity of a publisher across reconnects: the scope of nonces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserId(pub u64);

/// A person, as limits know one: whoever a limit holds, over connections, reconnects and sessions. A named
/// user is one person. An anonymous session is held twice: by its own number, and by its place at its
/// address, which a reconnect does not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PersonId(pub u64);

impl PersonId {
    /// The node itself and its operators, whom no limit of a person holds.
    pub const NODE: PersonId = PersonId(0);

    /// Somebody whose name was not kept.
    pub const UNKNOWN: PersonId = PersonId(u64::MAX);

    /// A named user, or the number of an anonymous session.
    pub const fn of_user(user: UserId) -> Self {
        PersonId(user.0)
    }
}

/// Who opens a room by following it first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opener {
    /// The person: a named user, or the address of an anonymous session.
    pub person: PersonId,
    /// May it use the places that are reserved for operators? Bridges may.
    pub is_trusted: bool,
}

impl Opener {
    /// Somebody whose name was not kept, of a room that was there before.
    pub const UNKNOWN: Opener = Opener { person: PersonId::UNKNOWN, is_trusted: true };

    /// The node itself.
    pub const NODE: Opener = Opener { person: PersonId::NODE, is_trusted: true };
}

/// A connection of one worker, with its generation, so that the worker recognises an answer to a closed
/// connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionToken(pub u64);

/// Where an answer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReplyTo {
    /// The worker, or the node itself.
    pub worker: WorkerId,
    /// A connection of the worker, or a request's number when the node itself asks.
    pub connection: ConnectionToken,
}

/// The current time, passed in: cores read no clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Monotonic, microseconds since any fixed point.
    pub us: u64,
    /// Wall clock, milliseconds since 1970; may step.
    pub unix_ms: u64,
}
