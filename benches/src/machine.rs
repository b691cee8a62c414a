//! The machine and the commit of a measurement.
//!
//! Invariant: no field names a person, a host or a path.
//! Not here: the figures (`record`).

use serde::{Deserialize, Serialize};
use std::process::Command;

/// The machine, as it is recorded beside every figure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The CPU's model, as the kernel names it.
    pub cpu: String,
    /// Cores of the machine.
    pub cores: usize,
    /// The kernel's release.
    pub kernel: String,
    /// Megabytes of memory.
    pub memory_mb: u64,
    /// Whether this program was built without optimisation: its figures mean nothing then.
    pub debug_build: bool,
}

/// The checkout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkout {
    /// The commit, short; `unknown` without git.
    pub commit: String,
    /// Whether the checkout differs from that commit.
    pub dirty: bool,
}

impl Machine {
    /// This machine.
    #[must_use]
    pub fn here() -> Machine {
        let (cpuinfo, meminfo) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
        Machine {
            cpu: field(&cpuinfo, "model name").unwrap_or("unknown").to_owned(),
            cores: cpuinfo.lines().filter(|line| line.starts_with("processor")).count(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            memory_mb: field(&meminfo, "MemTotal").and_then(number).unwrap_or(0) / 1024,
            debug_build: cfg!(debug_assertions),
        }
    }
}

impl Checkout {
    /// The checkout that this program was built in.
    #[must_use]
    pub fn here() -> Checkout {
        let git = |args: &[&str]| said("git", &[&["-C", env!("CARGO_MANIFEST_DIR")], args].concat());
        Checkout {
            commit: git(&["rev-parse", "--short", "HEAD"]).unwrap_or_else(|| "unknown".into()),
            dirty: git(&["status", "--porcelain", "--untracked-files=no"])
                .is_some_and(|text| !text.is_empty()),
        }
    }
}

/// Day and time, as `2026-11-23` and `05:46`.
#[must_use]
pub fn utc_now() -> (String, String) {
    let now = said("date", &["-u", "+%Y-%m-%d %H:%M"]).unwrap_or_default();
    let (day, time) = now.split_once(' ').unwrap_or_default();
    (day.to_owned(), time.to_owned())
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// The first value of a `name : value` list.
fn field<'a>(list: &'a str, name: &str) -> Option<&'a str> {
    list.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then_some(value.trim())
    })
}

fn number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

/// What a program prints, unless it fails.
fn said(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_cpu_memory_a_kernel_and_a_clock() {
        let here = Machine::here();
        assert!(here.cores > 0 && here.memory_mb > 0 && !here.kernel.is_empty(), "{here:?}");
        let (day, time) = utc_now();
        assert_eq!((day.len(), time.len()), (10, 5));
    }

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let list = "MemTotalX: 1 kB\nMemTotal:   24684084 kB\n";
        assert_eq!(field(list, "MemTotal").and_then(number), Some(24_684_084));
        assert_eq!(field(list, "Mem"), None);
    }
}
