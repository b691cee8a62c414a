//! The file of bans: a line of JSON for each, in `log.dir`.
//!
//! Invariants: a new file replaces the last one whole, or not at all. A line that is not understood is an
//! error, and never left out.
//! Not here: what an entry means (`grandstand_edge::auth::bans`).

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use grandstand_edge::auth::bans::{Ban, kind_and_id, subject};
use serde::{Deserialize, Serialize};

/// The file in `log.dir`.
pub(super) const NAME: &str = "bans.jsonl";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    kind: u8,
    /// Hexadecimal, since JSON has no 64 bits.
    id: String,
    stamp_us: u64,
    /// None for never.
    until_ms: Option<u64>,
    lifted: bool,
    name: String,
    reason: String,
}

/// All entries of a file, which has none if it is not there; `None` if its folder is not there.
pub(super) fn read(path: &Path) -> Result<Option<Vec<Ban>>, String> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(path.parent().is_some_and(Path::is_dir).then(Vec::new));
        }
        Err(error) => return Err(format!("the file of bans, {}, cannot be read: {error}", path.display())),
    };
    let read = |(number, line): (usize, &str)| {
        parse(line)
            .ok_or_else(|| format!("the file of bans, {}, has a damaged line {number}", path.display()))
    };
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    lines.map(read).collect::<Result<_, _>>().map(Some)
}

fn parse(line: &str) -> Option<Ban> {
    let line: Line = serde_json::from_str(line).ok()?;
    Some(Ban {
        subject: subject(line.kind, u64::from_str_radix(&line.id, 16).ok()?)?,
        stamp_us: line.stamp_us,
        until_ms: line.until_ms.unwrap_or(u64::MAX),
        is_lifted: line.lifted,
        name: line.name.into(),
        reason: line.reason.into(),
    })
}

/// Replace the file.
pub(super) fn write(path: &Path, bans: &[Ban]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = BufWriter::new(File::create(&new)?);
    for ban in bans {
        let (kind, id) = kind_and_id(ban.subject);
        let line = Line {
            kind,
            id: format!("{id:016x}"),
            stamp_us: ban.stamp_us,
            until_ms: Some(ban.until_ms).filter(|until_ms| *until_ms < u64::MAX),
            lifted: ban.is_lifted,
            name: ban.name.as_ref().to_owned(),
            reason: ban.reason.as_ref().to_owned(),
        };
        serde_json::to_writer(&mut file, &line)?;
        file.write_all(b"\n")?;
    }
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    fs::rename(&new, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;
    use grandstand_edge_core::auth::Subject;

    #[test]
    fn what_is_written_is_read_and_a_damaged_line_is_named() {
        let folder = std::env::temp_dir().join(format!("grandstand-bans-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join(NAME);
        assert_eq!(read(&path), Ok(Some(Vec::new())));
        assert_eq!(read(&folder.join("none").join(NAME)), Ok(None));
        let ban = |subject, until_ms, is_lifted| Ban {
            subject,
            stamp_us: 7,
            until_ms,
            is_lifted,
            name: "a \"name\"\nof two lines".into(),
            reason: "".into(),
        };
        let all = vec![
            ban(Subject::User(u64::MAX), u64::MAX, false),
            ban(Subject::Session(1), 9, true),
            ban(Subject::Token(0), 8, false),
        ];
        write(&path, &all).unwrap();
        assert_eq!(read(&path).unwrap(), Some(all));
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replacen("\"kind\":2", "\"kind\":9", 1)).unwrap();
        assert_eq!(read(&path.join(NAME)), Ok(None), "a file in place of a folder");
        assert!(read(&path).unwrap_err().ends_with("has a damaged line 2"));
        fs::remove_dir_all(folder).unwrap();
    }
}
