//! The sink: the destination of log lines. It never fails: lines that cannot be written are counted.
//!
//! Why: a full disk, a deleted directory or a closed pipe must never stop the node. Standard error gets one
//! notice, and the next line that can be written is written. Invariants: only the queue's thread writes. A
//! line that was cut off is ended before the next one begins. The thread turns while a pipe takes nothing, so
//! a reader that stopped does not look like a hang. Not here: which lines, and when (`queue`).

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use grandstand_edge::config::LogFormat;
use grandstand_engine::runtime::pulse::{Pulse, TURN_EVERY};

use super::notice::{Level, Notice, stderr_takes_more};

/// Bytes of one write to standard error. A pipe that is ready takes as many without a wait (PIPE_BUF).
const PIECE_BYTES: usize = 4_096;

/// Lines that could not be written, in this process.
static WRITE_ERRORS: AtomicU64 = AtomicU64::new(0);

/// Lines that could not be written since start.
pub(super) fn write_errors() -> u64 {
    WRITE_ERRORS.load(Ordering::Relaxed)
}

/// See the file's head.
#[derive(Debug)]
pub(super) struct Sink {
    /// The path in notices.
    path: Option<PathBuf>,
    format: LogFormat,
    target: Target,
    /// The last line was cut off in the middle.
    is_torn: bool,
    /// Lines are being lost, and standard error got a notice.
    is_failing: bool,
}

#[derive(Debug)]
pub(super) enum Target {
    File(File),
    Stderr,
    #[cfg(test)]
    Test(super::tests::Disk),
}

impl Sink {
    /// The file at `path`, or standard error where there is none or it cannot be opened.
    pub(super) fn open(path: Option<&Path>, format: LogFormat) -> Sink {
        let Some(path) = path else { return Sink::to(None, Target::Stderr, format) };
        match open(path) {
            Ok(file) => Sink::to(Some(path.to_owned()), Target::File(file), format),
            Err(error) => {
                let what = format!(
                    "cannot open the log file {}: {error}; logging to standard error instead",
                    path.display()
                );
                let help =
                    "create its directory, let the user that runs the node write there, or change log.file";
                Notice { level: Level::Warn, what: &what, help }.write(format);
                Sink::to(None, Target::Stderr, format)
            }
        }
    }

    pub(super) fn to(path: Option<PathBuf>, target: Target, format: LogFormat) -> Sink {
        Sink { path, format, target, is_torn: false, is_failing: false }
    }

    /// Open the file anew by its name, so that a rotation by renaming works. If it cannot be opened, lines go
    /// on into the old one.
    pub(super) fn reopen(&mut self) {
        let Some(path) = &self.path else { return };
        match open(path) {
            Ok(file) => (self.target, self.is_torn) = (Target::File(file), false),
            Err(error) => self.notice(
                &format!("cannot be opened anew: {error}; lines go on into the old one"),
                "create its directory, and let the user that runs the node write there",
            ),
        }
    }

    /// Write a line.
    pub(super) fn line(&mut self, line: &[u8], pulse: &Pulse) {
        match self.write(line, pulse) {
            Ok(()) if self.is_failing => {
                self.is_failing = false;
                self.notice("can be written again", "");
            }
            Ok(()) => {}
            Err(error) => {
                WRITE_ERRORS.fetch_add(1, Ordering::Relaxed);
                if !std::mem::replace(&mut self.is_failing, true) {
                    let what = format!(
                        "cannot be written: {error}; lines are lost and counted \
                         (grandstand_log_write_errors_total) until it can, and the node goes on"
                    );
                    self.notice(&what, "free space on its disk, or change log.file and restart");
                }
            }
        }
    }

    #[cfg(test)]
    pub(super) fn is_failing(&self) -> bool {
        self.is_failing
    }

    #[cfg(test)]
    pub(super) fn is_stderr(&self) -> bool {
        matches!(self.target, Target::Stderr) && self.path.is_none()
    }

    /// If standard error itself fails, there is no place for a notice.
    fn notice(&self, what: &str, help: &str) {
        if let Some(path) = &self.path {
            let what = format!("the log file {} {what}", path.display());
            Notice { level: Level::Warn, what: &what, help }.write(self.format);
        }
    }

    fn write(&mut self, line: &[u8], pulse: &Pulse) -> io::Result<()> {
        if self.is_torn {
            self.target.write(b"\n", pulse)?;
            self.is_torn = false;
        }
        let mut rest = line;
        while !rest.is_empty() {
            match self.target.write(rest, pulse) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    rest = &rest[n..];
                    self.is_torn = !rest.is_empty();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Target {
    fn write(&mut self, bytes: &[u8], pulse: &Pulse) -> io::Result<usize> {
        match self {
            Target::File(file) => {
                let _disk = pulse.wait_outside();
                file.write(bytes)
            }
            Target::Stderr => {
                while !stderr_takes_more(TURN_EVERY) {
                    pulse.turn();
                }
                let _reader = pulse.wait_outside();
                io::stderr().lock().write(&bytes[..bytes.len().min(PIECE_BYTES)])
            }
            #[cfg(test)]
            Target::Test(disk) => disk.write(bytes),
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}
