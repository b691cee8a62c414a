//! `gs mod import`: a list of another project in the form of ours, on standard output.
//!
//! Why not into a file: whoever takes a list over looks at it first.
//! Not here: the forms (`grandstand_filter`).

use std::path::PathBuf;

use grandstand_filter::List;
use grandstand_filter::import::{Options, import};

use crate::say;

/// Arguments of `gs mod import`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// JSON of dsojevic's profanity lists, or a text with a word a line.
    list: PathBuf,
    /// Catch the words inside of other words, too.
    #[arg(long)]
    glued: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<bool> {
    let text = super::read_text(&args.list)?;
    let imported = import(&text, Options { glued: args.glued }).map_err(anyhow::Error::msg)?;
    for left_out in &imported.left_out {
        say::notice(&format!("left out: {left_out}"));
    }
    say::result(&imported.text)?;
    say::notice(&format!("{} rules and exceptions", imported.rules));
    Ok(List::parse("imported", &imported.text).is_ok())
}
