//! The commands `backup`, `restore` and `verify`: the durable log on the command line, while a node serves or
//! without one.
//!
//! Why in the node's own program: an operator who can start a node can back up its log, with nothing else to
//! install. Exit codes: 0 done and sound, 1 not done or not sound, 2 a wrong command line. With `--json` the
//! result is one object on standard output, also for faults.
//! Not here: the operations themselves (`grandstand_store`), a running node's own backups (`http::admin`, the
//! store's schedule).

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use grandstand_edge::clock::Clock;
use grandstand_store::verify::Report;
use grandstand_store::{DATABASE, StoreError, backup, verify};
use serde_json::{Value, json};

use grandstand_edge::config;

/// Interval at which a copy shows its progress on a terminal.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);

/// The result of a command, for people and for programs, and whether all is well.
struct Said {
    is_well: bool,
    text: String,
    json: Value,
}

/// A command that could not be done: the fault, and what to do.
struct Failed {
    what: String,
    hint: &'static str,
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Failed {
        let hint = match &error {
            StoreError::Locked { .. } => "stop the node that uses the folder, or give another one",
            StoreError::InTheWay { .. } => {
                "give another name; `restore --force` puts a backup in place of a log, which is kept aside"
            }
            StoreError::Missing { .. } => "name the folder of a log, its database, or a backup",
            StoreError::Corrupt { .. } => "`grandstand verify` names each fault; take another backup",
            StoreError::OtherKind { .. } => "name the folder of a log of that kind",
            StoreError::Newer { .. } => "take the program that wrote it, or a newer one",
            StoreError::Io { .. } | StoreError::Sqlite { .. } => {
                "check that the file can be read and written, and the free space of its disk"
            }
        };
        Failed { what: error.to_string(), hint }
    }
}

/// The three commands.
pub fn commands() -> [Command; 3] {
    [backup_command(), restore_command(), verify_command()]
}

fn backup_command() -> Command {
    Command::new("backup")
        .about("Copy the durable log into one file, also while a node serves from it")
        .long_about(
            "Copy the durable log into one file, consistent at one moment, also while a node serves from it: the node does not \
             wait. The file is written under another name, synced, checked and then put in its place, so a file of that \
             name is always a whole backup. A file that is there is not overwritten.",
        )
        .after_long_help(
            "Examples:\n  grandstand backup --dir /var/lib/grandstand --to /backups/tonight.db\n  \
             grandstand backup --to /backups/$(date +%F).db      (the folder is the configuration's log.dir)\n  \
             grandstand verify /backups/tonight.db               (look again, later or on another machine)\n\
             A running node makes its own by log.backup_every_hours, and one at once by POST /log/backup.",
        )
        .arg(dir("Folder of the log; the configuration's log.dir when left out").required(false))
        .arg(file("to", "FILE", "File to make"))
        .arg(as_json())
}

fn restore_command() -> Command {
    Command::new("restore")
        .about("Put a backup in place as a node's log; the node must be stopped")
        .long_about(
            "Put a backup in place as a node's log. The backup is verified first, and a folder that a node uses is refused. \
             Where a log is already there, --force is needed, and that log is kept aside and named. What was said after \
             the backup is not in it: a node that starts on it goes on under new epochs, so that no viewer takes one for \
             the other.",
        )
        .after_long_help(
            "Examples:\n  grandstand restore --from /backups/tonight.db --dir /var/lib/grandstand\n  \
             grandstand restore --from /backups/tonight.db --dir /var/lib/grandstand --force",
        )
        .arg(file("from", "FILE", "Backup to put in place"))
        .arg(dir("Folder of the log").required(true))
        .arg(
            Arg::new("force")
                .long("force")
                .action(ArgAction::SetTrue)
                .help("Also where a log is there already, which is kept aside"),
        )
        .arg(as_json())
}

fn verify_command() -> Command {
    Command::new("verify")
        .about("Check a log or a backup from end to end; 1 when something is wrong")
        .long_about(
            "Check a log or a backup from end to end: the database's own structure, and the chain of checksums of every room, \
             so that every changed bit, hole and swap is found. Each fault is a line. Nothing is changed; a node may \
             serve from it meanwhile.",
        )
        .after_long_help(
            "Examples:\n  grandstand verify /var/lib/grandstand\n  grandstand verify /backups/tonight.db --json",
        )
        .arg(
            Arg::new("path")
                .value_name("PATH")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("Folder of a log, its database, or a backup"),
        )
        .arg(as_json())
}

fn dir(help: &'static str) -> Arg {
    Arg::new("dir").long("dir").value_name("DIR").value_parser(value_parser!(PathBuf)).help(help)
}

fn file(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    let arg = Arg::new(name).long(name).value_name(value).required(true);
    arg.value_parser(value_parser!(PathBuf)).help(help)
}

fn as_json() -> Arg {
    Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print one JSON object instead")
}

/// Run one of them. Returns whether all is well.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(name: &str, matches: &ArgMatches, out: &mut impl Write) -> io::Result<bool> {
    let done = match name {
        "backup" => make_backup(matches),
        "restore" => restore(matches),
        "verify" => check(matches),
        other => unreachable!("{other} is none of these commands"),
    };
    let as_json = matches.get_flag("json");
    match done {
        Ok(said) if as_json => writeln!(out, "{}", said.json).map(|()| said.is_well),
        Ok(said) => writeln!(out, "{}", said.text).map(|()| said.is_well),
        Err(Failed { what, hint }) => {
            if as_json {
                writeln!(out, "{}", json!({ "error": what, "hint": hint }))?;
            }
            // If standard error is closed, the exit code still reports the error.
            let _ = writeln!(io::stderr().lock(), "error: {what}\nhelp: {hint}");
            Ok(false)
        }
    }
}

