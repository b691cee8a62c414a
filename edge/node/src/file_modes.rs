//! File modes: what people said, and keys, are readable by the node's user only.
//!
//! Why for the whole process: SQLite, backups and logs make files in many places, and each forgotten one
//! would be open to everybody on the machine. The process's mask closes them all, whatever mask it inherited.
//! Files of earlier versions are closed at start.
//! Invariant: nothing is opened to anybody, and only files whose names are the node's own are changed: a
//! folder that holds other people's files is left as it is.
//! Not here: the owner of files (whoever runs the node).

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use grandstand_edge::config::Config;
use rustix::fs::Mode;

use crate::settings::backup_dir;

/// Bits that give something to others than the owner.
const OF_OTHERS: u32 = 0o077;

/// Folders within folders, of backups and of logs that a restore moved aside.
const DEPTH_MAX: u32 = 3;

/// From now on this process makes files of mode 0600 and folders of mode 0700 at most.
pub fn close_new_files() {
    let _ = rustix::process::umask(Mode::from_raw_mode(OF_OTHERS));
}

/// Close the files that earlier processes of this node left open to others, and say so once.
pub(crate) fn close_old_files(config: &Config) {
    let mut closed = Closed::default();
    if let Some(dir) = &config.log.dir {
        closed.folder(dir, 0);
        closed.folder(&backup_dir(config), 1);
        let crash_logs = config.log.recorder_dir.as_deref().unwrap_or(Path::new("/dev/shm"));
        closed.files_of(crash_logs, |name| name.starts_with("grandstand-") && name.ends_with(".rec"));
    }
    if let Some(file) = &config.log.file {
        closed.path(file);
    }
    if let Some((first, rest)) = closed.0.split_first() {
        tracing::warn!(
            first = %first.display(),
            more = rest.len(),
            "files that others on this machine could read were closed to them (mode 0600, folders 0700)"
        );
    }
}

/// What was closed.
#[derive(Default)]
struct Closed(Vec<PathBuf>);

impl Closed {
    /// Close a folder of the node and everything in it that has a name of the node's.
    fn folder(&mut self, dir: &Path, depth: u32) {
        let Ok(entries) = fs::read_dir(dir) else { return };
        let mut is_ours = true;
        for entry in entries.filter_map(Result::ok) {
            let (name, path) = (entry.file_name(), entry.path());
            let name = name.to_string_lossy();
            if !is_of_a_node(&name) {
                is_ours &= name == "lost+found";
                continue;
            }
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && depth < DEPTH_MAX => self.folder(&path, depth + 1),
                Ok(kind) if kind.is_symlink() => {}
                _ => self.path(&path),
            }
        }
        if is_ours {
            self.path(dir);
        }
    }

    fn files_of(&mut self, dir: &Path, is_meant: impl Fn(&str) -> bool) {
        let entries = fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
        for entry in entries.filter(|entry| is_meant(&entry.file_name().to_string_lossy())) {
            self.path(&entry.path());
        }
    }

    /// Close one file or folder of this process's user. A device (such as `/dev/null`) is left as it is.
    fn path(&mut self, path: &Path) {
        let Ok(meta) = fs::symlink_metadata(path) else { return };
        let is_meant = meta.is_file() || (meta.is_dir() && meta.mode() & 0o1000 == 0);
        let is_own = meta.uid() == rustix::process::geteuid().as_raw();
        if !is_meant || !is_own || meta.mode() & OF_OTHERS == 0 {
            return;
        }
        let mode = meta.mode() & 0o7777 & !OF_OTHERS;
        match fs::set_permissions(path, fs::Permissions::from_mode(mode)) {
            Ok(()) => self.0.push(path.to_owned()),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "others can read this file: chmod 600");
            }
        }
    }
}

/// Is this a name of a file or folder that a node makes?
fn is_of_a_node(name: &str) -> bool {
    const BEGINNINGS: &[&str] =
        &["grandstand", "log.", "tickets.", "handover.", "asked-", "before-", "replaced-", "cut-"];
    name == "backups" || BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn files_of_earlier_versions_are_closed_and_those_of_others_are_left() {
        let root = std::env::temp_dir().join(format!("grandstand-modes-{}", std::process::id()));
        let (log, shared) = (root.join("log"), root.join("shared"));
        fs::create_dir_all(log.join("backups")).unwrap();
        fs::create_dir_all(&shared).unwrap();
        let open = |path: PathBuf, bits| {
            if !path.exists() {
                fs::write(&path, "x").unwrap();
            }
            fs::set_permissions(&path, fs::Permissions::from_mode(bits)).unwrap();
            path
        };
        let files =
            [log.join("grandstand.db"), log.join("grandstand.db-wal"), log.join("backups/asked-1.db")];
        let files = files.map(|path| open(path, 0o644));
        let folders = [open(log.clone(), 0o755), open(log.join("backups"), 0o755)];
        let (theirs, ours) = (open(shared.join("theirs"), 0o644), open(shared.join("log.id"), 0o664));
        open(shared.clone(), 0o755);
        let mut closed = Closed::default();
        [&log, &shared].into_iter().for_each(|dir| closed.folder(dir, 0));
        assert!(files.iter().all(|path| mode(path) == 0o600), "{:?}", closed.0);
        assert!(folders.iter().all(|path| mode(path) == 0o700), "{:?}", closed.0);
        assert_eq!((mode(&theirs), mode(&shared), mode(&ours)), (0o644, 0o755, 0o600));
        assert_eq!(closed.0.len(), 6);
        let mut again = Closed::default();
        again.folder(&log, 0);
        assert!(again.0.is_empty(), "said once");
        fs::remove_dir_all(root).unwrap();
    }
}
