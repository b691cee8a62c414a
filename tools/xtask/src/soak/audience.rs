//! An audience: a `gs load` of any length, and the verdicts of `gs audit` and `grandstand verify` after it.
//!
//! Invariant: the load, the audit and the verification are the published programs; no other code judges a
//! node.
//! Not here: the checks themselves (`tools/src/load`, `tools/src/audit`).

use crate::load::Load;
use crate::programs::Programs;
use crate::run::{Running, command};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::restartable::Restartable;

/// For reading a log back, page by page, and comparing it.
const AUDIT_MAX: Duration = Duration::from_secs(300);

/// For checking a database of this size end to end.
const VERIFY_MAX: Duration = Duration::from_secs(120);

/// Where rooms are kept.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Durability {
    /// In the memory of a node: messages that are lost with it are counted, and are no fault.
    Memory,
    /// Nothing acknowledged may be lost.
    Disk,
}

/// The size of a load.
#[derive(Clone, Copy)]
pub(super) struct Size {
    pub(super) viewers: u64,
    pub(super) rate: u64,
    pub(super) rooms: u64,
    pub(super) durability: Durability,
    pub(super) seed: u64,
    pub(super) probes: bool,
    /// At most; it is usually told to end before.
    pub(super) hold: Duration,
}

/// The running load.
pub(super) struct Audience {
    load: Load,
    pub(super) ledger: PathBuf,
}

impl Audience {
    /// Starts the load.
    pub(super) fn start(
        gs: &Path,
        restartable: &Restartable,
        size: Size,
        directory: &Path,
    ) -> Result<Audience> {
        let ledger = directory.join("ledger");
        if ledger.exists() {
            std::fs::remove_dir_all(&ledger)?;
        }
        let mut args = vec![
            ("--ledger", ledger.display().to_string()),
            ("--room", "soak".into()),
            ("--rooms", size.rooms.to_string()),
            ("--viewers", size.viewers.to_string()),
            ("--ramp", size.viewers.max(50).to_string()),
            // A publisher per four messages a second: some of each room.
            ("--publishers", (size.rate / 4).max(size.rooms).to_string()),
            ("--rate", size.rate.to_string()),
            ("--seed", size.seed.to_string()),
            ("--settle", "30s".into()),
        ];
        if size.durability == Durability::Disk {
            args.push(("--durability", "disk".into()));
            args.push(("--admin", restartable.admin_url()));
        }
        if size.probes {
            args.push(("--probe", String::new()));
        }
        let load = Load::start(gs, &restartable.urls(), size.hold, &args)?;
        Ok(Audience { load, ledger })
    }

    /// It must not end by itself.
    pub(super) fn check(&mut self) -> Result<()> {
        ensure!(!self.load.has_ended()?, "`gs load` ended before its time");
        Ok(())
    }

    /// Ends the load. Returns its figures and the path of its ledger.
    pub(super) fn finish(self) -> Result<(Value, PathBuf)> {
        self.load.interrupt()?;
        Ok((self.load.figures()?, self.ledger))
    }
}

/// Compares the node's log with a ledger.
pub(super) fn audit(gs: &Path, url: &str, ledger: &Path, flags: &[&str]) -> Result<Value> {
    let mut audit = command(gs);
    audit.arg("audit").arg(ledger).args(["--json", "--url", url]).args(flags);
    let (status, said) = Running::start(&mut audit, AUDIT_MAX)?.finish()?;
    let line = said.lines().last().with_context(|| format!("`gs audit` reported nothing ({status})"))?;
    serde_json::from_str(line).context("`gs audit` did not report in JSON")
}

/// Whether `grandstand verify` finds a database sound, and what it says.
pub(super) fn verify(programs: &Programs, directory: &Path) -> Result<(bool, String)> {
    let mut verify = command(programs.node());
    verify.arg("verify").arg(directory);
    let (status, said) = Running::start(&mut verify, VERIFY_MAX)?.finish()?;
    Ok((status.success(), said.trim().to_owned()))
}
