//! The ledger of a run: files with all publications and their answers, the messages that viewers were shown,
//! and each viewer's course.
//!
//! Why files: after the load has ended, the node is restarted, perhaps a hundred times. After each start `gs
//! audit` compares its log with these files.
//! `publications.jsonl`: one [`Header`], then one [`PublicationRecord`] per publication.
//! `shown-N.jsonl`: of the viewers of process N, one [`ShownLine`] per room and log.
//! `viewers-N.jsonl`: one [`ViewerLine`] per viewer.
//! Invariant: a few numbers per message are kept; the texts follow from them (`script::Marked`).
//! Not here: counting during a run (`restarts`, `publisher`), the verdict (`audit`).

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::messages::Head;
use super::script::Marked;

/// The beginning of a ledger.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Header {
    pub(crate) marked: Marked,
    pub(crate) rooms: Vec<String>,
    /// The end of each room's log when publishing began, if known.
    #[serde(default)]
    pub(crate) began: Vec<Option<Head>>,
}

impl Header {
    /// Offset of a room below which nothing is of this run, if nothing began anew.
    pub(crate) fn began_at(&self, room: usize) -> u64 {
        self.began.get(room).copied().flatten().map_or(0, |head| head.offset)
    }
}

/// The outcome of a publication.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Fate {
    /// The node did not answer.
    #[default]
    Unanswered,
    /// The node did not answer, and a retry was not possible: it may be in the log or not.
    Uncertain,
    /// The node refused it for good.
    Refused,
    /// It is in the log, at this place.
    Acknowledged {
        epoch: u64,
        offset: u64,
        /// The level that the answer named, as on the wire.
        durability: u8,
        /// The node answered that it had accepted it before.
        repeated: bool,
    },
}

/// A publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PublicationRecord {
    pub(crate) seq: u64,
    /// Index among the header's rooms.
    pub(crate) room: usize,
    pub(crate) nonce: u64,
    pub(crate) due_us: u64,
    pub(crate) fate: Fate,
}

/// The messages of one log that viewers of one process were shown: the number of the message at each offset
/// from `first` on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ShownLine {
    pub(crate) room: usize,
    pub(crate) epoch: u64,
    pub(crate) first: u64,
    /// `None` at an offset that no viewer was shown.
    pub(crate) seqs: Vec<Option<u64>>,
}

/// The course of one viewer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ViewerLine {
    pub(crate) viewer: usize,
    pub(crate) room: usize,
    /// Epoch, first offset and next one, of each run without a hole.
    pub(crate) runs: Vec<(u64, u64, u64)>,
    /// Epoch, from, to, count and reason of each gap, as the node named them.
    pub(crate) gaps: Vec<(u64, u64, u64, u64, String)>,
    /// Messages missing without a notice, over all its sessions.
    pub(crate) lost: u64,
    pub(crate) duplicated: u64,
    pub(crate) out_of_order: u64,
    /// Connections that ended, or could not be made.
    pub(crate) disconnects: u64,
    /// The refused ones among the disconnects.
    pub(crate) refused: u64,
    /// Longest time between two batches during publishing.
    pub(crate) silence_us: u64,
    /// Number of runs and gaps beyond the limit, which are not kept.
    pub(crate) is_cut: bool,
}

/// A ledger that was read from its files.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) header: Header,
    pub(crate) publications: Vec<PublicationRecord>,
    pub(crate) shown: Vec<ShownLine>,
}

/// Path of the file of publications.
pub(crate) fn publications(directory: &Path) -> PathBuf {
    directory.join("publications.jsonl")
}

/// Write lines of JSON.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn write<T: Serialize>(
    path: &Path,
    header: Option<&Header>,
    lines: impl IntoIterator<Item = T>,
) -> anyhow::Result<()> {
    let at = || format!("writing {}", path.display());
    let mut out = BufWriter::new(File::create(path).with_context(at)?);
    if let Some(header) = header {
        serde_json::to_writer(&mut out, header)?;
        out.write_all(b"\n").with_context(at)?;
    }
    for line in lines {
        serde_json::to_writer(&mut out, &line)?;
        out.write_all(b"\n").with_context(at)?;
    }
    out.flush().with_context(at)
}

impl Ledger {
    /// Read the files of a run from a directory.
    ///
    /// # Errors
    /// When a file is missing or is not valid.
    pub(crate) fn read(directory: &Path) -> anyhow::Result<Ledger> {
        let path = publications(directory);
        let mut lines = open(&path)?.lines();
        let first = lines.next().with_context(|| format!("{} is empty", path.display()))??;
        let header = serde_json::from_str(&first).context("a ledger begins with its header")?;
        let publications = lines.map(|line| parse(&line?)).collect::<anyhow::Result<_>>()?;
        let mut shown = Vec::new();
        for process in 0.. {
            let path = shown_file(directory, process);
            if !path.exists() {
                break;
            }
            for line in open(&path)?.lines() {
                shown.push(parse(&line?)?);
            }
        }
        Ok(Ledger { header, publications, shown })
    }
}

/// Path of the file of messages that the crowd of a process was shown.
pub(crate) fn shown_file(directory: &Path, process: usize) -> PathBuf {
    directory.join(format!("shown-{process}.jsonl"))
}

/// Path of the file with the course of each viewer of a process.
pub(crate) fn viewers_file(directory: &Path, process: usize) -> PathBuf {
    directory.join(format!("viewers-{process}.jsonl"))
}

fn open(path: &Path) -> anyhow::Result<BufReader<File>> {
    Ok(BufReader::new(File::open(path).with_context(|| format!("reading {}", path.display()))?))
}

fn parse<T: DeserializeOwned>(line: &str) -> anyhow::Result<T> {
    serde_json::from_str(line).context("a line of the ledger is not what it should be")
}
