//! Ticket keys in a file, by which tickets outlive the process and nodes share them.
//!
//! Layout: text, one key a line, the newest first. A line is a key of 32 bytes in hex, then the first eight
//! hex digits of the key's SHA-256, which reveal a damaged line. A line without these digits is valid too
//! (`openssl rand -hex 32`). `#` begins a comment. Rotation: insert a new first line, and reload. A line may
//! be removed when tickets of its time have expired.
//! Invariants: a file that exists and cannot be parsed is an error; new keys never replace it. A new file
//! appears whole or not at all, and only its owner may read it. Two processes that make it at once both use
//! the same file.
//! Not here: tickets (`ticket`), the file's path (`config`).

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use aws_lc_rs::digest;

/// Bytes of a key: the length of its HMAC's hash (RFC 2104, 3).
pub(crate) const KEY_BYTES: usize = 32;

/// Keys of a file: a rotation a day for a week. Each is tried on a ticket of another node.
const KEYS_MAX: usize = 8;

/// Hex digits of the check behind a key.
const CHECK_DIGITS: usize = 8;

/// A key.
pub(crate) type Key = [u8; KEY_BYTES];

/// Read the keys of a file that must exist.
///
/// # Errors
/// The fault of the file, and what to do.
pub(crate) fn read(path: &Path) -> Result<Vec<Key>, String> {
    let fault = |what: String| format!("the file of ticket keys, {}, {what}", path.display());
    let text = fs::read_to_string(path).map_err(|e| {
        fault(format!("cannot be read: {e}; name a file that the node may read (`openssl rand -hex 32`)"))
    })?;
    if fs::metadata(path).is_ok_and(|m| m.mode() & 0o007 != 0) {
        tracing::warn!(file = %path.display(), "everybody on this machine may read the ticket keys: chmod 600");
    }
    let lines = (1..).zip(text.lines().map(str::trim));
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let keys: Vec<Key> = lines
        .map(|(number, line)| parse(line).map_err(|what| fault(format!("line {number}: {what}"))))
        .collect::<Result<_, _>>()?;
    match keys.len() {
        0 => Err(fault("holds no key; make one with `openssl rand -hex 32`, or remove the file".to_owned())),
        1..=KEYS_MAX => Ok(keys),
        n => Err(fault(format!("holds {n} keys; at most {KEYS_MAX}: drop the last lines"))),
    }
}

/// Read the keys of the node's own file, which is made if it does not exist.
///
/// # Errors
/// The errors of [`read`], and a directory that cannot be written to.
pub(crate) fn read_or_make(path: &Path) -> Result<Vec<Key>, String> {
    if !path.exists() {
        make(path).map_err(|e| {
            format!(
                "the file of ticket keys, {}, cannot be made: {e}; check log.dir, or set auth.ticket_key_file",
                path.display()
            )
        })?;
    }
    read(path)
}

/// Write another file, sync it, and link it to the name. The second of two processes uses the file of the
/// first.
fn make(path: &Path) -> io::Result<()> {
    let directory = path.parent().unwrap_or_else(|| Path::new("."));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let mut key = [0; KEY_BYTES];
    getrandom::fill(&mut key).map_err(|e| io::Error::other(e.to_string()))?;
    let aside =
        path.with_extension(format!("new-{}-{:08x}", std::process::id(), u32::from_le_bytes(check(&key))));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
    let head = "# Keys of Grandstand's resume tickets, newest first. Secret. See auth.ticket_key_file.\n";
    let written = file.write_all(format!("{head}{}\n", line(&key)).as_bytes()).and_then(|()| file.sync_all());
    let linked = written.and_then(|()| match fs::hard_link(&aside, path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    });
    fs::remove_file(&aside)?;
    linked?;
    fs::File::open(directory)?.sync_all()
}

