//! The incarnation of a node: a number that rises with every process of it.
//!
//! Why a file: whatever the wall clock does, a process must not be taken for an earlier one. Without the file
//! (a new disk) the clock alone must do.
//! Not here: what an incarnation is for (`grandstand_cluster::id`).

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use grandstand_cluster::id::Incarnation;
use grandstand_engine::runtime::wall;

use crate::NodeError;

const FILE: &str = "incarnation";

/// The incarnation of this process, which is in the folder before anybody hears of it.
///
/// # Errors
/// The file cannot be written.
pub(super) fn next(folder: &Path) -> Result<Incarnation, NodeError> {
    let path = folder.join(FILE);
    let last = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse::<u64>().ok());
    let next = last.map_or(0, |last| last + 1).max(wall::unix_ms());
    let written = || {
        let new = path.with_extension("new");
        let mut file = File::create(&new)?;
        writeln!(file, "{next}")?;
        file.sync_all()?;
        fs::rename(&new, &path)
    };
    written().map_err(|error| {
        NodeError::new(format!("{} cannot be written: {error}", path.display()), "see log.dir")
    })?;
    Ok(Incarnation(next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_whatever_the_clock_says() {
        let folder = std::env::temp_dir().join(format!("grandstand-incarnation-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let first = next(&folder).unwrap();
        let second = next(&folder).unwrap();
        assert!(second > first);
        let ahead = u64::MAX / 2;
        fs::write(folder.join(FILE), format!("{ahead}\n")).unwrap();
        assert_eq!(next(&folder).unwrap(), Incarnation(ahead + 1));
        fs::remove_dir_all(folder).unwrap();
    }
}
