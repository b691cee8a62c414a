//! `flips`: a soak that flips bits of a stopped node's database, one at a time.
//!
//! The requirements: `grandstand verify` detects each flip in a stored message, and a node that starts on the
//! file serves only messages that were published. A flip elsewhere in the file is detected, or does not
//! change any served message (space that the database does not use). A flip in the live files of a killed
//! node (its write-ahead log, its marks), with a power cut, loses no message silently: the node names what is
//! missing, or the commit that was under way.
//! Why stored messages are found by their texts: each holds its run's number, so no knowledge of the file's
//! format is needed that could itself be wrong. A text in freed space (a page that was split) is not a stored
//! message. If `verify` does not detect a flip there and no node serves it, another flip is drawn, and the
//! first is counted as beside the data.
//! Not here: the checks of `verify` (`grandstand-store`), the check of served messages (`gs audit
//! --compare`).

use crate::programs::Programs;
use crate::run::target_dir;
use anyhow::{Context, Result, ensure};
use grandstand_harness::node::Node;
use grandstand_harness::random::Random;
use serde_json::{Map, Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::audience::{self, Audience, Durability, Size};
use super::restartable::Restartable;
use super::{Outcome, not_some, not_zero};

/// The database's file.
const DATABASE: &str = "grandstand.db";

/// Files that a node writes while it serves.
const LIVE_FILES: [&str; 2] = ["grandstand.db-wal", "log.marks"];

/// Log lines of a node about missing messages.
const SAID: [&str; 2] = ["acknowledged commits are missing", "the last commit was under way"];

/// How long the database is written: some thousand messages.
const WRITE: Duration = Duration::from_secs(15);

/// Bytes of a text, from its mark on, in which a flip is one of a stored message.
const TEXT_BYTES: usize = 60;

/// A database that was written and closed, with the messages that it served then.
struct Original {
    directory: PathBuf,
    /// The same as the killed node left it.
    live: PathBuf,
    ledger: PathBuf,
    truth: PathBuf,
    /// The database, and where messages lie in it.
    bytes: Vec<u8>,
    texts: Vec<usize>,
    /// The number of messages that a sound database serves.
    messages: u64,
}

/// The outcome of one flip.
#[derive(Clone, Copy, Default)]
struct Fate {
    detected: bool,
    /// The node did not start on it.
    refused: bool,
    served_wrong: u64,
    served: u64,
}

impl Fate {
    fn is_harmless(self, original: &Original) -> bool {
        !self.detected && !self.refused && self.served_wrong == 0 && self.served == original.messages
    }
}

/// See the module's head.
pub(super) fn go(programs: &Programs, count: u64, seed: u64) -> Result<Outcome> {
    let mut rng = Random::new(seed);
    let mut restartable = Restartable::new(&programs.node(), "flips", &mut rng)?;
    let directory = target_dir().join("soak/flips");
    let original = write(programs, &mut restartable, &directory, seed)?;
    ensure!(!original.texts.is_empty(), "no messages are found in {DATABASE}");
    let (sound, said) = audience::verify(programs, &original.directory)?;
    ensure!(sound, "the database is not sound before anything was flipped: {said}");
    let flipped = directory.join("flipped");
    let mut flips = Flips { programs, restartable, original, flipped, rng, figures: Map::new() };
    flips.in_texts(count)?;
    flips.anywhere(count)?;
    flips.in_live_files(count)?;
    let Flips { restartable, original, mut figures, .. } = flips;
    for (name, value) in [
        ("panics", restartable.words().matches("panicked").count()),
        ("database_bytes", original.bytes.len()),
        ("messages", original.messages as usize),
    ] {
        figures.insert(name.into(), json!(value));
    }
    let mut faults =
        not_zero(&figures, &["undetected", "served_wrong", "anywhere_harmful", "live_silent", "panics"]);
    faults.extend(not_some(&figures, &["bit_flips", "detected", "messages"]));
    Ok(Outcome { figures, faults })
}

/// A run: the original database, the node that starts on flipped copies of it, and the counts so far.
struct Flips<'a> {
    programs: &'a Programs,
    restartable: Restartable,
    original: Original,
    /// The folder of the flipped copy.
    flipped: PathBuf,
    rng: Random,
    figures: Map<String, Value>,
}

