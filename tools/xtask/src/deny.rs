//! `deny`: the dependency policy, checked by cargo-deny.
//!
//! Why it leaves advisories out: their database is a git repository that must be fetched, and a check must
//! give the same result without a network. deny.toml has the lowest versions that the advisories known at its
//! writing allow.
//! Invariant: one version of the tool judges everywhere, since its lints change between versions.
//! Not here: the rules (deny.toml).

use crate::run::{cargo, command, output, run, tools_dir};
use anyhow::Result;
use std::path::PathBuf;

/// The version of cargo-deny that deny.toml was written against.
const CARGO_DENY: &str = "0.20.2";

/// Check the dependency policy: bans, licences, sources (deny.toml).
///
/// Advisories are not checked, since their database cannot be fetched without a network; run
/// `cargo deny check advisories` by hand before a release. cargo-deny is taken from the path, or built once
/// (minutes) into target/tools.
#[derive(clap::Args)]
pub(crate) struct Args {}

pub(crate) fn go(_: &Args) -> Result<()> {
    run(command(install()?).args(["--locked", "check", "bans", "licenses", "sources"]))?;
    println!("advisories were not checked: their database has to be fetched (`cargo deny check advisories`)");
    Ok(())
}

/// The pinned version, from the path or from our own directory, where it is built if need be.
fn install() -> Result<PathBuf> {
    let own = tools_dir().join("bin/cargo-deny");
    for program in [PathBuf::from("cargo-deny"), own.clone()] {
        if output(command(&program).arg("--version"))
            .is_some_and(|said| said == format!("cargo-deny {CARGO_DENY}"))
        {
            return Ok(program);
        }
    }
    let version = format!("={CARGO_DENY}");
    let mut install =
        cargo(["install", "--quiet", "--locked", "cargo-deny", "--version", &version, "--root"]);
    // It runs for a second: half the time of an optimised build is worth more than its speed.
    run(install
        .arg(tools_dir())
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0")
        .env("CARGO_PROFILE_RELEASE_LTO", "off"))?;
    Ok(own)
}
