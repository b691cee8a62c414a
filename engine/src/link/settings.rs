//! A room's own settings, which an operator set. Where a room has none, the node's configuration takes
//! effect.
//!
//! Why apart from the room's state: viewers do not see these, and a dormant room keeps them in one small box.
//! Not here: their effects (`tick`, `seal`), the names by which an operator sets them (edge).

use grandstand_protocol::frame::Durability;

/// Settings of one room. Each setting that is given replaces the node's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoomSettings {
    /// Shortest tick. Equal to `tick_max_ms`: a fixed tick. At least 1.
    pub tick_min_ms: Option<u32>,
    /// Longest tick. At least 1.
    pub tick_max_ms: Option<u32>,
    /// Chat messages per second that a batch shows people; 0 shows all of them.
    pub pacing_per_s: Option<u32>,
    /// Where its log is kept, and so what an acknowledgement promises. `Disk` needs a node with a durable
    /// log.
    pub durability: Option<Durability>,
}

impl RoomSettings {
    /// Longest tick that a room can be given; a longer one is not live chat.
    pub const TICK_MS_MAX: u32 = 10_000;

    /// Is nothing set?
    pub fn is_empty(&self) -> bool {
        *self == RoomSettings::default()
    }

    /// Check that the values are within their bounds and agree with each other.
    ///
    /// # Errors
    /// A sentence that names the fields at fault.
    pub fn check(&self) -> Result<(), String> {
        for (name, tick_ms) in [("tick_min_ms", self.tick_min_ms), ("tick_max_ms", self.tick_max_ms)] {
            if tick_ms.is_some_and(|ms| !(1..=Self::TICK_MS_MAX).contains(&ms)) {
                return Err(format!("{name} must be from 1 to {}", Self::TICK_MS_MAX));
            }
        }
        match (self.tick_min_ms, self.tick_max_ms) {
            (Some(min), Some(max)) if min > max => Err("tick_min_ms must not exceed tick_max_ms".to_owned()),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_name_their_fields() {
        let ticks = |min, max| RoomSettings { tick_min_ms: min, tick_max_ms: max, ..RoomSettings::default() };
        assert_eq!(ticks(Some(50), Some(50)).check(), Ok(()));
        assert_eq!(RoomSettings::default().check(), Ok(()));
        assert!(ticks(Some(0), None).check().unwrap_err().contains("tick_min_ms"));
        assert!(ticks(None, Some(10_001)).check().unwrap_err().contains("tick_max_ms"));
        assert!(ticks(Some(51), Some(50)).check().unwrap_err().contains("exceed"));
    }
}