impl Flips<'_> {
    /// Adds one to a figure if `is_so`, and makes the figure if it is not there.
    fn count(&mut self, name: &str, is_so: bool) {
        let figure = self.figures.entry(name).or_insert(json!(0));
        *figure = json!(figure.as_u64().unwrap_or(0) + u64::from(is_so));
    }

    /// Flips in stored messages, until this many were in data.
    fn in_texts(&mut self, count: u64) -> Result<()> {
        let (mut done, mut wrong) = (0, 0);
        for _ in 0..5 * count + 10 {
            if done == count {
                break;
            }
            let text = self.original.texts[self.rng.below(self.original.texts.len())];
            let at = text + self.rng.below(TEXT_BYTES);
            let fate = self.flip(at)?;
            let is_beside = fate.is_harmless(&self.original);
            self.count("beside_data", is_beside);
            if is_beside {
                continue;
            }
            done += 1;
            wrong += fate.served_wrong;
            self.count("detected", fate.detected);
            self.count("undetected", !fate.detected);
            self.count("node_refused_to_start", fate.refused);
            eprintln!("flip {done} of {count}: {}", if fate.detected { "detected" } else { "NOT DETECTED" });
        }
        self.figures.insert("bit_flips".into(), json!(done));
        self.figures.insert("served_wrong".into(), json!(wrong));
        Ok(())
    }

    /// Flips at random places of the database.
    fn anywhere(&mut self, count: u64) -> Result<()> {
        for number in 1..=count {
            let at = self.rng.below(self.original.bytes.len());
            let fate = self.flip(at)?;
            let is_harmless = fate.is_harmless(&self.original);
            let is_seen = (fate.detected || fate.refused) && fate.served_wrong == 0;
            self.count("anywhere", true);
            self.count("anywhere_detected", is_seen);
            self.count("anywhere_harmless", is_harmless);
            self.count("anywhere_harmful", !is_seen && !is_harmless);
            let came = match (is_seen, is_harmless) {
                (true, _) => "detected",
                (false, true) => "harmless",
                (false, false) => "HARMFUL",
            };
            eprintln!("flip {number} of {count} anywhere: {came}");
        }
        Ok(())
    }

    /// Flips in the live files of a killed node whose power was cut.
    fn in_live_files(&mut self, count: u64) -> Result<()> {
        for number in 1..=count {
            copy(&self.original.live, &self.flipped)?;
            let path = self.flipped.join(LIVE_FILES[self.rng.below(LIVE_FILES.len())]);
            let mut bytes = fs::read(&path)?;
            let at = self.rng.below(bytes.len().max(1));
            flip_bit(&mut bytes, at, &mut self.rng);
            fs::write(&path, &bytes)?;
            let before = self.times_said();
            let fate = self.start()?;
            let is_whole = fate.served == self.original.messages && fate.served_wrong == 0;
            let is_said = self.times_said() > before;
            self.count("live", true);
            self.count("live_refused", fate.refused);
            self.count("live_whole", !fate.refused && is_whole);
            self.count("live_said", !fate.refused && !is_whole && is_said);
            self.count("live_silent", !fate.refused && !is_whole && !is_said);
            let came = match (fate.refused, is_whole, is_said) {
                (true, ..) => "refused",
                (_, true, _) => "whole",
                (_, _, true) => "lost and said",
                _ => "SILENT",
            };
            eprintln!("flip {number} of {count} in {}: {came}", path.display());
        }
        Ok(())
    }

    /// How many times nodes have said that messages are missing.
    fn times_said(&self) -> usize {
        let words = self.restartable.words();
        SAID.iter().map(|said| words.matches(said).count()).sum()
    }

    /// Flips one bit of the byte at `at` of the database, and looks what comes of it.
    fn flip(&mut self, at: usize) -> Result<Fate> {
        copy(&self.original.directory, &self.flipped)?;
        let mut bytes = self.original.bytes.clone();
        flip_bit(&mut bytes, at, &mut self.rng);
        fs::write(self.flipped.join(DATABASE), &bytes)?;
        let (is_sound, _) = audience::verify(self.programs, &self.flipped)?;
        let fate = self.start().with_context(|| format!("byte {at}"))?;
        Ok(Fate { detected: !is_sound, ..fate })
    }

    /// Starts a node on the flipped copy, as after a power cut, and compares what it serves.
    fn start(&mut self) -> Result<Fate> {
        self.restartable.forget_memory()?;
        self.restartable.keep_in(&self.flipped);
        let Ok((node, _)) = self.restartable.start() else {
            return Ok(Fate { refused: true, ..Fate::default() });
        };
        let truth = self.original.truth.display().to_string();
        let flags = ["--damaged", "--compare", &truth];
        let url = &self.restartable.urls()[0];
        let audit = audience::audit(&self.programs.gs(), url, &self.original.ledger, &flags)?;
        drop(node);
        let figure = |name: &str| audit[name].as_u64().unwrap_or(0);
        let (served, served_wrong) = (figure("log_messages"), figure("served_wrong"));
        Ok(Fate { served, served_wrong, ..Fate::default() })
    }
}

