//! The disk of a machine: an ext4 file system in a file, mounted through a loop device, whose power can be
//! cut and which can be slow.
//!
//! Why the file is copied while it is mounted: what was not synced is in the memory of the mounted file
//! system and not in the file, as it would not be on a disk.
//! Invariant: nothing stays mounted when this ends.
//! Not here: who writes there (`machines`).

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::system::run;

/// Room for the logs of six shards, on disk as they grow.
const IMAGE_BYTES: u64 = 2 << 30;

/// Of cgroup v1, which throttles a device for the processes of a group.
const THROTTLE: &str = "/sys/fs/cgroup/blkio";

/// A mounted disk.
#[derive(Debug)]
pub(crate) struct Disk {
    image: PathBuf,
    place: PathBuf,
    /// A group of processes for which it is slow.
    group: Option<PathBuf>,
}

impl Disk {
    /// An empty one, mounted here.
    pub(crate) fn new(place: &Path) -> Result<Disk> {
        let disk = Disk { image: place.with_extension("img"), place: place.to_owned(), group: None };
        fs::create_dir_all(place)?;
        fs::File::create(&disk.image)?.set_len(IMAGE_BYTES)?;
        let image = disk.image.to_string_lossy().into_owned();
        // Tables at once: a thread of the kernel would be writing them at the moment of a cut.
        let options = "lazy_itable_init=0,lazy_journal_init=0";
        run("mkfs.ext4", &["-q", "-F", "-E", options, &image])?;
        disk.mount()?;
        Ok(disk)
    }

    /// The power goes and comes back: what was on the disk at this moment is there. Who wrote there must
    /// have ended.
    pub(crate) fn cut(&self) -> Result<()> {
        let next = self.image.with_extension("next");
        let (from, to) = (self.image.to_string_lossy(), next.to_string_lossy());
        run("cp", &["--sparse=always", &from, &to])?;
        run("umount", &[&self.place.to_string_lossy()])?;
        fs::rename(&next, &self.image)?;
        self.mount()
    }

    /// Fills it to the last byte; [`Disk::make_room`] undoes that.
    pub(crate) fn fill(&self) -> Result<()> {
        let mut file = fs::File::create(self.filler())?;
        let block = vec![0x55; 1 << 20];
        for size in [block.len(), 4096] {
            // Full is what is wanted.
            while std::io::Write::write_all(&mut file, &block[..size]).is_ok() {}
        }
        Ok(())
    }

    /// See [`Disk::fill`].
    pub(crate) fn make_room(&self) -> Result<()> {
        Ok(fs::remove_file(self.filler())?)
    }

    /// Makes it slow for these processes: so many writes a second.
    pub(crate) fn slow_down(&mut self, pids: &[u32], writes_per_s: u32) -> Result<()> {
        let name =
            format!("gsf-{}-{}", std::process::id(), self.place.file_name().unwrap_or_default().display());
        let group = Path::new(THROTTLE).join(name);
        fs::create_dir_all(&group).context("no cgroup can be made to slow a disk down (cgroup v1, blkio)")?;
        self.group = Some(group.clone());
        let of = fs::metadata(&self.place)?;
        let device = std::os::unix::fs::MetadataExt::dev(&of);
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        let limit = format!("{major}:{minor} {writes_per_s}");
        fs::write(group.join("blkio.throttle.write_iops_device"), limit)
            .context("the kernel does not throttle writes")?;
        for pid in pids {
            fs::write(group.join("cgroup.procs"), pid.to_string())?;
        }
        Ok(())
    }

    /// See [`Disk::slow_down`].
    pub(crate) fn speed_up(&mut self) -> Result<()> {
        let Some(group) = self.group.take() else { return Ok(()) };
        for pid in fs::read_to_string(group.join("cgroup.procs"))?.lines() {
            // One that ended meanwhile is in no group.
            let _ = fs::write(Path::new(THROTTLE).join("cgroup.procs"), pid);
        }
        Ok(fs::remove_dir(group)?)
    }

    fn filler(&self) -> PathBuf {
        self.place.join("filler")
    }

    fn mount(&self) -> Result<()> {
        let (image, place) = (self.image.to_string_lossy(), self.place.to_string_lossy());
        run("mount", &["-o", "loop", &image, &place]).context("no loop device can be mounted here")?;
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What stays is removed with the folder.
        let _ = self.speed_up();
        let _ = run("umount", &["-l", &self.place.to_string_lossy()]);
    }
}
