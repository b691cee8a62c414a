//! The guide: TV listings of several sources, which airing is which over imports, and their search.
//!
//! The path of a listing:
//! 1. `input` undoes compression and encoding, within bounds; [`xmltv`] or [`json`] reads channels and
//!    programmes out of it; [`time`] turns stamps into instants.
//! 2. `spool` keeps the programmes in a file until the whole document was read.
//! 3. `mend` makes one channel's programmes a schedule: stops, overlaps, duplicates, clumps.
//! 4. [`align`] finds which stored airing each new one is, by [`text`] and time.
//! 5. [`store`] writes the differences in one transaction, or refuses them; [`store::Guide`] answers queries.
//!
//! Invariants: memory does not grow with the document, but for 16 bytes a programme. Every line that was
//! mended or skipped is counted by its [`report::Rule`]. Nothing is applied of a document that is refused.
//! Not here: rooms themselves, schedules of imports and HTTP (`grandstand`), so that this crate runs in tools
//! and tests alone.
#![forbid(unsafe_code)]

pub mod align;
mod import;
pub mod input;
pub mod json;
mod mend;
pub mod model;
pub mod report;
pub mod room;
mod spool;
pub mod store;
pub mod text;
pub mod time;
pub mod xmltv;

pub use import::{Import, ImportError, Options, Outcome, Progress, RoomUse, Unused};
pub use report::Report;
