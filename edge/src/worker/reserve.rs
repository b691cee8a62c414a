//! The reserve: a descriptor that is kept so that a new connection can be told that there are none left.
//!
//! Why: where descriptors are exhausted, a listener stays ready and every accept fails. Without a reserve a
//! new connection hangs in the kernel's queue, and the loop spins. With one, it is accepted in the reserve's
//! place, told, and closed. Invariant: the reserve is taken for one connection at a time, and kept again
//! before the next. Not here: what a client is told (`accept`), when accepting pauses (`listeners`).

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;

/// See the file's head.
#[derive(Debug)]
pub(super) struct Reserve(Option<OwnedFd>);

impl Reserve {
    /// Keep a descriptor. Where there is none, the first refusal finds no reserve and accepting pauses.
    pub(super) fn new() -> Reserve {
        Reserve(one().ok())
    }

    /// Do something with the descriptor's place; `None` where there is no reserve.
    pub(super) fn lend<T>(&mut self, use_it: impl FnOnce() -> T) -> Option<T> {
        drop(self.0.take().or_else(|| one().ok())?);
        let done = use_it();
        self.0 = one().ok();
        Some(done)
    }
}

fn one() -> io::Result<OwnedFd> {
    Ok(File::open("/dev/null")?.into())
}

/// Is it for want of descriptors, so that the reserve helps?
pub(super) fn is_out_of_files(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}
