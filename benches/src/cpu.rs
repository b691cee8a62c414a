//! The CPU time of a process, and the cores that it may run on.
//!
//! Method: nanoseconds on a core come from the scheduler (`/proc/PID/task/*/schedstat`). Threads that ended
//! are missing there; `/proc/PID/stat` includes them, in hundredths of a second, so the larger of the two is
//! used. Only `stat` separates user from system time; its shares are applied to the exact sum.
//! Not here: figures per frame or viewer (the benches).

use anyhow::{Context, Result};
use grandstand_harness::process::{Sample, sample};
use rustix::thread::{CpuSet, sched_getaffinity};
use rustix::time::{ClockId, clock_gettime};

/// CPU time, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cpu {
    /// In the program.
    pub user_ns: u64,
    /// In the kernel on its behalf.
    pub system_ns: u64,
}

impl Cpu {
    /// Both together.
    #[must_use]
    pub fn total_ns(self) -> u64 {
        self.user_ns + self.system_ns
    }
}

/// A meter of the CPU time of a process between two readings.
#[derive(Clone, Copy, Debug)]
pub struct Meter {
    pid: u32,
    exact_ns: u64,
    user_ns: u64,
    system_ns: u64,
}

impl Meter {
    /// Begin now.
    ///
    /// # Errors
    /// The process is gone.
    pub fn start(pid: u32) -> Result<Meter> {
        let (user_ns, system_ns) = split_ns(pid)?;
        Ok(Meter { pid, exact_ns: exact_ns(pid)?, user_ns, system_ns })
    }

    /// The CPU time since the start.
    ///
    /// # Errors
    /// The process is gone.
    pub fn spent(&self) -> Result<Cpu> {
        let (user_ns, system_ns) = split_ns(self.pid)?;
        let exact_ns = exact_ns(self.pid)?.saturating_sub(self.exact_ns);
        let (user, system) = (user_ns.saturating_sub(self.user_ns), system_ns.saturating_sub(self.system_ns));
        let share = if user + system == 0 { 0.0 } else { user as f64 / (user + system) as f64 };
        let user_ns = (exact_ns as f64 * share) as u64;
        Ok(Cpu { user_ns, system_ns: exact_ns - user_ns })
    }
}

/// Nanoseconds that a process's threads, ended ones included, were on a core.
///
/// # Errors
/// The process is gone.
pub fn exact_ns(pid: u32) -> Result<u64> {
    let (user_ns, system_ns) = split_ns(pid)?;
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).context("the process is gone")?;
    let of_threads = tasks.filter_map(|task| {
        let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Ok(of_threads.sum::<u64>().max(user_ns + system_ns))
}

/// Nanoseconds that this thread was on a core.
#[must_use]
pub fn thread_ns() -> u64 {
    let at = clock_gettime(ClockId::ThreadCPUTime);
    at.tv_sec as u64 * 1_000_000_000 + at.tv_nsec as u64
}

/// User and system time by the kernel's ticks.
fn split_ns(pid: u32) -> Result<(u64, u64)> {
    let Sample { user_us, system_us, .. } = sample(pid)?;
    Ok((user_us * 1_000, system_us * 1_000))
}

/// The cores that this thread may use, in order.
///
/// # Errors
/// The kernel does not say.
pub fn cores() -> Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|&core| set.is_set(core)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_seen_also_when_its_thread_has_ended() {
        let meter = Meter::start(std::process::id()).unwrap();
        let work = || {
            let begin = grandstand_harness::clock::monotonic_ns();
            let mut sum = 0u64;
            while grandstand_harness::clock::monotonic_ns() - begin < 60_000_000 {
                sum = std::hint::black_box(sum + 1);
            }
        };
        work();
        std::thread::spawn(work).join().unwrap();
        let spent_ns = meter.spent().unwrap().total_ns();
        assert!(spent_ns > 30_000_000, "{spent_ns}");
    }
}
