//! The system: programs of it, network namespaces, and what a killed run left behind.
//!
//! Why names with the process number: a run that was killed cannot clean up, so the next one removes what has
//! the name of a process that is gone.
//! Invariants: a namespace ends with its value; a program that fails is an error with what it said.
//! Not here: what is in a namespace (`network`, `machines`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Beginning of the names of namespaces and folders.
const PREFIX: &str = "gsf-";

/// What this machine lacks for faults of a real cluster; empty if nothing.
pub(crate) fn missing() -> Vec<&'static str> {
    let mut missing = Vec::new();
    let mut need = |is_there: bool, what| {
        if !is_there {
            missing.push(what);
        }
    };
    need(geteuid().is_root(), "root: run this as root, or with sudo");
    need(Command::new("ip").arg("-V").output().is_ok(), "the program `ip`: apt install iproute2");
    need(
        Path::new("/dev/net/tun").exists(),
        "/dev/net/tun: load the module tun, or give it to the container",
    );
    need(Path::new("/proc/self/ns/net").exists(), "network namespaces in the kernel");
    missing
}

/// Runs a program of the system; what it printed.
pub(crate) fn run(program: &str, words: &[&str]) -> Result<String> {
    let output =
        Command::new(program).args(words).output().with_context(|| format!("cannot start `{program}`"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        bail!("`{program} {}` failed: {said}", words.join(" "));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs `ip` with these words.
pub(crate) fn ip(line: &str) -> Result<String> {
    run("ip", &line.split(' ').collect::<Vec<_>>())
}

/// The folder of this run.
pub(crate) fn folder() -> PathBuf {
    std::env::temp_dir().join(format!("{PREFIX}{}", std::process::id()))
}

/// A network namespace.
#[derive(Debug)]
pub(crate) struct Namespace {
    name: String,
}

impl Namespace {
    /// A new one.
    pub(crate) fn new(what: &str) -> Result<Namespace> {
        let name = format!("{PREFIX}{}-{what}", std::process::id());
        ip(&format!("netns add {name}")).context("no network namespace can be made here")?;
        let namespace = Namespace { name };
        ip(&format!("-n {} link set lo up", namespace.name))?;
        Ok(namespace)
    }

    /// Its name, as `ip netns` knows it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The words that start a program in it; the program gets the process of these words.
    pub(crate) fn under(&self) -> [&str; 4] {
        ["ip", "netns", "exec", &self.name]
    }

    /// Moves this thread, and what it starts from now on, into it.
    pub(crate) fn enter(&self) -> Result<()> {
        let file = fs::File::open(Path::new("/run/netns").join(&self.name))?;
        Ok(move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), Some(LinkNameSpaceType::Network))?)
    }

    /// Does something there, on a thread of its own.
    pub(crate) fn within<T: Send>(&self, act: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        thread::scope(|scope| {
            let act = || self.enter().and_then(|()| act());
            scope.spawn(act).join().expect("work in a namespace does not panic")
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        remove_namespace(&self.name);
    }
}

/// Removes what runs left behind that were killed: their processes, namespaces, mounts and folders.
pub(crate) fn sweep() -> Result<()> {
    for line in ip("netns list")?.lines() {
        let name = line.split_whitespace().next().unwrap_or_default();
        if is_left_behind(name) {
            remove_namespace(name);
        }
    }
    for entry in fs::read_dir(std::env::temp_dir())?.flatten() {
        if is_left_behind(&entry.file_name().to_string_lossy()) {
            remove_folder(&entry.path());
        }
    }
    Ok(())
}

/// Removes a folder, and what is mounted in it.
pub(crate) fn remove_folder(folder: &Path) {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let places = mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(PathBuf::from);
    // The innermost was mounted last.
    let mut places: Vec<PathBuf> = places.filter(|place| place.starts_with(folder)).collect();
    places.reverse();
    for place in places {
        // A process that still writes there keeps it until it ends.
        let _ = Command::new("umount").arg("-l").arg(place).output();
    }
    // What stays is in the system's folder for temporary files, under a name that the next run removes.
    let _ = fs::remove_dir_all(folder);
}

/// Is it of a run whose process is gone?
fn is_left_behind(name: &str) -> bool {
    let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
    pid.is_some_and(|pid| pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists())
}

fn remove_namespace(name: &str) {
    let pids = ip(&format!("netns pids {name}")).unwrap_or_default();
    for pid in pids.lines().filter_map(|pid| Pid::from_raw(pid.trim().parse().ok()?)) {
        // A paused process would stay for ever; one that is gone is as wished.
        if pid.as_raw_nonzero().get() as u32 != std::process::id() {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    let _ = ip(&format!("netns del {name}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_dead_run_made_is_left_behind() {
        let own = std::process::id();
        assert!(!is_left_behind(&format!("{PREFIX}{own}-hub")), "of this run");
        assert!(is_left_behind(&format!("{PREFIX}{}-hub", u32::MAX)));
        assert!(is_left_behind(&format!("{PREFIX}{}", u32::MAX)));
        for others in ["gsf-", "gsf-x-hub", "gsn-4294967295-hub", "demo", ""] {
            assert!(!is_left_behind(others), "{others}");
        }
    }
}
