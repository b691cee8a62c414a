//! `check`: the quick checks during development.
//!
//! Why: it takes seconds, not minutes: formatting, lints and unit tests of the changed packages.
//! Not here: integration tests, doctests, models and suites (`test`), all checks of CI (`ci`).

use crate::run::{cargo, output, run};
use crate::{test, tidy};
use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The quick inner loop: formatting, tidy, clippy and unit tests.
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
    tidy::go(&tidy::Args {})?;
    run(cargo(["clippy", "--all-targets"]).args(&packages).args(["--", "-D", "warnings"]))?;
    let counts = test::runner(&unit_targets(&args.packages)?, &packages)?;
    println!("{counts}");
    if counts.failed > 0 {
        bail!("unit tests failed");
    }
    Ok(())
}

/// Where unit tests are. cargo refuses `--lib` when none of the named packages has a library.
fn unit_targets(packages: &[String]) -> Result<Vec<&'static str>> {
    let metadata = output(&mut cargo(["metadata", "--no-deps", "--format-version", "1"]))
        .context("cargo metadata failed")?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    let all = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
    let named = |package: &&Value| {
        packages.is_empty() || packages.iter().any(|name| package["name"] == name.as_str())
    };
    let has_lib = all.iter().filter(named).any(|package| {
        let targets = package["targets"].as_array();
        targets.is_some_and(|targets| targets.iter().any(|target| target["kind"][0] == "lib"))
    });
    Ok(if has_lib { vec!["--lib", "--bins"] } else { vec!["--bins"] })
}
