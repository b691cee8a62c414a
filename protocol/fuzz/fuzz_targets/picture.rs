//! A fuzz target: see `body::picture`.
//!
//! Why so short: a target is a program of its own, and its body is also an ordinary test.
#![no_main]

#[path = "../media.rs"]
#[allow(dead_code, reason = "each target uses one")]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::picture(data));
