//! A disk whose power can be cut: an ext4 file system in a file, mounted through a loop device.
//!
//! Why the file is copied while it is mounted: unsynced writes are then in the memory of the mounted file
//! system and not in the file, just as they would not be on a disk. The loop device passes on only
//! written-back and flushed data, so the file is the disk at the moment of the cut.
//! Invariant: nothing stays mounted and no loop device stays in use when this ends.
//! Not here: the node that writes there, the crash log (`restarts`).

use crate::run::{command, output, run};
use crate::summary::Missing;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Room for the messages of an hour of this load, its log and its backups.
const IMAGE_MIB: u64 = 512;

/// A mounted disk.
pub(super) struct Image {
    directory: PathBuf,
    number: u64,
    is_mounted: bool,
}

impl Image {
    /// An empty one, mounted; its file lies in `directory`.
    pub(super) fn new(directory: &Path) -> Result<Image> {
        check_rights()?;
        fs::create_dir_all(directory)?;
        let mut image = Image { directory: directory.to_owned(), number: 1, is_mounted: false };
        fs::File::create(image.file())?.set_len(IMAGE_MIB << 20)?;
        // Tables at once: a thread of the kernel that fills them in later would be writing at the moment of a
        // cut.
        run(command("mkfs.ext4")
            .args(["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"])
            .arg(image.file()))?;
        image.mount()?;
        Ok(image)
    }

    /// Where it is mounted: elsewhere after each cut.
    pub(super) fn place(&self) -> PathBuf {
        self.directory.join(format!("mount-{}", self.number))
    }

    /// The power goes, and comes back: what was on the disk at this moment is mounted at another place.
    /// The process that wrote there must have ended.
    pub(super) fn cut(&mut self) -> Result<()> {
        let (before, old) = (self.file(), self.place());
        let next = self.directory.join(format!("disk-{}.img", self.number + 1));
        let copied = command("cp").arg("--sparse=always").args([&before, &next]).status()?;
        anyhow::ensure!(copied.success(), "cannot copy the image");
        self.unmount()?;
        fs::remove_file(before)?;
        fs::remove_dir(old)?;
        self.number += 1;
        self.mount()
    }

    fn file(&self) -> PathBuf {
        self.directory.join(format!("disk-{}.img", self.number))
    }

    fn mount(&mut self) -> Result<()> {
        fs::create_dir_all(self.place())?;
        let mounted = command("mount").args(["-o", "loop"]).args([self.file(), self.place()]).output()?;
        if !mounted.status.success() {
            let why = String::from_utf8_lossy(&mounted.stderr).trim().to_owned();
            let what = format!("no loop device can be mounted here ({why})");
            return Err(Missing { what, obtainable: false }.into());
        }
        self.is_mounted = true;
        Ok(())
    }

    fn unmount(&mut self) -> Result<()> {
        let done = command("umount").arg(self.place()).status().context("cannot start umount")?;
        anyhow::ensure!(done.success(), "{} stays mounted", self.place().display());
        self.is_mounted = false;
        Ok(())
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        if self.is_mounted && self.unmount().is_err() {
            // A process still writes there; the mount goes when that ends.
            let _ = command("umount").arg("-l").arg(self.place()).status();
        }
        let _ = fs::remove_file(self.file());
        let _ = fs::remove_dir(self.place());
    }
}

fn check_rights() -> Result<()> {
    let missing = |what: &str| Err(Missing { what: what.to_owned(), obtainable: false }.into());
    if output(command("id").arg("-u")).as_deref() != Some("0") {
        return missing("power cuts mount a file system of their own: run this as root");
    }
    if output(command("losetup").arg("--find")).is_none() {
        return missing("power cuts need loop devices (`losetup --find` has none)");
    }
    if output(command("mkfs.ext4").arg("-V")).is_none() {
        return missing("power cuts need mkfs.ext4 (e2fsprogs)");
    }
    Ok(())
}
