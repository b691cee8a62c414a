//! Raw: the talk of the floor. Frames come from the first byte on, nothing is said, all are equal.
//!
//! Why in the crowd: the floor's reader must be the one that reads in the other benches, or it is another floor.

use super::talk::{Seat, Stage, Talk, Upgrade};
use anyhow::Result;
use grandstand_protocol::websocket::Opcode;

/// See the file's head.
#[derive(Debug, Default)]
pub(super) struct Raw {
    /// What every frame has to be.
    first: Vec<u8>,
}

impl Talk for Raw {
    fn upgrade(&self) -> Option<Upgrade> {
        None
    }

    fn open(&mut self, seat: &mut Seat, _: &mut Stage) -> Result<()> {
        seat.is_joined = true;
        Ok(())
    }

    fn hear(&mut self, _: &mut Seat, _: Opcode, payload: &[u8], stage: &mut Stage) -> Result<()> {
        if self.first.len() != payload.len() {
            self.first = payload.to_vec();
        }
        stage.tally.wrong += u64::from(self.first != payload);
        stage.tally.frames += 1;
        Ok(())
    }

    fn keep_alive(&mut self, _: &mut Seat, _: &mut Stage) -> Result<()> {
        Ok(())
    }
}
