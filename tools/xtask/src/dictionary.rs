//! `dictionary`: makes the preset dictionary of compressed frames, or compares it with the file.
//!
//! Why a command: protocol/dictionary/1.bin is generated from the generator's words (`gs dictionary`), and
//! must match them.
//! Not here: the generation (`tools/src/synth/dictionary.rs`, whose test compares the file too).

use crate::run::{cargo, root, run, target_dir};
use anyhow::{Context, Result, bail};
use std::fs;

/// Make the dictionary of compressed frames from the chat generator's words.
///
/// A dictionary that clients have never changes: after a release, new words make a new one with a capability
/// of its own.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write no file, and fail if the checked-in dictionary differs from the generated one.
    #[arg(long)]
    check: bool,
}

pub(crate) fn go(args: &Args) -> Result<()> {
    let checked_in = root().join("protocol/dictionary/1.bin");
    let fresh = if args.check { target_dir().join("dictionary-1.bin") } else { checked_in.clone() };
    let gs = ["run", "--quiet", "--package", "grandstand-tools", "--bin", "gs", "--", "dictionary"];
    run(cargo(gs).arg(&fresh))?;
    let bytes = fs::read(&fresh).with_context(|| format!("reading {}", fresh.display()))?;
    if fs::read(&checked_in).ok().as_ref() != Some(&bytes) {
        bail!(
            "protocol/dictionary/1.bin is not what the words make. Run `cargo xtask dictionary` and commit the result"
        );
    }
    println!("protocol/dictionary/1.bin is current ({} bytes)", bytes.len());
    Ok(())
}
