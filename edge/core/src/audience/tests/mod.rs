//! The audience core against real shards, over modelled links and wires, in virtual time.
//!
//! Why: whatever a viewer can see goes through here, and here every byte, delay and stall can be chosen.
//! `hall` is the house: audiences, shards, links, wires and the clock; `viewer` is a client that believes
//! nothing: it decodes every byte and checks each promise as it reads. The other files are tests, by what
//! they are about.
//! Not here: sockets and transports (`worker`), what a room decides (the engine's own tests).

mod ending;
mod fanout;
mod forms;
mod greeting;
mod hall;
mod joining;
mod kept;
mod leaving;
mod pacing;
mod past;
mod property;
mod refusals;
mod verdicts;
mod viewer;
