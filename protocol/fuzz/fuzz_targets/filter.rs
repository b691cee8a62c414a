//! A fuzz target: see `body::filter`.
//!
//! Why so short: a target is a program of its own, and its body is also an ordinary test.
#![no_main]

#[path = "../filter.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::filter(data));