fn path<'a>(matches: &'a ArgMatches, name: &str) -> &'a Path {
    matches.get_one::<PathBuf>(name).expect("clap asks for it")
}

fn make_backup(matches: &ArgMatches) -> Result<Said, Failed> {
    let dir = log_dir(matches)?;
    let (to, clock) = (path(matches, "to"), Clock::start());
    let made = copied(is_there(&dir)?, to)?;
    let ms = clock.uptime().as_millis() as u64;
    Ok(Said {
        is_well: true,
        text: format!(
            "{}: {} rooms, {} messages, {} bytes; made and verified in {ms} ms",
            to.display(),
            made.rooms,
            made.messages,
            made.file_bytes
        ),
        json: json!({
            "file": to.display().to_string(), "bytes": made.file_bytes, "rooms": made.rooms, "messages": made.messages, "ms": ms,
        }),
    })
}

fn restore(matches: &ArgMatches) -> Result<Said, Failed> {
    let (from, dir) = (path(matches, "from"), path(matches, "dir"));
    let before = replaced(dir);
    let report = backup::restore(is_there(from)?, dir, matches.get_flag("force"))?;
    let aside =
        replaced(dir).into_iter().find(|path| !before.contains(path)).map(|path| path.display().to_string());
    let kept =
        aside.as_ref().map_or_else(String::new, |path| format!("; the log that was there is now in {path}"));
    Ok(Said {
        is_well: true,
        text: format!(
            "{} is in place in {}: {} rooms, {} messages{kept}",
            from.display(),
            dir.display(),
            report.rooms,
            report.messages
        ),
        json: json!({
            "from": from.display().to_string(), "dir": dir.display().to_string(), "rooms": report.rooms,
            "messages": report.messages, "kept_aside": aside,
        }),
    })
}

/// Folders of logs that a restore replaced here.
fn replaced(dir: &Path) -> Vec<PathBuf> {
    let is_one =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("replaced-"));
    std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(is_one)
        .collect()
}

fn check(matches: &ArgMatches) -> Result<Said, Failed> {
    let path = path(matches, "path");
    let report = verify::run(is_there(path)?)?;
    let lines = report.faults.iter().map(|fault| format!("fault: {fault}\n")).collect::<String>();
    let end = match report.fault_count {
        0 if report.is_last_unsure => "sound up to the last commit, which was under way and is not there; \
                                      whether it was acknowledged is not known"
            .to_owned(),
        0 => "sound".to_owned(),
        1 => "1 fault".to_owned(),
        count => format!("{count} faults"),
    };
    let copies = report.copies.as_ref().map_or(String::new(), |copies| {
        let of = |position: &Option<u64>| position.map_or("none".to_owned(), |position| position.to_string());
        let positions = copies.iter().map(of).collect::<Vec<_>>().join(", ");
        format!(", copies of {} shards up to the positions {positions}", copies.len())
    });
    Ok(Said {
        is_well: report.fault_count == 0,
        text: format!(
            "{lines}{}: {} rooms, {} messages{copies}: {end}",
            path.display(),
            report.rooms,
            report.messages
        ),
        json: json!({
            "path": path.display().to_string(), "schema": report.version, "rooms": report.rooms, "segments": report.segments,
            "batches": report.batches, "messages": report.messages, "bytes": report.file_bytes,
            "fault_count": report.fault_count, "faults": report.faults,
            "is_last_unsure": report.is_last_unsure, "copies": report.copies,
        }),
    })
}

fn log_dir(matches: &ArgMatches) -> Result<PathBuf, Failed> {
    if let Some(dir) = matches.get_one::<PathBuf>("dir") {
        return Ok(dir.clone());
    }
    let hint = "name it with --dir, or set GRANDSTAND_LOG_DIR or GRANDSTAND_CONFIG as for the node";
    let effective = config::load(None, config::environment(), [])
        .map_err(|error| Failed { what: error.to_string(), hint })?;
    effective.config.log.dir.ok_or_else(|| Failed { what: "no folder of a log is given".to_owned(), hint })
}

/// A path that does not exist is a typing error, not a lost log.
fn is_there(path: &Path) -> Result<&Path, Failed> {
    let is_log = if path.is_dir() { path.join(DATABASE).exists() } else { path.exists() };
    let what = || format!("there is no log or backup at {}", path.display());
    if is_log {
        Ok(path)
    } else {
        Err(Failed { what: what(), hint: "name the folder of a log, its database, or a backup" })
    }
}

/// Make the copy, and show its progress on a terminal.
fn copied(from: &Path, to: &Path) -> Result<Report, Failed> {
    let bytes = |path: &Path| std::fs::metadata(path).map_or(0, |facts| facts.len());
    let source = if from.is_dir() { from.join(DATABASE) } else { from.to_owned() };
    let part = to.with_extension("part");
    let shows = io::stderr().is_terminal();
    thread::scope(|scope| {
        let (done, waiting) = mpsc::channel::<()>();
        let copy = scope.spawn(move || {
            // Dropped at the end, whatever the result.
            let _done = done;
            backup::run(from, to)
        });
        while let Err(mpsc::RecvTimeoutError::Timeout) = waiting.recv_timeout(PROGRESS_EVERY) {
            if shows {
                let (now, all) = (bytes(&part) >> 20, bytes(&source) >> 20);
                // If standard error is closed, nobody watches the progress.
                let _ = writeln!(io::stderr().lock(), "{now} of about {all} MiB");
            }
        }
        Ok(copy.join().expect("copying does not panic")?)
    })
}
