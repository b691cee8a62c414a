//! Trials of disks and restarts: files that others could read, full disks, rotten files, retries after a
//! restart.
//! Why: an operator's disk fills, rots and loses power, and what was acknowledged must survive that.
//! Not here: long series of kills and flips (`cargo xtask soak`).

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use grandstand_harness::http;
use grandstand_harness::node::{self, Node, NodePlan};
use grandstand_protocol::frame::{ClientFrame, Publish};
use grandstand_protocol::refusal::Refusal;
use rustix::process::Signal;

use crate::peer::{Peer, Said, is_whole};
use crate::supervisors::signal;
use crate::trial::{Directory, Field, Figure, Missing, Trial, figure, needs_root, program, until};

pub(crate) const TRIALS: &[Trial] = &[
    Trial {
        name: "file-modes",
        right: "every file with what people said is the node's user's alone",
        run: file_modes,
    },
    Trial {
        name: "full-disk-start",
        right: "a node that starts on a full disk serves rooms in memory, and recovers by itself",
        run: full_disk_start,
    },
    Trial {
        name: "rotten-log",
        right: "after a power cut and one flipped bit in the live log, a loss is never silent and never called sound",
        run: rotten_log,
    },
    Trial {
        name: "retries-after-restart",
        right: "publications made before a restart and not in the log are accepted when they are retried",
        run: retries_after_restart,
    },
    Trial {
        name: "two-power-cuts",
        right: "a viewer that was away over two power cuts resumes where nothing of its log was lost",
        run: two_power_cuts,
    },
];

/// A node with its log in this directory, without limits of rate.
fn durable(field: &Field, directory: &Directory) -> NodePlan {
    let plan = field.plan().key("log.dir", directory.join("log").to_string_lossy().as_ref());
    let plan = plan.key("log.recorder_dir", directory.join("recorder").to_string_lossy().as_ref());
    plan.key("limits.publish_per_s", 100_000)
        .key("limits.publish_burst", 100_000)
        .key("limits.frames_per_s", 100_000)
}

fn new_directory(field: &Field) -> Result<Directory> {
    let directory = field.directory()?;
    fs::create_dir_all(directory.join("recorder"))?;
    Ok(directory)
}

/// Publishes and waits for all answers: how many were accepted, and the subscription's epoch.
fn speak(node: &Node, room: &str, first: u64, count: u64) -> Result<(u64, u64)> {
    let mut peer = Peer::join(node.address("ws://")?)?;
    let subscribed = peer.subscribe(room)?.map_err(|refusal| anyhow::anyhow!("{}", refusal.text()))?;
    let mut accepted = 0;
    let (mut sent, mut answered) = (first, first);
    while answered < first + count {
        while sent < first + count && sent < answered + 200 {
            peer.publish(subscribed.alias, sent + 1, &format!("message {sent}"))?;
            sent += 1;
        }
        accepted += u64::from(matches!(peer.answer(answered + 1)?, Said::Published { .. }));
        answered += 1;
    }
    Ok((accepted, subscribed.epoch))
}

fn walk(directory: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            walk(&path, found)?;
        }
        found.push(path);
    }
    Ok(())
}

fn file_modes(field: &Field) -> Result<Figure> {
    let directory = new_directory(field)?;
    let node =
        field.node(&durable(field, &directory).under(&["sh", "-c", "umask 000; exec \"$@\"", "sh"]))?;
    speak(&node, "here", 0, 50)?;
    http::request(node.address("http://")?, "POST", "/log/backup")?;
    let backup = directory.join("by-command.db");
    let log = directory.join("log");
    let made = Command::new("sh")
        .args(["-c", "umask 000; exec \"$@\"", "sh"])
        .arg(&field.binary)
        .args(["backup", "--dir"])
        .arg(&log)
        .arg("--to")
        .arg(&backup)
        .output()?;
    ensure!(made.status.success(), "backup: {}", String::from_utf8_lossy(&made.stderr));
    let mut found = vec![backup];
    walk(&log, &mut found)?;
    walk(&directory.join("recorder"), &mut found)?;
    let open: Vec<String> = found
        .iter()
        .filter_map(|path| {
            let mode = fs::symlink_metadata(path).ok()?.permissions().mode() & 0o777;
            let name = path.file_name()?.to_string_lossy().into_owned();
            (mode & 0o077 != 0).then(|| format!("{name} {mode:o}"))
        })
        .collect();
    figure(
        open.is_empty(),
        format!(
            "{} files and folders, open to others: {}",
            found.len(),
            if open.is_empty() { "none".to_owned() } else { open.join(", ") }
        ),
    )
}

