//! Tests of links: codecs by property and by vectors, directions under loss.
//!
//! Invariant: `any` makes every variant of every type that travels, with every field set to something.

mod any;
mod codec;
