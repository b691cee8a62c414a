//! The wall clock as far as it is plausible: what the process believes the time of day to be.
//!
//! Why: a wall clock may jump (a wrong server of time, a restored machine, an operator). Retention would
//! purge a log, and tickets, tokens and timeouts would end, for a clock that is right again 20 s later. The
//! time since boot, which counts a machine's sleep, cannot jump. So the two are compared at every read.
//! - A clock that drifts, or is slewed, is followed.
//! - A step is followed once the clock has stayed there for [`CONFIRM_US`] of time since boot. Until then the
//!   time goes on from what was believed, by the time since boot.
//! - An operator may accept the clock at once ([`accept`]).
//!
//! Invariants: the believed time differs from the time since boot by no more than was confirmed. A step is
//! reported once when it is seen, and once when it ends. One process has one such clock, whatever reads it. A
//! believed time before 2025 is not plausible, so a step away from it is believed at once: a machine without
//! a battery begins in 1970 until it has asked a server.
//! Not here: a step while no process runs (`grandstand_store` compares with the last times on disk).

#![expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
#![expect(clippy::disallowed_types, reason = "the lock is taken only while the clock is doubted")]

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// A step: the clocks differ by more than this from one read to the next. It is more than the drift between
/// two reads of a sleeping process, and less than harms anything that is dated.
const STEP_US: i64 = 2_000_000;

/// How long a stepped clock must stay before it is believed.
pub const CONFIRM_US: i64 = 15 * 60 * 1_000_000;

/// 2025, before the first release: no clock is right that is behind it.
const PLAUSIBLE_FROM_US: i64 = 1_735_689_600_000_000;

/// Steps that wait to be read.
const UNREAD_MAX: usize = 16;

/// One moment by the wall clock and by the time since boot, microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The wall clock, since 1970.
    pub wall_us: i64,
    /// Since boot, sleep included.
    pub boot_us: i64,
}

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The clock stepped by this, and is not believed.
    Seen(i64),
    /// The clock came back.
    Over,
    /// The clock stayed there, or an operator accepted it: it is believed.
    Believed(i64),
}

/// A clock that stepped.
#[derive(Clone, Copy, Debug)]
struct Doubt {
    /// The difference of the clocks since the step.
    offset_us: i64,
    /// When it stepped.
    since_boot_us: i64,
}

/// The clock without IO. See the file's head.
#[derive(Clone, Copy, Debug)]
pub struct Wall {
    /// The wall clock minus the time since boot, as believed.
    offset_us: i64,
    doubt: Option<Doubt>,
    /// Steps seen.
    steps: u64,
}

impl Wall {
    /// A clock that believes its first reading.
    pub fn new(first: Reading) -> Wall {
        Wall { offset_us: first.wall_us - first.boot_us, doubt: None, steps: 0 }
    }

    /// The believed time, microseconds since 1970, and what became of a step.
    pub fn read(&mut self, reading: Reading) -> (i64, Option<Step>) {
        let offset_us = reading.wall_us - reading.boot_us;
        let off_us = offset_us - self.offset_us;
        let step = if off_us.abs() <= STEP_US {
            // Drift and slewing are followed.
            self.offset_us = offset_us;
            self.doubt.take().map(|_| Step::Over)
        } else {
            self.doubt(offset_us, off_us, reading.boot_us)
        };
        (self.offset_us + reading.boot_us, step)
    }

    fn doubt(&mut self, offset_us: i64, off_us: i64, boot_us: i64) -> Option<Step> {
        match &mut self.doubt {
            Some(doubt) if (offset_us - doubt.offset_us).abs() <= STEP_US => {
                doubt.offset_us = offset_us;
                if boot_us - doubt.since_boot_us < CONFIRM_US {
                    return None;
                }
                (self.offset_us, self.doubt) = (offset_us, None);
                Some(Step::Believed(off_us))
            }
            _ if (self.offset_us + boot_us) < PLAUSIBLE_FROM_US && off_us > 0 => {
                (self.offset_us, self.doubt) = (offset_us, None);
                Some(Step::Believed(off_us))
            }
            _ => {
                self.doubt = Some(Doubt { offset_us, since_boot_us: boot_us });
                self.steps += 1;
                Some(Step::Seen(off_us))
            }
        }
    }

