//! Raw: the talk of the floor. Bytes come, they are counted, nothing is said.
//!
//! Why in the crowd: the floor's reader must be the one that reads in the other benches, or it is another
//! floor.
//! Not here: whether all bytes came (the floor compares sums).

use super::talk::{Seat, Stage, Talk, Upgrade};
use anyhow::Result;
use grandstand_protocol::websocket::Opcode;

/// See the file's head.
#[derive(Debug, Default)]
pub(super) struct Raw;

impl Talk for Raw {
    fn upgrade(&self) -> Option<Upgrade> {
        None
    }

    fn open(&mut self, seat: &mut Seat, _: &mut Stage) -> Result<()> {
        seat.is_joined = true;
        Ok(())
    }

    fn hear(&mut self, _: &mut Seat, _: Opcode, _: &[u8], stage: &mut Stage) -> Result<()> {
        stage.tally.frames += 1;
        Ok(())
    }

    fn keep_alive(&mut self, _: &mut Seat, _: &mut Stage) -> Result<()> {
        Ok(())
    }
}
