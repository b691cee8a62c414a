//! Tests of links: codecs by property and by vectors, directions under loss.
//!
//! Invariant: `any` makes every variant of every type that travels, with every field set to something.

mod any;
mod any_acts;
#[path = "../../../../../protocol/fuzz/cluster.rs"]
mod body;
mod codec;
mod cut;
mod loss;
mod skew;
#[path = "../../../../../protocol/fuzz/smoke.rs"]
mod smoke;
mod vectors;
