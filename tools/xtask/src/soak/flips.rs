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

/// What a node says about messages that are not there.
const SAID: [&str; 2] = ["acknowledged commits are missing", "the last commit was under way"];

/// How long the database is written: some thousand messages.
const WRITE: Duration = Duration::from_secs(15);

/// Bytes of a text, from its mark on, in which a flip is one of a stored message.
const TEXT_BYTES: usize = 60;

/// A database that was written and closed, and what it served then.
struct Original {
    directory: PathBuf,
    /// The same as the killed node left it.
    live: PathBuf,
    ledger: PathBuf,
    truth: PathBuf,
    /// The database, and where messages lie in it.
    bytes: Vec<u8>,
    texts: Vec<usize>,
    /// What a sound database serves.
    messages: u64,
}

/// What came of one flip.
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
    let mut figures = Map::new();
    flip_texts(programs, &mut restartable, &original, count, &mut rng, &mut figures)?;
    flip_anywhere(programs, &mut restartable, &original, count, &mut rng, &mut figures)?;
    flip_live(programs, &mut restartable, &original, count, &mut rng, &mut figures)?;
    figures.insert("database_bytes".into(), json!(original.bytes.len()));
    figures.insert("messages".into(), json!(original.messages));
    let mut faults =
        not_zero(&figures, &["undetected", "served_wrong", "anywhere_harmful", "live_silent", "panics"]);
    faults.extend(not_some(&figures, &["bit_flips", "detected", "messages"]));
    Ok(Outcome { figures, faults })
}

/// Flips in stored messages, until so many were in data.
fn flip_texts(
    programs: &Programs,
    restartable: &mut Restartable,
    original: &Original,
    count: u64,
    rng: &mut Random,
    figures: &mut Map<String, Value>,
) -> Result<()> {
    let (mut done, mut detected, mut refused, mut wrong, mut beside) = (0, 0, 0, 0, 0);
    let mut tries = 0;
    while done < count && tries < 5 * count + 10 {
        tries += 1;
        let text = original.texts[rng.below(original.texts.len())];
        let fate = flip(programs, restartable, original, text + rng.below(TEXT_BYTES), rng)?;
        if fate.is_harmless(original) {
            beside += 1;
            continue;
        }
        done += 1;
        detected += u64::from(fate.detected);
        refused += u64::from(fate.refused);
        wrong += fate.served_wrong;
        eprintln!("flip {done} of {count}: {}", if fate.detected { "detected" } else { "NOT DETECTED" });
    }
    for (name, value) in [
        ("bit_flips", done),
        ("detected", detected),
        ("undetected", done - detected),
        ("node_refused_to_start", refused),
        ("served_wrong", wrong),
        ("beside_data", beside),
    ] {
        figures.insert(name.into(), json!(value));
    }
    Ok(())
}

/// Flips wherever they fall.
fn flip_anywhere(
    programs: &Programs,
    restartable: &mut Restartable,
    original: &Original,
    count: u64,
    rng: &mut Random,
    figures: &mut Map<String, Value>,
) -> Result<()> {
    let (mut detected, mut harmless, mut harmful) = (0u64, 0u64, 0u64);
    for number in 1..=count {
        let fate = flip(programs, restartable, original, rng.below(original.bytes.len()), rng)?;
        let is_harmless = fate.is_harmless(original);
        let is_seen = (fate.detected || fate.refused) && fate.served_wrong == 0;
        detected += u64::from(is_seen);
        harmless += u64::from(is_harmless);
        harmful += u64::from(!is_seen && !is_harmless);
        let came = if is_seen {
            "detected"
        } else if is_harmless {
            "harmless"
        } else {
            "HARMFUL"
        };
        eprintln!("flip {number} of {count} anywhere: {came}");
    }
    for (name, value) in [
        ("anywhere", count),
        ("anywhere_detected", detected),
        ("anywhere_harmless", harmless),
        ("anywhere_harmful", harmful),
        ("panics", restartable.words().matches("panicked").count() as u64),
    ] {
        figures.insert(name.into(), json!(value));
    }
    Ok(())
}

/// Flips in the live files of a killed node whose power was cut.
fn flip_live(
    programs: &Programs,
    restartable: &mut Restartable,
    original: &Original,
    count: u64,
    rng: &mut Random,
    figures: &mut Map<String, Value>,
) -> Result<()> {
    let directory = target_dir().join("soak/flips/flipped");
    let (mut whole, mut said, mut refused, mut silent) = (0u64, 0u64, 0u64, 0u64);
    for number in 1..=count {
        copy(&original.live, &directory)?;
        let path = directory.join(LIVE_FILES[rng.below(LIVE_FILES.len())]);
        let mut bytes = fs::read(&path)?;
        let (at, bit) = (rng.below(bytes.len().max(1)), rng.below(8));
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 1 << bit;
        }
        fs::write(&path, &bytes)?;
        restartable.forget_memory()?;
        restartable.keep_in(&directory);
        let words = |restartable: &Restartable| {
            let all = restartable.words();
            SAID.iter().map(|said| all.matches(said).count()).sum::<usize>()
        };
        let before = words(restartable);
        let Ok((node, _)) = restartable.start() else {
            refused += 1;
            continue;
        };
        let served = served(programs, restartable, original)?;
        drop(node);
        let is_whole = served["log_messages"].as_u64() == Some(original.messages)
            && served["served_wrong"].as_u64() == Some(0);
        let is_said = words(restartable) > before;
        whole += u64::from(is_whole);
        said += u64::from(!is_whole && is_said);
        silent += u64::from(!is_whole && !is_said);
        let came = if is_whole {
            "whole"
        } else if is_said {
            "lost and said"
        } else {
            "SILENT"
        };
        eprintln!("flip {number} of {count} in {}: {came}", path.display());
    }
    for (name, value) in [
        ("live", count),
        ("live_whole", whole),
        ("live_said", said),
        ("live_refused", refused),
        ("live_silent", silent),
    ] {
        figures.insert(name.into(), json!(value));
    }
    Ok(())
}

/// Flip one bit of the byte at `at`, and see.
fn flip(
    programs: &Programs,
    restartable: &mut Restartable,
    original: &Original,
    at: usize,
    rng: &mut Random,
) -> Result<Fate> {
    let directory = target_dir().join("soak/flips/flipped");
    copy(&original.directory, &directory)?;
    let bit = rng.below(8);
    let mut bytes = original.bytes.clone();
    bytes[at.min(original.bytes.len() - 1)] ^= 1 << bit;
    fs::write(directory.join(DATABASE), &bytes)?;
    let (is_sound, _) = audience::verify(programs, &directory)?;
    let mut fate = Fate { detected: !is_sound, ..Fate::default() };
    restartable.forget_memory()?;
    restartable.keep_in(&directory);
    let Ok((node, _)) = restartable.start() else {
        fate.refused = true;
        return Ok(fate);
    };
    let served = served(programs, restartable, original).with_context(|| format!("byte {at}, bit {bit}"))?;
    drop(node);
    fate.served_wrong = served["served_wrong"].as_u64().unwrap_or(0);
    fate.served = served["log_messages"].as_u64().unwrap_or(0);
    Ok(fate)
}

fn served(programs: &Programs, restartable: &Restartable, original: &Original) -> Result<Value> {
    let truth = original.truth.display().to_string();
    let flags = ["--damaged", "--compare", &truth];
    audience::audit(&programs.gs(), &restartable.urls()[0], &original.ledger, &flags)
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
