//! Panics: each is a log line with its thread, its place and its text.
//!
//! Why: the standard hook writes to standard error directly, in a form of its own. So a panic would be
//! missing from a log file, break a stream of JSON lines, and wait for a pipe that nobody reads. Not here:
//! what follows a panic (the thread's pulse reports its death).

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::PanicHookInfo;

/// From now on panics are logged.
pub(super) fn log_them() {
    std::panic::set_hook(Box::new(log));
}

fn log(info: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let text = info.payload_as_str().unwrap_or("a value that is not a text");
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        tracing::error!(thread, place, %backtrace, "a thread panicked: {text}");
    } else {
        tracing::error!(thread, place, "a thread panicked: {text}");
    }
}
