//! Steps of the wall clock, for people: a line in the log for each, and a fault while one is not believed.
//!
//! Not here: which clock is believed (`grandstand_engine::runtime::wall`).

use grandstand_engine::runtime::wall::{self, CONFIRM_US, Step};

/// Read the clock, and log what became of it.
pub(crate) fn report() {
    wall::unix_ms();
    while let Some(step) = wall::poll_step() {
        match step {
            Step::Seen(us) => tracing::warn!(
                by_s = us / 1_000_000,
                "the wall clock stepped and is not believed for {} s: check this machine's time, or accept it \
                 with POST /clock/accept",
                CONFIRM_US / 1_000_000
            ),
            Step::Over => tracing::info!("the wall clock is as expected again"),
            Step::Believed(us) => {
                tracing::warn!(by_s = us / 1_000_000, "the step of the wall clock is believed now");
            }
        }
    }
}

/// The clock's fault, in a sentence.
pub(crate) fn fault() -> Option<String> {
    let (_, off_us) = wall::doubt();
    (off_us != 0).then(|| format!("the wall clock is off by {} s and not believed yet", off_us / 1_000_000))
}
