//! Files and folders that keys name.
//!
//! Why by the kind of a key: a new key that names a file is then tested too. Its name says what it is:
//! `..dir` is a folder, `..file`, `cert` and `key` are files that must be there. A secret is for
//! the node's user alone.
//! Invariant: nothing is created or written. That a folder can be made is concluded from the one above it.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use grandstand_edge::config::{self, Config, Key, Kind};
use rustix::fs::{Access, FlockOperation, access, flock, statvfs};

use super::report::Report;

/// What a path is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Read at start; it must be there.
    Read,
    /// The same, and it must be secret.
    ReadSecret,
    /// The same, if it is no public key.
    ReadKey,
    /// Written to; made if it is not there.
    Append,
    /// A folder, made if it is not there.
    Folder,
    /// A socket, made in a folder that must be there.
    Socket,
}

/// What the path of a key is for; `None` for other keys.
pub(super) fn use_of(key: &Key) -> Option<Use> {
    let (name, field) = (key.name, key.field);
    match key.kind {
        Kind::Path if name == "log.file" => Some(Use::Append),
        Kind::Path if field == "handover" => Some(Use::Socket),
        Kind::Path if field.ends_with("dir") => Some(Use::Folder),
        Kind::Path if field.contains("public") || field.starts_with("cert") => Some(Use::Read),
        Kind::Path if field.contains("key") || field.contains("secret") => Some(Use::ReadSecret),
        Kind::Path => Some(Use::Read),
        // `PATH` or `NAME=PATH`.
        Kind::List if field.ends_with("key_files") => Some(Use::ReadKey),
        _ => None,
    }
}

/// Look at every path. Returns the keys whose files cannot be read.
pub(super) fn inspect(report: &mut Report, config: &Config) -> Vec<&'static str> {
    let mut told = Vec::new();
    for key in config::keys() {
        let Some(of) = use_of(key) else { continue };
        for path in paths(&key.value(config)) {
            let fault = match of {
                Use::Read | Use::ReadSecret | Use::ReadKey => readable(&path),
                Use::Append => appendable(&path),
                Use::Folder => folder(&path),
                Use::Socket => path.parent().map_or(Ok(()), writable),
            };
            let at = path.display();
            match fault {
                Ok(()) if is_secret(of, &path) && others_may_read(&path) => report.warn(
                    key.name,
                    format!(
                        "{at} holds a secret, and others on this machine may read it (mode {:04o})",
                        mode(&path)
                    ),
                    format!("chmod 600 {at}"),
                ),
                Ok(()) => report.fine(key.name, format!("{at} {}", done(of, &path))),
                Err(fault) => {
                    report.error(key.name, format!("{at} {fault}"), hint(of, key.name));
                    told.push(key.name);
                }
            }
        }
    }
    told
}

fn done(of: Use, path: &Path) -> &'static str {
    match of {
        Use::Read | Use::ReadKey => "can be read",
        Use::ReadSecret => "can be read, by the node's user only",
        Use::Append | Use::Folder if path.exists() => "is there and can be written",
        Use::Append | Use::Folder => "can be made",
        Use::Socket => "can be made",
    }
}

fn hint(of: Use, name: &str) -> String {
    match of {
        Use::Read | Use::ReadSecret | Use::ReadKey => {
            format!("correct {name}, or let the user that runs the node read the file")
        }
        Use::Append => format!("correct {name}, or let the user that runs the node write there"),
        Use::Folder => {
            format!("make the folder and give it to the user that runs the node, or correct {name}")
        }
        Use::Socket => format!("correct {name}, or let the user that runs the node write in its folder"),
    }
}

/// The paths in the value of a key.
fn paths(value: &serde_json::Value) -> Vec<PathBuf> {
    let path = |text: &str| PathBuf::from(text.split_once('=').map_or(text, |(_, path)| path));
    match value {
        serde_json::Value::String(text) if !text.is_empty() => vec![PathBuf::from(text)],
        serde_json::Value::Array(items) => items.iter().filter_map(|item| item.as_str()).map(path).collect(),
        _ => Vec::new(),
    }
}

