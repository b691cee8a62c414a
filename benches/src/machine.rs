//! The machine and the commit: what a figure was taken on.
//!
//! Invariant: nothing here names a person, a host or a path.
//! Not here: what was measured (`record`).

use serde::{Deserialize, Serialize};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// What stands beside every figure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The CPU's model, as the kernel names it.
    pub cpu: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// The kernel's release.
    pub kernel: String,
    /// Megabytes of memory.
    pub memory_mb: u64,
    /// The commit, short; `unknown` without git.
    pub commit: String,
    /// Whether the checkout differs from that commit.
    pub dirty: bool,
    /// Whether this program was built without optimisation: its figures mean nothing then.
    pub debug_build: bool,
    /// UTC, `YYYY-MM-DD HH:MM`.
    pub date: String,
}

impl Machine {
    /// This machine, this checkout, now.
    #[must_use]
    pub fn here() -> Machine {
        let (cpuinfo, meminfo) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Machine {
            cpu: field(&cpuinfo, "model name").unwrap_or("unknown").to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            memory_mb: field(&meminfo, "MemTotal").and_then(number).unwrap_or(0) / 1024,
            commit: git(&["rev-parse", "--short", "HEAD"]).unwrap_or_else(|| "unknown".into()),
            dirty: git(&["status", "--porcelain", "--untracked-files=no"])
                .is_some_and(|said| !said.is_empty()),
            debug_build: cfg!(debug_assertions),
            date: date(seconds),
        }
    }

    /// The day of the date.
    #[must_use]
    pub fn day(&self) -> &str {
        self.date.split(' ').next().unwrap_or_default()
    }
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

/// What git says of the checkout that this program was built in.
fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("-C").arg(env!("CARGO_MANIFEST_DIR")).args(args).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// UTC of seconds since 1970. Days to a date as in Howard Hinnant, "chrono-Compatible Low-Level Date
/// Algorithms".
fn date(seconds: u64) -> String {
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let (day, month) =
        (day_of_year - (153 * shifted + 2) / 5 + 1, if shifted < 10 { shifted + 3 } else { shifted - 9 });
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}", seconds / 3_600 % 24, seconds / 60 % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_known_seconds() {
        assert_eq!(date(0), "1970-01-01 00:00");
        assert_eq!(date(951_782_400), "2000-02-29 00:00");
        assert_eq!(date(1_735_689_599), "2024-12-31 23:59");
    }

    #[test]
    fn this_machine_has_a_cpu_memory_and_a_kernel() {
        let here = Machine::here();
        assert!(here.cores > 0 && here.memory_mb > 0 && !here.kernel.is_empty(), "{here:?}");
    }

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let list = "MemTotalX: 1 kB\nMemTotal:   24684084 kB\n";
        assert_eq!(field(list, "MemTotal").and_then(number), Some(24_684_084));
        assert_eq!(field(list, "Mem"), None);
    }
}
