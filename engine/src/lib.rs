//! Rooms: takes publications, seals batches, keeps logs.
#![forbid(unsafe_code)]

pub mod message;