    /// Believe the clock as it is.
    pub fn accept(&mut self, reading: Reading) -> Option<Step> {
        let offset_us = reading.wall_us - reading.boot_us;
        self.doubt.take()?;
        let off_us = offset_us - std::mem::replace(&mut self.offset_us, offset_us);
        Some(Step::Believed(off_us))
    }
}

/// The clock of this process, and what became of it.
#[derive(Debug)]
struct Process {
    wall: Option<Wall>,
    /// Steps that nobody has read yet, the oldest first.
    unread: VecDeque<Step>,
    /// Time since boot until which nothing may be deleted for its age.
    held_until_us: i64,
}

/// The difference of the clocks while it is believed; else [`DOUBTED`]. So a read takes no lock.
static BELIEVED_US: AtomicI64 = AtomicI64::new(DOUBTED);

const DOUBTED: i64 = i64::MIN;

static PROCESS: Mutex<Process> =
    Mutex::new(Process { wall: None, unread: VecDeque::new(), held_until_us: i64::MIN });

fn process() -> MutexGuard<'static, Process> {
    PROCESS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Process {
    fn read(&mut self, reading: Reading) -> i64 {
        let wall = self.wall.get_or_insert_with(|| Wall::new(reading));
        let believed_us = BELIEVED_US.load(Ordering::Relaxed);
        if believed_us != DOUBTED {
            wall.offset_us = believed_us;
        }
        let (us, step) = wall.read(reading);
        let believed_us = if wall.doubt.is_some() { DOUBTED } else { wall.offset_us };
        BELIEVED_US.store(believed_us, Ordering::Relaxed);
        self.note(step);
        us
    }

    fn note(&mut self, step: Option<Step>) {
        if let Some(step) = step {
            if self.unread.len() == UNREAD_MAX {
                self.unread.pop_front();
            }
            self.unread.push_back(step);
        }
    }
}

fn reading() -> Reading {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Reading { wall_us: wall.as_micros() as i64, boot_us: boot_us() }
}

#[cfg(target_os = "linux")]
fn boot_us() -> i64 {
    let boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    boot.tv_sec * 1_000_000 + boot.tv_nsec / 1_000
}

/// Elsewhere the time since the first reading stands in for it.
#[cfg(not(target_os = "linux"))]
fn boot_us() -> i64 {
    static FIRST: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    FIRST.get_or_init(std::time::Instant::now).elapsed().as_micros() as i64
}

/// The time of day that this process believes, microseconds since 1970.
pub fn unix_us() -> u64 {
    u64::try_from(believe(reading())).unwrap_or(0)
}

fn believe(reading: Reading) -> i64 {
    let (believed_us, offset_us) = (BELIEVED_US.load(Ordering::Relaxed), reading.wall_us - reading.boot_us);
    if believed_us == DOUBTED || (offset_us - believed_us).abs() > STEP_US {
        return process().read(reading);
    }
    // Another thread's reading of about now is as good.
    let _ = BELIEVED_US.compare_exchange(believed_us, offset_us, Ordering::Relaxed, Ordering::Relaxed);
    reading.wall_us
}

/// The same in milliseconds.
pub fn unix_ms() -> u64 {
    unix_us() / 1_000
}

/// The believed time and the time since boot of one moment.
pub fn believed() -> Reading {
    let reading = reading();
    Reading { wall_us: believe(reading), ..reading }
}

/// Go on from what an earlier process of this boot believed.
pub fn go_on(earlier: Reading) {
    let reading = reading();
    let mut process = process();
    process.wall = Some(Wall::new(earlier));
    BELIEVED_US.store(DOUBTED, Ordering::Relaxed);
    process.read(reading);
}

/// Nothing may be deleted for its age until this clock has run for a while: it cannot be compared.
pub fn hold() {
    process().held_until_us = boot_us() + CONFIRM_US;
}

/// May something be deleted for its age?
pub fn may_expire() -> bool {
    boot_us() >= process().held_until_us
}

