//! Pythons: finding the interpreters that third-party clients and suites run on.
//!
//! Why two: the Autobahn suite was never ported from Python 2.
//! Invariant: packages are pinned by hash in a list of `tools/xtask/python`, and an environment is made anew
//! whenever its list changes.
//! Not here: what is installed for them (`clients`, `k8s`, `autobahn`).

use crate::run::{command, output, root, run, tools_dir};
use crate::summary::Missing;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// The oldest Python that the pinned clients run on (`Requires-Python` of aioquic 1.7.2 and websockets 17.4).
const PYTHON3_MINOR_MIN: u32 = 11;

/// A Python 3 that is new enough and can make virtual environments.
pub(crate) fn python3() -> Result<PathBuf> {
    let wanted =
        format!("import sys, venv, ensurepip; sys.exit(sys.version_info < (3, {PYTHON3_MINOR_MIN}))");
    let found =
        ["python3", "python3.11", "python3.12", "python3.13", "python"].into_iter().map(PathBuf::from);
    found.into_iter().find(|python| succeeds(python, &wanted)).ok_or_else(|| {
        let what = format!(
            "no Python 3.{PYTHON3_MINOR_MIN} or newer with the venv module: install python3 and python3-venv"
        );
        Missing { what, obtainable: true }.into()
    })
}

/// Makes an environment in `target/tools` with the packages of a list, unless it is there already; returns
/// its interpreter.
pub(crate) fn environment(name: &str, list: &str) -> Result<PathBuf> {
    let home = tools_dir().join(name);
    let python = home.join("bin/python");
    let list = root().join("tools/xtask/python").join(list);
    let wanted = fs::read(&list).with_context(|| format!("reading {}", list.display()))?;
    let stamp = home.join("installed.txt");
    if fs::read(&stamp).is_ok_and(|installed| installed == wanted) && python.exists() {
        return Ok(python);
    }
    run(command(python3()?).args(["-m", "venv", "--clear"]).arg(&home))?;
    let mut pip = command(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]);
    run(pip.args(["--only-binary", ":all:", "--requirement"]).arg(&list))?;
    fs::write(&stamp, wanted)?;
    Ok(python)
}

/// A Python 2.7 that has pip: from the path, or one that pyenv knows.
pub(crate) fn python2() -> Result<PathBuf> {
    let on_path = ["python2.7", "python2"].into_iter().map(PathBuf::from);
    let wanted = "import sys, pip; sys.exit(sys.version_info[:2] != (2, 7))";
    on_path.chain(pyenv_python2()).find(|python| succeeds(python, wanted)).ok_or_else(|| {
        let what = "the Autobahn suite needs Python 2.7 with pip, and there is none on the path or in pyenv; \
                    `pyenv install 2.7.18` builds one";
        // Distributions dropped it in 2020, so that a machine without it is nobody's fault.
        Missing { what: what.to_owned(), obtainable: false }.into()
    })
}

/// pyenv's shim works only for the version that is switched on, so the interpreter itself is asked for.
fn pyenv_python2() -> Option<PathBuf> {
    let versions = output(command("pyenv").args(["versions", "--bare"]))?;
    let version = versions.lines().map(str::trim).find(|version| version.starts_with("2.7."))?;
    let prefix = output(command("pyenv").args(["prefix", version]))?;
    Some(Path::new(&prefix).join("bin/python2.7"))
}

fn succeeds(python: &Path, code: &str) -> bool {
    output(command(python).args(["-c", code])).is_some()
}
