//! What a process costs: CPU time and memory, as Linux tells it under /proc.
//!
//! Why anonymous memory: what a node takes for its viewers is heap; files mapped and kernel buffers are not
//! its own.
//! Invariant: what the system does not tell is an error or `None`, never zero.

use std::fs;

use anyhow::Context;

/// One look at a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    /// User and system time.
    pub(crate) cpu_us: u64,
    /// Resident set.
    pub(crate) resident_bytes: u64,
    /// Of it, anonymous: heap and stacks.
    pub(crate) anonymous_bytes: u64,
}

/// Look at a process.
///
/// # Errors
/// When there is no such process, or no /proc.
pub(crate) fn sample(pid: u32) -> anyhow::Result<Sample> {
    look(&pid.to_string()).with_context(|| format!("the node's process {pid} does not run (any more)"))
}

/// Look at this process.
pub(crate) fn own() -> Option<Sample> {
    look("self").ok()
}

fn look(pid: &str) -> anyhow::Result<Sample> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let ticks = cpu_ticks(&stat).context("/proc/PID/stat is of another form")?;
    Ok(Sample {
        cpu_us: ticks * 1_000_000 / rustix::param::clock_ticks_per_second(),
        resident_bytes: kib(&status, "VmRSS:").context("no VmRSS")? * 1024,
        anonymous_bytes: kib(&status, "RssAnon:").context("no RssAnon")? * 1024,
    })
}

/// Fields 14 and 15 of proc(5); the second field is a name in parentheses that may hold anything.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn kib(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Raise the limit of open files as far as allowed: how many that is.
pub(crate) fn raise_file_limit() -> u64 {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where that is not allowed, the old one is what counts.
    let _ = setrlimit(Resource::Nofile, limit);
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_uses_cpu() {
        let before = own().unwrap();
        assert!(before.resident_bytes >= before.anonymous_bytes && before.anonymous_bytes > 100_000);
        let began = std::time::Instant::now();
        while began.elapsed().as_millis() < 60 {
            std::hint::black_box(fs::read_to_string("/proc/self/stat").unwrap());
        }
        assert!(own().unwrap().cpu_us > before.cpu_us);
        assert!(sample(u32::MAX - 5).is_err());
    }

    #[test]
    fn a_name_with_parentheses_does_not_confuse() {
        let stat = "77 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 30 12 0 0";
        assert_eq!(cpu_ticks(stat), Some(42));
    }
}
