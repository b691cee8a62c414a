//! A fuzz target: see `guide::guide_document`.
//!
//! Why so short: a target is a program of its own, and its body is also an ordinary test.
#![no_main]

#[path = "../guide.rs"]
mod guide;

libfuzzer_sys::fuzz_target!(|data: &[u8]| guide::guide_document(data));
