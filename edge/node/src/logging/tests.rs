//! Tests of logging: lines to a disk that fails or stalls when told, repeated lines, and clients' texts.
//!
//! Why a model of the disk: a real one cannot be filled, freed and stalled at a chosen line.

use super::*;
use grandstand_engine::runtime::pulse::{Pulse, Pulses};
use sink::Target;
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard};

/// A disk with limited room. Clones share it, so that a test can read it and free some room.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk(Arc<(Mutex<Platter>, Condvar)>);

#[derive(Debug, Default)]
struct Platter {
    held: Vec<u8>,
    room_bytes: usize,
    is_stalled: bool,
}

impl Disk {
    fn with_room(room_bytes: usize) -> Disk {
        let disk = Disk::default();
        disk.platter().room_bytes = room_bytes;
        disk
    }

    fn platter(&self) -> MutexGuard<'_, Platter> {
        self.0.0.lock().unwrap()
    }

    fn stall(&self, is_stalled: bool) {
        self.platter().is_stalled = is_stalled;
        self.0.1.notify_all();
    }

    fn text(&self) -> String {
        String::from_utf8(self.platter().held.clone()).unwrap()
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut platter = self.0.1.wait_while(self.platter(), |platter| platter.is_stalled).unwrap();
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

/// A log to `disk` with a limit on repeats, and the events in it.
fn logged_to(disk: &Disk, log: &config::Log, events: impl FnOnce(&Arc<Queue>)) {
    let (queue, repeats, clock) = (Arc::new(Queue::default()), Arc::new(Repeats::default()), Clock::start());
    let subscriber = subscriber(log, queue.clone(), Limit(repeats, clock), false);
    let sink = Sink::to(None, Target::Test(disk.clone()), log.format);
    tracing::subscriber::with_default(subscriber, || {
        let _thread = queue.start(sink, None, clock).unwrap();
        events(&queue);
        assert!(queue.flush(Duration::from_secs(20)), "it is written");
    });
}

fn logged(log: &config::Log, events: impl FnOnce()) -> String {
    let disk = Disk::with_room(usize::MAX);
    logged_to(&disk, log, |_| events());
    disk.text()
}

fn pulse() -> Pulse {
    Pulses::default().register("log-lines")
}

/// The counter of lost lines is global, so one test has all cases that lose lines.
#[test]
fn a_full_disk_loses_lines_counts_them_and_recovers() {
    let (disk, pulse) = (Disk::with_room(10), pulse());
    let mut sink = Sink::to(Some("test.log".into()), Target::Test(disk.clone()), LogFormat::Text);
    let before = write_errors();
    sink.line(b"first\n", &pulse);
    sink.line(b"second\n", &pulse);
    sink.line(b"third\n", &pulse);
    assert_eq!(write_errors() - before, 2);
    assert!(sink.is_failing());
    disk.platter().room_bytes = 100;
    sink.line(b"fourth\n", &pulse);
    assert_eq!(disk.text(), "first\nseco\nfourth\n", "what was cut off ends before the next line");
    assert!(!sink.is_failing());
    assert_eq!(write_errors() - before, 2);
    a_device_without_space_is_survived(before + 2, &pulse);
}

/// The kernel's own full disk.
fn a_device_without_space_is_survived(before: u64, pulse: &Pulse) {
    if !Path::new("/dev/full").exists() {
        return eprintln!("skipped: this system has no /dev/full");
    }
    let mut sink = Sink::open(Some(Path::new("/dev/full")), LogFormat::Text);
    sink.line(b"lost\n", pulse);
    assert!(sink.is_failing());
    assert_eq!(write_errors() - before, 1);
}

/// A destination that takes nothing holds up nobody: lines are dropped, counted, and told when it goes on.
#[test]
fn a_stalled_destination_holds_up_nobody_and_says_how_many_lines_it_cost() {
    let disk = Disk::with_room(usize::MAX);
    disk.stall(true);
    let before = lines_dropped();
    logged_to(&disk, &log(LogFormat::Text, LogLevel::Debug), |queue| {
        // Without the queue's bound or its thread, this would not end.
        (0..3 * queue::LINES_MAX).for_each(|n| tracing::debug!(target: "grandstand", n, "line"));
        let long = "x".repeat(queue::BYTES_MAX);
        tracing::debug!(target: "grandstand", long, "too long");
        assert!(!queue.flush(Duration::from_millis(20)), "a flush ends within its time");
        assert!(lines_dropped() - before >= queue::LINES_MAX as u64);
        disk.stall(false);
        while !disk.text().contains("log lines were dropped") {
            std::thread::yield_now();
        }
    });
    let text = disk.text();
    let told = text.lines().find(|line| line.contains("log lines were dropped")).unwrap();
    let lines = told.rsplit_once("lines=").unwrap().1;
    assert_eq!(lines.parse::<u64>().unwrap(), lines_dropped() - before, "{told}");
    assert!(text.lines().next().unwrap().contains("n=0"), "the first lines are the oldest: {text}");
}

#[test]
fn a_call_site_that_repeats_itself_is_limited_and_counted() {
    let repeats = Arc::new(Repeats::default());
    let (clock, text) = (Clock::start(), Disk::with_room(usize::MAX));
    let queue = Arc::new(Queue::default());
    let subscriber = subscriber(
        &log(LogFormat::Text, LogLevel::Debug),
        queue.clone(),
        Limit(repeats.clone(), clock),
        false,
    );
    tracing::subscriber::with_default(subscriber, || {
        let sink = Sink::to(None, Target::Test(text.clone()), LogFormat::Text);
        let _thread = queue.start(sink, None, clock).unwrap();
        for n in 0..1_000_000 {
            tracing::warn!(target: "grandstand::edge", n, "accepting a connection failed");
        }
        tracing::warn!(target: "grandstand::edge", "another call site");
        (0..50).for_each(|n| tracing::debug!(target: "grandstand::edge", n, "asked for"));
        assert!(repeats.due(clock.instant()).is_empty(), "its window is not over");
        let counts = repeats.due(clock.instant() + repeats::WINDOW);
        let told: Vec<_> = counts.iter().map(|count| (count.times, count.text.as_str())).collect();
        let held = 1_000_000 - u64::from(repeats::LINES_PER_WINDOW);
        assert_eq!(told, [(held, "accepting a connection failed")]);
        tracing::warn!(target: "grandstand::edge", "another call site");
        assert!(queue.flush(Duration::from_secs(20)));
    });
    let text = text.text();
    let count = |what: &str| text.lines().filter(|line| line.contains(what)).count();
    assert_eq!(count("accepting"), repeats::LINES_PER_WINDOW as usize);
    assert_eq!((count("another call site"), count("asked for")), (2, 50));
}

#[test]
fn a_panic_is_a_line_like_every_other() {
    let json = logged(&log(LogFormat::Json, LogLevel::Info), || {
        panics::log_them();
        let outcome = std::panic::catch_unwind(|| panic!("{}", "it \"broke\"\nhere"));
        assert!(outcome.is_err());
        drop(std::panic::take_hook());
    });
    let line: serde_json::Value = serde_json::from_str(&json).unwrap_or_else(|_| panic!("{json}"));
    assert_eq!(
        (&line["level"], &line["message"]),
        (&"ERROR".into(), &"a thread panicked: it \"broke\"\nhere".into())
    );
    assert!(line["place"].as_str().is_some_and(|place| place.contains("logging/tests.rs")), "{line}");
}

#[test]
fn a_renamed_file_is_opened_anew_by_its_name() {
    let path = std::env::temp_dir().join(format!("grandstand-rotated-{}", std::process::id()));
    let old = path.with_extension("1");
    let (queue, clock) = (Arc::new(Queue::default()), Clock::start());
    let _thread = queue.start(Sink::open(Some(&path), LogFormat::Text), None, clock).unwrap();
    let write = |line: &[u8]| {
        queue.push(line);
        assert!(queue.flush(Duration::from_secs(20)));
    };
    write(b"one\n");
    std::fs::rename(&path, &old).unwrap();
    write(b"two\n");
    queue.reopen();
    write(b"three\n");
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    assert_eq!((read(&old).as_str(), read(&path).as_str()), ("one\ntwo\n", "three\n"));
    [old, path].iter().for_each(|path| std::fs::remove_file(path).unwrap());
}

#[test]
fn a_file_that_cannot_be_opened_becomes_standard_error() {
    let sink = Sink::open(Some(Path::new("/nonexistent/directory/node.log")), LogFormat::Text);
    assert!(sink.is_stderr());
}

#[test]
fn a_file_is_appended_to() {
    let path = std::env::temp_dir().join(format!("grandstand-log-{}", std::process::id()));
    for line in ["one\n", "two\n"] {
        Sink::open(Some(&path), LogFormat::Text).line(line.as_bytes(), &pulse());
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
