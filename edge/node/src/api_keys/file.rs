//! The file of API keys: a line of JSON for each, which the nodes of a cluster share.
//!
//! Invariant: a line that is not understood is an error that names it: a key that somebody meant to revoke
//! must not stay because its line was skipped.
//! Not here: keys that were made at a node (`table`).

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{ApiKey, Scopes};

/// A line of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: String,
    name: String,
    /// `sha256:` and 64 hexadecimal digits.
    hash: String,
    scopes: Vec<String>,
    #[serde(default)]
    room_prefix: String,
    #[serde(default)]
    created_ms: u64,
    expires_ms: Option<u64>,
}

/// All keys of a file.
///
/// # Errors
/// In a sentence: it can't be read, or a line is not one of a key.
pub(super) fn read(path: &Path) -> Result<Vec<ApiKey>, String> {
    let text = fs::read_to_string(path)
        .map_err(|error| format!("the file of API keys, {}, can't be read: {error}", path.display()))?;
    let lines = (1..).zip(text.lines()).filter(|(_, line)| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with('#')
    });
    let parsed = lines.map(|(number, line)| {
        parse(line)
            .map_err(|fault| format!("the file of API keys, {}, line {number}: {fault}", path.display()))
    });
    parsed.collect()
}

fn parse(line: &str) -> Result<ApiKey, String> {
    let line: Line = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let hash = line.hash.strip_prefix("sha256:").and_then(of_hex);
    Ok(ApiKey {
        hash: hash.ok_or("hash: expected sha256: and 64 hexadecimal digits")?,
        scopes: Scopes::from_words(line.scopes.iter().map(String::as_str))?,
        id: line.id,
        name: line.name,
        room_prefix: line.room_prefix,
        created_ms: line.created_ms,
        expires_ms: line.expires_ms,
        revoked_ms: None,
        is_of_file: true,
        used: Default::default(),
    })
}

/// Add a key to the end of a file.
///
/// # Errors
/// The file can't be written.
pub(super) fn append(path: &Path, key: &ApiKey) -> io::Result<()> {
    let line = Line {
        id: key.id.clone(),
        name: key.name.clone(),
        hash: format!("sha256:{}", to_hex(&key.hash)),
        scopes: key.scopes.words().into_iter().map(str::to_owned).collect(),
        room_prefix: key.room_prefix.clone(),
        created_ms: key.created_ms,
        expires_ms: key.expires_ms,
    };
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    let line = serde_json::to_string(&line)?;
    // In one write, so that a reader sees a whole line or none.
    file.write_all(format!("{line}\n").as_bytes())?;
    file.sync_all()
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn of_hex(text: &str) -> Option<[u8; 32]> {
    let is_hex = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let byte = |at: usize| u8::from_str_radix(&text[2 * at..][..2], 16).expect("checked before");
    is_hex.then(|| std::array::from_fn(byte))
}
