//! Rot: flipped bits are noticed and nothing of them is served.
//!
//! Why: a disk may return other bytes than were written, and a viewer must never see them.

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use grandstand_engine::link::PageOf;
use grandstand_store::{Store, verify};
use support::*;

const ROOMS: [&str; 5] = ["ann", "ben", "cid", "dot", "eve"];
const MESSAGES: u64 = 400;
const FLIPS: usize = 200;

type Said = BTreeMap<String, (u64, usize, Vec<(u64, String)>)>;

/// What came of opening a rotten log.
enum Outcome {
    Refused(String),
    Served { said: Said, noted: bool },
}

/// A log with segments and a journal, as it lies while its process lives: database, write-ahead log.
fn log(dir: &Dir) -> Vec<(String, Vec<u8>)> {
    let mut rig = Rig::open(dir.config());
    for offset in 0..MESSAGES {
        for room in ROOMS {
            let version = offset + 1;
            let change = (offset % 50 == 0).then(|| state(version, "pinned", Some(room)));
            rig.log.push(batch_of(room, 4, offset, 1, change));
        }
    }
    assert!(rig.close());
    let mut rig = Rig::open(dir.config());
    let mut last = Default::default();
    for offset in MESSAGES..MESSAGES + 40 {
        for room in ROOMS {
            last = rig.log.push(batch(room, 4, offset));
        }
        rig.wait_durable(last);
    }
    let mut files = Vec::new();
    for name in ["grandstand.db", "grandstand.db-wal", "log.id", "log.marks"] {
        files.push((name.to_owned(), std::fs::read(dir.data().join(name)).unwrap()));
    }
    assert!(rig.close());
    files
}

fn put(files: &[(String, Vec<u8>)], data: &Path) {
    std::fs::create_dir_all(data).unwrap();
    files.iter().for_each(|(name, bytes)| std::fs::write(data.join(name), bytes).unwrap());
}

/// Open the files, read everything, and judge every message.
fn outcome(files: &[(String, Vec<u8>)]) -> Outcome {
    let dir = Dir::in_memory("rot-copy");
    put(files, &dir.data());
    let store = match Store::open(dir.config()) {
        Ok(store) => store,
        Err(error) => return Outcome::Refused(error.to_string()),
    };
    let mut rig = Rig::of(store);
    let mut all = Said::new();
    for stored in rig.rooms.clone() {
        let room = stored.room.room.to_string();
        let (mut from, mut heard) = (0, Vec::new());
        loop {
            let page = rig.page(&room, from, PageOf::Shown);
            let Some(last) = page.last() else { break };
            from = last.next_offset;
            heard.extend(said(&page));
        }
        heard.iter().for_each(|(offset, said)| assert_eq!(said, &text(&room, *offset), "rot was served"));
        all.insert(room, (stored.next_offset, stored.state.len(), heard));
    }
    let (opening, status) = (rig.store.opening().clone(), rig.store.status());
    let mut noted = !opening.rotten.is_empty() || opening.cut > 0;
    noted |= status.rotten.load(std::sync::atomic::Ordering::Relaxed) > 0;
    rig.close();
    Outcome::Served { said: all, noted }
}

fn whole() -> Said {
    let of = |room: &str| (MESSAGES + 40, 1, expected(room, 0..MESSAGES + 40));
    ROOMS.iter().map(|&room| (room.to_owned(), of(room))).collect()
}

/// SplitMix64 (Steele, Lea, Flood 2014): a number from 0 to below `n`.
fn rng(mut seed: u64) -> impl FnMut(usize) -> usize {
    move |n| {
        seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }
}

#[test]
fn flips_in_what_was_said_are_all_noticed_and_none_is_served() {
    let dir = Dir::in_memory("rot");
    let files = log(&dir);
    let Outcome::Served { said, noted } = outcome(&files) else { panic!("it is sound") };
    assert!(said == whole() && !noted, "without a flip nothing is noticed");
    let mut random = rng(1);
    // Every place of any file where something that was said stands. In the write-ahead log, all of its runs.
    let places: Vec<(usize, usize)> = (0..2)
        .flat_map(|file| {
            let bytes = &files[file].1;
            bytes.windows(6).enumerate().filter(|(_, w)| *w == b" says ").map(move |(at, _)| (file, at))
        })
        .collect();
    let (mut detected, mut harmless) = (0, 0);
    while detected < FLIPS {
        let (file, at) = places[random(places.len())];
        let mut rotten = files.clone();
        rotten[file].1[at + random(6)] ^= 1 << random(8);
        match outcome(&rotten) {
            Outcome::Refused(_) => detected += 1,
            Outcome::Served { said, noted } if said == whole() && !noted => {
                // Freed pages and frames that were written into the database are read by nobody: verify has
                // no fault either.
                harmless += 1;
                let dir = Dir::in_memory("rot-verify");
                put(&rotten, &dir.data());
                assert_eq!(verify::run(&dir.data()).unwrap().faults, Vec::<String>::new());
            }
            Outcome::Served { said, noted } => {
                assert!(noted, "something is missing and nobody says so");
                if said == whole() {
                    harmless += 1;
                } else {
                    detected += 1;
                }
            }
        }
        assert!(harmless < 20 * FLIPS, "flips hit nothing");
    }
    println!("{detected} of {FLIPS} detected, 0 served; {harmless} more hit copies that nobody reads");
}

