//! Folders and disks of a test, which leave nothing behind.
//!
//! Why: small disks that fill up need mounts, which must go away when a test fails.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder of its own, removed at its end.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Folder {
        Folder::within(&std::env::temp_dir(), name)
    }

    /// In memory, as the recorder's is: what survives a process and not the machine.
    pub(crate) fn in_memory(name: &str) -> Folder {
        let memory = Path::new("/dev/shm");
        Folder::within(if memory.is_dir() { memory } else { Path::new("/tmp") }, name)
    }

    fn within(parent: &Path, name: &str) -> Folder {
        let path = parent.join(format!("grandstand-durable-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left lies in a temporary folder.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A mounted disk: only root can have one.
pub(crate) struct Disk {
    folder: Folder,
    at: PathBuf,
}

impl Disk {
    /// So many megabytes of memory; `None` where that is not allowed, and says so.
    pub(crate) fn small(name: &str, mb: u32) -> Option<Disk> {
        let disk = Disk::unmounted(name);
        disk.mount(&["-t", "tmpfs", "-o", &format!("size={mb}m"), "grandstand-test"])
    }

    /// An ext4 of so many megabytes in a file.
    pub(crate) fn ext4(name: &str, mb: u32) -> Option<Disk> {
        let disk = Disk::unmounted(name);
        let image = disk.image();
        fs::File::create(&image).unwrap().set_len(u64::from(mb) << 20).unwrap();
        if !run("mkfs.ext4", &["-q", image.to_str().unwrap()]) {
            return skipped();
        }
        disk.mount(&["-o", "loop", image.to_str().unwrap()])
    }

    fn unmounted(name: &str) -> Disk {
        let folder = Folder::new(name);
        let at = folder.0.join("disk");
        fs::create_dir(&at).unwrap();
        Disk { folder, at }
    }

    fn mount(self, what: &[&str]) -> Option<Disk> {
        if run("mount", &[what, &[self.path()]].concat()) { Some(self) } else { skipped() }
    }

    fn image(&self) -> PathBuf {
        self.folder.0.join("image")
    }

    pub(crate) fn path(&self) -> &str {
        self.at.to_str().unwrap()
    }

    /// Nothing is written until [`Frozen`] ends: writers wait.
    pub(crate) fn freeze(&self) -> Option<Frozen<'_>> {
        if run("fsfreeze", &["-f", self.path()]) { Some(Frozen(self)) } else { skipped() }
    }

    /// Turns read-only at once, as ext4 does when it finds itself broken; only mounting it again helps.
    pub(crate) fn abort(&self) -> bool {
        run("mount", &["-o", "remount,abort", self.path()])
    }

    /// Taken off and put on again.
    pub(crate) fn mount_again(&self) {
        assert!(run("umount", &[self.path()]));
        assert!(run("mount", &["-o", "loop", self.image().to_str().unwrap(), self.path()]));
    }

    /// Leaves so many kilobytes free.
    pub(crate) fn fill(&self, free_kb: u64) -> Ballast {
        let free = rustix::fs::statvfs(&self.at).unwrap();
        let bytes = (free.f_bavail * free.f_frsize).saturating_sub(free_kb << 10);
        let path = self.at.join("ballast");
        fs::write(&path, vec![0u8; bytes as usize]).unwrap();
        Ballast(path)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Where a process still stands on it, it goes when that ends.
        run("umount", &["-l", self.path()]);
    }
}

/// See [`Disk::freeze`].
pub(crate) struct Frozen<'a>(&'a Disk);

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        assert!(run("fsfreeze", &["-u", self.0.path()]), "a disk must not stay frozen");
    }
}

/// See [`Disk::fill`].
pub(crate) struct Ballast(PathBuf);

impl Drop for Ballast {
    fn drop(&mut self) {
        // Gone already when the test has ended its disk.
        let _ = fs::remove_file(&self.0);
    }
}

/// Said in the test's output, which a runner shows on request (`--nocapture`).
pub(crate) fn skipped<T>() -> Option<T> {
    eprintln!("skipped: this needs root and mount, mkfs.ext4 and fsfreeze");
    None
}

pub(crate) fn run(program: &str, args: &[&str]) -> bool {
    let done = Command::new(program).args(args).output();
    done.is_ok_and(|output| output.status.success())
}
