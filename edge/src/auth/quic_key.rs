//! The key of QUIC's tokens of a node without a log: one that outlives the killed process.
//!
//! Why: a client of QUIC hears nothing when its node dies. Only a stateless reset (RFC 9000, 10.3) by the
//! next process tells it, and that needs the key with which the last process made the reset's token. Without
//! it a viewer stays deaf until its own heartbeat ends, 50 s later.
//! Where: `quic.key_file`, or else a file in memory (/dev/shm) that belongs to this user and address. The
//! kernel keeps it when a process dies. A reboot or a new container begins with a new key, and then viewers
//! wait for their heartbeats.
//! Invariants: a file of another user, or that others may read or replace, is never used: they could end
//! connections. If no file was named, a key that cannot be kept is a random one and a warning, never an
//! error.
//! Not here: nodes with a log or a named file of ticket keys, whose tokens are made with those (`ticket`).

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::ticket_keys::{self, Key};
use crate::config::Config;

/// Where files in memory are.
const MEMORY: &str = "/dev/shm";

/// The key, if it can be kept.
///
/// # Errors
/// The named file cannot be read or made, or is damaged. The text says what to do.
pub(super) fn of_config(config: &Config) -> Result<Option<Key>, String> {
    if let Some(path) = &config.quic.key_file {
        return ticket_keys::read_or_make(path)
            .map(|keys| keys.first().copied())
            .map_err(|fault| format!("quic.key_file: {fault}"));
    }
    // A port that the kernel chooses is another one after a restart, so no client comes back to it.
    let Some(address) = config.quic.listen.filter(|address| address.port() != 0) else { return Ok(None) };
    let path = file_in_memory(Path::new(MEMORY), &address.to_string());
    let key = path.and_then(|path| own(&path));
    if let Err(fault) = &key {
        tracing::warn!(
            fault,
            "QUIC clients will notice late if this process is killed: set quic.key_file to a file that the node may write"
        );
    }
    Ok(key.ok())
}

/// The file of this user and address.
fn file_in_memory(directory: &Path, address: &str) -> Result<PathBuf, String> {
    if !directory.is_dir() {
        return Err(format!("{} is not a folder", directory.display()));
    }
    let user = rustix::process::geteuid().as_raw();
    let address: String = address.chars().map(|c| if c.is_ascii_digit() { c } else { '-' }).collect();
    Ok(directory.join(format!("grandstand-{user}-quic-{address}.key")))
}

/// Read the file, or make it. It must be this user's alone.
fn own(path: &Path) -> Result<Key, String> {
    let is_there = fs::symlink_metadata(path).is_ok();
    if is_there {
        check(path)?;
    }
    let keys = ticket_keys::read_or_make(path);
    check(path)?;
    match keys {
        Ok(keys) => keys.first().copied().ok_or_else(|| format!("{} holds no key", path.display())),
        Err(fault) if is_there => {
            // It is ours and holds nothing but this key, which is of no use to anybody.
            fs::remove_file(path).map_err(|error| format!("{fault}; {error}"))?;
            let keys = ticket_keys::read_or_make(path)?;
            keys.first().copied().ok_or(fault)
        }
        Err(fault) => Err(fault),
    }
}

fn check(path: &Path) -> Result<(), String> {
    let fault = |what: &str| format!("{} {what}", path.display());
    let facts = fs::symlink_metadata(path).map_err(|error| fault(&format!("cannot be read: {error}")))?;
    let is_ours = facts.uid() == rustix::process::geteuid().as_raw();
    match (facts.is_file(), is_ours && facts.mode() & 0o077 == 0) {
        (true, true) => Ok(()),
        (false, _) => Err(fault("is not a file")),
        (true, false) => Err(fault("belongs to another user, or others may read it")),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn the_next_process_has_the_same_key_and_no_foreign_file_is_used() {
        let directory = std::env::temp_dir().join(format!("grandstand-quic-key-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        let path = file_in_memory(&directory, "127.0.0.1:7443").unwrap();
        let key = own(&path).unwrap();
        assert_eq!(own(&path).unwrap(), key);
        assert_ne!(file_in_memory(&directory, "127.0.0.1:7444").unwrap(), path);

        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(own(&path).unwrap_err().contains("others may read it"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let elsewhere = directory.join("elsewhere");
        fs::rename(&path, &elsewhere).unwrap();
        symlink(&elsewhere, &path).unwrap();
        assert!(own(&path).unwrap_err().contains("is not a file"));
        fs::remove_file(&path).unwrap();

        fs::write(&path, "cut").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let next = own(&path).unwrap();
        assert_eq!((own(&path).unwrap(), next != key), (next, true), "a damaged file is replaced");
        fs::remove_dir_all(&directory).unwrap();
    }
}
