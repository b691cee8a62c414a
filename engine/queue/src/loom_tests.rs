//! The loom models: every interleaving, within the bounds set here, of a few threads on the real code.
//!
//! Not here: long runs (`tests/stress.rs`), agreement with a plain queue (`tests/properties.rs`).