fn parse(line: &str) -> Result<Key, String> {
    let (hex, told) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let digits = KEY_BYTES * 2;
    let (key, told) = (from_hex(hex), told.trim());
    let key = key.ok_or_else(|| {
        format!("a key has {digits} hex digits, this one is cut or damaged; restore the file, or remove it and lose open sessions")
    })?;
    if !told.is_empty() && told != to_hex(&check(&key)) {
        return Err(
            "the key does not fit the check behind it: the line is damaged; restore the file, or remove it \
                    and lose open sessions"
                .to_owned(),
        );
    }
    Ok(key)
}

fn line(key: &Key) -> String {
    format!("{} {}", to_hex(key), to_hex(&check(key)))
}

fn check(key: &Key) -> [u8; CHECK_DIGITS / 2] {
    let hash = digest::digest(&digest::SHA256, key);
    *hash.as_ref().first_chunk().expect("SHA-256 has 32 bytes")
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Key> {
    let mut key = [0; KEY_BYTES];
    if text.len() != KEY_BYTES * 2 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, at) in key.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory that is removed when its test ends.
    struct Dir(std::path::PathBuf);

    impl Dir {
        fn new(name: &str) -> Dir {
            let dir = std::env::temp_dir().join(format!("grandstand-keys-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&dir);
            Dir(dir)
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_first_start_makes_a_key_for_its_owner_alone_and_the_next_one_reads_it() {
        let dir = Dir::new("first");
        let path = dir.0.join("log/tickets.key");
        let first = read_or_make(&path).unwrap();
        assert_eq!((first.len(), fs::metadata(&path).unwrap().mode() & 0o777), (1, 0o600));
        assert_eq!(read_or_make(&path).unwrap(), first);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left aside");
    }

    #[test]
    fn processes_that_start_at_once_use_one_key() {
        let dir = Dir::new("race");
        let path = dir.0.join("tickets.key");
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let path = path.clone();
                std::thread::spawn(move || read_or_make(&path).unwrap())
            })
            .collect();
        let keys: Vec<_> = threads.into_iter().map(|t| t.join().unwrap()).collect();
        assert!(keys.iter().all(|k| *k == keys[0]));
    }

    #[test]
    fn a_short_or_changed_file_is_an_error_that_says_so_and_stays() {
        let dir = Dir::new("damage");
        let path = dir.0.join("tickets.key");
        read_or_make(&path).unwrap();
        let whole = fs::read_to_string(&path).unwrap();
        let key_at = whole.find('\n').unwrap() + 1;
        for at in key_at..whole.trim_end().len() {
            let mut text = whole.clone().into_bytes();
            text[at] = if text[at] == b'0' { b'1' } else { b'0' };
            fs::write(&path, &text).unwrap();
            assert!(read_or_make(&path).is_err(), "a digit changed at {at}");
            fs::write(&path, &whole[..at]).unwrap();
            // Cut directly after the key, it is a line without a check: a whole key.
            let is_whole_key = (key_at + 64..key_at + 66).contains(&at);
            assert_eq!(read_or_make(&path).is_ok(), is_whole_key, "cut at {at}");
        }
        fs::write(&path, "").unwrap();
        assert!(read_or_make(&path).unwrap_err().contains("tickets.key"));
    }

    #[test]
    fn lines_of_other_tools_and_several_keys_are_read_newest_first() {
        let dir = Dir::new("several");
        fs::create_dir_all(&dir.0).unwrap();
        let path = dir.0.join("shared.key");
        fs::write(&path, format!("# new\n{}\n\n{}\n", "ab".repeat(32), line(&[7; 32]))).unwrap();
        assert_eq!(read(&path).unwrap(), [[0xab; 32], [7; 32]]);
        fs::write(&path, format!("{}\n", "ab".repeat(32)).repeat(9)).unwrap();
        assert!(read(&path).unwrap_err().contains("9 keys"));
        assert!(read(&dir.0.join("none")).unwrap_err().contains("cannot be read"));
    }
}
