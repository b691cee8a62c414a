//! A pseudo terminal: what a program writes on it, what a person types, and how the program leaves it.
//!
//! Why no controlling terminal: that needs `unsafe` code. Signals are sent to the process itself.
//! Invariant: output is read all the time, so a program never waits for its terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use rustix::fs::{Mode, OFlags};
pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::wait::until;

/// A pseudo terminal.
#[derive(Debug)]
pub struct Pty {
    keyboard: File,
    user: OwnedFd,
    output: Arc<Mutex<Vec<u8>>>,
}

impl Pty {
    /// A terminal of this size.
    ///
    /// # Errors
    /// The system has no more of them.
    pub fn open(columns: u16, rows: u16) -> Result<Pty> {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        grantpt(&controller)?;
        unlockpt(&controller)?;
        let name = ptsname(&controller, Vec::new())?;
        let user = rustix::fs::open(&name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty())?;
        tcsetwinsize(&user, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })?;
        let keyboard = File::from(controller);
        let mut screen = keyboard.try_clone()?;
        let output = Arc::new(Mutex::new(Vec::new()));
        let written = output.clone();
        std::thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(count @ 1..) = screen.read(&mut part) {
                written.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&part[..count]);
            }
        });
        Ok(Pty { keyboard, user, output })
    }

    /// Starts a program on it.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn(&self, mut command: Command) -> Result<Child> {
        let stdio = || anyhow::Ok(Stdio::from(self.user.try_clone()?));
        command.stdin(stdio()?).stdout(stdio()?).stderr(stdio()?).spawn().context("cannot start the program")
    }

    /// Types keys.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn type_keys(&mut self, keys: &str) -> Result<()> {
        Ok(self.keyboard.write_all(keys.as_bytes())?)
    }

    /// Everything that was written so far.
    #[must_use]
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&self.output.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// Waits until this is written.
    ///
    /// # Panics
    /// It is not, in time.
    #[track_caller]
    pub fn wait_for(&self, text: &str) {
        until(text, || self.output().contains(text));
    }

    /// Does the terminal echo keys and edit lines, as a shell needs it?
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn is_sane(&self) -> Result<bool> {
        Ok(tcgetattr(&self.user)?
            .local_modes
            .contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG))
    }
}

/// Sends a signal to a child.
///
/// # Errors
/// It has ended.
pub fn signal(child: &Child, signal: Signal) -> Result<()> {
    Ok(kill_process(Pid::from_child(child), signal)?)
}
