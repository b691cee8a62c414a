//! The kernel's memory for a process: memory control groups (version 1), and the slab caches of sockets.
//!
//! Why both: a group counts the node alone, with kernel objects, but gives only one sum; the slab caches name
//! the objects, but for the whole machine.
//! Invariant: a group that was made here is removed when its value is dropped, once its processes have ended.
//! Not here: a process's own memory (`node`).

use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Where version 1 of the memory controller is mounted.
const MEMORY_ROOT: &str = "/sys/fs/cgroup/memory";

/// Slab caches of which an idle connection has one object each, or several.
const CACHES: [&str; 7] =
    ["TCP", "sock_inode_cache", "filp", "dentry", "eventpoll_epi", "eventpoll_pwq", "ep_head"];

/// A memory control group of our own.
#[derive(Debug)]
pub struct MemoryGroup {
    path: PathBuf,
}

/// The charges of a group, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Charged {
    /// Everything: heap, page cache, kernel objects.
    pub all: u64,
    /// The most that it ever was.
    pub all_max: u64,
    /// Of it kernel objects: sockets, files, epoll entries, page tables, stacks.
    pub kernel: u64,
    /// Anonymous pages.
    pub anonymous: u64,
    /// Times that the limit was met.
    pub limit_hits: u64,
}

impl MemoryGroup {
    /// A new group; `None` where the machine has no such controller, or does not let us.
    #[must_use]
    pub fn make() -> Option<MemoryGroup> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = Path::new(MEMORY_ROOT).join(format!("grandstand-bench-{}-{number}", std::process::id()));
        if !Path::new(MEMORY_ROOT).join("memory.usage_in_bytes").exists() {
            return None;
        }
        fs::create_dir(&path).ok()?;
        Some(MemoryGroup { path })
    }

    /// With a bound on everything that it is charged with, kernel memory and socket buffers included.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn limit(&self, bytes: u64) -> Result<()> {
        self.write("memory.limit_in_bytes", bytes)?;
        // Version 1 counts socket buffers only where they have a bound of their own.
        self.write("memory.kmem.tcp.limit_in_bytes", bytes)
    }

    /// Runs `start` on a thread within the group: what it starts, and all that comes of it, is charged to the
    /// group.
    ///
    /// # Errors
    /// The kernel does not let the thread in; or what `start` says.
    pub fn start_in<T: Send>(&self, start: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let enter = || {
            // 0 is the thread that writes.
            self.write("tasks", 0)?;
            start()
        };
        std::thread::scope(|scope| scope.spawn(enter).join().expect("starting does not panic"))
    }

    /// Its charges now.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn charged(&self) -> Result<Charged> {
        let stat = fs::read_to_string(self.path.join("memory.stat"))?;
        let of = |name: &str| stat.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        Ok(Charged {
            all: self.read("memory.usage_in_bytes")?,
            all_max: self.read("memory.max_usage_in_bytes")?,
            kernel: self.read("memory.kmem.usage_in_bytes")?,
            anonymous: of("rss ").context("memory.stat has no rss")?,
            limit_hits: self.read("memory.failcnt")?,
        })
    }

    /// Socket buffers that it is charged with, where it has a bound.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn socket_buffers_max(&self) -> Result<u64> {
        self.read("memory.kmem.tcp.max_usage_in_bytes")
    }

    fn read(&self, file: &str) -> Result<u64> {
        let text = fs::read_to_string(self.path.join(file)).with_context(|| format!("no {file}"))?;
        Ok(text.trim().parse()?)
    }

    fn write(&self, file: &str, value: u64) -> Result<()> {
        fs::write(self.path.join(file), value.to_string()).with_context(|| format!("cannot write {file}"))
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // A killed process leaves its group a moment after it was waited for.
        for _ in 0..100 {
            if fs::remove_dir(&self.path).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        eprintln!("the control group {} could not be removed", self.path.display());
    }
}

/// Bytes that the machine's connections hold in the caches of `CACHES`, both ends of each together.
///
/// # Errors
/// The kernel does not say.
pub fn socket_caches_bytes() -> Result<u64> {
    let text = fs::read_to_string("/proc/slabinfo").context("slabinfo cannot be read")?;
    let bytes =
        text.lines().filter_map(slab).filter(|(name, _)| CACHES.contains(name)).map(|(_, bytes)| bytes).sum();
    ensure!(bytes > 0, "slabinfo is not as slabinfo(5) says");
    Ok(bytes)
}

/// A cache's name, and its active objects' bytes: name, active, all, size.
fn slab(line: &str) -> Option<(&str, u64)> {
    let mut fields = line.split_whitespace();
    let name = fields.next()?;
    let active: u64 = fields.next()?.parse().ok()?;
    let size: u64 = fields.nth(1)?.parse().ok()?;
    Some((name, active * size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_slabinfo_is_read() {
        let line = "sock_inode_cache     26     38    832   19    4 : tunables    0    0    0 : slabdata      2      2      0";
        assert_eq!(slab(line), Some(("sock_inode_cache", 26 * 832)));
        assert_eq!(slab("slabinfo - version: 2.1"), None);
    }

    #[test]
    fn what_is_started_in_a_group_is_charged_to_it() {
        let Some(group) = MemoryGroup::make() else {
            eprintln!("SKIPPED: no memory control groups here");
            return;
        };
        let mut child = group
            .start_in(|| {
                let mut sleep = std::process::Command::new("sleep");
                Ok(sleep.arg("60").spawn()?)
            })
            .unwrap();
        let charged = group.charged().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(charged.all > 0 && charged.kernel > 0, "{charged:?}");
        let path = group.path.clone();
        drop(group);
        assert!(!path.exists());
    }
}