/// A file system of its own, in memory, that is unmounted with its value.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn new(directory: &Directory, megabytes: u32) -> Result<SmallDisk> {
        let path = directory.join("log");
        fs::create_dir_all(&path)?;
        let size = format!("size={megabytes}m");
        let mut mount = program("mount")?;
        if !mount.args(["-t", "tmpfs", "-o", &size, "none"]).arg(&path).output()?.status.success() {
            bail!(Missing("the right to mount a file system"));
        }
        Ok(SmallDisk(path))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn full_disk_start(field: &Field) -> Result<Figure> {
    needs_root()?;
    let directory = new_directory(field)?;
    let disk = SmallDisk::new(&directory, 24)?;
    let node = field.node(&durable(field, &directory))?;
    let (accepted, _) = speak(&node, "on-disk", 0, 100)?;
    ensure!(accepted == 100, "{accepted} of 100 accepted on an empty disk");
    ensure!(node.stop()?.status.success(), "the first stop fails");
    let fill = disk.0.join("filler");
    let mut file = fs::File::create(&fill)?;
    while file.write_all(&[0; 4096]).is_ok() {}
    drop(file);
    let mut filled = None;
    let node = match field.node(&durable(field, &directory)) {
        Ok(node) => node,
        Err(error) => {
            return figure(
                false,
                format!("does not start: {}", error.to_string().lines().last().unwrap_or("")),
            );
        }
    };
    let admin = node.address("http://")?;
    let mut peer = Peer::join(node.address("ws://")?)?;
    let alias = peer.enter("in-memory")?;
    http::request_with(admin, "PUT", "/rooms/in-memory/settings", r#"{"durability":"memory"}"#)?;
    let memory = peer.say(alias, 1, "in memory")?;
    let health = http::request(admin, "GET", "/healthz").unwrap_or_else(|error| error.to_string());
    if let Ok(Ok(subscribed)) = peer.subscribe("on-disk") {
        filled = Some(peer.say(subscribed.alias, 2, &"x".repeat(1500))?);
    }
    fs::remove_file(fill)?;
    let mut recovered = Said::Ended;
    let holds = until(Duration::from_secs(20), || {
        let Ok(mut peer) = Peer::join(node.address("ws://")?) else { return Ok(false) };
        let Ok(Ok(subscribed)) = peer.subscribe("on-disk") else { return Ok(false) };
        recovered = peer.say(subscribed.alias, 3, "after")?;
        std::thread::sleep(Duration::from_millis(200));
        Ok(matches!(recovered, Said::Published { .. }))
    })?;
    let history = http::request(admin, "GET", "/rooms/on-disk")?;
    let is_kept = history.contains("\"next_offset\":10");
    figure(
        matches!(memory, Said::Published { .. }) && holds && is_kept && health.contains("degraded"),
        format!(
            "in memory {memory:?}; on disk while full {filled:?}, afterwards {recovered:?}; kept {is_kept}; health says {}",
            health.trim()
        ),
    )
}

fn rotten_log(field: &Field) -> Result<Figure> {
    let rounds = field.either(3, 12);
    let (mut silent, mut lost_all, mut told_all, mut words) = (0, 0, 0, String::new());
    for round in 0..rounds {
        let directory = new_directory(field)?;
        let node = field.node(&durable(field, &directory))?;
        let (accepted, _) = speak(&node, "here", 0, 600)?;
        signal(&node, Signal::KILL)?;
        drop(node);
        // A power cut takes what was in memory: the crash log.
        fs::remove_dir_all(directory.join("recorder"))?;
        fs::create_dir_all(directory.join("recorder"))?;
        let wal = directory.join("log").join("grandstand.db-wal");
        let bytes = fs::metadata(&wal)?.len();
        ensure!(bytes > 8192, "the live log holds {bytes} bytes only");
        let mut file = fs::OpenOptions::new().read(true).write(true).open(&wal)?;
        // In another third of the file each time.
        let at = bytes * (1 + 2 * (round % 3)) / 6 + 1000 + round * 7;
        let mut byte = [0];
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut byte)?;
        file.seek(SeekFrom::Start(at))?;
        file.write_all(&[byte[0] ^ 1])?;
        drop(file);
        let log = directory.join("log");
        let verified = node::command(&field.binary).arg("verify").arg(&log).output()?;
        let node = match field.node(&durable(field, &directory)) {
            Ok(node) => node,
            // Not silent.
            Err(_) => {
                told_all += 1;
                continue;
            }
        };
        let room = http::request(node.address("http://")?, "GET", "/rooms/here").unwrap_or_default();
        let room: serde_json::Value = serde_json::from_str(&room).unwrap_or_default();
        let there = room["next_offset"].as_u64().unwrap_or(0);
        let lost = accepted.saturating_sub(there);
        let said = node.log()?;
        let is_told = !said.contains("everything acknowledged is there")
            && (said.contains("lost") || said.contains("whether it was acknowledged is not known"));
        let is_sound = String::from_utf8_lossy(&verified.stdout).trim_end().ends_with(": sound");
        lost_all += u64::from(lost > 0);
        told_all += u64::from(lost > 0 && is_told && !is_sound);
        if lost > 0 && (!is_told || is_sound) {
            silent += 1;
            let line = said.lines().find(|line| line.contains("durable log")).unwrap_or("nothing");
            let verdict = String::from_utf8_lossy(&verified.stdout).replace('\n', " ");
            words = format!("; {lost} lost; verify {}: {verdict}; {line}", verified.status);
        }
    }
    figure(
        silent == 0,
        format!(
            "{rounds} flipped bits: {lost_all} lost something acknowledged, {told_all} told, {silent} silent{words}"
        ),
    )
}

