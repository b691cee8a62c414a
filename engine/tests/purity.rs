//! The core knows no clock, thread, lock or socket: read off its sources.
//!
//! Why beside clippy.toml: clippy takes that file for the crate below this one too, which does park threads.
//! Not here: `runtime`, the one folder that may.

use std::fs;
use std::path::{Path, PathBuf};

const BANNED: &[&str] = &[
    "Instant",
    "SystemTime",
    "std::thread",
    "Mutex",
    "RwLock",
    "Condvar",
    "std::net",
    "std::fs",
    "tokio",
    "RandomState",
    "AtomicBool",
    "AtomicU64",
    "unsafe ",
];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(folder).expect("the sources are here").map(|entry| entry.expect("readable").path());
    entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

#[test]
fn the_core_is_pure() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut read = 0;
    for path in sources(&folder) {
        let name = path.strip_prefix(&folder).expect("below it").display().to_string();
        if name.starts_with("runtime/") {
            continue;
        }
        read += 1;
        let text = fs::read_to_string(&path).expect("text");
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        for (number, line) in code.enumerate() {
            let found: Vec<_> = BANNED.iter().filter(|word| line.contains(**word)).collect();
            assert!(found.is_empty(), "{name}, code line {number}: {found:?} in {line}");
        }
    }
    assert!(read > 15, "only {read} files read");
}