/// Believe the clock as it is, and delete what is too old by it: an operator says so.
pub fn accept() {
    let reading = reading();
    let mut process = process();
    process.held_until_us = i64::MIN;
    let step = process.wall.as_mut().and_then(|wall| wall.accept(reading));
    process.note(step);
    process.read(reading);
}

/// The next step that nobody has read.
pub fn poll_step() -> Option<Step> {
    process().unread.pop_front()
}

/// Number of steps seen, and by how many microseconds the clock is off and not believed (0: it is believed).
pub fn doubt() -> (u64, i64) {
    let process = process();
    let Some(wall) = &process.wall else { return (0, 0) };
    (wall.steps, wall.doubt.map_or(0, |doubt| doubt.offset_us - wall.offset_us))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: i64 = 1_000_000;
    const DAY: i64 = 86_400 * SECOND;
    const BEGIN: i64 = 1_800_000_000 * SECOND;

    /// A machine: its true time, and by how much its clock is off.
    struct Machine {
        wall: Wall,
        true_us: i64,
        off_us: i64,
    }

    impl Machine {
        fn new() -> Machine {
            let wall = Wall::new(Reading { wall_us: BEGIN, boot_us: 0 });
            Machine { wall, true_us: 0, off_us: 0 }
        }

        fn read(&mut self) -> (i64, Option<Step>) {
            let reading = Reading { wall_us: BEGIN + self.true_us + self.off_us, boot_us: self.true_us };
            let (us, step) = self.wall.read(reading);
            (us - BEGIN - self.true_us, step)
        }
    }

    proptest! {
        /// Whatever a clock does for less than the time of confirmation, the believed time stays true.
        #[test]
        fn a_clock_that_comes_back_is_never_believed(
            jumps in prop::collection::vec((-400i64..400, 1i64..CONFIRM_US / SECOND, 1i64..600), 1..20),
        ) {
            let mut machine = Machine::new();
            for (days, seconds, pause) in jumps {
                machine.off_us = days * DAY;
                for _ in 0..seconds {
                    machine.true_us += SECOND;
                    prop_assert_eq!(machine.read().0, 0);
                }
                machine.off_us = 0;
                machine.true_us += pause * SECOND;
                let (off_us, step) = machine.read();
                prop_assert_eq!((off_us, step), (0, (days != 0).then_some(Step::Over)));
            }
        }

        /// A jump during a suspension is found at the first read after it.
        #[test]
        fn a_jump_while_the_machine_sleeps_is_seen(hours in 1i64..1_000, days in -30i64..30) {
            let mut machine = Machine::new();
            machine.true_us += hours * 3_600 * SECOND;
            machine.off_us = days * DAY;
            let (off_us, step) = machine.read();
            prop_assert_eq!((off_us, step), (0, (days != 0).then_some(Step::Seen(days * DAY))));
        }

        /// Drift of up to 200 ms a second and slewing are followed.
        #[test]
        fn a_clock_that_drifts_is_followed(drift in prop::collection::vec(-200_000i64..200_000, 1..200)) {
            let mut machine = Machine::new();
            for us in drift {
                machine.true_us += SECOND;
                machine.off_us += us;
                prop_assert_eq!(machine.read(), (machine.off_us, None));
            }
        }
    }

    #[test]
    fn a_clock_that_stays_is_believed_after_a_while_or_at_once_if_an_operator_says_so() {
        let mut machine = Machine::new();
        machine.off_us = 9 * DAY;
        assert_eq!(machine.read(), (0, Some(Step::Seen(9 * DAY))));
        machine.true_us += CONFIRM_US - 1;
        assert_eq!(machine.read(), (0, None));
        // Another step begins anew.
        machine.off_us += DAY;
        assert_eq!(machine.read(), (0, Some(Step::Seen(10 * DAY))));
        machine.true_us += CONFIRM_US;
        assert_eq!(machine.read(), (10 * DAY, Some(Step::Believed(10 * DAY))));
        machine.off_us = 0;
        assert_eq!(machine.read().1, Some(Step::Seen(-10 * DAY)));
        let reading = Reading { wall_us: BEGIN + machine.true_us, boot_us: machine.true_us };
        assert_eq!(machine.wall.accept(reading), Some(Step::Believed(-10 * DAY)));
        assert_eq!(machine.read(), (0, None));
    }
}
