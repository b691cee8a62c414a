//! Processes: the CPU time and memory that Linux reports under /proc, and the core of a process.
//!
//! Why anonymous memory: a node's memory for viewers is on the heap; mapped files and kernel buffers are not
//! the node's own.
//! Invariant: a figure that the system does not report is an error, never zero.
//! Not here: CPU time finer than a tick of the kernel (the benches' meter).

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command};

use anyhow::{Context, Result};
use rustix::process::{Resource, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};

/// One look at a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// User time.
    pub user_us: u64,
    /// Time of the kernel on its behalf.
    pub system_us: u64,
    /// Resident set.
    pub resident_bytes: u64,
    /// Of it, anonymous: heap and stacks.
    pub anonymous_bytes: u64,
    /// The largest resident set so far.
    pub peak_bytes: u64,
}

impl Sample {
    /// User and system time.
    #[must_use]
    pub fn cpu_us(&self) -> u64 {
        self.user_us + self.system_us
    }
}

/// Open files of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// Without a name: sockets, pipes, events.
    pub unnamed: u64,
    /// With a name: a durable log.
    pub named: u64,
}

/// The CPU time and memory of a process.
///
/// # Errors
/// There is no such process, or no /proc.
pub fn sample(pid: u32) -> Result<Sample> {
    let read = |name: &str| {
        fs::read_to_string(format!("/proc/{pid}/{name}"))
            .with_context(|| format!("process {pid} does not run (any more)"))
    };
    let (stat, status) = (read("stat")?, read("status")?);
    let (user_us, system_us) = cpu_us(&stat).context("/proc/PID/stat is not as proc(5) says")?;
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib: Option<u64> = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        kib.map(|kib| kib * 1024).with_context(|| format!("/proc/PID/status has no {name}"))
    };
    Ok(Sample {
        user_us,
        system_us,
        resident_bytes: bytes("VmRSS:")?,
        anonymous_bytes: bytes("RssAnon:")?,
        peak_bytes: bytes("VmHWM:")?,
    })
}

/// The CPU time and memory of this process; all 0 where the system does not tell.
#[must_use]
pub fn own() -> Sample {
    sample(std::process::id()).unwrap_or_default()
}

/// The files that a process has open.
///
/// # Errors
/// There is no such process, or no /proc.
pub fn files(pid: u32) -> Result<Files> {
    let directory = PathBuf::from(format!("/proc/{pid}/fd"));
    // One that is closed meanwhile has no target any more.
    let targets = fs::read_dir(directory)?.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    let (named, unnamed): (Vec<_>, Vec<_>) = targets.partition(|target| target.is_absolute());
    Ok(Files { unnamed: unnamed.len() as u64, named: named.len() as u64 })
}

/// Fields 14 and 15 of proc(5); the second field is a name in parentheses that may hold anything.
fn cpu_us(stat: &str) -> Option<(u64, u64)> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut next_us =
        || Some(fields.next()?.parse::<u64>().ok()? * 1_000_000 / rustix::param::clock_ticks_per_second());
    Some((next_us()?, next_us()?))
}

/// Starts a program, on one core from its first instruction if that is given: a child inherits the cores of
/// the thread that starts it.
///
/// # Errors
/// It cannot be started, or there is no such core.
///
/// # Panics
/// Never: starting a program does not panic.
pub fn spawn_on(mut command: Command, core: Option<usize>) -> Result<Child> {
    let start = move || -> Result<Child> {
        if let Some(core) = core {
            pin_here(core)?;
        }
        Ok(command.spawn()?)
    };
    std::thread::spawn(start).join().expect("starting a program does not panic")
}

/// Keeps this thread, and what it starts from now on, on one core.
///
/// # Errors
/// There is no such core, or the kernel forbids it.
pub fn pin_here(core: usize) -> Result<()> {
    let mut only = CpuSet::new();
    only.set(core);
    sched_setaffinity(None, &only).with_context(|| format!("cannot stay on core {core}"))
}

/// Raises the limit of open files as far as allowed; returns that limit.
pub fn raise_file_limit() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where that is not allowed, the old limit holds.
    let _ = setrlimit(Resource::Nofile, limit);
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Stdio;

    #[test]
    fn this_process_has_memory_files_and_uses_cpu() {
        let own = || sample(std::process::id()).unwrap();
        let before = own();
        assert!(before.resident_bytes >= before.anonymous_bytes && before.anonymous_bytes > 100_000);
        assert!(before.peak_bytes >= before.resident_bytes - (1 << 20));
        let file = fs::File::open("/proc/self/stat").unwrap();
        assert!(files(std::process::id()).unwrap().named > 0);
        drop(file);
        let began = std::time::Instant::now();
        while began.elapsed().as_millis() < 60 {
            std::hint::black_box(fs::read_to_string("/proc/self/stat").unwrap());
        }
        assert!(own().cpu_us() > before.cpu_us());
        assert!(sample(u32::MAX - 5).is_err());
    }

    #[test]
    fn a_name_with_parentheses_is_passed_over() {
        let tick_us = 1_000_000 / rustix::param::clock_ticks_per_second();
        let stat = "77 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 30 12 0 0";
        assert_eq!(cpu_us(stat), Some((30 * tick_us, 12 * tick_us)));
        assert_eq!(cpu_us("7 (a) S 1"), None);
    }

    #[test]
    fn a_child_runs_on_its_core_from_the_start() {
        let allowed = rustix::thread::sched_getaffinity(None).unwrap();
        let core = (0..CpuSet::MAX_CPU).rfind(|&core| allowed.is_set(core)).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "grep Cpus_allowed_list /proc/self/status"]).stdout(Stdio::piped());
        let said = spawn_on(command, Some(core)).unwrap().wait_with_output().unwrap().stdout;
        let said = String::from_utf8(said).unwrap();
        assert_eq!(said.split_whitespace().last(), Some(core.to_string().as_str()), "{said}");
    }
}
