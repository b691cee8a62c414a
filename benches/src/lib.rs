//! The library of Grandstand's benches: a node to measure, lean clients as its viewers, and records of the
//! figures.
//!
//! Why a library: two figures can be compared only if they were measured in the same way, by the same
//! clients, on the same cores.
//!
//! - [`plan`]: the command line; [`record`], [`machine`]: rows of figures, and the machine and commit of a
//!   run;
//! - [`cpu`], [`kernel`]: CPU time and memory;
//! - [`fixture`]: a node on its own core and in a memory group of its own;
//! - [`lean_clients`]: the generator: thousands of clients in one thread, which check every byte, publish,
//!   react and resume; [`viewers`]: the same as a process;
//! - [`publisher`], [`stamp`]: messages at an even rate, and their texts; [`probe`]: a check of how soon the
//!   node answers;
//! - [`trial`]: one room and its measured windows; [`search`]: the highest rate that a server holds.
//!
//! Not here: nodes, clocks, histograms, chat logs and trust (`grandstand-harness`), the benches (`bin/bench`,
//! one file each), the judgement of a figure (the reader).

#![forbid(unsafe_code)]

pub mod cpu;
pub mod fixture;
pub mod kernel;
pub mod lean_clients;
pub mod machine;
pub mod plan;
pub mod probe;
pub mod publisher;
pub mod record;
pub mod search;
pub mod stamp;
pub mod trial;
pub mod viewers;