/// Flips one bit of the byte at `at`, or of the last one before it.
fn flip_bit(bytes: &mut [u8], at: usize, rng: &mut Random) {
    let bit = rng.below(8);
    let last = bytes.len().saturating_sub(1);
    if let Some(byte) = bytes.get_mut(at.min(last)) {
        *byte ^= 1 << bit;
    }
}

/// A database with messages, closed as a node closes it.
fn write(
    programs: &Programs,
    restartable: &mut Restartable,
    directory: &Path,
    seed: u64,
) -> Result<Original> {
    let data = directory.join("data");
    if data.exists() {
        fs::remove_dir_all(&data)?;
    }
    fs::create_dir_all(&data)?;
    restartable.keep_in(&data);
    let (node, _) = restartable.start()?;
    let hold = WRITE + Duration::from_secs(30);
    let size =
        Size { viewers: 20, rate: 200, rooms: 4, durability: Durability::Disk, seed, probes: false, hold };
    let mut audience = Audience::start(&programs.gs(), restartable, size, directory)?;
    thread::sleep(WRITE);
    audience.check()?;
    let (_, ledger) = audience.finish()?;
    let truth = directory.join("truth.json");
    let to = truth.display().to_string();
    let audit = audience::audit(&programs.gs(), &restartable.urls()[0], &ledger, &["--save", &to])?;
    drop(node);
    let live = directory.join("live");
    copy(&data, &live)?;
    let (node, _) = restartable.start()?;
    close(node)?;
    let bytes = fs::read(data.join(DATABASE))?;
    let texts = texts(&bytes, seed as u32);
    let messages = audit["log_messages"].as_u64().unwrap_or(0);
    eprintln!("{DATABASE}: {} bytes, {} texts, {messages} messages", bytes.len(), texts.len());
    Ok(Original { directory: data, live, ledger, truth, bytes, texts, messages })
}

fn close(node: Node) -> Result<()> {
    let ended = node.stop()?;
    ensure!(ended.status.success(), "the node ended with {}", ended.status);
    Ok(())
}

/// Where texts of a run begin.
fn texts(bytes: &[u8], run: u32) -> Vec<usize> {
    let mark = format!("gs {run:x} ");
    bytes.windows(mark.len()).enumerate().filter(|(_, w)| *w == mark.as_bytes()).map(|(at, _)| at).collect()
}

/// A folder's files, not its folders (backups), in place of what is there.
fn copy(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_found_by_their_run() {
        let bytes = b"..gs ab 1 2 xyz..gs abc 1..gs ab 2";
        assert_eq!(texts(bytes, 0xab), [2, 27]);
    }
}
