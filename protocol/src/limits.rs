//! Limits: every bound of the protocol, with its reason and the answer to input beyond it.
//!
//! A node may have lower limits by its configuration, and sends them in `Welcome`.
//! Not here: bounds of a node (queues, rings, rates): those are its configuration.

/// A room's name in bytes of UTF-8. 128 holds a channel, a programme and a date; beyond: refusal `BadName`.
pub const ROOM_NAME_BYTES_MAX: usize = 128;

/// A display name in bytes. Measured names: p95 17 bytes; 64 holds 20 CJK characters. Beyond: close
/// `Malformed`.
pub const NAME_BYTES_MAX: usize = 64;

/// A chat text in bytes. Measured texts: p99 361 bytes at most, longest about 1,500. Beyond: refusal
/// `TooLarge`.
pub const TEXT_BYTES_MAX: usize = 4096;

/// An attachment reference (a URL or an id of the application) in bytes. Beyond: refusal `TooLarge`.
pub const ATTACHMENT_BYTES_MAX: usize = 512;

/// The text of an act (a reason, a warning, an appeal) in bytes. Beyond: refusal `TooLarge`.
pub const ACT_TEXT_BYTES_MAX: usize = 500;

/// The longest timeout: 14 days. Beyond: refusal `TooLarge`, since a ban is meant.
pub const TIMEOUT_SECONDS_MAX: u32 = 14 * 24 * 3600;

/// A reaction's key in bytes: the longest emoji sequence in use is 35 bytes, a custom emote's name 32.
pub const REACTION_KEY_BYTES_MAX: usize = 40;

/// Reactions in one `React` frame: a client adds them up for at most a second. Beyond: clamped.
pub const REACTION_COUNT_MAX: u32 = 100;

/// A state key in bytes.
pub const STATE_KEY_BYTES_MAX: usize = 64;

/// A state value in bytes: a poll or a scoreboard, not a document, because every joining viewer gets all
/// keys.
pub const STATE_VALUE_BYTES_MAX: usize = 4096;

/// Messages in one `HistoryPage`: five screens of scrolling back. The batch that passes the limit is sent
/// whole. Beyond: clamped.
pub const HISTORY_MESSAGES_MAX: u32 = 500;

/// A token in bytes: a JWT with a handful of claims is under 1 KB, with an EdDSA chain under 4.
pub const TOKEN_BYTES_MAX: usize = 4096;

/// A resume ticket in bytes. Tickets of this server have at most 97; the rest is room for other issuers.
pub const TICKET_BYTES_MAX: usize = 256;

/// The list of a cluster's nodes in `Welcome`, in bytes: five names of the longest kind fit.
pub const NODES_BYTES_MAX: usize = 1300;

/// A client's name for itself (`Hello.client`) in bytes.
pub const AGENT_BYTES_MAX: usize = 128;

/// A frame from a client in bytes: the largest is `Hello` with a token, or a text with an attachment.
/// Beyond: close `FrameTooLarge`, as soon as a header announces more.
pub const CLIENT_FRAME_BYTES_MAX: usize = 16 * 1024;

/// A frame from a server in bytes: a full snapshot (64 keys of 4 KB) is the largest. A client closes the
/// connection beyond it.
pub const SERVER_FRAME_BYTES_MAX: usize = 1024 * 1024;

/// Depth, tables and apparent bytes that the verifier follows in one frame. Valid frames need a depth of 3
/// and 65 tables.
pub const VERIFY_DEPTH_MAX: usize = 8;
/// See [`VERIFY_DEPTH_MAX`].
pub const VERIFY_TABLES_MAX: usize = 1024;
