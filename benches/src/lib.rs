//! What every bench of Grandstand is made of: a node to measure, a lean crowd to watch it, and a record of
//! what was seen.
//!
//! Why a library: a figure is worth something beside another one only if both were taken in the same way, by
//! the same crowd, on the same cores.
//!
//! - [`machine`]: what a figure was taken on;
//! - [`clock`], [`cpu`], [`metrics`], [`histogram`]: what is read;
//! - [`node`]: our own binary as a process on its own core;
//! - [`crowd`]: thousands of viewers in one thread of another process, which check every byte;
//! - [`guests`]: sessions of this process that come, follow rooms, talk, react and drop when told;
//! - [`house`], [`kernel`], [`rooms_admin`]: a node in a memory group of its own, what the kernel holds for
//!   it, its rooms;
//! - [`publisher`]: who speaks, and when; [`probe`]: who asks whether the node still lives;
//! - [`plan`]: what every bench takes from its command line, and what it does with its rows;
//! - [`chatlog`]: real logs to speak from;
//! - [`record`]: rows, and where they are kept.
//!
//! Not here: the benches (`bin/bench`, one file each), whether a figure is good enough (the reader).

#![forbid(unsafe_code)]

pub mod chatlog;
pub mod clock;
pub mod cpu;
pub mod crowd;
pub mod guests;
pub mod histogram;
pub mod house;
pub mod kernel;
pub mod machine;
pub mod metrics;
pub mod node;
pub mod plan;
pub mod probe;
pub mod publisher;
pub mod record;
pub mod returners;
pub mod rooms_admin;
