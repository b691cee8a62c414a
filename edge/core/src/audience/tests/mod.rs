//! The audience core against real shards, over modelled links and wires, in virtual time.
//!
//! Why: whatever a viewer can see goes through here, and here every byte, delay and stall can be chosen.
//! `harness` is the house: audiences, shards, links, wires and the clock; `viewer` is a client that believes
//! nothing: it decodes every byte and checks each promise as it reads. The other files are tests, by what
//! they are about.
//! Not here: sockets and transports (`worker`), what a room decides (the engine's own tests).

mod acts;
mod any_outputs;
mod compression;
mod drain;
mod durable;
mod ending;
mod fanout;
mod greeting;
mod harness;
mod history;
mod house;
mod inside;
mod joining;
mod limits;
mod model_owner;
mod names;
mod owner_change;
mod owner_house;
mod owner_property;
mod pacing;
mod people;
mod property;
mod refusals;
mod removed;
mod renewing;
mod tables;
mod unread;
mod verdicts;
mod viewer;
