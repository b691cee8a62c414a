//! The audience knows no clock, thread, lock, socket or runtime: read off its sources.
//!
//! Why: so a whole cluster of them can run in one test under virtual time, as `audience/tests` does.
//! `RandomState` of foldhash is its one allowed source of chance, and it only orders hash tables.

use std::fs;
use std::path::Path;

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
    "rustix",
    "quinn",
    "rustls",
    "Atomic",
    "unsafe ",
];

#[test]
fn the_audience_is_pure() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/audience");
    let mut read = 0;
    for entry in fs::read_dir(&folder).expect("the sources are here") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            continue;
        }
        read += 1;
        let text = fs::read_to_string(&path).expect("text");
        for (number, line) in text.lines().enumerate().filter(|(_, l)| !l.trim_start().starts_with("//")) {
            let found: Vec<_> = BANNED.iter().filter(|word| line.contains(**word)).collect();
            assert!(found.is_empty(), "{}, line {}: {found:?} in {line}", path.display(), number + 1);
        }
    }
    assert!(read > 12, "only {read} files read");
}