fn readable(path: &Path) -> Result<(), String> {
    let file = File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    let facts = file.metadata().map_err(|error| format!("cannot be read: {error}"))?;
    match (facts.is_dir(), facts.is_file(), facts.len()) {
        (true, ..) => Err("is a folder, not a file".into()),
        (_, true, 0) => Err("is empty".into()),
        _ => Ok(()),
    }
}

fn appendable(path: &Path) -> Result<(), String> {
    match fs::metadata(path) {
        Ok(facts) if facts.is_dir() => Err("is a folder, not a file".into()),
        Ok(_) => access(path, Access::WRITE_OK).map_err(|error| format!("cannot be written: {error}")),
        // A bare name is in the working folder.
        Err(_) => writable(path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."))),
    }
}

/// A folder that is there or can be made.
fn folder(path: &Path) -> Result<(), String> {
    match fs::metadata(path) {
        Ok(facts) if !facts.is_dir() => Err("is not a folder".into()),
        Ok(_) => writable(path),
        Err(_) => {
            writable(existing(path)).map_err(|fault| format!("is not there and cannot be made: {fault}"))
        }
    }
}

/// The nearest folder above that is there.
pub(super) fn existing(path: &Path) -> &Path {
    path.ancestors()
        .find(|above| above.exists())
        .filter(|above| *above != Path::new(""))
        .unwrap_or(Path::new("."))
}

fn writable(dir: &Path) -> Result<(), String> {
    let dir = if dir == Path::new("") { Path::new(".") } else { dir };
    if !dir.is_dir() {
        return Err(format!("{} is no folder", dir.display()));
    }
    access(dir, Access::WRITE_OK | Access::EXEC_OK)
        .map_err(|error| format!("{} cannot be written: {error}", dir.display()))
}

fn is_secret(of: Use, path: &Path) -> bool {
    match of {
        Use::ReadSecret => true,
        Use::ReadKey => !fs::read_to_string(path).is_ok_and(|text| text.contains("PUBLIC KEY-----")),
        _ => false,
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).map_or(0, |facts| facts.permissions().mode() & 0o7777)
}

fn others_may_read(path: &Path) -> bool {
    // A device or a socket keeps no secret.
    fs::metadata(path).is_ok_and(|facts| facts.is_file() && facts.mode() & 0o077 != 0)
}

/// The space and the lock of the durable log's folder. Returns the process that holds it.
pub(super) fn inspect_log(report: &mut Report, config: &Config) -> Option<u32> {
    let dir = config.log.dir.as_deref()?;
    if let Ok(facts) = statvfs(existing(dir)) {
        let free_mb = (facts.f_bavail * facts.f_frsize) >> 20;
        let wanted_mb = config.log.node_mb + config.log.node_mb / 10;
        let used_mb = fs::metadata(dir.join("grandstand.db")).map_or(0, |facts| facts.len() >> 20);
        if free_mb + used_mb < wanted_mb {
            report.warn(
                "log.dir",
                format!(
                    "{free_mb} MB are free and {used_mb} MB used, but the log may grow to log.node_mb = {} MB and a tenth more",
                    config.log.node_mb
                ),
                "free space, or lower log.node_mb",
            );
        } else {
            report.fine(
                "log.dir",
                format!("{free_mb} MB are free, enough for log.node_mb = {} MB", config.log.node_mb),
            );
        }
    }
    let lock = dir.join("log.lock");
    let file = File::open(&lock).ok()?;
    // Shared and given back at once: a node that starts at this moment tries again.
    if flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
        let _ = flock(&file, FlockOperation::Unlock);
        return None;
    }
    let pid = fs::read_to_string(&lock).ok().and_then(|text| text.trim().parse().ok());
    let who = pid.map_or_else(|| "a process".to_owned(), |pid: u32| format!("process {pid}"));
    report.fine("log.dir", format!("{who} holds it: a node that is started now takes over from it"));
    pid
}
