//! Output of the tools: results on standard output, notices on standard error.
//!
//! Why not `println`: it panics when nobody reads any more (`gs load | head`), which prints a stack trace.
//! Invariant: a reader that has read enough is not an error; a full disk is.
//! Not here: the terminal view (`terminal`).

use std::io::{self, ErrorKind, Write};

/// Write a notice, a line of its own, to standard error. Where that is closed, nobody reads it.
pub(crate) fn notice(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Write a result to standard output, with its line ends.
///
/// # Errors
/// Standard output cannot be written, other than that its reader has gone.
pub(crate) fn result(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(anyhow::Error::from(error).context("cannot write to standard output"))
        }
        _ => Ok(()),
    }
}
