//! A load: a `gs load` process against a node, and its report.
//!
//! Invariant: a load that found a loss still reports its figures; a load that does not end is stopped.
//! Not here: the judgement of the figures (`soak`, `bench`), their names (`tools/src/load/report.rs`).

use crate::run::{Running, command, run};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

/// Beyond the time of publishing: joins, viewers that catch up, and leaving all have bounds in `gs load`
/// itself.
const SLACK: Duration = Duration::from_secs(180);

/// A running load.
pub(crate) struct Load(Running);

impl Load {
    /// Starts a load that publishes for `hold`.
    pub(crate) fn start(gs: &Path, urls: &[String], hold: Duration, args: &[(&str, String)]) -> Result<Load> {
        let mut load = command(gs);
        load.args(["load", "--quiet", "--json", "--hold", &format!("{}ms", hold.as_millis())]);
        for url in urls {
            load.args(["--url", url]);
        }
        for (name, value) in args {
            load.arg(name);
            // A switch has no value.
            if !value.is_empty() {
                load.arg(value);
            }
        }
        Ok(Load(Running::start(&mut load, hold + SLACK)?))
    }

    pub(crate) fn has_ended(&mut self) -> Result<bool> {
        self.0.has_ended()
    }

    /// Ends the load early (Ctrl-C): it stops publishing, waits for open answers, and reports.
    pub(crate) fn interrupt(&self) -> Result<()> {
        run(command("kill").args(["-INT", &self.0.pid().to_string()]))
    }

    /// Waits until the load has ended, and returns its figures.
    pub(crate) fn figures(self) -> Result<Value> {
        let (status, said) = self.0.finish()?;
        let line = said.lines().last().with_context(|| format!("`gs load` reported nothing ({status})"))?;
        let figures: Value = serde_json::from_str(line).context("`gs load` did not report in JSON")?;
        let is_ok = figures["ok"].as_bool().context("the report does not say whether it is ok")?;
        ensure!(is_ok == status.success(), "`gs load` reports ok = {is_ok}, but ended with {status}");
        Ok(figures)
    }
}
