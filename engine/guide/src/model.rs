//! The model of a listing: channels, programmes as a source tells them, and airings as the guide keeps them.
//!
//! Why two forms: a programme is what one document says; an airing has a room and survives documents.
//! Invariant: instants are seconds since 1970 in UTC. Not here: who reads them (`xmltv`, `json`), identity.

/// A channel of a document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Channel {
    /// The source's own id.
    pub id: String,
    /// Names to show, the first first.
    pub names: Vec<String>,
    /// Address of a picture.
    pub icon: String,
}

/// What is on: the text of a show or of one episode of it. Equal texts are stored once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Show {
    /// The title in the first language.
    pub title: String,
    /// Further titles: other languages, parts of a clump.
    pub other_titles: Vec<String>,
    /// The title of the episode.
    pub sub_title: String,
    /// What happens.
    pub description: String,
    /// Season and episode as the source numbers them, without spaces.
    pub episode: String,
    /// The provider's id of this very episode; empty when it names a series only.
    pub provider: String,
    /// The provider's id of the series.
    pub series: String,
    /// People in it.
    pub people: Vec<String>,
    /// Teams that play.
    pub teams: Vec<String>,
    /// Categories.
    pub categories: Vec<String>,
}

/// One entry of a document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Programme {
    /// When it begins.
    pub start: i64,
    /// When it ends, if the source says so.
    pub stop: Option<i64>,
    /// Part and number of parts of a clump: several shows in one slot.
    pub clump: Option<(u32, u32)>,
    /// It happens while it is shown.
    pub is_live: bool,
    /// It was never shown before.
    pub is_new: bool,
    /// What is on.
    pub show: Show,
    /// Line of the document.
    pub line: u64,
}

/// A place in a schedule, before it has a room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// When it begins.
    pub start: i64,
    /// When it ends; after `start`.
    pub stop: i64,
    /// Bits of [`flags`].
    pub flags: u32,
    /// What is on.
    pub show: Show,
    /// Line of the document.
    pub line: u64,
}

/// Facts about an airing, as bits.
pub mod flags {
    /// The source takes it out of its schedule.
    pub const CANCELLED: u32 = 1;
    /// The source now shows something else, and the room was in use: it keeps its show.
    pub const DISAGREES: u32 = 2;
    /// The source gives no stop: the next start, or six hours.
    pub const STOP_GUESSED: u32 = 4;
    /// It overlaps its neighbour by more than five minutes.
    pub const OVERLAPS: u32 = 8;
    /// Several shows share the slot.
    pub const CLUMP: u32 = 16;
    /// It happens while it is shown.
    pub const LIVE: u32 = 32;
    /// It was never shown before.
    pub const NEW: u32 = 64;
    /// Those that a document decides.
    pub const OF_SOURCE: u32 = STOP_GUESSED | OVERLAPS | CLUMP | LIVE | NEW;
}
