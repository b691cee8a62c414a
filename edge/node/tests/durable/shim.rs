//! A small C library under the node's process: writes below a folder that fail, and a clock that is off.
//!
//! Why so: a real disk that turns read-only under open files cannot be turned back, and the machine's clock
//! is everybody's. The library stands where the process meets the system, so all of it is on trial: node,
//! engine, log and SQLite. Needs `cc`, as the build does; without it the tests say that they are skipped.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;

use crate::machine::{Folder, run, skipped};

/// Bytes of what the library reads: the clock's error in milliseconds, and the error number of writes.
const CONTROL_BYTES: usize = 16;

/// See the file's head.
pub(crate) struct Shim {
    _folder: Folder,
    library: PathBuf,
    control: PathBuf,
    disk: PathBuf,
    file: File,
}

impl Shim {
    /// For writes below `disk`.
    pub(crate) fn under(name: &str, disk: &str) -> Option<Shim> {
        let folder = Folder::new(name);
        let (source, library, control) =
            (folder.0.join("shim.c"), folder.0.join("shim.so"), folder.0.join("control"));
        fs::write(&source, include_str!("shim.c")).unwrap();
        let paths = [library.to_str().unwrap(), source.to_str().unwrap()];
        if !run("cc", &["-shared", "-fPIC", "-O1", "-o", paths[0], paths[1], "-ldl"]) {
            return skipped();
        }
        fs::write(&control, [0; CONTROL_BYTES]).unwrap();
        let file = File::options().write(true).open(&control).unwrap();
        Some(Shim { _folder: folder, library, control, disk: disk.into(), file })
    }

    /// Puts the library under a process.
    pub(crate) fn set<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env("LD_PRELOAD", &self.library)
            .env("DURABLE_TEST_SHIM", &self.control)
            .env("DURABLE_TEST_SHIM_DISK", fs::canonicalize(&self.disk).unwrap())
    }

    /// The wall clock is off by this from now on.
    pub(crate) fn clock_ms(&self, ms: i64) {
        self.file.write_all_at(&ms.to_ne_bytes(), 0).unwrap();
    }

    /// Writes fail with this from now on; `None`: they succeed.
    pub(crate) fn writes_fail(&self, error: Option<rustix::io::Errno>) {
        let number = i64::from(error.map_or(0, rustix::io::Errno::raw_os_error));
        self.file.write_all_at(&number.to_ne_bytes(), 8).unwrap();
    }
}
