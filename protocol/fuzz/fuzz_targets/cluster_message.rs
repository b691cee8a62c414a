//! A fuzz target: see `cluster::cluster_message`.
//!
//! Why so short: a target is a program of its own, and its body is also an ordinary test.
#![no_main]

#[path = "../cluster.rs"]
mod cluster;

libfuzzer_sys::fuzz_target!(|data: &[u8]| cluster::cluster_message(data));
