//! What every bench of Grandstand is made of: a node to measure, lean clients to watch it, and a record of
//! what was seen.
//!
//! Why a library: a figure is worth something beside another one only if both were taken in the same way, by
//! the same clients, on the same cores.
//!
//! - [`plan`]: the command line; [`record`], [`machine`]: rows, and what they were taken on;
//! - [`cpu`], [`kernel`]: what is read;
//! - [`fixture`]: a node on its own core and in a memory group of its own;
//! - [`lean_clients`]: the generator: thousands of clients in one thread, which check every byte, publish and
//!   react; [`viewers`]: the same as a process;
//! - [`reconnecting_clients`]: sessions of the real client that are cut and come back;
//! - [`publisher`]: who speaks, and when; [`probe`]: who asks whether the node still answers;
//! - [`trial`]: one room and windows in it; [`search`]: the highest rate that a server holds.
//!
//! Not here: nodes, clocks, histograms, chat logs and trust (`grandstand-harness`), the benches (`bin/bench`,
//! one file each), whether a figure is good enough (the reader).

#![forbid(unsafe_code)]

pub mod cpu;
pub mod fixture;
pub mod kernel;
pub mod lean_clients;
pub mod machine;
pub mod plan;
pub mod probe;
pub mod publisher;
pub mod reconnecting_clients;
pub mod record;
pub mod search;
pub mod trial;
pub mod viewers;
