//! Token buckets of eight bytes: how often somebody may do something.
//!
//! Invariant: over any time `t` at most `burst + rate * t` tokens are given.

use grandstand_engine::link::Now;

/// Tokens in thousandths, so that slow rates work, as of a millisecond of the monotonic clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenBucket {
    missing_milli: u32,
    at_ms: u32,
}

/// A rate and a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Tokens that come back per second.
    pub per_s: u32,
    /// Tokens that may be taken at once.
    pub burst: u32,
}

impl TokenBucket {
    /// Take `tokens`, or say after how many milliseconds they are there.
    pub fn take(&mut self, now: Now, rate: Rate, tokens: u32) -> Result<(), u32> {
        let now_ms = (now.us / 1000) as u32;
        let back = u64::from(now_ms.wrapping_sub(self.at_ms)) * u64::from(rate.per_s);
        self.missing_milli = u64::from(self.missing_milli).saturating_sub(back) as u32;
        self.at_ms = now_ms;
        let after = u64::from(self.missing_milli) + u64::from(tokens) * 1000;
        let burst = u64::from(rate.burst) * 1000;
        if after <= burst {
            self.missing_milli = after as u32;
            return Ok(());
        }
        Err((after - burst).div_ceil(u64::from(rate.per_s.max(1))).min(u64::from(u32::MAX)) as u32)
    }
}

/// What is owed is at most so many bursts: as much as five nodes may give at once.
const OWED_BURSTS: u64 = 4;

impl TokenBucket {
    /// Tokens were taken elsewhere, whether they are here or not.
    pub(crate) fn owe(&mut self, now: Now, rate: Rate, tokens: u32) {
        // Nothing is taken: the time only passes.
        let _ = self.take(now, rate, 0);
        let most = u64::from(rate.burst) * 1000 * OWED_BURSTS;
        let owed = u64::from(self.missing_milli) + u64::from(tokens) * 1000;
        self.missing_milli = owed.min(most.max(self.missing_milli.into())).min(u64::from(u32::MAX)) as u32;
    }

    /// Give tokens back that were taken just before.
    pub(crate) fn give_back(&mut self, tokens: u32) {
        self.missing_milli = self.missing_milli.saturating_sub(tokens.saturating_mul(1000));
    }

    /// Tokens that were missing after the last take.
    pub(crate) fn missing(&self) -> u32 {
        self.missing_milli / 1000
    }

    /// How long after the last take the bucket is full again.
    pub(crate) fn full_after_us(&self, rate: Rate) -> u64 {
        (u64::from(self.missing_milli) * 1000).div_ceil(u64::from(rate.per_s.max(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Now {
        Now { us: ms * 1000, unix_ms: 0 }
    }

    #[test]
    fn a_burst_then_the_rate() {
        let rate = Rate { per_s: 5, burst: 10 };
        let mut bucket = TokenBucket::default();
        for _ in 0..10 {
            assert_eq!(bucket.take(at(1000), rate, 1), Ok(()));
        }
        assert_eq!(bucket.take(at(1000), rate, 1), Err(200));
        assert_eq!(bucket.take(at(1199), rate, 1), Err(1));
        assert_eq!(bucket.take(at(1200), rate, 1), Ok(()));
        assert_eq!(bucket.take(at(1_000_000), rate, 10), Ok(()));
        assert_eq!(bucket.take(at(1_000_000), rate, 1), Err(200));
    }
}
