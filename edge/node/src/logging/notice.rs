//! Notices: what a process says on standard error outside its log, in the form of the log.
//!
//! Why: a collector of JSON lines must be able to read every line, also one about the log itself or about a
//! start that failed.
//! Invariant: a notice never waits for a reader: on a pipe that is full it is left out.
//! Not here: log lines (`queue`).

use std::io::{self, Write};
use std::time::Duration;

use grandstand_edge::config::LogFormat;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::json;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Warn,
    Error,
}

/// What happened, and what to do about it, if there is something.
#[derive(Clone, Copy, Debug)]
pub(super) struct Notice<'a> {
    pub(super) level: Level,
    pub(super) what: &'a str,
    pub(super) help: &'a str,
}

impl Notice<'_> {
    /// Write it to standard error.
    pub(super) fn write(self, format: LogFormat) {
        if stderr_takes_more(Duration::ZERO) {
            // `eprintln!` panics when standard error is closed.
            let _ = io::stderr().lock().write_all(self.text(format).as_bytes());
        }
    }

    fn text(self, format: LogFormat) -> String {
        let Notice { level, what, help } = self;
        match format {
            LogFormat::Json => {
                let level = if level == Level::Warn { "WARN" } else { "ERROR" };
                let mut line = json!({ "level": level, "message": what, "target": "grandstand" });
                if !help.is_empty() {
                    line["help"] = json!(help);
                }
                format!("{line}\n")
            }
            LogFormat::Text => {
                let level = if level == Level::Warn { "warning" } else { "error" };
                let help = if help.is_empty() { String::new() } else { format!("help: {help}\n") };
                format!("{level}: {what}\n{help}")
            }
        }
    }
}

/// Whether standard error takes bytes without a wait, after at most this long.
pub(super) fn stderr_takes_more(wait: Duration) -> bool {
    let stderr = io::stderr();
    let wait = Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: wait.subsec_nanos().into() };
    // An error of the descriptor shows at the write.
    !matches!(poll(&mut [PollFd::new(&stderr, PollFlags::OUT)], Some(&wait)), Ok(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_has_the_form_of_the_log() {
        let notice = Notice { level: Level::Error, what: "it \"broke\"\nhere", help: "mend it" };
        assert_eq!(notice.text(LogFormat::Text), "error: it \"broke\"\nhere\nhelp: mend it\n");
        let line = notice.text(LogFormat::Json);
        let object: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&object["level"], &object["help"]), (&json!("ERROR"), &json!("mend it")));
        assert_eq!(line.lines().count(), 1);
    }
}
