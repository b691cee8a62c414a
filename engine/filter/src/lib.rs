//! The filter of words and patterns: what a text says, however it is written, and what is to be done about
//! it.
//!
//! Why a crate of its own: a node judges texts with it on a room's way, and tools try lists with it on logs.
//! It is a function of a text and lists: it names no room, no clock, no thread and no file.
//! Why not a list of strings: a filter that compares letters misses "f u n" and "fμn", and one that compares
//! parts of words catches "classic". So texts are folded ([`fold`](self), UTS #39 and NFKD), searched as runs
//! of letters, and matches are judged by their borders and cuts.
//! Invariants: any bytes that are text are judged, without a panic, in time that grows with their length; an
//! ordinary text allocates nothing.
//! Not here: when a publication is judged (`grandstand_engine`), where lists come from (the node).
//!
//! ```
//! use grandstand_filter::{Action, Author, Filter, List, Scratch};
//! let list = List::parse("house", "@ mask\nblockhead\n").unwrap();
//! let filter = Filter::of(list);
//! let (mut scratch, text) = (Scratch::new(), "you Bl0ck-head!");
//! let verdict = filter.judge(filter.select("lobby"), text, Author::default(), &mut scratch);
//! assert_eq!(verdict.action, Action::Mask);
//! assert_eq!(scratch.masked(text), "you **********!");
//! ```

#![forbid(unsafe_code)]

mod common;
mod filter;
mod fold;
#[cfg(feature = "import")]
pub mod import;
mod letters;
mod list;
mod scratch;
mod terms;

pub use common::common_words;
pub use filter::{Author, Filter, LISTS_MAX, Rooms, Selection, Verdict};
pub use list::{
    Action, Counts, EXPRESSION_CHARS_MAX, EXPRESSIONS_MAX, Fault, LIST_BYTES_MAX, LIST_RULES_MAX, List,
    Marks, Rule, TIMEOUT_S_MAX,
};
pub use scratch::{Hit, Scratch, Seen};
