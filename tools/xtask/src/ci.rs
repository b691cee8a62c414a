//! `ci`: all checks that a change must pass, quickest first.
//!
//! Invariants: `.ci/run` calls only this; every step runs, so that one run reports every fault.
//! Why clippy comes before the documentation and the tests: `cargo doc` reuses clippy's build of the
//! dependencies.
//! Not here: the tests (`test`), the limits of hot paths (`micro`), the policy's rules (deny.toml).

use crate::run::{cargo, run, target_dir};
use crate::summary::Summary;
use crate::{deny, k8s, micro, schema, test, tidy};
use anyhow::Result;
use std::process::ExitCode;

/// Everything that a change must pass: formatting, tidy, lints, docs, tables, schema, dependency policy, all
/// tests, Kubernetes manifests, instruction counts.
#[derive(clap::Args)]
pub(crate) struct Args {}

/// Sets of features with which an app may build the Rust client; the workspace has it with those of tools.
const CLIENT_FEATURES: [&str; 4] = ["", "net,tracing", "net,system-roots", "quic"];

pub(crate) fn go(_: &Args) -> ExitCode {
    let mut summary = Summary::new();
    summary.check("formatting", || run(&mut cargo(["fmt", "--all", "--check"])));
    summary.check("tidy", || tidy::go(&tidy::Args {}));
    summary.check("clippy", || {
        run(&mut cargo(["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))
    });
    summary.check("features", features);
    summary.check("documentation", || {
        run(cargo(["doc", "--workspace", "--no-deps", "--quiet"]).env("RUSTDOCFLAGS", "-D warnings"))
    });
    summary.check("tables of Unicode", || {
        let tables = ["run", "--quiet", "--locked", "--manifest-path", "protocol/unicode/Cargo.toml"];
        run(cargo(tables).args(["--", "--check"]).env("CARGO_TARGET_DIR", target_dir().join("unicode")))
    });
    summary.check("schema", || schema::go(&schema::Args { check: true }));
    summary.check("dependency policy", || deny::go(&deny::Args {}));
    test::add_steps(&mut summary, &[]);
    k8s::add_steps(&mut summary);
    summary.step("micro benches", micro::check);
    summary.close()
}

/// Builds that no other step has: the node of the demo, and the tools with the guide.
const OTHER_BUILDS: [[&str; 3]; 2] = [
    ["--package", "grandstand", "--no-default-features"],
    ["--package", "grandstand-tools", "--features=guide"],
];

fn features() -> Result<()> {
    for features in CLIENT_FEATURES {
        let client = ["clippy", "--package", "grandstand-client", "--all-targets", "--locked"];
        let features = ["--no-default-features", "--features", features, "--", "-D", "warnings"];
        run(cargo(client).args(features))?;
    }
    for build in OTHER_BUILDS {
        run(cargo(["clippy", "--locked"]).args(build).args(["--", "-D", "warnings"]))?;
    }
    Ok(())
}
