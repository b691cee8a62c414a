//! The file of the NATS servers in `k8s/`: `docs/nats-server.conf` with the names of pods.
//!
//! Why it is made: kustomize reads no file outside its folder, and a copy by hand would drift from the file
//! that every test runs.
//! Invariant: a line that is to be replaced and is not there, or is there twice, is an error.

use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::PathBuf;

use crate::run::root;

const HEAD: &str = "# Made of docs/nats-server.conf by `cargo xtask k8s --write`: change that file.\n";

/// The certificates that components/nats-tls mounts.
const TLS: [&str; 5] = [
    "tls {",
    "  cert_file: /etc/nats-tls/tls.crt",
    "  key_file: /etc/nats-tls/tls.key",
    "  ca_file: /etc/nats-tls/ca.crt",
    "}",
];

/// Writes both files.
pub(super) fn write() -> Result<()> {
    files()?.into_iter().try_for_each(|(path, text)| Ok(fs::write(path, text)?))
}

/// Whether both are what `write` would write.
pub(super) fn check() -> Result<()> {
    for (path, text) in files()? {
        let there = fs::read_to_string(&path).unwrap_or_default();
        ensure!(
            there == text,
            "{} is not what docs/nats-server.conf says: `cargo xtask k8s --write` makes it",
            path.display()
        );
    }
    Ok(())
}

fn files() -> Result<[(PathBuf, String); 2]> {
    let shipped = fs::read_to_string(root().join("docs/nats-server.conf"))?;
    let plain = plain(&shipped)?;
    let tls = with_tls(&plain)?;
    let at = |path: &str| root().join("k8s").join(path).join("nats-server.conf");
    Ok([(at("nats"), format!("{HEAD}{plain}")), (at("components/nats-tls"), format!("{HEAD}{tls}"))])
}

fn plain(shipped: &str) -> Result<String> {
    let body = shipped.find("server_name").context("docs/nats-server.conf has no server_name")?;
    let mut text = shipped[body..].to_owned();
    replace(&mut text, "server_name: gs-0", "server_name: $POD_NAME")?;
    // Probes come from outside the pod; a network policy keeps others away.
    replace(&mut text, "http: 127.0.0.1:", "http: 0.0.0.0:")?;
    for number in 0..3 {
        let pod = format!("grandstand-nats-{number}.grandstand-nats:6222");
        replace(&mut text, &format!("10.0.0.{}:6222", number + 1), &pod)?;
    }
    Ok(text)
}

fn with_tls(plain: &str) -> Result<String> {
    let mut text = plain.to_owned();
    let lines = |indent: &str| TLS.iter().map(|line| format!("{indent}{line}\n")).collect::<String>();
    replace(&mut text, "jetstream {\n", &format!("{}jetstream {{\n", lines("")))?;
    replace(&mut text, "cluster {\n", &format!("cluster {{\n{}", lines("  ")))?;
    Ok(text)
}

fn replace(text: &mut String, from: &str, to: &str) -> Result<()> {
    ensure!(text.matches(from).count() == 1, "docs/nats-server.conf does not have {from:?} once");
    *text = text.replace(from, to);
    Ok(())
}
