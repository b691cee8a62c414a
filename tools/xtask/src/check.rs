//! `check`: the inner loop at a desk.
//!
//! Why: seconds, not minutes: formatting, lints and unit tests of what one is working on.
//! Not here: integration tests, doctests, models and suites (`test`), everything that CI asks (`ci`).

use crate::run::{cargo, run};
use crate::test;
use anyhow::{Result, bail};

/// The quick inner loop: formatting, clippy and unit tests.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Packages to check, such as grandstand-queue; all of the workspace if none is named.
    packages: Vec<String>,
}

pub(crate) fn go(args: &Args) -> Result<()> {
    let packages: Vec<&str> = match args.packages.as_slice() {
        [] => vec!["--workspace"],
        named => named.iter().flat_map(|name| ["--package", name.as_str()]).collect(),
    };
    let formatted = if args.packages.is_empty() { vec!["--all"] } else { packages.clone() };
    run(cargo(["fmt", "--check"]).args(formatted))?;
    run(cargo(["clippy", "--all-targets"]).args(&packages).args(["--", "-D", "warnings"]))?;
    let counts = test::runner(&["--lib", "--bins"], &packages)?;
    println!("{counts}");
    if counts.failed > 0 {
        bail!("unit tests failed");
    }
    Ok(())
}