#[test]
fn flips_anywhere_are_noticed_or_change_nothing() {
    let dir = Dir::in_memory("rot-any");
    let files = log(&dir);
    let mut random = rng(2);
    let (mut refused, mut noticed, mut harmless) = (0, 0, 0);
    for _ in 0..FLIPS {
        let file = random(2);
        let (at, bit) = (random(files[file].1.len()), random(8));
        let mut rotten = files.clone();
        rotten[file].1[at] ^= 1 << bit;
        match outcome(&rotten) {
            Outcome::Refused(text) => {
                assert!(
                    text.contains("damaged") || text.contains("newer") || text.contains("gone"),
                    "{text}"
                );
                refused += 1;
            }
            Outcome::Served { noted: true, .. } => noticed += 1,
            Outcome::Served { said, .. } => {
                assert!(
                    said == whole(),
                    "bit {bit} of byte {at} of {}: changed without a word",
                    files[file].0
                );
                harmless += 1;
            }
        }
    }
    println!("{refused} refused, {noticed} noticed, {harmless} changed nothing");
    assert!(refused + noticed > 0);
}

/// What is missing of the rooms, as the start said it, and what `verify` said before and after.
struct Judged {
    lost: u64,
    unsure: bool,
    missing: BTreeMap<String, (u64, u64)>,
    ends: BTreeMap<String, u64>,
    faults_before: u64,
    faults_after: u64,
}

/// After a power cut: the crash log is gone.
fn judge(files: &[(String, Vec<u8>)]) -> Option<Judged> {
    let dir = Dir::in_memory("rot-judged");
    put(files, &dir.data());
    let faults_before = verify::run(&dir.data()).map_or(1, |report| report.fault_count);
    // `verify` may have written the sound part into the database, as a start would.
    put(files, &dir.data());
    let _ = std::fs::remove_file(dir.data().join("grandstand.db-shm"));
    let rig = Rig::of(Store::open(dir.config()).ok()?);
    let opening = rig.store.opening().clone();
    let missing = opening.missing.iter().map(|m| (m.room.to_string(), (m.from, m.to))).collect();
    let ends = rig.rooms.iter().map(|stored| (stored.room.room.to_string(), stored.next_offset)).collect();
    assert!(rig.close());
    let faults_after = verify::run(&dir.data()).unwrap().fault_count;
    let (lost, unsure) = (opening.lost_commits, opening.unsure.is_some());
    Some(Judged { lost, unsure, missing, ends, faults_before, faults_after })
}

#[test]
fn a_rotten_write_ahead_log_never_loses_an_acknowledged_message_silently() {
    let dir = Dir::in_memory("rot-live");
    let files = log(&dir);
    let end = MESSAGES + 40;
    let sound = judge(&files).unwrap();
    assert_eq!((sound.lost, sound.faults_before, sound.faults_after), (0, 0, 0), "{:?}", sound.missing);
    let at = files.iter().position(|(name, _)| name.ends_with("-wal")).unwrap();
    let mut random = rng(3);
    let (mut whole, mut lost, mut unsure, mut refused) = (0, 0, 0, 0);
    for n in 0..FLIPS {
        let mut rotten = files.clone();
        let bytes = &mut rotten[at].1;
        // Every second flip is near the end, where the newest commits are.
        let from = if n % 2 == 0 { 0 } else { bytes.len() - bytes.len() / 8 };
        let place = from + random(bytes.len() - from);
        bytes[place] ^= 1 << random(8);
        let Some(judged) = judge(&rotten) else {
            refused += 1;
            continue;
        };
        let is_whole = ROOMS.iter().all(|&room| judged.ends.get(room) == Some(&end));
        if is_whole {
            assert_eq!((judged.lost, judged.faults_after), (0, 0), "byte {place}: {:?}", judged.missing);
            whole += 1;
        } else if judged.lost > 0 {
            lost += 1;
            assert!(
                judged.faults_before > 0 && judged.faults_after > 0,
                "byte {place}: verify calls it sound"
            );
            let short = ROOMS.iter().filter(|&&room| judged.ends.get(room) != Some(&end));
            for &room in short {
                let from = judged.ends.get(room).copied().unwrap_or(0);
                // The last commit may not have been marked as settled yet.
                let (missing, to) = judged.missing.get(room).copied().unwrap_or((from, from));
                assert!(missing == from && (to == end || judged.unsure), "byte {place}, {room}: {from} {to}");
            }
        } else {
            unsure += 1;
            assert!(judged.unsure, "byte {place}: messages are missing and nobody says so");
        }
    }
    println!("{whole} whole, {lost} lost and said, {unsure} unsure and said, {refused} refused");
    assert!(lost > 0);
}

#[test]
fn rotten_marks_are_no_loss_and_hide_none_but_their_own() {
    let dir = Dir::in_memory("rot-marks");
    let files = log(&dir);
    let at = files.iter().position(|(name, _)| name == "log.marks").unwrap();
    let mut random = rng(4);
    for _ in 0..20 {
        let mut rotten = files.clone();
        let bytes = &mut rotten[at].1;
        let (place, bit) = (random(64 * 512), random(8));
        bytes[place] ^= 1 << bit;
        let judged = judge(&rotten).unwrap();
        assert_eq!((judged.lost, judged.faults_after), (0, 0), "byte {place}: {:?}", judged.missing);
    }
    // A log of before there were marks.
    let judged =
        judge(&files.into_iter().filter(|(name, _)| name != "log.marks").collect::<Vec<_>>()).unwrap();
    assert_eq!((judged.lost, judged.unsure), (0, false));
}
