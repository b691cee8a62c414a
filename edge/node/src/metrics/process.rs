//! Metrics of the process, under the names that Prometheus clients share (`process_...`).
//!
//! Why: memory, CPU and open files are the first numbers that an operator needs.
//! Invariant: a number that the system does not provide is omitted, never shown as zero.
//! Not here: the workers' counters (`stats`).

use std::fs;

use grandstand_engine::runtime::wall;
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

/// One number of the process.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) value: f64,
}

/// All numbers that the system provides now.
pub(super) fn readings() -> Vec<Reading> {
    let reading = |name, help, value: Option<f64>| value.map(|value| Reading { name, help, value });
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let (steps, off_us) = wall::doubt();
    let clock = (steps as f64, off_us as f64 / 1e6);
    let readings = [
        reading("process_cpu_seconds_total", "CPU time used, user and system.", Some(cpu_seconds())),
        reading("process_resident_memory_bytes", "Memory in use (resident set).", kib(&status, "VmRSS:")),
        reading("process_resident_memory_max_bytes", "Most memory ever in use.", kib(&status, "VmHWM:")),
        reading(
            "process_clock_steps_total",
            "Steps of the wall clock that were not believed at once.",
            Some(clock.0),
        ),
        reading(
            "process_clock_doubted_seconds",
            "By how much the wall clock is off and not believed.",
            Some(clock.1),
        ),
        reading("process_threads", "Threads.", field(&status, "Threads:")),
        reading("process_open_fds", "Open file descriptors.", open_files()),
        reading("process_max_fds", "File descriptors that may be open.", open_files_max()),
    ];
    readings.into_iter().flatten().collect()
}

fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// The kernel gives the number as the directory's size (Linux 6.2); before that, the entries are counted.
fn open_files() -> Option<f64> {
    let told = fs::metadata("/proc/self/fd").ok().map(|meta| meta.len()).filter(|&n| n > 0);
    let counted = || fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as u64);
    told.or_else(counted).map(|n| n as f64)
}

fn open_files_max() -> Option<f64> {
    getrlimit(Resource::Nofile).current.map(|n| n as f64)
}

fn kib(status: &str, name: &str) -> Option<f64> {
    field(status, name).map(|kib| kib * 1024.0)
}

fn field(status: &str, name: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_has_memory_files_and_used_cpu() {
        let readings = readings();
        let value = |name| readings.iter().find(|r| r.name == name).map(|r| r.value).unwrap();
        assert!(value("process_resident_memory_bytes") > 100_000.0);
        assert!(value("process_open_fds") >= 3.0 && value("process_open_fds") <= value("process_max_fds"));
        assert!(value("process_cpu_seconds_total") > 0.0);
        assert!(readings.iter().all(|r| r.name.starts_with("process_") && !r.help.is_empty()));
    }

    #[test]
    fn a_status_without_a_line_tells_nothing() {
        assert_eq!(kib("Name:\tx\nVmRSS:\t  12 kB\n", "VmRSS:"), Some(12.0 * 1024.0));
        assert_eq!(kib("Name:\tx\n", "VmRSS:"), None);
    }
}
