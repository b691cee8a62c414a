//! Links, uploads and GIFs: what goes around a message, and never through a room.
//!
//! Why a crate of its own: a message holds a reference, and the bytes come over HTTP. So no shard and no
//! worker knows of an image, and a node that does not offer this needs none of its dependencies.
//! Invariants: everything that strangers name is fetched by `grandstand-fetch`. Every image that is kept was
//! decoded, and stripped of all but its pixels.
//! Not here: who may use it (the node says so by [`people::People`]), the listener.
#![forbid(unsafe_code)]

mod cache;
pub mod gifs;
pub mod http;
pub mod image;
pub mod index;
pub mod links;
pub mod objects;
pub mod people;
pub mod problem;
#[doc(hidden)]
pub mod trial;
pub mod uploads;
pub mod workers;
