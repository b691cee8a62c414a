//! `gs guide`: imports listings into a guide and shows it, in a folder on this machine.
//!
//! - `import`: a file or URL into a folder, or to a node; `show`: reports, grid, now and search; `table`:
//!   columns that fit a terminal; `node`: requests to a node's API.
//!
//! Why a crate of its own: `gs` is built without it unless asked (`--features guide`), since whoever tries
//! the demo waits for the build.
//! Invariant: exit code 1 when a document was refused or could not be used. Not here: what an import does
//! (`grandstand_guide`).
#![forbid(unsafe_code)]

mod import;
mod node;
mod show;
mod table;

use clap::Subcommand;

/// Arguments of `gs guide`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Import a listing: XMLTV or JSON, plain, gzip or xz, from a file or a URL.
    Import(import::Args),
    /// Show the newest report of each source: what was kept, mended and skipped, by rule.
    Report(show::ReportArgs),
    /// Show what is on, by channel and time.
    Grid(show::GridArgs),
    /// Show what is on now and what is next.
    Now(show::GridArgs),
    /// Find shows by words of their title, people, teams and categories.
    Search(show::SearchArgs),
}

/// Run the command; its output is for standard output, and `false` stands for exit code 1.
///
/// # Errors
/// The guide or the node cannot be used.
pub fn run(args: &Args, out: &mut dyn FnMut(&str) -> anyhow::Result<()>) -> anyhow::Result<bool> {
    match &args.command {
        Command::Import(args) => import::run(args, out),
        Command::Report(args) => show::report(args, out),
        Command::Grid(args) => show::grid(args, out),
        Command::Now(args) => show::now(args, out),
        Command::Search(args) => show::search(args, out),
    }
}

/// Seconds since 1970.
fn now_s() -> i64 {
    let passed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    passed.unwrap_or_default().as_secs() as i64
}
