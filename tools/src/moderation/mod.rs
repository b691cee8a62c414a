//! `gs mod`: tools of moderators and of those who write word lists.
//!
//! - `lint`: which common words a list would catch;
//! - `attempt`: what a list would have caught, in texts, in a log, at a node;
//! - `import`: lists of other projects in the form of ours.
//!
//! Why a dry run: nobody knows what a new rule catches until it has caught it.
//! Not here: what a list says of a text (`grandstand_filter`).

mod attempt;
mod import;
mod lint;

use std::path::Path;

use anyhow::{Context, bail};
use grandstand_filter::{LIST_BYTES_MAX, List};

/// Arguments of `gs mod`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// Say which common words a word list would catch.
    Lint(lint::Args),
    /// Say what a word list catches, or would have caught.
    Try(attempt::Args),
    /// Write a list of another project in our form.
    Import(import::Args),
}

/// Run; `Ok(false)` when a list catches what it should not, or has a fault.
///
/// # Errors
/// A file or a node that cannot be read.
pub(crate) async fn run(args: Args) -> anyhow::Result<bool> {
    match args.command {
        Command::Lint(args) => lint::run(&args),
        Command::Try(args) => attempt::run(args).await,
        Command::Import(args) => import::run(&args),
    }
}

/// Read a text file of a bounded size.
fn read_text(path: &Path) -> anyhow::Result<String> {
    let at = || format!("reading {}", path.display());
    let bytes = std::fs::metadata(path).with_context(at)?.len();
    if bytes > 4 * LIST_BYTES_MAX as u64 {
        bail!("{} has {bytes} bytes, expected at most {}", path.display(), 4 * LIST_BYTES_MAX);
    }
    std::fs::read_to_string(path).with_context(at)
}

/// Read a list; its faults are the error.
fn read_list(path: &Path) -> anyhow::Result<List> {
    let name = path.file_stem().map_or_else(|| "list".into(), |name| name.to_string_lossy());
    List::parse(&name, &read_text(path)?).map_err(|faults| {
        let says: Vec<String> = faults.iter().map(|fault| format!("\n  - {fault}")).collect();
        anyhow::anyhow!("{} cannot be used:{}", path.display(), says.concat())
    })
}
