//! `api`: tries the HTTP API of a node by its own description, with schemathesis.
//!
//! Why: the description promises what is taken and what is refused, and another program makes thousands of
//! requests of it, valid and not, and holds every answer to it. Invariants: the node and its keys are this
//! task's own, on loopback. The operation that ends the node (`drain_begin`) is left out, and no other.
//! Not here: what operations do (`edge/node/tests/api.rs`).

use crate::python::environment;
use crate::run::{cargo, command, root, run, target_dir, tools_dir};
use crate::summary::Counts;
use anyhow::{Context, Result, bail};
use grandstand_harness::node::{Node, NodePlan};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Cases of the smoke in the test run.
const SMOKE: u32 = 500;

/// A body over the bound of its operation is refused with 413, which schemathesis does not expect by itself.
const CONFIG: &str = "[checks.negative_data_rejection]\nexpected-statuses = \
    [400, 401, 403, 404, 405, 406, 409, 413, 415, 422, 428, 429, \"5xx\"]\n";

/// Try the HTTP API of a node by its description, with schemathesis: every check, on this number of cases.
///
/// Builds a node, and installs schemathesis into target/tools/api. Fails if a check fails, or if fewer cases
/// were made.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Cases to make, at least.
    #[arg(long, default_value_t = 10_000)]
    cases: u32,
    /// The seed of the cases.
    #[arg(long, default_value_t = 1)]
    seed: u32,
}

pub(crate) fn go(args: &Args) -> Result<()> {
    let counts = try_out(args.cases, args.seed)?;
    println!("api: {} cases, 0 failures", counts.passed);
    Ok(())
}

/// A few hundred cases, for the test run.
pub(crate) fn smoke() -> Result<Counts> {
    try_out(SMOKE, 1)
}

fn try_out(cases: u32, seed: u32) -> Result<Counts> {
    let python = environment("api", "api.txt")?;
    run(&mut cargo(["build", "--quiet", "--package", "grandstand"]))?;
    let binary = target_dir().join("debug/grandstand");
    let folder = tools_dir().join("api/node");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    let keys_file = folder.join("keys.jsonl");
    let key = make_key(&binary, &keys_file)?;
    let off = "off";
    let (keys, log_dir) = (keys_file.display().to_string(), folder.join("log").display().to_string());
    let plan = NodePlan::new(&binary)
        .key("api.listen", "127.0.0.1:0")
        .key("api.keys_file", keys.as_str())
        .key("api.requests_per_s", 1_000_000)
        .key("api.requests_burst", 1_000_000)
        .key("quic.listen", off)
        .key("log.dir", log_dir.as_str())
        .log(folder.join("node.txt"));
    let node = Node::start(&plan)?;
    let said = node.log()?;
    let url = said.split_whitespace().find(|word| word.starts_with("http://") && word.ends_with("/v1"));
    let url = url.context("the node has no API")?.trim_end_matches("/v1");
    let operations = fs::read_to_string(root().join("docs/openapi.json"))?.matches("\"operationId\"").count();
    // The hooks leave out some of what is made.
    let each = (cases.saturating_mul(3) / 2).div_ceil(u32::try_from(operations)?).max(5);
    let st = root().join(python.with_file_name("st"));
    let log = folder.join("schemathesis.txt");
    let file = fs::File::create(&log)?;
    let mut tried = command(st);
    tried.arg("run").arg(format!("{url}/openapi.json")).args(["--checks", "all"]);
    tried.args(["-H", &format!("Authorization: Bearer {key}"), "--exclude-operation-id", "drain_begin"]);
    tried.args(["--max-examples", &each.to_string(), "--seed", &seed.to_string(), "--workers", "1"]);
    tried.args(["--no-color", "--continue-on-failure", "--max-response-time", "10"]);
    tried.env("SCHEMATHESIS_HOOKS", root().join("tools/xtask/python/api_hooks.py"));
    // It reads its configuration, and leaves a cache, where it runs.
    fs::write(folder.join("schemathesis.toml"), CONFIG)?;
    let status = tried.current_dir(&folder).stdout(file.try_clone()?).stderr(file).status();
    let status = status.context("schemathesis does not start")?;
    let said = fs::read_to_string(&log)?;
    node.stop()?;
    let made = said.lines().find_map(made_cases).unwrap_or(0);
    if !status.success() {
        println!("{}", tail(&said));
        bail!("a check failed; see {}", log.display());
    }
    if made < cases {
        bail!("schemathesis made {made} cases, expected {cases}: see {}", log.display());
    }
    Ok(Counts { passed: made.into(), ..Counts::default() })
}

/// The number in `  2177 generated, 2177 passed`.
fn made_cases(line: &str) -> Option<u32> {
    let (number, _) = line.trim().split_once(" generated")?;
    number.replace(',', "").parse().ok()
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(120)..].join("\n")
}

/// A key with every scope, in a file.
fn make_key(binary: &Path, file: &Path) -> Result<String> {
    let scopes =
        "publish,rooms:read,rooms:write,mod,guide:read,guide:write,uploads,admin,drain,backups,webhooks";
    let mut create = Command::new(binary);
    create.args(["key", "create", "--json", "--name", "xtask", "--env", "test", "--scopes", scopes]);
    let made = create.arg("--file").arg(file).output().context("the node's program does not run")?;
    let made: serde_json::Value = serde_json::from_slice(&made.stdout)?;
    Ok(made["secret"].as_str().context("no key was made")?.to_owned())
}
