//! Tests of logging: lines to a disk that fails when told, and clients' texts.
//!
//! Why a model of the disk: a real one cannot be filled and freed at a chosen line.

use super::*;
use std::sync::MutexGuard;

/// A disk with limited room. Clones share it, so that a test can read it and free some room.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk(Arc<Mutex<Platter>>);

#[derive(Debug, Default)]
struct Platter {
    held: Vec<u8>,
    room_bytes: usize,
}

impl Disk {
    fn with_room(room_bytes: usize) -> Disk {
        Disk(Arc::new(Mutex::new(Platter { held: Vec::new(), room_bytes })))
    }

    fn platter(&self) -> MutexGuard<'_, Platter> {
        self.0.lock().unwrap()
    }

    fn text(&self) -> String {
        String::from_utf8(self.platter().held.clone()).unwrap()
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut platter = self.platter();
        let n = bytes.len().min(platter.room_bytes);
        if n == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        platter.held.extend_from_slice(&bytes[..n]);
        platter.room_bytes -= n;
        Ok(n)
    }
}

fn log(format: LogFormat, level: LogLevel) -> config::Log {
    config::Log { format, level, ..config::Log::default() }
}

fn logged(log: &config::Log, events: impl FnOnce()) -> String {
    let disk = Disk::with_room(usize::MAX);
    let subscriber = subscriber(log, Sink::to(None, Target::Test(disk.clone())), false);
    tracing::subscriber::with_default(subscriber, events);
    disk.text()
}

/// The counter of lost lines is global, so one test has all cases that lose lines.
#[test]
fn a_full_disk_loses_lines_counts_them_and_recovers() {
    let disk = Disk::with_room(10);
    let sink = Sink::to(Some("test.log".into()), Target::Test(disk.clone()));
    let before = write_errors();
    sink.line(b"first\n");
    sink.line(b"second\n");
    sink.line(b"third\n");
    assert_eq!(write_errors() - before, 2);
    assert!(sink.out.lock().unwrap().is_failing);
    disk.platter().room_bytes = 100;
    sink.line(b"fourth\n");
    assert_eq!(disk.text(), "first\nseco\nfourth\n", "what was cut off ends before the next line");
    assert!(!sink.out.lock().unwrap().is_failing);
    assert_eq!(write_errors() - before, 2);
    a_device_without_space_is_survived(before + 2);
}

/// The kernel's own full disk.
fn a_device_without_space_is_survived(before: u64) {
    if !Path::new("/dev/full").exists() {
        return eprintln!("skipped: this system has no /dev/full");
    }
    let sink = Sink::open(Some(Path::new("/dev/full")));
    sink.line(b"lost\n");
    assert!(sink.out.lock().unwrap().is_failing);
    assert_eq!(write_errors() - before, 1);
}

#[test]
fn a_file_that_cannot_be_opened_becomes_standard_error() {
    let sink = Sink::open(Some(Path::new("/nonexistent/directory/node.log")));
    assert!(matches!(sink.out.lock().unwrap().file, Target::Stderr));
    assert_eq!(sink.path, None);
}

#[test]
fn a_file_is_appended_to() {
    let path = std::env::temp_dir().join(format!("grandstand-log-{}", std::process::id()));
    for line in ["one\n", "two\n"] {
        Sink::open(Some(&path)).line(line.as_bytes());
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\n");
    std::fs::remove_file(path).unwrap();
}

#[test]
fn the_level_counts_for_us_and_warnings_for_the_rest() {
    let events = || {
        tracing::info!(target: "grandstand_edge::x", "ours");
        tracing::debug!(target: "grandstand_edge::x", "ours in detail");
        tracing::info!(target: "hyper", "theirs");
        tracing::warn!(target: "hyper", "their warning");
    };
    let info = logged(&log(LogFormat::Text, LogLevel::Info), events);
    assert!(info.contains("ours") && info.contains("their warning"), "{info}");
    assert!(!info.contains("detail") && !info.contains("theirs"), "{info}");
    let error = logged(&log(LogFormat::Text, LogLevel::Error), events);
    assert_eq!(error, "");
}

#[test]
fn json_is_one_object_per_line_whatever_strangers_write() {
    let nasty = "a\"}\n{\"level\":\"ERROR\",\"message\":\"forged\u{202e}";
    let text = logged(&log(LogFormat::Json, LogLevel::Info), || {
        tracing::info!(target: "grandstand", text = %Escaped(nasty), "refused");
    });
    let object: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
    assert_eq!(text.lines().count(), 1);
    assert_eq!((&object["level"], &object["message"]), (&"INFO".into(), &"refused".into()));
    assert!(object["text"].as_str().unwrap().starts_with("a\\\"}\\n{"), "{object}");
}

#[test]
fn strangers_texts_cannot_end_quote_turn_or_colour_a_line() {
    let nasty = "x\r\n\x1b[31m\"'\\\u{0}\u{9b}\u{202e}\u{2066}\u{200b}\u{2028}\u{feff}\u{e0041}y";
    let shown = Escaped(nasty).to_string();
    assert!(shown.starts_with('x') && shown.ends_with('y'));
    assert!(shown.bytes().all(|b| (0x20..0x7f).contains(&b)), "{shown}");
    assert!(shown.contains("\\u{202e}") && shown.contains("\\\"") && shown.contains("\\n"), "{shown}");
    assert_eq!(Escaped("Grüße 🎉 こんにちは").to_string(), "Grüße 🎉 こんにちは");
}

#[test]
fn long_texts_are_cut_by_characters() {
    assert_eq!(Escaped(&"é".repeat(200)).to_string(), "é".repeat(200));
    assert_eq!(Escaped(&"é".repeat(203)).to_string(), format!("{}… (3 more)", "é".repeat(200)));
}
