//! The `check` command: tests a configuration and everything that it names, before a restart.
//!
//! - `report`: findings, and their two forms; `certificates`: pair, chain, names, dates;
//! - `cluster`: what a node of a cluster needs beside itself;
//! - `paths`: files and folders that keys name; `ports`: who holds a port; `limits`: open files.
//!
//! Why: a node that is restarted with a wrong configuration is gone; a node that is checked first is not.
//! The rules are those of the start itself (`config::load`, `Certificates`, `Authority`), so that both agree.
//! Invariants: nothing is created, changed, locked or taken from a running node; every fault is found in one
//! run; a path that a new key names is checked without a change here, by its kind and name.
//! Not here: what a node does with a value.

mod certificates;
mod cluster;
mod issuers;
mod limits;
mod paths;
mod ports;
mod report;

use std::io::{self, Write};
use std::time::SystemTime;

use clap::{Arg, ArgAction, ArgMatches, Command};
use grandstand_edge::auth::Authority;
use grandstand_edge::clock::Clock;
use grandstand_edge::config::{Config, ConfigError, Effective};

use crate::{config_command, word_lists};
use report::Report;

const HELP: &str = "\
Test a configuration and what it names, before a node is started or restarted with it. It takes the flags, the \
environment and the file of `grandstand serve`, and creates, changes and locks nothing; a node may run meanwhile.

It tests: syntax, unknown keys, values and contradictions; certificate and key (pair, chain, names, dates); token \
keys and the admin key; who may read the secrets; the folders of log, crash log and backups (there or can be made, \
writable, free space, lock); the ports (free, or held by the node that is to be restarted); the limit of open files; \
and of a cluster its streams, servers and facts, and room for the copies.";

const EXAMPLES: &str = "\
Exit codes: 0 when a node would start (there may be warnings), 1 when there are warnings and --strict is given, 2 \
when it would not start, or for a wrong command line.

Examples:
  grandstand check --config /etc/grandstand.toml && systemctl restart grandstand
  grandstand check --config /etc/grandstand.toml --strict --json
  ExecStartPre=/usr/bin/grandstand check --config /etc/grandstand.toml

Run it as the node's user: what root may read, the node may not.";

/// What the exit code says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A node would start.
    Fine,
    /// It would, but there are warnings, and `--strict` was given.
    Warned,
    /// It would not.
    Faulty,
}

impl Verdict {
    /// The exit code.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Verdict::Fine => 0,
            Verdict::Warned => 1,
            Verdict::Faulty => 2,
        }
    }
}

/// The `check` command.
pub fn command() -> Command {
    let switch = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).action(ArgAction::SetTrue).help(help).display_order(0)
    };
    let command = Command::new("check")
        .about("Test a configuration with its files, ports and limits before a restart")
        .long_about(HELP)
        .after_help(EXAMPLES)
        .arg(switch("json", "Print one JSON object instead"))
        .arg(switch("strict", "End with 1 when there are warnings"))
        .arg(switch("without-servers", "Do not ask other servers: of NATS, and of issuers' keys"));
    config_command::flags(command)
}

/// Run the command.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(matches: &ArgMatches, out: &mut impl Write) -> io::Result<Verdict> {
    let asks_servers = !matches.get_flag("without-servers");
    let loaded = config_command::from_matches(matches);
    let report = inspect(loaded, Clock::start().wall(), asks_servers);
    if matches.get_flag("json") {
        report.print_json(out)?;
    } else {
        report.print(out)?;
    }
    Ok(report.verdict(matches.get_flag("strict")))
}

/// Everything that there is to say.
fn inspect(loaded: Result<Effective, ConfigError>, now: SystemTime, asks_servers: bool) -> Report {
    let mut report = Report::default();
    let config = match loaded {
        Ok(effective) => effective.config,
        Err(error) => {
            for fault in error.faults() {
                let hint = "`grandstand config --sample` prints every key with its bounds";
                report.error("configuration", fault.clone(), hint);
            }
            return report;
        }
    };
    report.fine("configuration", "every key is known, and no value contradicts another");
    let secrets_told = paths::inspect(&mut report, &config);
    certificates::inspect(&mut report, &config, now, &secrets_told);
    inspect_keys(&mut report, &config, &secrets_told, asks_servers);
    inspect_word_lists(&mut report, &config);
    inspect_exposure(&mut report, &config);
    let holder = paths::inspect_log(&mut report, &config);
    ports::inspect(&mut report, &config, holder);
    limits::inspect(&mut report, &config);
    cluster::inspect(&mut report, &config, asks_servers);
    report
}

/// Keys of tokens and of the admin port. A file that cannot be read was told already.
fn inspect_keys(report: &mut Report, config: &Config, told: &[&'static str], asks_servers: bool) {
    let is_told = |section: &str| told.iter().any(|name| name.starts_with(section));
    match Authority::from_config(&config.auth) {
        Ok(authority) if authority.runs_open() => {
            let public = public_listeners(config);
            if public.is_empty() {
                report.fine(
                    "auth",
                    "no key of tokens: everybody on this machine may do what auth.open_may lists",
                );
            } else {
                report.warn(
                    "auth",
                    format!(
                        "no key of tokens: everybody who reaches {} may do what auth.open_may lists",
                        public.join(", ")
                    ),
                    "set auth.hs256_secret_file or auth.eddsa_public_key_file",
                );
            }
        }
        Ok(authority) => {
            report.fine("auth", "the keys of tokens can be used");
            if asks_servers {
                issuers::inspect(report, &authority);
            }
        }
        Err(_) if is_told("auth.") => {}
        Err(fault) => report.error("auth", fault, "see the keys under auth"),
    }
    match config.gifs_key() {
        Err(error) if !is_told("gifs.") => {
            report.error("gifs.key", error.faults().join("; "), "see gifs.key_file");
        }
        _ => {}
    }
    match config.admin_key() {
        Ok(Some(_)) => report.fine("admin.key", "requests must show the admin key"),
        Ok(None) => {}
        Err(_) if is_told("admin.") => {}
        Err(error) => report.error("admin.key", error.faults().join("; "), "see admin.key_file"),
    }
}

/// Word lists: each can be read, and has no fault.
fn inspect_word_lists(report: &mut Report, config: &Config) {
    for (_, path) in config.moderation.word_lists() {
        match word_lists::read(path) {
            Ok(list) => {
                report.fine("moderation.lists", format!("{}: {} rules", path.display(), list.rules().len()));
            }
            Err(fault) => report.error("moderation.lists", fault, "`gs mod lint FILE` tries a list"),
        }
    }
}

/// What others can reach without encryption.
fn inspect_exposure(report: &mut Report, config: &Config) {
    if let Some(address) = config.ws.listen.filter(|address| !address.ip().is_loopback()) {
        report.warn(
            "ws.listen",
            format!("{address} can be reached from elsewhere, and what it carries is not encrypted"),
            "listen on 127.0.0.1 behind a proxy with TLS, or use wss.listen",
        );
    }
}

/// Listeners for viewers that are not on loopback.
fn public_listeners(config: &Config) -> Vec<&'static str> {
    let listeners = [
        ("ws.listen", config.ws.listen),
        ("wss.listen", config.wss.listen),
        ("quic.listen", config.quic.listen),
    ];
    let is_public = |(name, address): (&'static str, Option<std::net::SocketAddr>)| {
        address.is_some_and(|address| !address.ip().is_loopback()).then_some(name)
    };
    listeners.into_iter().filter_map(is_public).collect()
}

#[cfg(test)]
mod tests;