fn retries_after_restart(field: &Field) -> Result<Figure> {
    let directory = new_directory(field)?;
    let count = field.either(16_600, 30_000);
    let node = field.node(&durable(field, &directory))?;
    let (early, _) = speak(&node, "here", 0, 600)?;
    // By the node's reckoning a retry may be on its way for 10 s, and each new nonce forgets an old one.
    std::thread::sleep(Duration::from_millis(13_000));
    let accepted = early + speak(&node, "here", 600, count - 600)?.0;
    // The first attempts would be made now, after the last message.
    let first = Instant::now();
    signal(&node, Signal::KILL)?;
    drop(node);
    let node = field.node(&durable(field, &directory))?;
    let mut peer = Peer::join(node.address("ws://")?)?;
    let alias = peer.enter("here")?;
    let (mut taken, mut forgotten) = (0, 0);
    for nonce in 0..200 {
        let age_ms = first.elapsed().as_millis() as u32 + 1;
        let nonce = 10_000_000 + nonce;
        let text = "sent before the restart, and not in the log";
        peer.send(&ClientFrame::Publish(Publish { alias, nonce, text, age_ms, ..Publish::default() }))?;
        match peer.answer(nonce)? {
            Said::Published { repeated: false, .. } => taken += 1,
            Said::Refused(Refusal::Forgotten) => forgotten += 1,
            _ => {}
        }
    }
    figure(
        taken == 200,
        format!("{accepted} before the restart; of 200 retries {taken} accepted, {forgotten} forgotten"),
    )
}

fn two_power_cuts(field: &Field) -> Result<Figure> {
    let directory = new_directory(field)?;
    let node = field.node(&durable(field, &directory))?;
    let mut peer = Peer::join(node.address("ws://")?)?;
    let subscribed = peer.subscribe("here")?.map_err(|refusal| anyhow::anyhow!("{}", refusal.text()))?;
    for nonce in 1..=20 {
        ensure!(
            matches!(peer.say(subscribed.alias, nonce, "kept")?, Said::Published { .. }),
            "the node refuses"
        );
    }
    signal(&node, Signal::KILL)?;
    drop(node);
    for _ in 0..2 {
        fs::remove_dir_all(directory.join("recorder"))?;
        fs::create_dir_all(directory.join("recorder"))?;
        let node = field.node(&durable(field, &directory))?;
        speak(&node, "here", 1000, 5)?;
        signal(&node, Signal::KILL)?;
        drop(node);
    }
    fs::remove_dir_all(directory.join("recorder"))?;
    fs::create_dir_all(directory.join("recorder"))?;
    let node = field.node(&durable(field, &directory))?;
    let mut again = Peer::join(node.address("ws://")?)?;
    let resumed = again.subscribe_with("here", Some((subscribed.epoch, subscribed.offset + 20)), 0)?;
    let epoch = resumed.as_ref().ok().map(|r| r.epoch).context("the room is there")?;
    figure(
        resumed.as_ref().is_ok_and(is_whole),
        format!("{:?}, another epoch: {}", resumed.map(|r| r.outcome), epoch != subscribed.epoch),
    )
}
