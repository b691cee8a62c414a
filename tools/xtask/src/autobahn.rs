//! `autobahn`: runs the conformance suite for WebSocket servers, against Grandstand's codec and rules or any
//! server.
//!
//! Why: 301 cases of RFC 6455 by other people, from framing to UTF-8 cut in the middle of a code point.
//! Invariants: chapters 12 and 13 (compression) are left out, since Grandstand does not offer WebSocket
//! compression; every other case must run. The suite runs on Python 2.7 from a directory of its own, its
//! packages pinned by hash (`python/autobahn.txt`).
//! Not here: the criteria for a pass (`verdict`), the choice of Python (`python`).

use crate::python::python2;
use crate::run::{cargo, command, root, run, run_within, target_dir, tools_dir};
use crate::summary::Counts;
use crate::verdict::Verdict;
use anyhow::{Context, Result, bail};
use grandstand_harness::node::{Node, NodePlan};
use serde_json::json;
use std::fs;
use std::net::{TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

/// The cases of chapters 1 to 7, 9 and 10 in autobahntestsuite 25.10.1.
const CASES: u64 = 301;

/// A healthy server takes 20 s; single cases wait up to 100 s for a missing answer.
const SUITE_TIME_MAX: Duration = Duration::from_secs(600);

/// The largest message of the suite (9.1.6, 9.2.6): 16 MB in one frame.
const SUITE_MESSAGE_BYTES: &str = "16777216";

/// The most fragments of a message in the suite (9.3.1, 9.4.1): 4 MB by 64 bytes, and an empty last one.
const SUITE_FRAGMENTS: &str = "65537";

/// Run the Autobahn suite (301 cases, without compression) against a WebSocket server that echoes.
///
/// Without --url, builds and tests an echo over our codec, with the node's upgrade rules and limits. Needs
/// Python 2.7 with pip and a C compiler; the suite is installed into target/tools/autobahn, and its reports
/// are written there. Fails if a case fails.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Server to test instead of our own echo, such as ws://127.0.0.1:9001/echo.
    #[arg(long)]
    url: Option<String>,
    /// Cases to run, such as 6.* or 9.3.1; all but compression if none is named.
    #[arg(long, value_name = "PATTERN")]
    cases: Vec<String>,
}

pub(crate) fn go(args: &Args) -> Result<()> {
    let suite = install()?;
    let verdict = match &args.url {
        Some(url) => suite.run(url, &args.cases)?,
        None => {
            let (_echo, url) = start_echo()?;
            suite.run(&url, &args.cases)?
        }
    };
    if verdict.counts().failed > 0 {
        bail!("the server does not pass; reports: target/tools/autobahn/reports/index.html");
    }
    Ok(())
}

/// Runs all cases against our own echo.
pub(crate) fn judge_our_echo(suite: &Suite) -> Result<Counts> {
    let (_echo, url) = start_echo()?;
    Ok(suite.run(&url, &[])?.counts())
}

/// The installed suite.
pub(crate) struct Suite {
    python: PathBuf,
    home: PathBuf,
}

/// Installs the suite unless it is there already.
pub(crate) fn install() -> Result<Suite> {
    let suite = Suite { python: python2()?, home: tools_dir().join("autobahn") };
    let list = root().join("tools/xtask/python/autobahn.txt");
    let wanted = fs::read(&list).context("reading the list of packages")?;
    let stamp = suite.home.join("installed.txt");
    if fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(suite);
    }
    let _ = fs::remove_dir_all(&suite.home);
    let mut pip = command(&suite.python);
    pip.args([
        "-W",
        "ignore",
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-compile",
    ]);
    pip.args(["--no-warn-script-location", "--require-hashes", "--requirement"]).arg(&list);
    run(pip.arg("--target").arg(suite.home.join("lib")))
        .context("installing needs the registry and a C compiler")?;
    fs::write(&stamp, wanted)?;
    Ok(suite)
}

impl Suite {
    /// Runs `cases` (all, if empty) against `url`, prints the verdict, and returns it.
    fn run(&self, url: &str, cases: &[String]) -> Result<Verdict> {
        reach(url)?;
        let reports = self.home.join("reports");
        let _ = fs::remove_dir_all(&reports);
        let spec = json!({
            "outdir": reports, "servers": [{"agent": "server", "url": url}],
            "cases": if cases.is_empty() { vec!["*".to_owned()] } else { cases.to_vec() },
            "exclude-cases": ["12.*", "13.*"], "exclude-agent-cases": {},
        });
        fs::write(self.home.join("spec.json"), spec.to_string())?;
        let log = fs::File::create(self.home.join("log.txt"))?;
        let mut wstest = command(&self.python);
        // -s: nothing from the user's own packages.
        wstest.args(["-s", "-W", "ignore"]).arg(root().join("tools/xtask/python/wstest.py"));
        wstest
            .arg(self.home.join("lib"))
            .args(["-m", "fuzzingclient", "-s"])
            .arg(self.home.join("spec.json"));
        let wstest = wstest.stdout(log.try_clone()?).stderr(log);
        run_within(wstest, SUITE_TIME_MAX).context("see target/tools/autobahn/log.txt")?;
        let verdict = Verdict::read(&reports, cases.is_empty().then_some(CASES))?;
        println!("{verdict}");
        Ok(verdict)
    }
}

/// The suite only notes an error in its log when nobody listens.
fn reach(url: &str) -> Result<()> {
    let (secure, rest) = match (url.strip_prefix("ws://"), url.strip_prefix("wss://")) {
        (Some(rest), _) => (false, rest),
        (_, Some(rest)) => (true, rest),
        _ => bail!("{url} is not a ws:// or wss:// address"),
    };
    let host = rest.split('/').next().unwrap_or_default();
    let port = if secure { 443 } else { 80 };
    let address = if host.contains(':') { host.to_owned() } else { format!("{host}:{port}") };
    let address = address.to_socket_addrs().with_context(|| format!("no address for {host}"))?.next();
    let address = address.with_context(|| format!("no address for {host}"))?;
    TcpStream::connect_timeout(&address, Duration::from_secs(5))
        .with_context(|| format!("nobody listens at {url}"))?;
    Ok(())
}

/// The edge's example `autobahn_echo`, built and started. It takes its keys as the node does, and says in the
/// same words where it listens and that it is ready.
fn start_echo() -> Result<(Node, String)> {
    run(&mut cargo(["build", "--quiet", "--package", "grandstand-edge", "--example", "autobahn_echo"]))?;
    let keys = [("limits.frame_bytes_max", SUITE_MESSAGE_BYTES), ("limits.fragments_max", SUITE_FRAGMENTS)];
    let binary = target_dir().join("debug/examples/autobahn_echo");
    let plan = NodePlan::new(&binary).log(tools_dir().join("autobahn/echo.txt"));
    let echo = Node::start(&keys.iter().fold(plan, |plan, (key, value)| plan.key(key, value)))?;
    let url = echo.url("ws://")?;
    Ok((echo, url))
}
