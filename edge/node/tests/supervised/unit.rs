//! The shipped unit, as systemd reads it.
//!
//! Why tested: its times must follow the defaults of the keys.

use std::path::Path;
use std::process::Command;

use grandstand_edge::config::Config;

use crate::rig::Folder;

const UNIT: &str = "../../docs/grandstand.service";

fn unit() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(UNIT)).unwrap()
}

fn value(unit: &str, name: &str) -> String {
    let line = unit.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    line.unwrap_or_else(|| panic!("no {name}=")).to_owned()
}

#[test]
fn systemd_accepts_the_shipped_unit() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        eprintln!("skipped: this machine has no systemd-analyze");
        return;
    }
    // systemd looks for the program: here it is the one under test.
    let folder = Folder::new();
    let here = unit().replace("/usr/local/bin/grandstand", env!("CARGO_BIN_EXE_grandstand"));
    let file = folder.write("grandstand.service", here);
    let out = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned() + &String::from_utf8_lossy(&out.stdout);
    let about_it: Vec<_> = said.lines().filter(|line| line.contains("grandstand")).collect();
    assert!(out.status.success() && about_it.is_empty(), "{said}");
}

#[test]
fn the_unit_gives_a_drain_its_time() {
    let (unit, config) = (unit(), Config::default());
    let d = &config.drain;
    let drain_ms = d.announce_ms + (d.spread_ms + d.grace_ms).max(d.refuse_ms) + d.flush_ms;
    let stop_s: u64 = value(&unit, "TimeoutStopSec").trim_end_matches('s').parse().unwrap();
    assert!(stop_s * 1_000 >= drain_ms + 5_000, "{stop_s} s for a drain of {drain_ms} ms");
    let files: usize = value(&unit, "LimitNOFILE").parse().unwrap();
    assert!(files > config.limits.connections_max, "{files}");
    // Older systemd does not know `notify-reload`, and would run the unit as `simple`.
    assert_eq!((&*value(&unit, "Type"), &*value(&unit, "ExecReload")), ("notify", "/bin/kill -HUP $MAINPID"));
    assert!(value(&unit, "WatchdogSec").trim_end_matches('s').parse::<u64>().unwrap() >= 10);
}
