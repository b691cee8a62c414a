//! A fuzz target: see `bodies::proxy`.
//!
//! Why so short: a target is a program of its own, and its body is also an ordinary test.
#![no_main]

#[path = "../bodies.rs"]
#[allow(dead_code, reason = "each target uses one")]
mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::proxy(data));
