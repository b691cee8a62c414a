//! Bytes: the protocol of the floor. Clients count received bytes and send none.
//!
//! Why a lean client: the floor must use the same reader as the other benches, or they cannot be compared.
//! Not here: whether all bytes came (the floor compares sums).

use super::context::Context;
use super::protocol::{Client, Protocol, Publication, Role, Upgrade};
use anyhow::Result;
use grandstand_protocol::websocket::Opcode;

/// See the file's head.
#[derive(Debug)]
pub(super) struct Bytes;

impl Protocol for Bytes {
    fn upgrade(&self, _: Role) -> Option<Upgrade> {
        None
    }

    fn open(&mut self, client: &mut Client, _: &mut Context) -> Result<()> {
        client.is_joined = true;
        Ok(())
    }

    fn hear(&mut self, _: &mut Client, _: Opcode, _: &[u8], context: &mut Context) -> Result<()> {
        context.seen.counts.frames += 1;
        Ok(())
    }

    fn publish(&mut self, _: &mut Client, _: &Publication<'_>, _: &mut Context) {}
}
