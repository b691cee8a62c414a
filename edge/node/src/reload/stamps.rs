//! Stamps: what tells that a file is another one than before.
//!
//! Why not the content: a look must cost nothing. Why more than a time: a file may be replaced within the
//! resolution of its time, or by an older one. A symbolic link is followed, so that one that points elsewhere
//! (as Kubernetes replaces secrets) is another file.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// The stamps of some files, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamps(Vec<Option<Stamp>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified_ns: (i64, i64),
    changed_ns: (i64, i64),
}

impl Stamps {
    /// The stamps at this moment; a file that is not there has none.
    pub(super) fn of(files: &[PathBuf]) -> Stamps {
        let stamp = |path: &PathBuf| {
            let meta = std::fs::metadata(path).ok()?;
            Some(Stamp {
                device: meta.dev(),
                inode: meta.ino(),
                bytes: meta.len(),
                modified_ns: (meta.mtime(), meta.mtime_nsec()),
                changed_ns: (meta.ctime(), meta.ctime_nsec()),
            })
        };
        Stamps(files.iter().map(stamp).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn every_way_to_replace_a_file_is_seen() {
        let dir = std::env::temp_dir().join(format!("grandstand-stamps-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let file = dir.join("secret");
        let mut last = Stamps::of(std::slice::from_ref(&file));
        let mut sees = |what: &str| {
            let now = Stamps::of(std::slice::from_ref(&file));
            assert_ne!(now, last, "{what}");
            assert_eq!(Stamps::of(std::slice::from_ref(&file)), now);
            last = now;
        };
        fs::write(&file, "one").unwrap();
        sees("written first");
        fs::write(dir.join("new"), "two").unwrap();
        fs::File::open(dir.join("new"))
            .unwrap()
            .set_modified(fs::metadata(&file).unwrap().modified().unwrap())
            .unwrap();
        fs::rename(dir.join("new"), &file).unwrap();
        sees("replaced by one of the same size and time");
        fs::write(&file, "three").unwrap();
        sees("written over");
        fs::remove_file(&file).unwrap();
        sees("removed");
        // As Kubernetes does it: a link to a folder of this version, which is swapped.
        for version in ["v1", "v2"] {
            fs::create_dir_all(dir.join(version)).unwrap();
            fs::write(dir.join(version).join("secret"), "same").unwrap();
            let link = dir.join("..data_tmp");
            std::os::unix::fs::symlink(version, &link).unwrap();
            fs::rename(&link, dir.join("..data")).unwrap();
            if version == "v1" {
                std::os::unix::fs::symlink("..data/secret", &file).unwrap();
            }
            sees("a link that points to another folder");
        }
        fs::remove_dir_all(&dir).unwrap();
    }
}
